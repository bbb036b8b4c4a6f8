"""A labelled time series, as every source gives it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ops_anomaly.detection.timeline import utc
from ops_anomaly.detection.types import WEEK, Series
from training import SourceError

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers, Mask

MINUTE_MS = 60_000
DAY_MS = 86_400_000

MIN_LENGTH = 2
"""Readings below which there is no sampling step."""

EXCLUDE = "--exclude"
"""The option that excludes a past incident, as messages name it."""


def no_ranges() -> Integers:
    """Return no range of time: (0, 2) int64."""
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class LabelledSeries:
    """Readings of one metric, and its known incidents.

    All times are milliseconds since 1970, UTC where the source says.

    Attributes
    ----------
    name, origin : str
        The file's name; where it came from, in words.
    series : Series
    labels : (k,) int64 or None
        Times of known anomalies; None where nobody labelled the series.
    windows : (w, 2) int64
        First and last time of each anomaly window.
    left_out : (c, 2) int64
        First and last time of ranges whose readings count as anomalous, but in which nothing is
        to be found: incidents that were excluded, and windows that reach beyond this part of a
        longer series.
    read_as : str
        What a file was read as, in a line for people; empty of other sources.
    """

    name: str
    origin: str
    series: Series
    labels: Integers | None = None
    windows: Integers = field(default_factory=no_ranges)
    left_out: Integers = field(default_factory=no_ranges)
    read_as: str = ""

    def __post_init__(self) -> None:
        if len(self.series) < MIN_LENGTH:
            raise SourceError(
                f"{self.name} has {len(self.series)} readings; at least {MIN_LENGTH} are needed"
            )

    def __len__(self) -> int:
        return len(self.series)

    @property
    def times(self) -> Integers:
        """The readings' times: (n,) int64."""
        return self.series.times

    @property
    def values(self) -> Floats:
        """The readings' values: (n,) float64."""
        return self.series.values

    @property
    def readings_a_week(self) -> float:
        """How many readings a week has at this step."""
        return WEEK / self.series.step

    @property
    def days(self) -> float:
        """How many days of readings there are, at this step."""
        return len(self) * self.series.step / DAY_MS

    @property
    def in_window(self) -> Mask:
        """Which readings are in an anomaly window, or left out: (n,) bool."""
        inside = np.zeros(len(self), bool)
        for first, last in np.concatenate([self.windows, self.left_out]):
            inside |= (self.times >= first) & (self.times <= last)
        return inside

    @property
    def is_label(self) -> Mask:
        """Which readings are labelled as anomalies: (n,) bool."""
        return np.isin(self.times, [] if self.labels is None else self.labels)

    @property
    def normal(self) -> Series:
        """The readings outside of anomaly windows."""
        return self.series[~self.in_window]

    @property
    def digest(self) -> str:
        """SHA-256 of readings, labels and left-out ranges, hexadecimal."""
        parts = [self.times.astype("<i8"), self.values.astype("<f8"), self.windows]
        if self.labels is not None:
            parts.append(self.labels)
        if len(self.left_out):
            parts.append(self.left_out)
        return hashlib.sha256(
            b"|".join(np.ascontiguousarray(part).tobytes() for part in parts)
        ).hexdigest()

    def leaving_out(self, ranges: Integers) -> Self:
        """Return the series with more ranges left out: (c, 2) int64.

        A window that one of them touches is no longer to be found.
        """
        touched = np.zeros(len(self.windows), bool)
        for first, last in ranges:
            touched |= overlapping(self.windows, first, last)
        return replace(
            self,
            windows=self.windows[~touched],
            left_out=np.concatenate([self.left_out, ranges, self.windows[touched]]),
        )

    def part(self, start: int, stop: int) -> Self:
        """Return the readings from `start` to before `stop`, with their labels and windows.

        A window that either end cuts is no longer to be found; see `left_out`.
        """
        first, last = self.times[start], self.times[stop - 1]
        is_reached = overlapping(self.windows, first, last)
        is_whole = (self.windows[:, 0] >= first) & (self.windows[:, 1] <= last)
        labels = self.labels
        if labels is not None:
            labels = labels[(labels >= first) & (labels <= last)]
        still_left_out = self.left_out[overlapping(self.left_out, first, last)]
        return replace(
            self,
            series=self.series[start:stop],
            labels=labels,
            windows=self.windows[is_whole],
            left_out=np.concatenate([still_left_out, self.windows[is_reached & ~is_whole]]),
        )


def overlapping(ranges: Integers, first: int, last: int) -> Mask:
    """Return which ranges, (c, 2), overlap the time from `first` to `last`: (c,) bool."""
    overlap: Mask = (ranges[:, 0] <= last) & (ranges[:, 1] >= first)
    return overlap


def label_windows(labels: Integers, times: Integers) -> Integers:
    """Return a window around each label, as NAB makes them: (k,) -> (k, 2).

    The windows together are as long as 10 % of the series; each label is its window's middle.
    Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015.
    """
    if not len(labels):
        return no_ranges()
    half = int(0.1 * len(times) / len(labels)) // 2
    at = np.searchsorted(times, labels)
    first = times[np.maximum(at - half, 0)]
    last = times[np.minimum(at + half, len(times) - 1)]
    return np.stack([first, last], axis=1)


def parse_time(text: Any, where: str, zone: tzinfo = UTC) -> int:
    """Read a time of ISO 8601.

    Parameters
    ----------
    where
        Where the text was found, for the message.
    zone
        Of a time without an offset.

    Returns
    -------
    int
        Milliseconds since 1970.

    Raises
    ------
    SourceError
        If it isn't a time.

    Examples
    --------
    >>> parse_time("2014-02-27T18:15+01:00", "--exclude")
    1393521300000
    """
    try:
        time = datetime.fromisoformat(text)
        return round(1000 * (time if time.tzinfo else time.replace(tzinfo=zone)).timestamp())
    except (ValueError, TypeError, OverflowError):
        raise SourceError(
            f"{where}: {text!r} is not a time; write it like 2014-02-14T14:30:00"
        ) from None


class TimeRange(NamedTuple):
    """First and last time, milliseconds since 1970."""

    first: int
    last: int


def parse_range(texts: Sequence[str], zone: tzinfo = UTC) -> TimeRange:
    """Read a range from two times of ISO 8601.

    Parameters
    ----------
    zone
        Of times without an offset.

    Raises
    ------
    SourceError
        If one isn't a time, or they are reversed.

    Examples
    --------
    >>> parse_range(("2014-02-27T17:00", "2014-02-27T18:15+01:00"))
    TimeRange(first=1393520400000, last=1393521300000)
    """
    first, last = (parse_time(text, EXCLUDE, zone) for text in texts)
    if first > last:
        raise SourceError(f"{EXCLUDE} {' '.join(texts)}: it ends before it begins; swap the two")
    return TimeRange(first, last)


def exclude(series: LabelledSeries, ranges: Sequence[TimeRange]) -> LabelledSeries:
    """Return the series with the readings of some ranges left out.

    Raises
    ------
    SourceError
        If a range holds none of the readings.
    """
    times = series.times
    for first, last in ranges:
        if not ((times >= first) & (times <= last)).any():
            raise SourceError(
                f"{EXCLUDE} {utc(first)} {utc(last)}: no reading in it; those of {series.name} "
                f"run from {utc(int(times[0]))} to {utc(int(times[-1]))}"
            )
    return series.leaving_out(np.array(ranges, np.int64).reshape(-1, 2))
