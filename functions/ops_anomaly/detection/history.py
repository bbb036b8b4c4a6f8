"""Blocks of readings between two refreshes of what changes slowly.

Scale, sampling step and calibration are taken from everything before a block and hold for all of
it. Where blocks begin depends on how many readings came before and on nothing else, so a series
scores the same in one piece, point by point, or in chunks of any size.

The past of a series: the last readings, and what was computed of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ops_anomaly.detection.types import FLOAT32_MAX, CorruptArtifactError, RawTensor, expect, whole

if TYPE_CHECKING:
    from ops_anomaly.detection.tails import Calibration
    from ops_anomaly.detection.types import Floats, Integers


BLOCK = 128
"""Readings in a block; the first ones are shorter: they begin at 0, 1, 2, 4, 8, 16, 32, 64."""

HISTORY = 8_064
"""Readings before its block that a reading is compared with: four weeks at 5 minutes."""


def block_start(index: int) -> int:
    """Return where the block of a reading begins.

    Examples
    --------
    >>> [block_start(index) for index in (0, 1, 3, 100, 127, 128, 300)]
    [0, 1, 2, 64, 64, 128, 256]
    """
    if index >= BLOCK:
        return index - index % BLOCK
    return 1 << (index.bit_length() - 1) if index else 0


@dataclass(frozen=True)
class Block:
    """Where a block lies among the readings at hand.

    Attributes
    ----------
    oldest : int
        The first reading that those of the block are compared with.
    start : int
        The block's first reading: those before it are what it is calibrated on.
    new : int
        Its first reading that is yet to be judged.
    stop : int
        Behind its last one.
    """

    oldest: int
    start: int
    new: int
    stop: int


def blocks(first: int, stop: int, offset: int) -> Iterator[Block]:
    """Yield the blocks of readings `first` to before `stop`.

    Parameters
    ----------
    first, stop : int
        Counted from the first reading ever seen.
    offset : int
        How many of those readings are no longer at hand; a block's places are counted from there.
    """
    start = block_start(first)
    while start < stop:
        end = start + BLOCK if start >= BLOCK else max(1, 2 * start)
        yield Block(
            oldest=max(0, start - HISTORY - offset),
            start=start - offset,
            new=max(start, first) - offset,
            stop=min(end, stop) - offset,
        )
        start = end


DISTANCES = ("value", "residual", "run of values", "run of residuals")
"""The columns of the distances: how far the nearest like it was that came before."""

OWN = 2
"""So many of them, the first, are about the reading itself."""

PLAIN = 0
"""The one that needs neither a seasonal reference nor a run."""

PAST_LAYOUT: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "times": ("I64", (None,)),
    "values": ("F64", (None,)),
    "residuals": ("F64", (None,)),
    "distances": ("F64", (None, len(DISTANCES))),
    "isolation": ("F64", (None,)),
}

LIMITS = {
    "times": (-(2**47), 2**47),  # some 4,000 years around 1970, in milliseconds
    "values": (-FLOAT32_MAX, FLOAT32_MAX),
    "residuals": (-2 * FLOAT32_MAX, 2 * FLOAT32_MAX),
    "distances": (0.0, 1e60),
    "isolation": (0.0, 1.0),
}


@dataclass(frozen=True)
class Past:
    """The last readings and what was computed of them, back to where a block can begin anew.

    Attributes
    ----------
    offset : int
        How many readings came before the first one here.
    onset : int
        How many readings came before the first one with a seasonal reference; -1 while none has.
    times : (n,) int64
        Milliseconds since 1970.
    values, residuals : (n,) float64
    distances : (n, 4) float64
        See `DISTANCES`; in units of the scale at the time.
    isolation : (n,) float64
        The forest's scores of the distances; 0 without a forest.
    calibration : Calibration or None
        Of the block that the last reading belongs to, where it is known: it spares the next
        reading some time, and changes nothing.
    """

    offset: int
    onset: int
    times: Integers
    values: Floats
    residuals: Floats
    distances: Floats
    isolation: Floats
    calibration: Calibration | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def nothing(cls) -> Self:
        """Return the past of a series that is only about to begin."""
        none = np.empty(0)
        return cls(0, -1, np.empty(0, np.int64), none, none, np.empty((0, len(DISTANCES))), none)

    @property
    def count(self) -> int:
        """How many readings have been seen since the series began."""
        return self.offset + len(self.times)

    def check(self) -> None:
        """Raise `CorruptArtifactError` unless the arrays are what a past can hold."""
        for name, (low, high) in LIMITS.items():
            array = getattr(self, name)
            if len(array) != len(self.times) or not ((array >= low) & (array <= high)).all():
                raise CorruptArtifactError(f"tensor {name}: too long, too short, or out of limits")
        if (np.diff(self.times) <= 0).any():
            raise CorruptArtifactError("tensor times: they do not increase")

    @property
    def nbytes(self) -> int:
        """Size of its arrays in memory."""
        return sum(getattr(self, name).nbytes for name in PAST_LAYOUT)

    def trimmed(self) -> Self:
        """Return the part that what comes next can depend on."""
        trimmed = self._without(max(0, block_start(self.count) - HISTORY) - self.offset)
        return trimmed.calibrated(self.calibration)  # which rests on nothing that went

    def calibrated(self, calibration: Calibration | None) -> Self:
        """Return the same past, with what is known of its last block."""
        past = replace(self)
        object.__setattr__(past, "calibration", calibration)  # derived, so no part of the value
        return past

    def last(self, readings: int) -> Self:
        """Return the part of the last so many readings."""
        return self._without(len(self.times) - readings)

    def _without(self, drop: int) -> Self:
        """Return what is left without the first readings."""
        if drop <= 0:
            return self
        return replace(
            self,
            offset=self.offset + drop,
            times=self.times[drop:].copy(),
            values=self.values[drop:].copy(),
            residuals=self.residuals[drop:].copy(),
            distances=self.distances[drop:].copy(),
            isolation=self.isolation[drop:].copy(),
        )


def restore_past(tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Past:
    """Rebuild a past from an artifact.

    Raises
    ------
    CorruptArtifactError
        If its arrays are not equally long, too long, out of their limits or out of order.
    """
    expect(tensors, PAST_LAYOUT)
    arrays = {name: tensors[name].to_numpy() for name in PAST_LAYOUT}
    count = len(arrays["times"])
    past = Past(
        offset=whole(parameters, "offset", 0),
        onset=whole(parameters, "onset", -1),
        **arrays,
    )
    past.check()
    kept = max(0, block_start(past.count) - HISTORY)
    if count > HISTORY + BLOCK or past.offset > kept:
        raise CorruptArtifactError(f"a past of {count} readings after {past.offset} is not whole")
    return past
