"""The watcher over stand-ins: a clock set by hand, a bucket and a CloudWatch in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.fleet import Watched, encode_shard_job, shard_jobs
from ops_anomaly.watcher.service import Settings, Watcher, compose
from ops_anomaly.watcher.telemetry import Telemetry
from ops_anomaly.watcher.watch_file import Options

NOON = 1_795_608_000
"""Wednesday 25 November 2026, 12:00 UTC, in seconds as CloudWatch has them."""

NOON_MS = 1000 * NOON

NOWHERE = Settings(bucket="none", event_bus="none", alert_topic="none", shard_queue="none")


class WallClock:
    """Milliseconds since 1970; the seconds are set by hand."""

    def __init__(self, seconds: float = NOON) -> None:
        self.seconds = float(seconds)

    def __call__(self) -> int:
        return round(1000 * self.seconds)


def make_watcher(
    store: Any, client: Any, clock: WallClock, settings: Settings = NOWHERE
) -> Watcher:
    """Return a watcher that logs and counts as the deployed one does."""
    telemetry = Telemetry(Logger(service="watch"), Metrics(namespace="test", service="watch"))
    return compose(settings, store, client, telemetry, clock)


def machines(count: int, period: int = 300) -> list[Metric]:
    """Return the CPU utilisation of so many machines."""
    return [
        Metric("AWS/EC2", "CPUUtilization", (("InstanceId", f"i-{n:05}"),), "Average", period)
        for n in range(count)
    ]


def shard_event(metrics: Sequence[Metric], options: Options, clock: WallClock) -> dict[str, Any]:
    """Return the job of a fleet of one shard, as the queue delivers it."""
    [job] = shard_jobs([Watched(options, metrics)], 1, int(clock.seconds))
    return {"Records": [{"eventSource": "aws:sqs", "body": encode_shard_job(job)}]}
