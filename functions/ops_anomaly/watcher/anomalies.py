"""Anomalies: open from the first unusual reading until a metric has been normal for a while."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from ops_anomaly.detection.types import Alert

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.detection.types import Detection, Mask, Series


RECOVERY_PERIODS = 3
"""Periods without an unusual reading after which an anomaly closes."""

RELAPSE_MS, RELAPSE_READINGS = 1_800_000, 3
"""How long, and in how many readings, a metric must be unusual again to open another anomaly while
the detector still counts it as the last one: a flicker after an outage is no news, but an outage
soon after a false alarm is."""

CloseReason = Literal["recovered", "no data", "no longer watched", "withdrawn"]


class Peak(msgspec.Struct, frozen=True):
    """The most anomalous reading of an anomaly so far, and why."""

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


class Anomaly(msgspec.Struct, frozen=True):
    """Unusual readings that belong together.

    Attributes
    ----------
    id : str
        The same whoever finds it, and however often.
    first_seen, last_seen : int
        Times of its first and its last unusual reading, milliseconds.
    readings : int
        Number of unusual readings.
    member : str or None
        The member of the detector that raised the alert; None where it has none, or the anomaly is
        a relapse.
    """

    id: str
    first_seen: int
    last_seen: int
    readings: int
    member: str | None
    peak: Peak
    provenance: Provenance


@dataclass(frozen=True)
class Opened:
    """An anomaly has begun."""

    anomaly: Anomaly


@dataclass(frozen=True)
class Closed:
    """An anomaly has ended."""

    anomaly: Anomaly
    reason: CloseReason


@dataclass(frozen=True)
class AnomalyState:
    """The anomaly of one metric, if one is open.

    Attributes
    ----------
    anomaly : Anomaly or None
    relapse : Anomaly or None
        Unusual readings of an alert whose anomaly has closed; they may be a flicker.
    notified_until : int
        Time of the last unusual reading of any anomaly that was opened; 0 for none.
    evaluated_until : int
        Readings before it have been added, milliseconds.
    """

    anomaly: Anomaly | None = None
    relapse: Anomaly | None = None
    notified_until: int = 0
    evaluated_until: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What a detector found in the last readings of a metric.

    Attributes
    ----------
    series, detection
        Of the same n readings: those that are due, and all before them that may still change.
    is_unusual : (n,) bool
        The anomalies that count: a value that is still incomplete is none.
    is_changed : (n,) bool
        Readings that CloudWatch has corrected, or that came late.
    """

    series: Series
    detection: Detection
    is_unusual: Mask
    is_changed: Mask
    provenance: Provenance


