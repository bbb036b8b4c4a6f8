"""Errors of requests, and the one table from errors to problem details (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from aws_lambda_powertools.event_handler import Response

from ops_anomaly.api.schemas import FieldError, Problem
from ops_anomaly.aws.errors import InvalidModelNameError, ModelNotFoundError, ModelUnavailableError
from ops_anomaly.detection.types import FixedSensitivityError, ValueOutOfRangeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver

    from ops_anomaly.validation import Fault


CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "5"

MAX_FAULTS = 20
MAX_FIELD = 100
"""Faults in one response, and characters of a fault's location: nobody would read more."""


class RequestError(ValueError):
    """Base of the errors of a request."""


class UnsupportedMediaTypeError(RequestError):
    """The body is declared as something other than JSON."""


class BodyTooLargeError(RequestError):
    """The body is over the limit."""


class BodyTooDeepError(RequestError):
    """The body nests deeper than any request needs."""


class UnreadableBodyError(RequestError):
    """The body is not JSON, not UTF-8, or not the base64 that it is marked as."""


class InvalidRequestError(RequestError):
    """The body is JSON, but not as documented.

    Attributes
    ----------
    faults : list of Fault
        The first `MAX_FAULTS`.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        super().__init__("Invalid request: see /docs.")
        self.faults = list(islice(faults, MAX_FAULTS))


TABLE: dict[type[Exception], tuple[HTTPStatus, str | None]] = {
    # error -> status, and the detail where the error's own message is not for callers
    UnreadableBodyError: (HTTPStatus.BAD_REQUEST, None),
    BodyTooDeepError: (HTTPStatus.BAD_REQUEST, None),
    BodyTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, None),
    UnsupportedMediaTypeError: (
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Send the body as JSON, with the header Content-Type: application/json.",
    ),
    InvalidRequestError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    FixedSensitivityError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    ValueOutOfRangeError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    InvalidModelNameError: (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Invalid model name: use lower-case letters, digits and hyphens, no hyphen first.",
    ),
    ModelNotFoundError: (HTTPStatus.NOT_FOUND, "No model with this name has been published."),
    ModelUnavailableError: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The model can't be loaded at the moment; try again in a few seconds.",
    ),
}


# RFC 9110's names, which Python has since 3.13: the document must not depend on its version
RENAMED = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


def title(status: HTTPStatus) -> str:
    """Return the name of a status."""
    return RENAMED.get(status, status.phrase)


def problem(
    status: HTTPStatus,
    detail: str,
    errors: tuple[FieldError, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response[str]:
    """Return an error in the one form that all have."""
    body = Problem(title(status), status.value, detail, errors)
    return Response(
        status_code=status.value,
        content_type=CONTENT_TYPE,
        headers=dict(headers or {}),
        # msgspec refuses half of a surrogate pair, which the name of an unknown field may hold
        body=json.dumps(msgspec.to_builtins(body)),
    )


def register(
    app: APIGatewayRestResolver,
    logger: Logger,
    allowed_methods: Callable[[str], list[str]],
) -> None:
    """Make `app` respond to every error with a problem.

    Parameters
    ----------
    allowed_methods
        Returns the methods that a path has; none if there is no such path.
    """

    def known(error: Exception) -> Response[str]:
        status, detail = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
        errors: tuple[FieldError, ...] = ()
        headers = {}
        if isinstance(error, InvalidRequestError):
            # messages say what was expected; the names of unknown fields are input, and so are cut
            errors = tuple(FieldError(f.path[:MAX_FIELD], f.message) for f in error.faults)
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            logger.error("model unavailable", reason=str(error))
            headers["Retry-After"] = RETRY_AFTER_SECONDS
        return problem(status, detail or str(error), errors, headers)

    def no_route(_: Exception) -> Response[str]:
        methods = allowed_methods(app.current_event.path)
        if methods:
            return problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"Method not allowed: use {' or '.join(methods)}.",
                headers={"Allow": ", ".join(methods)},
            )
        return problem(HTTPStatus.NOT_FOUND, "No such path: see /docs.")

    def unexpected(_: Exception) -> Response[str]:
        logger.exception("unexpected error")
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error: see the function's log.")

    app.exception_handler(list(TABLE))(known)
    app.not_found(no_route)
    app.exception_handler(Exception)(unexpected)
