"""The history that a replay needs: read from CloudWatch in spans, and kept in a folder.

What has been read is not read again for a day: a replay that was interrupted continues, and one of
another sensitivity costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from ops_anomaly.aws.cloudwatch import MAX_PERIOD, Metric, Span, calls_for, read_history
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.types import DAY, MINUTE, Series
from ops_anomaly.watcher.settling import FINAL_SECONDS
from ops_anomaly.watcher.watch_file import MIN_PERIODS, Options, periods_of, retention_days
from replay import ReplayError
from replay.engine import TICK_MS
from training.cost import METRIC_READ
from training.sources.cloudwatch import source_errors

PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "ReadMetrics",
            "Effect": "Allow",
            "Action": ["cloudwatch:GetMetricData", "cloudwatch:ListMetrics"],
            "Resource": "*",
        }
    ],
}
"""All that a replay may do with an account."""

MARGIN_MS = 60 * MINUTE
"""CloudWatch drops readings while a replay reads: from so long before on, none is asked for."""

KEPT_MS = DAY
"""How long what was read is used again."""

WARM_UP_SHARE = 0.5
"""Of what CloudWatch keeps, so much at most is only compared with: the rest is replayed."""


JITTER = 0.1
"""By so much a file's interval may differ from whole minutes: readings are averaged by period."""


