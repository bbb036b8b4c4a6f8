"""What is usual at a time: the same time on like days, by the season that explains most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.members import SEASONAL
from ops_anomaly.detection.periods import HIGH, LOW, MEAN, periods_a_day
from ops_anomaly.detection.types import DAY

if TYPE_CHECKING:
    from ops_anomaly.detection.state import State
    from ops_anomaly.detection.types import Floats, Integers, Mask

NONE, DAILY, WEEKENDS, WEEKLY = range(4)
LIKE_DAYS = 7
"""Like days that count, at most: enough for a median that one odd day does not move."""

MIN_DAYS = np.array([2, 2, 1])
"""Like days without which a season says nothing."""

PARTS = 56
"""Parts of six hours, two weeks, over which seasons are compared."""

MIN_PARTS = np.array([8, 8, 8, 28])
GAIN = 0.9
"""A season must explain the last weeks so much better than a simpler one."""

KEEP = 1.03
"""A season in use goes only if it explains hardly anything more than a simpler one."""

NEVER = 1_000_000


def is_weekend(days: Integers) -> Mask:
    """Return which days since 1970, a Thursday, are Saturdays or Sundays."""
    return (days + 3) % 7 >= 5


def like_days() -> Integers:
    """Return how many days back the days like each weekday are: (7, 3, LIKE_DAYS)."""
    table = np.full((7, 3, LIKE_DAYS), NEVER)
    back = np.arange(1, 29)
    for day in range(7):
        alike = back[is_weekend(day - back) == is_weekend(np.array(day))]
        table[day, 0] = back[:LIKE_DAYS]
        table[day, 1] = alike[:LIKE_DAYS]
        table[day, 2, :4] = 7 * back[:4]
    return table


LIKE = like_days()


class Usual:
    """What is usual at some periods, as known when the block began.

    Attributes
    ----------
    values : (n, 4) float64
        By season; where one says nothing yet, that of the next simpler one.
    is_known : (n, 4) bool
    is_new_day : (n,) bool
        Of the first weekend, or the first weekdays: too little like it has been seen.
    """

    def __init__(self, state: State, periods: Integers) -> None:
        self._state = state
        days = periods * state.period // DAY
        back = LIKE[days % 7] * periods_a_day(state)
        self._at = periods[:, np.newaxis, np.newaxis] - back - state.base
        self._stop = min(state.frozen - state.base, len(state.counts))
        cells, is_good = self._cells(MEAN, self._at, np.inf)
        self.values, self.is_known = medians(cells, is_good, state.centre)
        self.is_new_day = self.is_known[:, DAILY] & ~self.is_known[:, WEEKENDS]

    def _cells(self, row: int, at: Integers, empty: float) -> tuple[Floats, Mask]:
        """Return values of periods, and where there is history: (...) -> (...)."""
        is_inside = (at >= 0) & (at < self._stop)
        safe = np.where(is_inside, at, 0)
        is_good = is_inside & self._state.is_history[safe]
        return np.where(is_good, self._state.values[row][safe], empty), is_good

    def range(self, season: int) -> tuple[Floats, Floats]:
        """Return lowest and highest of like days, a period earlier or later: (n,), (n,)."""
        count = len(self.values)
        if season == NONE:
            return np.full(count, self._state.lowest), np.full(count, self._state.highest)
        at = self._at[:, season - 1, :, np.newaxis] + np.array([-1, 0, 1])
        middle = self.values[:, season]
        low = self._cells(LOW, at, np.inf)[0].min(axis=(1, 2))
        high = self._cells(HIGH, at, -np.inf)[0].max(axis=(1, 2))
        return np.minimum(low, middle), np.maximum(high, middle)


def medians(cells: Floats, is_good: Mask, centre: float) -> tuple[Floats, Mask]:
    """Return the medians of like days, after the centre: (n, 3, days) -> (n, 4) twice."""
    ordered = np.sort(cells, axis=2)
    count = is_good.sum(axis=2)
    below, above = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, LIKE_DAYS - 1)
    low = np.take_along_axis(ordered, below[..., np.newaxis], 2)[..., 0]
    high = np.take_along_axis(ordered, above[..., np.newaxis], 2)[..., 0]
    is_known = np.ones((len(cells), 4), bool)
    is_known[:, 1:] = count >= MIN_DAYS
    values = np.full((len(cells), 4), centre)
    for season in (DAILY, WEEKENDS, WEEKLY):
        both = is_known[:, season]
        values[:, season] = values[:, season - 1]
        values[both, season] = 0.5 * low[both, season - 1] + 0.5 * high[both, season - 1]
    return values, is_known


def choose(state: State) -> None:
    """Change to the season that explains the last two weeks best, simple ones first."""
    recent = state.misfits[-PARTS:]
    chosen = NONE
    for season in (DAILY, WEEKENDS, WEEKLY):
        if ratio(recent, season, chosen) < GAIN:
            chosen = season
    enough = GAIN if chosen > state.season else KEEP
    if chosen != state.season and ratio(recent, chosen, state.season) < enough:
        change(state, chosen)


def ratio(misfits: Floats, season: int, other: int) -> float:
    """Return the mean error of one season in that of another; infinite while little is known.

    Weekly ones are compared over the same parts of a day; for weekdays and weekends it is evidence
    enough that a daily season fails on the first weekend.
    """
    known = np.isfinite(misfits)
    rows = known[:, season]
    others = rows & known[:, other] if WEEKLY in (season, other) else known[:, other]
    if rows.sum() < MIN_PARTS[season] or not others.any():
        return np.inf
    mean = float(misfits[others, other].mean())
    own = misfits[others if WEEKLY in (season, other) else rows, season]
    return float(own.mean()) / mean if mean > 0.0 else np.inf


def change(state: State, season: int) -> None:
    """Change the season: what was learnt of deviations from the old one is of no use."""
    usual = Usual(state, np.array([state.time // state.period])).values[0]
    moved = usual[state.season] - usual[season]
    state.levels += moved
    state.before += moved
    state.season = season
    state.slow = state.hour = state.six = 0.0
    state.maxima[:, SEASONAL] = np.nan
    state.tops[list(SEASONAL)] = -np.inf
