"""What a detector says of a series: a verdict on each reading, and the alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.alerts import event_starts, grouped, severity

if TYPE_CHECKING:
    from detector.alerts import Mask
    from detector.interface import Floats, Times


@dataclass(frozen=True)
class Alert:
    """One event: one alert, however many of its readings are anomalous.

    Attributes
    ----------
    start, end, peak : int
        Positions of its first, its last and its most anomalous reading.
    """

    start: int
    end: int
    peak: int


@dataclass(frozen=True)
class Detection:
    """Verdicts on n readings.

    Attributes
    ----------
    scores : (n,) float64
        High is anomalous; unit and range depend on the kind of detector.
    bar : (n,) float64
        The score at which each reading is an anomaly.
    is_anomaly : (n,) bool
    expected, lower, upper : (n,) float64
        What was expected, and bounds on what is ordinary; NaN where it is not known.
    reasons : dict of int to str
        Why, in plain words, for each anomalous reading by its position.
    alerts : list of Alert
    """

    scores: Floats
    bar: Floats
    is_anomaly: Mask
    expected: Floats
    lower: Floats
    upper: Floats
    reasons: dict[int, str]
    alerts: list[Alert]

    @property
    def severity(self) -> Floats:
        """How far beyond ordinary each reading is, 0 to 1; 0.5 is at the bar: (n,)."""
        return severity(self.scores, self.bar)


def alerts_from(scores: Floats, flags: Mask, starts: list[int]) -> list[Alert]:
    """Return the alerts that begin at `starts`; each reaches to its last flag before the next."""
    return [
        Alert(start, end, start + int(scores[start : end + 1].argmax()))
        for start, end in grouped(flags, starts)
    ]


def alerts_of_events(timestamps: Times, scores: Floats, flags: Mask) -> list[Alert]:
    """Return the alerts of a detector that knows no pause: flags close in time are one."""
    return alerts_from(scores, flags, event_starts(timestamps, flags))
