"""The history of a series: its last readings, and what was usual at a reading's time.

What changes slowly (the scale, the sampling step, the calibration) is refreshed at the start of
each block of readings, from the history before it. Where blocks start depends only on how many
readings there were, so a series scores the same in one piece, point by point, or in chunks of any
size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ops_anomaly.detection.tails import median
from ops_anomaly.detection.types import (
    DAY,
    FLOAT32_MAX,
    MINUTE,
    CorruptArtifactError,
    RawTensor,
    Stored,
    expect,
    whole,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.tails import Calibration
    from ops_anomaly.detection.types import Floats, Integers


BLOCK = 128
"""Readings in a block; the first ones are shorter: they start at 0, 1, 2, 4, 8, 16, 32, 64."""

MAX_HISTORY = 8_064
"""Readings before its block that a reading is compared with: four weeks at 5 minutes."""

DISTANCES = ("value", "residual", "subsequence of residuals")
"""The columns of the distances: how far the nearest like it is in the history."""

VALUE = 0
POINTWISE = slice(0, 2)
"""Those of the reading alone; `VALUE` needs no seasonal reference either."""

LAYOUT: dict[str, tuple[str, tuple[int | None, ...]]] = {
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

STEP_READINGS = 256

DAYS = np.array([1, 2, 3, 4, 5, 6, 7, 14, 21])
"""How many days earlier the same time is searched for."""

DAILY, WEEKLY = slice(0, 7), slice(6, 9)
"""Which of them are the season's."""

MIN_TOLERANCE = 10 * MINUTE
MAX_SEASON_READINGS = 128
"""Readings of one season that a median takes: of a dense series, those next to the same time."""

MAX_PADDED = 16_384
"""Readings laid out together for the medians: what fits the processor's second cache."""


@dataclass(frozen=True)
class Block:
    """The positions of a block among the readings that are stored.

    Attributes
    ----------
    oldest : int
        The first reading that those of the block are compared with.
    start : int
        The block's first reading: it is calibrated on those before it.
    new : int
        Its first reading that has no score yet.
    stop : int
        Behind its last one.
    """

    oldest: int
    start: int
    new: int
    stop: int


def block_start(index: int) -> int:
    """Return where the block of a reading starts.

    Examples
    --------
    >>> [block_start(index) for index in (0, 1, 3, 100, 127, 128, 300)]
    [0, 1, 2, 64, 64, 128, 256]
    """
    if index >= BLOCK:
        return index - index % BLOCK
    return 1 << (index.bit_length() - 1) if index else 0


def blocks(first: int, stop: int, dropped: int) -> Iterator[Block]:
    """Yield the blocks of readings `first` to before `stop`.

    Parameters
    ----------
    first, stop : int
        Counted from the first reading ever seen.
    dropped : int
        How many of the first readings are no longer stored.
    """
    start = block_start(first)
    while start < stop:
        end = start + BLOCK if start >= BLOCK else max(1, 2 * start)
        yield Block(
            oldest=max(0, start - MAX_HISTORY - dropped),
            start=start - dropped,
            new=max(start, first) - dropped,
            stop=min(end, stop) - dropped,
        )
        start = end


