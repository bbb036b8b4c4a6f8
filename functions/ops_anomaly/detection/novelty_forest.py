"""The novelty forest: how unlike anything in its history a reading is, in nats.

A reading is compared with the history in four ways: its value, its deviation from what is usual at
its time, and the subsequence that it ends, of values and of deviations. Each distance to the
nearest is calibrated on those before it, and so is an isolation forest's score of all four, which
sees combinations; what is improbable about them adds up. A score depends on the reading itself and
on those before it, on nothing later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from ops_anomaly.detection.history import (
    DISTANCES,
    LAYOUT,
    POINTWISE,
    VALUE,
    History,
    blocks,
    closer,
    references,
    seasons,
    usual_step,
)
from ops_anomaly.detection.isolation_forest import IsolationForest
from ops_anomaly.detection.subsequences import (
    LENGTH,
    NextSubsequence,
    nearest_subsequences,
    nearest_values,
)
from ops_anomaly.detection.tails import (
    MIN_SCORES,
    TAIL_SURPRISAL,
    Calibration,
    SortedSample,
    quantile,
    surprisal,
    tails_of,
)
from ops_anomaly.detection.types import (
    RawTensor,
    Stored,
    check_value,
    check_values,
    scalar,
    whole,
    within,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.history import Block
    from ops_anomaly.detection.types import Floats, Integers, Mask, Series


SKIPPED = 30
"""The first readings, on which nothing is calibrated: with a short history, all is far from it."""

ORDINARY = 2.0
"""Surprisal of a distance, in nats, that adds nothing: one reading in seven is as far."""

FOREST_WEIGHT = 0.25
"""Weight of the isolation forest's surprisal beyond the start of its tail: it saturates, and for
the most part says once more what the distances say."""

SCALE_READINGS = 4_000
MIN_SCALE = 1e-20
"""So that the farthest distance, in units of the scale, is a finite number."""

THRESHOLD = 0.75
"""What a score must reach for an alert, in nats, besides what recent alerts add."""

SEASON_WARM_UP = 64
"""Readings after the first with a seasonal reference whose deviations raise no alert: the first
deviations of all are far from what came before."""

BOOST = 0.55
"""By how much an alert raises the threshold for the next, in nats."""

COOLDOWN_SHARE = 0.045
MAX_COOLDOWN = 150
MIN_COOLDOWN = LENGTH
"""After an alert, the next comes no sooner than after this share of the readings so far, within
these bounds. A short series has short incidents, as far as is known; but for the length of a
subsequence, subsequences still hold what the alert was about."""

DECAY_SHARE = 8.0
MAX_DECAY = 30_000.0
"""What an alert added to the threshold decays to 1/e in so many times the readings so far, within
this bound, in readings."""

MAX_NATS = 1e6
"""More than any score can have."""


@dataclass(frozen=True)
class NoveltyForest:
    """Scores how novel a reading is: 0 if the history holds the like of it, without upper limit.

    A value: no method changes it.

    Attributes
    ----------
    forest : IsolationForest or None
        None scores by the distances alone.
    history : History
        What the next reading is compared with.
    alert_state : AlertState
        What `alert_scores` depends on besides.

    Examples
    --------
    >>> from ops_anomaly.detection.types import Series
    >>> values = np.where(np.arange(100) == 90, 40.0, np.arange(100) % 7.0)
    >>> scores = NoveltyForest.untrained().score_samples(Series(np.arange(100) * 300_000, values))
    >>> int(scores.argmax())
    90
    """

    forest: IsolationForest | None
    history: History
    alert_state: AlertState

    @classmethod
    def untrained(cls, forest: IsolationForest | None = None) -> Self:
        """Return the novelty forest of a series without readings."""
        return cls(forest, History.empty(), AlertState())

    def score_samples(self, series: Series) -> Floats:
        """Return the scores of readings that follow the history, in nats: (n,).

        Raises
        ------
        ValueOutOfRangeError
            If a value is not finite or beyond float32's range.
        """
        scores: Floats = self._extended(series)[1].sum(axis=1)
        return scores

    def update(self, series: Series) -> tuple[Floats, Self]:
        """Return what `score_samples` does, and the same model with its history moved on.

        In chunks of any size it gives the same, to the bit.
        """
        history, found = self._extended(series)
        state = self._alerts(history, found).state
        return found.sum(axis=1), replace(self, history=history.trimmed(), alert_state=state)

    def score_next(self, value: float) -> float:
        """Return the score of a value as the next reading, at the usual step, in nats."""
        check_value(value)
        return float(components(self._next.surprisals(value, self.forest)).sum(axis=1)[0])

    def alert_scores(self, series: Series) -> Floats:
        """Return scores of the readings that raise an alert, 0 elsewhere: (n,).

        They are raised as NAB rewards it: at a threshold that the last alerts raise, and no two
        close together. A score is `THRESHOLD` and what exceeds the raised one.
        """
        history, found = self._extended(series)
        alerts = self._alerts(history, found)
        excess = found.sum(axis=1) - alerts.thresholds
        scores = np.zeros(len(series))
        scores[alerts.starts] = THRESHOLD + excess[alerts.starts]
        return scores

    @cached_property
    def _next(self) -> NextReading:
        """The part of `score_next` that is the same for all values."""
        return NextReading(self.history)

    def _extended(self, series: Series) -> tuple[History, Floats]:
        """Return the history with new readings at its end, and their components."""
        check_values(series.values)
        history, surprisals = extend(self.history, series, self.forest)
        return history, components(surprisals)

    def _alerts(self, history: History, components: Floats) -> Alerts:
        """Raise alerts by the components of the last readings of a history."""
        first = history.count - len(components)
        may_alert = ~is_warming_up(components, first, history.first_seasonal)
        return raise_alerts(components, may_alert, first, self.alert_state)

    def checkpoint(self) -> Stored:
        """Return the history and the state of the alerts."""
        history, state = self.history, self.alert_state
        return Stored(
            {name: getattr(history, name) for name in LAYOUT},
            {
                "dropped": history.dropped,
                "first_seasonal": history.first_seasonal,
                "boost": state.boost,
                "last_alert": state.last_alert,
                "is_notified": float(state.is_notified),
            },
        )

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return the same model with the history of a checkpoint.

        Raises
        ------
        CorruptArtifactError
            If a name, dtype, shape or number is not what is expected.
        """
        history = History.restore(tensors, parameters)
        alert_state = AlertState(
            boost=within(parameters, "boost", 0.0, MAX_NATS),
            last_alert=whole(parameters, "last_alert", -1, history.count - 1),
            is_notified=bool(whole(parameters, "is_notified", 0, 1)),
        )
        return replace(self, history=history, alert_state=alert_state)

    def stored(self) -> Stored:
        """Return what `checkpoint` does, and the isolation forest."""
        tensors, parameters = self.checkpoint()
        if self.forest is None:
            return Stored(tensors, parameters)
        expected_path = {"expected_path": self.forest.expected_path}
        return Stored(tensors | self.forest.tensors(), parameters | expected_path)

    @classmethod
    def restore(cls, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Rebuild the model from its stored form; raises as `resume`."""
        history = {name: tensor for name, tensor in tensors.items() if name in LAYOUT}
        rest = {name: tensor for name, tensor in tensors.items() if name not in LAYOUT}
        forest = None
        if rest:
            expected_path = scalar(parameters, "expected_path")
            forest = IsolationForest.restore(rest, len(DISTANCES), expected_path)
        return cls.untrained(forest).resume(history, parameters)


def extend(
    history: History, series: Series, forest: IsolationForest | None
) -> tuple[History, Floats]:
    """Compare new readings with the history before them.

    Returns
    -------
    History
        Not trimmed: with the new readings, and all that was stored before.
    (n, 5) float64
        Surprisal of each distance of the new readings, and of the forest's score, in nats.
    """
    first = len(history.times)
    times = np.concatenate([history.times, series.times])
    values = np.concatenate([history.values, series.values])
    parts = list(blocks(history.count, history.dropped + len(times), history.dropped))
    known = history.calibration if parts and parts[0].start < first else None
    usual = usual_values(times, values, first, parts)
    residuals = np.concatenate([history.residuals, residuals_of(values[first:], usual)])
    new, scales = distances_of(values, residuals, parts, known)
    scores = forest.score_samples(new) if forest else np.zeros(len(new))
    distances = np.concatenate([history.distances, new])
    isolation = np.concatenate([history.isolation, scores])
    surprisals, tails = surprisals_of(distances, isolation, history.dropped, parts, known)
    extended = History(
        dropped=history.dropped,
        first_seasonal=first_seasonal_of(history, usual),
        times=times,
        values=values,
        residuals=residuals,
        distances=distances,
        isolation=isolation,
    )
    calibration = Calibration(float(scales[-1]), tails) if len(new) else history.calibration
    return extended.calibrated(calibration), surprisals


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
    """Return the deviations: (n,) each; 0 where there is no reference to deviate from."""
    return np.where(np.isnan(usual), 0.0, values - usual)


def first_seasonal_of(history: History, usual: Floats) -> int:
    """Return the index of the first reading with a reference; -1 as long as there is none."""
    if history.first_seasonal >= 0 or np.isnan(usual).all():
        return history.first_seasonal
    return history.count + int(np.argmin(np.isnan(usual)))


def distances_of(
    values: Floats, residuals: Floats, parts: list[Block], known: Calibration | None
) -> tuple[Floats, Floats]:
    """Return the distances of new readings to the nearest in the history, and their scales.

    Parameters
    ----------
    values, residuals : (n,) float64
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 4) float64, (m,) float64
        In units of the scale; the scale, in units of the series.
    """
    count = sum(part.stop - part.new for part in parts)
    first = len(values) - count
    distances, scales = np.empty((count, len(DISTANCES))), np.empty(count)
    for part in parts:
        here, earlier = slice(part.new - first, part.stop - first), slice(part.oldest, part.start)
        scales[here] = known.scale if known else scale_of(values[earlier])
        known = None
        for column, series in enumerate((values, residuals)):
            sample, block = SortedSample(series[earlier]), series[part.start : part.stop]
            distances[here, column] = nearest_values(sample, block, part.new - part.start)
    distances[:, 2] = nearest_subsequences(values, first)
    distances[:, 3] = nearest_subsequences(residuals, first)
    distances /= scales[:, np.newaxis]
    return distances, scales


def scale_of(values: Floats) -> float:
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


def surprisals_of(
    distances: Floats,
    isolation: Floats,
    dropped: int,
    parts: list[Block],
    known: Calibration | None,
) -> tuple[Floats, Floats]:
    """Return the surprisals of new readings, and the tails that the last one's come from.

    Parameters
    ----------
    distances : (n, 4) float64
    isolation : (n,) float64
    dropped : int
        How many readings came before these.
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 5) float64, (5, 2) float64
        In nats, of each distance and of the forest's score; starts and scales.
    """
    columns = [*distances.T, isolation]
    first = parts[0].new if parts else len(isolation)
    new = np.array([column[first:] for column in columns])
    below, tails = np.empty(new.shape), np.empty((2, *new.shape))
    of_block: Floats = np.empty((len(columns), 2))
    for part in parts:
        samples = calibration_samples(columns, part, dropped)
        of_block = known.tails if known else tails_of(samples)
        known = None
        here = slice(part.new - first, part.stop - first)
        tails[..., here] = of_block.T[..., np.newaxis]
        below[:, here] = shares_below(samples, new[:, here])
    return np.ascontiguousarray(surprisal(new, below, *tails).T), of_block


def calibration_samples(columns: list[Floats], part: Block, dropped: int) -> list[SortedSample]:
    """Return what of each column a block is calibrated on."""
    begin = max(SKIPPED - dropped, part.oldest)
    return [SortedSample(column[begin : max(part.start, begin)]) for column in columns]


def shares_below(samples: list[SortedSample], new: Floats) -> Floats:
    """Return the share of each column's sample that is below new numbers: (5, m) -> (5, m)."""
    if samples[0].numbers.size < MIN_SCORES:
        return np.zeros(new.shape)
    return np.array([sample.shares_below(row) for sample, row in zip(samples, new, strict=True)])


