"""What can be wrong with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.contract import Fault


class RequestError(ValueError):
    """A request is not what this API takes."""


class UnsupportedMediaTypeError(RequestError):
    """The body is declared as something else than JSON."""


class BodyTooLargeError(RequestError):
    """The body is over the limit."""


class BodyTooDeepError(RequestError):
    """The body nests deeper than any request needs."""


class NotJsonError(RequestError):
    """The body is no JSON text."""


class InvalidRequestError(RequestError):
    """The body is JSON, and not as documented.

    Attributes
    ----------
    faults : sequence of Fault
        What is wrong with it, as far as anybody would read.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("The request is not as documented at /docs.")
        self.faults = faults
