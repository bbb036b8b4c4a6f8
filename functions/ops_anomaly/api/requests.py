"""Reading a request's body: limits before parsing, then the contract."""

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
    from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent


T = TypeVar("T")

MAX_BODY_CHARACTERS = 2_000_000
"""Room for the largest documented request, indented or not; far below what API Gateway lets in."""

JSON_MEDIA_TYPE = "application/json"
BODY = "body"
"""Where the faults of a body are, as a path."""


def body_of(event: BaseProxyEvent) -> str:
    """Return the text of a request's body.

    Raises
    ------
    UnsupportedMediaTypeError
        If it is not declared as JSON; without any type it is taken as such.
    UnreadableBodyError
        If it is marked as base64 and is none, or none of UTF-8.
    """
    media_type = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", JSON_MEDIA_TYPE):
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


def parse(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    """Parse a body by its contract.

    Raises
    ------
    BodyTooLargeError
        If it is longer than `MAX_BODY_CHARACTERS`.
    InvalidRequestError
        If it is missing, or not what the contract says.
    BodyTooDeepError, UnreadableBodyError
        If it can't be parsed.
    """
    if not text:
        raise InvalidRequestError([Fault((BODY,), MISSING)])
    if len(text) > MAX_BODY_CHARACTERS:
        raise BodyTooLargeError(f"The body is over {MAX_BODY_CHARACTERS} characters.")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _parse_slowly(text, decoder.type)


def _parse_slowly(text: str, contract: type[T]) -> T:
    """Parse a body that msgspec refuses, to say all that is wrong with it, if anything is.

    A fault that a later value of the same name mends is none, for one: the last one counts.
    """
    try:
        # An integer of any length is bounded work as a float; too large a one is infinite, which
        # the contracts refuse.
        data = json.loads(text, parse_int=float)
    except RecursionError as error:
        raise BodyTooDeepError("The body nests too deep.") from error
    except ValueError as error:
        raise UnreadableBodyError("The body is not JSON.") from error
    invalid = InvalidRequestError(faults(data, contract, (BODY,)))
    if invalid.faults:
        raise invalid
    return msgspec.convert(data, contract)
