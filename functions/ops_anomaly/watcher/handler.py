"""The Lambda function: environment, clients and bucket are handed to the watcher here."""

from __future__ import annotations

import os
import time
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from ops_anomaly.aws.objects import S3ObjectStore
from ops_anomaly.watcher.service import Settings, compose
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
settings = Settings.from_environment(os.environ)
watcher = compose(
    settings,
    S3ObjectStore(settings.bucket, STORE_TIMEOUT_SECONDS),
    client,
    Telemetry(Logger(), metrics),
    clock,
)


@metrics.log_metrics
def lambda_handler(event: Any, context: LambdaContext) -> None:
    """Handle a tick of the schedule, a shard job, or an alarm."""
    watcher.dispatch(event)
