"""`python -m benchmarks fleet`: what a large fleet costs the watcher, and whether it gets it right.

Two parts. The processor time of a shard job of 500 metrics over fakes in memory: what AWS's clients
and networks cost is not included. And a fleet over moto's server, with shards in parallel and every
job delivered twice, as a queue may: there must be one alert for each machine that runs away, and no
other.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from local.stack import (
    BUCKET,
    WatchStack,
    isolate_from_aws,
    local_bucket,
    make_watch_stack,
    sqs_event,
    use_local_bucket,
)
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import SHARDS_KEY, WATCH_KEY, S3ObjectStore, state_key
from ops_anomaly.detection.artifact import pack
from ops_anomaly.watcher.fleet import shard_count, shard_of
from ops_anomaly.watcher.service import Settings
from ops_anomaly.watcher.state import MetricState, ShardState, encode_shard_state
from ops_anomaly.watcher.watch_file import Options, parse_watch_file, write_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeStore
from tests.support.watcher import NOON, NOON_MS, WallClock, machines, make_watcher, shard_event
from training.candidates.contextual import fit_contextual
from training.console import new_table, show_progress
from training.sources import simulate_ec2_cpu

MODEL = "ec2-cpu"
METRICS = 500
PERIOD = 300
TICKS = 6

FLEET_PERIOD = 900
HISTORY = 128
INSTANCES = 4
RUNAWAY = 95.0


def fleet(
    machines: Annotated[
        int, typer.Option(min=1, help="Machines of the fleet over moto's server.")
    ] = 2_000,
    runaways: Annotated[int, typer.Option(min=0, help="How many of them run away.")] = 40,
) -> None:
    """Measure a shard job of 500 metrics, then watch a fleet whose shards run in parallel."""
    console = Console()
    isolate_from_aws()
    os.environ.update(POWERTOOLS_METRICS_DISABLED="true", POWERTOOLS_LOG_LEVEL="CRITICAL")
    console.print(processor_table(console))
    with local_bucket() as url:
        use_local_bucket(url, BUCKET, "none", 300.0)
        os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"
        console.print(f"{machines:,} machines, of which {runaways} run away ...")
        outcome = watch_fleet(url, BUCKET, machines, runaways)
    missed = outcome.runaways - outcome.notified.keys()
    false_alarms = outcome.notified.keys() - outcome.runaways
    repeated = [name for name, times in outcome.notified.items() if times > 1]
    console.print(
        f"{outcome.shards} shards, {outcome.jobs} jobs (each twice) by {INSTANCES} instances in "
        f"parallel, {outcome.seconds:.0f} s, most of it moto.\n"
        f"Notified: {len(outcome.notified)}. Missed: {len(missed)}. Repeated: {len(repeated)}. "
        f"False alarms: {len(false_alarms)}."
    )
    raise typer.Exit(bool(missed or repeated))


def processor_table(console: Console) -> Table:
    """Measure a shard job of each kind of fleet, and return the processor times."""
    model = fit_contextual(simulate_ec2_cpu().part(0, 2_016), 42).detector
    artifact = pack(model, MODEL, libraries={}, training_data={"readings": 2_016}, figures={})
    table = new_table(
        f"Processor time of a shard job of {METRICS} metrics",
        "OPENBLAS_NUM_THREADS=1 makes it the time of one core.",
        *("history of each metric", "model", "first job", "later jobs", "new instance"),
    )
    cases = [ShardCase(n, has_model=m) for n in (288, 4_032) for m in (False, True)]
    with show_progress(console) as on_progress:
        for number, case in enumerate(cases):
            on_progress("Shard jobs", number, len(cases))
            first, later, cold = case.processor_seconds(artifact)
            table.add_row(
                f"{case.readings:,} readings",
                "yes" if case.has_model else "no",
                f"{first:.2f} s",
                f"{statistics.median(later):.2f} s ({min(later):.2f} to {max(later):.2f})",
                f"{cold:.2f} s",
            )
    return table


@dataclass(frozen=True)
class ShardCase:
    """A shard in memory: how many readings each metric has, and whether a model evaluates it."""

    readings: int
    has_model: bool

    @property
    def options(self) -> Options:
        """The entry of the watch file."""
        days = max(round(self.readings * PERIOD / 86_400), 1)
        return Options(name="all", model=MODEL if self.has_model else None, history_days=days)

    def processor_seconds(self, artifact: bytes) -> tuple[float, list[float], float]:
        """Return the processor time of the first job, of later ones, and of a new instance's."""
        store, cloudwatch, clock = FakeStore(), FakeCloudWatch(), WallClock()
        store.put_model(MODEL, artifact)
        metrics = machines(METRICS, PERIOD)
        random = np.random.default_rng(1)
        begin = NOON - self.readings * PERIOD
        by_day = 10.0 * np.sin(np.arange(self.readings + TICKS) * 2 * np.pi / 288)
        for metric in metrics:
            cloudwatch.put(metric, begin, 30.0 + by_day + random.normal(0.0, 1.0, len(by_day)))
        watcher = make_watcher(store, lambda service: cloudwatch, clock)
        spent = []
        for tick in range(TICKS):
            if tick == TICKS - 1:  # another instance of the function, with nothing in memory
                watcher = make_watcher(store, lambda service: cloudwatch, clock)
            clock.seconds = NOON + tick * PERIOD + 90.0
            event = shard_event(metrics, self.options, clock)
            began = time.process_time()
            watcher.dispatch(event)
            spent.append(time.process_time() - began)
        return spent[0], spent[1:-1], spent[-1]


