"""The local stack: the gateway stops on every signal, prints no metrics, and one event is JSON."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import requests
from rich.console import Console

from local import LocalError, PortInUseError
from local.events import send_event
from local.gateway import listen, serve

ROOT = Path(__file__).parents[2]
# env.json holds variables for `sam local invoke`
RETRAINING = sorted((ROOT / "events").glob("retraining-*.json"))
EVENTS = sorted({*(ROOT / "events").glob("*.json")} - {ROOT / "events" / "env.json", *RETRAINING})

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


def test_listens_on_this_machine_only_unless_a_container_needs_more() -> None:
    with listen(0) as default, listen(0, "0.0.0.0") as everywhere:
        assert default.getsockname()[0] == "127.0.0.1"
        assert everywhere.getsockname()[0] == "0.0.0.0"
        with pytest.raises(PortInUseError):
            listen(default.getsockname()[1])
    with pytest.raises(LocalError, match=r"no-such-host\.invalid:80 can't be used"):
        listen(80, "no-such-host.invalid")


class TestGateway:
    """HTTP in, REST proxy event out, and back."""

    @pytest.fixture
    def served(self) -> Any:
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
import sys
from local.demo import api_handler
from local.gateway import listen, serve
from local.stack import use_local_bucket
import requests
use_local_bucket(*sys.argv[1:], "ec2-cpu", 300.0)
with serve(api_handler(), listen(0)) as url, requests.Session() as session:
    for _ in range(120):
        assert session.post(url + "/predict", json={"value": 95.0}, timeout=20).status_code == 200
"""


def test_the_demos_api_prints_no_metrics(published_model: Any) -> None:
    arguments = (published_model.endpoint_url, published_model.bucket)
    done = start("-c", DEMO_API, *arguments)
    out, err = done.communicate(timeout=60)
    assert (done.returncode, out) == (0, ""), err


SEND_EACH = """
import json, sys
from io import StringIO
from pathlib import Path
from rich.console import Console
from local.events import send_event

for path in map(Path, sys.argv[1:]):
    for name in ("ops_anomaly.api.handler", "ops_anomaly.watcher.handler"):
        sys.modules.pop(name, None)  # the environment is read when it is imported
    output = StringIO()
    result = send_event(path, Console(file=output))
    print(json.dumps({"result": result, "output": output.getvalue()}))
"""

SILENT = {
    "unknown",
    "incidents",  # of which there are none
    "alarm-insufficient",
    "alarm-metric-ok",
    "alarm-metric-ok-action",
}
"""Samples on which the watcher publishes nothing."""

WITHOUT_MODEL = {"model": 404, "predict-wrong-key": 422} | dict.fromkeys(
    ("health", "predict-normal", "predict-anomaly", "predict-anomaly-small"), 503
)
"""Statuses where there is no model, of requests that need one or are wrong; else 200."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of all samples, by name; sent one after another from an empty folder."""
    process = start("-c", SEND_EACH, *map(str, EVENTS), cwd=tmp_path_factory.mktemp("events"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return {
        path.stem: json.loads(line) for path, line in zip(EVENTS, out.splitlines(), strict=True)
    }


@pytest.mark.parametrize("path", RETRAINING, ids=lambda path: path.stem)
def test_an_event_of_nightly_training_says_where_it_can_be_tried(path: Path) -> None:
    with pytest.raises(LocalError, match=r"sam local invoke .* ops-anomaly train --watch"):
        send_event(path, Console(file=StringIO()))


@pytest.mark.parametrize("name", [path.stem for path in EVENTS])
def test_every_sample_event_is_handled(sent: dict[str, Any], name: str) -> None:
    result, output = sent[name]["result"], sent[name]["output"]
    if name == "azure-key":
        assert result["usageIdentifierKey"] == "not-a-key"
    elif "statusCode" in result:
        assert result["statusCode"] == WITHOUT_MODEL.get(name, 200)
        assert "No model in runs/ec2-cpu" in output
    elif name == "feedback":
        assert result == {}
        assert "has no incident, so nothing was kept" in " ".join(output.split())
    elif name == "widget":
        assert "No open incidents" in result["html"]
    elif name in SILENT:
        assert result == {"events": [], "messages": []}
    else:
        assert result["events"]
        assert "run away" in output or "runs away" in output
        assert "1 metrics" not in output


@pytest.mark.parametrize("name", ["detect", "docs", "alarm-metric"])
def test_event_prints_json_alone(name: str, tmp_path: Path) -> None:
    done = start("-m", "local", "event", str(ROOT / f"events/{name}.json"), cwd=tmp_path)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert json.loads(out)
    assert err


def test_a_file_without_an_event_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text("{")
    with pytest.raises(LocalError, match="does not hold an event in JSON"):
        send_event(path, Console(file=StringIO()))
