"""A fleet to retrain in tests: metrics of half an hour, models in memory, and what goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ops_anomaly.aws.cloudwatch import Metric, Span
from ops_anomaly.detection.artifact import digest
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import PER_METRIC, Options
from training import PublishConflictError
from training.retraining.documents import RunPlan, Services
from training.retraining.services import FolderStore
from training.sources.series import DAY_MS, LabelledSeries
from training.versions import PublishedArtifact

PERIOD_MS = 1_800_000
DAYS = 14
UNTIL = 1_780_012_800_000
"""A midnight."""

PLAN = RunPlan(run="2026-05-29T000000Z", until=UNTIL, kinds=("contextual",), places=1)


def load(host: str) -> Metric:
    return Metric("Shop/Web", "Load", (("Host", host),), "Average", 1_800)


def fleet_of(*hosts: str) -> list[Watched]:
    return [Watched(Options(name="web", model=PER_METRIC), [load(host) for host in hosts])]


def daily(name: str, until: int = UNTIL, days: int = DAYS) -> LabelledSeries:
    """Return a metric that has a day and some noise, the same whenever it is read."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    ages = np.arange(60 * DAY_MS // PERIOD_MS)  # before a time that no test reaches
    noise = np.random.default_rng(seed).normal(0.0, 2.0, len(ages))
    times = UNTIL + 20 * DAY_MS - PERIOD_MS * (ages + 1)
    values = 50 + 20 * np.sin(2 * np.pi * times / DAY_MS) + noise
    kept = (times < until) & (times >= until - days * DAY_MS)
    return LabelledSeries(name, "a test", Series(times[kept][::-1], values[kept][::-1]))


def changed(series: LabelledSeries, change: Callable[[np.ndarray], None]) -> LabelledSeries:
    """Return the series after its values were changed in place."""
    values = series.values.copy()
    change(values)
    return LabelledSeries(series.name, series.origin, Series(series.times, values))


def read_daily(spans: Sequence[Span]) -> Mapping[Metric, LabelledSeries]:
    days = DAY_MS // 1000
    return {
        each.metric: daily(str(each.metric), 1000 * each.end, (each.end - each.start) // days)
        for each in spans
    }


@dataclass
class MemoryModels:
    """Models in memory, published on condition as a bucket does it."""

    live: dict[str, PublishedArtifact] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    index: dict[str, str] = field(default_factory=dict)
    bucket: str = "my-models"

    def read(self, name: str) -> PublishedArtifact | None:
        return self.live.get(name)

    def publish(
        self, name: str, data: bytes, *, run: str, created: str, replaces: str | None
    ) -> str:
        known = self.live.get(name)
        if (known.etag if known else None) != replaces:
            raise PublishConflictError(f"{name}: somebody else published")
        self.published.append(name)
        version = f"v{len(self.published)}"
        self.live[name] = PublishedArtifact(data, version, digest(data), version, run)
        return version

    def update_index(self, names: Collection[str]) -> None:
        self.index |= {name: self.live[name].version for name in names if name in self.live}


@dataclass(frozen=True)
class InFolder:
    """Services that a worker can connect to: a run in a folder, and metrics that are made."""

    folder: Path

    def __call__(self) -> Services:
        return Services(FolderStore(self.folder), read_daily, clock=lambda: UNTIL / 1000 + 90)
