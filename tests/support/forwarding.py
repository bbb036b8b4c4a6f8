"""A server in front of another one, such as moto's: what a test puts between client and service."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import urlsplit

OF_THE_CONNECTION = {"connection", "expect", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """A request; `target` is its path with the query, `headers` have names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return urlsplit(self.target).query


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class ForwardingServer(ThreadingHTTPServer):
    """Forwards every request; subclasses say what else happens to some."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.send_to(behind)
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def send_to(self, behind: str) -> None:
        """Forward to this server from now on."""
        self.behind = urlsplit(behind).netloc

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless it is a client that has gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def respond(self, request: Request) -> Response | None:
        """Return the response to a request, or None to hang up."""
        return self.forward(request)

    def forward(self, request: Request) -> Response:
        """Return the response of the server behind."""
        connection = HTTPConnection(self.behind, timeout=20)
        try:
            connection.request(request.method, request.target, request.body, request.headers)
            response = connection.getresponse()
            return Response(response.status, of_the_message(response.headers), response.read())
        finally:
            connection.close()


class Handler(BaseHTTPRequestHandler):
    server: ForwardingServer
    protocol_version = "HTTP/1.1"  # boto3 waits for "100 Continue" before it sends a body

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, of_the_message(self.headers), body)
        response = self.server.respond(request)
        if response is None:
            self.close_connection = True
            return
        self.send_response(response.status)
        length = {} if self.command == "HEAD" else {"content-length": str(len(response.body))}
        for name, value in {**response.headers, **length}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def of_the_message(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are not about the connection."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return {name: lowered[name] for name in lowered.keys() - OF_THE_CONNECTION}


Server = TypeVar("Server", bound=ForwardingServer)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server in a thread; stop it afterwards."""
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
