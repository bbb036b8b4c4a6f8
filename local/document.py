"""The OpenAPI document, without a bucket or a server."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics

from api.routes import build_app
from registry.models import ModelRegistry
from registry.store import S3ObjectStore


def openapi_document() -> str:
    """Return the document that the API serves, as JSON text."""
    registry = ModelRegistry(
        S3ObjectStore("none"),
        ttl_seconds=0,
        cache_bytes=0,
        on_refresh_failed=lambda *_: None,
    )
    app = build_app(registry, "none", Logger(service="none"), Metrics(namespace="none"))
    return app.get_openapi_json_schema()
