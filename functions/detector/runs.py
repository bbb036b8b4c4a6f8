"""Distances between runs of readings, exactly.

Their squared differences are always summed by halves, 8 and 8, 4 and 4, 2 and 2: two runs are
then equally far apart, to the bit, however much is computed at once. Running sums would not do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detector.interface import Floats
    from detector.past import Integers

RUN = 24
"""Readings in a run."""

LAGS = 5_000
"""How many readings before its own end the end of an earlier run may lie."""

CELLS = 65_536
"""Pairs of readings compared at once: what fits the processor's second cache."""

PAIRS = 512
"""Pairs of runs compared at once: what fits the first."""


class NextRun:
    """The run that the next reading will end, as far as it is known, beside all before it.

    Parameters
    ----------
    series : (n,) float64
        At least 2 `RUN` - 1 readings.
    """

    def __init__(self, series: Floats) -> None:
        oldest, stop = max(RUN - 1, len(series) - LAGS), len(series) - RUN + 1

        def squares(back: int, count: int) -> Floats:
            """Sum over so many readings, from the one that lies so far back."""
            if count > 1:
                half = count // 2
                total = squares(back, half)
                total += squares(back + half, half)
                return total
            differences: Floats = series[oldest - back : stop - back] - series[len(series) - back]
            differences *= differences
            return differences

        self._ends = series[oldest:stop]
        self._known = [squares(back, min(back, 8)) for back in (1, 2, 4, 8, 16)]

    def least_square(self, value: float) -> float:
        """Return its squared distance to the nearest, if this is the value that it ends with."""
        sums = self._ends - value
        sums *= sums
        for known in self._known:
            sums += known
        return float(sums.min())


def square_distances(runs: Floats, later: Integers, earlier: Integers) -> Floats:
    """Return the squared distances of pairs of runs.

    Parameters
    ----------
    runs : (n, RUN) float64
    later, earlier : (m,) int64
        Which of them.

    Returns
    -------
    (m,) float64
    """
    squares = np.empty(len(later))
    for start in range(0, len(later), PAIRS):
        part = slice(start, start + PAIRS)
        sums: Floats = (runs[later[part]] - runs[earlier[part]]).ravel()
        sums *= sums
        for _ in range(3):
            sums = sums[1::2] + sums[::2]
        squares[part] = (sums[2::3] + sums[1::3]) + sums[::3]
    return squares


def least_squares(series: Floats, start: int, stop: int) -> Floats:
    """Return the squared distance of each run to the nearest before it, by comparing with all.

    Parameters
    ----------
    series : (n,) float64
    start, stop : int
        Where the first of these runs begins, and behind where the last one does.

    Returns
    -------
    (stop - start,) float64
    """
    padded = np.concatenate([np.full(LAGS, np.inf), series])  # no run begins before 0
    least = np.full(stop - start, np.inf)
    columns = max(64, CELLS // (len(least) + RUN))
    for lag in range(RUN, min(LAGS, stop - 1) + 1, columns):
        sums = run_sums(padded, start, stop, lag, min(lag + columns - 1, LAGS))
        np.minimum(least, sums.min(axis=1), out=least)
    return least


def run_sums(padded: Floats, start: int, stop: int, lag: int, last_lag: int) -> Floats:
    """Return the squared distances of runs to those `lag` to `last_lag` readings before them.

    Parameters
    ----------
    padded : (LAGS + n,) float64
        The series behind so many infinite values.

    Returns
    -------
    (stop - start, last_lag - lag + 1) float64
        A row for each run that begins at `start` to before `stop`.
    """
    begin, rows = LAGS + start, stop - start + RUN - 1
    now = padded[begin : begin + rows]
    earlier = np.lib.stride_tricks.sliding_window_view(padded, last_lag - lag + 1)
    ones = earlier[begin - last_lag : begin - last_lag + rows] - now[:, np.newaxis]
    ones *= ones
    twos = ones[1:] + ones[:-1]
    fours = twos[2:] + twos[:-2]
    eights = fours[4:] + fours[:-4]
    sixteens = eights[8:] + eights[:-8]
    sums: Floats = sixteens[8:] + eights[:-16]
    return sums
