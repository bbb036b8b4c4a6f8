"""The contract's paths: one REST proxy event in, one response out, in Azure's form to the headers.

Loaded by the first request below `/anomalydetector`, as it brings numpy.
"""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ops_anomaly.azure.detect import detect
from ops_anomaly.azure.errors import EMPTY, AzureError, NotOfferedError
from ops_anomaly.azure.requests import CHANGE_POINT, OPERATIONS, parse

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

    Count = Callable[[str, int], None]


VERSIONS = ("v1.0", "v1.1-preview", "v1.1-preview.1", "v1.1")
ROUTE = re.compile(
    rf"/+anomalydetector/({'|'.join(map(re.escape, VERSIONS))})"
    rf"/timeseries/({'|'.join(OPERATIONS)})/detect/?",
    re.IGNORECASE,
)

MODEL_IDS = {"entire": "10", "last": "10", CHANGE_POINT: "60"}

HEADERS = {
    "Content-Type": "application/json",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    "X-Content-Type-Options": "nosniff",
    "x-ms-region": "self-hosted",
}
BILLED = {"csp-billing-usage": "CognitiveServices.AnomalyDetector.DataPoints=1"}


def respond(event: dict[str, Any], logger: Logger, count: Count) -> dict[str, Any]:
    """Respond to one REST proxy event whose path is below `/anomalydetector`.

    Parameters
    ----------
    logger
        Gets what is unexpected, and no part of a request.
    count
        Adds to a metric of the function, by its name.
    """
    began = time.perf_counter()
    given = {str(name).lower(): value for name, value in (event.get("headers") or {}).items()}
    headers = HEADERS | {"apim-request-id": request_id(event)}
    client_id = given.get("x-ms-client-request-id")
    if client_id and given.get("x-ms-return-client-request-id", "").lower() == "true":
        headers["x-ms-client-request-id"] = client_id
    try:
        version, operation = route_of(event)
        body = detect(parse(body_of(event), operation), operation, version)
    except AzureError as error:
        status, text = error.status, error_body(error)
        headers["x-ms-error-code"] = error.code
    except Exception:
        logger.exception("unexpected error")
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        text = nested(status, "Internal error: see the function's log.")
        headers["x-ms-error-code"] = str(status.value)
    else:
        status, text = HTTPStatus.OK, msgspec.json.encode(body).decode()
        headers |= BILLED | {"model-id": MODEL_IDS[operation]}
        count_findings(body, count)
    headers["x-envoy-upstream-service-time"] = str(int(1_000 * (time.perf_counter() - began)))
    return {
        "statusCode": status.value,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "body": "" if event["httpMethod"] == "HEAD" else text,
        "isBase64Encoded": False,
    }


def route_of(event: dict[str, Any]) -> tuple[str, str]:
    """Return version and operation of a request.

    Raises
    ------
    NotOfferedError
        If the contract has no such path or method, or it is of the multivariate part.
    """
    path = event["path"]
    if "/multivariate/" in path.lower():
        raise NotOfferedError("Multivariate anomaly detection is not offered by this service.")
    matched = ROUTE.fullmatch(path)
    if not matched:
        raise NotOfferedError("Resource not found")
    if event["httpMethod"] != "POST":
        raise NotOfferedError("Use POST.", HTTPStatus.METHOD_NOT_ALLOWED)
    return matched[1].lower(), matched[2].lower()


def body_of(event: dict[str, Any]) -> str:
    """Return the text of a request's body, whatever type it is declared as.

    Raises
    ------
    AzureError
        If it is marked as base64 and is not base64 of UTF-8.
    """
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body).decode()
    except ValueError as error:
        raise AzureError("InvalidJsonFormat", EMPTY) from error


def request_id(event: dict[str, Any]) -> str:
    """Return API Gateway's id of the request, which is in its log; one of our own without it."""
    found = (event.get("requestContext") or {}).get("requestId")
    return found if isinstance(found, str) else str(uuid.uuid4())


def error_body(error: AzureError) -> str:
    """Return the body of an error: flat for a bad request, nested for what is not offered."""
    if isinstance(error, NotOfferedError):
        return nested(error.status, str(error))
    return json.dumps({"code": error.code, "message": str(error)})


def nested(status: HTTPStatus, message: str) -> str:
    """Return the body of an error that is not about the content of a request."""
    return json.dumps({"error": {"code": str(status.value), "message": message}})


def count_findings(body: dict[str, Any], count: Count) -> None:
    """Count what other routes count too; change points are no anomalies."""
    flags = np.atleast_1d(body["isAnomaly" if "isAnomaly" in body else "isChangePoint"])
    count("Readings", len(flags))
    if "isAnomaly" in body:
        count("Anomalies", int(flags.sum()))
