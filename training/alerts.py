"""The alerts that a detector raised, as people read them; those that may be past incidents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_anomaly.detection import untrained
from ops_anomaly.detection.timeline import utc
from training.sources.series import EXCLUDE, LabelledSeries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops_anomaly.detection.types import Alert, Detection

MAX_SHOWN = 10
"""Alerts that a list shows; more than that nobody reads."""

MAX_PROPOSALS = 5
MIN_SEVERITY = 2 / 3
"""Of a score that is twice the threshold; anything less is unusual, but hardly an incident."""


@dataclass(frozen=True)
class RaisedAlert:
    """An alert, and what its message would say.

    Attributes
    ----------
    positions : Alert
        Its readings in the part of the series that was evaluated.
    first, last : int
        Times of its first and last anomalous reading, milliseconds since 1970.
    lasted : float
        From the first reading to the end of the last one's period, milliseconds.
    value, expected : float
        Of its first reading; NaN where nothing was expected.
    severity : float
        Of its most anomalous reading, 0 to 1; 0.5 is barely an anomaly.
    reason : str
        Why it was raised, in plain words.
    is_known : bool
        Whether it reaches into a labelled window or an excluded range.
    """

    positions: Alert
    first: int
    last: int
    lasted: float
    value: float
    expected: float
    severity: float
    reason: str
    is_known: bool

    @property
    def exclusion(self) -> str:
        """What keeps its readings out of training, as the command line takes it."""
        return f"{EXCLUDE} {utc(self.first)} {utc(self.last)}"


def raised_alerts(series: LabelledSeries, detection: Detection) -> list[RaisedAlert]:
    """Return the alerts of a detection of a series, in order of time."""
    return [raised_alert(series, detection, each) for each in detection.alerts]


def raised_alert(series: LabelledSeries, detection: Detection, alert: Alert) -> RaisedAlert:
    """Return one alert of a detection of a series."""
    first, last = int(series.times[alert.start]), int(series.times[alert.end])
    return RaisedAlert(
        positions=alert,
        first=first,
        last=last,
        lasted=last - first + series.series.step,
        value=float(series.values[alert.start]),
        expected=float(detection.expected[alert.start]),
        severity=float(detection.severity[alert.peak]),
        reason=detection.reasons.get(alert.start, ""),
        is_known=bool(series.in_window[alert.start : alert.end + 1].any()),
    )


def most_severe(alerts: Iterable[RaisedAlert], count: int = MAX_SHOWN) -> list[RaisedAlert]:
    """Return so many alerts at most, the most severe first; of equals, the earlier one."""
    return sorted(alerts, key=lambda each: (-each.severity, each.first))[:count]


def propose_exclusions(series: LabelledSeries, cut: int) -> list[RaisedAlert]:
    """Return what looks like an incident in the training part, the most severe first.

    A detector without a model scores that part from its beginning, each reading by those before
    it; nothing is proposed while it warms up. Known incidents are not proposed again.

    Parameters
    ----------
    cut : int
        Where the training part ends.
    """
    part = series.part(0, cut)
    alerts = raised_alerts(part, untrained().detect(part.series))
    return most_severe(
        (each for each in alerts if each.severity >= MIN_SEVERITY and not each.is_known),
        MAX_PROPOSALS,
    )
