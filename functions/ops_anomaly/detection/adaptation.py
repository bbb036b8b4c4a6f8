"""The new normal: what has lasted for a day is what the metric is like from now on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection import members as m
from ops_anomaly.detection.periods import MEAN, rebase
from ops_anomaly.detection.seasons import NONE, Usual
from ops_anomaly.detection.types import DAY, HOUR

if TYPE_CHECKING:
    from ops_anomaly.detection.state import State
    from ops_anomaly.detection.types import Floats

LASTS, MIN_STEPS = DAY, 12
CALMER, ROUGHER = 0.2, 10.0
"""By so much, at most, a new normal changes how much the metric is expected to move."""

STEEPEST = 20.0
BETTER = 0.9
CLOCK = 0.4
"""An hour earlier or later must explain half a day so much better."""


def accept(state: State) -> None:
    """Make history of an incident that has lasted."""
    if not state.is_open or state.time - state.began < max(LASTS, MIN_STEPS * state.step):
        return
    since = max(state.began // state.period, state.base)
    if state.member == m.STUCK:
        state.is_stuck_known = True
    else:
        move(state, since)
    at = since - state.base
    state.is_history[at:] |= state.counts[at:] > 0
    state.is_open = False
    state.hour = state.six = 0.0


def move(state: State, since: int) -> None:
    """Move all that was before to the new normal."""
    offset, factor = transfer(state, since)
    rebase(state, since, offset, factor)
    state.centre = offset + factor * state.centre
    state.levels[:] = state.before[:] = state.slow
    resize(state, min(max(state.rough_now / max(state.rough, 1e-300), CALMER), ROUGHER))
    state.rough = state.rough_now


def transfer(state: State, since: int) -> tuple[float, float]:
    """Return offset and factor that turn what was usual into what is.

    A shift alone, unless a straight line is better by a tenth: traffic that halves for good has
    half the days it had.
    """
    now = np.flatnonzero(state.counts[since - state.base :] > 0) + since
    frozen, state.frozen = state.frozen, since
    old = Usual(state, now).values[:, state.season] + state.slow
    state.frozen = frozen
    new = state.values[MEAN, now - state.base]
    centred = old - old.mean()
    square = float((centred * centred).sum())
    shift = middle(new - old)
    if square <= 0.0:
        return shift, 1.0
    factor = min(max(float((centred * new).sum()) / square, 0.0), STEEPEST)
    offset = middle(new - factor * old)
    misfit = np.abs(new - offset - factor * old).sum()
    return (offset, factor) if misfit < BETTER * np.abs(new - shift - old).sum() else (shift, 1.0)


def adapt_to_clock(state: State) -> None:
    """Move all periods by an hour where the last half day is an hour early or late.

    Clocks that are changed for summer change what is usual at every time of day.
    """
    hour = HOUR // state.period
    if state.season == NONE or not hour:
        return
    at = np.flatnonzero(state.counts[-12 * hour :] > 0) + max(len(state.counts) - 12 * hour, 0)
    now, values = at + state.base, state.values[MEAN, at] - state.slow
    if len(now) < 12:
        return
    usual = [Usual(state, now + late).values[:, state.season] for late in (0, hour, -hour)]
    errors = [float(np.abs(values - each).mean()) for each in usual]
    best = 1 + int(errors[2] < errors[1])
    if errors[best] < CLOCK * errors[0]:
        state.levels += usual[0][-1] - usual[best][-1]
        state.before += usual[0][-1] - usual[best][-1]
        shift_by(state, -hour if best == 1 else hour)


def shift_by(state: State, later: int) -> None:
    """Move all periods by so many; what would be in the future goes."""
    state.base += later
    if later > 0:
        state.values, state.counts = state.values[:, :-later].copy(), state.counts[:-later].copy()
        state.is_history = state.is_history[:-later].copy()


def middle(numbers: Floats) -> float:
    """Return the upper median."""
    return float(np.sort(numbers)[numbers.size // 2])


def resize(state: State, factor: float) -> None:
    """Scale what was learnt of the metric's size of movement."""
    state.maxima[:, list(m.VALUE)] *= factor
    state.maxima[:, m.RESTLESS] += 2.0 * math.log(factor)
    state.maxima[:, m.CALM] -= 2.0 * math.log(factor)
    state.errors *= factor
    state.misfits *= factor
    state.moves *= factor**2