def components(surprisals: Floats) -> Floats:
    """Return what each surprisal adds to a score: (n, 5) -> (n, 5), in nats."""
    parts = np.maximum(surprisals - ORDINARY, 0.0)
    parts[:, -1] = FOREST_WEIGHT * np.maximum(surprisals[:, -1] - TAIL_SURPRISAL, 0.0)
    return parts


class NextReading:
    """The part of the next reading's score that does not depend on its value.

    Computed once, it makes `score_next` four times as fast, for the memory of two histories.

    Parameters
    ----------
    history : History
    """

    def __init__(self, history: History) -> None:
        part = next(blocks(history.count, history.count + 1, history.dropped))
        earlier = slice(part.oldest, part.start)
        self._seasons = seasons(
            np.append(history.times, history.next_time),
            history.values if len(history.values) else np.zeros(1),
            part.new,
            np.array([part.oldest]),
            np.array([usual_step(history.times[earlier])]),
        )
        self._scale = scale_of(history.values[earlier])
        both = history.values, history.residuals
        self._numbers = [NextNumber(series, part.oldest) for series in both]
        columns = [*history.distances.T, history.isolation]
        samples = calibration_samples(columns, part, history.dropped)
        self._samples = [SortedSample.sorted(sample.numbers) for sample in samples]
        self._tails = tails_of(self._samples).T[..., np.newaxis]

    def surprisals(self, value: float, forest: IsolationForest | None) -> Floats:
        """Return the surprisals of a value, as `extend` would: (1, 5), in nats."""
        values = np.array([value])
        usual: Floats = np.full(1, np.nan)
        for reference in self._seasons:
            usual = closer(values, reference, usual)
        numbers = value, float(residuals_of(values, usual)[0])
        pairs = list(zip(self._numbers, numbers, strict=True))
        distances = [following.distance(number) for following, number in pairs]
        distances += [following.subsequence_distance(number) for following, number in pairs]
        rows = np.array([distances]) / self._scale
        isolation = forest.score_samples(rows) if forest else np.zeros(1)
        new = np.append(rows, isolation)[:, np.newaxis]
        found: Floats = surprisal(new, shares_below(self._samples, new), *self._tails).T
        return found


