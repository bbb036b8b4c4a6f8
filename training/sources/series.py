"""A labelled time series, as every source gives it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from training.errors import SourceError

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
Mask = npt.NDArray[np.bool_]

LEAST_LENGTH = 2
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
    cut_windows : (c, 2) datetime64[s]
        Windows that reach beyond this part of a longer series: their readings are anomalous, but
        nothing can be said of whether they were found.
    """

    name: str
    origin: str
    timestamps: Times
    values: Floats
    labels: Times | None
    windows: Times
    cut_windows: Times = field(default_factory=lambda: np.empty((0, 2), "datetime64[s]"))

    def __post_init__(self) -> None:
        if len(self.values) < LEAST_LENGTH:
            raise SourceError(
                f"{self.name} has {len(self.values)} readings; at least {LEAST_LENGTH} are needed"
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
        """Which readings lie in an anomaly window: (n,) bool."""
        inside = np.zeros(len(self), bool)
        for first, last in np.concatenate([self.windows, self.cut_windows]):
            inside |= (self.timestamps >= first) & (self.timestamps <= last)
        return inside

    @property
    def is_label(self) -> Mask:
        """Which readings are labelled as anomalies: (n,) bool."""
        labels = np.empty(0, "datetime64[s]") if self.labels is None else self.labels
        return np.isin(self.timestamps, labels)

    @property
    def digest(self) -> str:
        """SHA-256 of readings and labels, hexadecimal: the same series, the same digest."""
        parts = [self.timestamps.astype("<i8"), self.values.astype("<f8"), self.windows]
        if self.labels is not None:
            parts.append(self.labels)
        return hashlib.sha256(
            b"|".join(np.ascontiguousarray(p).tobytes() for p in parts)
        ).hexdigest()

    def part(self, start: int, stop: int) -> Self:
        """Return the readings from `start` to before `stop`, with their labels and windows.

        A window that either end cuts is no longer one to be found; see `cut_windows`.
        """
        first, last = self.timestamps[start], self.timestamps[stop - 1]
        reaching = (self.windows[:, 0] <= last) & (self.windows[:, 1] >= first)
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
            cut_windows=self.windows[reaching & ~whole],
        )


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
