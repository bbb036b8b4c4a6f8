"""The three Lambda functions: environment, clients and bucket are handed to the watcher here."""

from __future__ import annotations

import os
import time
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from ops_anomaly.aws.objects import S3ObjectStore
from ops_anomaly.aws.settings import BucketSettings
from ops_anomaly.watcher.console import Console
from ops_anomaly.watcher.fleet import FleetList
from ops_anomaly.watcher.service import (
    AlarmSettings,
    AlarmWatcher,
    Watcher,
    WatchSettings,
    compose_alarm_watcher,
    compose_watcher,
)
from ops_anomaly.watcher.telemetry import Telemetry

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


# an alarm that was handled before counts nothing
warnings.filterwarnings("ignore", "No application metrics to publish")

STORE_TIMEOUT_SECONDS = 30
"""The state of a shard has megabytes where a model has one."""


@cache
def client(service: str) -> Any:
    """Return a client of boto3, which the runtime provides."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=20,
        # adaptive: where CloudWatch throttles, all calls of this function slow down
        retries={"mode": "adaptive", "total_max_attempts": 6},
    )
    return boto3.client(service, config=config)


def clock() -> int:
    """Return the time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


metrics = Metrics()
telemetry = Telemetry(Logger(), metrics)


@cache
def watcher() -> Watcher:
    """Return what watches the fleet, once an instance."""
    settings = WatchSettings.from_environment(os.environ)
    store = S3ObjectStore(settings.bucket, STORE_TIMEOUT_SECONDS)
    return compose_watcher(settings, store, client, telemetry, clock, time.sleep)


@cache
def alarm_watcher() -> AlarmWatcher:
    """Return what evaluates alarms, once an instance."""
    settings = AlarmSettings.from_environment(os.environ)
    return compose_alarm_watcher(settings, S3ObjectStore(settings.bucket), client, telemetry, clock)


@metrics.log_metrics
def watch_handler(event: Any, context: LambdaContext) -> None:
    """Handle a tick of the schedule, or a shard job."""
    watcher().dispatch(event, context.get_remaining_time_in_millis)


@metrics.log_metrics
def alarm_handler(event: Any, context: LambdaContext) -> None:
    """Handle a CloudWatch alarm that has changed."""
    alarm_watcher().dispatch(event)


@cache
def console() -> Console:
    """Return what shows incidents, once an instance."""
    settings = BucketSettings.from_environment(os.environ)
    store = S3ObjectStore(settings.bucket)
    return Console(store, FleetList(store, telemetry.state_rebuilt), telemetry, clock)


@metrics.log_metrics
def console_handler(event: Any, context: LambdaContext) -> str | None:
    """Show the incidents on a dashboard, or take feedback on one."""
    return console().dispatch(event, context.invoked_function_arn)
