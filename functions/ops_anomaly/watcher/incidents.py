"""Incidents: one from the first anomalous reading until all has been ordinary for a while."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.evaluation import Evaluation


RECOVERY_PERIODS = 12
"""Periods without an unusual reading after which an incident has ended."""

NEAR = 3
"""An incident goes on if a reading no further from its last one lies outside of what was expected.
One in fifty ordinary readings does, and should not prolong it."""

FAR_OUT = 0.7
"""Severity, a score of more than twice the bar, at which a reading opens an incident even in the
pause after the last one: a false alarm must not hide an outage."""

Because = Literal["quiet", "no data", "no longer watched"]


class Peak(msgspec.Struct, frozen=True):
    """The most anomalous reading of an incident so far, and why."""

    time: int
    value: float
    expected: float | None
    lower: float | None
    upper: float | None
    score: float
    severity: float
    reason: str


class Provenance(msgspec.Struct, frozen=True):
    """What a verdict rests on.

    Attributes
    ----------
    entry : str
        Of the watch file.
    model, version : str or None
        None where the metric is judged by its own history.
    readings : int
        How many readings it was compared with.
    confidence : float
        0 to 1; see `detector.timeline.confidence`.
    """

    entry: str
    model: str | None
    version: str | None
    readings: int
    confidence: float

    @property
    def model_detail(self) -> dict[str, str | None] | None:
        """The model as events carry it."""
        return {"name": self.model, "version": self.version} if self.model else None

    @property
    def words(self) -> str:
        """What it was compared with, for people."""
        own = f"{self.readings:,} readings"
        return f"model {self.model}, version {self.version}" if self.model else f"its last {own}"


class Incident(msgspec.Struct, frozen=True):
    """Unusual readings that belong together; times in seconds since 1970.

    Attributes
    ----------
    id : str
        The same whoever finds it, and however often.
    first_seen, last_seen : int
        Its first and its last unusual reading.
    readings : int
        How many are unusual.
    """

    id: str
    first_seen: int
    last_seen: int
    readings: int
    peak: Peak
    provenance: Provenance


@dataclass(frozen=True)
class Opened:
    """An incident has begun."""

    incident: Incident


@dataclass(frozen=True)
class Closed:
    """An incident has ended."""

    incident: Incident
    because: Because


@dataclass(frozen=True)
class IncidentState:
    """Where a metric's incidents stand.

    Attributes
    ----------
    incident : Incident or None
        The one that lasts.
    notified_until : int
        Last unusual reading of the last incident that was opened; 0 for none.
    """

    incident: Incident | None = None
    notified_until: int = 0


def advance_incident(
    course: IncidentState, metric: Metric, judgement: Evaluation
) -> tuple[IncidentState, list[Opened | Closed]]:
    """Take the verdicts on fresh readings into account.

    An alert opens an incident if one of its anomalous readings is fresh, and none lasts; so does a
    reading that is far out, while the detector pauses after an alert. What has been seen once is no
    longer new, so an incident lasts beyond its anomalous readings: as long as readings lie outside
    of what was expected.
    """
    steps: list[Opened | Closed] = []
    times, detection = judgement.times, judgement.detection
    for position in judgement.fresh:
        time = int(times[position])
        last_seen = course.incident.last_seen if course.incident else -math.inf
        lasts = time - last_seen <= NEAR * metric.period and judgement.is_outside(position)
        if not (detection.is_anomaly[position] or lasts):
            continue
        if course.incident and time - course.incident.last_seen > RECOVERY_PERIODS * metric.period:
            has_data = position > 0 and times[position - 1] > course.incident.last_seen
            steps.append(Closed(course.incident, "quiet" if has_data else "no data"))
            course = replace(course, incident=None)
        peak = peak_at(judgement, position)
        if course.incident:
            longer = extended(course.incident, peak)
            course = IncidentState(longer, max(time, course.notified_until))
            if steps and isinstance(steps[-1], Opened):
                steps[-1] = Opened(longer)
            continue
        start = max((a.start for a in detection.alerts if a.start <= position), default=None)
        if start is None or times[start] <= course.notified_until:
            if peak.severity < FAR_OUT:
                continue  # within the pause after an alert that was told
            start = position
        first_seen = int(times[start])
        incident = Incident(
            id=hashlib.sha256(f"{metric} since {first_seen}".encode()).hexdigest()[:16],
            first_seen=first_seen,
            last_seen=time,
            readings=int(detection.is_anomaly[start : position + 1].sum()),
            peak=peak,
            provenance=judgement.provenance,
        )
        course = IncidentState(incident, max(time, course.notified_until))
        steps.append(Opened(incident))
    return course, steps


def extended(incident: Incident, peak: Peak) -> Incident:
    """Return an incident after one more unusual reading."""
    return msgspec.structs.replace(
        incident,
        last_seen=max(peak.time, incident.last_seen),
        readings=incident.readings + 1,
        peak=peak if peak.severity > incident.peak.severity else incident.peak,
    )


def close_reason(incident: Incident, period: int, end: int, last_reading: int) -> Because | None:
    """Return why an incident has ended, or None while it lasts.

    Parameters
    ----------
    end : int
        Up to where CloudWatch has been asked, in seconds since 1970.
    last_reading : int
        Time of the last reading there is.
    """
    if end - (incident.last_seen + period) < RECOVERY_PERIODS * period:
        return None
    return "quiet" if last_reading > incident.last_seen else "no data"


def peak_at(judgement: Evaluation, position: int) -> Peak:
    """Return what is known of one anomalous reading."""
    detection = judgement.detection
    expected, lower, upper = (
        float(bound[position]) if math.isfinite(bound[position]) else None
        for bound in (detection.expected, detection.lower, detection.upper)
    )
    return Peak(
        time=int(judgement.times[position]),
        value=float(judgement.values[position]),
        expected=expected,
        lower=lower,
        upper=upper,
        score=float(detection.scores[position]),
        severity=round(float(detection.severity[position]), 4),
        reason=detection.reasons.get(position, "outside of what was expected"),
    )
