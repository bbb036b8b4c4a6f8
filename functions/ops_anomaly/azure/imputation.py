"""Gaps of a series filled: each impute mode of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ops_anomaly.detection.tails import row_medians

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers


def fill(values: Floats, steps: Integers, mode: str, fixed: float) -> Floats:
    """Return the series at every calendar step, from the first to the last.

    Parameters
    ----------
    values : (n,) float64
    steps : (n,) int64
        Calendar step of each, from 0, increasing.
    mode : str
        `auto` fills as `linear` does; where there is a period, `fill_by_phase` does better.
    fixed : float
        The value of mode `fixed`.

    Returns
    -------
    (steps[-1] + 1,) float64; the series as it is with `notFill`

    Examples
    --------
    >>> fill(np.array([1.0, 4.0]), np.array([0, 3]), "linear", 0.0).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    if mode == "notFill":
        return values
    every = np.arange(int(steps[-1]) + 1)
    if mode in ("auto", "linear"):
        return np.asarray(np.interp(every, steps, values))
    if mode == "previous":
        return np.asarray(values[np.searchsorted(steps, every, side="right") - 1])
    filled = np.full(len(every), fixed if mode == "fixed" else 0.0)
    filled[steps] = values
    return filled


def fill_by_phase(filled: Floats, steps: Integers, period: int) -> Floats:
    """Return a filled series with its gaps filled again, each from the periods before and after.

    Of three periods in a row the median counts, so that an anomaly is not filled in elsewhere.

    Parameters
    ----------
    filled : (m,) float64
        At every calendar step.
    steps : (n,) int64
        The steps that are no gaps.
    period : int
        In steps, above 0.
    """
    is_given = np.zeros(len(filled), bool)
    is_given[steps] = True
    better = filled.copy()
    for phase in range(period):
        own = slice(phase, None, period)
        given = np.flatnonzero(is_given[own])
        if given.size:
            known = filled[own][given]
            if given.size > 2:
                middle = row_medians(sliding_window_view(known, 3))
                known = np.pad(middle, 1, mode="edge")
            guessed = np.interp(np.arange(len(filled[own])), given, known)
            better[own] = np.where(is_given[own], filled[own], guessed)
    return better
