"""HTTP requests as the REST proxy events that API Gateway would make of them.

The HTTP door: an ASGI app that hands each request to a Lambda handler, and its server.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

from local.stack import LocalError, PortInUseError


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


Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
START_SECONDS = 20


@dataclass(frozen=True)
class LocalContext:
    """What a handler may ask of its Lambda context."""

    function_name: str = "local"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:local"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left; on the laptop nothing ends a request."""
        return 10_000


class LocalGateway:
    """An ASGI app that turns HTTP into proxy events for a handler, and its answers into HTTP."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        # an instance of a Lambda answers one request at a time, and so does this
        self._one_at_a_time = ThreadPoolExecutor(max_workers=1)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            raise LocalError(f"the door speaks HTTP, not {scope['type']}")
        event = proxy_event(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]],
            body=await read_body(receive),
        )
        answer = await asyncio.get_running_loop().run_in_executor(
            self._one_at_a_time, self._handler, event, LocalContext()
        )
        body = answer.get("body") or ""
        headers = {**answer.get("headers", {})}
        multiple = [(k, v) for k, vs in answer.get("multiValueHeaders", {}).items() for v in vs]
        await send(
            {
                "type": "http.response.start",
                "status": answer["statusCode"],
                "headers": [
                    (name.lower().encode("latin-1"), str(value).encode("latin-1"))
                    for name, value in [*headers.items(), *multiple]
                ],
            }
        )
        content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        await send({"type": "http.response.body", "body": content})


async def read_body(receive: Any) -> bytes:
    """Return the whole body of a request (ASGI)."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1; port 0 takes any free one.

    Raises
    ------
    PortInUseError
        If something else listens there.
    LocalError
        If the port can't be had for another reason.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(port) from error
        raise LocalError(f"port {port} can't be used: {error.strerror}") from error
    return listener


@contextmanager
def serve(handler: Handler, listener: socket.socket) -> Iterator[str]:
    """Serve a handler on a listening socket; give the URL, and end the server afterwards."""
    config = uvicorn.Config(LocalGateway(handler), log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise LocalError("the HTTP server did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
