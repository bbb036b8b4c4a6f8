"""The Lambda's entry: environment, clients and bucket are handed to the watcher here."""

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


# an alarm that is already known counts nothing
warnings.filterwarnings("ignore", "No application metrics to publish")

STORE_TIMEOUT_SECONDS = 30
"""A shard's memory has megabytes where a model has one."""


@cache
def client(service: str) -> Any:
    """Return a client of boto3, which the runtime brings along."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=20,
        # adaptive: where CloudWatch throttles, all calls of this function slow down
        retries={"mode": "adaptive", "total_max_attempts": 6},
    )
    return boto3.client(service, config=config)


metrics = Metrics()
settings = Settings.from_environment(os.environ)
watcher = compose(
    settings,
    S3ObjectStore(settings.bucket, STORE_TIMEOUT_SECONDS),
    client,
    Telemetry(Logger(), metrics),
    time.time,
)


@metrics.log_metrics
def lambda_handler(event: Any, context: LambdaContext) -> None:
    """Take a tick of the schedule, the turn of a shard, or an alarm."""
    watcher.take(event)
