"""A CloudWatch metric with the statistic and period that make it a series.

Reading series from CloudWatch: GetMetricData, 500 queries a call, page by page.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.aws.errors import (
    CloudWatchDeniedError,
    CloudWatchRefusedError,
    CloudWatchUnavailableError,
    InvalidMetricError,
    translate_aws_errors,
)
from ops_anomaly.detection.types import FLOAT32_MAX

if TYPE_CHECKING:
    import numpy.typing as npt


STATISTIC_PATTERN = (
    r"^(SampleCount|Average|Sum|Minimum|Maximum|IQM|p100"
    r"|(p|tm|tc|ts|wm)\d{1,2}(\.\d{1,10})?|(PR|TM|TC|TS|WM)\([^()]*\))$"
)
"""CloudWatch's statistics: plain ones, percentiles, trimmed ones."""

SPEC = "NAMESPACE METRIC [DIMENSION=VALUE ...] STATISTIC PERIOD_SECONDS"
EXAMPLE = "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"


@dataclass(frozen=True, order=True)
class Metric:
    """One series of CloudWatch.

    Attributes
    ----------
    dimensions : tuple of (name, value)
        Sorted.
    statistic : str
        As CloudWatch names it: Average, Sum, p99, ...
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
                f"dimensions {', '.join(names)}: each once, and none with a = in its name"
            )
        if not re.fullmatch(STATISTIC_PATTERN, self.statistic):
            raise InvalidMetricError(
                f"{self.statistic!r} is no statistic of CloudWatch: Average, Sum, p99, ..."
            )
        if not (self.period > 0 and self.period % 60 == 0):
            raise InvalidMetricError(f"period {self.period}: a multiple of 60 seconds is needed")

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read a metric from one line; a part that holds spaces is quoted.

        Raises
        ------
        InvalidMetricError
            Saying what a metric looks like.
        """
        usage = f"{text!r} is no metric; write {SPEC}, for example {EXAMPLE!r}"
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
        """What GetMetricData asks for: its `MetricStat`."""
        return {
            "Metric": {
                "Namespace": self.namespace,
                "MetricName": self.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in self.dimensions],
            },
            "Period": self.period,
            "Stat": self.statistic,
        }


MAX_QUERIES = 500
MAX_DATAPOINTS = 100_800
"""GetMetricData's limits a call."""


@dataclass(frozen=True)
class Readings:
    """What CloudWatch holds of a series; gaps stay gaps.

    Attributes
    ----------
    timestamps : (n,) datetime64[s], increasing
        When each period began, UTC.
    values : (n,) float64
        Finite and within float32's range; others are left out.
    """

    timestamps: npt.NDArray[np.datetime64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Span:
    """A metric from `start` to before `end`, in seconds since 1970, multiples of its period."""

    metric: Metric
    start: int
    end: int


def read_history(cloudwatch: Any, spans: Iterable[Span]) -> Iterator[tuple[Span, Readings]]:
    """Read series, each over its own span, in as few calls as CloudWatch's limits allow.

    Parameters
    ----------
    cloudwatch
        A client of boto3.

    Yields
    ------
    Span, Readings
        In the order of the calls. A series that CloudWatch does not know has no readings.

    Raises
    ------
    CloudWatchError
        As `read_queries`.
    """
    together: dict[tuple[int, int], list[Span]] = defaultdict(list)
    for span in spans:
        together[span.start, span.end].append(span)
    for (start, end), group in together.items():
        for first in range(0, len(group), MAX_QUERIES):
            batch = group[first : first + MAX_QUERIES]
            queries = [
                {"Id": f"m{number}", "MetricStat": span.metric.query}
                for number, span in enumerate(batch)
            ]
            found = read_queries(cloudwatch, queries, start, end)
            for number, span in enumerate(batch):
                yield span, found.get(f"m{number}", _readings([], []))


def read_queries(
    cloudwatch: Any, queries: Sequence[Mapping[str, Any]], start: int, end: int
) -> dict[str, Readings]:
    """Ask GetMetricData up to 500 queries, and follow its pages.

    Parameters
    ----------
    queries
        As GetMetricData takes them; expressions too.
    start, end : int
        Seconds since 1970; start inclusive, end exclusive.

    Returns
    -------
    dict of str to Readings
        By the query's id, for each that returned something.

    Raises
    ------
    CloudWatchDeniedError
        If the permission is missing, for all or for one of the queries.
    CloudWatchRefusedError
        If a query is not understood, or returns several series.
    CloudWatchUnavailableError
        If it does not answer, or not completely.
    """
    what = f"reading {len(queries)} series from CloudWatch"
    times: dict[str, list[float]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    labels: dict[str, set[str]] = defaultdict(set)
    last: dict[str, Mapping[str, Any]] = {}
    token: dict[str, str] = {}
    while True:
        with translate_aws_errors(what, "cloudwatch:GetMetricData"):
            page = cloudwatch.get_metric_data(
                MetricDataQueries=queries,
                StartTime=datetime.fromtimestamp(start, UTC),
                EndTime=datetime.fromtimestamp(end, UTC),
                ScanBy="TimestampAscending",
                MaxDatapoints=MAX_DATAPOINTS,
                **token,
            )
        for result in page["MetricDataResults"]:
            times[result["Id"]] += [moment.timestamp() for moment in result["Timestamps"]]
            values[result["Id"]] += result["Values"]
            labels[result["Id"]].add(result.get("Label", ""))
            last[result["Id"]] = result
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    for key, result in last.items():
        if len(labels[key]) > 1:  # an expression such as SEARCH, or one with GROUP BY
            raise CloudWatchRefusedError(f"{what}: {key} is not one series, but {len(labels[key])}")
        _check(what, result)
    return {key: _readings(times[key], values[key]) for key in last}


def _check(what: str, result: Mapping[str, Any]) -> None:
    """Raise unless the last page of a result says that it is complete."""
    status = result.get("StatusCode", "Complete")
    if status == "Complete":
        return
    said = "; ".join(message.get("Value", "") for message in result.get("Messages", []))
    message = f"{what}: {result.get('Label', result['Id'])} is {status} ({said or 'no reason'})"
    if status == "Forbidden":
        message += "; the role needs cloudwatch:GetMetricData, in the metric's account and region"
    raise (CloudWatchDeniedError if status == "Forbidden" else CloudWatchUnavailableError)(message)


def _readings(times: Sequence[float], values: Sequence[float]) -> Readings:
    """Put what several pages gave in order, one reading a moment."""
    seconds, first = np.unique(np.array(times, np.int64), return_index=True)
    numbers = np.array(values, np.float64)[first]
    usable = np.abs(numbers) <= FLOAT32_MAX  # false for NaN as well
    return Readings(seconds[usable].astype("datetime64[s]"), numbers[usable])
