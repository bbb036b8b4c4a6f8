"""The Lambda's entry: settings, clients, bucket and parts are put together here."""

from __future__ import annotations

import os
import time
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from registry.models import ModelRegistry
from registry.store import S3ObjectStore
from watch.alarms.watcher import AlarmWatcher
from watch.channels import EventChannel, MessageChannel
from watch.fleet.judge import Judge
from watch.fleet.planner import Planner
from watch.fleet.shard import ShardWatcher
from watch.reporter import Reporter
from watch.settings import Settings
from watch.watcher import Watcher

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# an alarm that is already known counts nothing
warnings.filterwarnings("ignore", "No application metrics to publish")

STORE_TIMEOUT_SECONDS = 30
"""A shard's memory has megabytes where a model has one."""


@cache
def client(service: str) -> Any:
    """Return a client of boto3, which the runtime brings along; made when it is first needed."""
    import boto3
    from botocore.config import Config

    # adaptive: where CloudWatch throttles, all calls of this function slow down
    retries = Config(retries={"mode": "adaptive", "total_max_attempts": 6})
    return boto3.client(service, config=retries)


logger = Logger()
metrics = Metrics()
reporter = Reporter(logger, metrics)
settings = Settings.from_environment(os.environ)
store = S3ObjectStore(settings.bucket, STORE_TIMEOUT_SECONDS)
channels = (
    EventChannel(lambda: client("events"), settings.event_bus, reporter.undelivered),
    MessageChannel(lambda: client("sns"), settings.alert_topic, reporter.undelivered),
)
watcher = Watcher(
    planner=Planner(lambda: client("cloudwatch"), store, time.time),
    shards=ShardWatcher(
        lambda: client("cloudwatch"),
        store,
        Judge(
            ModelRegistry(
                store,
                ttl_seconds=settings.model_ttl_seconds,
                cache_bytes=settings.model_cache_bytes,
                on_refresh_failed=reporter.refresh_failed,
            ),
            reporter.model_unavailable,
        ),
        channels,
        reporter,
        time.time,
    ),
    alarms=AlarmWatcher(lambda: client("cloudwatch"), store, channels, reporter, time.time),
    reporter=reporter,
    send=lambda body: client("sqs").send_message(QueueUrl=settings.shard_queue, MessageBody=body),
    clock=time.time,
)


@metrics.log_metrics
def lambda_handler(event: Any, context: LambdaContext) -> None:
    """Take a tick of the schedule, the turn of a shard, or an alarm."""
    watcher.take(event)
