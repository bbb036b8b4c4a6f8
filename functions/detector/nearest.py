"""Distances to the past: to the nearest value, and to the nearest run of values, seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.blocks import BLOCK
from detector.run_search import bounded_squares
from detector.runs import LAGS, RUN, NextRun, least_squares

if TYPE_CHECKING:
    from detector.before import Before
    from detector.interface import Floats

IN_BLOCK = np.where(np.tri(BLOCK, k=-1), 0.0, np.inf)
"""Added to the distances of a block's readings: nothing is near to itself, or to what is later."""

FEW = 32
SHORT = 512
"""Up to so many runs, or among so few readings, bounds spare no time."""


def nearest_values(past: Before, block: Floats, new: int) -> Floats:
    """Return how far each reading of a block lies from the nearest one before it.

    Parameters
    ----------
    past : Before
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
    within = asked[:, np.newaxis] - block
    np.abs(within, out=within)
    within += IN_BLOCK[new : len(block), : len(block)]
    nearest = np.minimum(past.distances(asked), within.min(axis=1, initial=np.inf))
    return np.where(np.isfinite(nearest), nearest, 0.0)


def nearest_runs(series: Floats, first: int) -> Floats:
    """Return how far the run that each reading ends is from the nearest earlier run.

    Runs are `RUN` readings long, do not overlap, and end at most `LAGS` readings before.

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
    squares = np.zeros(len(series) - first)
    begin = max(first, 2 * RUN - 1)  # the first that ends a run with another before it
    asked = len(series) - begin
    if asked > 0:
        squares[-asked:] = least_of_last(series[max(0, begin - LAGS - RUN + 1) :], asked)
    return np.sqrt(squares / RUN)


def least_of_last(series: Floats, asked: int) -> Floats:
    """Return the squared distance of each of the last runs to the nearest before it: (asked,)."""
    stop = len(series) - RUN + 1
    if asked == 1:
        return np.array([NextRun(series[:-1]).least_square(series[-1])])
    if asked <= FEW or len(series) <= SHORT:
        return least_squares(series, stop - asked, stop)
    return bounded_squares(series, stop - asked)
