"""Tail calibration: from a score of any unit to a surprise in nats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from detector.errors import CorruptArtifactError

if TYPE_CHECKING:
    from detector.interface import Floats
    from detector.past import Integers

TAIL = 0.98
"""The quantile above which the fitted tail takes over from the ranks."""

ONSET_SURPRISE = -math.log(1.0 - TAIL)
"""The surprise at that quantile: one score in 50 is as high."""

SHAPE = 0.1
"""Shape of the tail: 0 would be exponential, under which nothing is impossible enough. Operations
metrics have heavier tails than that, and every series too few extremes to fit its own shape."""


@dataclass(frozen=True)
class Tail:
    """How surprising a score is, given a history of scores.

    With u the 98 % quantile of the history and b the larger of the mean excess over u and
    0.3 (u - median), the surprise of x is ln 50 + ln(1 + 0.1 (x - u) / b) / 0.1 above u (a
    generalised Pareto tail, as in peaks over threshold: Pickands, Annals of Statistics 1975) and
    -ln max(share, 0.02) up to u, where the share is that of the history that is not below x.

    exp(-surprise) is the share of readings expected to score at least as high. A score that all
    of the history shares is therefore no surprise at all.

    Attributes
    ----------
    history : (n,) float64, sorted
        The scores it was calibrated on.

    Examples
    --------
    >>> tail = Tail.of(np.arange(101.0))
    >>> tail.surprise(np.array([0.0, 50.0, 98.0, 200.0])).round(3).tolist()
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

    def surprise(self, scores: Floats) -> Floats:
        """Return the surprise of each score, in nats: (n,) -> (n,)."""
        below = np.searchsorted(self.history, scores, side="left") / len(self.history)
        return surprise(scores, below, self.onset, self.scale)

    def score_of(self, surprise: float) -> float:
        """Return the lowest score that is at least so surprising, in nats."""
        if surprise <= ONSET_SURPRISE:
            return quantile(self.history, 1.0 - math.exp(-surprise))
        return self.onset + self.scale * math.expm1(SHAPE * (surprise - ONSET_SURPRISE)) / SHAPE


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


def surprise(scores: Floats, below: Floats, onset: float | Floats, scale: float | Floats) -> Floats:
    """Return the surprise of scores, in nats, by the formula of `Tail`.

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
