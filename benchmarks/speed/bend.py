"""Where a curve bends: two straight lines through it, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_BEND = 0.2
"""Difference of two exponents below which a curve is taken as straight."""


@dataclass(frozen=True)
class Bend:
    """Cost grows as size to the power `before` up to size `at`, as to the power `after` behind it.

    Where the curve is straight, `at` is None and both powers are the same.
    """

    at: int | None
    before: float
    after: float

    def __str__(self) -> str:
        if self.at is None:
            return f"does not bend: cost grows as size^{self.before:.2f}"
        return (
            f"bends at {self.at:,}: cost grows as size^{self.before:.2f} up to there, as "
            f"size^{self.after:.2f} from there"
        )


def bend(sizes: Sequence[float], costs: Sequence[float]) -> Bend:
    """Return where a curve bends: the two lines that meet in one of its points and fit it best.

    Examples
    --------
    >>> str(bend([1, 10, 100, 1000, 10000], [2, 2, 2, 20, 200]))
    'bends at 100: cost grows as size^0.00 up to there, as size^1.00 from there'
    >>> str(bend([1, 10, 100], [3, 30, 300]))
    'does not bend: cost grows as size^1.00'
    """
    x, y = np.log(np.array(sizes, float)), np.log(np.array(costs, float))
    slope = float(np.polyfit(x, y, 1)[0])
    best, least = Bend(None, slope, slope), np.inf
    for knee in range(1, len(x) - 1):
        columns = [np.ones_like(x), np.minimum(x - x[knee], 0.0), np.maximum(x - x[knee], 0.0)]
        lines = np.column_stack(columns)
        fit = np.linalg.lstsq(lines, y, rcond=None)[0]
        error = float(((lines @ fit - y) ** 2).sum())
        if error < least:
            least, found = error, Bend(int(sizes[knee]), float(fit[1]), float(fit[2]))
            best = found if abs(found.after - found.before) >= MIN_BEND else best
    return best
