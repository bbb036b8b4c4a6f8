"""The seasonal reference: what was usual at a reading's time of day, or of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detector.interface import Floats
    from detector.past import Integers

DAY_MS = 86_400_000

SEASONS = ((DAY_MS, 7), (7 * DAY_MS, 3))
"""Length of each season in milliseconds, and how many of them are looked back."""

LEAST_TOLERANCE_MS = 600_000
MOST_READINGS = 128
"""Readings of one season that a median takes: of a dense series, those next to the same time."""

PADDED_AT_ONCE = 2_000_000
"""Readings laid out at once for the medians: bounds the memory of a dense series."""


def references(
    times: Integers, values: Floats, first: int, oldest: Integers, steps: Floats
) -> Floats:
    """Return what was usual at the time of each reading, from reading `first` on.

    The reference of a season is the median of the readings within a tolerance of the same time,
    one, two, ... seasons before; of the daily and the weekly one, that which is closer counts.

    Parameters
    ----------
    times : (n,) int64, increasing
        Milliseconds.
    values : (n,) float64
    oldest : (n - first,) int64
        For each reading, the first index that it may be compared with.
    steps : (n - first,) float64
        For each reading, the usual distance to the next, in milliseconds.

    Returns
    -------
    (n - first,) float64
        NaN where there is no reference yet.
    """
    best: Floats = np.full(len(times) - first, np.nan)
    tolerances = np.maximum(1.01 * steps, LEAST_TOLERANCE_MS).astype(np.int64)
    for period, repeats in SEASONS:
        reference = seasonal_medians(times, values, first, oldest, tolerances, period, repeats)
        closer = np.abs(values[first:] - reference) < np.abs(values[first:] - best)
        best = np.where(closer | np.isnan(best), reference, best)
    return best


def seasonal_medians(
    times: Integers,
    values: Floats,
    first: int,
    oldest: Integers,
    tolerances: Integers,
    period: int,
    repeats: int,
) -> Floats:
    """Return the median at the same time in former seasons: (n - first,), NaN where there is none.

    Parameters as for `references`; `tolerances` and `period` in milliseconds.
    """
    index = np.arange(first, len(times))
    moments = times[first:, np.newaxis] - period * np.arange(1, repeats + 1)
    tolerance = tolerances[:, np.newaxis]
    lows = np.maximum(np.searchsorted(times, moments - tolerance, "left"), oldest[:, np.newaxis])
    highs = np.minimum(np.searchsorted(times, moments + tolerance, "right"), index[:, np.newaxis])
    spare = np.maximum(highs - lows - MOST_READINGS, 0)
    lows, highs = lows + spare // 2, highs - (spare + 1) // 2
    counts = np.maximum(highs - lows, 0)
    width = int(counts.max(initial=0))
    medians = np.full(len(index), np.nan)
    rows = max(1, PADDED_AT_ONCE // max(1, repeats * width))
    for start in range(0, len(index) if width else 0, rows):
        part = slice(start, start + rows)
        medians[part] = padded_medians(values, lows[part], counts[part], width)
    return medians


def padded_medians(values: Floats, lows: Integers, counts: Integers, width: int) -> Floats:
    """Return the median of values[low : low + count], pooled over each row: (m, k) -> (m,)."""
    steps = np.arange(width)
    picked = values[np.minimum(lows[..., np.newaxis] + steps, len(values) - 1)]
    picked[steps >= counts[..., np.newaxis]] = np.inf  # sorts behind everything that counts
    ordered = np.sort(picked.reshape(len(lows), -1), axis=1)
    total = counts.sum(axis=1)
    row = np.arange(len(lows))
    lower = ordered[row, np.maximum(total - 1, 0) // 2]
    upper = ordered[row, np.minimum(total // 2, ordered.shape[1] - 1)]
    return np.where(total > 0, 0.5 * lower + 0.5 * upper, np.nan)
