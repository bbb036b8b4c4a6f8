"""Reading a request's body: limits before parsing."""

from __future__ import annotations

import json
from typing import Any

MAX_BODY_CHARACTERS = 2_000_000
"""Room for the largest documented request, indented or not; far below what API Gateway lets in."""

JSON_MEDIA_TYPE = "application/json"


class BodyError(ValueError):
    """The body is not what this API takes."""


class BodyTooLargeError(BodyError):
    """The body is over the limit."""


class BodyTooDeepError(BodyError):
    """The body nests deeper than any request needs."""


def parse_json(text: str) -> Any:
    """Parse a body.

    Every number becomes a float, so that an integer of any length is bounded work and too large
    a one is infinite, which the contracts refuse.

    Raises
    ------
    BodyTooLargeError
        If it is longer than `MAX_BODY_CHARACTERS`.
    BodyTooDeepError
        If it nests too deep to be parsed.
    json.JSONDecodeError
        If it is not JSON.
    """
    if len(text) > MAX_BODY_CHARACTERS:
        raise BodyTooLargeError(f"The body is over {MAX_BODY_CHARACTERS} characters.")
    try:
        return json.loads(text, parse_int=float)
    except RecursionError:
        raise BodyTooDeepError("The body nests too deep.") from None


def is_declared_json(content_type: str) -> bool:
    """Tell whether a body of this Content-Type is JSON; one without a type is taken as such."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("", JSON_MEDIA_TYPE)
