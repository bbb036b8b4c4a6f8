"""Reading series from CloudWatch: GetMetricData, 500 queries a call, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.value_range import FLOAT32_MAX
from registry.cloudwatch import explained
from registry.errors import (
    CloudWatchDeniedError,
    CloudWatchRefusedError,
    CloudWatchUnavailableError,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from registry.metric import Metric

MOST_QUERIES = 500
MOST_DATAPOINTS = 100_800
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
        for first in range(0, len(group), MOST_QUERIES):
            batch = group[first : first + MOST_QUERIES]
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
        with explained(what, "cloudwatch:GetMetricData"):
            page = cloudwatch.get_metric_data(
                MetricDataQueries=queries,
                StartTime=datetime.fromtimestamp(start, UTC),
                EndTime=datetime.fromtimestamp(end, UTC),
                ScanBy="TimestampAscending",
                MaxDatapoints=MOST_DATAPOINTS,
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
