"""Tail calibration: from a score of any unit to a surprisal in nats."""

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

TAIL_SURPRISAL = -math.log(1.0 - TAIL)
"""The surprisal at that quantile: one score in 50 is as high."""

SHAPE = 0.1
"""Shape of the tail: 0 would be exponential, under which nothing is impossible enough. Operations
metrics have heavier tails than that, and every series too few extremes to fit its own shape."""

MIN_SCORES = 30
"""Scores without which there is no tail, and no surprisal."""

NO_TAIL = (np.inf, 1.0)

MAX_UNSORTED = 4
"""Queries that are sooner compared with all numbers than searched for among them, once sorted."""


@dataclass(frozen=True)
class Tail:
    """How improbable a score is, given a history of scores.

    With u the 98 % quantile of the history and b the larger of the mean excess over u and
    0.3 (u - median), the surprisal of x is ln 50 + ln(1 + 0.1 (x - u) / b) / 0.1 above u (a
    generalised Pareto tail, as in peaks over threshold: Pickands, Annals of Statistics 1975) and
    -ln max(share, 0.02) up to u, where the share is that of the history that is not below x.

    exp(-surprisal) is the share of readings expected to score at least as high. A score that all
    of the history shares therefore has none.

    Attributes
    ----------
    history : (n,) float64, sorted
        The scores it was calibrated on.
    start, scale : float
        u and b.

    Examples
    --------
    >>> tail = Tail.of(np.arange(101.0))
    >>> tail.surprisal(np.array([0.0, 50.0, 98.0, 200.0])).round(3).tolist()
    [0.0, 0.683, 3.517, 9.267]
    """

    history: Floats
    start: float
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
        return cls(history, *start_and_scale(history))

    def surprisal(self, scores: Floats) -> Floats:
        """Return the surprisal of each score, in nats: (n,) -> (n,)."""
        below = np.searchsorted(self.history, scores, side="left") / len(self.history)
        return surprisal(scores, below, self.start, self.scale)

    def score_of(self, surprisal: float) -> float:
        """Return the lowest score of at least this surprisal, in nats."""
        if surprisal <= TAIL_SURPRISAL:
            return quantile(self.history, 1.0 - math.exp(-surprisal))
        return self.start + self.scale * math.expm1(SHAPE * (surprisal - TAIL_SURPRISAL)) / SHAPE


def start_and_scale(history: Floats) -> tuple[float, float]:
    """Return where the tail of sorted scores starts, and its scale."""
    start = quantile(history, TAIL)
    excess = history[history.searchsorted(start, "right") :] - start
    scale = max(
        float(excess.sum()) / excess.size if excess.size else 0.0,
        0.3 * (start - quantile(history, 0.5)),
        # a history of equal scores has no scale of its own; anything above is very improbable
        1e-9 * max(1.0, abs(start)),
    )
    return start, scale


def surprisal(
    scores: Floats, below: Floats, start: float | Floats, scale: float | Floats
) -> Floats:
    """Return the surprisal of scores, in nats, by the formula of `Tail`.

    Parameters
    ----------
    scores : array of float64, of any shape
    below : array of float64
        The share of the history that is below each.
    start, scale : float or array of float64
        Of the tail that each belongs to.
    """
    ranked = np.log(1.0 / np.maximum(1.0 - below, 1.0 - TAIL))
    excess = np.maximum(scores - start, 0.0) / scale
    fitted = TAIL_SURPRISAL + np.log1p(SHAPE * excess) / SHAPE
    return np.where(scores > start, fitted, ranked)


def median(numbers: Floats | Integers) -> float:
    """Return the median: (n,), at least one; numpy's own would import masked arrays first."""
    return quantile(np.sort(numbers), 0.5)


def row_medians(rows: Floats) -> Floats:
    """Return the median of each row: (m, n) -> (m,)."""
    ordered, last = np.sort(rows, axis=1), rows.shape[1] - 1
    return np.asarray(0.5 * (ordered[:, last // 2] + ordered[:, (last + 1) // 2]))


def quantile(ordered: Floats, share: float) -> float:
    """Return a quantile of sorted numbers, interpolated between neighbours."""
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (position - low) * (ordered[high] - ordered[low]))


class SortedSample:
    """Numbers in any order, sorted as soon as that pays.

    Parameters
    ----------
    numbers : (p,) float64
    """

    def __init__(self, numbers: Floats) -> None:
        self.numbers = numbers

    @classmethod
    def sorted(cls, numbers: Floats) -> Self:
        """Return a sample that is sorted already, for many queries to come."""
        sample = cls(np.sort(numbers))
        sample.ordered = sample.numbers
        return sample

    @cached_property
    def ordered(self) -> Floats:
        """The numbers, sorted: (p,)."""
        return np.sort(self.numbers)

    def distances(self, queries: Floats) -> Floats:
        """Return how far each is from the nearest of the numbers: (n,) -> (n,); inf of none."""
        if not self.numbers.size:
            return np.full(len(queries), np.inf)
        if self._is_sorting_slower(queries):
            return np.array([np.abs(self.numbers - query).min() for query in queries])
        above = np.searchsorted(self.ordered, queries)
        nearest: Floats = np.minimum(
            np.abs(self.ordered[np.minimum(above, self.numbers.size - 1)] - queries),
            np.abs(queries - self.ordered[np.maximum(above - 1, 0)]),
        )
        return nearest

    def shares_below(self, queries: Floats) -> Floats:
        """Return the share of the numbers that is below each: (n,) -> (n,)."""
        if self._is_sorting_slower(queries):
            below = np.array([np.count_nonzero(self.numbers < query) for query in queries])
        else:
            below = np.searchsorted(self.ordered, queries)
        shares: Floats = below / self.numbers.size
        return shares

    def _is_sorting_slower(self, queries: Floats) -> bool:
        return len(queries) <= MAX_UNSORTED and "ordered" not in self.__dict__


@dataclass(frozen=True)
class Calibration:
    """The same for all readings of a block, and worth keeping until it ends.

    Attributes
    ----------
    scale : float
        Unit of the distances.
    tails : (5, 2) float64
        Start and scale of each distance's tail, and of the isolation forest's.
    """

    scale: float
    tails: Floats


def tails_of(columns: list[SortedSample]) -> Floats:
    """Return start and scale of the tail of each column: (columns, 2)."""
    return np.array(
        [
            start_and_scale(column.ordered) if column.numbers.size >= MIN_SCORES else NO_TAIL
            for column in columns
        ]
    )
