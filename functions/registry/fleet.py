"""The fleet: what the entries of a watch file stand for at the moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from registry.cloudwatch import explained
from registry.metric import Metric
from registry.watch_file import ExactEntry, Options, Selector

if TYPE_CHECKING:
    from registry.watch_file import WatchFile

RECENT = "PT3H"
LONGEST_RECENT_PERIOD = 3_600
"""ListMetrics can leave out what had no data for three hours: a vanished instance leaves the fleet,
where otherwise it would be listed for two weeks. What is written less than hourly needs those."""

PATTERN_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Watched:
    """An entry and the metrics that it stands for."""

    options: Options
    metrics: Sequence[Metric]


def resolve(cloudwatch: Any, watch_file: WatchFile) -> list[Watched]:
    """Return every entry with its metrics; each metric once, with the first entry that names it.

    Parameters
    ----------
    cloudwatch
        A client of boto3.

    Raises
    ------
    CloudWatchError
        If ListMetrics is not allowed or does not answer.
    """
    taken: set[Metric] = set()
    fleet = []
    for entry in watch_file.entries:
        named = (
            {Metric.parse(entry.metric)}
            if isinstance(entry, ExactEntry)
            else set(select(cloudwatch, entry))
        )
        options = Options(**{name: getattr(entry, name) for name in Options.__struct_fields__})
        fleet.append(Watched(options, sorted(named - taken)))
        taken |= named
    return fleet


def select(cloudwatch: Any, selector: Selector) -> Iterator[Metric]:
    """Yield the metrics that a selector stands for."""
    request: dict[str, Any] = {"Namespace": selector.namespace}
    if is_exact(selector.metric):
        request["MetricName"] = selector.metric
    request["Dimensions"] = [
        {"Name": name} | ({"Value": pattern} if is_exact(pattern) else {})
        for name, pattern in selector.dimensions.items()
    ]
    if selector.period <= LONGEST_RECENT_PERIOD:
        request["RecentlyActive"] = RECENT
    with explained(f"listing the metrics of {selector.name}", "cloudwatch:ListMetrics"):
        for page in cloudwatch.get_paginator("list_metrics").paginate(**request):
            for found in page["Metrics"]:
                dimensions = {pair["Name"]: pair["Value"] for pair in found["Dimensions"]}
                if matches(selector, found["MetricName"], dimensions):
                    yield Metric(
                        selector.namespace,
                        found["MetricName"],
                        tuple(dimensions.items()),
                        selector.statistic,
                        selector.period,
                    )


def is_exact(pattern: str) -> bool:
    """Tell whether a pattern stands for itself alone."""
    return not PATTERN_CHARACTERS & set(pattern)


def matches(selector: Selector, name: str, dimensions: dict[str, str]) -> bool:
    """Tell whether a listed metric is one of the selector's."""
    return (
        fnmatchcase(name, selector.metric)
        and dimensions.keys() == selector.dimensions.keys()
        and all(fnmatchcase(dimensions[key], p) for key, p in selector.dimensions.items())
    )
