"""The one table from what went wrong to what is answered: problem details (RFC 9457)."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestUnsupportedContentType,
    RequestValidationError,
)

from api.body import BodyTooDeepError, BodyTooLargeError, is_declared_json
from detector.errors import FixedSensitivityError, ValueOutOfRangeError
from registry.errors import InvalidModelNameError, ModelNotFoundError, ModelUnavailableError

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "5"
MAX_ERRORS = 20
MAX_FIELD = 100
SEND_JSON = "Send the body as JSON, with the header Content-Type: application/json."

TABLE: dict[type[Exception], tuple[HTTPStatus, str | None]] = {
    # error -> status, and the detail where the error's own words are not for callers
    UnicodeDecodeError: (HTTPStatus.BAD_REQUEST, "The body is not UTF-8."),
    binascii.Error: (HTTPStatus.BAD_REQUEST, "The body is not the base64 it is marked as."),
    BodyTooDeepError: (HTTPStatus.BAD_REQUEST, None),
    BodyTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, None),
    RequestUnsupportedContentType: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, SEND_JSON),
    FixedSensitivityError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    ValueOutOfRangeError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    InvalidModelNameError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    ModelNotFoundError: (HTTPStatus.NOT_FOUND, "No model of this name is published."),
    ModelUnavailableError: (HTTPStatus.SERVICE_UNAVAILABLE, None),
}


# RFC 9110's names; Python has them from 3.13 on, and the contract must not hang on its version
RENAMED = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


def title(status: HTTPStatus) -> str:
    """Return what a status is called."""
    return RENAMED.get(status, status.phrase)


def problem(
    status: HTTPStatus,
    detail: str,
    errors: Sequence[dict[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> Response[str]:
    """Return an error answer in the one form that all have."""
    body: dict[str, Any] = {"title": title(status), "status": status.value, "detail": detail}
    if errors:
        body["errors"] = list(errors)
    return Response(
        status_code=status.value,
        content_type=CONTENT_TYPE,
        headers=dict(headers or {}),
        body=json.dumps(body),
    )


def register(
    app: APIGatewayRestResolver,
    logger: Logger,
    allowed_methods: Callable[[str], list[str]],
) -> None:
    """Make `app` answer every error with a problem.

    Parameters
    ----------
    allowed_methods
        The methods that a path has; empty where there is no such path.
    """

    def is_foreign_body() -> bool:
        # Powertools reads forms and multipart bodies, too, and fails on them in ways of its own;
        # none is valid here, so their type is what is wrong
        event = app.current_event
        return event.http_method == "POST" and not is_declared_json(
            event.headers.get("content-type", "")
        )

    def known(error: Exception) -> Response[str]:
        status, detail = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
        headers = {}
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            logger.error("model unavailable", reason=str(error))
            headers["Retry-After"] = RETRY_AFTER_SECONDS
        return problem(status, detail or str(error), headers=headers)

    def invalid(error: RequestValidationError) -> Response[str]:
        if is_foreign_body():
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, SEND_JSON)
        if any(each["type"] == "json_invalid" for each in error.errors()):
            return problem(HTTPStatus.BAD_REQUEST, "The body is not JSON.")
        # pydantic's own messages say what was expected; its "input" is never sent back, and of the
        # names of unknown fields, which are input, no more than a person would read
        errors = [
            {"field": ".".join(map(str, each["loc"]))[:MAX_FIELD], "message": each["msg"]}
            for each in error.errors()[:MAX_ERRORS]
        ]
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not as documented at /docs.", errors
        )

    def no_route(_: Exception) -> Response[str]:
        methods = allowed_methods(app.current_event.path)
        if methods:
            return problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"This path takes {', '.join(methods)}.",
                headers={"Allow": ", ".join(methods)},
            )
        return problem(
            HTTPStatus.NOT_FOUND, "There is nothing here; the API is described at /docs."
        )

    def unexpected(_: Exception) -> Response[str]:
        if is_foreign_body():
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, SEND_JSON)
        logger.exception("unexpected error")
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Our fault; the function's log says more.")

    app.exception_handler(list(TABLE))(known)
    app.exception_handler(RequestValidationError)(invalid)
    app.not_found(no_route)
    app.exception_handler(Exception)(unexpected)
