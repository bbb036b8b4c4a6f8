"""Reading a request's body: limits before parsing, then the contract."""

from __future__ import annotations

import base64
import json
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from api.errors import (
    BodyTooDeepError,
    BodyTooLargeError,
    InvalidRequestError,
    NotJsonError,
    UnsupportedMediaTypeError,
)
from registry.contract import MISSING, Fault, faults

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent

    from api.errors import RequestError

T = TypeVar("T")

MAX_BODY_CHARACTERS = 2_000_000
"""Room for the largest documented request, indented or not; far below what API Gateway lets in."""

MAX_FAULTS = 20
JSON_MEDIA_TYPE = "application/json"
BODY = "body"
"""Where the faults of a body are, as a path."""


def body_of(event: BaseProxyEvent) -> str:
    """Return the text of a request's body.

    Raises
    ------
    UnsupportedMediaTypeError
        If it is not declared as JSON; without any type it is taken as such.
    binascii.Error, UnicodeDecodeError
        If it is marked as base64 and is none, or none of UTF-8.
    """
    media_type = event.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", JSON_MEDIA_TYPE):
        raise UnsupportedMediaTypeError(media_type)
    body = event.body or ""
    return base64.b64decode(body).decode() if event.is_base64_encoded else body


def parse(text: str, decoder: msgspec.json.Decoder[T]) -> T:
    """Parse a body by its contract.

    Raises
    ------
    BodyTooLargeError
        If it is longer than `MAX_BODY_CHARACTERS`.
    InvalidRequestError
        If it is missing, or not what the contract says.
    BodyTooDeepError, NotJsonError
        If it can't be parsed.
    UnicodeEncodeError
        If it holds half of a surrogate pair.
    """
    if len(text) > MAX_BODY_CHARACTERS:
        raise BodyTooLargeError(f"The body is over {MAX_BODY_CHARACTERS} characters.")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _explained(text, decoder.type) from error


def _explained(text: str, contract: Any) -> RequestError:
    """Return what is wrong with a body that could not be parsed."""
    if not text:
        return InvalidRequestError([Fault((BODY,), MISSING)])
    try:
        # An integer of any length is bounded work as a float; too large a one is infinite, which
        # the contracts refuse.
        data = json.loads(text, parse_int=float)
    except RecursionError:
        return BodyTooDeepError("The body nests too deep.")
    except ValueError:
        return NotJsonError("The body is not JSON.")
    found = list(islice(faults(data, contract, (BODY,)), MAX_FAULTS))
    # what msgspec alone refuses is no JSON text by the letter of RFC 8259
    return InvalidRequestError(found) if found else NotJsonError("The body is not JSON.")
