"""What an event is about, put into the local CloudWatch: two days of readings that run away."""

from __future__ import annotations

import json
import time
from typing import Any

from local.metrics import PERIOD, machine, put_fleet, put_series
from registry.errors import InvalidMetricError
from registry.metric import Metric
from watch.alarms.change import AlarmChange
from watch.alarms.children import children_of_rule, name_of
from watch.alarms.question import query_of_event
from watch.errors import UnknownEventError
from watch.incoming import Tick, Turns, recognise

MACHINES = 8
CHILD = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300")
"""What the children of a composite alarm are about here: its event does not say."""


def surround(event: Any, cloudwatch: Any) -> str:
    """Put what an event needs into the local CloudWatch; say what that was."""
    now = int(time.time() - 60) // PERIOD * PERIOD
    try:
        known = recognise(event)
    except UnknownEventError:
        return "An event that the watcher does not know."
    match known:
        case Tick():
            put_fleet(cloudwatch, now, MACHINES)
            return f"A tick: {MACHINES} machines, one of which runs away."
        case Turns(messages=messages):
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
    for name in [name_of(arn) for arn in change.children] or children_of_rule(change.rule or ""):
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
