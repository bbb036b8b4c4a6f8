"""HTTP requests as the REST proxy events that API Gateway would make of them."""

from __future__ import annotations

import base64
import uuid
from typing import Any
from urllib.parse import parse_qsl


def proxy_event(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> dict[str, Any]:
    """Return the event of a request; a body that is no UTF-8 goes as base64."""
    single, multiple = dict(headers), group(headers)
    parameters = parse_qsl(query, keep_blank_values=True)
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": single,
        "multiValueHeaders": multiple,
        "queryStringParameters": dict(parameters) or None,
        "multiValueQueryStringParameters": group(parameters) or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "httpMethod": method,
            "identity": {"sourceIp": "127.0.0.1"},
            "path": path,
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "resourcePath": "/{proxy+}",
            "stage": "local",
        },
        "body": text or None,
        "isBase64Encoded": is_base64,
    }


def group(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each name, in order."""
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped
