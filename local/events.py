"""`python -m local event`: one event for the handler that takes it, with the metrics it needs.

What an event is about is put into the local CloudWatch first: three days of readings, of which the
last ones run away.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from local import LocalError
from local.gateway import LocalContext
from local.stack import (
    BUCKET,
    WatchStack,
    isolate_from_aws,
    local_bucket,
    make_watch_stack,
    use_local_bucket,
)
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidMetricError
from ops_anomaly.azure.authorizer import lambda_handler as find_key
from ops_anomaly.watcher.alarm_evaluation import alarm_name, alarm_names_in_rule, event_query
from ops_anomaly.watcher.events import (
    AlarmChange,
    AlarmChanges,
    DeliveryTest,
    DirectAlarms,
    IncidentTick,
    ShardJobs,
    Tick,
    UnknownEventError,
    recognise,
)
from training import RunError
from training.publishing import publish_run, publish_watch_file
from training.run import read_run
from training.versions import s3_client
from training.watch_yaml import read_watch_file

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats

MODEL = "ec2-cpu"
RUN_FOLDER = Path("runs") / MODEL
WATCH_FILE = Path(__file__).with_name("watch.yaml")

PERIOD = 300
READINGS = 3 * 288
RUNAWAY = 93.0
RUNAWAY_READINGS = 2
FLEET_SIZE = 8
MAX_DATA = 1_000
"""Data of one PutMetricData."""

CHILD = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300")
"""The metric of a composite alarm's children here: its event does not name any."""


def send_event(path: Path, console: Console) -> dict[str, Any]:
    """Hand an event to its handler; return its response, or what the watcher publishes.

    Whatever the handlers print, log lines and metrics, goes to `console`, too.

    Raises
    ------
    LocalError
        If the file does not hold an event, or one of nightly training.
    """
    event = read_event(path)
    if is_of_retraining(event):
        raise LocalError(
            f"{path} is for a function of nightly training, which needs the account's metrics and "
            f"bucket: sam local invoke RetrainingPlanFunction --event {path} --env-vars "
            "events/env.json; or do the same work here: ops-anomaly train --watch FILE"
        )
    isolate_from_aws()
    with local_bucket() as endpoint_url, redirect_stdout(console.file):
        use_local_bucket(endpoint_url, BUCKET, MODEL, 300.0)
        os.environ["POWERTOOLS_LOG_LEVEL"] = "INFO"
        if isinstance(event, dict) and "methodArn" in event:
            return find_key(event, LocalContext())
        if isinstance(event, dict) and "httpMethod" in event:
            return send_request(event, endpoint_url, console)
        stack = make_watch_stack(endpoint_url, "ops-anomaly")
        os.environ.update(stack.environment())
        return send_to_watcher(event, stack, console)


def read_event(path: Path) -> Any:
    """Return the JSON of a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LocalError(f"{path} does not hold an event in JSON: {error}") from error


def send_request(event: dict[str, Any], endpoint_url: str, console: Console) -> dict[str, Any]:
    """Return the API's response, by the model of the last run if there is one."""
    try:
        publish_run(s3_client(endpoint_url), BUCKET, read_run(RUN_FOLDER), console)
    except RunError:
        console.print(f"[yellow]No model in {RUN_FOLDER}: make one with make demo ONCE=1[/yellow]")
    # reads the environment when it is imported
    from ops_anomaly.api.handler import lambda_handler

    response: dict[str, Any] = lambda_handler(event, LocalContext())
    try:
        return response | {"body": json.loads(response["body"])}
    except ValueError:  # HTML
        return response


def send_to_watcher(event: Any, stack: WatchStack, console: Console) -> dict[str, Any]:
    """Return what the watcher publishes on an event, on what it queues, and a minute later."""
    # reads the environment when it is imported
    from ops_anomaly.watcher.handler import alarm_handler, console_handler, watch_handler

    if is_of_console(event):
        html = console_handler(event, LocalContext())
        if html is None:
            console.print(
                "Feedback: on AWS it is kept with its incident, and the watcher acts on it with "
                "its next evaluation. Here the bucket is new and has no incident, so nothing was "
                "kept; make demo has some, at /console."
            )
            return {}
        return {"html": html}
    publish_watch_file(s3_client(stack.endpoint_url), BUCKET, read_watch_file(WATCH_FILE))
    console.print(seed_metrics(event, stack.client("cloudwatch")))
    handler = alarm_handler if alarms_of(event) else watch_handler
    if is_shard_job(event):
        watch_handler({"watch": "fleet"}, LocalContext())  # which lists the fleet
        handler(event, LocalContext())
    else:
        handler(event, LocalContext())
        stack.run_queued(stack.shard_queue, watch_handler, LocalContext())
        stack.run_queued(stack.alarm_queue, alarm_handler, LocalContext())
    watch_handler({"watch": "incidents"}, LocalContext())
    return {"events": stack.drain_events(), "messages": stack.drain_messages()}


