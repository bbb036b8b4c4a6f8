"""How unusual a CloudWatch alarm is: which series it is about, and what a detector makes of them.

An alarm on a metric or an expression is about one series, or several if the expression groups them.
A composite alarm is about those of the metric alarms below it, which DescribeAlarms returns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ops_anomaly.aws.cloudwatch import MAX_DATAPOINTS, read_labelled
from ops_anomaly.aws.errors import (
    AccessDeniedError,
    RequestRefusedError,
    translate_aws_errors,
)
from ops_anomaly.detection import untrained
from ops_anomaly.watcher.formatting import metric_title, spoken
from ops_anomaly.watcher.settling import CUMULATIVE_SECONDS, counts, is_cumulative
from ops_anomaly.watcher.watch_file import periods_of

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Series
    from ops_anomaly.watcher.events import AlarmChange


BAND = "ANOMALY_DETECTION_BAND"
QUERY_ID = r"^[a-z][a-zA-Z0-9_]*$"
DEFAULT_PERIOD = 300

MAX_ALARMS = 100
"""What DescribeAlarms takes in one call, and what a composite alarm may have."""

MAX_EVALUATED = 30
"""Alarms below a composite one that are evaluated, those in ALARM first: each takes a call of
CloudWatch and a detection over thousands of readings, and the function has a minute."""

MAX_DEPTH = 5
"""Levels of composite alarms below composite alarms that are looked up."""

ALARM_IN_RULE = r"""(?:ALARM|OK|INSUFFICIENT_DATA)\(\s*(?:"([^"]+)"|'([^']+)'|([^()\s"']+))\s*\)"""
"""An alarm in an alarm rule: its name or ARN, quoted or not."""

GROUPED = r"(?i)\bGROUP\s+BY\b|\bSEARCH\s*\("
"""An expression that may return several series."""

COUNTED = r"(?is)\b(SELECT|SEARCH)\b.*\b(SUM|COUNT|SampleCount)\b"
"""An expression that finds its metrics, of which it takes sums or counts."""

NO_DATAPOINTS = "CloudWatch has no datapoints of it"

HISTORY_DAYS = 14
HIGH_RESOLUTION_SECONDS = 9_000
"""Periods of less than a minute are kept for three hours, and nothing is returned from an earlier
start on; half an hour is for events that wait."""

MAX_READINGS = 2 * MAX_DATAPOINTS
"""Of all series of an alarm: two pages, and some seconds of detection."""

RECENT_MS = 3_600_000
RECENT_READINGS = 3
"""An alarm is evaluated by the readings that it evaluated itself; if the event does not have them,
by those of the last hour, and by so many at least."""


class AlarmIncident(msgspec.Struct, frozen=True):
    """A CloudWatch alarm that has fired and is not OK again.

    Attributes
    ----------
    since : int
        When it fired, milliseconds.
    detail
        Of the event that announced it.
    """

    id: str
    since: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class AlarmQuery:
    """What an alarm is about.

    Attributes
    ----------
    alarm : str
        The alarm's name; of a composite one, that of the metric alarm below it.
    series, title : str
        Exact and short name of the series.
    queries : list of mapping
        As GetMetricData takes them; exactly one returns data, that of `result_id`.
    period : int
        Seconds between readings.
    is_cumulative : bool
        Whether it is a count or a sum, or an expression over one.
    is_calculated : bool
        Whether it is an expression over other series.
    is_grouped : bool
        Whether it may be several series.
    unavailable_because : str or None
        Why it can't be read.
    """

    alarm: str
    series: str
    title: str
    queries: Sequence[Mapping[str, Any]] = ()
    result_id: str = ""
    period: int = DEFAULT_PERIOD
    is_cumulative: bool = False
    is_calculated: bool = False
    is_grouped: bool = False
    unavailable_because: str | None = None


@dataclass(frozen=True)
class Verdict:
    """How unusual one series of an alarm is.

    Attributes
    ----------
    title, metric : str
        Short and exact name of the series.
    value, expected, lower, upper, score, severity, reason
        Of the most unusual reading, else of the last one.
    since : int or None
        First unusual reading of what is unusual now, milliseconds.
    readings, history_start : int
        The history that it was compared with: how many readings, since when (milliseconds).
    unavailable_because : str or None
        Why it could not be evaluated; all else is None then.
    """

    title: str
    metric: str
    alarm: str
    value: float | None = None
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    score: float | None = None
    severity: float | None = None
    is_unusual: bool | None = None
    since: int | None = None
    reason: str | None = None
    readings: int = 0
    history_start: int | None = None
    unavailable_because: str | None = None


