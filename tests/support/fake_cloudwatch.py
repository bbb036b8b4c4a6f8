"""A CloudWatch in memory, for what moto lacks (metric math, faults, pages) or is slow at.

Its methods are those of boto3's client. The integration tests use moto's server instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from botocore.exceptions import ClientError

from ops_anomaly.aws.cloudwatch import Metric

Series = dict[int, float]
"""Seconds since 1970 -> value."""


def client_error(code: str, operation: str, message: str = "made up") -> ClientError:
    """Return an error as boto3 raises it; those of the service itself have status 500."""
    status = 500 if code.startswith("Internal") else 400
    metadata = {"HTTPStatusCode": status}
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return ClientError(response, operation)


class FakeCloudWatch:
    """Holds one value a period and metric; expressions are functions of the series by id.

    Attributes
    ----------
    groups
        Expressions that return several series, by their labels.
    failures
        Raised one by one by the next calls.
    calls, listed
        Every request of GetMetricData, and of ListMetrics.
    unlisted
        Metrics that lists leave out, though they have data.
    page_size
        Datapoints on one page.
    """

    def __init__(self, page_size: int = 100_800) -> None:
        self.series: dict[Metric, Series] = {}
        self.expressions: dict[str, Callable[[Mapping[str, Series]], Series]] = {}
        self.groups: dict[str, dict[str, Series]] = {}
        self.alarms: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self._failing: dict[int, Exception] = {}
        self.refused: set[Metric] = set()
        self.unlisted: set[Metric] = set()
        self.status: dict[str, str] = {}
        self.calls: list[dict[str, Any]] = []
        self.listed: list[dict[str, Any]] = []
        self.page_size = page_size

    def __call__(self) -> FakeCloudWatch:
        return self

    def after(self, calls: int, failure: Exception) -> None:
        """Let so many calls of GetMetricData succeed, and the next one fail."""
        self._failing[len(self.calls) + calls] = failure

    def put(self, metric: Metric, start: int, values: Iterable[float]) -> None:
        """Add readings, one a period from `start` on; NaN leaves a gap."""
        series = self.series.setdefault(metric, {})
        for number, value in enumerate(values):
            if not np.isnan(value):
                series[start + number * metric.period] = float(value)

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        self.calls.append(request)
        if failure := self._failing.pop(len(self.calls) - 1, None):
            raise failure
        if self.failures:
            raise self.failures.pop(0)
        queries = request["MetricDataQueries"]
        assert 0 < len(queries) <= 500
        assert len({query["Id"] for query in queries}) == len(queries)
        start, end = (int(request[key].timestamp()) for key in ("StartTime", "EndTime"))
        found: dict[str, Series] = {}
        keys = {query["Id"]: [query["Id"]] for query in queries}
        names = {key: (key, key) for key in keys}
        for query in queries:
            if "MetricStat" in query:
                metric = as_metric(query["MetricStat"])
                if metric in self.refused:
                    raise client_error("ValidationError", "GetMetricData", f"{metric} is refused")
                period = query["MetricStat"]["Period"]
                assert start % period == end % period == 0, "not aligned to the period"
                known = self.series.get(metric, {})
                found[query["Id"]] = {t: known[t] for t in sorted(known) if start <= t < end}
        for query in queries:
            if query.get("Expression") in self.groups:
                group = self.groups[query["Expression"]]
                keys[query["Id"]] = [f"{query['Id']} {label}" for label in group]
                for label, known in group.items():
                    key = f"{query['Id']} {label}"
                    names[key] = query["Id"], label
                    found[key] = {t: known[t] for t in sorted(known) if start <= t < end}
            elif "Expression" in query:
                if query["Expression"] not in self.expressions:
                    raise client_error("ValidationError", "GetMetricData", "unknown function")
                found[query["Id"]] = self.expressions[query["Expression"]](found)
        returned = [
            key for query in queries if query.get("ReturnData", True) for key in keys[query["Id"]]
        ]
        points = [(key, t, found[key][t]) for key in returned for t in sorted(found[key])]
        first = int(request.get("NextToken", "0"))
        page = points[first : first + self.page_size]
        more = first + self.page_size < len(points)
        times: dict[str, list[datetime]] = {key: [] for key in returned}
        values: dict[str, list[float]] = {key: [] for key in returned}
        for key, t, value in page:
            times[key].append(datetime.fromtimestamp(t, UTC))
            values[key].append(value)
        results = [
            {
                "Id": names[key][0],
                "Label": names[key][1],
                "Timestamps": times[key],
                "Values": values[key],
                "StatusCode": "PartialData" if more else self.status.get(key, "Complete"),
            }
            for key in returned
        ]
        return {"MetricDataResults": results} | (
            {"NextToken": str(first + self.page_size)} if more else {}
        )

    def get_paginator(self, operation: str) -> Any:
        fake = self

        class Paginator:
            def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
                if fake.failures:
                    raise fake.failures.pop(0)
                return getattr(fake, f"_{operation}")(**request)

        return Paginator()

    def _list_metrics(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.listed.append(request)
        for metric in (each for each in self.series if each not in self.unlisted):
            dimensions = dict(metric.dimensions)
            wanted = all(
                d["Name"] in dimensions
                and d.get("Value", dimensions[d["Name"]]) == dimensions[d["Name"]]
                for d in request["Dimensions"]
            )
            is_named = request.get("MetricName", metric.name) == metric.name
            if metric.namespace == request["Namespace"] and is_named and wanted:
                yield {"Metrics": [metric.query["Metric"]]}

    def _describe_alarms(
        self, AlarmNames: list[str], AlarmTypes: list[str]
    ) -> Iterator[dict[str, Any]]:
        named = [alarm for alarm in self.alarms if alarm["AlarmName"] in AlarmNames]
        yield {"MetricAlarms": [alarm for alarm in named if "AlarmRule" not in alarm]}
        yield {"CompositeAlarms": [alarm for alarm in named if "AlarmRule" in alarm]}


def as_metric(stat: Mapping[str, Any]) -> Metric:
    """Return the metric that a MetricStat asks for."""
    return Metric(
        stat["Metric"]["Namespace"],
        stat["Metric"]["MetricName"],
        tuple((d["Name"], d["Value"]) for d in stat["Metric"]["Dimensions"]),
        stat["Stat"],
        stat["Period"],
    )
