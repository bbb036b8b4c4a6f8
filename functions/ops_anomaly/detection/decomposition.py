"""A robust decomposition of a whole series: level, season, and how far readings are from both.

For series that are too short, or of too coarse a calendar, for a detector that learns reading by
reading: from 12 readings on, at any step. Everything is a median, so that three readings in ten may
be anomalies. After STL (Cleveland et al., Journal of Official Statistics 6, 1990), with medians in
place of loess.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ops_anomaly.detection.tails import median, quantile, row_medians

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops_anomaly.detection.types import Floats


STIFF = 1.5
"""A level that follows the series more closely must explain it so many times better."""

MIN_WINDOW = 12
"""Readings in the shortest window of a level: what lasts for fewer than six is no level."""

TRAILING = (31, 15, 7, 3, 1)
"""Readings whose median forecasts the one after them."""

MAX_KNOTS = 60
"""Block medians that a line is fitted to, as every pair of them has a slope."""

MIDDLE, OUTER = 0.5, 0.7
"""Shares of the deviations that make the scale: the larger of both, as tails may be heavy, and
three readings in ten can't move it."""

BETWEEN = 0.75
"""Share of the steps between deviations that makes the scale where that is larger: what is mostly
constant, and something else in one reading of eight, has no anomaly there."""

MIN_POOL = 50
"""Deviations that make the scale of a step of the period."""

POOL_PRIOR = 3
"""Deviations that the scale of the whole series counts as beside them."""

SEASON_GAIN = 0.65
"""The error that a season must leave of the error without it, out of sample."""

LONGER_GAIN = 0.8
"""The error that a longer period must leave of a shorter one's."""

CHANCE = 0.05
"""Of a false anomaly among all readings of a series of independent normal ones."""


@dataclass(frozen=True)
class Decomposition:
    """A series of n readings, taken apart.

    Attributes
    ----------
    expected : (n,) float64
        Level and season.
    season : (period,) float64
        Deviation from the level at each step of a period; one 0 without a period.
    scale : float
        Of the deviations from what is expected, as the standard deviation of a normal
        distribution; 0 if most readings are exactly as expected.
    scales : (n,) float64
        The same for each reading: of the deviations around its step of the period.
    """

    expected: Floats
    season: Floats
    scale: float
    scales: Floats


@dataclass(frozen=True)
class Forecast:
    """The reading after a series.

    Attributes
    ----------
    expected : float
    scale : float
        Of the errors of such forecasts within the series, around its step of the period.
    """

    expected: float
    scale: float


def decompose(values: Floats, period: int) -> Decomposition:
    """Take a series apart, with the stiffest level that explains it about as well as any.

    Parameters
    ----------
    values : (n,) float64
        At regular steps; at least 4, and 2 periods.
    period : int
        In steps; 0 without a season.
    """
    found = [take_apart(values, period, window) for window in windows(len(values), period)]
    return found[stiffest([each.scale for each in found])]


def forecast(values: Floats, period: int) -> Forecast:
    """Forecast the next reading, by what errs least: a constant, a line, medians of the last ones.

    Parameters
    ----------
    values, period
        As of `decompose`.
    """
    n = len(values)
    season = decompose(values, period).season
    rest = values - np.resize(season, n)
    found = []
    for slope in (0.0, slope_of(rest)):
        line = slope * np.arange(n + 1.0)
        line += median(rest - line[:n])
        found.append((line[n], rest - line[:n]))
    for window in TRAILING:
        if 2 * window < n:
            medians = row_medians(sliding_window_view(rest, window))
            found.append((medians[-1], rest[window:] - medians[:-1]))
    # a step of the season is the median of n / period readings, and errs by that
    share = len(season) / n if period > 1 else 0.0
    factor = ((1.0 + share) / (1.0 - share)) ** 0.5
    scales = [factor * spread(errors) for _, errors in found]
    best = stiffest(scales)
    level, errors = found[best]
    sizes = np.full(n, np.inf)
    sizes[n - len(errors) :] = factor * np.abs(errors)
    phase = n % len(season)
    scale = phase_scales(sizes, len(season), scales[best])[phase]
    return Forecast(float(level + season[phase]), float(scale))


