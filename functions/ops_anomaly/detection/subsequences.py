"""Distances between runs of readings, exactly.

Their squared differences are always summed by halves, 8 and 8, 4 and 4, 2 and 2: two runs are
then equally far apart, to the bit, however much is computed at once. Running sums would not do.

Lower bounds on the squared distances of runs, all pairs at once, by a matrix product.

The squared distance of a and b is |a|^2 + |b|^2 - 2ab. In float32 that is quick, and wrong by no
more than a share of |a|^2 + |b|^2: less that share, it is a bound.

The nearest earlier run of each, where there are many: bounds first, then what they leave.

Distances to the past: to the nearest value, and to the nearest run of values, seen before.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ops_anomaly.detection.history import BLOCK
from ops_anomaly.detection.tails import median

if TYPE_CHECKING:
    from ops_anomaly.detection.tails import SortedSample
    from ops_anomaly.detection.types import Floats, Integers, Mask

    Singles = npt.NDArray[np.float32]


RUN = 24
"""Readings in a run."""

LAGS = 5_000
"""How many readings before its own end the end of an earlier run may lie."""

MAX_CELLS = 65_536
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
    columns = max(64, MAX_CELLS // (len(least) + RUN))
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

MIN_EXPONENT = -300
"""Of the unit: squares of much smaller readings underflow in float64 too."""

MAX_SQUARE = 2.0**126
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
        self._earlier[-1, same][self._goes_on[same]] = MAX_SQUARE
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
        distances = np.minimum(squares / self._unit / self._unit, MAX_SQUARE)
        ceiling = (distances - norms + SLACK).astype(np.float32)
        return np.nextafter(ceiling, np.float32(np.inf))


def around_the_median(series: Floats) -> tuple[Singles, float]:
    """Return a series less its median in units of its usual deviation, and that unit."""
    deviations = series - median(series)
    sizes = np.abs(deviations)
    sizes = sizes[sizes > 0.0]
    exponent = int(np.frexp(median(sizes))[1]) if sizes.size else 0
    unit = 2.0 ** max(exponent, MIN_EXPONENT)  # a power of two rounds nothing
    singles = np.clip(deviations / unit, -FARTHEST, FARTHEST).astype(np.float32)
    singles[np.abs(singles) < LEAST] = 0.0
    return singles, unit


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


IN_BLOCK = np.where(np.tri(BLOCK, k=-1), 0.0, np.inf)
"""Added to the distances of a block's readings: nothing is near to itself, or to what is later."""

MAX_DIRECT = 32
SHORT = 512
"""Up to so many runs, or among so few readings, bounds spare no time."""


def nearest_values(past: SortedSample, block: Floats, new: int) -> Floats:
    """Return how far each reading of a block lies from the nearest one before it.

    Parameters
    ----------
    past : SortedSample
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
    if asked <= MAX_DIRECT or len(series) <= SHORT:
        return least_squares(series, stop - asked, stop)
    return bounded_squares(series, stop - asked)
