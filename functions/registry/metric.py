"""A CloudWatch metric with the statistic and period that make it a series."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import InvalidMetricError

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
