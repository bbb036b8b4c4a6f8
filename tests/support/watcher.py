"""The watcher over stand-ins: a clock set by hand, a bucket and a CloudWatch in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import StoredObject
from ops_anomaly.detection.artifact import digest
from ops_anomaly.watcher.events import ShardJob, encode_shard_job
from ops_anomaly.watcher.fleet import SHARD_SIZE, Fleet, Member
from ops_anomaly.watcher.service import (
    AlarmSettings,
    AlarmWatcher,
    Watcher,
    WatchSettings,
    compose_alarm_watcher,
    compose_watcher,
)
from ops_anomaly.watcher.telemetry import Telemetry
from ops_anomaly.watcher.watch_file import Options

NOON = 1_795_608_000
"""Wednesday 25 November 2026, 12:00 UTC, in seconds as CloudWatch has them."""

NOON_MS = 1000 * NOON

NOWHERE = {"bucket": "none", "event_bus": "none", "alert_topic": "none"}
WATCH_NOWHERE = WatchSettings(**NOWHERE, shard_queue="none")
ALARMS_NOWHERE = AlarmSettings(**NOWHERE, alarm_queue="none")
TIMEOUT_MS = 240_000


class WallClock:
    """Milliseconds since 1970; the seconds are set by hand."""

    def __init__(self, seconds: float = NOON) -> None:
        self.seconds = float(seconds)

    def __call__(self) -> int:
        return round(1000 * self.seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


def make_watcher(
    store: Any,
    client: Any,
    clock: WallClock,
    settings: WatchSettings = WATCH_NOWHERE,
    sleep: Callable[[float], None] = lambda _: None,
) -> Watcher:
    """Return a watcher that logs and counts as the deployed one does."""
    return compose_watcher(settings, store, client, _telemetry(), clock, sleep)


def make_alarm_watcher(
    store: Any, client: Any, clock: WallClock, settings: AlarmSettings = ALARMS_NOWHERE
) -> AlarmWatcher:
    """Return an alarm watcher that logs and counts as the deployed one does."""
    return compose_alarm_watcher(settings, store, client, _telemetry(), clock)


def _telemetry() -> Telemetry:
    return Telemetry(Logger(service="watch"), Metrics(namespace="test", service="watch"))


def machines(count: int, period: int = 300, statistic: str = "Average") -> list[Metric]:
    """Return the CPU utilisation of so many machines."""
    return [
        Metric("AWS/EC2", "CPUUtilization", (("InstanceId", f"i-{n:05}"),), statistic, period)
        for n in range(count)
    ]


def stored_fleet(
    metrics: Sequence[Metric], options: Options, least_shards: int = 1
) -> StoredObject:
    """Return the list of a fleet of one entry, as it is stored; its shards are filled in order."""
    members = [
        Member(metric=str(metric), entry=0, shard=position // SHARD_SIZE, listed_at=0)
        for position, metric in enumerate(metrics)
    ]
    shards = max([least_shards, *(each.shard + 1 for each in members)])
    fleet = Fleet(watch_file="none", listed_at=0, shards=shards, entries=[options], members=members)
    data = msgspec.json.encode(fleet)
    return StoredObject(data, etag=digest(data), version="1")


def shard_event(shard: int, clock: WallClock) -> dict[str, Any]:
    """Return a shard job, as the queue delivers it."""
    body = encode_shard_job(ShardJob(shard=shard, time=int(clock.seconds)))
    return {"Records": [{"eventSource": "aws:sqs", "body": body}]}
