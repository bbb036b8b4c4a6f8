"""What can be wrong with a request."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.contract import Fault

MAX_FAULTS = 20
"""Faults that are told at once: more nobody would read."""


class RequestError(ValueError):
    """A request is not what this API takes."""


class UnsupportedMediaTypeError(RequestError):
    """The body is declared as something else than JSON."""


class BodyTooLargeError(RequestError):
    """The body is over the limit."""


class BodyTooDeepError(RequestError):
    """The body nests deeper than any request needs."""


class UnreadableBodyError(RequestError):
    """The body is no JSON text, no UTF-8, or not the base64 that it is marked as."""


class InvalidRequestError(RequestError):
    """The body is JSON, and not as documented.

    Attributes
    ----------
    faults : list of Fault
        What is wrong with it; the first `MAX_FAULTS`.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        super().__init__("The request is not as documented at /docs.")
        self.faults = list(islice(faults, MAX_FAULTS))
