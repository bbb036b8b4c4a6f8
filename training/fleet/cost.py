"""What watching a fleet costs a month, and how many alerts a week it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.sensitivity import CURVE, threshold_for
from registry.fleet import Watched
from registry.watch_file import WatchFile

MONTH_SECONDS = 730 * 3_600
WEEK_SECONDS = 7 * 86_400
TICK_SECONDS = 300
"""A metric is read once a period, but no more often than this."""

METRIC_READ = 0.01 / 1_000
STATE_KEPT = 0.000_005_4
LISTING = 0.01 / 1_000
SCORE_METRIC = 0.30
"""Dollars in us-east-1: for a metric in GetMetricData; for a GET and a PUT of S3; for a call of
ListMetrics; for a custom metric a month."""

STACK = 12 * 0.10 + 7 * 0.30
"""A month, however many metrics: the stack's alarms, and the totals that the watcher publishes."""

SHARD = 500
"""Metrics whose state is one object."""

PAGE = 500
"""Metrics that one ListMetrics returns."""


@dataclass(frozen=True)
class Cost:
    """Dollars a month.

    Attributes
    ----------
    reading, state, listing, scores : float
        GetMetricData; GET and PUT of S3; ListMetrics for selectors, once an hour; custom metrics
        of scores.
    stack : float
        What is there however many metrics are watched.
    invocations : int
        Of the function, a month, which Lambda bills apart.
    """

    reading: float
    state: float
    listing: float
    scores: float
    stack: float
    invocations: int

    @property
    def total(self) -> float:
        """All but Lambda."""
        return self.reading + self.state + self.listing + self.scores + self.stack


def cost_of(watch_file: WatchFile, fleet: Sequence[Watched]) -> Cost:
    """Return what a fleet costs, as large as it is now.

    Parameters
    ----------
    fleet
        What the entries of the watch file stand for, in their order.
    """
    polls = {
        metric: MONTH_SECONDS / max(metric.period, TICK_SECONDS)
        for watched in fleet
        for metric in watched.metrics
    }
    shards = -(-len(polls) // SHARD)
    listed = fleet[len(watch_file.metrics) :]
    pages = sum(max(-(-len(watched.metrics) // PAGE), 1) for watched in listed)
    ticks = MONTH_SECONDS / TICK_SECONDS
    return Cost(
        reading=METRIC_READ * sum(polls.values()),
        state=STATE_KEPT * shards * max(polls.values(), default=0.0),
        listing=LISTING * pages * MONTH_SECONDS / 3_600,
        scores=SCORE_METRIC * sum(len(w.metrics) for w in fleet if w.options.score_metric),
        stack=STACK,
        invocations=round(ticks * (1 + shards)),
    )


def alerts_a_week(watched: Watched) -> float:
    """Return how many false alerts an entry is expected to raise, all its metrics together.

    As many as its sensitivity asks for, as far as that can be had: a metric that is read seldom
    can't be made to alert often.
    """
    thresholds, rates = np.array(CURVE).T
    expected = 0.0
    for metric in watched.metrics:
        readings = WEEK_SECONDS / metric.period
        threshold = threshold_for(watched.options.sensitivity, readings)
        rate = np.exp(np.interp(threshold, thresholds, np.log(rates)))
        expected += float(rate) * readings / 1_000
    return expected