def evaluate_alarm(cloudwatch: Any, change: AlarmChange) -> list[Verdict]:
    """Evaluate every series that an alarm is about.

    Parameters
    ----------
    cloudwatch
        A client of boto3.

    Raises
    ------
    ServiceUnavailableError
        If CloudWatch does not respond: a retry may help.
    """
    if change.metrics:
        queries = [query_from_event(change.name, change.metrics)]
    else:
        queries = queries_of_composite(cloudwatch, change)
    why = f"only {MAX_EVALUATED} alarms of a composite one are evaluated"
    queries[MAX_EVALUATED:] = [
        replace(query, unavailable_because=query.unavailable_because or why)
        for query in queries[MAX_EVALUATED:]
    ]
    max_readings = MAX_READINGS // max(len(queries), 1)
    return [
        verdict
        for query in queries
        for verdict in evaluate_query(
            cloudwatch, query, change.at, change.evaluated_from, max_readings
        )
    ]


def evaluate_query(
    cloudwatch: Any,
    query: AlarmQuery,
    at: int,
    evaluated_from: int | None,
    max_readings: int = MAX_READINGS,
) -> list[Verdict]:
    """Read the history of an alarm's series, and evaluate the end of each.

    Parameters
    ----------
    at : int
        When the alarm changed, milliseconds.
    evaluated_from : int or None
        Time of the first reading that the alarm evaluated itself.
    max_readings : int
        Of all series together, if there are several.

    Raises
    ------
    ServiceUnavailableError
        If CloudWatch does not respond: a retry may help.
    """
    verdict = Verdict(title=query.title, metric=query.series, alarm=query.alarm)
    if query.unavailable_because is not None:
        return [replace(verdict, unavailable_because=query.unavailable_because)]
    try:
        by_label = _read(cloudwatch, query, at, max_readings)
    except (RequestRefusedError, AccessDeniedError) as error:
        return [replace(verdict, unavailable_because=str(error))]
    verdicts = [
        _evaluated(_named(verdict, label), query, series, at, evaluated_from)
        for label, series in by_label.items()
    ]
    return verdicts or [replace(verdict, unavailable_because=NO_DATAPOINTS)]


