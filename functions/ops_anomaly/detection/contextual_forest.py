"""What is known of each reading from those before it: distances, surprisal, what was expected.

How surprising a reading's distances to the past are, each calibrated on those before it.

The next reading after a past: all that it takes to judge it, but for its value.

The contextual forest: surprisal at how far a reading is from anything seen before.

A reading is compared with the past in four ways: its value, its deviation from what is usual at
its time, and the run of readings that it ends, by values and by deviations. Each distance is
calibrated on those before it, and so is an isolation forest's score of all four, which sees
combinations; what is surprising in them adds up. Everything is computed from the reading itself
and those before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ops_anomaly.detection.alerting import AlertState, raise_alerts, threshold_for
from ops_anomaly.detection.formatting import apart, duration, moment, number
from ops_anomaly.detection.history import (
    DISTANCES,
    HISTORY,
    OWN,
    PAST_LAYOUT,
    PLAIN,
    Block,
    Past,
    block_start,
    blocks,
    restore_past,
)
from ops_anomaly.detection.isolation_forest import IsolationForest
from ops_anomaly.detection.seasonal import closer, references, seasons
from ops_anomaly.detection.subsequences import RUN, NextRun, nearest_runs, nearest_values
from ops_anomaly.detection.tails import (
    MIN_SCORES,
    ONSET_SURPRISE,
    Calibration,
    SortedSample,
    quantile,
    surprisal,
    tails_of,
    usual_step,
)
from ops_anomaly.detection.types import (
    WEEK,
    CorruptArtifactError,
    Detection,
    RawTensor,
    Stored,
    alerts_from,
    check_values,
    scalar,
    whole,
    within,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.alerting import Raised
    from ops_anomaly.detection.history import Block, Past
    from ops_anomaly.detection.tails import Calibration
    from ops_anomaly.detection.types import Floats, Integers, Series


SCALE_READINGS = 4_000
MIN_SCALE = 1e-20
"""So that the farthest distance, in units of the scale, is a finite number."""

BOUNDS = (0.01, 0.99)
"""Quantiles of the past between which a reading is expected."""


@dataclass(frozen=True)
class Context:
    """A past with new readings at its end, and what was expected of the last of them.

    Attributes
    ----------
    past : Past
        Untrimmed.
    first : int
        Index in it of the first new one.
    expected, lower, upper : (n - first,) float64
        NaN for the first reading of all. Between lower and upper lay 98 % of the readings before.
    surprisals : (n - first, 5) float64
        Of each distance, and of the forest's score, in nats.
    """

    past: Past
    first: int
    expected: Floats
    lower: Floats
    upper: Floats
    surprisals: Floats


def extend(past: Past, times: Integers, values: Floats, forest: IsolationForest | None) -> Context:
    """Put new readings into the context of the past.

    Parameters
    ----------
    times : (n,) int64
        Milliseconds, increasing, after the past's.
    values : (n,) float64
    """
    first = len(past.times)
    times = np.concatenate([past.times, times])
    values = np.concatenate([past.values, values])
    parts = list(blocks(past.count, past.offset + len(times), past.offset))
    known = past.calibration if parts and parts[0].start < first else None
    usual = usual_values(times, values, first, parts)
    residuals = np.concatenate([past.residuals, residuals_of(values[first:], usual)])
    new, levels = measured(values, residuals, parts, known)
    isolation = forest.score_samples(new) if forest else np.zeros(len(new))
    distances = np.concatenate([past.distances, new])
    isolation = np.concatenate([past.isolation, isolation])
    surprisal, tails = surprisals(distances, isolation, past.offset, parts, known)
    expected, lower, upper = expectation(usual, levels)
    extended = Past(
        offset=past.offset,
        onset=onset_of(past, usual),
        times=times,
        values=values,
        residuals=residuals,
        distances=distances,
        isolation=isolation,
    ).calibrated(Calibration(levels[-1].copy(), tails) if len(new) else past.calibration)
    return Context(extended, first, expected, lower, upper, surprisal)


def usual_values(times: Integers, values: Floats, first: int, parts: list[Block]) -> Floats:
    """Return the seasonal references from reading `first` on: (n - first,), NaN for none."""
    lengths = [part.stop - part.new for part in parts]
    steps = [usual_step(times[part.oldest : part.start]) for part in parts]
    oldest = [part.oldest for part in parts]
    return references(
        times,
        values,
        first,
        np.repeat(np.array(oldest, np.int64), lengths),
        np.repeat(np.array(steps, np.float64), lengths),
    )


def residuals_of(values: Floats, usual: Floats) -> Floats:
    """Return the deviations: (n,) each; without a reference there is nothing to deviate from."""
    return np.where(np.isnan(usual), 0.0, values - usual)


def measured(
    values: Floats, residuals: Floats, parts: list[Block], known: Calibration | None
) -> tuple[Floats, Floats]:
    """Return the distances of new readings to the past, and the levels they are measured by.

    Parameters
    ----------
    values, residuals : (n,) float64
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 4) float64, (m, 6) float64
        In units of the scale; see `Calibration`.
    """
    count = sum(part.stop - part.new for part in parts)
    first = len(values) - count
    distances, levels = np.empty((count, len(DISTANCES))), np.empty((count, 6))
    for part in parts:
        here, of_past = slice(part.new - first, part.stop - first), slice(part.oldest, part.start)
        before = SortedSample(values[of_past]), SortedSample(residuals[of_past])
        levels[here] = known.levels if known else levels_of(*before)
        known = None
        for column, series in enumerate((values, residuals)):
            block = series[part.start : part.stop]
            distances[here, column] = nearest_values(before[column], block, part.new - part.start)
    distances[:, 2] = nearest_runs(values, first)
    distances[:, 3] = nearest_runs(residuals, first)
    distances /= levels[:, :1]
    return distances, levels


def levels_of(values: SortedSample, residuals: SortedSample) -> Floats:
    """Return the levels of a block, given what came before it: (6,); see `Calibration`."""
    low, high = BOUNDS
    return np.array(
        [
            scale(values.numbers),
            *values.quantiles(low, 0.5, high),
            *residuals.quantiles(low, high),
        ]
    )


def scale(values: Floats) -> float:
    """Return the spread of the last readings, positive: (n,) -> units of the series."""
    last = np.sort(values[-SCALE_READINGS:])
    if not last.size:
        return 1.0
    spread = (
        quantile(last, 0.95) - quantile(last, 0.05)
        or 0.2 * float(last[-1] - last[0])
        or max(0.05 * float(np.abs(last).max()), 1e-9)
    )
    return max(spread, MIN_SCALE)


def expectation(usual: Floats, levels: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what was expected of readings, with bounds: (n,) each.

    Where a reading has a seasonal reference, that; else the median of the past.

    Parameters
    ----------
    usual : (n,) float64
        The references; NaN where there is none.
    levels : (n, 6) float64
        See `Calibration`.
    """
    _, low, middle, high, residual_low, residual_high = levels.T
    seasonal = ~np.isnan(usual)
    expected = np.where(seasonal, usual, middle)
    lower = np.where(seasonal, expected + residual_low, low)
    upper = np.where(seasonal, expected + residual_high, high)
    return expected, np.minimum(lower, expected), np.maximum(upper, expected)