def is_of_retraining(event: Any) -> bool:
    """Return whether the state machine of nightly training passes this to its functions."""
    return isinstance(event, dict) and set(event) in (
        {"started", "execution"},
        {"run", "batch"},
        {"run"},
    )


def is_of_console(event: Any) -> bool:
    """Return whether an event is of the dashboard, or feedback."""
    match event:
        case {"describe": True} | {"widgetContext": _} | {"detail-type": "Incident Feedback"}:
            return True
    return False


def is_shard_job(event: Any) -> bool:
    """Return whether an event is a message of the shards' queue."""
    try:
        return isinstance(recognise(event), ShardJobs)
    except UnknownEventError:
        return False


def alarms_of(event: Any) -> list[AlarmChange]:
    """Return the changes of alarms that an event carries."""
    try:
        known = recognise(event)
    except UnknownEventError:
        return []
    return known.changes if isinstance(known, AlarmChanges | DirectAlarms) else []


def seed_metrics(event: Any, cloudwatch: Any) -> str:
    """Put what an event needs into the local CloudWatch; return that in words."""
    now = int(time.time() - 60) // PERIOD * PERIOD
    try:
        known = recognise(event)
    except UnknownEventError:
        return "An event of an unknown kind."
    match known:
        case Tick() | ShardJobs():
            put_fleet(cloudwatch, now, FLEET_SIZE)
            kind = "A tick" if isinstance(known, Tick) else "A shard job"
            return f"{kind}: {FLEET_SIZE} machines, one of which runs away."
        case IncidentTick():
            return "The schedule of every minute: there are no incidents yet."
        case DeliveryTest():
            return "A test of whether alerts arrive."
        case AlarmChanges(changes=changes) | DirectAlarms(changes=changes):
            return "\n".join(seed_alarm(change, cloudwatch) for change in changes)


def seed_alarm(change: AlarmChange, cloudwatch: Any) -> str:
    """Put the metrics of an alarm into the local CloudWatch; return that in words."""
    metrics = metrics_of(change) or children_of(change, cloudwatch)
    put_runaways(cloudwatch, metrics, change.at // 1000 // PERIOD * PERIOD + PERIOD)
    return (
        f"Alarm {change.name}, {change.state}: "
        + (
            "one metric that runs away"
            if len(metrics) == 1
            else f"{len(metrics)} metrics that run away"
        )
        + " when it fires."
    )


def put_runaways(cloudwatch: Any, metrics: list[Metric], until: int) -> None:
    """Put three days of readings of each metric, of which the last run away."""
    for number, metric in enumerate(metrics):
        put_series(cloudwatch, metric, until, machine(number, until, runs_away=True))


def metrics_of(change: AlarmChange) -> list[Metric]:
    """Return the metrics of an alarm's event."""
    metrics = []
    for each in change.metrics:
        stat = event_query(each).get("MetricStat")
        if stat is None:
            continue
        pairs = tuple((d["Name"], d["Value"]) for d in stat["Metric"]["Dimensions"])
        name = stat["Metric"]["MetricName"]
        try:
            found = Metric(stat["Metric"]["Namespace"], name, pairs, stat["Stat"], stat["Period"])
        except InvalidMetricError:
            continue  # a period of seconds, or a new statistic
        metrics.append(found)
    return metrics


def children_of(change: AlarmChange, cloudwatch: Any) -> list[Metric]:
    """Create a composite alarm's children, and return their metrics."""
    names = [alarm_name(arn) for arn in change.triggered_by] or alarm_names_in_rule(change.rule)
    for name in names:
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


def put_fleet(cloudwatch: Any, until: int, machines: int) -> None:
    """Put three days of CPU utilisation of some machines; the last but one runs away at the end.

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


def machine(seed: int, until: int, *, runs_away: bool) -> Floats:
    """Return three days of a machine that is busy by day, in per cent."""
    random = np.random.default_rng(seed)
    times = until + PERIOD * np.arange(-READINGS, 0)
    by_day = np.sin(2 * np.pi * (times / 86_400 - 0.375))
    values = 24.0 + 2.0 * seed + 12.0 * by_day + random.normal(0.0, 1.2, READINGS)
    if runs_away:
        values[-RUNAWAY_READINGS:] = RUNAWAY
    rounded: Floats = values.round(2)
    return rounded


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
    for start in range(0, len(data), MAX_DATA):
        cloudwatch.put_metric_data(
            Namespace=metric.namespace, MetricData=data[start : start + MAX_DATA]
        )
