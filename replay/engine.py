"""One metric through its history: the watcher's own evaluation at each tick of its schedule."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace as replace_fields

from ops_anomaly.charts import Chart
from ops_anomaly.detection.types import DAY, Series
from ops_anomaly.watcher.anomalies import ReportedAnomaly
from ops_anomaly.watcher.evaluation import evaluate_metric, settle_seconds
from ops_anomaly.watcher.feedback import NO_FEEDBACK
from ops_anomaly.watcher.mutes import not_learnt
from ops_anomaly.watcher.settling import FINAL_SECONDS, READ_SECONDS, read_delays
from ops_anomaly.watcher.shard_job import reported_after
from ops_anomaly.watcher.silence import filled_with_zeros
from ops_anomaly.watcher.state import MetricState, StoredHistory
from ops_anomaly.watcher.watch_file import periods_of
from replay.lookahead import LookaheadDetector

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.detection.types import Integers
    from ops_anomaly.watcher.anomalies import Anomaly, Evaluation
    from ops_anomaly.watcher.evaluation import MetricEvaluation
    from ops_anomaly.watcher.feedback import MetricFeedback
    from ops_anomaly.watcher.state import Checkpoint
    from ops_anomaly.watcher.watch_file import Options


TICK_MS = 300_000
"""The stack's default: `cron(1/5 * * * ? *)`, so that a period is over for a minute."""

LEAD_PERIODS, MAX_LEAD_PERIODS = 144, 1_000
"""What a chart has before an anomaly: half a day of 5 minutes, and more before a longer one."""

MAX_SKIPPED = 90
"""Periods without an evaluation at most: fewer than a metric's state keeps, and its charts."""


class Report(NamedTuple):
    """What is reported of an anomaly from a time on, milliseconds."""

    at: int
    reported: ReportedAnomaly


class MetricReplay(msgspec.Struct, frozen=True):
    """What the watcher would have found of a metric.

    Attributes
    ----------
    start, until : int
        From the first reading that was evaluated to the end of the last one's period, or to the end
        of the replay if missing readings count; milliseconds. A metric may have begun, or vanished,
        within the time that was asked for.
    readings : int
        How many there are.
    sure_from : int or None
        Time of the first reading for which enough was known; None if there is none.
    reports : list of Report
        Each time that an anomaly was opened, has changed, or was closed, in order of time.
    charts : dict of str to Chart
        Of each anomaly, by its id.
    """

    metric: str
    start: int
    until: int
    readings: int
    sure_from: int | None
    reports: list[Report]
    charts: dict[str, Chart]


class Evaluated(NamedTuple):
    """A tick at which something of a metric may have changed."""

    at: int
    evaluation: MetricEvaluation


