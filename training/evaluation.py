"""Judging alerts against anomaly windows: events, not points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops_anomaly.detection.types import Alert
from training.sources.series import Mask, Series


@dataclass(frozen=True)
class Confusion:
    """Readings by truth and decision."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of the flagged that is anomalous; 0 where nothing is flagged."""
        flagged = self.true_positives + self.false_positives
        return self.true_positives / flagged if flagged else 0.0

    @property
    def recall(self) -> float:
        """Share of the anomalous that is flagged; 0 where nothing is anomalous."""
        anomalous = self.true_positives + self.false_negatives
        return self.true_positives / anomalous if anomalous else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return harmonic_mean(self.precision, self.recall)


@dataclass(frozen=True)
class Figures:
    """How a detector did on a part of a series that it was not fitted on.

    Attributes
    ----------
    windows, windows_found : int
        Anomaly windows in that part; those with a flag in them.
    alerts, false_alarms : int
        As the detector raised them; those with no flag in a window.
    days : float
        Length of the part.
    delays_minutes : tuple of float
        For each window found, from its label to its first flag; negative is early.
    """

    windows: int
    windows_found: int
    alerts: int
    false_alarms: int
    days: float
    delays_minutes: tuple[float, ...]

    @property
    def window_recall(self) -> float | None:
        """Share of the windows found; None where there are none."""
        return self.windows_found / self.windows if self.windows else None

    @property
    def precision(self) -> float | None:
        """Windows found among windows found and false alarms; None where there is no window."""
        raised = self.windows_found + self.false_alarms
        if not self.windows:
            return None
        return self.windows_found / raised if raised else 0.0

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and window recall; None where there is no window."""
        if self.precision is None or self.window_recall is None:
            return None
        return harmonic_mean(self.precision, self.window_recall)

    @property
    def false_alarms_a_day(self) -> float:
        """False alarms per day of this metric."""
        return self.false_alarms / self.days

    @property
    def mean_delay_minutes(self) -> float | None:
        """Mean of the delays; None where no window was found."""
        return float(np.mean(self.delays_minutes)) if self.delays_minutes else None


def harmonic_mean(a: float, b: float) -> float:
    """Return the harmonic mean of two shares; 0 where both are 0."""
    return 2 * a * b / (a + b) if a + b else 0.0


def confusion(truth: Mask, flags: Mask) -> Confusion:
    """Count readings by truth and decision: (n,), (n,) bool."""
    return Confusion(
        true_positives=int((truth & flags).sum()),
        false_positives=int((~truth & flags).sum()),
        false_negatives=int((truth & ~flags).sum()),
        true_negatives=int((~truth & ~flags).sum()),
    )


def judge(series: Series, flags: Mask, alerts: list[Alert]) -> Figures:
    """Judge the flags of a series, (n,) bool, and the alerts among them, by anomaly windows."""
    hits = flags & series.in_window
    found = [first_flag(series, flags, window) for window in series.windows]
    return Figures(
        windows=len(series.windows),
        windows_found=sum(at is not None for at in found),
        alerts=len(alerts),
        false_alarms=sum(not hits[alert.start : alert.end + 1].any() for alert in alerts),
        days=series.days,
        delays_minutes=tuple(
            float((at - onset(series, window)) / np.timedelta64(1, "m"))
            for at, window in zip(found, series.windows, strict=True)
            if at is not None
        ),
    )


def first_flag(series: Series, flags: Mask, window: np.ndarray) -> np.datetime64 | None:
    """Return the time of the first flag in a window, or None."""
    inside = (series.timestamps >= window[0]) & (series.timestamps <= window[1]) & flags
    return series.timestamps[inside][0] if inside.any() else None


def onset(series: Series, window: np.ndarray) -> np.datetime64:
    """Return the first label in a window, or its beginning where it has none."""
    labels = series.labels if series.labels is not None else series.windows[:0, 0]
    inside = labels[(labels >= window[0]) & (labels <= window[1])]
    return inside[0] if len(inside) else window[0]
