"""Services answering a request in this process: REST proxy event in, answer out; or ASGI."""

from __future__ import annotations

import asyncio
import json
import math
import random
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from benchmarks.speed.peers.contestant import Contestant

Event = dict[str, Any]

CONTEXT = SimpleNamespace(
    function_name="api",
    function_version="$LATEST",
    memory_limit_in_mb=1024,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:api",
    aws_request_id="3f1c0a52-6d2b-4c0e-9f7a-000000000002",
    get_remaining_time_in_millis=lambda: 10_000,
)


def answered(status: int, body: str) -> Any:
    if status != 200:
        raise RuntimeError(f"{status}: {body}")
    return json.loads(body)


def proxy(module: str, event: Event) -> Contestant:
    """Return a Lambda's handler, called with this event."""
    handler = import_module(module).lambda_handler

    def answer() -> Any:
        given = handler(event, CONTEXT)
        return answered(given["statusCode"], given["body"])

    return Contestant(lambda: handler(event, CONTEXT), answer)


def series(event: Event, readings: int) -> Contestant:
    """Return this project's handler, judging a posted series without a model."""
    drawn, begin = random.Random(42), datetime(2026, 1, 1, tzinfo=UTC)
    posted = [
        {
            "timestamp": (begin + timedelta(minutes=5 * n)).isoformat(),
            "value": 30.0 + 10.0 * math.sin(n * math.tau / 288) + drawn.gauss(0.0, 1.0),
        }
        for n in range(readings)
    ]
    body = json.dumps({"series": posted})
    one = proxy("ops_anomaly.api.handler", {**event, "path": "/detect", "body": body})
    return Contestant(one.run, lambda: len(one.answer()["points"]))


def many_models(event: Event, models: list[str]) -> Contestant:
    """Return this project's handler, asked for one of these models at random each time."""
    handler = import_module("ops_anomaly.api.handler").lambda_handler
    events = [{**event, "body": json.dumps({"value": 95.0, "model": model})} for model in models]
    chosen = random.Random(42)

    def answer() -> bool:
        for each in events:
            given = handler(each, CONTEXT)
            answered(given["statusCode"], given["body"])
        return True

    return Contestant(lambda: handler(chosen.choice(events), CONTEXT), answer)


def asgi(module: str, path: str, body: str) -> Contestant:
    """Return an ASGI app, called as its server would; no HTTP is parsed."""
    app, loop = import_module(module).app, asyncio.new_event_loop()
    content = body.encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def respond() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(dict(scope), receive, send)
        return sent

    def answer() -> Any:
        start, *rest = loop.run_until_complete(respond())
        return answered(start["status"], b"".join(part["body"] for part in rest).decode())

    return Contestant(lambda: loop.run_until_complete(respond()), answer)