def onset_of(past: Past, usual: Floats) -> int:
    """Return how many readings came before the first with a reference; -1 while none has."""
    if past.onset >= 0 or np.isnan(usual).all():
        return past.onset
    return past.count + int(np.argmin(np.isnan(usual)))


SKIPPED = 30
"""The first readings: with little before them, everything is far from it."""

ORDINARY = 2.0
"""Surprise of a distance, in nats, that adds nothing: one reading in seven is as far."""

FOREST_WEIGHT = 0.25
"""What the forest's surprisal beyond its tail's onset counts: it saturates, and says for the most
part once more what the distances say."""


def surprisals(
    distances: Floats,
    isolation: Floats,
    offset: int,
    parts: list[Block],
    known: Calibration | None,
) -> tuple[Floats, Floats]:
    """Return how surprising new readings are, and the tails that the last of them is judged by.

    Parameters
    ----------
    distances : (n, 4) float64
    isolation : (n,) float64
    offset : int
        How many readings came before these.
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 5) float64, (5, 2) float64
        In nats, of each distance and of the forest's score; onsets and scales.
    """
    columns = [*distances.T, isolation]
    first = parts[0].new if parts else len(isolation)
    new = np.array([column[first:] for column in columns])
    below, tails = np.empty(new.shape), np.empty((2, *new.shape))
    of_block: Floats = np.empty((len(columns), 2))
    for part in parts:
        before = calibrating(columns, part, offset)
        of_block = known.tails if known else tails_of(before)
        known = None
        here = slice(part.new - first, part.stop - first)
        tails[..., here] = of_block.T[..., np.newaxis]
        below[:, here] = shares_below(before, new[:, here])
    return np.ascontiguousarray(surprisal(new, below, *tails).T), of_block


