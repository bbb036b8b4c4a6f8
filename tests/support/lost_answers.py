"""A bucket whose answers get lost: the request is carried out, and the client never hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

How = Literal["error", "hang up", "late"]
"""What the client gets instead of the answer: a 500, a closed connection, or nothing for long."""

BY_THE_CONNECTION = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Loss:
    """Answers that will be lost: those to a method at paths that end so; `times` are left."""

    method: str
    path: str
    times: int
    how: How


class LostAnswers(ThreadingHTTPServer):
    """Forwards every request to another server, and loses the answers it is told to lose.

    Attributes
    ----------
    requests : list of (str, str)
        Method and path of each request that was forwarded.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), ForwardingHandler)
        self.behind = urlsplit(behind).netloc
        self.losses: list[Loss] = []
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def lose(self, method: str, path: str, how: How = "error", times: int = 1) -> None:
        """Lose the next answers to a method at paths that end so."""
        self.losses.append(Loss(method, path, times, how))

    def loss(self, method: str, path: str) -> How | None:
        """Return how the answer to this request is lost, if it is."""
        for loss in self.losses:
            if loss.times and loss.method == method and path.endswith(loss.path):
                loss.times -= 1
                return loss.how
        return None


class ForwardingHandler(BaseHTTPRequestHandler):
    server: LostAnswers
    protocol_version = "HTTP/1.1"  # boto3 waits for "100 Continue" before it sends a body

    def forward(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, content = self.answer(body)
        self.server.requests.append((self.command, path))
        match self.server.loss(self.command, path):
            case "error":
                self.respond(500, {}, b"")
            case "hang up":
                self.close_connection = True
            case "late":
                self.server.closing.wait(10)
                self.close_connection = True
            case None:
                self.respond(status, headers, content)

    def answer(self, body: bytes) -> tuple[int, HTTPMessage, bytes]:
        connection = HTTPConnection(self.server.behind, timeout=20)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def respond(self, status: int, headers: HTTPMessage | dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in BY_THE_CONNECTION or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def lost_answers(behind: str) -> Iterator[LostAnswers]:
    """Serve what is behind, on a port of its own; stop it afterwards."""
    with LostAnswers(behind) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