def ticks(start: int, until: int) -> range:
    """Return the times of the schedule's ticks from one time to before another, milliseconds.

    Examples
    --------
    >>> list(ticks(0, 700_000))
    [60000, 360000, 660000]
    """
    first = -(-(start - 1_000 * READ_SECONDS) // TICK_MS) * TICK_MS + 1_000 * READ_SECONDS
    return range(first, until, TICK_MS)


def replay_metric(
    metric: Metric,
    options: Options,
    history: Series,
    start: int,
    until: int,
    feedback: MetricFeedback = NO_FEEDBACK,
) -> MetricReplay:
    """Return what the watcher would have found of a metric; see `evaluations`."""
    reported: dict[str, ReportedAnomaly] = {}
    reports: list[Report] = []
    replayed = between(history, start, until)
    drawn = _Drawn(metric, start, until)
    sure_from = None
    for now, evaluation in evaluations(metric, options, history, start, until, feedback):
        state = evaluation.state
        transitions = [(state, each) for each in evaluation.transitions]
        before = reported
        reported = reported_after(before, {str(metric): state}, transitions, now)
        reports += [
            Report(now, replace_fields(each, chart=None))
            for key, each in reported.items()
            if key not in before or not _is_same(before[key], each)
        ]
        if evaluation.update:
            found = evaluation.update.evaluation
            drawn.add(found)
            if sure_from is None and found.detection.can_evaluate.any():
                sure_from = int(found.series.times[found.detection.can_evaluate.argmax()])
    return MetricReplay(
        metric=str(metric),
        start=int(replayed.times[0]) if len(replayed) else start,
        until=_watched_until(metric, options, replayed, until),
        readings=len(replayed),
        sure_from=sure_from,
        reports=reports,
        charts={each.reported.anomaly.id: drawn.chart(each.reported.anomaly) for each in reports},
    )


def _watched_until(metric: Metric, options: Options, replayed: Series, until: int) -> int:
    if options.fills_zeros or options.silent_after is not None or not len(replayed):
        return until
    return min(int(replayed.times[-1]) + 1_000 * metric.period, until)


def _is_same(one: ReportedAnomaly, other: ReportedAnomaly) -> bool:
    return replace_fields(one, chart=None) == replace_fields(other, chart=None)


class _Drawn:
    """What was expected of all readings that were evaluated, for charts."""

    def __init__(self, metric: Metric, start: int, until: int) -> None:
        self._step = 1_000 * metric.period
        # the first evaluation is of all history that the watcher keeps
        self._start = start // self._step * self._step - LEAD_PERIODS * self._step
        periods = (until - self._start) // self._step + 1
        # value, expected, lower, upper
        self._arrays = np.full((4, periods), np.nan)
        self._is_unusual = np.zeros(periods, bool)

    def add(self, found: Evaluation) -> None:
        """Add the readings of an evaluation; later ones replace earlier ones."""
        positions = (found.series.times - self._start) // self._step
        is_drawn = positions >= 0
        detection = found.detection
        arrays = np.stack(
            [found.series.values, detection.expected, detection.lower, detection.upper]
        )
        self._arrays[:, positions[is_drawn]] = arrays[:, is_drawn]
        self._is_unusual[positions[is_drawn]] = (found.is_unusual & found.is_counted)[is_drawn]

    def chart(self, anomaly: Anomaly) -> Chart:
        """Return what is drawn of an anomaly: what came before it, too, and how it ended."""
        first, last = (
            (time - self._start) // self._step for time in (anomaly.first_seen, anomaly.last_seen)
        )
        lead = min(max(LEAD_PERIODS, 2 * (last - first)), MAX_LEAD_PERIODS)
        part = slice(max(first - lead, 0), last + lead // 4 + 1)
        values, expected, lower, upper = (
            [value if math.isfinite(value) else None for value in each]
            for each in self._arrays[:, part].tolist()
        )
        return Chart(
            start=self._start + part.start * self._step,
            step=self._step,
            values=values,
            expected=expected,
            lower=lower,
            upper=upper,
            unusual=np.flatnonzero(self._is_unusual[part]).tolist(),
        )


def evaluations(
    metric: Metric,
    options: Options,
    history: Series,
    start: int,
    until: int,
    feedback: MetricFeedback = NO_FEEDBACK,
) -> Iterator[Evaluated]:
    """Run the watcher's evaluation of one metric at its ticks, in order of time.

    A tick is left out where the watcher would find nothing and have nothing open: the detector has
    seen ahead, and none of the readings that it would evaluate is anomalous.

    Parameters
    ----------
    history
        All readings of the metric, as they are in the end: what CloudWatch adds to a value after
        the end of its period, it has added.
    start, until : int
        The watcher's first tick is not before `start`, its last before `until`, milliseconds.
    feedback
        Applied from the first tick on.
    """
    settle = settle_seconds(metric, options)
    periods = periods_of(options.history_days, metric.period)
    series = _as_evaluated(metric, options, history, until - 1_000 * settle)
    gaps = _gaps_that_count(metric, options, history)
    begin = int(history.times[0]) if len(history) else until
    times = _reading_ticks(start, until, metric.period, settle)
    state, checkpoint = MetricState.empty(metric), None
    position = 0
    while position < len(times):
        eventful = _next_eventful(state, checkpoint, begin, gaps, times, position, options)
        if eventful > position:
            state, position = replace(state, read_at=times[eventful - 1]), eventful
            continue
        now, position = times[position], position + 1
        due = state.due(now, settle, periods)
        if due is None:
            continue
        readings = between(history, *due)
        evaluation = evaluate_metric(
            state, readings, due[1], now, options, None, checkpoint, feedback
        )
        yield Evaluated(now, evaluation)
        state = evaluation.state
        if evaluation.update and evaluation.update.checkpoint:
            checkpoint = _looking_ahead(evaluation.update.checkpoint, series)


def _reading_ticks(start: int, until: int, period: int, settle: int) -> list[int]:
    """Return the ticks at which something may be due; of an hour's period, two of twelve."""
    times = np.array(ticks(start, until), np.int64)
    delays = 1_000 * np.array([read_delays(period, settle)]).T
    periods = (times - delays) // (1_000 * period)
    is_new = (periods > (times - TICK_MS - delays) // (1_000 * period)).any(axis=0)
    is_new[:1] = True  # everything is, of a metric that has not been read yet
    found: list[int] = times[is_new].tolist()
    return found


def between(series: Series, start: int, end: int) -> Series:
    """Return the readings from one time to before another."""
    first, stop = np.searchsorted(series.times, [start, end]).tolist()
    return series[first:stop]


def _as_evaluated(metric: Metric, options: Options, history: Series, settled_until: int) -> Series:
    """Return the readings as the watcher sees them: gaps may be zeros, mutes may be left out."""
    step = 1_000 * metric.period
    if options.fills_zeros:
        history = filled_with_zeros(history, history[:0], settled_until // step * step, step)
    return history[~not_learnt(options.mute, metric, history.times)]


def _looking_ahead(checkpoint: Checkpoint, series: Series) -> Checkpoint:
    """Return a checkpoint whose detector knows the readings that come next.

    Of a metric with real incidents it stays as it is: the watcher takes their readings out of its
    history at each tick, which can't be done ahead.
    """
    detector = checkpoint.history
    if isinstance(detector, LookaheadDetector | StoredHistory) or checkpoint.left_out:
        return checkpoint
    rest = series[int(np.searchsorted(series.times, checkpoint.until, side="right")) :]
    ahead = LookaheadDetector.of(detector, rest, checkpoint.sensitivity)
    return replace(checkpoint, history=ahead)


def _gaps_that_count(metric: Metric, options: Options, history: Series) -> Integers:
    """Return the times of what an entry's rules make of missing readings: (m,), increasing.

    A silence is about the periods that are missing; of gaps that are zeros, it is the reading after
    one that may be evaluated before these.
    """
    step, times = 1_000 * metric.period, history.times
    if options.silent_after is not None and len(times):
        return np.setdiff1d(np.arange(times[0], times[-1] + DAY, step), times)
    if options.fills_zeros:
        return times[1:][np.diff(times) > step]
    return times[:0]


def _next_eventful(
    state: MetricState,
    checkpoint: Checkpoint | None,
    begin: int,
    gaps: Integers,
    times: Sequence[int],
    position: int,
    options: Options,
) -> int:
    """Return the position of the next tick, this one included, at which something may be found.

    Parameters
    ----------
    begin : int
        Time of the metric's first reading.
    gaps
        Of `_gaps_that_count`.
    times
        Of the ticks.
    """
    ahead, step, anomalies = checkpoint and checkpoint.history, state.step, state.anomalies
    is_open = anomalies.anomaly or anomalies.silence or anomalies.pending or anomalies.relapse
    if is_open or not len(state.values):
        return position
    if not isinstance(ahead, LookaheadDetector):  # a metric that is not there yet
        return max(bisect_left(times, begin + step + 1_000 * READ_SECONDS), position)
    settle = max(settle_seconds(state.metric, options), FINAL_SECONDS)
    may_change = times[position] - 1_000 * settle - 2 * max(step, TICK_MS)
    horizon = state.end + MAX_SKIPPED * step
    events = [ahead.next_anomaly(may_change, horizon)]
    events += gaps[np.searchsorted(gaps, may_change) :][:1].tolist()
    # a tick sees the periods that have been over for a while
    seen = [horizon, *(each + step for each in events if each is not None)]
    return max(bisect_left(times, min(seen) + 1_000 * READ_SECONDS), position)
