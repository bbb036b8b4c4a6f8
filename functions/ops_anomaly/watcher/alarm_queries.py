"""What has to be read of CloudWatch to judge an alarm: one series a question.

What a composite alarm is about: its children's metrics, by DescribeAlarms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops_anomaly.aws.errors import (
    AccessDeniedError,
    RequestRefusedError,
    translate_aws_errors,
)
from ops_anomaly.watcher.formatting import called

if TYPE_CHECKING:
    from ops_anomaly.watcher.events import AlarmChange


BAND = "ANOMALY_DETECTION_BAND"
QUERY_ID = r"^[a-z][a-zA-Z0-9_]*$"
USUAL_PERIOD = 300


@dataclass(frozen=True)
class AlarmQuery:
    """One series that an alarm is about.

    Attributes
    ----------
    alarm : str
        The alarm's name: a composite one asks for its children.
    series, title : str
        What it is, exactly; and as people call it.
    queries : list of mapping
        As GetMetricData takes them; exactly one returns data, that of `answer`.
    period : int
        Seconds between readings.
    cannot : str or None
        Why it can't be asked.
    """

    alarm: str
    series: str
    title: str
    queries: Sequence[Mapping[str, Any]] = ()
    answer: str = ""
    period: int = USUAL_PERIOD
    cannot: str | None = None


def from_event(alarm: str, metrics: Sequence[Mapping[str, Any]]) -> AlarmQuery:
    """Return what an alarm is about, from its event's `configuration.metrics`."""
    try:
        return question(alarm, [query_of_event(metric) for metric in metrics])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return AlarmQuery(alarm, alarm, alarm, cannot=f"its event can't be read: {error!r}")


def from_description(described: Mapping[str, Any]) -> AlarmQuery:
    """Return what a metric alarm is about, from DescribeAlarms."""
    name = described["AlarmName"]
    if described.get("Metrics"):
        return question(name, described["Metrics"])
    stat = {
        "Metric": {
            "Namespace": described["Namespace"],
            "MetricName": described["MetricName"],
            "Dimensions": described.get("Dimensions", []),
        },
        "Period": described["Period"],
        "Stat": described.get("ExtendedStatistic") or described["Statistic"],
    }
    return question(name, [{"Id": "m1", "MetricStat": stat}])