class NextNumber:
    """The next number of a series, beside those before it.

    Parameters
    ----------
    series : (n,) float64
    oldest : int
        The first of them that the number alone is compared with.
    """

    def __init__(self, series: Floats, oldest: int) -> None:
        self._sample = SortedSample.sorted(series[oldest:])
        self._subsequence = NextSubsequence(series) if len(series) >= 2 * LENGTH - 1 else None

    def distance(self, number: float) -> float:
        """Return how far it is from the nearest; 0 of none."""
        nearest = float(self._sample.distances(np.array([number]))[0])
        return nearest if math.isfinite(nearest) else 0.0

    def subsequence_distance(self, number: float) -> float:
        """Return how far the subsequence that it ends is from the nearest; 0 of none."""
        if self._subsequence is None:
            return 0.0
        return math.sqrt(self._subsequence.nearest_square(number) / LENGTH)


@dataclass(frozen=True)
class AlertState:
    """The state of alerts: when the threshold was last raised, and by how much.

    Attributes
    ----------
    boost : float
        What the last alert left on top of the threshold, in nats.
    last_alert : int
        Index of the reading that raised it, counted from the first ever seen; -1 for none.
    is_notified : bool
        Whether it was an alert, or only raised the threshold in a warm-up: that starts no
        cooldown.
    """

    boost: float = 0.0
    last_alert: int = -1
    is_notified: bool = False

    def thresholds(self, indices: Floats) -> Floats:
        """Return the score that each reading must reach: (n,) indices -> (n,) nats."""
        if self.last_alert < 0:
            return np.full(len(indices), THRESHOLD, np.float64)
        decays = decay(indices) - decay(np.array([self.last_alert], np.float64))
        return THRESHOLD + self.boost * np.exp(-decays)

    def in_cooldown(self, index: int) -> bool:
        """Return whether a reading is too soon after the last alert."""
        cooldown = min(max(COOLDOWN_SHARE * index, MIN_COOLDOWN), MAX_COOLDOWN)
        return self.last_alert >= 0 and index - self.last_alert < cooldown


