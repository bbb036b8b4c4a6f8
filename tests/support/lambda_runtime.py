"""Lambda on this machine: the real awslambdaric, fed by a stand-in for the Runtime API."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:api"
TIMEOUT_SECONDS = 20.0
DEADLINE_SECONDS = 240
"""What the function learns of its own timeout; the template's longest."""


class FunctionFailedError(Exception):
    """The handler or its import raised, or the runtime's process ended."""


class LambdaRuntime:
    """One execution environment: a process that takes one event at a time.

    Parameters
    ----------
    command
        What starts the runtime interface client with its handler.
    environment
        The process's whole environment, except for `AWS_LAMBDA_RUNTIME_API`.
    timeout_seconds
        How long a response may take, the start of the process included.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._command, self._folder, self._environment = command, folder, environment
        self._timeout = timeout_seconds
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._responses: queue.Queue[bytes | FunctionFailedError] = queue.Queue()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), request_handler(self._events, self._responses)
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        address = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}"}
        self._process = subprocess.Popen(
            self._command, cwd=self._folder, env={**self._environment, **address}
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._events.put(None)  # releases the thread that waits for the next event
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Return the handler's response to `event`.

        Raises
        ------
        FunctionFailedError
            If the handler or its import raised, or nothing came back in time.
        """
        self._events.put(json.dumps(event).encode())
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            try:
                response = self._responses.get(timeout=0.2)
            except queue.Empty:
                if self._process.poll() is None:
                    continue
                raise FunctionFailedError(
                    f"the runtime ended with {self._process.returncode}"
                ) from None
            if isinstance(response, FunctionFailedError):
                raise response
            return json.loads(response)
        raise FunctionFailedError(f"no response within {self._timeout:g} s")


def request_handler(
    events: queue.Queue[bytes | None], responses: queue.Queue[bytes | FunctionFailedError]
) -> type[BaseHTTPRequestHandler]:
    """Return the Runtime API over these two queues."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            event = events.get()
            if event is None:
                return
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid.uuid4()))
            deadline = int(time.time() + DEADLINE_SECONDS) * 1000
            self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", FUNCTION_ARN)
            self.send_header("Content-Type", "application/json")  # awslambdaric crashes without
            self.send_header("Content-Length", str(len(event)))
            self.end_headers()
            self.wfile.write(event)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            failed = self.path.endswith("/error")  # of one invocation, or of the import
            responses.put(FunctionFailedError(body.decode()) if failed else body)
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep requests out of the test's output."""

    return Handler
