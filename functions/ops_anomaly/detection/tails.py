"""Tail calibration: from a score of any unit to a surprisal in nats.

Numbers that came before a block of readings, and where new ones lie among them.

What the readings of a block are measured by: all of it is known before the block begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from ops_anomaly.detection.types import CorruptArtifactError

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers


TAIL = 0.98
"""The quantile above which the fitted tail takes over from the ranks."""

ONSET_SURPRISE = -math.log(1.0 - TAIL)
"""The surprisal at that quantile: one score in 50 is as high."""

SHAPE = 0.1
"""Shape of the tail: 0 would be exponential, under which nothing is impossible enough. Operations
metrics have heavier tails than that, and every series too few extremes to fit its own shape."""


@dataclass(frozen=True)
class Tail:
    """How surprising a score is, given a history of scores.

    With u the 98 % quantile of the history and b the larger of the mean excess over u and
    0.3 (u - median), the surprisal of x is ln 50 + ln(1 + 0.1 (x - u) / b) / 0.1 above u (a
    generalised Pareto tail, as in peaks over threshold: Pickands, Annals of Statistics 1975) and
    -ln max(share, 0.02) up to u, where the share is that of the history that is not below x.

    exp(-surprisal) is the share of readings expected to score at least as high. A score that all
    of the history shares is therefore no surprisal at all.

    Attributes
    ----------
    history : (n,) float64, sorted
        The scores it was calibrated on.

    Examples
    --------
    >>> tail = Tail.of(np.arange(101.0))
    >>> tail.surprisal(np.array([0.0, 50.0, 98.0, 200.0])).round(3).tolist()
    [0.0, 0.683, 3.517, 9.267]
    """

    history: Floats
    onset: float
    scale: float

    @classmethod
    def of(cls, scores: Floats) -> Self:
        """Calibrate on scores, in any order.

        Raises
        ------
        CorruptArtifactError
            If there are none.
        """
        if not scores.size:
            raise CorruptArtifactError("a tail needs at least one score")
        history = np.sort(scores)
        return cls(history, *onset_and_scale(history))

    def surprisal(self, scores: Floats) -> Floats:
        """Return the surprisal of each score, in nats: (n,) -> (n,)."""
        below = np.searchsorted(self.history, scores, side="left") / len(self.history)
        return surprisal(scores, below, self.onset, self.scale)

    def score_of(self, surprisal: float) -> float:
        """Return the lowest score that is at least so surprising, in nats."""
        if surprisal <= ONSET_SURPRISE:
            return quantile(self.history, 1.0 - math.exp(-surprisal))
        return self.onset + self.scale * math.expm1(SHAPE * (surprisal - ONSET_SURPRISE)) / SHAPE


def onset_and_scale(history: Floats) -> tuple[float, float]:
    """Return where the tail of sorted scores begins, and its scale."""
    onset = quantile(history, TAIL)
    excess = history[history.searchsorted(onset, "right") :] - onset
    scale = max(
        float(excess.sum()) / excess.size if excess.size else 0.0,
        0.3 * (onset - quantile(history, 0.5)),
        # a history of equal scores has no scale of its own; anything above is very surprising
        1e-9 * max(1.0, abs(onset)),
    )
    return onset, scale


def surprisal(
    scores: Floats, below: Floats, onset: float | Floats, scale: float | Floats
) -> Floats:
    """Return the surprisal of scores, in nats, by the formula of `Tail`.

    Parameters
    ----------
    scores : array of float64, of any shape
    below : array of float64
        The share of the history that is below each.
    onset, scale : float or array of float64
        Of the tail that each belongs to.
    """
    ranked = np.log(1.0 / np.maximum(1.0 - below, 1.0 - TAIL))
    excess = np.maximum(scores - onset, 0.0) / scale
    fitted = ONSET_SURPRISE + np.log1p(SHAPE * excess) / SHAPE
    return np.where(scores > onset, fitted, ranked)


def median(numbers: Floats | Integers) -> float:
    """Return the median: (n,), at least one; numpy's own would import masked arrays first."""
    return quantile(np.sort(numbers), 0.5)


def quantile(ordered: Floats, share: float) -> float:
    """Return a quantile of sorted numbers, interpolated between neighbours."""
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (position - low) * (ordered[high] - ordered[low]))


MAX_UNSORTED = 4
"""Numbers that are sooner compared with all than looked up once all are sorted."""


class SortedSample:
    """Numbers in any order, sorted once that pays.

    Parameters
    ----------
    numbers : (p,) float64
    """

    def __init__(self, numbers: Floats) -> None:
        self.numbers = numbers

    @classmethod
    def sorted(cls, numbers: Floats) -> Self:
        """Sort a copy at once, for who will ask again and again."""
        before = cls(np.sort(numbers))
        before.ordered = before.numbers
        return before

    @cached_property
    def ordered(self) -> Floats:
        """The numbers, sorted: (p,)."""
        return np.sort(self.numbers)

    def quantiles(self, *shares: float) -> list[float]:
        """Return quantiles; NaN of no numbers."""
        if not self.numbers.size:
            return [np.nan] * len(shares)
        return [quantile(self.ordered, share) for share in shares]

    def distances(self, asked: Floats) -> Floats:
        """Return how far each is from the nearest of the numbers: (n,) -> (n,); inf of none."""
        if not self.numbers.size:
            return np.full(len(asked), np.inf)
        if self._are_too_few(asked):
            return np.array([np.abs(self.numbers - each).min() for each in asked])
        above = np.searchsorted(self.ordered, asked)
        nearest: Floats = np.minimum(
            np.abs(self.ordered[np.minimum(above, self.numbers.size - 1)] - asked),
            np.abs(asked - self.ordered[np.maximum(above - 1, 0)]),
        )
        return nearest

    def shares_below(self, asked: Floats) -> Floats:
        """Return the share of the numbers that is below each: (n,) -> (n,)."""
        if self._are_too_few(asked):
            below = np.array([np.count_nonzero(self.numbers < each) for each in asked])
        else:
            below = np.searchsorted(self.ordered, asked)
        shares: Floats = below / self.numbers.size
        return shares

    def _are_too_few(self, asked: Floats) -> bool:
        return len(asked) <= MAX_UNSORTED and "ordered" not in self.__dict__


STEP_READINGS = 256

MIN_SCORES = 30
"""Scores without which there is no tail, and no surprisal."""

NO_TAIL = (np.inf, 1.0)


@dataclass(frozen=True)
class Calibration:
    """What is the same for all readings of a block, and takes a while to find out.

    Attributes
    ----------
    levels : (6,) float64
        Scale; low quantile, median and high quantile of the values; low and high quantile of the
        residuals.
    tails : (5, 2) float64
        Onset and scale of each distance's tail, and of the forest's.
    """

    levels: Floats
    tails: Floats


def tails_of(columns: list[SortedSample]) -> Floats:
    """Return onset and scale of the tail of each column: (columns, 2)."""
    return np.array(
        [
            onset_and_scale(column.ordered) if column.numbers.size >= MIN_SCORES else NO_TAIL
            for column in columns
        ]
    )


def usual_step(times: Integers) -> float:
    """Return the median distance of the last readings, in milliseconds; 0 of fewer than two."""
    gaps = np.diff(times[-STEP_READINGS:])
    return median(gaps) if gaps.size else 0.0
