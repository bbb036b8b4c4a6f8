"""A large fleet over moto's server, shards in parallel: python -m benchmarks.speed.large_fleet.

Every turn is delivered twice, by several instances of the function at once, as a queue may. Some
machines run away: each must be told once, and no other. What the watcher knew of the fleet is put
into the bucket before, as moto takes minutes to read it.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import typer
from rich.console import Console

from local.stack import (
    BUCKET,
    WatchStack,
    forget_aws,
    local_bucket,
    make_watch_stack,
    sqs_event,
    use_local_bucket,
)
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import SHARDS_KEY, WATCH_KEY, S3ObjectStore, state_key
from ops_anomaly.watcher.fleet import shard_count, shard_of
from ops_anomaly.watcher.service import Settings
from ops_anomaly.watcher.state import MetricState, ShardState, encode_shard_state
from ops_anomaly.watcher.watch_file import parse_watch_file, write_watch_file
from tests.support.watcher import NOON, WallClock, make_watcher

PERIOD = 900
SLOTS = 128
INSTANCES = 4
RUNAWAY = 95.0


@dataclass(frozen=True)
class Outcome:
    """What became of a fleet.

    Attributes
    ----------
    ran_away : set of str
        The machines that did.
    told : Counter of str
        How often each machine was told.
    """

    shards: int
    turns: int
    seconds: float
    ran_away: set[str]
    told: Counter[str]


def watch_large_fleet(endpoint_url: str, bucket: str, machines: int, runaways: int) -> Outcome:
    """Let some machines of a fleet run away, and several instances look at it at once."""
    stack = make_watch_stack(endpoint_url, f"large-{uuid.uuid4().hex[:12]}")
    fleet = [machine(stack, number) for number in range(machines)]
    of = shard_count(machines)
    remember(stack, bucket, fleet, of)
    chosen = np.random.default_rng(5).choice(machines, runaways, replace=False).tolist()
    put_period(stack, fleet, set(chosen))

    settings = Settings(
        bucket=bucket,
        event_bus=stack.event_bus,
        alert_topic=stack.alert_topic,
        shard_queue=stack.shard_queue,
    )
    clock = WallClock(NOON + PERIOD + 90)

    def instance() -> Any:
        return make_watcher(S3ObjectStore(bucket), stack.client, clock, settings)

    began = time.perf_counter()
    instance().take({"watch": "fleet"})
    turns = [event for event in waiting(stack) for _ in range(2)]
    with ThreadPoolExecutor(INSTANCES) as instances:
        list(instances.map(lambda event: instance().take(event), turns))
    seconds = time.perf_counter() - began
    told = Counter(
        event["detail"]["metric"]["dimensions"]["InstanceId"] for event in stack.drain_events()
    )
    ran_away = {fleet[number].dimensions[0][1] for number in chosen}
    return Outcome(of, len(turns), seconds, ran_away, told)


def machine(stack: WatchStack, number: int) -> Metric:
    """Return the metric of one machine of this fleet."""
    instance = f"{stack.event_bus}-{number:05}"
    return Metric("Fleet", "CPUUtilization", (("InstanceId", instance),), "Average", PERIOD)


def remember(stack: WatchStack, bucket: str, fleet: list[Metric], of: int) -> None:
    """Put into the bucket what the watcher would know of a fleet that it has watched for a day."""
    s3, random = stack.client("s3"), np.random.default_rng(1)
    selector = {
        "name": "machines",
        "namespace": "Fleet",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": f"{stack.event_bus}-*"},
        "statistic": "Average",
        "period": PERIOD,
        "history_days": 1,
        "sensitivity": 0.02,
    }
    watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
    s3.put_object(Bucket=bucket, Key=WATCH_KEY, Body=write_watch_file(watch_file))
    s3.put_object(Bucket=bucket, Key=SHARDS_KEY, Body=b'{"of": %d}' % of)
    shards: list[dict[str, MetricState]] = [{} for _ in range(of)]
    for metric in fleet:
        values = 30.0 + random.normal(0.0, 1.0, SLOTS)
        grid = MetricState(metric, NOON - SLOTS * PERIOD, values)
        shards[shard_of(metric, of)][str(metric)] = grid
    for number, grids in enumerate(shards):
        s3.put_object(
            Bucket=bucket, Key=state_key(of, number), Body=encode_shard_state(ShardState(grids))
        )


def put_period(stack: WatchStack, fleet: list[Metric], runaways: set[int]) -> None:
    """Put one reading of each machine into the local CloudWatch."""
    cloudwatch, random = stack.client("cloudwatch"), np.random.default_rng(2)
    data = [
        {
            "MetricName": metric.name,
            "Dimensions": metric.query["Metric"]["Dimensions"],
            "Timestamp": datetime.fromtimestamp(NOON, UTC),
            "Value": RUNAWAY if number in runaways else 30.0 + float(random.normal()),
        }
        for number, metric in enumerate(fleet)
    ]
    for first in range(0, len(data), 1000):
        cloudwatch.put_metric_data(Namespace="Fleet", MetricData=data[first : first + 1000])


def waiting(stack: WatchStack) -> list[dict[str, Any]]:
    """Return the turns that wait in the queue, as Lambda would hand them over."""
    sqs, events = stack.client("sqs"), []
    while messages := sqs.receive_message(
        QueueUrl=stack.shard_queue, MaxNumberOfMessages=10, VisibilityTimeout=600
    ).get("Messages"):
        events += [sqs_event(message) for message in messages]
    return events


def main(machines: int = 2_000, runaways: int = 40) -> None:
    """Watch a large fleet once, and say what was told."""
    console = Console()
    forget_aws()
    with local_bucket() as url:
        use_local_bucket(url, BUCKET, "none", 300.0)
        os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"
        console.print(f"{machines:,} machines, of which {runaways} run away …")
        outcome = watch_large_fleet(url, BUCKET, machines, runaways)
    lost = outcome.ran_away - outcome.told.keys()
    others = outcome.told.keys() - outcome.ran_away
    twice = [name for name, times in outcome.told.items() if times > 1]
    console.print(
        f"{outcome.shards} shards, {outcome.turns} turns (each twice) by {INSTANCES} instances at "
        f"once, {outcome.seconds:.0f} s, most of it moto.\n"
        f"Told: {len(outcome.told)}. Lost: {len(lost)}. Twice: {len(twice)}. "
        f"False alarms: {len(others)}."
    )
    raise typer.Exit(bool(lost or twice))


if __name__ == "__main__":
    typer.run(main)