@dataclass(frozen=True)
class Alerts:
    """The alerts that n readings raise.

    Attributes
    ----------
    thresholds : (n,) float64
        What each score had to reach, in nats.
    starts : list of int
        Positions of the readings that raised an alert.
    state : AlertState
        After the last reading.
    """

    thresholds: Floats
    starts: list[int]
    state: AlertState


def decay(indices: Floats) -> Floats:
    """Return the integral of 1 / decay time up to each reading: (n,) -> (n,).

    The decay time grows with the readings so far, so what an early alert added decays as a power
    of time; once the decay time has reached its bound, exponentially.
    """
    bounded_from = MAX_DECAY / DECAY_SHARE
    early = np.log(np.minimum(np.maximum(indices, 1.0), bounded_from)) / DECAY_SHARE
    integral: Floats = early + np.maximum(indices - bounded_from, 0.0) / MAX_DECAY
    return integral


def is_warming_up(components: Floats, first: int, first_seasonal: int) -> Mask:
    """Return which readings' deviations are too new to raise an alert: (n, 5) -> (n,).

    A reading whose value alone has half the threshold raises one nevertheless.

    Parameters
    ----------
    first, first_seasonal : int
        Indices of the first of these readings, and of the first ever with a seasonal reference.
    """
    index = first + np.arange(len(components))
    has_new_season = (index >= first_seasonal) & (index < first_seasonal + SEASON_WARM_UP)
    is_far = 2.0 * components[:, VALUE] >= THRESHOLD
    flags: Mask = has_new_season & ~is_far & (first_seasonal >= 0)
    return flags