@dataclass(frozen=True)
class History:
    """The last readings with their distances, as far back as the next score depends on them.

    Attributes
    ----------
    dropped : int
        How many readings came before the first one here.
    first_seasonal : int
        Index of the first reading with a seasonal reference, counted from the first reading ever
        seen; -1 as long as there is none.
    times : (n,) int64
        Milliseconds since 1970.
    values, residuals : (n,) float64
    distances : (n, 4) float64
        See `DISTANCES`; in units of the scale at the time.
    isolation : (n,) float64
        The isolation forest's scores of the distances; 0 without one.
    calibration : Calibration or None
        Of the last reading's block, where it is known: it saves the next reading some time, and
        changes nothing.
    """

    dropped: int
    first_seasonal: int
    times: Integers
    values: Floats
    residuals: Floats
    distances: Floats
    isolation: Floats
    calibration: Calibration | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def empty(cls) -> Self:
        """Return the history of a series without readings."""
        none = np.empty(0)
        return cls(0, -1, np.empty(0, np.int64), none, none, np.empty((0, len(DISTANCES))), none)

    @property
    def count(self) -> int:
        """How many readings there were since the series began."""
        return self.dropped + len(self.times)

    @property
    def next_time(self) -> int:
        """When the next reading is due, in milliseconds since 1970."""
        if not len(self.times):
            return 0
        return int(self.times[-1]) + max(int(usual_step(self.times)), 1)

    def trimmed(self) -> Self:
        """Return the part that later scores can depend on."""
        drop = max(0, block_start(self.count) - MAX_HISTORY) - self.dropped
        if drop <= 0:
            return self
        rest = {name: getattr(self, name)[drop:].copy() for name in LAYOUT}
        trimmed = replace(self, dropped=self.dropped + drop, **rest)
        return trimmed.calibrated(self.calibration)  # which depends on nothing that was dropped

    def calibrated(self, calibration: Calibration | None) -> Self:
        """Return the same history with the calibration of its last block."""
        history = replace(self)
        object.__setattr__(history, "calibration", calibration)  # derived: not part of the value
        return history

    def stored(self) -> Stored:
        """Return the stored form."""
        return Stored(
            {name: getattr(self, name) for name in LAYOUT},
            {"dropped": self.dropped, "first_seasonal": self.first_seasonal},
        )

    @classmethod
    def restore(cls, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Rebuild a history from its stored form.

        Raises
        ------
        CorruptArtifactError
            If its arrays are not equally long, too long, out of their limits or out of order.
        """
        expect(tensors, LAYOUT)
        history = cls(
            dropped=whole(parameters, "dropped", 0),
            first_seasonal=whole(parameters, "first_seasonal", -1),
            **{name: tensors[name].to_numpy() for name in LAYOUT},
        )
        history._check()
        return history

    def _check(self) -> None:
        """Raise `CorruptArtifactError` unless the arrays are those of a trimmed history."""
        count = len(self.times)
        for name, (low, high) in LIMITS.items():
            array = getattr(self, name)
            if len(array) != count or not ((array >= low) & (array <= high)).all():
                raise CorruptArtifactError(f"tensor {name}: wrong length, or out of limits")
        if (np.diff(self.times) <= 0).any():
            raise CorruptArtifactError("tensor times: not increasing")
        kept_from = max(0, block_start(self.count) - MAX_HISTORY)
        if count > MAX_HISTORY + BLOCK or self.dropped > kept_from:
            raise CorruptArtifactError(
                f"a history of {count} readings after {self.dropped} is incomplete or too long"
            )


def usual_step(times: Integers) -> float:
    """Return the median distance of the last readings, in milliseconds; 0 of fewer than two."""
    steps = np.diff(times[-STEP_READINGS:])
    return median(steps) if steps.size else 0.0


def references(
    times: Integers, values: Floats, first: int, oldest: Integers, steps: Floats
) -> Floats:
    """Return what was usual at the time of each reading, from reading `first` on.

    The reference of a season is the median of the readings within a tolerance of the same time,
    one, two, ... seasons earlier; of the daily and the weekly one, the closer one counts.

    Parameters
    ----------
    times : (n,) int64, increasing
        Milliseconds.
    values : (n,) float64
    oldest : (n - first,) int64
        For each reading, the first index that it may be compared with.
    steps : (n - first,) float64
        For each reading, the usual distance to the next, in milliseconds.

    Returns
    -------
    (n - first,) float64
        NaN where there is no reference yet.
    """
    best: Floats = np.full(len(times) - first, np.nan)
    for reference in seasons(times, values, first, oldest, steps):
        best = closer(values[first:], reference, best)
    return best


def seasons(
    times: Integers, values: Floats, first: int, oldest: Integers, steps: Floats
) -> list[Floats]:
    """Return the daily and the weekly reference, (n - first,); parameters as for `references`."""
    tolerances = np.maximum(1.01 * steps, MIN_TOLERANCE).astype(np.int64)
    reach = times[-1] - times[0] + tolerances.max() if len(tolerances) else 0
    lows, counts = windows(times, first, oldest, tolerances, DAYS[reach >= DAYS * DAY])
    return [medians(values, lows[season], counts[season]) for season in (DAILY, WEEKLY)]


def closer(values: Floats, reference: Floats, other: Floats) -> Floats:
    """Return which of two references is closer to each value: (n,) each; NaN where is none."""
    is_closer = np.abs(values - reference) < np.abs(values - other)
    return np.where(is_closer | np.isnan(other), reference, other)


def windows(
    times: Integers, first: int, oldest: Integers, tolerances: Integers, days: Integers
) -> tuple[Integers, Integers]:
    """Return where the readings at the same time so many days earlier start, and their counts.

    Parameters as for `references`; `tolerances` in milliseconds.

    Returns
    -------
    (days, n - first) int64 each
    """
    moments = times[first:] - DAY * days[:, np.newaxis]
    lows = np.maximum(np.searchsorted(times, moments - tolerances, "left"), oldest)
    index = np.arange(first, len(times))
    highs = np.minimum(np.searchsorted(times, moments + tolerances, "right"), index)
    spare = np.maximum(highs - lows - MAX_SEASON_READINGS, 0)
    lows, highs = lows + spare // 2, highs - (spare + 1) // 2
    return lows, np.maximum(highs - lows, 0)


def medians(values: Floats, lows: Integers, counts: Integers) -> Floats:
    """Return the median of values[low : low + count], pooled over each column: (k, m) -> (m,).

    NaN where there are none.
    """
    found = np.full(lows.shape[1], np.nan)
    width = int(counts.max(initial=0))
    rows = max(1, MAX_PADDED // max(1, len(lows) * width))
    for start in range(0, len(found) if width else 0, rows):
        part = slice(start, start + rows)
        found[part] = padded_medians(values, lows[:, part], counts[:, part], width)
    return found


def padded_medians(values: Floats, lows: Integers, counts: Integers, width: int) -> Floats:
    """Return the medians as `medians`, of windows padded to one width."""
    steps = np.arange(width)[:, np.newaxis, np.newaxis]
    picked = values.take(lows + steps, mode="clip")
    np.copyto(picked, np.inf, where=steps >= counts)  # sorted behind everything that counts
    ordered = np.sort(picked.reshape(-1, lows.shape[1]).T, axis=1)
    total = counts.sum(axis=0)
    row = np.arange(len(ordered))
    lower = ordered[row, np.maximum(total - 1, 0) // 2]
    upper = ordered[row, np.minimum(total // 2, ordered.shape[1] - 1)]
    return np.where(total > 0, 0.5 * lower + 0.5 * upper, np.nan)
