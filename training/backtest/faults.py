"""The kinds of fault: each a function from a series, a place and a size to readings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.value_range import FLOAT32_MAX
from training.sources.series import Floats

UNLIKE = 3.0
"""A pattern is at the wrong time if it is so many times as unlike what is here as the same time of
the day before is."""

Fault = Callable[[Floats, slice, float, int], Floats]
"""Values of a series (n,), NaN in known incidents; a place of k readings in it; a height in units
of the series; readings a day -> (k,) what to put there."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault, and the sizes at which it is tried.

    Attributes
    ----------
    length : int or None
        Readings that it takes; None where that is its size.
    sizes : tuple of float
        In spreads of the series, or in readings.
    """

    name: str
    fault: Fault
    length: int | None
    sizes: tuple[float, ...]

    def readings(self, size: float) -> int:
        """Return how many readings it takes at a size."""
        return int(size) if self.length is None else self.length


def raised(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Raise the readings."""
    return values[place] + height


def lowered(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Lower the readings."""
    return values[place] - height


def drifting(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Raise the readings more and more, the last one by the whole height."""
    length = place.stop - place.start
    return values[place] + height * np.linspace(1 / length, 1.0, length)


def stuck(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Repeat the reading before."""
    return np.full(place.stop - place.start, values[place.start - 1])


def misplaced(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Repeat that run of the day before that is least like what is here.

    Where the same time of the day before is nearly as unlike, there is no daily pattern that could
    come at the wrong time, and nothing is changed.
    """
    here, yesterday = values[place], place.start - day
    if yesterday < 0 or day < 2 * len(here):
        return here
    runs = np.lib.stride_tricks.sliding_window_view(values[yesterday : place.start], len(here))
    unlike = np.sqrt(((runs - here) ** 2).mean(axis=1))
    most = int(np.nan_to_num(unlike).argmax())  # an incident is no pattern
    return runs[most] if unlike[most] >= UNLIKE * unlike[0] else here


KINDS = (
    Kind("spike", raised, 1, (1.0, 2.0, 4.0)),
    Kind("drop", lowered, 6, (0.5, 1.0, 2.0)),
    Kind("level shift", raised, 36, (0.5, 1.0, 2.0)),
    Kind("flatline", stuck, None, (12, 24, 72)),
    Kind("wrong time", misplaced, None, (12, 24)),
    Kind("slow drift", drifting, 72, (0.5, 1.0, 2.0)),
)

LONGEST = max(kind.readings(size) for kind in KINDS for size in kind.sizes)


@dataclass(frozen=True)
class Ruler:
    """The units of a series: its spread (5-95 % range), and how many readings a day has."""

    spread: float
    day: int


def inject(kind: Kind, size: float, values: Floats, start: int, ruler: Ruler) -> Floats | None:
    """Return what a fault makes of the readings from `start` on, or None if it changes nothing.

    A series that is never negative stays so.
    """
    place = slice(start, start + kind.readings(size))
    floor = 0.0 if np.nanmin(values) >= 0.0 else -FLOAT32_MAX
    faulty = kind.fault(values, place, size * ruler.spread, ruler.day)
    faulty = np.clip(faulty, floor, FLOAT32_MAX)
    return None if np.array_equal(faulty, values[place]) else faulty
