"""A service behind HTTP: python -m benchmarks.speed.peers.doors NAME.

Prints its URL and serves until its input ends; what it logs goes nowhere.
"""

from __future__ import annotations

import os
import sys
import threading

import uvicorn

from local.gateway import LocalGateway, listen


def app(name: str) -> object:
    """Return the ASGI app of a service."""
    if name == "fastapi":
        from benchmarks.speed.peers.fastapi_service.app import app as service

        return service
    from ops_anomaly.api.handler import lambda_handler

    return LocalGateway(lambda_handler)


def main() -> None:
    """Serve."""
    listener = listen(0)
    config = uvicorn.Config(app(sys.argv[1]), log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    thread.start()
    sys.stdin.read()
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    main()
