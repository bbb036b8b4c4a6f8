"""A labelled time series, as every source gives it.

Past incidents that are kept out of training, as ranges of time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from training.errors import SourceError

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
Mask = npt.NDArray[np.bool_]

MIN_LENGTH = 2
"""Readings below which there is no sampling step."""


@dataclass(frozen=True)
class Series:
    """Readings of one metric, in order of time.

    Attributes
    ----------
    name, origin : str
        The file's name; where it came from, in words.
    timestamps : (n,) datetime64[s]
        Strictly increasing, UTC where the source says.
    values : (n,) float64
    labels : (k,) datetime64[s] or None
        Times of known anomalies; None where nobody labelled the series.
    windows : (w, 2) datetime64[s]
        First and last moment of each anomaly window.
    left_out : (c, 2) datetime64[s]
        First and last moment of ranges whose readings count as anomalous, but in which nothing is
        to be found: incidents that were excluded, and windows that reach beyond this part of a
        longer series.
    """

    name: str
    origin: str
    timestamps: Times
    values: Floats
    labels: Times | None
    windows: Times
    left_out: Times = field(default_factory=lambda: np.empty((0, 2), "datetime64[s]"))

    def __post_init__(self) -> None:
        if len(self.values) < MIN_LENGTH:
            raise SourceError(
                f"{self.name} has {len(self.values)} readings; at least {MIN_LENGTH} are needed"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def step(self) -> np.timedelta64:
        """The sampling step: the median time between readings."""
        return np.median(np.diff(self.timestamps)).astype("timedelta64[s]")

    @property
    def readings_a_week(self) -> float:
        """How many readings a week has at this step."""
        return float(np.timedelta64(7, "D") / self.step)

    @property
    def days(self) -> float:
        """How many days of readings there are, at this step."""
        return float(len(self) * self.step / np.timedelta64(1, "D"))

    @property
    def in_window(self) -> Mask:
        """Which readings lie in an anomaly window, or are left out: (n,) bool."""
        inside = np.zeros(len(self), bool)
        for first, last in np.concatenate([self.windows, self.left_out]):
            inside |= (self.timestamps >= first) & (self.timestamps <= last)
        return inside

    @property
    def is_label(self) -> Mask:
        """Which readings are labelled as anomalies: (n,) bool."""
        labels = np.empty(0, "datetime64[s]") if self.labels is None else self.labels
        return np.isin(self.timestamps, labels)

    @property
    def digest(self) -> str:
        """SHA-256 of readings, labels and what is left out, hexadecimal."""
        parts = [self.timestamps.astype("<i8"), self.values.astype("<f8"), self.windows]
        if self.labels is not None:
            parts.append(self.labels)
        if len(self.left_out):
            parts.append(self.left_out)
        return hashlib.sha256(
            b"|".join(np.ascontiguousarray(p).tobytes() for p in parts)
        ).hexdigest()

    def leaving_out(self, ranges: Times) -> Self:
        """Return the series with more ranges left out: (c, 2) datetime64[s].

        A window that one of them touches is no longer one to be found.
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

        A window that either end cuts is no longer one to be found; see `left_out`.
        """
        first, last = self.timestamps[start], self.timestamps[stop - 1]
        reaching = overlapping(self.windows, first, last)
        whole = (self.windows[:, 0] >= first) & (self.windows[:, 1] <= last)
        labels = self.labels
        if labels is not None:
            labels = labels[(labels >= first) & (labels <= last)]
        return type(self)(
            name=self.name,
            origin=self.origin,
            timestamps=self.timestamps[start:stop],
            values=self.values[start:stop],
            labels=labels,
            windows=self.windows[whole],
            left_out=np.concatenate(
                [
                    self.left_out[overlapping(self.left_out, first, last)],
                    self.windows[reaching & ~whole],
                ]
            ),
        )


def overlapping(ranges: Times, first: np.datetime64, last: np.datetime64) -> Mask:
    """Tell which ranges, (c, 2), have a moment from `first` to `last`: (c,) bool."""
    return (ranges[:, 0] <= last) & (ranges[:, 1] >= first)


def label_windows(labels: Times, timestamps: Times) -> Times:
    """Return a window around each label, as NAB makes them.

    The windows together are as long as 10 % of the series; each label lies in its window's
    middle. Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015.
    """
    if not len(labels):
        return np.empty((0, 2), "datetime64[s]")
    half = int(0.1 * len(timestamps) / len(labels)) // 2
    at = np.searchsorted(timestamps, labels)
    first = timestamps[np.maximum(at - half, 0)]
    last = timestamps[np.minimum(at + half, len(timestamps) - 1)]
    return np.stack([first, last], axis=1)