def advance(
    state: AnomalyState, metric: Metric, series: Series, until: int, evaluation: Evaluation | None
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Open, extend and close the anomalies of a metric after an evaluation.

    An alert opens an anomaly with its first unusual reading; further ones extend it. It closes
    soon after the metric has recovered, long before the detector would raise another alert: what is
    anomalous until then opens an anomaly only if it lasts. If CloudWatch has corrected readings,
    the open anomaly is what they are now: if none of them is unusual any more, it is withdrawn.

    Parameters
    ----------
    series
        All readings of the metric.
    until : int
        Up to where readings are complete, milliseconds.
    evaluation
        None if no reading was due.

    Returns
    -------
    AnomalyState
        After all readings.
    list of Opened or Closed
        In order of time.
    """
    transitions: list[Opened | Closed] = []
    added_until = until
    if evaluation:
        state, transitions = _corrected(state, evaluation)
        times = evaluation.series.times
        is_due = (times >= state.evaluated_until) | evaluation.is_changed
        for position in np.flatnonzero(evaluation.is_unusual & is_due).tolist():
            time = int(times[position])
            state, closed = _close_if_over(state, metric, series, time)
            state, opened = _add_reading(state, metric, evaluation, position)
            transitions += closed + opened
            if state.anomaly and transitions:  # announced with its worst reading so far
                transitions[-1] = Opened(state.anomaly)
            added_until = max(added_until, time + 1)
    state, closed = _close_if_over(state, metric, series, until)
    evaluated_until = max(state.evaluated_until, added_until)
    return replace(state, evaluated_until=evaluated_until), transitions + closed


def _corrected(
    state: AnomalyState, evaluation: Evaluation
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Return the state by what its readings are now that CloudWatch has corrected some."""
    if not evaluation.is_changed.any():
        return state, []
    anomaly = _as_it_is_now(state.anomaly, evaluation)
    relapse = _as_it_is_now(state.relapse, evaluation)
    withdrawn = state.anomaly if anomaly is None else None
    after = replace(state, anomaly=anomaly, relapse=relapse)
    return after, [Closed(withdrawn, "withdrawn")] if withdrawn else []


def _as_it_is_now(anomaly: Anomaly | None, evaluation: Evaluation) -> Anomaly | None:
    """Return an anomaly by the present values of its readings, or None if none is unusual.

    One that began before the readings that may still change stays as it is.
    """
    times = evaluation.series.times
    if anomaly is None or not len(times) or anomaly.first_seen < times[0]:
        return anomaly
    is_inside = (times >= anomaly.first_seen) & (times <= anomaly.last_seen)
    # what was notified and is anomalous still stays so, even if its entry lets it settle for longer
    positions = np.flatnonzero(evaluation.detection.is_anomaly & is_inside)
    if not len(positions):
        return None
    peaks = [peak_at(evaluation, position) for position in positions.tolist()]
    return msgspec.structs.replace(
        anomaly,
        last_seen=int(times[positions[-1]]),
        readings=len(positions),
        peak=max(peaks, key=lambda peak: peak.severity),
    )


def _close_if_over(
    state: AnomalyState, metric: Metric, series: Series, until: int
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Close the anomaly if enough periods without an unusual reading have passed by `until`."""
    relapse = None if _is_over(state.relapse, metric, until) else state.relapse
    state, anomaly = replace(state, relapse=relapse), state.anomaly
    if anomaly is None or not _is_over(anomaly, metric, until):
        return state, []
    has_data = ((series.times > anomaly.last_seen) & (series.times < until)).any()
    closed = Closed(anomaly, "recovered" if has_data else "no data")
    return replace(state, anomaly=None), [closed]


def _is_over(anomaly: Anomaly | None, metric: Metric, until: int) -> bool:
    recovery = (1 + RECOVERY_PERIODS) * 1000 * metric.period
    return anomaly is not None and until >= anomaly.last_seen + recovery


def _add_reading(
    state: AnomalyState, metric: Metric, evaluation: Evaluation, position: int
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Return the state after an unusual reading, and the anomaly that it opened."""
    if state.anomaly:
        return _with_open(state, _extended(state.anomaly, evaluation, position)), []
    alert = _new_alert(state, evaluation, position)
    if alert:
        anomaly = _new_anomaly(state, metric, evaluation, alert, position)
    elif state.relapse:
        anomaly = _extended(state.relapse, evaluation, position)
    else:
        here = Alert(position, position, position)
        anomaly = _new_anomaly(state, metric, evaluation, here, position)
    if alert or _is_lasting(anomaly, metric):
        return _with_open(state, anomaly), [Opened(anomaly)]
    return replace(state, relapse=anomaly), []


def _with_open(state: AnomalyState, anomaly: Anomaly) -> AnomalyState:
    notified_until = max(anomaly.last_seen, state.notified_until)
    return replace(state, anomaly=anomaly, relapse=None, notified_until=notified_until)


def _new_alert(state: AnomalyState, evaluation: Evaluation, position: int) -> Alert | None:
    """Return the alert that an anomalous reading belongs to, unless it was notified."""
    times = evaluation.series.times
    begun = [alert for alert in evaluation.detection.alerts if alert.start <= position]
    return begun[-1] if begun and times[begun[-1].start] > state.notified_until else None


def _is_lasting(relapse: Anomaly, metric: Metric) -> bool:
    lasted = relapse.last_seen - relapse.first_seen + 1000 * metric.period
    return lasted >= RELAPSE_MS and relapse.readings >= RELAPSE_READINGS


def _new_anomaly(
    state: AnomalyState, metric: Metric, evaluation: Evaluation, alert: Alert, position: int
) -> Anomaly:
    times = evaluation.series.times
    first_seen = int(times[alert.start])
    identity = f"{metric} since {first_seen // 1000}"
    if first_seen <= state.notified_until:  # as after a withdrawal: not the anomaly of that time
        identity += f", after {state.notified_until // 1000}"
    return Anomaly(
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        first_seen=first_seen,
        last_seen=int(times[position]),
        readings=int(evaluation.is_unusual[alert.start : position + 1].sum()),
        member=alert.member or None,
        peak=peak_at(evaluation, position),
        provenance=evaluation.provenance,
    )


def _extended(anomaly: Anomaly, evaluation: Evaluation, position: int) -> Anomaly:
    """Return an anomaly after one more unusual reading, or one that was known and has changed."""
    peak = peak_at(evaluation, position)
    return msgspec.structs.replace(
        anomaly,
        last_seen=max(peak.time, anomaly.last_seen),
        readings=anomaly.readings + (peak.time > anomaly.last_seen),
        peak=peak if peak.severity > anomaly.peak.severity else anomaly.peak,
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
