"""A fleet that is looked at: machines in memory, their watcher, and what it reports and tells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.objects import state_key
from ops_anomaly.watcher.checkpoints import CheckpointCache, CheckpointStore
from ops_anomaly.watcher.evaluation import Evaluator
from ops_anomaly.watcher.fleet import Watched, shard_of
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.shard_job import ShardReport, ShardRunner
from ops_anomaly.watcher.state import ShardState, decode_shard_state
from ops_anomaly.watcher.watch_file import Options
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeChannel, FakeStore
from tests.support.watcher import NOON, WallClock, machines

PERIOD = 300
DAY = 288
SPIKE = 95.0
NAN = float("nan")
STATE = state_key(1, 0)
OPENED, CLOSED = "Anomaly Opened", "Anomaly Closed"


class RacingStore(FakeStore):
    """A bucket that lets somebody else go first, before the next writes."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Callable[[], object]] = []

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        if self.others:
            self.others.pop(0)()
        return super().write(key, data, if_etag)


class FakeReporter:
    """Remembers what is reported."""

    def __init__(self) -> None:
        self.rebuilt: list[str] = []
        self.refusals: list[Metric] = []
        self.absent: list[str] = []
        self.gave_up: list[Notification] = []

    def state_rebuilt(self, key: str) -> None:
        self.rebuilt.append(key)

    def refused(self, metric: Metric, error: Exception) -> None:
        self.refusals.append(metric)

    def model_unavailable(self, name: str, error: Exception) -> None:
        self.absent.append(name)

    def given_up(self, notice: Notification) -> None:
        self.gave_up.append(notice)


class World:
    """Machines that are ordinary, for two days before noon and a day after it; and their watcher.

    Parameters
    ----------
    count
        How many machines there are.
    more
        Options of how they are watched.
    """

    def __init__(self, count: int = 2, **more: object) -> None:
        self.store, self.cloudwatch, self.clock = RacingStore(), FakeCloudWatch(), WallClock()
        self.event, self.message = FakeChannel("event"), FakeChannel("message")
        self.reporter = FakeReporter()
        self.metrics = machines(count, PERIOD)
        self.options = Options(**{"name": "cpu", "history_days": 3} | more)
        for number, metric in enumerate(self.metrics):
            self.cloudwatch.put(metric, NOON - 2 * DAY * PERIOD, ordinary(number))
        self.watcher = self.new_watcher()

    def new_watcher(self) -> ShardRunner:
        """Return another instance of the function, which remembers nothing itself."""
        places = CheckpointCache()
        models = ModelRegistry(
            self.store, ttl_seconds=300, cache_bytes=10**6, on_refresh_failed=print
        )
        return ShardRunner(
            self.cloudwatch,
            self.store,
            Evaluator(models, places, self.reporter.model_unavailable),
            places,
            CheckpointStore(self.store),
            [self.event, self.message],
            self.reporter,
            self.clock,
        )

    def set(self, value: float, *slots: int, of: int = 0) -> None:
        """Let a machine have this value in these periods after noon; NaN is none."""
        series = self.cloudwatch.series[self.metrics[of]]
        for slot in slots:
            series.pop(NOON + slot * PERIOD, None)
            self.cloudwatch.put(self.metrics[of], NOON + slot * PERIOD, [value])

    def look(
        self, tick: int, by: ShardRunner | None = None, of: int = 1, shard: int = 0
    ) -> ShardReport:
        """Look when so many periods after noon are over."""
        self.clock.seconds = NOON + tick * PERIOD + 90.0
        own = [metric for metric in self.metrics if shard_of(metric, of) == shard]
        return (by or self.watcher).look(of, shard, [Watched(self.options, own)])

    @property
    def told(self) -> list[tuple[str, str]]:
        """What programs were told: of which machine, and what."""
        assert [n.id for n in self.event.told] == [n.id for n in self.message.told]
        return [
            (notice.detail["metric"]["dimensions"]["InstanceId"], notice.detail_type)
            for notice in self.event.told
        ]

    @property
    def memory(self) -> ShardState:
        return decode_shard_state(self.store.objects[STATE].data)


def ordinary(seed: int) -> np.ndarray:
    """Return three days of a machine's load: by the time of day, and a little at random."""
    by_day = 10.0 * np.sin(2 * np.pi * np.arange(3 * DAY) / DAY)
    return 30.0 + by_day + np.random.default_rng(seed).normal(0.0, 0.3, 3 * DAY)
