"""The watcher over stand-ins: a clock set by hand, a bucket and a CloudWatch in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.fleet import Watched, encode_shard_job, plan
from ops_anomaly.watcher.service import Settings, Watcher, compose
from ops_anomaly.watcher.telemetry import Telemetry
from ops_anomaly.watcher.watch_file import Options

NOON = 1_795_608_000
"""Wednesday 25 November 2026, 12:00 UTC."""

NOWHERE = Settings(bucket="none", event_bus="none", alert_topic="none", shard_queue="none")


class WallClock:
    """Seconds since 1970, set by hand."""

    def __init__(self, seconds: float = NOON) -> None:
        self.seconds = float(seconds)

    def __call__(self) -> float:
        return self.seconds


def make_watcher(
    store: Any, client: Any, clock: WallClock, settings: Settings = NOWHERE
) -> Watcher:
    """Return a watcher that logs and counts as the deployed one does."""
    reporter = Telemetry(Logger(service="watch"), Metrics(namespace="test", service="watch"))
    return compose(settings, store, client, reporter, clock)


def machines(count: int, period: int = 300) -> list[Metric]:
    """Return the CPU utilisation of so many machines."""
    return [
        Metric("AWS/EC2", "CPUUtilization", (("InstanceId", f"i-{n:05}"),), "Average", period)
        for n in range(count)
    ]


def turn_event(metrics: Sequence[Metric], options: Options, clock: WallClock) -> dict[str, Any]:
    """Return the only turn of a fleet, as the queue hands it over."""
    [turn] = plan([Watched(options, metrics)], 1, int(clock()))
    return {"Records": [{"eventSource": "aws:sqs", "body": encode_shard_job(turn)}]}
