"""Each member's threshold, from how high it scored in this metric's own history.

The highest score of each six hours is kept, without incidents; above a quantile of those the
excess follows a generalised Pareto tail, fitted by probability-weighted moments (Hosking and
Wallis, Technometrics 1987), and the threshold is where it meets the member's share of the false
alerts that are requested. While the history is short, a prior in units of the metric's own noise
weighs in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection import members as m
from ops_anomaly.detection.types import DAY, HOUR, WEEK

if TYPE_CHECKING:
    from ops_anomaly.detection.state import State
    from ops_anomaly.detection.types import Floats, Mask

PART = 6 * HOUR
PARTS_KEPT = 224
"""Eight weeks of them."""

TAIL_PARTS = 30
"""The tail begins where so many parts are above it, or at the median of fewer than 60."""

PRIOR_PARTS = 8.0
"""The prior weighs as much as two days."""

SHAPE_SHARE, SHAPE_PARTS, SHAPES = 0.5, 10.0, (-0.2, 0.5)
"""How far a fitted shape is trusted: half, less of few parts, within bounds; tails of operations
metrics are heavier than exponential, but every metric has too few extremes to show by how much."""

MIN_READINGS = 12
"""Before the first dozen no member raises an alert."""

SURE_READINGS = 19
"""From the block on that begins after so many, what is gross is found; before, it may be."""

NEW, NEW_STEPS = 3 * DAY, 24
"""So long only forecasts raise alerts: one or two days do not show what is usual at a time."""

NEW_FACTOR = 1.25
"""Until then, a forecast must miss by so many times the range seen; scores are kept as if it need
not, so that an early incident does not raise thresholds for weeks."""

MIN_NOVEL, MAX_NOVEL = 3.0, 15.0
"""In nats, of a score that is calibrated already: one reading in twenty, one in three million.
The upper one was set so that 2 % CPU is an anomaly to the demo's model, and on nothing else."""

RANGE = (m.NEW_HIGH, m.NEW_LOW)

MIN_STUCK = math.log1p(4.0)
"""Four steps without a change are no news of any metric."""

WARM_UP = DAY
"""Scores before it are not kept, but for those of forecasts."""

GAUSS = 1.2533
"""Standard deviation of a normal distribution in mean absolute deviations."""

ROUNDING = 4e-9
"""Differences below so much of the greatest value are rounding."""


def noise(state: State) -> tuple[float, float]:
    """Return the standard error of forecasts, and the deviation from what is usual."""
    error = GAUSS * float(state.errors[state.best]) * (1.0 + 8.0 / max(state.learnt, 1))
    recent = state.misfits[-56:, state.season]
    recent = recent[np.isfinite(recent)]
    deviation = GAUSS * float(recent.mean()) if recent.size else error
    floor = rounding(state)
    return max(error, floor), max(deviation, floor)


def rounding(state: State) -> float:
    """Return the least difference that means anything."""
    size = ROUNDING / 4 * max(abs(state.lowest), abs(state.highest), 1e-140)
    return max(size, 0.1 * state.quantum) if state.quantum < 1e300 else size


def prior(state: State) -> tuple[Floats, Floats, Floats]:
    """Return where tails begin, their mean excess, and the least of it: (members,) each."""
    error, usual = noise(state)
    size = 2.0 * math.log(error)
    new = max(0.05 * (state.highest - state.lowest), error)  # of new highs and lows
    start = [3.5 * error] * 2 + [2 * usual] * 2 + [3 * usual] * 4
    start += [size + 1.0, 1.0 - size, math.log(3.0), 0.0, 0.0, 3.0]
    mean = (
        [0.5 * error] * 2
        + [0.5 * usual] * 2
        + [0.35 * usual] * 4
        + [0.25, 0.25, 0.15, new, new, 1.0]
    )
    least = [0.5 * error] * 2 + [0.3 * usual] * 2 + [0.1 * usual] * 4
    least += [0.2, 0.2, 0.25, 0.3 * new, 0.3 * new, 0.5]
    return np.array(start), np.array(mean), np.array(least)


