"""Distances to the past: to the nearest value, and to the nearest run of values, seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detector.interface import Floats

RUN = 24
"""Readings in a run."""

LAGS = 5_000
"""How many readings before its own end the end of an earlier run may lie."""

CELLS = 65_536
"""Pairs of readings compared at once: what fits the processor's second cache."""


def nearest_values(past: Floats, block: Floats, new: int) -> Floats:
    """Return how far each reading of a block lies from the nearest one before it.

    Parameters
    ----------
    past : (p,) float64, sorted
        What came before the block.
    block : (n,) float64
        In order of time.
    new : int
        The first position in the block that is asked for.

    Returns
    -------
    (n - new,) float64
        In units of the series; 0 where nothing came before.
    """
    asked = block[new:]
    nearest = np.full(len(asked), np.inf)
    if past.size:
        after = np.searchsorted(past, asked)
        nearest = np.minimum(
            np.abs(past[np.minimum(after, past.size - 1)] - asked),
            np.abs(asked - past[np.maximum(after - 1, 0)]),
        )
    within = np.abs(asked[:, np.newaxis] - block)
    # neither itself nor what comes later
    within[~np.tri(len(asked), len(block), new - 1, dtype=bool)] = np.inf
    nearest = np.minimum(nearest, within.min(axis=1, initial=np.inf))
    return np.where(np.isfinite(nearest), nearest, 0.0)


def nearest_runs(series: Floats, first: int) -> Floats:
    """Return how far the run that each reading ends is from the nearest earlier run.

    Runs are `RUN` readings long, do not overlap, and end at most `LAGS` readings before. The
    squared differences at one lag are summed over a run by halves, 2 and 2, 4 and 4, 8 and 8: the
    sums of a run are then the same however much is computed at once, which running sums are not.

    Parameters
    ----------
    series : (n,) float64
    first : int
        The first reading to compute.

    Returns
    -------
    (n - first,) float64
        Root mean square difference, in units of the series; 0 where there is no earlier run.
    """
    padded = np.concatenate([np.full(LAGS + RUN, np.inf), series])  # no run begins before 0
    best = np.full(len(series) - first, np.inf)
    rows = min(len(best), 256)
    columns = max(64, CELLS // (rows + RUN))
    for start in range(first, len(series), max(rows, 1)):
        stop = min(start + rows, len(series))
        nearest = best[start - first : stop - first]
        for lag in range(RUN, min(LAGS, stop - RUN) + 1, columns):
            last_lag = min(lag + columns - 1, LAGS)
            sums = run_sums(padded, start, stop, lag, last_lag)
            np.minimum(nearest, sums.min(axis=1), out=nearest)
    return np.sqrt(np.where(np.isfinite(best), best, 0.0) / RUN)


def run_sums(padded: Floats, start: int, stop: int, lag: int, last_lag: int) -> Floats:
    """Return the squared distance of runs to those `lag` to `last_lag` readings before them.

    Parameters
    ----------
    padded : (LAGS + RUN + n,) float64
        The series behind so many infinite values.

    Returns
    -------
    (stop - start, last_lag - lag + 1) float64
        A row for each run that ends at `start` to before `stop`.
    """
    offset = LAGS + RUN
    begin = offset + start - (RUN - 1)
    rows = stop - start + RUN - 1
    now = padded[begin : begin + rows]
    # what lies before the series is infinitely far from it, not undefined
    now = np.where(np.isfinite(now), now, 0.0)
    width = last_lag - lag + 1
    earlier = np.lib.stride_tricks.sliding_window_view(padded, width)
    ones = earlier[begin - last_lag : begin - last_lag + rows] - now[:, np.newaxis]
    ones *= ones
    twos = ones[1:] + ones[:-1]
    fours = twos[2:] + twos[:-2]
    eights = fours[4:] + fours[:-4]
    sixteens = eights[8:] + eights[:-8]
    sums: Floats = sixteens[8:] + eights[:-16]
    return sums
