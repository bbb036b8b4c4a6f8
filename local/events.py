"""Metrics for the local CloudWatch: machines that work by day, and one that runs away.

What an event is about, put into the local CloudWatch: two days of readings that run away.

One event to the handler that takes it, with what it needs in the local bucket and CloudWatch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from local.gateway import LocalContext
from local.stack import (
    BUCKET,
    LocalError,
    WatchStack,
    forget_aws,
    local_bucket,
    make_watch_stack,
    use_local_bucket,
)
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidMetricError
from ops_anomaly.watcher.alarm_queries import alarm_names_in_rule, name_of, query_of_event
from ops_anomaly.watcher.documents import UnknownEventError
from ops_anomaly.watcher.events import AlarmChange, ShardJobs, Tick, recognise
from training.fleet import read_watch_file
from training.publishing import publish_watch_file, s3_client

PERIOD = 300
BATCH = 1_000
"""What PutMetricData takes at once."""

READINGS = 2 * 288
RUNAWAY = 93.0
RUNAWAY_READINGS = 2


def put_fleet(cloudwatch: Any, until: int, machines: int) -> None:
    """Put two days of CPU utilisation of some machines; the last but one runs away at the end.

    Parameters
    ----------
    until : int
        Where the last period ends, in seconds since 1970.
    """
    for number in range(machines):
        instance = f"i-{number:017x}"
        metric = Metric.parse(f"AWS/EC2 CPUUtilization InstanceId={instance} Average {PERIOD}")
        runs_away = number == machines - 2
        put_series(cloudwatch, metric, until, machine(number, until, runs_away=runs_away))


def machine(seed: int, until: int, *, runs_away: bool) -> np.ndarray:
    """Return two days of a machine that works by day, in per cent."""
    random = np.random.default_rng(seed)
    times = until + PERIOD * np.arange(-READINGS, 0)
    by_day = np.sin(2 * np.pi * (times / 86_400 - 0.375))
    values = 24.0 + 2.0 * seed + 12.0 * by_day + random.normal(0.0, 1.2, READINGS)
    if runs_away:
        values[-RUNAWAY_READINGS:] = RUNAWAY
    return values.round(2)


def put_series(cloudwatch: Any, metric: Metric, until: int, values: Iterable[float]) -> None:
    """Put readings of a metric, the last of the period that ends at `until`."""
    dimensions = metric.query["Metric"]["Dimensions"]
    numbers = list(values)
    first = until - metric.period * len(numbers)
    data = [
        {
            "MetricName": metric.name,
            "Dimensions": dimensions,
            "Timestamp": datetime.fromtimestamp(first + metric.period * position, UTC),
            "Value": float(value),
        }
        for position, value in enumerate(numbers)
    ]
    for start in range(0, len(data), BATCH):
        cloudwatch.put_metric_data(
            Namespace=metric.namespace, MetricData=data[start : start + BATCH]
        )


FLEET_SIZE = 8
CHILD = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300")
"""What the children of a composite alarm are about here: its event does not say."""


def seed_metrics(event: Any, cloudwatch: Any) -> str:
    """Put what an event needs into the local CloudWatch; say what that was."""
    now = int(time.time() - 60) // PERIOD * PERIOD
    try:
        known = recognise(event)
    except UnknownEventError:
        return "An event that the watcher does not know."
    match known:
        case Tick():
            put_fleet(cloudwatch, now, FLEET_SIZE)
            return f"A tick: {FLEET_SIZE} machines, one of which runs away."
        case ShardJobs(messages=messages):
            # one from a file would be superseded by now
            for record in event["Records"]:
                record["body"] = json.dumps(json.loads(record["body"]) | {"time": int(time.time())})
            metrics = [m for turn in messages for w in turn.fleet for m in w.metrics]
            put_runaways(cloudwatch, metrics, now)
            return f"The turn of a shard: {len(metrics)} metrics that run away."
        case AlarmChange() as change:
            metrics = metrics_of(change) or children_of(change, cloudwatch)
            put_runaways(cloudwatch, metrics, int(change.at) // PERIOD * PERIOD + PERIOD)
            return (
                f"Alarm {change.name}, {change.state}: {len(metrics)} metrics that run away when "
                "it fires."
            )


def put_runaways(cloudwatch: Any, metrics: list[Metric], until: int) -> None:
    """Put two days of readings of each metric, of which the last run away."""
    for number, metric in enumerate(metrics):
        put_series(cloudwatch, metric, until, machine(number, until, runs_away=True))


def metrics_of(change: AlarmChange) -> list[Metric]:
    """Return the metrics that an alarm names."""
    metrics = []
    for each in change.metrics:
        stat = query_of_event(each).get("MetricStat")
        if stat is None:
            continue
        pairs = tuple((d["Name"], d["Value"]) for d in stat["Metric"]["Dimensions"])
        name = stat["Metric"]["MetricName"]
        try:
            found = Metric(stat["Metric"]["Namespace"], name, pairs, stat["Stat"], stat["Period"])
        except InvalidMetricError:
            continue  # of seconds, or of a statistic that is new: the watcher will ask for it
        metrics.append(found)
    return metrics


def children_of(change: AlarmChange, cloudwatch: Any) -> list[Metric]:
    """Make a composite alarm's children, and return what they are about."""
    for name in [name_of(arn) for arn in change.children] or alarm_names_in_rule(change.rule or ""):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace=CHILD.namespace,
            MetricName=CHILD.name,
            Dimensions=CHILD.query["Metric"]["Dimensions"],
            Statistic=CHILD.statistic,
            Period=CHILD.period,
            EvaluationPeriods=1,
            Threshold=90.0,
            ComparisonOperator="GreaterThanThreshold",
        )
    return [CHILD]