def raise_alerts(components: Floats, may_alert: Mask, first: int, state: AlertState) -> Alerts:
    """Find the readings that raise an alert.

    For the length of a subsequence after one, only the pointwise components count, as the
    subsequences still hold what it was about.

    Parameters
    ----------
    components : (n, 5) float64
        In nats.
    may_alert : (n,) bool
        Elsewhere, an alert only raises the threshold.
    first : int
        Index of the first reading, counted from the first ever seen.
    """
    scores, pointwise = components.sum(axis=1), components[:, POINTWISE].sum(axis=1)
    indices = np.arange(first, first + len(scores), dtype=np.float64)
    thresholds, counting = state.thresholds(indices), scores.copy()
    if state.last_alert >= 0:
        stop = max(state.last_alert + LENGTH - first, 0)
        counting[:stop] = pointwise[:stop]
    starts: list[int] = []
    for position in np.flatnonzero(scores >= THRESHOLD).tolist():
        index, is_notified = first + position, bool(may_alert[position])
        in_cooldown = state.in_cooldown(index) and (state.is_notified or not is_notified)
        if counting[position] < thresholds[position] or in_cooldown:
            continue
        if is_notified:
            starts.append(position)
        state = AlertState(float(thresholds[position]) - THRESHOLD + BOOST, index, is_notified)
        later = slice(position + 1, None)
        thresholds[later] = state.thresholds(indices[later])
        shadow = slice(position + 1, position + LENGTH)
        counting[shadow] = pointwise[shadow]
    return Alerts(thresholds, starts, state)
