"""Change points: where the mean of a series differs before and after, by moving sums.

MOSUM (Eichinger and Kirch, Bernoulli 24, 2018): at each point, the difference between the means of
the G readings before it and of the G from it on, in units of its standard error. The largest
difference in a series without a change has a known limit distribution, which makes a confidence of
a difference.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ops_anomaly.detection.tails import median, quantile, row_medians

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Mask


PEAK_DISTANCE = 0.5
"""Part of the window within which a change has to have the largest difference."""

EXTREME = 5.0
"""Median deviations from the median of five, beyond which a reading is cut."""

MAX_CORRELATION = 0.9
"""Of neighbouring readings: beyond it, every wave would be noise."""


def change_points(values: Floats, window: int, threshold: float) -> tuple[Mask, Floats]:
    """Find where the level changes for at least a window.

    Parameters
    ----------
    values : (n,) float64
        At regular steps, without a season.
    window : int
        G: readings on either side; above 1, below n / 2.
    threshold : float
        Confidence of a change point, 0 to 1.

    Returns
    -------
    is_change : (n,) bool
        The first reading at each new level.
    confidence : (n,) float64
        0 to 1: the probability that nowhere in a series of independent normal readings without a
        change is the difference as large; 0 for less than a window at either end.

    Examples
    --------
    >>> is_change, confidence = change_points(np.repeat([1.0, 5.0], 20), 5, 0.9)
    >>> np.flatnonzero(is_change).tolist()
    [20]
    """
    n = len(values)
    differences = standardised_differences(without_spikes(values), window)
    logarithm = math.log(max(n / window, math.e))  # the limit's, of at least e windows
    scale = math.sqrt(2.0 * logarithm)
    shift = 2.0 * logarithm + 0.5 * math.log(logarithm) + math.log(1.5 / math.sqrt(math.pi))
    confidence = np.zeros(n)
    inner = slice(window, n - window + 1)
    confidence[inner] = np.exp(-2.0 * np.exp(np.minimum(shift - scale * differences, 700.0)))
    is_change = np.zeros(n, bool)
    is_change[inner] = peaks(differences, max(int(PEAK_DISTANCE * window), 1))
    return is_change & (confidence >= threshold), confidence


def without_spikes(values: Floats) -> Floats:
    """Return a series in which one or two extreme readings are cut to those around them: (n,).

    After Hampel (JASA 69, 1974): what is far from the median of five; a step is not.
    """
    around = row_medians(sliding_window_view(np.pad(values, 2, mode="reflect"), 5))
    most = EXTREME * median(np.abs(values - around))
    return np.asarray(np.clip(values, around - most, around + most))


def standardised_differences(values: Floats, window: int) -> Floats:
    """Return the differences of neighbouring means, in standard errors: (n - 2 G + 1,)."""
    centred = values - median(values)
    largest = float(np.abs(centred).max())
    if largest == 0.0:
        return np.zeros(len(values) - 2 * window + 1)
    centred /= largest
    sums, squares = (np.cumsum(np.append(0.0, each)) for each in (centred, centred**2))
    means = (sums[window:] - sums[:-window]) / window
    around = np.maximum((squares[window:] - squares[:-window]) - window * means**2, 0.0)
    # the usual one, as few pairs of windows have a change inside; and no less than rounding makes
    deviations = np.sqrt((around[:-window] + around[window:]) / (2 * window - 2))
    deviation = max(median(deviations), 1e-6)
    error = deviation * correlation_factor(centred, deviation) * math.sqrt(2 / window)
    differences = means[window:] - means[:-window]
    # a trend is no change: what the middle half of all differences have in common
    ordered = np.sort(differences)
    trend = min(max(quantile(ordered, 0.25), 0.0), quantile(ordered, 0.75))
    return np.asarray(np.abs(differences - trend) / error)


def correlation_factor(values: Floats, deviation: float) -> float:
    """Return how much further means of neighbouring readings scatter than of independent ones.

    For the first-order autocorrelation by which steps are smaller than deviations make them.
    """
    step = median(np.abs(np.diff(values))) / (NormalDist().inv_cdf(0.75) * math.sqrt(2.0))
    correlation = min(max(1.0 - (step / deviation) ** 2, 0.0), MAX_CORRELATION)
    return math.sqrt((1.0 + correlation) / (1.0 - correlation))


def peaks(heights: Floats, distance: int) -> Mask:
    """Return which are the first of the highest within a distance on both sides: (n,)."""
    padded = np.pad(heights, distance, constant_values=-np.inf)
    around = sliding_window_view(padded, 2 * distance + 1)
    is_peak: Mask = around.argmax(axis=1) == distance
    return is_peak