def find_period(values: Floats) -> int:
    """Return the period of a series, in steps; 0 if none explains it.

    A season has to predict readings from those of other periods, around a level that may wander
    from period to period; and a longer one has to do so better than a shorter one.

    Parameters
    ----------
    values : (n,) float64
        At regular steps; periods of fewer than n / 2 steps are found.
    """
    n = len(values)
    # a level that could follow a season would leave none
    found = [take_apart(values, 0, window) for window in (n, 0, n // 2)]
    rest = clipped(values - found[stiffest([each.scale for each in found])].expected)
    period = 0
    for lag in sorted({*record_lags(rest), *record_lags(clipped(np.diff(values)))}):
        if 2 * lag < n:
            around = rest - moving_mean(rest, lag)
            gain = LONGER_GAIN if period else SEASON_GAIN
            if season_error(around, lag) < gain * season_error(around, period):
                period = lag
    return period


def season_error(values: Floats, period: int) -> float:
    """Return the mean error of a season where it predicts the readings of another period."""
    if not period:
        return float(np.abs(values - median(values)).mean())
    n = len(values)
    error = np.abs(values - np.resize(phase_medians(values, period), n)).mean()
    # a median includes the reading that it is to predict; of two periods, by one half
    return float(error) * n / (n - period)


def record_lags(values: Floats) -> list[int]:
    """Return lags, from 2, of higher autocorrelation than their neighbours and all shorter ones."""
    n = len(values)
    centred, longest = values - values.mean(), n // 2 + 1
    products = np.correlate(centred, centred, "full")[n - 1 : n + longest]
    heights = products / np.arange(n, n - longest - 1, -1)
    inner = heights[2:-1]
    is_peak = (inner >= heights[1:-2]) & (inner >= heights[3:]) & (inner > 0.0)
    peaks = np.flatnonzero(is_peak) + 2
    before = np.maximum.accumulate(np.append(0.0, heights[peaks]))[:-1]
    return [int(lag) for lag in peaks[heights[peaks] > before]]


def clipped(deviations: Floats) -> Floats:
    """Return deviations from 0 with the extremes cut, so that no few of them are a season."""
    most = 3.0 * spread(deviations)
    return np.asarray(np.clip(deviations, -most, most))


def moving_mean(values: Floats, window: int) -> Floats:
    """Return the means around each reading; at the ends, of the nearest whole window: (n,)."""
    sums = np.cumsum(np.append(0.0, values))
    means = (sums[window:] - sums[:-window]) / window
    return np.pad(means, ((window - 1) // 2, window // 2), mode="edge")


def limit(readings: int) -> float:
    """Return the deviation, in scales, that normal readings exceed once in `1 / CHANCE` series.

    The first step of a test for outliers (Grubbs, Annals of Mathematical Statistics 21, 1950), with
    the normal distribution in place of Student's, as the scale is of most readings and not of all.

    Examples
    --------
    >>> [round(limit(n), 2) for n in (12, 29, 1000, 8640)]
    [2.87, 3.13, 4.06, 4.53]
    """
    return -NormalDist().inv_cdf(0.5 * CHANCE / readings)


def stiffest(scales: list[float]) -> int:
    """Return the first that is about as good as the best."""
    least = min(scales)
    return next(i for i, scale in enumerate(scales) if scale <= STIFF * least)


def windows(n: int, period: int) -> Iterator[int]:
    """Yield the windows of a level, stiff ones first: n is a constant, 0 a line."""
    yield n
    yield 0
    window = n // 2
    while window >= max(MIN_WINDOW, period):
        yield window // period * period if period else window
        window //= 2


def take_apart(values: Floats, period: int, window: int) -> Decomposition:
    """Take a series apart with a level of this window."""
    n = len(values)
    season: Floats = np.zeros(max(period, 1))
    for _ in range(2 if period > 1 else 1):
        level = level_of(values - np.resize(season, n), window)
        if period > 1:
            season = phase_medians(values - level, period)
            season -= median(season)
    expected = level + np.resize(season, n)
    fitted = (period if period > 1 else 0) / n + (2.0 / window if 0 < window < n else 0.0)
    deviations = (values - expected) / (1.0 - fitted) ** 0.5
    scale = spread(deviations)
    scales = phase_scales(np.abs(deviations), len(season), scale)
    return Decomposition(expected, season, scale, np.resize(scales, n))


def level_of(values: Floats, window: int) -> Floats:
    """Return the level: medians of blocks that overlap by half, and straight lines between: (n,).

    A window of n is the median, one of 0 a line.
    """
    n = len(values)
    if window == n:
        return np.full(n, median(values))
    if window == 0:
        line = slope_of(values) * np.arange(n)
        return np.asarray(line + median(values - line))
    blocks = -(-2 * (n - window) // window) + 1
    starts = np.linspace(0, n - window, blocks).round().astype(np.int64)
    knots = row_medians(sliding_window_view(values, window)[starts])
    centres = starts + 0.5 * (window - 1)
    # the first and the last line reach to the series' ends
    slopes = np.diff(knots) / np.diff(centres)
    positions = np.arange(n)
    segment = np.clip(np.searchsorted(centres, positions) - 1, 0, blocks - 2)
    return np.asarray(knots[segment] + slopes[segment] * (positions - centres[segment]))


def slope_of(values: Floats) -> float:
    """Return the median slope of all pairs of block medians (Theil 1950; Sen, JASA 63, 1968)."""
    size = -(-len(values) // MAX_KNOTS)
    count = len(values) // size
    blocks = row_medians(values[: count * size].reshape(count, size))
    first, second = np.triu_indices(count, 1)
    return median((blocks[second] - blocks[first]) / ((second - first) * size))


def phase_medians(values: Floats, period: int) -> Floats:
    """Return the median of each step of a period: (n,) -> (period,)."""
    cycles = -(-len(values) // period)
    padded = np.full(cycles * period, np.inf)
    padded[: len(values)] = values
    ordered = np.sort(padded.reshape(cycles, period), axis=0)
    count = np.isfinite(ordered).sum(axis=0)
    steps = np.arange(period)
    return np.asarray(0.5 * (ordered[(count - 1) // 2, steps] + ordered[count // 2, steps]))


def phase_scales(sizes: Floats, period: int, scale: float) -> Floats:
    """Return the scale at each step of a period: (n,) -> (period,).

    Of the deviations at this step and as many around it as are needed; some weight is the whole
    series', or steps without a deviation would have no scale.

    Parameters
    ----------
    sizes : (n,) float64
        Sizes of the deviations; infinite where there is none.
    period : int
    scale : float
        Of the whole series.
    """
    n = len(sizes)
    half = int(np.ceil(0.5 * (MIN_POOL * period / n - 1.0)))
    if 2 * half + 1 >= period:
        return np.full(period, scale)
    padded = np.full(-(-n // period) * period, np.inf)
    padded[:n] = sizes
    around = (np.arange(period)[:, np.newaxis] + np.arange(-half, half + 1)) % period
    pooled = np.sort(padded.reshape(-1, period).T[around].reshape(period, -1), axis=1)
    count, rows = np.isfinite(pooled).sum(axis=1), np.arange(period)
    own = np.maximum(
        *(
            pooled[rows, (share * (count - 1)).astype(np.int64)]
            / NormalDist().inv_cdf(0.5 + 0.5 * share)
            for share in (MIDDLE, OUTER)
        )
    )
    return np.asarray(
        np.sqrt((MIN_POOL * own**2 + POOL_PRIOR * scale**2) / (MIN_POOL + POOL_PRIOR))
    )


def spread(deviations: Floats) -> float:
    """Return the scale of deviations from 0, as a normal distribution's standard deviation."""
    normal = NormalDist()
    sizes, steps = np.sort(np.abs(deviations)), np.sort(np.abs(np.diff(deviations)))
    return max(
        quantile(ordered, share) / normal.inv_cdf(0.5 + 0.5 * share) / width
        for ordered, share, width in (
            (sizes, MIDDLE, 1.0),
            (sizes, OUTER, 1.0),
            (steps, BETWEEN, 2.0**0.5),
        )
    )
