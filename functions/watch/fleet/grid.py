"""What the watcher remembers of a metric: its last readings, a slot a period, and its incidents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from watch.clock import floor_to
from watch.fleet.incident import Course

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.interface import Floats
    from detector.past import Integers
    from registry.history import Readings
    from registry.metric import Metric

SETTLING_SECONDS = 60
"""A period is asked for when it has been over for so long: until then its value may change."""

LATE = 12
"""Periods that are asked for again each time: a reading that comes this late is still judged."""

FIRST_LOOK = 3
"""Of a metric that is new, so many of the last periods are judged; what came before teaches."""


@dataclass(frozen=True)
class Grid:
    """The last readings of a metric.

    Attributes
    ----------
    start : int
        When the first slot begins, in seconds since 1970: a multiple of the metric's period.
    values : (n,) float64
        A slot a period up to where CloudWatch has been asked; NaN where it had nothing.
    course : Course
        Its incidents.
    since : int
        From when on it is judged, in seconds since 1970; what came before the first look teaches.
    """

    metric: Metric
    start: int
    values: Floats
    course: Course = field(default_factory=Course)
    since: int = 0

    @classmethod
    def nothing(cls, metric: Metric) -> Self:
        """Return what is remembered of a metric that has not been asked for yet."""
        return cls(metric, 0, np.empty(0))

    @property
    def end(self) -> int:
        """Up to where CloudWatch has been asked, in seconds since 1970."""
        return self.start + len(self.values) * self.metric.period

    @property
    def readings(self) -> tuple[Integers, Floats]:
        """Times in seconds since 1970, and values: (m,) int64 and (m,) float64."""
        there = np.flatnonzero(~np.isnan(self.values))
        return self.start + there * self.metric.period, self.values[there]

    def span(self, now: float, slots: int) -> tuple[int, int] | None:
        """Return from where to where CloudWatch is to be asked now, or None if nothing is due.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        slots : int
            How many periods are to be remembered.
        """
        period = self.metric.period
        end = floor_to(now - SETTLING_SECONDS, period)
        if end <= self.end:
            return None
        behind = slots if len(self.values) < slots else (end - self.end) // period + LATE
        return end - min(behind, slots) * period, end

    def noted(self, readings: Readings, end: int, slots: int) -> tuple[Grid, npt.NDArray[np.bool_]]:
        """Put readings into their slots.

        Parameters
        ----------
        readings
            What CloudWatch gave.
        end : int
            Up to where it was asked.
        slots : int
            How many periods are remembered.

        Returns
        -------
        Grid
            The grid with them; a reading that CloudWatch has corrected is replaced.
        (m,) bool
            Which of its readings are to be judged: those not there before, and not too late.
        """
        period = self.metric.period
        grid = replace(self, start=end - slots * period, values=np.full(slots, np.nan))
        for times, values in (
            self.readings,
            (readings.timestamps.astype(np.int64), readings.values),
        ):
            at = (times - grid.start) // period
            inside = (at >= 0) & (at < slots)
            grid.values[at[inside]] = values[inside]
        judged_from = self.end - LATE * period if len(self.values) else end - FIRST_LOOK * period
        grid = replace(grid, since=self.since or judged_from)
        times, _ = grid.readings
        return grid, (times >= judged_from) & ~np.isin(times, self.readings[0])
