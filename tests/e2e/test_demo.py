"""The laptop demo as a newcomer runs it, from a folder where nothing was done before."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def start(workplace: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}",
        "COLUMNS": "200",
        # no way out, and nothing in the cache: the demo has to do with what it has
        "XDG_CACHE_HOME": str(workplace / "cache"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    environment.pop("NAB_ROOT", None)
    return subprocess.Popen(
        [sys.executable, "-m", "local", "demo", *arguments],
        cwd=workplace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_once_it_answers_and_ends(workplace: Path) -> None:
    code, out, err = finished(start(workplace, "--once", "--port", "0"))
    assert code == 0, err
    assert "Using a simulated EC2 CPU series" in out
    assert "VersionId" in out
    assert '{"is_anomaly":true,"predicted_value":-1}' in out
    assert "one event and one message" in out
    assert "All answers are as they should be." in out


def test_a_second_time_it_reuses_the_run_and_serves_until_interrupted(workplace: Path) -> None:
    process = start(workplace, "--port", "0")
    assert process.stdout
    told = []
    try:
        for line in process.stdout:
            told.append(line)
            if line.startswith("Serving on"):
                break
        url = told[-1].split()[2]
        answer = requests.post(f"{url}/predict", json={"value": 95.0}, timeout=20)
        assert answer.json()["is_anomaly"]
        time.sleep(1.0)  # until it waits
    finally:
        process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert code == 0, err
    assert "Reusing the run" in "".join(told)
    assert "Stopped" in out


def test_a_port_in_use_is_said_before_anything_is_done(workplace: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = finished(start(workplace, "--port", str(port)))
    assert code == 1
    assert f"port {port} is in use" in err
    assert "Data" not in out
