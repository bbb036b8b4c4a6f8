"""Incidents: open from the first unusual reading until a metric has been normal for a while."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.detection.types import Detection, Series


RECOVERY_PERIODS = 12
"""Periods without an unusual reading after which an incident closes."""

NEAR_PERIODS = 3
"""A reading outside its bounds prolongs an incident if it is no further from its last reading. One
in fifty normal readings is outside, and should not prolong it."""

SEVERE = 0.7
"""Severity, a score of more than twice the threshold, at which a reading opens an incident even
during the cooldown after the last one: a false alarm must not hide an outage."""

CloseReason = Literal["recovered", "no data", "no longer watched"]


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
    """What an evaluation rests on.

    Attributes
    ----------
    entry : str
        Entry of the watch file.
    model, version : str or None
        None where the metric is evaluated by its own history.
    readings : int
        Readings of the metric that it was compared with.
    confidence : float
        0 to 1; see `detection.timeline.confidence`.
    """

    entry: str
    model: str | None
    version: str | None
    readings: int
    confidence: float


class Incident(msgspec.Struct, frozen=True):
    """Unusual readings that belong together.

    Attributes
    ----------
    id : str
        The same whoever finds it, and however often.
    first_seen, last_seen : int
        Times of its first and its last unusual reading, milliseconds.
    readings : int
        Number of unusual readings.
    """

    id: str
    first_seen: int
    last_seen: int
    readings: int
    peak: Peak
    provenance: Provenance


class AlarmIncident(msgspec.Struct, frozen=True):
    """A CloudWatch alarm that has fired and is not OK again.

    Attributes
    ----------
    since : int
        When it fired, milliseconds.
    detail
        Of the event that announced it.
    """

    id: str
    since: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """An incident has begun."""

    incident: Incident


@dataclass(frozen=True)
class Closed:
    """An incident has ended."""

    incident: Incident
    reason: CloseReason


@dataclass(frozen=True)
class IncidentState:
    """The incident of one metric, if one is open.

    Attributes
    ----------
    incident : Incident or None
    notified_until : int
        Time of the last unusual reading of any incident that was opened; 0 for none.
    """

    incident: Incident | None = None
    notified_until: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What a detector found in the last readings of a metric.

    Attributes
    ----------
    series, detection
        Of the same readings, the fresh ones among them.
    fresh : list of int
        Positions of the readings that are new.
    """

    series: Series
    detection: Detection
    fresh: list[int]
    provenance: Provenance

    def is_out_of_bounds(self, position: int) -> bool:
        """Return whether a reading is outside the bounds of what was expected."""
        value, detection = self.series.values[position], self.detection
        return bool(value < detection.lower[position] or value > detection.upper[position])


def advance(
    state: IncidentState, metric: Metric, series: Series, end: int, evaluation: Evaluation | None
) -> tuple[IncidentState, list[Opened | Closed]]:
    """Open, extend and close the incidents of a metric after an evaluation.

    An alert opens an incident if one of its anomalous readings is fresh and no incident is open; so
    does a severe reading during the detector's cooldown. As a detector gets used to what it has
    seen, an incident lasts beyond its anomalous readings: while readings are out of bounds.

    Parameters
    ----------
    series
        All readings of the metric.
    end : int
        Up to where CloudWatch has been read, milliseconds.
    evaluation
        None if there was no fresh reading to evaluate.

    Returns
    -------
    IncidentState
        After all readings.
    list of Opened or Closed
        In order of time.
    """
    transitions: list[Opened | Closed] = []
    for position in evaluation.fresh if evaluation else ():
        if evaluation and _is_unusual(state, metric, evaluation, position):
            state, new = _add_reading(state, metric, series, evaluation, position)
            transitions += new
            if state.incident and transitions and isinstance(transitions[-1], Opened):
                transitions[-1] = Opened(state.incident)  # announced with its worst reading so far
    state, closed = _close_if_over(state, metric, series, end)
    return state, transitions + closed


def _is_unusual(
    state: IncidentState, metric: Metric, evaluation: Evaluation, position: int
) -> bool:
    if evaluation.detection.is_anomaly[position]:
        return True
    if state.incident is None:
        return False
    distance = evaluation.series.times[position] - state.incident.last_seen
    is_near = distance <= NEAR_PERIODS * 1000 * metric.period
    return bool(is_near) and evaluation.is_out_of_bounds(position)


def _add_reading(
    state: IncidentState, metric: Metric, series: Series, evaluation: Evaluation, position: int
) -> tuple[IncidentState, list[Opened | Closed]]:
    """Return the state after an unusual reading, and what it closed and opened."""
    time = int(evaluation.series.times[position])
    state, transitions = _close_if_over(state, metric, series, time)
    if state.incident:
        incident = _extended(state.incident, peak_at(evaluation, position))
        return IncidentState(incident, max(time, state.notified_until)), transitions
    start = _start_of_incident(state, evaluation, position)
    if start is None:
        return state, transitions
    incident = _new_incident(metric, evaluation, start, position)
    return IncidentState(incident, max(time, state.notified_until)), [
        *transitions,
        Opened(incident),
    ]


def _close_if_over(
    state: IncidentState, metric: Metric, series: Series, until: int
) -> tuple[IncidentState, list[Opened | Closed]]:
    """Close the incident if enough periods without an unusual reading have passed by `until`."""
    incident, step = state.incident, 1000 * metric.period
    if incident is None or until < incident.last_seen + (1 + RECOVERY_PERIODS) * step:
        return state, []
    has_data = ((series.times > incident.last_seen) & (series.times < until)).any()
    closed = Closed(incident, "recovered" if has_data else "no data")
    return IncidentState(None, state.notified_until), [closed]


def _start_of_incident(state: IncidentState, evaluation: Evaluation, position: int) -> int | None:
    """Return the position where an incident begins that an unusual reading opens, if it does."""
    times, detection = evaluation.series.times, evaluation.detection
    start = max((a.start for a in detection.alerts if a.start <= position), default=None)
    if start is not None and times[start] > state.notified_until:
        return start
    # within the cooldown after an alert that was notified
    return position if detection.severity[position] >= SEVERE else None


def _new_incident(metric: Metric, evaluation: Evaluation, start: int, position: int) -> Incident:
    times, is_anomaly = evaluation.series.times, evaluation.detection.is_anomaly
    first_seen = int(times[start])
    identity = f"{metric} since {first_seen // 1000}"
    return Incident(
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        first_seen=first_seen,
        last_seen=int(times[position]),
        readings=int(is_anomaly[start : position + 1].sum()),
        peak=peak_at(evaluation, position),
        provenance=evaluation.provenance,
    )


def _extended(incident: Incident, peak: Peak) -> Incident:
    """Return an incident after one more unusual reading."""
    return msgspec.structs.replace(
        incident,
        last_seen=max(peak.time, incident.last_seen),
        readings=incident.readings + 1,
        peak=peak if peak.severity > incident.peak.severity else incident.peak,
    )


def peak_at(evaluation: Evaluation, position: int) -> Peak:
    """Return what is known of one unusual reading."""
    series, detection = evaluation.series, evaluation.detection
    expected, lower, upper = (
        float(bound[position]) if math.isfinite(bound[position]) else None
        for bound in (detection.expected, detection.lower, detection.upper)
    )
    return Peak(
        time=int(series.times[position]),
        value=float(series.values[position]),
        expected=expected,
        lower=lower,
        upper=upper,
        score=float(detection.scores[position]),
        severity=round(float(detection.severity[position]), 4),
        reason=detection.reasons.get(position, "outside the expected range"),
    )
