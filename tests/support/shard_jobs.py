"""A fleet in memory: machines, the watcher that evaluates them, and what it reports and sends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.objects import FEEDBACK_KEY, FLEET_KEY, state_key
from ops_anomaly.watcher.fleet import FleetList
from ops_anomaly.watcher.incident_job import IncidentJob
from ops_anomaly.watcher.incidents import HOLD_MS
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.shard_job import ShardRunner
from ops_anomaly.watcher.state import CheckpointStore, ShardState, decode_shard_state
from ops_anomaly.watcher.telemetry import ShardReport
from ops_anomaly.watcher.watch_file import Options
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeChannel, FakeStore, channels
from tests.support.watcher import NOON, WallClock, machines, stored_fleet

PERIOD = 300
DAY = 288
SPIKE = 95.0
NAN = float("nan")
STATE = state_key(0)
TIMEOUT_MS = 240_000
QUOTA = 39_600.0
OPENED, CLOSED = "Incident Opened", "Incident Closed"


class RacingStore(FakeStore):
    """A bucket that lets somebody else go first, before the next writes."""

    def __init__(self) -> None:
        super().__init__()
        self.others: list[Callable[[], object]] = []

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        if self.others:
            self.others.pop(0)()
        return super().write(key, data, if_etag)


class FakeTelemetry:
    """Records what is reported."""

    def __init__(self) -> None:
        self.rebuilt: list[str] = []
        self.refused_metrics: list[Metric] = []
        self.unavailable_models: list[str] = []
        self.expired_notifications: list[Notification] = []
        self.unknown_events: list[str] = []

    def state_rebuilt(self, key: str) -> None:
        self.rebuilt.append(key)

    def refused(self, metric: Metric, error: Exception) -> None:
        self.refused_metrics.append(metric)

    def model_unavailable(self, name: str, error: Exception) -> None:
        self.unavailable_models.append(name)

    def feedback_unreadable(self, error: Exception) -> None:
        self.rebuilt.append(FEEDBACK_KEY)

    def unknown_event(self, error: Exception) -> None:
        self.unknown_events.append(str(error))

    def expired(self, notification: Notification) -> None:
        self.expired_notifications.append(notification)


class World:
    """Machines with a normal load from two days before noon until a day after; and their watcher.

    Parameters
    ----------
    count
        How many machines there are.
    more
        Options of their entry in the watch file.
    """

    def __init__(self, count: int = 2, statistic: str = "Average", **more: object) -> None:
        self.store, self.cloudwatch, self.clock = RacingStore(), FakeCloudWatch(), WallClock()
        self.event, self.message = FakeChannel(), FakeChannel()
        self.telemetry = FakeTelemetry()
        self.slept: list[float] = []
        self.shards = 1
        self.metrics = machines(count, PERIOD, statistic)
        self.options = Options(**{"name": "cpu", "history_days": 3} | more)
        for number, metric in enumerate(self.metrics):
            self.cloudwatch.put(metric, NOON - 2 * DAY * PERIOD, normal_load(number))
        self.runner = self.new_runner()
        self.incidents = self.new_incident_job()

    def new_runner(self) -> ShardRunner:
        """Return another instance of the function, which has nothing in memory."""
        models = ModelRegistry(
            self.store,
            ttl_seconds=300,
            cache_bytes=10**6,
            on_refresh_failed=print,
            clock=lambda: self.clock.seconds,
        )
        return ShardRunner(
            self.cloudwatch,
            self.store,
            FleetList(self.store, self.telemetry.state_rebuilt),
            models,
            CheckpointStore(self.store),
            self.telemetry,
            self.clock,
            QUOTA,
            self.slept.append,
        )

    def new_incident_job(self) -> IncidentJob:
        """Return the incident job of another instance of the function."""
        return IncidentJob(
            self.store,
            FleetList(self.store, self.telemetry.state_rebuilt),
            channels(event=self.event, message=self.message),
            self.telemetry,
            page=None,
            bucket=None,
            clock=self.clock,
        )

    def set(self, value: float, *periods: int, of: int = 0) -> None:
        """Give a machine this value in these periods after noon; NaN is none."""
        series = self.cloudwatch.series[self.metrics[of]]
        for period in periods:
            series.pop(NOON + period * PERIOD, None)
            self.cloudwatch.put(self.metrics[of], NOON + period * PERIOD, [value])

    def run(
        self,
        tick: int,
        by: ShardRunner | None = None,
        remaining_ms: Callable[[], int] = lambda: TIMEOUT_MS,
    ) -> ShardReport | None:
        """Evaluate the machines once so many periods after noon are over."""
        return self.run_at(NOON + tick * PERIOD + 90.0, by, remaining_ms)

    def run_at(
        self,
        seconds: float,
        by: ShardRunner | None = None,
        remaining_ms: Callable[[], int] = lambda: TIMEOUT_MS,
    ) -> ShardReport | None:
        """Evaluate the machines at a time, and let people be notified of what was found."""
        report = self.run_quietly_at(seconds, by, remaining_ms)
        self.notify()
        return report

    def run_quietly(self, tick: int) -> ShardReport | None:
        """Evaluate the machines as `run` does, and leave it to a test to notify people."""
        return self.run_quietly_at(NOON + tick * PERIOD + 90.0)

    def run_quietly_at(
        self,
        seconds: float,
        by: ShardRunner | None = None,
        remaining_ms: Callable[[], int] = lambda: TIMEOUT_MS,
    ) -> ShardReport | None:
        """Evaluate the machines at a time, and leave it to a test to notify people."""
        self.clock.seconds = seconds
        fleet = stored_fleet(self.metrics, self.options, self.shards)
        if self.store.objects.get(FLEET_KEY) != fleet:
            self.store.objects[FLEET_KEY] = fleet
        return (by or self.runner).run(0, remaining_ms)

    @property
    def sent(self) -> list[tuple[str, str]]:
        """The first machine and the detail type of what both channels got."""
        assert [n.id for n in self.event.sent] == [n.id for n in self.message.sent]
        return [
            (each.detail["members"][0]["metric"]["dimensions"]["InstanceId"], each.detail_type)
            for each in self.event.sent
        ]

    def notify(self) -> None:
        """Run the incident job, when what the last shard job found is held no longer."""
        seconds = self.clock.seconds
        self.clock.seconds += HOLD_MS / 1000
        self.incidents.run()
        self.clock.seconds = seconds

    @property
    def state_written(self) -> bool:
        """Whether anything has been committed yet."""
        return STATE in self.store.objects

    @property
    def state(self) -> ShardState:
        return decode_shard_state(self.store.objects[STATE].data)


def normal_load(seed: int) -> np.ndarray:
    """Return three days of a machine's load: a daily rhythm and a little noise."""
    daily = 10.0 * np.sin(2 * np.pi * np.arange(3 * DAY) / DAY)
    return 30.0 + daily + np.random.default_rng(seed).normal(0.0, 0.3, 3 * DAY)
