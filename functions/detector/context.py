"""What is known of each reading from those before it: residual, distances, what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.blocks import Block, blocks
from detector.nearest import nearest_runs, nearest_values
from detector.past import DISTANCES, Past
from detector.seasonal import references
from detector.tail import quantile

if TYPE_CHECKING:
    from detector.interface import Floats
    from detector.isolation_forest import IsolationForest
    from detector.past import Integers

SCALE_READINGS = 4_000
LEAST_SCALE = 1e-20
"""So that the farthest distance, in units of the scale, is a finite number."""

STEP_READINGS = 256
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
    """

    past: Past
    first: int
    expected: Floats
    lower: Floats
    upper: Floats


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
    usual = usual_values(times, values, first, parts)
    # without a reference there is nothing to deviate from
    residual = np.concatenate(
        [past.residuals, np.where(np.isnan(usual), 0.0, values[first:] - usual)]
    )
    new = np.empty((len(usual), len(DISTANCES)))
    scales, expected, lower, upper = (np.empty(len(usual)) for _ in range(4))
    for part in parts:
        here = slice(part.new - first, part.stop - first)
        of_past, of_block = slice(part.oldest, part.start), slice(part.start, part.stop)
        value_past, residual_past = np.sort(values[of_past]), np.sort(residual[of_past])
        asked = part.new - part.start
        new[here, 0] = nearest_values(value_past, values[of_block], asked)
        new[here, 1] = nearest_values(residual_past, residual[of_block], asked)
        scales[here] = scale(values[of_past])
        expected[here], lower[here], upper[here] = expectation(
            usual[here], value_past, residual_past
        )
    new[:, 2] = nearest_runs(values, first)
    new[:, 3] = nearest_runs(residual, first)
    new /= scales[:, np.newaxis]
    isolation = forest.score_samples(new) if forest else np.zeros(len(new))
    onset = past.onset
    if onset < 0 and not np.isnan(usual).all():
        onset = past.count + int(np.argmin(np.isnan(usual)))
    extended = Past(
        offset=past.offset,
        onset=onset,
        times=times,
        values=values,
        residuals=residual,
        distances=np.concatenate([past.distances, new]),
        isolation=np.concatenate([past.isolation, isolation]),
    )
    return Context(extended, first, expected, lower, upper)


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


def usual_step(times: Integers) -> float:
    """Return the median distance of the last readings, in milliseconds; 0 of fewer than two."""
    gaps = np.diff(times[-STEP_READINGS:])
    return float(np.median(gaps)) if gaps.size else 0.0


def expectation(
    usual: Floats, value_past: Floats, residual_past: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return what was expected of a block, with bounds: (n,) each.

    Where a reading has a seasonal reference, that; else the median of the past.

    Parameters
    ----------
    usual : (n,) float64
        The references of the block; NaN where there is none.
    value_past, residual_past : (p,) float64, sorted
        Of what came before it.
    """
    if not value_past.size:
        return usual, usual, usual
    seasonal = ~np.isnan(usual)
    expected = np.where(seasonal, usual, quantile(value_past, 0.5))
    low, high = (
        np.where(seasonal, expected + quantile(residual_past, share), quantile(value_past, share))
        for share in BOUNDS
    )
    return expected, np.minimum(low, expected), np.maximum(high, expected)
