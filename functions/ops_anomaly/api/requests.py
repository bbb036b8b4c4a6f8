"""Reading a request: its query; its body, with limits before parsing; and their contracts."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ops_anomaly.api.problems import (
    BodyTooDeepError,
    BodyTooLargeError,
    InvalidRequestError,
    UnreadableBodyError,
    UnsupportedMediaTypeError,
)
from ops_anomaly.validation import MISSING, Fault, faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent


T = TypeVar("T")

MAX_BODY_CHARACTERS = 2_000_000
"""Enough for the largest documented request, indented or not; far below API Gateway's limit."""

JSON_MEDIA_TYPE = "application/json"
ACCEPTED_MEDIA_TYPES = ("", JSON_MEDIA_TYPE, "application/x-www-form-urlencoded")
"""None at all and the one that `curl -d` declares are read as JSON."""

BODY, QUERY = "body", "query"
"""The locations of a body and of a query's parameters, as faults name them."""


def parse_query(parameters: Mapping[str, str], contract: type[T]) -> T:
    """Parse the parameters of a query by their contract.

    Raises
    ------
    InvalidRequestError
        If they don't conform to it.
    """
    try:
        return msgspec.convert(parameters, contract, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        found = faults(parameters, contract, (QUERY,), strict=False)
        raise InvalidRequestError(found) from error


def body_of(event: BaseProxyEvent) -> str:
    """Return the text of a request's body.

    Raises
    ------
    UnsupportedMediaTypeError
        If it is declared as another type than `ACCEPTED_MEDIA_TYPES`.
    UnreadableBodyError
        If it is marked as base64 and is not base64 of UTF-8.
    """
    media_type = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ACCEPTED_MEDIA_TYPES:
        raise UnsupportedMediaTypeError(media_type)
    body = event.body or ""
    if not event.is_base64_encoded:
        return body
    try:
        return base64.b64decode(body).decode()
    except UnicodeDecodeError as error:
        raise UnreadableBodyError("The body is not UTF-8.") from error
    except ValueError as error:
        raise UnreadableBodyError("The body is not the base64 it is marked as.") from error


def parse(text: str, contract: type[T]) -> T:
    """Parse a body by its contract.

    Raises
    ------
    BodyTooLargeError
        If it is longer than `MAX_BODY_CHARACTERS`.
    InvalidRequestError
        If it is missing, or doesn't conform to the contract.
    BodyTooDeepError, UnreadableBodyError
        If it can't be parsed.
    """
    if not text:
        raise InvalidRequestError([Fault((BODY,), MISSING)])
    if len(text) > MAX_BODY_CHARACTERS:
        raise BodyTooLargeError(f"The body is over {MAX_BODY_CHARACTERS} characters.")
    try:
        return msgspec.json.decode(text, type=contract)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _parse_slowly(text, contract)


def _parse_slowly(text: str, contract: type[T]) -> T:
    """Parse a body that msgspec refuses, to find all of its faults, if it has any.

    It has none if, for example, a later value of the same name is valid: the last one counts.
    """
    try:
        # As a float, an integer of any length is bounded work; one that is too large becomes
        # infinite, which the contracts refuse.
        data = json.loads(text, parse_int=float)
    except RecursionError as error:
        raise BodyTooDeepError("The body is nested too deeply.") from error
    except ValueError as error:
        raise UnreadableBodyError("The body is not JSON.") from error
    invalid = InvalidRequestError(faults(data, contract, (BODY,)))
    if invalid.faults:
        raise invalid
    return msgspec.convert(data, contract)
