"""What the OpenAPI document says of the API as a whole."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler.openapi.models import APIKey, APIKeyIn, Server

DOCUMENT: dict[str, Any] = {
    "title": "Anomaly detection for operations metrics",
    "version": "1.0.0",
    "description": (
        "Judges readings of operations metrics with models trained on your own data. "
        "Errors are problem details (RFC 9457)."
    ),
    # relative to the document itself, so it is true behind every stage and domain
    "servers": [Server(url=".")],
    "security_schemes": {
        "apiKey": APIKey.model_validate({"name": "x-api-key", "in": APIKeyIn.header})
    },
    "security": [{"apiKey": []}],
}
