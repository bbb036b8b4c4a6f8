"""CloudWatch as it is for those who depend on it: late, unfinished, slow, throttling, forgetful.

Time is simulated: a call lets it pass. The methods are those of boto3's client.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ops_anomaly.aws.cloudwatch import DATAPOINTS_PER_SECOND, MAX_DATAPOINTS, Metric
from ops_anomaly.watcher.settling import is_cumulative
from tests.support.fake_cloudwatch import as_metric, client_error
from tests.support.watcher import WallClock

SETTLED_SECONDS = 600
"""For so long after its end a period's value may change."""

FIRST_SHARE = 0.8
"""Of a sum that is there when its period ends; the rest comes in evenly until it has settled."""

LISTED_AFTER_SECONDS = 900
PAGE_SECONDS, DATAPOINT_SECONDS, HANGING_SECONDS = 0.3, 1e-5, 300.0
"""How long a page takes, and each datapoint on it (a full page takes more than a second); and a
call that hangs."""


@dataclass
class UnkindCloudWatch:
    """Holds what each metric's periods come to in the end, and shows what is there now.

    Attributes
    ----------
    truth : dict of Metric to (start, values)
        One final value a period from `start` on, seconds since 1970; NaN is none.
    unlisted_share : float
        Of the metrics that a list leaves out, each time others, after it has had them once.
    throttled_share, hanging_share : float
        Of the calls that are throttled whatever they ask for, and that take minutes.
    calls, throttled : int
        How many calls there were, and how many of them were throttled.
    """

    clock: WallClock
    seed: int = 1
    unlisted_share: float = 0.2
    throttled_share: float = 0.05
    hanging_share: float = 0.01
    truth: dict[Metric, tuple[int, np.ndarray]] = field(default_factory=dict)
    calls: int = 0
    throttled: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._listed: set[Metric] = set()
        self._quota, self._quota_at = float(DATAPOINTS_PER_SECOND), self.clock.seconds

    def value(self, metric: Metric, period_start: int) -> float:
        """Return what a period's value is now; NaN if nothing has arrived."""
        start, values = self.truth[metric]
        position = (period_start - start) // metric.period
        if not 0 <= position < len(values):
            return float("nan")
        final = float(values[position])
        age = self.clock.seconds - period_start - metric.period
        if age >= SETTLED_SECONDS:
            return final
        if is_cumulative(metric.statistic):
            if age < 0:  # the period that is still going on
                return round(final * FIRST_SHARE * (1 + age / metric.period))
            return round(final * (FIRST_SHARE + (1 - FIRST_SHARE) * age / SETTLED_SECONDS))
        # a mean of what has arrived is near the final one, and nearer the more there is
        missing = min(1.0, 1 - age / SETTLED_SECONDS)
        wobble = zlib.crc32(f"{metric} {period_start}".encode()) / 2**32 - 0.5
        return final * (1 + 0.02 * missing * wobble)

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        self.calls += 1
        start, end = (int(request[key].timestamp()) for key in ("StartTime", "EndTime"))
        metrics = {q["Id"]: as_metric(q["MetricStat"]) for q in request["MetricDataQueries"]}
        datapoints = sum((end - start) // metric.period for metric in metrics.values())
        assert datapoints <= MAX_DATAPOINTS, "more than one page"
        hangs = self._random.random() < self.hanging_share
        self.clock.advance(HANGING_SECONDS if hangs else PAGE_SECONDS)
        self._charge(datapoints)
        self.clock.advance(datapoints * DATAPOINT_SECONDS)
        return {
            "MetricDataResults": [
                self._result(key, metric, start, end) for key, metric in metrics.items()
            ]
        }

    def get_paginator(self, operation: str) -> UnkindCloudWatch:
        assert operation == "list_metrics"
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list: without what is too new, and without some that are there."""
        names = {each["Name"] for each in request["Dimensions"]}
        for metric, (start, _) in self.truth.items():
            is_wanted = metric.namespace == request["Namespace"] and metric.name == request.get(
                "MetricName", metric.name
            )
            if not is_wanted or {name for name, _ in metric.dimensions} != names:
                continue
            is_new = self.clock.seconds < start + LISTED_AFTER_SECONDS
            is_left_out = metric in self._listed and self._random.random() < self.unlisted_share
            if not is_new and not is_left_out:
                self._listed.add(metric)
                yield {"Metrics": [metric.query["Metric"]]}

    def _charge(self, datapoints: int) -> None:
        """Take datapoints out of the quota, which fills up as time passes; throttle without."""
        passed = self.clock.seconds - self._quota_at
        self._quota = min(self._quota + passed * DATAPOINTS_PER_SECOND, DATAPOINTS_PER_SECOND)
        self._quota_at = self.clock.seconds
        if datapoints > self._quota or self._random.random() < self.throttled_share:
            self.throttled += 1
            raise client_error("Throttling", "GetMetricData", "Rate exceeded")
        self._quota -= datapoints

    def _result(self, key: str, metric: Metric, start: int, end: int) -> dict[str, Any]:
        found = [(t, self.value(metric, t)) for t in range(start, end, metric.period)]
        known = [(t, value) for t, value in found if not np.isnan(value)]
        return {
            "Id": key,
            "Label": metric.name,
            "Timestamps": [datetime.fromtimestamp(t, UTC) for t, _ in known],
            "Values": [value for _, value in known],
            "StatusCode": "Complete",
        }