def _read(cloudwatch: Any, query: AlarmQuery, at: int, max_readings: int) -> dict[str, Series]:
    """Return the series of an alarm by label: two weeks of each, or less if there are many."""
    period = query.period
    end = at // 1000 // period * period
    if not (query.is_cumulative and query.is_calculated):
        end += period  # what a count has so far is a lower bound; a ratio of two such is nothing
    requests = [{**each, "ReturnData": each["Id"] == query.result_id} for each in query.queries]

    def last(periods: int) -> dict[str, Series]:
        found = read_labelled(cloudwatch, requests, end - periods * period, end)
        return found.get(query.result_id, {})

    periods = periods_of(HISTORY_DAYS, period)
    if period < 60:
        periods = min(periods, HIGH_RESOLUTION_SECONDS // period)
    if query.is_grouped:
        recent = max(RECENT_READINGS, RECENT_MS // 1000 // period)
        periods = min(periods, max_readings // max(len(last(recent)), 1))
    return last(periods)


def _named(verdict: Verdict, label: str) -> Verdict:
    """Return the verdict on one of several series, named by its label."""
    if not label:
        return verdict
    return replace(verdict, title=label, metric=f"{verdict.metric}: {label}")


def _evaluated(
    verdict: Verdict, query: AlarmQuery, series: Series, at: int, evaluated_from: int | None
) -> Verdict:
    """Evaluate the last readings of a series by those before them."""
    period = 1000 * query.period
    detection = untrained().detect(series)
    anomalous, is_usable = detection.is_anomaly, np.full(series.times.shape, True)
    if query.is_cumulative:
        settled_until = (at - 1000 * CUMULATIVE_SECONDS) // period * period
        anomalous = anomalous & counts(series, detection, settled_until)
        is_usable = anomalous | (series.times + period <= at)  # of this period, if it is too high
    if not is_usable.any():
        return replace(verdict, unavailable_because=NO_DATAPOINTS)
    last = int(np.flatnonzero(is_usable)[-1])
    recent_from = min(evaluated_from or math.inf, at - RECENT_MS)
    recent = min(int(np.searchsorted(series.times, recent_from)), last + 1 - RECENT_READINGS)
    first = max(recent, 0)
    unusual = first + np.flatnonzero(anomalous[first:])
    position, since = last, None
    if len(unusual):
        position = int(unusual[detection.severity[unusual].argmax()])
        begins = [alert.start for alert in detection.alerts if alert.start <= position]
        since = int(series.times[begins[-1] if begins else unusual[0]])
    elif why := _unknown_because(series[: last + 1], detection, first, period, at):
        return replace(verdict, unavailable_because=why)
    expected, lower, upper = (
        float(bound[position]) if math.isfinite(bound[position]) else None
        for bound in (detection.expected, detection.lower, detection.upper)
    )
    return replace(
        verdict,
        value=float(series.values[position]),
        expected=expected,
        lower=lower,
        upper=upper,
        score=float(detection.scores[position]),
        severity=round(float(detection.severity[position]), 4),
        is_unusual=since is not None,
        since=since,
        reason=detection.reasons.get(position),
        readings=last + 1,
        history_start=int(series.times[0]),
    )


def _unknown_because(
    series: Series, detection: Detection, first: int, period: int, at: int
) -> str | None:
    """Return why readings of which none counts as unusual can't be called ordinary either."""
    last = len(series) - 1
    if detection.is_anomaly[first : last + 1].any():
        minutes = CUMULATIVE_SECONDS // 60
        return f"what is unusual of it is less than {minutes} min old, and may not be complete"
    if not detection.can_evaluate[last]:
        return f"its {len(series)} datapoints are too few to know what is normal"
    is_regular = series.step <= period
    patience = max(1000 * CUMULATIVE_SECONDS if is_regular else RECENT_MS, RECENT_READINGS * period)
    if series.times[last] + period < at - patience:
        return f"it has had no datapoint since {spoken(int(series.times[last]))}"
    return None


def query_from_event(alarm: str, metrics: Sequence[Mapping[str, Any]]) -> AlarmQuery:
    """Return the query of an alarm on a metric or expression, from its `configuration.metrics`."""
    try:
        return _alarm_query(alarm, [event_query(metric) for metric in metrics])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"its event is malformed: {error!r}"
        return AlarmQuery(alarm, alarm, alarm, unavailable_because=why)


def query_from_description(description: Mapping[str, Any]) -> AlarmQuery:
    """Return the query of an alarm on a metric or expression, from DescribeAlarms."""
    name = description["AlarmName"]
    if not (description.get("Metrics") or description.get("MetricName")):
        why = "it is an alarm of another kind than on metrics or an expression"
        return AlarmQuery(name, name, f"Alarm {name}", unavailable_because=why)
    if description.get("Metrics"):
        return _alarm_query(name, description["Metrics"])
    stat = {
        "Metric": {
            "Namespace": description["Namespace"],
            "MetricName": description["MetricName"],
            "Dimensions": description.get("Dimensions", []),
        },
        "Period": description["Period"],
        "Stat": description.get("ExtendedStatistic") or description["Statistic"],
    }
    return _alarm_query(name, [{"Id": "m1", "MetricStat": stat}])


def queries_of_composite(cloudwatch: Any, change: AlarmChange) -> list[AlarmQuery]:
    """Return a query for each metric alarm below a composite alarm.

    Raises
    ------
    ServiceUnavailableError
        If CloudWatch does not respond.
    """
    names = [alarm_name(arn) for arn in change.triggered_by] or alarm_names_in_rule(change.rule)
    queries: list[AlarmQuery] = []
    seen = {change.name}
    try:
        for _ in range(MAX_DEPTH):
            names = [name for name in dict.fromkeys(names) if name not in seen][:MAX_ALARMS]
            if not names:
                break
            seen.update(names)
            metric_alarms, composite_alarms = _describe(cloudwatch, names)
            metric_alarms.sort(key=lambda alarm: alarm.get("StateValue") != "ALARM")
            queries += [query_from_description(alarm) for alarm in metric_alarms]
            known = {alarm["AlarmName"] for alarm in (*metric_alarms, *composite_alarms)}
            queries += [
                AlarmQuery(
                    name, name, f"Alarm {name}", unavailable_because="the alarm no longer exists"
                )
                for name in names
                if name not in known
            ]
            names = [
                n for alarm in composite_alarms for n in alarm_names_in_rule(alarm["AlarmRule"])
            ]
    except (AccessDeniedError, RequestRefusedError) as error:
        name = change.name
        queries.append(AlarmQuery(name, name, name, unavailable_because=str(error)))
    return queries


def event_query(metric: Mapping[str, Any]) -> dict[str, Any]:
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


def alarm_names_in_rule(rule: str) -> list[str]:
    """Return the names of the alarms in an alarm rule.

    Examples
    --------
    >>> alarm_names_in_rule('ALARM("cpu high") AND NOT OK(queue-empty)')
    ['cpu high', 'queue-empty']
    """
    return [alarm_name(next(filter(None, found))) for found in re.findall(ALARM_IN_RULE, rule)]


def alarm_name(arn: str) -> str:
    """Return the name of an alarm, given that or its ARN.

    Examples
    --------
    >>> alarm_name("arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu: high")
    'cpu: high'
    """
    return arn.split(":", 6)[6] if arn.startswith("arn:") and arn.count(":") >= 6 else arn


def _alarm_query(alarm: str, metrics: Sequence[Mapping[str, Any]]) -> AlarmQuery:
    """Return the one series that an alarm's metrics return, without CloudWatch's own band."""
    queries = [dict(each) for each in metrics if BAND not in each.get("Expression", "")]
    returned = [each for each in queries if each.get("ReturnData", True)]
    if len(returned) != 1:
        why = f"its metrics return {len(returned)} series, not one"
        return AlarmQuery(alarm, alarm, alarm, unavailable_because=why)
    [result] = returned
    series, title = _series_name(result), _title(result)
    for number, each in enumerate(queries):
        each.pop("Label", None)  # it would name all of several series alike
        if not re.fullmatch(QUERY_ID, each["Id"]):  # as in alarms on one metric
            each["Id"] = f"q{number}"
    stats = [each["MetricStat"] for each in queries if "MetricStat" in each]
    period = int(result.get("Period") or max((s["Period"] for s in stats), default=DEFAULT_PERIOD))
    if period <= 0:
        why = f"its period is {period} seconds"
        return AlarmQuery(alarm, series, title, unavailable_because=why)
    expressions = [each["Expression"] for each in queries if "Expression" in each]
    return AlarmQuery(
        alarm,
        series,
        title,
        queries,
        result["Id"],
        period,
        is_cumulative=any(is_cumulative(stat["Stat"]) for stat in stats)
        or any(re.search(COUNTED, expression) for expression in expressions),
        is_calculated=len(queries) > 1 and "Expression" in result,
        is_grouped=any(re.search(GROUPED, expression) for expression in expressions),
    )


def _series_name(query: Mapping[str, Any]) -> str:
    """Return the exact name of what a query returns."""
    if "MetricStat" not in query:
        return str(query.get("Expression") or query.get("Label") or query["Id"])
    stat = query["MetricStat"]
    pairs = [f"{pair['Name']}={pair['Value']}" for pair in stat["Metric"].get("Dimensions", [])]
    parts = [stat["Metric"]["Namespace"], stat["Metric"]["MetricName"], *pairs]
    return " ".join([*parts, stat["Stat"], str(stat["Period"])])


def _title(query: Mapping[str, Any]) -> str:
    """Return the short name of what a query returns."""
    if "MetricStat" not in query:
        label = query.get("Label", "")
        is_fixed = "${" not in label  # CloudWatch puts values there
        return str((is_fixed and label) or query.get("Expression") or query["Id"])
    metric = query["MetricStat"]["Metric"]
    values = [pair["Value"] for pair in metric.get("Dimensions", [])]
    return metric_title(metric["MetricName"], values)


def _describe(
    cloudwatch: Any, names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the metric alarms and the composite alarms of these names."""
    metric_alarms: list[dict[str, Any]] = []
    composite_alarms: list[dict[str, Any]] = []
    with translate_aws_errors("looking up the alarm's parts", "cloudwatch:DescribeAlarms"):
        pages = cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            metric_alarms += page.get("MetricAlarms", [])
            composite_alarms += page.get("CompositeAlarms", [])
    return metric_alarms, composite_alarms