def query_of_event(metric: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query as GetMetricData takes it: events write names and dimensions differently."""
    query: dict[str, Any] = {"Id": metric["id"], "ReturnData": metric.get("returnData", True)}
    for key, name in (("expression", "Expression"), ("label", "Label"), ("period", "Period")):
        if metric.get(key):
            query[name] = metric[key]
    if "metricStat" in metric:
        stat = metric["metricStat"]
        query["MetricStat"] = {
            "Metric": {
                "Namespace": stat["metric"]["namespace"],
                "MetricName": stat["metric"]["name"],
                "Dimensions": [
                    {"Name": name, "Value": value}
                    for name, value in (stat["metric"].get("dimensions") or {}).items()
                ],
            },
            "Period": int(stat["period"]),
            "Stat": stat["stat"],
        }
        if stat.get("unit"):
            query["MetricStat"]["Unit"] = stat["unit"]
    if metric.get("accountId"):
        query["AccountId"] = metric["accountId"]
    return query


def question(alarm: str, metrics: Sequence[Mapping[str, Any]]) -> AlarmQuery:
    """Return the one series that an alarm's metrics return; a band is CloudWatch's own verdict."""
    queries = [dict(each) for each in metrics if BAND not in each.get("Expression", "")]
    returning = [each for each in queries if each.get("ReturnData", True)]
    if len(returning) != 1:
        return AlarmQuery(
            alarm, alarm, alarm, cannot=f"its metrics return {len(returning)} series, not one"
        )
    [asked] = returning
    series, title = series_name(asked), title_of(asked)
    for number, each in enumerate(queries):
        each.pop("Label", None)  # it may tell pages apart, as it may hold the last value
        if not re.fullmatch(QUERY_ID, each["Id"]):  # as in alarms on one metric
            each["Id"] = f"q{number}"
    periods = [each["MetricStat"]["Period"] for each in queries if "MetricStat" in each]
    period = int(asked.get("Period") or max(periods, default=USUAL_PERIOD))
    if period <= 0:
        return AlarmQuery(alarm, series, title, cannot=f"its period is {period} seconds")
    return AlarmQuery(
        alarm,
        series,
        title,
        queries,
        asked["Id"],
        period,
    )


def series_name(query: Mapping[str, Any]) -> str:
    """Return what a query asks for, as people write it."""
    if "MetricStat" not in query:
        return str(query.get("Expression") or query.get("Label") or query["Id"])
    stat = query["MetricStat"]
    pairs = [f"{pair['Name']}={pair['Value']}" for pair in stat["Metric"].get("Dimensions", [])]
    parts = [stat["Metric"]["Namespace"], stat["Metric"]["MetricName"], *pairs]
    return " ".join([*parts, stat["Stat"], str(stat["Period"])])


def title_of(query: Mapping[str, Any]) -> str:
    """Return what a query asks for, as people call it."""
    if "MetricStat" not in query:
        return str(query.get("Label") or query.get("Expression") or query["Id"])
    metric = query["MetricStat"]["Metric"]
    return called(metric["MetricName"], [pair["Value"] for pair in metric.get("Dimensions", [])])


MAX_CHILDREN = 100
"""What DescribeAlarms takes at once, and what a composite alarm may have."""

DEEPEST = 5
"""Composite alarms of composite alarms are followed so far."""

NAMED = r"""(?:ALARM|OK|INSUFFICIENT_DATA)\(\s*(?:"([^"]+)"|'([^']+)'|([^()\s"']+))\s*\)"""
"""A child in an alarm rule: its name or ARN, quoted or not."""


def queries_of_composite(cloudwatch: Any, change: AlarmChange) -> list[AlarmQuery]:
    """Return a question for each metric alarm below a composite alarm.

    Raises
    ------
    ServiceUnavailableError
        If CloudWatch does not answer.
    """
    names = [name_of(arn) for arn in change.children] or alarm_names_in_rule(change.rule)
    questions: list[AlarmQuery] = []
    seen = {change.name}
    try:
        for _ in range(DEEPEST):
            names = [name for name in dict.fromkeys(names) if name not in seen][:MAX_CHILDREN]
            if not names:
                break
            seen.update(names)
            metric_alarms, composite_alarms = describe(cloudwatch, names)
            questions += [from_description(alarm) for alarm in metric_alarms]
            known = {alarm["AlarmName"] for alarm in (*metric_alarms, *composite_alarms)}
            questions += [
                AlarmQuery(name, name, f"alarm {name}", cannot="there is no such alarm any more")
                for name in names
                if name not in known
            ]
            names = [
                n for alarm in composite_alarms for n in alarm_names_in_rule(alarm["AlarmRule"])
            ]
    except (AccessDeniedError, RequestRefusedError) as error:
        questions.append(AlarmQuery(change.name, change.name, change.name, cannot=str(error)))
    return questions


def describe(
    cloudwatch: Any, names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the metric alarms and the composite alarms of these names."""
    metric_alarms: list[dict[str, Any]] = []
    composite_alarms: list[dict[str, Any]] = []
    with translate_aws_errors("looking up the alarm's children", "cloudwatch:DescribeAlarms"):
        pages = cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            metric_alarms += page.get("MetricAlarms", [])
            composite_alarms += page.get("CompositeAlarms", [])
    return metric_alarms, composite_alarms


def alarm_names_in_rule(rule: str) -> list[str]:
    """Return the names of the alarms in an alarm rule.

    Examples
    --------
    >>> alarm_names_in_rule('ALARM("cpu high") AND NOT OK(queue-empty)')
    ['cpu high', 'queue-empty']
    """
    return [name_of(next(filter(None, found))) for found in re.findall(NAMED, rule)]


def name_of(arn: str) -> str:
    """Return the name of an alarm, given that or its ARN.

    Examples
    --------
    >>> name_of("arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu: high")
    'cpu: high'
    """
    return arn.split(":", 6)[6] if arn.startswith("arn:") and arn.count(":") >= 6 else arn
