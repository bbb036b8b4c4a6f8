"""The nearest earlier run of each, where there are many: bounds first, then what they leave."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from detector.run_bounds import RunBounds
from detector.runs import LAGS, RUN, least_squares, square_distances

if TYPE_CHECKING:
    from detector.alerts import Mask
    from detector.interface import Floats
    from detector.past import Integers
    from detector.run_bounds import Singles

ROWS = 256
"""Runs compared at once with all before them."""

SEGMENT = 256
"""Earlier runs of which the nearest is looked at first."""

CROWD = 64
"""Earlier runs that may be the nearest, above which it is quicker to compare with all."""

HOPELESS = 0.5
"""Share of runs with a crowd, above which bounds are no longer tried."""


def bounded_squares(series: Floats, first: int) -> Floats:
    """Return the squared distance of each run to the nearest before it.

    Parameters
    ----------
    series : (n,) float64
    first : int
        Where the first of these runs begins.

    Returns
    -------
    (n - RUN + 1 - first,) float64
    """
    bounds = RunBounds(series, RUN, first, SEGMENT)
    runs = np.lib.stride_tricks.sliding_window_view(series, RUN)
    stop = len(runs)
    squares, is_hopeless = np.empty(stop - first), False
    cells = np.empty(ROWS * (min(LAGS + ROWS, stop) + SEGMENT), np.float32)
    for start in range(first, stop, ROWS):
        rows, oldest = min(ROWS, stop - start), max(0, start - LAGS)
        part = squares[start - first : start - first + rows]
        if is_hopeless:
            part[:] = least_squares(series, start, start + rows)
            continue
        segments = -(-(start + rows - RUN - oldest) // SEGMENT)
        table = cells[: rows * segments * SEGMENT].reshape(rows, -1)
        bounds.fill(table, start, oldest)
        leave_out(table, start - oldest)
        part[:], is_crowded = few_squares(runs, bounds, table, start, oldest)
        for crowd in groups(np.flatnonzero(is_crowded)):
            part[crowd] = least_squares(series, start + crowd.start, start + crowd.stop)
        is_hopeless = is_crowded.mean() > HOPELESS
    return squares


def leave_out(table: Singles, lead: int) -> None:
    """Rule out what no run is compared with: others that overlap it, or lie too far back.

    Parameters
    ----------
    table : (rows, columns) float32
    lead : int
        By how many readings its first row lies behind its first column.
    """
    beyond, before = corners()
    overlapping = table[:, lead - RUN + 1 :]
    overlapping += beyond[: len(table), : overlapping.shape[1]]
    too_far = table[LAGS - lead :, : len(table)]
    too_far += before[: len(too_far), : len(table)]


@cache  # at the first use: a cold start has no time for it
def corners() -> tuple[Singles, Singles]:
    """Return what, added to bounds, rules out what begins too late, and what begins too early."""
    is_before = np.tri(ROWS, ROWS + SEGMENT, -1, dtype=bool)
    nothing, all_of_it = np.float32(0.0), np.float32(np.inf)
    return np.where(is_before, nothing, all_of_it), np.where(is_before, all_of_it, nothing)


def few_squares(
    runs: Floats, bounds: RunBounds, table: Singles, start: int, oldest: int
) -> tuple[Floats, Mask]:
    """Return the squared distances to the nearest runs, and where too many may be that.

    The run with the lowest bound is compared first, and then all that may be nearer still.

    Parameters
    ----------
    runs : (n, RUN) float64
    table : (rows, columns) float32
        The bounds; spoiled.
    start, oldest : int
        Where the runs of the first row and of the first column begin.

    Returns
    -------
    (rows,) float64, (rows,) bool
        Where there is a crowd, the distance is to one of them.
    """
    rows = np.arange(len(table))
    segments = table.reshape(len(table), -1, SEGMENT)  # a view: what is ruled out is so in both
    place = segments.argmin(axis=2)
    first_cell = SEGMENT * np.arange(place.size).reshape(place.shape)
    lowest = table.ravel().take(first_cell + place)
    segment = lowest.argmin(axis=1)
    column = SEGMENT * segment + place[rows, segment]
    squares = square_distances(runs, start + rows, oldest + column)
    # nothing is nearer than what is equal
    ceiling = np.where(squares > 0.0, bounds.ceiling(start, squares), -np.inf)[:, np.newaxis]
    table[rows, column] = np.inf
    lowest[rows, segment] = segments[rows, segment].min(axis=1)
    row, column, is_crowded = undecided(segments, lowest, ceiling)
    np.minimum.at(squares, row, square_distances(runs, start + row, oldest + column))
    return squares, is_crowded


def undecided(
    segments: Singles, lowest: Singles, ceiling: Singles
) -> tuple[Integers, Integers, Mask]:
    """Return which cells their bounds do not rule out, but for rows with a crowd of them.

    Parameters
    ----------
    segments : (rows, n, SEGMENT) float32
        The bounds.
    lowest : (rows, n) float32
        Of each segment.
    ceiling : (rows, 1) float32
        A higher bound rules out.

    Returns
    -------
    (m,) int64, (m,) int64, (rows,) bool
        Rows and columns of the cells; which rows have a crowd.
    """
    row, segment = np.nonzero(lowest <= ceiling)
    is_near = segments[row, segment] <= ceiling[row]
    is_crowded = np.bincount(row, np.count_nonzero(is_near, axis=1), len(lowest)) > CROWD
    is_near[is_crowded[row]] = False
    pair, place = np.divmod(np.flatnonzero(is_near), SEGMENT)
    return row[pair], SEGMENT * segment[pair] + place, is_crowded


def groups(rows: Integers) -> list[slice]:
    """Return slices that hold these rows, increasing, and none that is far from them.

    Examples
    --------
    >>> groups(np.array([3, 5, 90]))
    [slice(3, 6, None), slice(90, 91, None)]
    """
    if not rows.size:
        return []
    parts = np.split(rows, np.flatnonzero(np.diff(rows) > RUN) + 1)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]
