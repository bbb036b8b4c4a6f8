"""Lower bounds on the squared distances of runs, all pairs at once, by a matrix product.

The squared distance of a and b is |a|^2 + |b|^2 - 2ab. In float32 that is quick, and wrong by no
more than a share of |a|^2 + |b|^2: less that share, it is a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from detector.tail import median

if TYPE_CHECKING:
    from detector.interface import Floats

    Singles = npt.NDArray[np.float32]

MARGIN = 64 * 2.0**-24
"""The share. In units of 2^-24 of |a|^2 and of |b|^2, and whatever the order of the sum: the 25
products and their sum round by 25 and 50, the readings by 4 and 4, the norm by 0 and 1."""

LEAST = 2.0**-60
"""Below it readings are 0, where the usual deviation is 1, so that no product underflows."""

SLACK = 2.0**-80
"""More than that can change a squared distance that is not far above it."""

FARTHEST = 2.0**56
"""Beyond it readings are cut off, so that no square overflows: that brings no two closer together
than bounds may have them."""

LEAST_EXPONENT = -300
"""Of the unit: squares of much smaller readings underflow in float64 too."""

MOST_SQUARE = 2.0**126
"""Farther than readings that were cut off: no bound is higher."""


class RunBounds:
    """Bounds for the runs of a series.

    Parameters
    ----------
    series : (n,) float64
    length : int
        Of a run, 24 at most.
    first : int
        The first run that is compared with those before it.
    spare : int
        How many more columns than there are runs may be asked for.
    """

    def __init__(self, series: Floats, length: int, first: int, spare: int) -> None:
        singles, self._unit = around_the_median(series)
        count = len(series) - length + 1
        readings = np.lib.stride_tricks.sliding_window_view(singles, count)
        norms = np.convolve(np.square(singles, dtype=np.float64), np.ones(length), "valid")
        self._norms: Floats = (1.0 - MARGIN) * norms
        self._earlier = np.zeros((length + 1, count + spare), np.float32)
        self._earlier[:-1, :count], self._earlier[-1, :count] = readings, self._norms
        self._later = np.ones((length + 1, count - first), np.float32)
        np.multiply(readings[:, first:], -2.0, out=self._later[:-1])
        self._first = first
        changes = np.concatenate([[0], np.cumsum(series[1:] != series[:-1])])
        self._goes_on = changes[length:] == changes[: len(changes) - length]
        self._length = length

    def fill(self, table: Singles, start: int, oldest: int) -> None:
        """Bound the distances of runs from `start` on to those from `oldest` on.

        Parameters
        ----------
        table : (rows, columns) float32
            Filled with the bounds; what depends on its row alone is left out of them.
        """
        rows, columns = table.shape
        # of equal runs one after the other, the last is as good as all: there may be hundreds
        same = slice(0, max(0, start - self._length))
        self._earlier[-1, same][self._goes_on[same]] = MOST_SQUARE
        later = self._later[:, start - self._first : start - self._first + rows]
        np.matmul(later.T, self._earlier[:, oldest : oldest + columns], out=table)

    def ceiling(self, start: int, squares: Floats) -> Singles:
        """Return up to which bound runs may be as near: (rows,) float64 -> (rows,) float32.

        Parameters
        ----------
        squares : (rows,) float64
            Squared distances of runs from `start` on.
        """
        norms = self._norms[start : start + len(squares)]
        distances = np.minimum(squares / self._unit / self._unit, MOST_SQUARE)
        ceiling = (distances - norms + SLACK).astype(np.float32)
        return np.nextafter(ceiling, np.float32(np.inf))


def around_the_median(series: Floats) -> tuple[Singles, float]:
    """Return a series less its median in units of its usual deviation, and that unit."""
    deviations = series - median(series)
    sizes = np.abs(deviations)
    sizes = sizes[sizes > 0.0]
    exponent = int(np.frexp(median(sizes))[1]) if sizes.size else 0
    unit = 2.0 ** max(exponent, LEAST_EXPONENT)  # a power of two rounds nothing
    singles = np.clip(deviations / unit, -FARTHEST, FARTHEST).astype(np.float32)
    singles[np.abs(singles) < LEAST] = 0.0
    return singles, unit
