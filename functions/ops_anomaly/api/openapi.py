"""The OpenAPI document, from the table of operations and the contracts; and its page."""

from __future__ import annotations

import html
import json
import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aws_lambda_powertools
from msgspec.json import schema_components

from ops_anomaly.api.problems import CONTENT_TYPE, title
from ops_anomaly.api.requests import JSON_MEDIA_TYPE
from ops_anomaly.api.routes import OPERATIONS
from ops_anomaly.api.schemas import Problem

if TYPE_CHECKING:
    from ops_anomaly.api.routes import Operation


TITLE = "Anomaly detection for operations metrics"
REFERENCE = "#/components/schemas/{name}"

# API Gateway answers these before the function is asked
ANYWHERE = (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)


@cache
def document() -> str:
    """Return the document, as JSON text."""
    kinds = {Problem: None} | dict.fromkeys(
        kind
        for operation in OPERATIONS
        for kind in (operation.request, operation.answer)
        if kind is not None
    )
    schemas = schema_components(kinds, ref_template=REFERENCE)[1]
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = described(operation)
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": TITLE,
                "version": "1.0.0",
                "description": "Judges readings of operations metrics with models trained on your "
                "own data. Errors are problem details (RFC 9457).",
            },
            # relative to the document itself, so it is true behind every stage and domain
            "servers": [{"url": "."}],
            "security": [{"apiKey": []}],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "name": "x-api-key", "in": "header"}
                },
            },
        },
        indent=2,
    )


def described(operation: Operation) -> dict[str, Any]:
    """Return what the document says of an operation."""
    method, path = operation.method.lower(), operation.path
    told: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W", "_", f"{operation.name}{path}_{method}"),
        "responses": {"200": content("Success", JSON_MEDIA_TYPE, operation.answer)}
        | {
            str(status.value): content(title(status), CONTENT_TYPE, Problem)
            for status in sorted({*operation.errors, *ANYWHERE})
        },
    }
    if operation.description:
        told["description"] = operation.description
    if operation.request:
        told["requestBody"] = {"required": True} | body(JSON_MEDIA_TYPE, operation.request)
    if operation.parameters:
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema(kind)}
            for name, kind in operation.parameters.items()
        ]
    return told


def content(description: str, media_type: str, kind: Any) -> dict[str, Any]:
    """Return what the document says of an answer."""
    return {"description": description} | body(media_type, kind)


def body(media_type: str, kind: Any) -> dict[str, Any]:
    """Return what the document says of a body."""
    return {"content": {media_type: {"schema": schema(kind)}}}


def schema(kind: Any) -> Any:
    """Return the schema of a type, or the reference to it."""
    return schema_components([kind], ref_template=REFERENCE)[0][0]


def page() -> str:
    """Return Swagger UI with the document: one page that loads nothing, and so works offline.

    Its script and style are those that come with Powertools.
    """
    assets = Path(aws_lambda_powertools.__file__).parent / "event_handler/openapi/swagger_ui"
    script = (assets / "swagger-ui-bundle.min.js").read_text(encoding="utf-8")
    style = (assets / "swagger-ui.min.css").read_text(encoding="utf-8")
    within_script = document().replace("</", "<\\/")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{html.escape(TITLE)}</title>
<style>{style}</style>
</head>
<body>
<div id="swagger-ui"></div>
<script>{script}</script>
<script>
const ui = SwaggerUIBundle({{dom_id: "#swagger-ui", deepLinking: true, spec: {within_script}}});
// where the page's link to the document leads
ui.specActions.updateUrl(new URL("openapi.json", location).pathname);
</script>
</body>
</html>
"""
