"""Errors in Azure's form: a code that its clients know, and a message."""

from __future__ import annotations

from http import HTTPStatus

MIN_POINTS = 12
MAX_POINTS = 8640
MAX_SENSITIVITY = 100
"""One more than documented: the hosted service and its published tests took 100 too."""

GRANULARITIES = (
    *("yearly", "monthly", "weekly", "daily", "hourly", "minutely", "secondly", "microsecond"),
    "none",
)
IMPUTE_MODES = ("auto", "previous", "linear", "fixed", "zero", "notFill")

EMPTY = "Invalid Json Format, input data is Empty."


class AzureError(ValueError):
    """A request that is refused.

    Attributes
    ----------
    code : str
        Goes into the body and into the header `x-ms-error-code`.
    status : HTTPStatus
    """

    def __init__(
        self, code: str, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class NotOfferedError(AzureError):
    """A path or a method that Azure's univariate contract, or this service, doesn't have.

    As Azure's own gateway has it, the body is nested, and the code is the status.
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.NOT_FOUND) -> None:
        super().__init__(str(status.value), message, status)


def invalid_series(message: str) -> AzureError:
    """Return the error of a series that is well-formed and breaks a rule."""
    return AzureError("InvalidSeries", message)


def bad_argument(message: str) -> AzureError:
    """Return the error of a series that is malformed."""
    return AzureError("BadArgument", message)


def invalid_model_argument(message: str) -> AzureError:
    """Return the error of a parameter of the detection."""
    return AzureError("InvalidModelArgument", message)
