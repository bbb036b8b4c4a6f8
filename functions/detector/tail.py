"""Tail calibration: from a score of any unit to a surprise in nats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from detector.errors import CorruptArtifactError

if TYPE_CHECKING:
    from detector.interface import Floats

TAIL = 0.98
"""The quantile above which the exponential tail takes over from the ranks."""


@dataclass(frozen=True)
class Tail:
    """How surprising a score is, given a history of scores.

    With u the 98 % quantile of the history and b the larger of the mean excess over u and
    0.3 (u - median), the surprise of x is ln 50 + (x - u) / b above u (an exponential tail, as
    in peaks over threshold: Pickands, Annals of Statistics 1975) and -ln max(1 - rank, 0.02)
    up to u, where the rank is the share of the history that is not above x.

    exp(-surprise) is the share of readings expected to score at least as high.

    Attributes
    ----------
    history : (n,) float64, sorted
        The scores it was calibrated on.

    Examples
    --------
    >>> tail = Tail.of(np.arange(101.0))
    >>> tail.surprise(np.array([0.0, 50.0, 98.0, 200.0])).round(3).tolist()
    [0.01, 0.703, 3.912, 10.995]
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
        onset = float(np.quantile(history, TAIL))
        excess = history[history > onset] - onset
        scale = max(
            float(excess.mean()) if excess.size else 0.0,
            0.3 * (onset - float(np.median(history))),
            # a history of equal scores has no scale of its own; anything above is very surprising
            1e-9 * max(1.0, abs(onset)),
        )
        return cls(history, onset, scale)

    def surprise(self, scores: Floats) -> Floats:
        """Return the surprise of each score, in nats: (n,) -> (n,)."""
        rank = np.searchsorted(self.history, scores, side="right") / len(self.history)
        below = -np.log(np.maximum(1.0 - rank, 1.0 - TAIL))
        above = -np.log(1.0 - TAIL) + (scores - self.onset) / self.scale
        return np.where(scores > self.onset, above, below)
