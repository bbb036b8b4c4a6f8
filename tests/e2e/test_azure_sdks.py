"""The unchanged clients of Azure AI Anomaly Detector against the local gateway.

Each is installed from its registry into a folder of its own, and skipped where that can't be done.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.gateway import listen, serve
from tests.support.api_client import Api
from tests.support.keyed_gateway import with_keys

PROGRAMS = Path(__file__).parents[1] / "support" / "azure_sdks"
KEY = "a-key-of-the-usage-plan"

NEW = "azure-ai-anomalydetector"
PYTHON = [f"{NEW}==3.0.0b6", f"{NEW}==3.0.0b4", f"{NEW}==3.0.0b2"]
FIRST = "azure-cognitiveservices-anomalydetector==0.3.1"
REST = "@azure-rest/ai-anomaly-detector@1.0.0-beta.1"
CLASSIC = "@azure/ai-anomaly-detector@3.0.0-beta.5"
CLIENTS = [*PYTHON, FIRST, REST, CLASSIC]

WEEK = [10.0, 12.0, 13.0, 12.5, 14.0, 4.0, 3.0]
DAYS = 35
VALUES = [WEEK[day % 7] + (30 if day == DAYS - 1 else 0) for day in range(DAYS)]
REQUEST = {
    "series": [
        {
            "timestamp": f"{(datetime(2024, 1, 1) + timedelta(days=day)).isoformat()}Z",
            "value": value,
        }
        for day, value in enumerate(VALUES)
    ]
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    api = Api(azure_compatible=True)
    with serve(with_keys(api.app.resolve, KEY), listen(0)) as url:
        yield url
    api.metrics.clear_metrics()


def run(command: list[str], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, which may not ask a proxy for what is on this machine."""
    environment = os.environ | {"NO_PROXY": "127.0.0.1"} | more.pop("env", {})
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **more
    )


@pytest.fixture(scope="module", params=CLIENTS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs a client's program against an endpoint, with a key."""
    client, folder = request.param, tmp_path_factory.mktemp("client")
    if client.startswith("@"):
        npm, node = shutil.which("npm"), shutil.which("node")
        if not npm or not node:
            pytest.skip("no node on this machine")
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"]
        install = [npm, "install", *options, client, "@azure/core-auth"]
        command = [node, str(PROGRAMS / "client.mjs"), client.rpartition("@")[0]]
        environment = {}
    else:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries=0"]
        install = [*pip, "install", "--quiet", "--target", str(folder), client]
        command = [sys.executable, str(PROGRAMS / "client.py")]
        environment = {"PYTHONPATH": str(folder)}
    installed = run(install, folder, timeout=300)
    if installed.returncode:
        pytest.skip(f"{client} can't be installed: {installed.stderr.strip()[-200:]}")

    def responses(endpoint: str, key: str) -> dict[str, Any]:
        done = run(
            [*command, endpoint, key],
            folder,
            env=environment,
            input=json.dumps(REQUEST),
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return lower_case(json.loads(done.stdout))

    return responses


def lower_case(content: Any) -> Any:
    """Return content with names as JavaScript's or Python's clients have them made alike."""
    if isinstance(content, dict):
        return {name.replace("_", "").lower(): lower_case(each) for name, each in content.items()}
    return content


def test_a_client_gets_everything_it_knows(program: Any, url: str) -> None:
    found = program(url, KEY)
    entire = found["entire"]
    flagged = [day for day, is_anomaly in enumerate(entire["isanomaly"]) if is_anomaly]
    assert (entire["period"], flagged) == (7, [DAYS - 1])
    assert entire["ispositiveanomaly"] == entire["isanomaly"]
    assert len(entire["expectedvalues"]) == len(entire["uppermargins"]) == DAYS
    last = found["last"]
    assert (last["isanomaly"], last["period"], last["suggestedwindow"]) == (True, 7, 29)
    assert last["expectedvalue"] == pytest.approx(WEEK[(DAYS - 1) % 7], abs=0.5)
    if "changepoint" in found:  # not in the first client
        assert found["changepoint"]["ischangepoint"] == [False] * DAYS
        assert len(found["changepoint"]["confidencescores"]) == DAYS
    refused = found["refused"]
    assert refused["status"] == 400
    assert "at least 12 points" in json.dumps(refused)


def test_a_client_understands_that_its_key_is_wrong(program: Any, url: str) -> None:
    found = program(url, "no-key-of-the-usage-plan")
    for operation in ("entire", "last"):
        assert found[operation]["status"] == 401
        if "APIErrorException" not in str(found):  # the first client reads flat bodies alone
            assert "invalid subscription key" in json.dumps(found[operation])


def test_an_endpoint_may_have_a_path_of_its_own(
    program: Any, request: pytest.FixtureRequest
) -> None:
    api = Api(azure_compatible=True)

    def at_a_stage(event: dict[str, Any], context: Any) -> dict[str, Any]:
        stage, _, path = event["path"].lstrip("/").partition("/")
        assert stage == "v1"
        return api.app.resolve(event | {"path": f"/{path}"}, context)

    with serve(at_a_stage, listen(0)) as url:
        last = program(f"{url}/v1", KEY)["last"]
    api.metrics.clear_metrics()
    if "status" in last and CLASSIC in str(request.node.name):
        assert last["status"] == 405  # it posts to the endpoint itself: it needs one without a path
    else:
        assert last["isanomaly"] is True