@dataclass(frozen=True)
class Outcome:
    """How a fleet was watched.

    Attributes
    ----------
    jobs : int
        Deliveries of shard jobs, repeated ones included.
    runaways : set of str
        The machines that run away.
    notified : Counter of str
        How many events there were about each machine.
    """

    shards: int
    jobs: int
    seconds: float
    runaways: set[str]
    notified: Counter[str]


def watch_fleet(endpoint_url: str, bucket: str, machines: int, runaways: int) -> Outcome:
    """Let some machines of a fleet run away, and several instances evaluate it in parallel.

    The fleet's history is put into the bucket beforehand, as moto takes minutes to read it.
    """
    stack = make_watch_stack(endpoint_url, f"large-{uuid.uuid4().hex[:12]}")
    metrics = [machine(stack, number) for number in range(machines)]
    of = shard_count(machines)
    put_history(stack, bucket, metrics, of)
    chosen = np.random.default_rng(5).choice(machines, runaways, replace=False).tolist()
    put_period(stack, metrics, set(chosen))
    settings = Settings(
        bucket=bucket,
        event_bus=stack.event_bus,
        alert_topic=stack.alert_topic,
        shard_queue=stack.shard_queue,
    )
    clock = WallClock(NOON + FLEET_PERIOD + 90)

    def dispatch(event: Any) -> None:
        make_watcher(S3ObjectStore(bucket), stack.client, clock, settings).dispatch(event)

    began = time.perf_counter()
    dispatch({"watch": "fleet"})
    jobs = [event for event in queued(stack) for _ in range(2)]
    with ThreadPoolExecutor(INSTANCES) as instances:
        list(instances.map(dispatch, jobs))
    return Outcome(
        shards=of,
        jobs=len(jobs),
        seconds=time.perf_counter() - began,
        runaways={metrics[number].dimensions[0][1] for number in chosen},
        notified=Counter(
            event["detail"]["metric"]["dimensions"]["InstanceId"] for event in stack.drain_events()
        ),
    )


def machine(stack: WatchStack, number: int) -> Metric:
    """Return the metric of one machine of the fleet."""
    instance = f"{stack.event_bus}-{number:05}"
    return Metric("Fleet", "CPUUtilization", (("InstanceId", instance),), "Average", FLEET_PERIOD)


def put_history(stack: WatchStack, bucket: str, metrics: list[Metric], of: int) -> None:
    """Put the watch file into the bucket, and the state of a fleet that was watched for a day."""
    s3, random = stack.client("s3"), np.random.default_rng(1)
    selector = {
        "name": "machines",
        "namespace": "Fleet",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": f"{stack.event_bus}-*"},
        "statistic": "Average",
        "period": FLEET_PERIOD,
        "history_days": 1,
        "sensitivity": 0.02,
    }
    watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
    s3.put_object(Bucket=bucket, Key=WATCH_KEY, Body=write_watch_file(watch_file))
    s3.put_object(Bucket=bucket, Key=SHARDS_KEY, Body=b'{"of": %d}' % of)
    shards: list[dict[str, MetricState]] = [{} for _ in range(of)]
    for metric in metrics:
        values = 30.0 + random.normal(0.0, 1.0, HISTORY)
        state = MetricState(metric, NOON_MS - HISTORY * FLEET_PERIOD * 1000, values)
        shards[shard_of(metric, of)][str(metric)] = state
    for number, states in enumerate(shards):
        body = encode_shard_state(ShardState(states))
        s3.put_object(Bucket=bucket, Key=state_key(of, number), Body=body)


def put_period(stack: WatchStack, metrics: list[Metric], runaways: set[int]) -> None:
    """Put one reading of each machine into the local CloudWatch."""
    cloudwatch, random = stack.client("cloudwatch"), np.random.default_rng(2)
    data = [
        {
            "MetricName": metric.name,
            "Dimensions": metric.query["Metric"]["Dimensions"],
            "Timestamp": datetime.fromtimestamp(NOON, UTC),
            "Value": RUNAWAY if number in runaways else 30.0 + float(random.normal()),
        }
        for number, metric in enumerate(metrics)
    ]
    for first in range(0, len(data), 1_000):
        cloudwatch.put_metric_data(Namespace="Fleet", MetricData=data[first : first + 1_000])


def queued(stack: WatchStack) -> Iterator[dict[str, Any]]:
    """Yield the queued shard jobs, as Lambda delivers them."""
    sqs = stack.client("sqs")
    while messages := sqs.receive_message(
        QueueUrl=stack.shard_queue, MaxNumberOfMessages=10, VisibilityTimeout=600
    ).get("Messages"):
        yield from map(sqs_event, messages)
