"""Putting readings as they come into the order that detectors need, and saying what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.types import EPOCH_UNITS, MAX_EPOCH, MIN_EPOCH, Detection, Series

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers, Mask

GAP = 1.5
"""A step is a gap if it is so many times the usual one."""

MIN_STEPS = 4

IRREGULAR = 0.1
"""A series is irregular if so large a share of its steps is not the usual one, within 5 %."""


@dataclass(frozen=True)
class Timeline:
    """Readings in order of time, one a moment.

    Attributes
    ----------
    series
        Times increase.
    notes : list of str
        What was found and done, for people.
    """

    series: Series
    notes: list[str]


def put_in_order(series: Series, after: int | None) -> Timeline:
    """Sort readings, keep the first of each moment, and leave out those that come too late.

    Parameters
    ----------
    series
        In any order, repeated or not.
    after : int or None
        The end of the history that they follow, milliseconds: what is not later is left out.
    """
    notes: list[str] = []
    earlier = int((np.diff(series.times) < 0).sum())
    if earlier:
        series = series[np.argsort(series.times, kind="stable")]
        notes.append(f"{counted(earlier, 'reading')} came out of order; all were sorted by time.")
    is_first = np.diff(series.times, prepend=series.times[:1] - 1) > 0
    if not is_first.all():
        notes.append(
            f"{counted(int((~is_first).sum()), 'reading')} repeated the time of another; the "
            "first one was kept."
        )
        series = series[is_first]
    if after is not None:
        is_late = series.times <= after
        if is_late.any():
            notes.append(
                f"{counted(int(is_late.sum()), 'reading')} not later than the model's history, "
                f"which ends at {utc(after)}: left out."
            )
            series = series[~is_late]
    return Timeline(series, notes + described_steps(series))


def epoch_unit(number: float) -> str | None:
    """Return the unit of a number since 1970, by its size; None where it is of none.

    Examples
    --------
    >>> [epoch_unit(number) for number in (1393521300, 1393521300000.0, 95)]
    ['seconds', 'milliseconds', None]
    """
    for unit, per_second in EPOCH_UNITS.items():
        if MIN_EPOCH * per_second <= number < MAX_EPOCH * per_second:
            return unit
    return None


def epoch_milliseconds(numbers: Floats, unit: str) -> tuple[Integers, Mask]:
    """Return numbers since 1970 in whole milliseconds, and which are of this unit, both (n,).

    Where one is of another unit its time is 0.
    """
    per_second = EPOCH_UNITS[unit]
    is_unit = (numbers >= MIN_EPOCH * per_second) & (numbers < MAX_EPOCH * per_second)
    times = np.rint(np.where(is_unit, numbers, 0.0) * (1_000 / per_second))
    return times.astype(np.int64), is_unit


def described_steps(series: Series) -> list[str]:
    """Return notes on gaps and on irregular steps."""
    if len(series) <= MIN_STEPS:
        return []  # of so few, none is the usual one
    usual, steps = series.step, np.diff(series.times)
    notes = []
    irregular = float((np.abs(steps - usual) > 0.05 * usual).mean())
    if irregular > IRREGULAR:
        notes.append(
            f"Steps are irregular: {irregular:.0%} are not the usual {duration(usual)}. "
            "Subsequences are compared reading by reading."
        )
    gaps = steps > GAP * usual
    if gaps.any():
        longest = int(steps.argmax())
        notes.append(
            f"{counted(int(gaps.sum()), 'gap')}, the longest {duration(float(steps[longest]))} "
            f"from {utc(int(series.times[longest]))}: nothing was filled in."
        )
    return notes


def evaluation_notes(detection: Detection) -> list[str]:
    """Return a note if there were readings that could not be evaluated yet."""
    count = int((~detection.can_evaluate).sum())
    if not count:
        return []
    return [
        f"{counted(count, 'reading')} could not be evaluated yet: too few came before. Anomalies "
        "among them may have been missed."
    ]


def utc(time: int) -> str:
    """Return a time in milliseconds as ISO 8601, to the second.

    Examples
    --------
    >>> utc(1393521300000)
    '2014-02-27T17:15:00Z'
    """
    return f"{np.datetime_as_string(np.datetime64(time, 'ms'), 's')}Z"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun.

    Examples
    --------
    >>> counted(1, "gap"), counted(2, "gap")
    ('1 gap', '2 gaps')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def confidence(readings: float) -> float:
    """Return the confidence of a detection that rests on so many readings, 0 to 1.

    Scores are calibrated on the upper 2 % of the history. Of n readings that is 0.02 n, and the
    relative standard error of a count k is 1 / sqrt(k).

    Examples
    --------
    >>> [round(confidence(n), 2) for n in (0, 100, 1000, 4000)]
    [0.0, 0.42, 0.78, 0.89]
    """
    return float(1.0 - 1.0 / np.sqrt(1.0 + 0.02 * readings))
