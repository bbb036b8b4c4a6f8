"""The OpenAPI document, made from the routes and contracts; `make openapi` commits it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from msgspec.json import schema_components

from ops_anomaly.api.problems import CONTENT_TYPE, title
from ops_anomaly.api.requests import JSON_MEDIA_TYPE
from ops_anomaly.api.routes import HTML_MEDIA_TYPE, ROUTES, Route
from ops_anomaly.api.schemas import Problem

REFERENCE = "#/components/schemas/{name}"

# API Gateway returns these before the function is called
ANYWHERE = (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)


def openapi_document() -> str:
    """Return the document, as JSON text."""
    documented = [route for route in ROUTES if route.response]
    contracts = {Problem: None} | dict.fromkeys(
        contract
        for route in documented
        for contract in (route.request, route.response)
        if contract is not None
    )
    paths: dict[str, Any] = {}
    for route in documented:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Anomaly detection for operations metrics",
                "version": "1.0.0",
                "description": "Evaluates readings of operations metrics with models trained on "
                "your own data. Errors are problem details (RFC 9457).",
            },
            # relative to the document, so it is right behind every stage and domain
            "servers": [{"url": "."}],
            "security": [{"apiKey": []}],
            "paths": paths,
            "components": {
                "schemas": schema_components(contracts, ref_template=REFERENCE)[1],
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "name": "x-api-key", "in": "header"}
                },
            },
        },
        indent=2,
    )


def operation(route: Route) -> dict[str, Any]:
    """Return the description of a route."""
    summary, _, description = (inspect.getdoc(route.function) or "").partition("\n\n")
    operation_id = f"{route.function.__name__}{route.path}_{route.method.lower()}"
    described: dict[str, Any] = {
        "summary": summary.rstrip("."),
        "operationId": re.sub(r"\W", "_", operation_id),
        "responses": {"200": response("Success", JSON_MEDIA_TYPE, route.response)}
        | {
            str(status.value): response(title(status), CONTENT_TYPE, Problem)
            for status in sorted({*route.errors, *ANYWHERE})
        },
    }
    if route.has_page:
        described["responses"]["200"]["content"][HTML_MEDIA_TYPE] = {"schema": {"type": "string"}}
    if description:
        described["description"] = " ".join(description.split())
    if route.request:
        described["requestBody"] = {"required": True} | content(JSON_MEDIA_TYPE, route.request)
    parameters = [*path_parameters(route), *query_parameters(route)]
    if parameters:
        described["parameters"] = parameters
    return described


def path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of a path's parameters."""
    for name, contract in route.parameters.items():
        yield {"name": name, "in": "path", "required": True, "schema": schema(contract)}


def query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of a query's parameters."""
    if route.query:
        [contract] = schema_components([route.query])[1].values()
        for name, described in contract["properties"].items():
            required = name in contract.get("required", ())
            yield {"name": name, "in": "query", "required": required, "schema": described}


def response(description: str, media_type: str, contract: Any) -> dict[str, Any]:
    """Return the description of a response."""
    return {"description": description} | content(media_type, contract)


def content(media_type: str, contract: Any) -> dict[str, Any]:
    """Return the description of a body."""
    return {"content": {media_type: {"schema": schema(contract)}}}


def schema(contract: Any) -> Any:
    """Return the schema of a contract, or the reference to it."""
    return schema_components([contract], ref_template=REFERENCE)[0][0]
