"""What is known of each reading from those before it: distances, surprise, what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.before import Before
from detector.blocks import Block, blocks
from detector.calibration import Calibration, usual_step
from detector.nearest import nearest_runs, nearest_values
from detector.past import DISTANCES, Past
from detector.seasonal import references
from detector.surprise import surprises
from detector.tail import quantile

if TYPE_CHECKING:
    from detector.interface import Floats
    from detector.isolation_forest import IsolationForest
    from detector.past import Integers

SCALE_READINGS = 4_000
LEAST_SCALE = 1e-20
"""So that the farthest distance, in units of the scale, is a finite number."""

BOUNDS = (0.01, 0.99)
"""Quantiles of the past between which a reading is expected."""


@dataclass(frozen=True)
class Context:
    """A past with new readings at its end, and what was expected of the last of them.

    Attributes
    ----------
    past : Past
        Untrimmed.
    first : int
        Index in it of the first new one.
    expected, lower, upper : (n - first,) float64
        NaN for the first reading of all. Between lower and upper lay 98 % of the readings before.
    surprises : (n - first, 5) float64
        Of each distance, and of the forest's score, in nats.
    """

    past: Past
    first: int
    expected: Floats
    lower: Floats
    upper: Floats
    surprises: Floats


def extend(past: Past, times: Integers, values: Floats, forest: IsolationForest | None) -> Context:
    """Put new readings into the context of the past.

    Parameters
    ----------
    times : (n,) int64
        Milliseconds, increasing, after the past's.
    values : (n,) float64
    """
    first = len(past.times)
    times = np.concatenate([past.times, times])
    values = np.concatenate([past.values, values])
    parts = list(blocks(past.count, past.offset + len(times), past.offset))
    known = past.calibration if parts and parts[0].start < first else None
    usual = usual_values(times, values, first, parts)
    residuals = np.concatenate([past.residuals, residuals_of(values[first:], usual)])
    new, levels = measured(values, residuals, parts, known)
    isolation = forest.score_samples(new) if forest else np.zeros(len(new))
    distances = np.concatenate([past.distances, new])
    isolation = np.concatenate([past.isolation, isolation])
    surprise, tails = surprises(distances, isolation, past.offset, parts, known)
    expected, lower, upper = expectation(usual, levels)
    extended = Past(
        offset=past.offset,
        onset=onset_of(past, usual),
        times=times,
        values=values,
        residuals=residuals,
        distances=distances,
        isolation=isolation,
    ).calibrated(Calibration(levels[-1].copy(), tails) if len(new) else past.calibration)
    return Context(extended, first, expected, lower, upper, surprise)


def usual_values(times: Integers, values: Floats, first: int, parts: list[Block]) -> Floats:
    """Return the seasonal references from reading `first` on: (n - first,), NaN for none."""
    lengths = [part.stop - part.new for part in parts]
    steps = [usual_step(times[part.oldest : part.start]) for part in parts]
    oldest = [part.oldest for part in parts]
    return references(
        times,
        values,
        first,
        np.repeat(np.array(oldest, np.int64), lengths),
        np.repeat(np.array(steps, np.float64), lengths),
    )


def residuals_of(values: Floats, usual: Floats) -> Floats:
    """Return the deviations: (n,) each; without a reference there is nothing to deviate from."""
    return np.where(np.isnan(usual), 0.0, values - usual)


def measured(
    values: Floats, residuals: Floats, parts: list[Block], known: Calibration | None
) -> tuple[Floats, Floats]:
    """Return the distances of new readings to the past, and the levels they are measured by.

    Parameters
    ----------
    values, residuals : (n,) float64
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 4) float64, (m, 6) float64
        In units of the scale; see `Calibration`.
    """
    count = sum(part.stop - part.new for part in parts)
    first = len(values) - count
    distances, levels = np.empty((count, len(DISTANCES))), np.empty((count, 6))
    for part in parts:
        here, of_past = slice(part.new - first, part.stop - first), slice(part.oldest, part.start)
        before = Before(values[of_past]), Before(residuals[of_past])
        levels[here] = known.levels if known else levels_of(*before)
        known = None
        for column, series in enumerate((values, residuals)):
            block = series[part.start : part.stop]
            distances[here, column] = nearest_values(before[column], block, part.new - part.start)
    distances[:, 2] = nearest_runs(values, first)
    distances[:, 3] = nearest_runs(residuals, first)
    distances /= levels[:, :1]
    return distances, levels


def levels_of(values: Before, residuals: Before) -> Floats:
    """Return the levels of a block, given what came before it: (6,); see `Calibration`."""
    low, high = BOUNDS
    return np.array(
        [
            scale(values.numbers),
            *values.quantiles(low, 0.5, high),
            *residuals.quantiles(low, high),
        ]
    )


def scale(values: Floats) -> float:
    """Return the spread of the last readings, positive: (n,) -> units of the series."""
    last = np.sort(values[-SCALE_READINGS:])
    if not last.size:
        return 1.0
    spread = (
        quantile(last, 0.95) - quantile(last, 0.05)
        or 0.2 * float(last[-1] - last[0])
        or max(0.05 * float(np.abs(last).max()), 1e-9)
    )
    return max(spread, LEAST_SCALE)


def expectation(usual: Floats, levels: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what was expected of readings, with bounds: (n,) each.

    Where a reading has a seasonal reference, that; else the median of the past.

    Parameters
    ----------
    usual : (n,) float64
        The references; NaN where there is none.
    levels : (n, 6) float64
        See `Calibration`.
    """
    _, low, middle, high, residual_low, residual_high = levels.T
    seasonal = ~np.isnan(usual)
    expected = np.where(seasonal, usual, middle)
    lower = np.where(seasonal, expected + residual_low, low)
    upper = np.where(seasonal, expected + residual_high, high)
    return expected, np.minimum(lower, expected), np.maximum(upper, expected)


def onset_of(past: Past, usual: Floats) -> int:
    """Return how many readings came before the first with a reference; -1 while none has."""
    if past.onset >= 0 or np.isnan(usual).all():
        return past.onset
    return past.count + int(np.argmin(np.isnan(usual)))
