"""The local gateway: HTTP requests as the REST proxy events that API Gateway makes of them.

A server of the standard library hands each request to a Lambda handler, one at a time, as an
instance of a Lambda gets them.
"""

from __future__ import annotations

import base64
import errno
import json
import logging
import select
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from local import LocalError, PortInUseError

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

logger = logging.getLogger(__name__)


@contextmanager
def serve(handler: Handler, listener: socket.socket) -> Iterator[str]:
    """Serve a handler on a listening socket; yield the URL, and stop the server afterwards."""
    server = GatewayServer(handler, listener)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that listens on an IPv4 address; port 0 takes any free one.

    Raises
    ------
    PortInUseError
        If something else listens there.
    LocalError
        If the address can't be used for another reason.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(port) from error
        raise LocalError(f"{host}:{port} can't be used: {error.strerror}") from error
    return listener


@contextmanager
def stop_signals() -> Iterator[Callable[[], None]]:
    """Yield a function that returns once SIGINT or SIGTERM has arrived; main thread only.

    The interpreter itself writes each signal's number to a socket, whichever thread receives it,
    so no Python code runs in a signal handler and no lock can be held there.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGINT, signal.SIGTERM)
    former = {number: signal.signal(number, lambda *_: None) for number in numbers}
    former_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        select.select([reader], [], [])

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, restored in former.items():
            signal.signal(number, restored)
        reader.close()
        writer.close()


@dataclass(frozen=True)
class LocalContext:
    """The attributes of a Lambda context that the handlers use."""

    function_name: str = "local"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:local"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left; here nothing ends an invocation."""
        return 900_000


class GatewayServer(ThreadingHTTPServer):
    """A server on a socket that listens already: a thread a connection, one request at a time."""

    daemon_threads = True  # an idle connection does not keep the server from stopping

    def __init__(self, handler: Handler, listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[:2], GatewayRequest, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._handler = handler
        self._one_at_a_time = threading.Lock()

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return what the handler returns; if it raises, what API Gateway makes of that."""
        with self._one_at_a_time:
            try:
                return self._handler(event, LocalContext())
            except Exception:
                logger.exception("the handler failed")
                body = json.dumps({"message": "Internal server error"})
                headers = {"Content-Type": "application/json"}
                return {"statusCode": HTTPStatus.BAD_GATEWAY, "headers": headers, "body": body}


class GatewayRequest(BaseHTTPRequestHandler):
    """One connection: each of its requests goes to the server's handler."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: GatewayServer

    def respond(self) -> None:
        """Pass one request on, and write what comes back."""
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True  # its body is left unread
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        response = self.server.invoke(self.proxy_event())
        body = response.get("body") or ""
        content = base64.b64decode(body) if response.get("isBase64Encoded") else body.encode()
        self.send_response_only(response["statusCode"])
        for name, value in response.get("headers", {}).items():
            self.send_header(name, str(value))
        for name, values in response.get("multiValueHeaders", {}).items():
            for value in values:
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # the base class looks up do_GET and so on: all are alike here
            return self.respond
        raise AttributeError(name)

    def proxy_event(self) -> dict[str, Any]:
        """Return the request as an event."""
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = list(self.headers.items())
        return proxy_event(self.command, unquote(address.path), address.query, headers, body)

    def log_message(self, *_: object) -> None:
        """Keep requests out of the terminal."""


def proxy_event(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> dict[str, Any]:
    """Return the REST proxy event of a request; a body that is not UTF-8 is sent as base64."""
    parameters = parse_qsl(query, keep_blank_values=True)
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": dict(headers),
        "multiValueHeaders": group(headers),
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
    """Return the values of each name, in order.

    Examples
    --------
    >>> group([("a", "1"), ("b", "2"), ("a", "3")])
    {'a': ['1', '3'], 'b': ['2']}
    """
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped
