"""Metrics of CloudWatch, and their readings: GetMetricData, 500 queries a call, page by page."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ops_anomaly.aws.errors import (
    AccessDeniedError,
    InvalidMetricError,
    RequestRefusedError,
    ServiceUnavailableError,
    translate_aws_errors,
)
from ops_anomaly.detection.types import FLOAT32_MAX, Series

STATISTIC_PATTERN = (
    r"^(SampleCount|Average|Sum|Minimum|Maximum|IQM|p100"
    r"|(p|tm|tc|ts|wm)\d{1,2}(\.\d{1,10})?|(PR|TM|TC|TS|WM)\([^()]*\))$"
)
"""CloudWatch's statistics: plain ones, percentiles, trimmed ones."""

MAX_QUERIES = 500
MAX_DATAPOINTS = 100_800
"""GetMetricData's limits a call; so many datapoints are one page."""

MAX_PERIOD = 86_400
"""Seconds of CloudWatch's longest period."""

DATAPOINTS_PER_SECOND = 396_000
"""GetMetricData's quota of an account and region, for what is older than three hours."""

SPEC = "NAMESPACE METRIC [DIMENSION=VALUE ...] STATISTIC PERIOD_SECONDS"
EXAMPLE = "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"


@dataclass(frozen=True, order=True)
class Metric:
    """A metric of CloudWatch with the statistic and period that make it a series.

    Attributes
    ----------
    dimensions : tuple of (name, value)
        Sorted.
    statistic : str
        As in CloudWatch: Average, Sum, p99, ...
    period : int
        Seconds between readings; a multiple of 60.

    Examples
    --------
    >>> str(Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"))
    'AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300'
    """

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    period: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(sorted(self.dimensions)))
        names = [name for name, _ in self.dimensions]
        if len(set(names)) < len(names) or any("=" in name for name in names):
            raise InvalidMetricError(
                f"Invalid dimensions {', '.join(names)}: each once, without = in its name"
            )
        if not re.fullmatch(STATISTIC_PATTERN, self.statistic):
            raise InvalidMetricError(
                f"Unknown statistic {self.statistic!r}: use Average, Sum, p99, ..."
            )
        if not (0 < self.period <= MAX_PERIOD and self.period % 60 == 0):
            raise InvalidMetricError(
                f"Invalid period {self.period}: use a multiple of 60 seconds, up to {MAX_PERIOD:,}"
            )

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read a metric from one line; parts with spaces are quoted.

        Raises
        ------
        InvalidMetricError
            With the form that a metric has.
        """
        usage = f"Invalid metric {text!r}: write {SPEC}, for example {EXAMPLE!r}"
        try:
            namespace, name, *dimensions, statistic, period = shlex.split(text)
            pairs = [dimension.split("=", 1) for dimension in dimensions]
            if not namespace or not name or any(len(pair) != 2 or not all(pair) for pair in pairs):
                raise InvalidMetricError(usage)
            if not period.removeprefix("-").isdecimal():
                raise InvalidMetricError(usage)
            seconds = int(period)
        except ValueError as error:
            if isinstance(error, InvalidMetricError):
                raise
            raise InvalidMetricError(usage) from error
        return cls(namespace, name, tuple((key, value) for key, value in pairs), statistic, seconds)

    def __str__(self) -> str:
        """Return the line that `parse` reads; it identifies the metric."""
        pairs = [f"{name}={value}" for name, value in self.dimensions]
        parts = [self.namespace, self.name, *pairs, self.statistic, str(self.period)]
        return " ".join(map(shlex.quote, parts))

    @property
    def query(self) -> Mapping[str, Any]:
        """The `MetricStat` of GetMetricData."""
        return {
            "Metric": {
                "Namespace": self.namespace,
                "MetricName": self.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in self.dimensions],
            },
            "Period": self.period,
            "Stat": self.statistic,
        }


@dataclass(frozen=True)
class Span:
    """A metric from `start` until before `end`: seconds since 1970, multiples of its period."""

    metric: Metric
    start: int
    end: int

    @property
    def datapoints(self) -> int:
        """How many datapoints it has at most, which is what CloudWatch's quota counts."""
        return (self.end - self.start) // self.metric.period


def calls_for(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Divide spans, in their order, into calls that fit one page of GetMetricData each."""
    page: list[Span] = []
    datapoints = 0
    for span in spans:
        if page and (len(page) == MAX_QUERIES or datapoints + span.datapoints > MAX_DATAPOINTS):
            yield page
            page, datapoints = [], 0
        page.append(span)
        datapoints += span.datapoints
    if page:
        yield page


def read_history(cloudwatch: Any, spans: Iterable[Span]) -> Iterator[tuple[Span, Series]]:
    """Read metrics, each over its own span, in calls that fit one page.

    Parameters
    ----------
    cloudwatch
        A client of boto3.

    Yields
    ------
    Span, Series
        In the order of the calls. Gaps stay gaps; a metric that CloudWatch does not know is empty.

    Raises
    ------
    ServiceError
        As `read_queries`.
    """
    together: dict[tuple[int, int], list[Span]] = defaultdict(list)
    for span in spans:
        together[span.start, span.end].append(span)
    for (start, end), group in together.items():
        for batch in calls_for(group):
            queries = [
                {"Id": f"m{number}", "MetricStat": span.metric.query}
                for number, span in enumerate(batch)
            ]
            found = read_queries(cloudwatch, queries, start, end)
            for number, span in enumerate(batch):
                yield span, found.get(f"m{number}", _series([], []))


def read_queries(
    cloudwatch: Any, queries: Sequence[Mapping[str, Any]], start: int, end: int
) -> dict[str, Series]:
    """Read what `read_labelled` does, of queries that return one series each.

    Returns
    -------
    dict of str to Series
        By query id, for each query that returned something.

    Raises
    ------
    ServiceError
        As `read_labelled`.
    RequestRefusedError
        If a query returns several series.
    """
    found = read_labelled(cloudwatch, queries, start, end)
    for key, by_label in found.items():
        if len(by_label) > 1:
            raise RequestRefusedError(f"{key} returns {len(by_label)} series, not one")
    return {key: series for key, by_label in found.items() for series in by_label.values()}


def read_labelled(
    cloudwatch: Any, queries: Sequence[Mapping[str, Any]], start: int, end: int
) -> dict[str, dict[str, Series]]:
    """Send up to 500 queries to GetMetricData, and read all pages of the result.

    Parameters
    ----------
    queries
        As GetMetricData takes them, expressions included.
    start, end : int
        Seconds since 1970; start inclusive, end exclusive.

    Returns
    -------
    dict of str to dict of str to Series
        By query id and label, in CloudWatch's order, for each query that returned something; the
        label is empty if the query returned one series. Values that are not finite, or beyond
        float32's range, are left out.

    Raises
    ------
    AccessDeniedError
        If the permission is missing, for all or for one of the queries.
    RequestRefusedError
        If a query is invalid.
    ServiceUnavailableError
        If CloudWatch does not respond, or not completely.
    """
    action = f"reading {len(queries)} series from CloudWatch"
    parts: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for key, label, result in _labelled(list(_pages(cloudwatch, action, queries, start, end))):
        parts[key][label].append(result)
    for by_label in parts.values():
        for results in by_label.values():
            _check_complete(action, results[-1])
    return {
        key: {label: _joined(results) for label, results in by_label.items()}
        for key, by_label in parts.items()
    }


def _pages(
    cloudwatch: Any, action: str, queries: Sequence[Mapping[str, Any]], start: int, end: int
) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the results of GetMetricData, page by page."""
    token: dict[str, str] = {}
    while True:
        with translate_aws_errors(action, "cloudwatch:GetMetricData"):
            page = cloudwatch.get_metric_data(
                MetricDataQueries=queries,
                StartTime=datetime.fromtimestamp(start, UTC),
                EndTime=datetime.fromtimestamp(end, UTC),
                ScanBy="TimestampAscending",
                MaxDatapoints=MAX_DATAPOINTS,
                **token,
            )
        yield page["MetricDataResults"]
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _labelled(
    pages: Sequence[Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield query id, label and result of each result; the same for all parts of one series.

    A query returns several series (SEARCH, GROUP BY) if its id comes twice in one page. If not, its
    label is no part of what identifies it: it may hold the last value, and differ between pages.
    """
    several = {
        key
        for page in pages
        for key, count in Counter(result["Id"] for result in page).items()
        if count > 1
    }
    for page in pages:
        seen: Counter[tuple[str, str]] = Counter()
        for result in page:
            key = result["Id"]
            label = result.get("Label", "") if key in several else ""
            seen[key, label] += 1
            number = seen[key, label]
            yield key, label if number == 1 else f"{label} ({number})", result


def _joined(results: Sequence[Mapping[str, Any]]) -> Series:
    """Put the parts of one series together."""
    return _series(
        [moment.timestamp() for result in results for moment in result["Timestamps"]],
        [value for result in results for value in result["Values"]],
    )


def _check_complete(action: str, result: Mapping[str, Any]) -> None:
    """Raise unless the last page of a result says that it is complete."""
    status = result.get("StatusCode", "Complete")
    if status == "Complete":
        return
    reason = "; ".join(message.get("Value", "") for message in result.get("Messages", []))
    message = f"{action}: {result.get('Label', result['Id'])} is {status}"
    message += f" ({reason})" if reason else ""
    if status == "Forbidden":
        message += "; the role needs cloudwatch:GetMetricData, in the metric's account and region"
    raise (AccessDeniedError if status == "Forbidden" else ServiceUnavailableError)(message)


def _series(seconds: Sequence[float], values: Sequence[float]) -> Series:
    """Put the datapoints of all pages in order, one a time."""
    times, first = np.unique(np.array(seconds, np.int64), return_index=True)
    numbers = np.array(values, np.float64)[first]
    usable = np.abs(numbers) <= FLOAT32_MAX  # false for NaN as well
    return Series(1000 * times[usable], numbers[usable])
