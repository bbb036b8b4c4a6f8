"""The last four weeks of a metric, in periods: what it was, and which of it counts as ordinary.

A period is as long as a step, five minutes at least, and holds mean, lowest and highest reading, so
that four weeks take the same memory at ten seconds and at five minutes. Incidents are kept, but do
not count as history until they have become the new normal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.types import DAY, MINUTE

if TYPE_CHECKING:
    from ops_anomaly.detection.state import State
    from ops_anomaly.detection.types import Floats, Mask

MEAN, LOW, HIGH = 0, 1, 2
KEPT_DAYS = 29
"""Four weeks, and the current day."""

WIDTHS = tuple(m * MINUTE for m in (5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440))
FIRST_READINGS = 64
"""Of which the width is chosen anew while they come in."""


def periods_a_day(state: State) -> int:
    """Return how many periods a day has."""
    return DAY // state.period


def begin(state: State, time: int, value: float) -> None:
    """Begin with the first reading of a metric, which is yet to be added."""
    state.first = state.time = state.changed = time
    state.value = state.centre = state.lowest = state.highest = value
    state.base = state.frozen = time // state.period
    state.values, state.counts = np.full((3, 1), np.nan), np.zeros(1)
    state.is_history = np.zeros(1, bool)


def add(state: State, period: int, value: float, until: int, *, is_ordinary: bool) -> None:
    """Put a reading into its period; one that is not ordinary spoils it as history.

    Periods are appended up to `until`, if that is not too far.
    """
    if period - state.base >= len(state.counts):
        is_near = until - period < KEPT_DAYS * periods_a_day(state)
        append_empty(state, period)
        append_empty(state, until if is_near else period)
    at, cells = period - state.base, state.values
    seen = float(state.counts[at])
    state.counts[at] = seen + 1.0
    if not seen:
        cells[MEAN, at] = cells[LOW, at] = cells[HIGH, at] = value
        state.is_history[at] = is_ordinary
        return
    mean = float(cells[MEAN, at])
    cells[MEAN, at] = mean + (value - mean) / (seen + 1.0)
    cells[LOW, at], cells[HIGH, at] = min(cells[LOW, at], value), max(cells[HIGH, at], value)
    if not is_ordinary:
        state.is_history[at] = False


def append_empty(state: State, period: int) -> None:
    """Append empty periods up to this one; after a gap of a month, begin anew."""
    more = period - state.base - len(state.counts) + 1
    if more > KEPT_DAYS * periods_a_day(state):
        state.base, more = period, 1
        state.values, state.counts = np.empty((3, 0)), np.empty(0)
        state.is_history = np.empty(0, bool)
    if more > 0:
        state.values = np.concatenate([state.values, np.full((3, more), np.nan)], axis=1)
        state.counts = np.concatenate([state.counts, np.zeros(more)])
        state.is_history = np.concatenate([state.is_history, np.zeros(more, bool)])


def mark(state: State, start: int, stop: int, *, is_ordinary: bool) -> None:
    """Put the periods of the times from start to stop into history, or take them out."""
    first = max(start // state.period - state.base, 0)
    part = slice(first, max(stop // state.period - state.base + 1, 0))
    state.is_history[part] = is_ordinary & (state.counts[part] > 0)


def trim(state: State) -> None:
    """Drop what no season reaches back to."""
    drop = len(state.counts) - KEPT_DAYS * periods_a_day(state)
    if drop > 0:
        state.values, state.counts = state.values[:, drop:].copy(), state.counts[drop:].copy()
        state.is_history, state.base = state.is_history[drop:].copy(), state.base + drop


def known(state: State) -> Mask:
    """Return which periods hold ordinary readings: (periods,)."""
    return state.is_history & (state.counts > 0)


def fit_width(state: State) -> None:
    """Make periods as wide as a step, while a metric is new."""
    width = next((w for w in WIDTHS if w >= 0.95 * state.step), WIDTHS[-1])
    if width <= state.period or state.count > FIRST_READINGS:
        return
    at = np.flatnonzero(state.counts > 0)
    places = (at + state.base) * state.period // width
    values, ordinary = state.values[MEAN, at], state.is_history[at]
    state.period = width
    state.base = int(places[0])
    state.values, state.counts = np.empty((3, 0)), np.empty(0)
    state.is_history = np.empty(0, bool)
    for place, value, is_ordinary in zip(places.tolist(), values.tolist(), ordinary, strict=True):
        add(state, place, value, place, is_ordinary=bool(is_ordinary))


def level_and_range(state: State) -> tuple[float, float, float]:
    """Return the median of the last week, and the lowest and highest ordinary reading."""
    use = known(state)
    week = state.values[MEAN, -7 * periods_a_day(state) :][use[-7 * periods_a_day(state) :]]
    if not week.size:
        return state.centre, state.lowest, state.highest
    middle = float(np.sort(week)[week.size // 2])
    seen = state.counts > 0  # incidents too: what comes again is not new
    return middle, float(state.values[LOW][seen].min()), float(state.values[HIGH][seen].max())


def rebase(state: State, stop: int, offset: float, factor: float) -> None:
    """Move what was before period `stop` to a new normal."""
    before: Floats = state.values[:, : max(stop - state.base, 0)]
    before *= factor
    before += offset
