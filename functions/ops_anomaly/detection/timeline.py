"""Putting readings as they come into the order that detectors need, and saying what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.tails import median

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Times


GAP = 1.5
"""A step is a gap if it is so many times the usual one."""

LEAST_STEPS = 4

IRREGULAR = 0.1
"""A series is irregular if so large a share of its steps is not the usual one, within 5 %."""


@dataclass(frozen=True)
class Timeline:
    """Readings in order of time, one a moment.

    Attributes
    ----------
    timestamps : (n,) datetime64[ms], increasing
    values : (n,) float64
    notes : list of str
        What was found and done, for people.
    """

    timestamps: Times
    values: Floats
    notes: list[str]

    @property
    def readings_a_week(self) -> float:
        """How many readings a week has at the usual step; those of 5 minutes for a single one."""
        step_ms = usual_step_ms(self.timestamps) or 300_000.0
        return 7 * 86_400_000 / step_ms


def put_in_order(timestamps: Times, values: Floats, after: np.datetime64 | None) -> Timeline:
    """Sort readings, keep the first of each moment, and leave out those that come too late.

    Parameters
    ----------
    timestamps : (n,) datetime64
        In any order, repeated or not.
    values : (n,) float64
    after : datetime64 or None
        The end of the history they are judged by: what is not later is too late to be judged.
    """
    times = timestamps.astype("datetime64[ms]")
    notes: list[str] = []
    earlier = int((np.diff(times) < np.timedelta64(0, "ms")).sum())
    if earlier:
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        notes.append(
            f"{counted(earlier, 'reading')} came out of order: all were sorted by their time."
        )
    is_first = np.ones(len(times), bool)
    is_first[1:] = np.diff(times) > np.timedelta64(0, "ms")
    if not is_first.all():
        notes.append(
            f"{counted(int((~is_first).sum()), 'reading')} repeated the time of another: the one "
            "that came first was kept."
        )
        times, values = times[is_first], values[is_first]
    if after is not None:
        is_late = times <= after
        if is_late.any():
            notes.append(
                f"{counted(int(is_late.sum()), 'reading')} not later than the model's history, "
                f"which ends at {np.datetime_as_string(after, 's')}Z: left out."
            )
            times, values = times[~is_late], values[~is_late]
    notes += described_steps(times)
    return Timeline(times, values, notes)


def described_steps(times: Times) -> list[str]:
    """Return notes on gaps and on irregular steps."""
    if len(times) <= LEAST_STEPS:
        return []  # of so few, none is the usual one
    usual = usual_step_ms(times)
    steps = np.diff(times).astype(np.int64)
    notes = []
    irregular = float((np.abs(steps - usual) > 0.05 * usual).mean())
    if irregular > IRREGULAR:
        notes.append(
            f"Steps are irregular: {irregular:.0%} are not the usual {duration(usual)}. Runs of "
            "readings are compared reading by reading."
        )
    gaps = steps > GAP * usual
    if gaps.any():
        longest = int(steps.argmax())
        notes.append(
            f"{counted(int(gaps.sum()), 'gap')}, the longest {duration(float(steps[longest]))} "
            f"from {np.datetime_as_string(times[longest], 's')}Z: nothing was filled in."
        )
    return notes


def usual_step_ms(times: Times) -> float:
    """Return the median step in milliseconds; 0 of fewer than two readings."""
    steps = np.diff(times).astype(np.int64)
    return float(median(steps)) if steps.size else 0.0


def counted(count: int, noun: str) -> str:
    """Return a number and its noun.

    Examples
    --------
    >>> counted(1, "gap"), counted(2, "gap")
    ('1 gap', '2 gaps')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def confidence(readings: float) -> float:
    """Return how sure a judgement is that rests on so many readings, 0 to 1.

    Scores are calibrated on the upper 2 % of the past. Of n readings that is 0.02 n, and the
    relative standard error of a count k is 1 / sqrt(k).

    Examples
    --------
    >>> [round(confidence(n), 2) for n in (0, 100, 1000, 4000)]
    [0.0, 0.42, 0.78, 0.89]
    """
    return float(1.0 - 1.0 / np.sqrt(1.0 + 0.02 * readings))