def calibrating(columns: list[Floats], part: Block, offset: int) -> list[SortedSample]:
    """Return what of each column the readings of a block are calibrated on."""
    begin = max(SKIPPED - offset, part.oldest)
    return [SortedSample(column[begin : max(part.start, begin)]) for column in columns]


def shares_below(before: list[SortedSample], new: Floats) -> Floats:
    """Return the share of each column that is below new numbers: (5, m) -> (5, m)."""
    if before[0].numbers.size < MIN_SCORES:
        return np.zeros(new.shape)
    return np.array([column.shares_below(row) for column, row in zip(before, new, strict=True)])


def contributions(context: Context) -> Floats:
    """Return what each distance, and the forest, adds to the scores.

    Returns
    -------
    (n - first, 5) float64
        In nats, for the readings of `context.past` from `context.first` on.
    """
    return weighed(context.surprisals)


def weighed(surprisals: Floats) -> Floats:
    """Return what surprisals add to the scores: (n, 5) -> (n, 5), in nats."""
    causes = np.maximum(surprisals - ORDINARY, 0.0)
    causes[:, -1] = FOREST_WEIGHT * np.maximum(surprisals[:, -1] - ONSET_SURPRISE, 0.0)
    return causes


class NextNumber:
    """The next number of a series, beside those before it.

    Parameters
    ----------
    series : (n,) float64
    oldest : int
        The first of them that it is compared with by itself.
    """

    def __init__(self, series: Floats, oldest: int) -> None:
        self._before = SortedSample.sorted(series[oldest:])
        self._run = NextRun(series) if len(series) >= 2 * RUN - 1 else None

    def distance(self, number: float) -> float:
        """Return how far it is from the nearest; 0 of none."""
        nearest = float(self._before.distances(np.array([number]))[0])
        return nearest if math.isfinite(nearest) else 0.0

    def distance_of_run(self, number: float) -> float:
        """Return how far the run that it ends is from the nearest; 0 of none."""
        return math.sqrt(self._run.least_square(number) / RUN) if self._run else 0.0


class NextReading:
    """The next reading at the usual step after a past, whatever its value.

    It takes about as much memory again as two pasts.

    Parameters
    ----------
    past : Past
    """

    def __init__(self, past: Past) -> None:
        part = next(blocks(past.count, past.count + 1, past.offset))
        before = slice(part.oldest, part.start)
        self._seasons = seasons(
            np.append(past.times, next_time(past)),
            past.values if len(past.values) else np.zeros(1),
            part.new,
            np.array([part.oldest]),
            np.array([usual_step(past.times[before])]),
        )
        series = past.values, past.residuals
        self._scale = levels_of(*(SortedSample(each[before]) for each in series))[0]
        self._numbers = [NextNumber(each, part.oldest) for each in series]
        known = calibrating([*past.distances.T, past.isolation], part, past.offset)
        self._known = [SortedSample.sorted(each.numbers) for each in known]
        self._tails = tails_of(self._known).T[..., np.newaxis]

    def surprisals(self, value: float, forest: IsolationForest | None) -> tuple[Floats, bool]:
        """Return how surprising a value would be, and whether there is a reference for it.

        Returns
        -------
        (1, 5) float64, bool
            In nats; see `Context`.
        """
        asked = np.array([value])
        usual: Floats = np.full(1, np.nan)
        for reference in self._seasons:
            usual = closer(asked, reference, usual)
        numbers = value, float(residuals_of(asked, usual)[0])
        pairs = list(zip(self._numbers, numbers, strict=True))
        distances = [one.distance(number) for one, number in pairs]
        distances += [one.distance_of_run(number) for one, number in pairs]
        rows = np.array([distances]) / self._scale
        isolation = forest.score_samples(rows) if forest else np.zeros(1)
        new = np.append(rows, isolation)[:, np.newaxis]
        surprisals = surprisal(new, shares_below(self._known, new), *self._tails).T
        return surprisals, not math.isnan(usual[0])


def next_time(past: Past) -> int:
    """Return when the next reading is due, in milliseconds since 1970."""
    if not len(past.times):
        return 0
    return int(past.times[-1]) + max(int(usual_step(past.times)), 1)


