"""What has to be read of CloudWatch to judge an alarm: one series a question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watch.words import called

BAND = "ANOMALY_DETECTION_BAND"
QUERY_ID = r"^[a-z][a-zA-Z0-9_]*$"
USUAL_PERIOD = 300


@dataclass(frozen=True)
class Question:
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


def from_event(alarm: str, metrics: Sequence[Mapping[str, Any]]) -> Question:
    """Return what an alarm is about, from its event's `configuration.metrics`."""
    try:
        return question(alarm, [query_of_event(metric) for metric in metrics])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Question(alarm, alarm, alarm, cannot=f"its event can't be read: {error!r}")


def from_description(described: Mapping[str, Any]) -> Question:
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


def question(alarm: str, metrics: Sequence[Mapping[str, Any]]) -> Question:
    """Return the one series that an alarm's metrics return; a band is CloudWatch's own verdict."""
    queries = [dict(each) for each in metrics if BAND not in each.get("Expression", "")]
    returning = [each for each in queries if each.get("ReturnData", True)]
    if len(returning) != 1:
        return Question(
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
        return Question(alarm, series, title, cannot=f"its period is {period} seconds")
    return Question(
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
