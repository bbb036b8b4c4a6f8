"""The laptop demo as a newcomer runs it, from a folder where nothing was done before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


SMALL = """
import sys
from rich.console import Console
from local.demo import demo
from training.run import Settings

small = Settings("ec2-cpu", max_epochs=6, max_places=2)
demo(0, None, once="--once" in sys.argv, console=Console(), settings=small)
"""
"""The demo with less training: `make demo ONCE=1` runs it in full."""


def start(workplace: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}",
        "COLUMNS": "200",
        # no network and an empty cache: the demo has to simulate its data
        "XDG_CACHE_HOME": str(workplace / "cache"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    environment.pop("NAB_ROOT", None)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=workplace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def curl_lines_work(lines: list[str], workplace: Path) -> bool:
    """Run what the demo printed in a shell; each must return what was printed below it."""
    if shutil.which("curl") is None:
        return True
    commands = [number for number, line in enumerate(lines) if line.startswith("$ curl")]
    for number in commands:
        done = subprocess.run(
            ["sh", "-c", lines[number][2:].strip() + " -sS -w ' %{http_code}'"],
            cwd=workplace,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.endswith(lines[number + 1].split()[0]), lines[number]
    return len(commands) == 7


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_once_runs_everything_and_ends(workplace: Path) -> None:
    code, out, err = finished(start(workplace, "-c", SMALL, "--once"))
    assert code == 0, err
    assert "Using a simulated EC2 CPU series" in out
    assert "VersionId" in out
    assert '{"is_anomaly":true,"predicted_value":-1}' in out
    assert "one event and one message" in out
    assert "All responses are as they should be." in out
    assert "you would have been notified of 5 incidents" in out
    page = Path(out.splitlines()[-1].removeprefix("Open this in a browser: file://"))
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_later_it_reuses_the_run_and_serves_until_ctrl_c(workplace: Path) -> None:
    process = start(workplace, "-c", SMALL)
    assert process.stdout
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving on"):
                break
        url = lines[-1].split()[2]
        response = requests.post(f"{url}/predict", json={"value": 95.0}, timeout=20)
        assert response.json()["is_anomaly"]
        page = requests.get(f"{url}/console", timeout=20)
        assert page.status_code == 200
        assert "<svg" in page.text, "the machine that has run away, with its chart"
        assert curl_lines_work(lines, workplace)
    finally:
        process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert code == 0, err
    assert "Reusing the run" in "".join(lines)
    assert "Stopped" in out


def test_a_port_in_use_is_reported_before_anything_else(workplace: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = finished(start(workplace, "-m", "local", "demo", "--port", str(port)))
    assert code == 1
    assert f"port {port} is in use" in err
    assert "Data" not in out
