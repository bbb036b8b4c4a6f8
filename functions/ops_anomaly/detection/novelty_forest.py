"""The novelty forest: how unlike anything in its history a reading is, in nats.

A reading is compared with the history in three ways: its value, its deviation from what is usual at
its time, and the subsequence of deviations that it ends. Each distance to the nearest is calibrated
on those before it, and so is an isolation forest's score of all three, which sees combinations;
what is improbable about them adds up. A score depends on the reading itself and on those before it,
on nothing later.
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
)

if TYPE_CHECKING:
    from ops_anomaly.detection.history import Block
    from ops_anomaly.detection.types import Floats, Integers, Series


SKIPPED = 200
"""First readings whose distances calibrate nothing: with little before them, everything is far."""

ORDINARY = 2.0
"""Surprisal of a distance, in nats, that adds nothing: one reading in seven is as far."""

FOREST_WEIGHT = 0.25
"""Weight of the isolation forest's surprisal beyond the start of its tail: it saturates, and for
the most part says once more what the distances say."""

SCALE_READINGS = 4_000
MIN_SCALE = 1e-20
"""So that the farthest distance, in units of the scale, is a finite number."""


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

    Examples
    --------
    >>> from ops_anomaly.detection.types import Series
    >>> values = np.where(np.arange(400) == 390, 40.0, np.arange(400) % 7.0)
    >>> scores = NoveltyForest.untrained().score_samples(Series(np.arange(400) * 300_000, values))
    >>> bool(scores[390] > 100.0)
    True
    """

    forest: IsolationForest | None
    history: History

    @classmethod
    def untrained(cls, forest: IsolationForest | None = None) -> Self:
        """Return the novelty forest of a series without readings."""
        return cls(forest, History.empty())

    def score_samples(self, series: Series) -> Floats:
        """Return the scores of readings that follow the history, in nats: (n,).

        Raises
        ------
        ValueOutOfRangeError
            If a value is not finite or beyond float32's range.
        """
        return scores_of(self._extended(series)[1])

    def update(self, series: Series) -> tuple[Floats, Self]:
        """Return what `score_samples` does, and the same model with its history moved on.

        In chunks of any size it gives the same, to the bit.
        """
        history, found = self._extended(series)
        return scores_of(found), replace(self, history=history.trimmed())

    def score_next(self, value: float) -> float:
        """Return the score of a value as the next reading, at the usual step, in nats."""
        check_value(value)
        return float(scores_of(components(self._next.surprisals(value, self.forest)))[0])

    @cached_property
    def _next(self) -> NextReading:
        """The part of `score_next` that is the same for all values."""
        return NextReading(self.history)

    def _extended(self, series: Series) -> tuple[History, Floats]:
        """Return the history with new readings at its end, and their components."""
        check_values(series.values)
        history, surprisals = extend(self.history, series, self.forest)
        return history, components(surprisals)

    def without_history(self) -> Self:
        """Return the same model before the first reading."""
        return self.untrained(self.forest)

    def checkpoint(self) -> Stored:
        """Return the history."""
        return self.history.stored()

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return the same model with the history of a checkpoint.

        Raises
        ------
        CorruptArtifactError
            If a name, dtype, shape or number is not what is expected.
        """
        return replace(self, history=History.restore(tensors, parameters))

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
    (n, 4) float64
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
    (m, 3) float64, (m,) float64
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
    distances[:, 2] = nearest_subsequences(residuals, first)
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
    distances : (n, 3) float64
    isolation : (n,) float64
    dropped : int
        How many readings came before these.
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 4) float64, (4, 2) float64
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
    """Return the share of each column's sample that is below new numbers: (4, m) -> (4, m)."""
    if samples[0].numbers.size < MIN_SCORES:
        return np.zeros(new.shape)
    return np.array([sample.shares_below(row) for sample, row in zip(samples, new, strict=True)])


def components(surprisals: Floats) -> Floats:
    """Return what each surprisal adds to a score: (n, 4) -> (n, 4), in nats."""
    parts = np.maximum(surprisals - ORDINARY, 0.0)
    parts[:, -1] = FOREST_WEIGHT * np.maximum(surprisals[:, -1] - TAIL_SURPRISAL, 0.0)
    return parts


def scores_of(components: Floats) -> Floats:
    """Return the sums, or the reading's own part where that is less than half: (n, 4) -> (n,).

    A subsequence still holds what an incident was about when the readings are ordinary again.
    """
    total, own = components.sum(axis=1), components[:, POINTWISE].sum(axis=1)
    return np.where(2.0 * own >= total, total, own)


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
        """Return the surprisals of a value, as `extend` would: (1, 4), in nats."""
        values = np.array([value])
        usual: Floats = np.full(1, np.nan)
        for reference in self._seasons:
            usual = closer(values, reference, usual)
        numbers = value, float(residuals_of(values, usual)[0])
        distances = [each.distance(n) for each, n in zip(self._numbers, numbers, strict=True)]
        distances.append(self._numbers[1].subsequence_distance(numbers[1]))
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