@dataclass(frozen=True)
class Planned:
    """A metric, and what is read and replayed of it.

    Attributes
    ----------
    read_from, start, until : int
        Readings are read from `read_from` on, evaluated from `start`, and end before `until`;
        milliseconds.
    limit : str
        Why no more days are replayed; empty if as many as were asked for.
    """

    metric: Metric
    options: Options
    read_from: int
    start: int
    until: int
    limit: str = ""

    @property
    def span(self) -> Span:
        """What is read, in whole periods."""
        period = self.metric.period
        first = -(-self.read_from // (1_000 * period)) * period
        return Span(self.metric, first, self.until // (1_000 * period) * period)


def plan(metric: Metric, options: Options, days: int, until: int) -> Planned:
    """Return what is read and replayed of a metric of CloudWatch.

    Its first evaluation, `days` before `until`, is compared with as much history as the watcher
    would have: where CloudWatch does not keep both, less is replayed.
    """
    step = 1_000 * metric.period
    kept = retention_days(metric.period) * DAY - MARGIN_MS
    warm_up = min(periods_of(options.history_days, metric.period) * step, int(WARM_UP_SHARE * kept))
    start = max(until - days * DAY, until - kept + warm_up)
    limit = (
        f"CloudWatch keeps readings of {duration(step)} for {retention_days(metric.period)} days, "
        f"and the first {duration(warm_up)} are history to compare with"
    )
    is_limited = start > until - days * DAY
    return Planned(metric, options, start - warm_up, start, until, limit if is_limited else "")


def plan_file(
    name: str, series: Series, days: int, sensitivity: float, group: str | None = None
) -> tuple[Planned, Series]:
    """Return what is replayed of a file, as if CloudWatch had it, and its readings.

    The first half at most is only compared with.

    Parameters
    ----------
    group
        As a watch file has it: anomalies of a group that begin together are one incident.

    Raises
    ------
    ReplayError
        If there are too few readings, or CloudWatch has no such periods.
    """
    if len(series) < MIN_PERIODS:
        raise ReplayError(
            f"{name} has {len(series)} readings; at least {MIN_PERIODS} are needed to compare with "
            "and to replay"
        )
    period = 60 * round(series.step / MINUTE)
    is_near = abs(series.step - 1_000 * period) <= JITTER * 1_000 * period
    if not is_near or not 60 <= period <= MAX_PERIOD:
        interval = duration(series.step) if is_near else f"{series.step / 1_000:.4g} s"
        raise ReplayError(
            f"{name} has a reading every {interval}; the watcher reads periods of "
            f"whole minutes, up to {duration(1_000 * MAX_PERIOD)}: average or sample it to one"
        )
    options = Options(name=entry_name(name), sensitivity=sensitivity, group=group)
    metric = Metric("File", name, (), "Average", period)
    series = whole_periods(series, period)
    step, first = 1_000 * period, int(series.times[0])
    until = int(series.times[-1]) + step + TICK_MS
    half = (until - first) // 2
    warm_up = min(periods_of(options.history_days, period) * step, half)
    start = max(until - days * DAY, first + warm_up)
    limit = (
        f"the file has {duration(until - first)}, and the first {duration(start - first)} are "
        "history to compare with"
    )
    is_limited = start > until - days * DAY
    planned = Planned(metric, options, first, start, until, limit if is_limited else "")
    return planned, series


def entry_name(text: str) -> str:
    """Return a name that an entry may have.

    Examples
    --------
    >>> entry_name("Web 1 (CPU).2026")
    'web-1-cpu-2026'
    """
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:63] or "metric"


class Expense(NamedTuple):
    """What reading takes.

    Attributes
    ----------
    dollars : float
        By the price in us-east-1, which is for each metric in each call.
    """

    metrics: int
    datapoints: int
    calls: int
    dollars: float


def calls_of(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield what is read in each call of GetMetricData: metrics over the same time."""
    together = sorted(spans, key=lambda span: (span.start, span.end))
    for _, group in groupby(together, key=lambda span: (span.start, span.end)):
        yield from calls_for(group)


def expense(spans: Sequence[Span]) -> Expense:
    """Return what reading spans of metrics takes at most."""
    return Expense(
        metrics=len(spans),
        datapoints=sum(span.datapoints for span in spans),
        calls=sum(1 for _ in calls_of(spans)),
        dollars=METRIC_READ * len(spans),
    )


class HistoryFolder:
    """Histories that have been read, a file each.

    Parameters
    ----------
    account
        Identifies account and region: a metric of the same name is another one elsewhere.
    now : int
        Milliseconds since 1970.
    """

    def __init__(self, folder: Path, account: str, now: int) -> None:
        self._folder, self._account, self._now = folder, account, now

    def read(self, span: Span) -> Series:
        """Return the readings of a span, as far as they are known."""
        series = self._stored(span.metric).series
        first, stop = np.searchsorted(series.times, [1_000 * span.start, 1_000 * span.end])
        return series[int(first) : int(stop)]

    def missing(self, span: Span) -> Span | None:
        """Return what has to be read of a span yet; None if nothing has."""
        known = self._stored(span.metric)
        if not known.start <= span.start <= known.end:
            return span
        return replace(span, start=known.end) if known.end < span.end else None

    def add(self, span: Span, series: Series) -> None:
        """Keep what was read of a span, behind what is known before it."""
        known = self._stored(span.metric)
        if known.end == span.start:
            before = known.series[known.series.times < 1_000 * span.start]
            series = Series(
                np.concatenate([before.times, series.times]),
                np.concatenate([before.values, series.values]),
            )
            span = replace(span, start=known.start)
        final = (self._now - 1_000 * FINAL_SECONDS) // (1_000 * span.metric.period)
        path = self.path(span.metric)
        unfinished = path.with_suffix(f".{os.getpid()}")
        with unfinished.open("wb") as file:
            np.savez(
                file,
                span=[span.start, min(span.end, final * span.metric.period), self._now],
                times=series.times,
                values=series.values,
            )
        unfinished.replace(path)

    def path(self, metric: Metric) -> Path:
        """Return where the history of a metric is kept."""
        identity = f"{self._account}|{metric}"
        return self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"

    def _stored(self, metric: Metric) -> _Stored:
        try:
            with np.load(self.path(metric)) as stored:
                start, end, read_at = stored["span"].tolist()
                series = Series(stored["times"], stored["values"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return NOTHING_STORED  # it is read again
        return _Stored(start, end, series) if read_at > self._now - KEPT_MS else NOTHING_STORED


class _Stored(NamedTuple):
    """A history from `start` to before `end`, seconds; readings after it may still change."""

    start: int
    end: int
    series: Series


NOTHING_STORED = _Stored(0, -1, Series(np.empty(0, np.int64), np.empty(0)))


def account_of(cloudwatch: Any) -> str:
    """Return what identifies the account and region of a client, by the environment."""
    named = [os.environ.get(name, "") for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID")]
    return "|".join([cloudwatch.meta.region_name, cloudwatch.meta.endpoint_url, *named])


def read_missing(
    cloudwatch: Any,
    spans: Sequence[Span],
    folder: HistoryFolder,
    on_progress: Callable[[int, int], None],
) -> None:
    """Read spans of metrics into a folder, call by call: what has been read is kept.

    Parameters
    ----------
    cloudwatch
        A client of boto3.
    spans
        Of `HistoryFolder.missing`.
    on_progress
        Called with how many metrics have been read, of how many.

    Raises
    ------
    SourceError
        If CloudWatch can't be read.
    """
    on_progress(0, len(spans))
    done = 0
    with source_errors():
        for call in calls_of(spans):
            for span, series in read_history(cloudwatch, call):
                folder.add(span, series)
                done += 1
            on_progress(done, len(spans))


def whole_periods(series: Series, period: int) -> Series:
    """Return readings as CloudWatch has them: one a period, at its beginning; several, averaged.

    Parameters
    ----------
    period : int
        Seconds.
    """
    step = 1_000 * period
    times, which = np.unique(series.times // step * step, return_inverse=True)
    sums = np.bincount(which, weights=series.values, minlength=len(times))
    return Series(times, sums / np.bincount(which, minlength=len(times)))