MODEL = "ec2-cpu"
RUN_FOLDER = Path("runs") / MODEL


def send_event(path: Path, console: Console) -> None:
    """Hand an event to the handler and show what it answers, logs and tells.

    Raises
    ------
    LocalError
        If the file holds no event.
    """
    event = read_event(path)
    forget_aws()
    with local_bucket() as endpoint_url:
        use_local_bucket(endpoint_url, BUCKET, MODEL, 300.0)
        os.environ["POWERTOOLS_LOG_LEVEL"] = "INFO"
        if isinstance(event, dict) and "httpMethod" in event:
            answer_request(event, endpoint_url, console)
        else:
            stack = make_watch_stack(endpoint_url, "ops-anomaly")
            os.environ.update(stack.environment())
            watch_event(event, stack, console)


def read_event(path: Path) -> Any:
    """Return the JSON of a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LocalError(f"{path} holds no event in JSON: {error}") from error


def answer_request(event: dict[str, Any], endpoint_url: str, console: Console) -> None:
    """Let the API answer a request, by the model of the last run if there is one."""
    from training.errors import RunError
    from training.publishing import publish_run
    from training.run_folder import read_run

    try:
        publish_run(s3_client(endpoint_url), BUCKET, read_run(RUN_FOLDER), None, console)
    except RunError:
        console.print(f"[yellow]No model in {RUN_FOLDER}: make one with make demo ONCE=1[/yellow]")
    from ops_anomaly.api.handler import lambda_handler  # reads the environment when it is imported

    answer = lambda_handler(event, LocalContext())
    console.print(f"{answer['statusCode']} {escape(answer['body'])}", highlight=False)


def watch_event(event: Any, stack: WatchStack, console: Console) -> None:
    """Let the watcher take an event, and show what it tells."""
    from local.demo import WATCH_FILE, show_message
    from ops_anomaly.watcher.handler import (
        lambda_handler,  # reads the environment when it is imported
    )

    console.print(seed_metrics(event, stack.client("cloudwatch")))
    s3 = s3_client(stack.endpoint_url)
    publish_watch_file(s3, BUCKET, read_watch_file(WATCH_FILE))
    lambda_handler(event, LocalContext())
    stack.run_shard_jobs(lambda_handler, LocalContext())
    events, messages = stack.drain_events(), stack.drain_messages()
    for told in events:
        console.print(f"\nEvent: {told['detail-type']}", style="bold")
        console.print_json(data=told["detail"])
    for message in messages:
        show_message(message, console)
    if not events:
        console.print("Nothing was told.")