SETTLING = 64
"""Readings after the first with a seasonal reference whose deviations raise no alert: until then
there was nothing to deviate from, and the first deviations surprisal."""

PROBATION_SHARE = 0.15
MAX_PROBATION = 750

FIVE_MINUTES_MS = 300_000
"""The step of a series of which too little is known."""

MAX_NATS = 1e6
"""More than any score can have."""

THRESHOLD = 0.75
"""The usual threshold, in nats; `sensitivity.py` says what it means in false alerts."""


@dataclass(frozen=True)
class ContextualForest:
    """A score in nats that is high where a reading is unlike all that came before.

    Attributes
    ----------
    forest : IsolationForest or None
        None judges by the distances alone: a series without a trained model.
    past : Past
        What the next reading is compared with.
    alert_state : AlertState
        State of the alerts.
    threshold : float
        In nats; what a reading must reach, besides what recent alerts add to the bar.
    probation : int
        How many of the first readings ever seen raise no alert. They only teach the bar how often
        the series surprisals, and so do those that are settling.
    """

    kind: ClassVar[str] = "contextual-forest"
    has_sensitivity: ClassVar[bool] = True

    forest: IsolationForest | None
    past: Past
    alert_state: AlertState
    threshold: float
    probation: int = 0

    @classmethod
    def untrained(
        cls,
        forest: IsolationForest | None = None,
        threshold: float = THRESHOLD,
        probation: int = 0,
    ) -> Self:
        """Return the detector for a series of which nothing has been seen yet."""
        return cls(forest, Past.nothing(), AlertState(), threshold, probation)

    @property
    def last_timestamp(self) -> int | None:
        """Time of the last reading of its past, milliseconds."""
        return int(self.past.times[-1]) if len(self.past.times) else None

    def score_samples(self, series: Series) -> Floats:
        """Score each reading; see `Detector.score_samples`."""
        scores: Floats = contributions(self._context(series)).sum(axis=1)
        return scores

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        """Score each reading; see `Detector.detect`."""
        return self._detect(self._context(series), sensitivity)[0]

    def update(self, series: Series, sensitivity: float | None = None) -> tuple[Detection, Self]:
        """Score each reading, and move on; see `Detector.update`."""
        context = self._context(series)
        detection, alert_state = self._detect(context, sensitivity)
        return detection, replace(self, past=context.past.trimmed(), alert_state=alert_state)

    def predict(self, value: float) -> bool:
        """Tell whether `value` is an anomaly as the next reading; see `Detector.predict`."""
        check_values(np.array([value], np.float64))
        past = self.past
        surprisals, has_reference = self._next.surprisals(value, self.forest)
        onset = past.count if has_reference and past.onset < 0 else past.onset
        raised = self._raise(weighed(surprisals), past.count, onset, self.threshold)
        return bool(raised.is_anomaly[0])

    @cached_property
    def _next(self) -> NextReading:
        """What `predict` asks again and again."""
        return NextReading(self.past)

    def with_warm_up(self, readings: int) -> Self:
        """Return the same model, of which so many more readings raise no alert."""
        return replace(self, probation=max(self.probation, self.past.count + readings))

    def _context(self, series: Series) -> Context:
        check_values(series.values)
        return extend(self.past, series.times, series.values, self.forest)

    def _detect(self, context: Context, sensitivity: float | None) -> tuple[Detection, AlertState]:
        """Find the anomalies among the new readings of a context."""
        threshold = self.threshold
        if sensitivity is not None:
            step = usual_step(context.past.times) or FIVE_MINUTES_MS
            threshold = threshold_for(sensitivity, WEEK / step)
        causes = contributions(context)
        scores = causes.sum(axis=1)
        began = context.past.offset + context.first
        raised = self._raise(causes, began, context.past.onset, threshold)
        detection = Detection(
            scores=scores,
            thresholds=raised.bar,
            is_anomaly=raised.is_anomaly,
            expected=context.expected,
            lower=context.lower,
            upper=context.upper,
            reasons={
                position: reason(context, position, causes[position])
                for position in np.flatnonzero(raised.is_anomaly).tolist()
            },
            alerts=alerts_from(scores, raised.is_anomaly, raised.starts),
        )
        return detection, raised.alert_state

    def _raise(self, causes: Floats, began: int, onset: int, threshold: float) -> Raised:
        """Decide on readings by what adds to their scores.

        Parameters
        ----------
        causes : (n, 5) float64
        began : int
            Index of the first of them, counted from the first reading ever.
        onset : int
            Index of the first one with a seasonal reference, or -1.
        """
        index = began + np.arange(len(causes))
        may_raise = index >= self.probation
        if onset >= 0:
            # of its value alone, half of the surprisal that it takes
            is_plain = 2.0 * causes[:, PLAIN] >= threshold
            may_raise &= (index < onset) | (index >= onset + SETTLING) | is_plain
        own = causes[:, :OWN].sum(axis=1)
        return raise_alerts(causes.sum(axis=1), own, may_raise, began, threshold, self.alert_state)

    def checkpoint(self) -> Stored:
        """Return the past and the state of the alerts."""
        past, alert_state = self.past, self.alert_state
        return Stored(
            {name: getattr(past, name) for name in PAST_LAYOUT},
            {
                "offset": past.offset,
                "onset": past.onset,
                "probation": self.probation,
                "boost": alert_state.boost,
                "last_alert": alert_state.last_alert,
                "is_notified": float(alert_state.is_notified),
            },
        )

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return the same model after another past; see `Detector.resume`."""
        past = restore_past(tensors, parameters)
        alert_state = AlertState(
            boost=within(parameters, "boost", 0.0, MAX_NATS),
            last_alert=whole(parameters, "last_alert", -1, past.count - 1),
            is_notified=bool(whole(parameters, "is_notified", 0, 1)),
        )
        probation = whole(parameters, "probation", 0)
        return replace(self, past=past, alert_state=alert_state, probation=probation)

    def stored(self) -> Stored:
        """Return the past, the state of the alerts, and the forest."""
        past = self.checkpoint()
        if self.forest is None:
            return past
        return Stored(
            past.tensors | self.forest.tensors(),
            past.parameters | {"expected_path": self.forest.expected_path},
        )

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild the model from its stored form; see `Detector.restore`."""
        history = {name: tensor for name, tensor in tensors.items() if name in PAST_LAYOUT}
        rest = {name: tensor for name, tensor in tensors.items() if name not in PAST_LAYOUT}
        forest = None
        if rest:
            expected_path = scalar(parameters, "expected_path")
            forest = IsolationForest.restore(rest, len(DISTANCES), expected_path)
        if not 0.0 < threshold <= MAX_NATS:
            raise CorruptArtifactError(f"threshold {threshold} is not above 0, to {MAX_NATS}")
        return cls.untrained(forest, threshold).resume(history, parameters)


