"""Reading a watch file, and what it stands for at the moment.

On which metric each model of a watch file is trained.

What watching a fleet costs a month, and how many alerts a week it means.

What a watch file stands for, as the command line shows it.

Training every model that a watch file names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidWatchFileError
from ops_anomaly.detection.alerting import CURVE, threshold_for
from ops_anomaly.detection.formatting import duration
from ops_anomaly.watcher.fleet import Watched, resolve
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file
from training.candidates.candidate import NOTHING
from training.errors import SourceError
from training.report.style import new_table
from training.sources.cloudwatch import asking_cloudwatch
from training.sources.series import Series


def read_watch_file(path: Path) -> WatchFile:
    """Read a watch file written in YAML.

    Raises
    ------
    SourceError
        Naming what is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    try:
        return parse_watch_file(content)
    except InvalidWatchFileError as error:
        raise SourceError(f"{path} is no watch file:\n{error}") from error


def resolve_watch_file(cloudwatch: Any, watch_file: WatchFile) -> list[Watched]:
    """Return every entry with its metrics.

    Raises
    ------
    SourceError
        If CloudWatch can't be asked.
    """
    with asking_cloudwatch():
        return resolve(cloudwatch, watch_file)


@dataclass(frozen=True)
class Selected:
    """A model that a watch file names, and the series that it is trained on.

    Attributes
    ----------
    metrics : int
        How many metrics it is to judge; of those, the one with the most readings is taken.
    """

    model: str
    metric: Metric
    metrics: int
    series: Series


def metrics_by_model(fleet: Sequence[Watched]) -> dict[str, list[Metric]]:
    """Return the metrics of each model that an entry names.

    Raises
    ------
    SourceError
        If no entry names a model, or a model has no metric at the moment.
    """
    models: dict[str, list[Metric]] = {}
    for watched in fleet:
        if watched.options.model is not None:
            models.setdefault(watched.options.model, []).extend(watched.metrics)
    if not models:
        raise SourceError(
            "no entry of the watch file names a model, so there is none to train; add "
            "`model: NAME` to an entry, or leave it: each metric is then judged by its own history"
        )
    empty = [model for model, metrics in models.items() if not metrics]
    if empty:
        raise SourceError(
            f"no metric matches the entries of {', '.join(empty)} at the moment; look at what the "
            "file stands for with: python -m training watch FILE"
        )
    return models


def select(
    models: Mapping[str, Sequence[Metric]], found: Mapping[Metric, Series]
) -> tuple[list[Selected], list[str]]:
    """Return for each model the metric with the most readings; and the models without any."""
    selected, without = [], []
    for model, metrics in models.items():
        known = [metric for metric in metrics if metric in found]
        if not known:
            without.append(model)
            continue
        metric = max(known, key=lambda each: len(found[each]))
        selected.append(Selected(model, metric, len(metrics), found[metric]))
    return selected, without


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


COLUMNS = ("entry", "metrics", "every", "judged by", "sensitivity", "alerts/wk")


def show_fleet(watch_file: WatchFile, fleet: Sequence[Watched], console: Console) -> None:
    """Print the entries, what they stand for, and what it would mean to watch them."""
    console.print(fleet_table(fleet))
    console.print()
    for watched in fleet:
        console.print(
            f"  {watched.options.name}: {in_words(watched.metrics)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
            style=None if watched.metrics else "yellow",
        )
    console.print()
    count = sum(len(watched.metrics) for watched in fleet)
    alerts = sum(map(alerts_a_week, fleet))
    console.print(
        f"{count:,} metrics of {len(watch_file.entries)} entries; expect {alerts:.1f} false alerts "
        "a week in all, as far as past ones tell.",
        highlight=False,
    )
    show_cost(cost_of(watch_file, fleet), console)


def fleet_table(fleet: Sequence[Watched]) -> Table:
    """Return a row an entry; it fits 80 columns, but for the longest names."""
    note = "Alerts a week: false ones, of all its metrics, as far as past ones tell."
    table = new_table("What is watched", note, *COLUMNS)
    for watched in fleet:
        options = watched.options
        periods = {metric.period for metric in watched.metrics}
        table.add_row(
            options.name,
            f"{len(watched.metrics):,}",
            ", ".join(duration(1_000 * period) for period in sorted(periods)) or NOTHING,
            options.model or "its own history",
            f"{options.sensitivity:g}",
            f"{alerts_a_week(watched):.1f}",
        )
    return table


def in_words(metrics: Sequence[Metric]) -> str:
    """Return one of the metrics, and how many more there are."""
    if not metrics:
        return "stands for nothing at the moment; is it spelt right, with all its dimensions?"
    more = len(metrics) - 1
    return str(metrics[0]) + (f" and {more:,} more" if more else "")


def show_cost(cost: Cost, console: Console) -> None:
    """Print what it costs a month."""
    parts = {
        "GetMetricData": cost.reading,
        "S3": cost.state,
        "ListMetrics": cost.listing,
        "score metrics": cost.scores,
        "alarms and totals of the stack": cost.stack,
    }
    told = ", ".join(f"{name} {dollars(part)}" for name, part in parts.items() if part)
    console.print(
        f"Cost: [bold]{dollars(cost.total)} a month[/bold] in us-east-1 ({told}); Lambda apart: "
        f"{cost.invocations:,} invocations.",
        highlight=False,
    )


def dollars(amount: float) -> str:
    """Return an amount as people write it.

    Examples
    --------
    >>> dollars(0.0876), dollars(12.345), dollars(0.0001)
    ('$0.09', '$12.35', 'less than $0.01')
    """
    return f"${amount:,.2f}" if amount >= 0.005 else "less than $0.01"