def refresh(state: State) -> None:
    """Set the thresholds of the next block."""
    start, mean, least = prior(state)
    blocks_a_week = min(WEEK / PART, WEEK / state.step) if state.step else WEEK / PART
    members = m.COUNT if state.has_novelty else m.COUNT - 1
    chance = state.sensitivity / members / blocks_a_week
    for member in range(m.COUNT):
        maxima = state.maxima[:, member]
        if member in RANGE:  # what is within the range is not the tail of what is beyond it
            maxima = np.where(np.isfinite(maxima), np.maximum(maxima, 0.0), maxima)
        tail = fit(maxima, start[member], mean[member])
        excess = max(tail.mean, least[member], 0.08 * tail.start if member in m.VALUE else 0.0)
        state.starts[member] = tail.start
        state.recorded[member] = tail.start + excess * tail.reach(chance)
    bound_from_below(state)
    state.thresholds = np.where(is_able(state), state.recorded, np.inf)
    if is_new(state):
        quantum = state.quantum if state.quantum < 1e300 else 0.0
        far = NEW_FACTOR * (state.highest - state.lowest + quantum)
        state.thresholds[:2] = np.maximum(state.thresholds[:2], far)


class Tail:
    """Where the tail begins, its mean excess, the share of parts beyond, its shape."""

    def __init__(self, start: float, mean: float, share: float, shape: float) -> None:
        self.start, self.mean, self.share, self.shape = start, mean, share, shape

    def reach(self, chance: float) -> float:
        """Return how many mean excesses from the start a part passes with this chance."""
        nats = max(math.log(self.share / chance), 0.0)
        if not self.shape:
            return nats
        return (1.0 - self.shape) * math.expm1(self.shape * nats) / self.shape


def fit(maxima: Floats, start: float, mean: float) -> Tail:
    """Fit a tail to the highest scores of parts; NaN and infinite ones are none: (p,)."""
    scores = np.sort(maxima[np.isfinite(maxima)])
    count = scores.size
    if not count:
        return Tail(start, mean, 0.5, 0.0)
    level = min(max(1.0 - TAIL_PARTS / count, 0.5), 0.95)
    seen = float(scores[int(level * count)])
    half = PRIOR_PARTS / 2
    weight = count / (count + half)
    start = weight * seen + (1.0 - weight) * max(start, seen)
    excess = scores[scores.searchsorted(start, "right") :] - start
    mean = (float(excess.sum()) + half * mean) / (excess.size + half)
    share = (excess.size + PRIOR_PARTS * (1.0 - level)) / (count + PRIOR_PARTS)
    return Tail(start, mean, min(max(share, 1e-3), 1.0), shape_of(excess))


def shape_of(excess: Floats) -> float:
    """Return the shape of sorted excesses, drawn towards an exponential tail: (n,)."""
    count = excess.size
    if count < 5:
        return 0.0
    mean = float(excess.mean())
    weighted = float((excess * (1.0 - (np.arange(count) + 0.65) / count)).mean())
    shape = 2.0 - mean / max(mean - 2.0 * weighted, 1e-300)
    return min(max(SHAPE_SHARE * shape * count / (count + SHAPE_PARTS), SHAPES[0]), SHAPES[1])


def bound_from_below(state: State) -> None:
    """Keep thresholds above rounding and half a quantum, and novelty within its calibration."""
    quantum = state.quantum if state.quantum < 1e300 else 0.0
    values = list(m.VALUE)
    least = max(0.5 * quantum, 4.0 * rounding(state))
    state.recorded[values] = np.maximum(state.recorded[values], least)
    state.recorded[m.STUCK] = max(state.recorded[m.STUCK], MIN_STUCK)
    state.recorded[m.NOVEL] = min(max(state.recorded[m.NOVEL], MIN_NOVEL), MAX_NOVEL)


def is_new(state: State) -> bool:
    """Return whether what is usual at a time can't be known yet."""
    return state.time - state.first < max(NEW, NEW_STEPS * state.step)


def is_able(state: State) -> Mask:
    """Return which members know enough: (members,) bool."""
    able = np.full(m.COUNT, not is_new(state))
    able[[m.RISE, m.FALL]] = True
    able[m.NOVEL] &= state.has_novelty
    able[m.STUCK] &= state.changes >= MIN_READINGS and not state.is_stuck_known
    if state.count < MIN_READINGS:
        able[:] = False
    return able


def keep_part(state: State) -> None:
    """Close the current six hours."""
    if np.isfinite(state.tops).any():
        tops = state.tops[np.newaxis]
        state.maxima = np.concatenate([state.maxima, tops])[-PARTS_KEPT:]
        sums, counts = state.misfit
        misfit = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
        state.misfits = np.concatenate([state.misfits, misfit[np.newaxis]])[-PARTS_KEPT:]
    state.tops = np.full(m.COUNT, -np.inf)
    state.misfit = np.zeros((2, 4))
