"""The seasonal reference: what was usual at a reading's time of day, or of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers


DAY_MS = 86_400_000

DAYS = np.array([1, 2, 3, 4, 5, 6, 7, 14, 21])
"""How many days before a reading the same time is looked for."""

DAILY, WEEKLY = slice(0, 7), slice(6, 9)
"""Which of them are the season's."""

MIN_TOLERANCE_MS = 600_000
MAX_READINGS = 128
"""Readings of one season that a median takes: of a dense series, those next to the same time."""

PADDED_AT_ONCE = 16_384
"""Readings laid out at once for the medians: what fits the processor's second cache."""


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
    for reference in seasons(times, values, first, oldest, steps):
        best = closer(values[first:], reference, best)
    return best


def seasons(
    times: Integers, values: Floats, first: int, oldest: Integers, steps: Floats
) -> list[Floats]:
    """Return the daily and the weekly reference, (n - first,); parameters as for `references`."""
    tolerances = np.maximum(1.01 * steps, MIN_TOLERANCE_MS).astype(np.int64)
    reach = times[-1] - times[0] + tolerances.max() if len(tolerances) else 0
    lows, counts = windows(times, first, oldest, tolerances, DAYS[reach >= DAYS * DAY_MS])
    return [medians(values, lows[season], counts[season]) for season in (DAILY, WEEKLY)]


def closer(values: Floats, reference: Floats, other: Floats) -> Floats:
    """Return which of two references is closer to each value: (n,) each; NaN where is none."""
    is_closer = np.abs(values - reference) < np.abs(values - other)
    return np.where(is_closer | np.isnan(other), reference, other)


def windows(
    times: Integers, first: int, oldest: Integers, tolerances: Integers, days: Integers
) -> tuple[Integers, Integers]:
    """Return where the readings at the same time so many days before begin, and their counts.

    Parameters as for `references`; `tolerances` in milliseconds.

    Returns
    -------
    (days, n - first) int64 each
    """
    moments = times[first:] - DAY_MS * days[:, np.newaxis]
    lows = np.maximum(np.searchsorted(times, moments - tolerances, "left"), oldest)
    index = np.arange(first, len(times))
    highs = np.minimum(np.searchsorted(times, moments + tolerances, "right"), index)
    spare = np.maximum(highs - lows - MAX_READINGS, 0)
    lows, highs = lows + spare // 2, highs - (spare + 1) // 2
    return lows, np.maximum(highs - lows, 0)


def medians(values: Floats, lows: Integers, counts: Integers) -> Floats:
    """Return the median of values[low : low + count], pooled over each column: (k, m) -> (m,).

    NaN where there are none.
    """
    found = np.full(lows.shape[1], np.nan)
    width = int(counts.max(initial=0))
    rows = max(1, PADDED_AT_ONCE // max(1, len(lows) * width))
    for start in range(0, len(found) if width else 0, rows):
        part = slice(start, start + rows)
        found[part] = padded_medians(values, lows[:, part], counts[:, part], width)
    return found


def padded_medians(values: Floats, lows: Integers, counts: Integers, width: int) -> Floats:
    """Return the median of values[low : low + count], pooled over each column: (k, m) -> (m,)."""
    steps = np.arange(width)[:, np.newaxis, np.newaxis]
    picked = values.take(lows + steps, mode="clip")
    np.copyto(picked, np.inf, where=steps >= counts)  # sorts behind everything that counts
    ordered = np.sort(picked.reshape(-1, lows.shape[1]).T, axis=1)
    total = counts.sum(axis=0)
    row = np.arange(len(ordered))
    lower = ordered[row, np.maximum(total - 1, 0) // 2]
    upper = ordered[row, np.minimum(total // 2, ordered.shape[1] - 1)]
    return np.where(total > 0, 0.5 * lower + 0.5 * upper, np.nan)
