"""A fleet in moto: CloudWatch, S3, EventBridge and SNS into SQS, and SQS for shard jobs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from local.events import put_series
from local.stack import WatchStack, make_watch_stack
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import S3ObjectStore
from ops_anomaly.watcher.service import Watcher, WatchSettings
from ops_anomaly.watcher.watch_file import parse_watch_file, write_watch_file
from tests.conftest import Bucket
from tests.support.roles import EnforcedRole, names_of, role_of
from tests.support.watcher import NOON, TIMEOUT_MS, WallClock, make_watcher

PERIOD = 1_800
HISTORY = 3 * 48
"""Readings before the first evaluation: moto reads each of them slowly."""


class WatchedFleet:
    """Machines with a metric each, and the watcher on a schedule.

    Parameters
    ----------
    parameters
        Of the template, by which the watcher's role may do more.

    Attributes
    ----------
    now : int
        Where the last period that has been put ends.
    role : EnforcedRole
        What the watcher's requests go through; to be run.
    """

    def __init__(self, bucket: Bucket, machines: int, **parameters: str) -> None:
        self.stack: WatchStack = make_watch_stack(bucket.endpoint_url, f"w-{uuid.uuid4().hex[:12]}")
        self.bucket, self.clock, self.now = bucket, WallClock(), NOON
        self.tag = uuid.uuid4().hex[:8]  # moto ignores namespaces of metrics with dimensions
        self.namespace = f"Fleet/{self.tag}"
        names = names_of(bucket.name, self.stack)
        statements = role_of("WatchFunction", names, EventBus="Own", **parameters)
        self.role = EnforcedRole(bucket.endpoint_url, statements)
        self.client: Callable[[str], Any] = self.role.client
        self.random = np.random.default_rng(7)
        self.machines = [self.machine(number) for number in range(machines)]
        self.watcher = self.new_watcher()

    def machine(self, number: int) -> Metric:
        dimensions = (("InstanceId", f"i-{self.tag}-{number:04}"),)
        return Metric(self.namespace, "CPUUtilization", dimensions, "Average", PERIOD)

    def new_watcher(self) -> Watcher:
        """Return another instance of the function, which has nothing in memory."""
        settings = WatchSettings(
            bucket=self.bucket.name,
            event_bus=self.stack.event_bus,
            alert_topic=self.stack.alert_topic,
            shard_queue=self.stack.shard_queue,
        )
        store = S3ObjectStore(self.bucket.name)
        return make_watcher(store, self.client_now, self.clock, settings)

    def client_now(self, service: str) -> Any:
        """Return a client as `client` makes them at the moment: a test may change that."""
        return self.client(service)

    def publish_watch_file(self, **options: Any) -> None:
        selector = {
            "name": "machines",
            "namespace": self.namespace,
            "metric": "CPUUtilization",
            "dimensions": {"InstanceId": "i-*"},
            "statistic": "Average",
            "period": PERIOD,
            "history_days": 3,
            "sensitivity": 0.02,
            **options,
        }
        watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
        self.bucket.s3.put_object(
            Bucket=self.bucket.name, Key="watch/watch.json", Body=write_watch_file(watch_file)
        )

    def normal_load(self, count: int) -> np.ndarray:
        """Return so many normal readings, the last of them now."""
        times = self.now + PERIOD * np.arange(1 - count, 1)
        daily = 6.0 * np.sin(2 * np.pi * times / 86_400)
        return (30.0 + daily + self.random.normal(0.0, 0.8, count)).round(3)

    def put_history(self) -> None:
        for metric in self.machines:
            put_series(self.stack.client("cloudwatch"), metric, self.now, self.normal_load(HISTORY))

    def put(self, metric: Metric, values: Iterable[float], until: int | None = None) -> None:
        put_series(self.stack.client("cloudwatch"), metric, until or self.now, values)

    def pass_period(self, *, silent: Iterable[Metric] = (), **unusual: float) -> None:
        """Let a period pass; machines have a normal reading, or an unusual one (m3=95)."""
        self.now += PERIOD
        for number, metric in enumerate(self.machines):
            if metric not in silent:
                self.put(metric, [unusual.get(f"m{number}", float(self.normal_load(1)[0]))])

    def tick(self) -> None:
        """Let the schedule tick, run all shard jobs, and a minute later the incident job."""
        self.clock.seconds = self.now + 90.0
        self.dispatch({"watch": "fleet"})
        self.run_queued()
        self.clock.advance(60.0)
        self.dispatch({"watch": "incidents"})

    def run_queued(self) -> int:
        return self.stack.run_queued(
            self.stack.shard_queue, lambda event, _: self.dispatch(event), None
        )

    def dispatch(self, event: Any) -> None:
        self.watcher.dispatch(event, lambda: TIMEOUT_MS)

    def sent(self) -> list[tuple[str, str]]:
        """Return the type of what has come over the bus since the last time, and its machines."""
        return [
            (event["detail-type"], ", ".join(machines_of(event["detail"])))
            for event in self.stack.drain_events()
        ]


def machines_of(detail: Mapping[str, Any]) -> list[str]:
    """Return the numbers of an incident's machines, the first member's first."""
    metrics = [member["metric"] for member in detail["members"]]
    return [each["dimensions"]["InstanceId"][-4:] for each in metrics]
