"""What a look at 500 metrics costs in processor time: python -m benchmarks.speed.fleet_speed.

One shard, as the function gets its turn: memory is read from a bucket in memory, the answer of a
CloudWatch in memory is put into the grids, everything is judged, and memory is written. What AWS's
clients and networks cost is not in it. Run it with OPENBLAS_NUM_THREADS=1 for one core's time.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ops_anomaly.detection.artifact import pack
from ops_anomaly.watcher.watch_file import Options
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeStore
from tests.support.watcher import NOON, WallClock, machines, make_watcher, turn_event
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources.simulated import simulate_ec2_cpu

METRICS = 500
PERIOD = 300
TICKS = 6
MODEL = "ec2-cpu"


@dataclass(frozen=True)
class Case:
    """A fleet: how many readings each metric has, and whether a model judges it."""

    readings: int
    has_model: bool

    @property
    def options(self) -> Options:
        """The entry of the watch file."""
        days = max(round(self.readings * PERIOD / 86_400), 1)
        return Options(name="all", model=MODEL if self.has_model else None, history_days=days)


def processor_seconds(case: Case, artifact: bytes) -> tuple[float, list[float], float]:
    """Return the processor time of a fleet's first look, those after it, and another instance's."""
    store, cloudwatch, clock = FakeStore(), FakeCloudWatch(), WallClock()
    store.put_model(MODEL, artifact)
    metrics = machines(METRICS, PERIOD)
    random = np.random.default_rng(1)
    begin = NOON - case.readings * PERIOD
    by_day = 10.0 * np.sin(np.arange(case.readings + TICKS) * 2 * np.pi / 288)
    for metric in metrics:
        values = 30.0 + by_day + random.normal(0.0, 1.0, len(by_day))
        cloudwatch.put(metric, begin, values)
    watcher = make_watcher(store, lambda service: cloudwatch, clock)
    spent = []
    for tick in range(TICKS):
        if tick == TICKS - 1:  # another instance of the function, which knows nothing yet
            watcher = make_watcher(store, lambda service: cloudwatch, clock)
        clock.seconds = NOON + tick * PERIOD + 90.0
        event = turn_event(metrics, case.options, clock)
        started = time.process_time()
        watcher.take(event)
        spent.append(time.process_time() - started)
    return spent[0], spent[1:-1], spent[-1]


def main() -> None:
    """Measure and print."""
    os.environ.update(POWERTOOLS_METRICS_DISABLED="true", POWERTOOLS_LOG_LEVEL="CRITICAL")
    series = simulate_ec2_cpu()
    model = fit_contextual_forest(series.part(0, 2016), 42).detector
    artifact = pack(model, MODEL, libraries={}, training_data={"readings": 2016}, figures={})
    cases = [Case(n, has_model=m) for n in (288, 4032) for m in (False, True)]
    table = Table("history of each metric", "judged by", "first look", "after it", "cold start")
    for case in track(cases, "looking", transient=True):
        first, rest, cold = processor_seconds(case, artifact)
        table.add_row(
            f"{case.readings:,} readings",
            "a model" if case.has_model else "itself",
            f"{first:.2f} s",
            f"{statistics.median(rest):.2f} s ({min(rest):.2f} to {max(rest):.2f})",
            f"{cold:.2f} s",
        )
    table.title = f"Processor time of one look at {METRICS} metrics"
    Console().print(table)


if __name__ == "__main__":
    main()