def usual_probation(readings: int) -> int:
    """Return how many readings of a series without a model should only teach the detector.

    Examples
    --------
    >>> usual_probation(300), usual_probation(10_000)
    (45, 750)
    """
    return min(int(PROBATION_SHARE * readings), MAX_PROBATION)


MUCH_ODDER = 0.5
"""What the surprisal of a run weighs against that of the reading itself, as a reason."""


def reason(context: Context, position: int, causes: Floats) -> str:
    """Say why a reading is odd, by what its score is mostly made of.

    One odd reading makes its whole run odd: the run is the reason only where it is odder by far.

    Parameters
    ----------
    position
        Of the reading among the new ones.
    causes : (5,) float64
        What each distance and the forest contribute to its score.
    """
    past, index = context.past, context.first + position
    value, expected = float(past.values[index]), float(context.expected[position])
    weights = causes * [1.0, 1.0, MUCH_ODDER, MUCH_ODDER, 1.0]
    match int(np.argmax(weights)):
        case 0:
            seen_from = max(0, block_start(past.offset + index) - HISTORY - past.offset)
            before = past.values[seen_from:index]
            nearest = float(before[np.abs(before - value).argmin()])
            one, other = apart(value, nearest)
            if past.offset + seen_from:
                return f"not seen in the last {HISTORY:,} readings: {one}, nearest {other}"
            return f"never seen before: {one}, nearest {other}"
        case 1:
            one, other = apart(value, expected)
            return f"unusual for {moment(int(past.times[index]))}: {one}, expected {other}"
        case 2 | 3:
            start = max(0, index - RUN)  # each reading stands for the step before it
            span = float(past.times[index] - past.times[start])
            return f"unusual shape over the last {duration(span)}"
        case _:
            return f"an unusual combination of value and shape at {number(value)}"
