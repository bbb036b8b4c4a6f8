"""The laptop's door under load, beside the service this project started from."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.speed.bucket import NAMED_ESTIMATOR, VALUE_FOREST
from benchmarks.speed.errors import WorkerError
from benchmarks.speed.figures import SECONDS, Figure, Growth, Row
from benchmarks.speed.machine import ALIKE
from benchmarks.speed.process import ROOT
from benchmarks.speed.sections.warm import percentile_99
from benchmarks.speed.setting import OURS, Setting

CLIENTS = 50
ROUNDS = 3
FASTAPI = "FastAPI (uvicorn)"


@contextmanager
def door(setting: Setting, name: str, path: list[Path]) -> Iterator[str]:
    """Serve by HTTP in a process of its own, bound to the core that is measured on."""
    model_file = setting.folder / "forest.joblib"
    model_file.write_bytes(setting.bucket.models.estimators[NAMED_ESTIMATOR])
    with subprocess.Popen(
        [
            *setting.machine.pin,
            *(str(setting.installed().python_of_peers()), "-m", "benchmarks.speed.peers.doors"),
            name,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            **ALIKE,
            **setting.bucket.environment,
            "DEFAULT_MODEL": VALUE_FOREST,
            "MODEL_FILE": str(model_file),
            "POWERTOOLS_METRICS_DISABLED": "true",
            "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()


def ask(url: str, seconds: float) -> dict[str, Any]:
    """Return what clients in another process saw."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.speed.clients"),
            *(url, str(CLIENTS), str(seconds)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerError(f"the clients of {url}: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def load(setting: Setting) -> list[Row | Growth]:
    """Measure answers under load: clients in a process of their own, on the other cores."""
    installed, seconds = setting.installed(), setting.pick(30.0, 2.0) / ROUNDS
    package = installed.package(installed.architecture, has_bytecode=True)
    times: dict[str, list[list[float]]] = {OURS: [], FASTAPI: []}
    failed = dict.fromkeys(times, 0)
    with door(setting, "handler", [package]) as ours, door(setting, "fastapi", []) as service:
        for number in range(ROUNDS):
            for who, url in ((OURS, ours), (FASTAPI, service)):
                setting.tell(f"load: {CLIENTS} clients, round {number + 1} of {ROUNDS}, {who}")
                given = ask(url, seconds)
                times[who].append(given["times"])
                failed[who] += given["failed"]
    counts = {who: sum(map(len, rounds)) for who, rounds in times.items()}
    how = f"{CLIENTS} clients at once for {seconds * ROUNDS:.0f} s over HTTP on this machine; "
    how += "; ".join(
        f"{who}: {count:,} answers ({count / seconds / ROUNDS:,.0f} a second), {failed[who]} failed"
        for who, count in counts.items()
    )
    rows: list[Row | Growth] = []
    for name, what, statistic in (
        ("load-p50", "Under load, median", statistics.median),
        ("load-p99", "Under load, 99th percentile", percentile_99),
    ):
        ours_figure, peer = (Figure.of(who, map(statistic, times[who])) for who in times)
        rows.append(Row(name, what, how, SECONDS, ours_figure, (peer,)))
    return rows
