"""The local stack: the gateway stops on every signal, prints no metrics, and one event is JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]
EVENTS = sorted((ROOT / "events").glob("*.json"))

SERVE = """
from local.gateway import listen, serve, stop_signals

def handler(event, context):
    return {"statusCode": 200, "body": event["path"]}

with stop_signals() as wait, serve(handler, listen(0)) as url:
    print(url, flush=True)
    wait()
"""


def start(*arguments: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("attempt", range(20))
def test_serving_ends_on_either_signal_whatever_is_going_on(attempt: int) -> None:
    number = (signal.SIGTERM, signal.SIGINT)[attempt % 2]
    server = start("-c", SERVE)
    assert server.stdout
    url = server.stdout.readline().strip()
    stopped = threading.Event()

    def client() -> None:
        with requests.Session() as session:
            while not stopped.is_set():
                try:
                    session.get(url, timeout=2)
                except requests.RequestException:
                    return

    clients = [threading.Thread(target=client) for _ in range(attempt % 3)]
    for each in clients:
        each.start()
    stopped.wait(random.Random(attempt).uniform(0.0, 0.05))
    server.send_signal(number)
    try:
        _, err = server.communicate(timeout=10)
    finally:
        stopped.set()
        server.kill()
        for each in clients:
            each.join()
    assert (server.returncode, err) == (0, "")


class TestGateway:
    """HTTP in, REST proxy event out, and back."""

    @pytest.fixture
    def served(self) -> Any:
        from local.gateway import listen, serve

        events: list[dict[str, Any]] = []

        def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
            events.append(event)
            if event["path"] == "/broken":
                raise ValueError
            headers = {"Content-Type": "text/plain"}
            many = {"Set-Cookie": ["a=1", "b=2"]}
            encoded = {"body": "w6k=", "isBase64Encoded": True}
            return {"statusCode": 201, "headers": headers, "multiValueHeaders": many, **encoded}

        with serve(handler, listen(0)) as url:
            yield url, events

    def test_passes_path_query_and_body_on(self, served: Any) -> None:
        url, events = served
        requests.post(f"{url}/models/a%20b?x=1&x=2&y=", data=b"\xff\x00", timeout=5)
        (event,) = events
        assert (event["httpMethod"], event["path"]) == ("POST", "/models/a b")
        assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": [""]}
        assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)

    def test_returns_status_headers_and_bytes(self, served: Any) -> None:
        response = requests.put(served[0], timeout=5)
        assert response.status_code == 201
        assert response.headers["Content-Type"] == "text/plain"
        assert response.headers["Set-Cookie"] == "a=1, b=2"
        assert response.content == b"\xc3\xa9"

    def test_sends_no_body_to_head(self, served: Any) -> None:
        with requests.Session() as session:
            assert session.head(served[0], timeout=5).content == b""
            assert session.get(served[0], timeout=5).status_code == 201  # the connection is intact

    def test_makes_a_raised_error_a_502(self, served: Any) -> None:
        response = requests.get(f"{served[0]}/broken", timeout=5)
        assert (response.status_code, response.json()) == (
            502,
            {"message": "Internal server error"},
        )

    def test_requires_a_length(self, served: Any) -> None:
        assert requests.post(served[0], data=iter([b"{}"]), timeout=5).status_code == 411


DEMO_API = """
import os
from local.demo import api_handler
from local.gateway import listen, serve
from local.stack import use_local_bucket
import requests
use_local_bucket(os.environ["URL"], os.environ["BUCKET"], "ec2-cpu", 300.0)
with serve(api_handler(), listen(0)) as url, requests.Session() as session:
    for _ in range(120):
        assert session.post(url + "/predict", json={"value": 95.0}, timeout=20).status_code == 200
"""


def test_the_demos_api_prints_no_metrics(published_model: Any) -> None:
    os.environ.update(URL=published_model.endpoint_url, BUCKET=published_model.bucket)
    done = start("-c", DEMO_API)
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out) == (0, ""), err


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_an_event_gives_json_on_standard_output(path: Path, tmp_path: Path) -> None:
    if path.stem == "env":
        pytest.skip("variables of `sam local invoke`, not an event")
    done = start("-m", "local", "event", str(path), cwd=tmp_path)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    result = json.loads(out)
    if "httpMethod" in json.loads(path.read_text(encoding="utf-8")):
        assert 200 <= result["statusCode"] < 500 or "No model" in err
    else:
        assert set(result) == {"events", "messages"}
        assert bool(result["events"]) == (path.stem not in SILENT), result


SILENT = {"unknown"}
"""Samples on which the watcher publishes nothing."""
