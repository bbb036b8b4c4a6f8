"""Anomalies of a metric: from its first unusual reading until it has been normal for a while.

And silences: from its last reading until there is another.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from ops_anomaly.charts import Chart
from ops_anomaly.detection.types import Alert

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.detection.types import Detection, Floats, Mask, Series
    from ops_anomaly.watcher.feedback import Mark


RECOVERY_PERIODS = 3
"""Periods without an unusual reading after which an anomaly closes."""

RELAPSE_MS, RELAPSE_READINGS = 1_800_000, 3
"""How long, and in how many readings, a metric must be unusual again to open another anomaly while
the detector still counts it as the last one: a flicker after an outage is no news, but an outage
soon after a false alarm is."""

RELAPSE_SHARE = 0.3
"""In which share of that time it must be unusual."""

FLAPPING_MS, FLAPPING_SHARE = 7_200_000, 0.2
"""Or for how long it must flicker, and in which share of that time be unusual: what fails for ten
minutes of every hour is not back to normal."""

CALM_MS = 3_600_000
"""How long a metric must be normal until a relapse is over: what comes and goes is one anomaly."""

CloseReason = Literal[
    "recovered",
    "new normal",
    "no data",
    "no longer watched",
    "withdrawn",
    "data is back",
    "marked as fine",
]


class Peak(msgspec.Struct, frozen=True):
    """The most anomalous reading of an anomaly so far, and why.

    Attributes
    ----------
    value : float or None
        None of a silence.
    """

    time: int
    value: float | None
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


class Extremes(msgspec.Struct, frozen=True):
    """How far unusual readings went.

    Attributes
    ----------
    lowest, highest : float
        Of their values.
    below, above : float
        How far they were below and above what was expected, at most; 0 if they never were.
    """

    lowest: float
    highest: float
    below: float
    above: float


class Anomaly(msgspec.Struct, frozen=True):
    """Unusual readings that belong together; or a silence, which has none.

    Attributes
    ----------
    id : str
        The same whoever finds it, and however often.
    first_seen, last_seen : int
        Times of its first and its last unusual reading, milliseconds; of a silence, when the first
        missing period began, and up to when there was nothing.
    readings : int
        Number of unusual readings that count by the rules of its entry.
    member : str or None
        The member of the detector that raised the alert; None where it has none, or the anomaly is
        a relapse.
    extremes : Extremes or None
        None of a silence.
    is_relapse : bool
        Whether its metric had been unusual shortly before.
    """

    id: str
    first_seen: int
    last_seen: int
    readings: int
    member: str | None
    peak: Peak
    provenance: Provenance
    extremes: Extremes | None = None
    is_relapse: bool = False

    @property
    def is_silence(self) -> bool:
        """Whether it is about readings that are missing."""
        return self.extremes is None


class ReportedAnomaly(msgspec.Struct, frozen=True):
    """An anomaly of a metric, as the job of its shard reports it.

    Attributes
    ----------
    metric : str
        As `Metric.parse` reads it.
    opened_at : int
        When the job found it, milliseconds.
    closed_at : int or None
        When it was over, milliseconds; None while it is open.
    chart : Chart or None
        The metric around it.
    """

    metric: str
    anomaly: Anomaly
    opened_at: int
    closed_at: int | None = None
    close_reason: CloseReason | None = None
    chart: Chart | None = None


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
    silence : Anomaly or None
    pending : Anomaly or None
        Unusual readings of an alert of which too few count yet, by the rules of the entry.
    relapse : Anomaly or None
        Unusual readings of an alert whose anomaly has closed; they may be a flicker.
    notified_until : int
        Time of the last unusual reading of any anomaly that was opened; 0 for none.
    evaluated_until : int
        Readings before it have been added, milliseconds.
    """

    anomaly: Anomaly | None = None
    silence: Anomaly | None = None
    pending: Anomaly | None = None
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
        The anomalous readings; a value that is still incomplete is none.
    is_counted : (n,) bool
        Those that count by the rules of the entry and by feedback.
    is_changed : (n,) bool
        Readings that CloudWatch has corrected, or that came late.
    """

    series: Series
    detection: Detection
    is_unusual: Mask
    is_counted: Mask
    is_changed: Mask
    provenance: Provenance


def advance(
    state: AnomalyState,
    metric: Metric,
    series: Series,
    until: int,
    evaluation: Evaluation | None,
    sustained: int = 1,
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Open, extend and close the anomalies of a metric after an evaluation.

    An alert opens an anomaly as soon as enough of its unusual readings count, by default with the
    first one; further ones extend it. It closes soon after the metric has recovered, long before
    the detector would raise another alert: what is anomalous until then opens an anomaly only if it
    lasts. If CloudWatch has corrected readings, the open anomaly is what they are now: if none of
    them is unusual any more, it is withdrawn.

    Parameters
    ----------
    series
        All readings of the metric.
    until : int
        Up to where readings are complete, milliseconds.
    evaluation
        None if no reading was due.
    sustained : int
        How many readings have to count before an anomaly opens.

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
            state, opened = _add_reading(state, metric, evaluation, position, sustained)
            transitions += closed + opened
            if state.anomaly and transitions:  # announced with its worst reading so far
                transitions[-1] = Opened(state.anomaly)
            added_until = max(added_until, time + 1)
    state, closed = _close_if_over(state, metric, series, until)
    evaluated_until = max(state.evaluated_until, added_until)
    return replace(state, evaluated_until=evaluated_until), transitions + closed


def close_accepted(state: AnomalyState, fine: Sequence[Mark]) -> tuple[AnomalyState, list[Closed]]:
    """Close the open anomaly if people have said that it is fine.

    Readings that are unlike it open another one immediately, though the detector's alert continues.
    """
    anomaly = state.anomaly
    if anomaly is None or all(mark.anomaly != anomaly.id for mark in fine):
        return state, []
    pending = msgspec.structs.replace(
        anomaly,
        id=_digest(f"{anomaly.id}, after it was marked as fine"),
        first_seen=anomaly.last_seen,
        readings=0,
    )
    return replace(state, anomaly=None, pending=pending), [Closed(anomaly, "marked as fine")]


def _corrected(
    state: AnomalyState, evaluation: Evaluation
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Return the state by what its readings are now that CloudWatch has corrected some."""
    if not evaluation.is_changed.any():
        return state, []
    anomaly, relapse = (_as_it_is_now(each, evaluation) for each in (state.anomaly, state.relapse))
    withdrawn = state.anomaly if anomaly is None else None
    pending = _pending_now(state.pending, evaluation)
    after = replace(state, anomaly=anomaly, pending=pending, relapse=relapse)
    return after, [Closed(withdrawn, "withdrawn")] if withdrawn else []


def _as_it_is_now(anomaly: Anomaly | None, evaluation: Evaluation) -> Anomaly | None:
    """Return an anomaly by the present values of its readings, or None if none counts.

    One that began before the readings that may still change stays as it is.
    """
    if anomaly is None or not _is_covered(anomaly, evaluation):
        return anomaly
    # what was notified and is anomalous still stays so, even if its entry lets it settle for longer
    is_anomaly = evaluation.detection.is_anomaly & evaluation.is_counted
    positions = np.flatnonzero(is_anomaly & _is_inside(anomaly, evaluation)).tolist()
    if not positions:
        return None
    peaks = [peak_at(evaluation, position) for position in positions]
    extremes = [extremes_at(evaluation, position) for position in positions]
    return msgspec.structs.replace(
        anomaly,
        last_seen=int(evaluation.series.times[positions[-1]]),
        readings=len(positions),
        peak=max(peaks, key=lambda peak: peak.severity),
        extremes=functools.reduce(_wider, extremes),
    )


def _pending_now(pending: Anomaly | None, evaluation: Evaluation) -> Anomaly | None:
    """Return a pending anomaly by the present values of its readings, if any is anomalous."""
    if pending is None or not _is_covered(pending, evaluation):
        return pending
    if not (evaluation.detection.is_anomaly & _is_inside(pending, evaluation)).any():
        return None
    counted = _as_it_is_now(pending, evaluation) or msgspec.structs.replace(pending, readings=0)
    return msgspec.structs.replace(counted, last_seen=pending.last_seen)


def _is_covered(anomaly: Anomaly, evaluation: Evaluation) -> bool:
    times = evaluation.series.times
    return bool(len(times)) and anomaly.first_seen >= times[0]


def _is_inside(anomaly: Anomaly, evaluation: Evaluation) -> Mask:
    times = evaluation.series.times
    return (times >= anomaly.first_seen) & (times <= anomaly.last_seen)


def _close_if_over(
    state: AnomalyState, metric: Metric, series: Series, until: int
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Close the anomaly if enough periods without an unusual reading have passed by `until`."""
    pending, relapse = (
        None if _is_over(each, metric, until) else each for each in (state.pending, state.relapse)
    )
    state, anomaly = replace(state, pending=pending, relapse=relapse), state.anomaly
    if anomaly is None or not _is_over(anomaly, metric, until):
        return state, []
    is_after = (series.times > anomaly.last_seen) & (series.times < until)
    closed = Closed(anomaly, _close_reason(anomaly, series.values[is_after]))
    return replace(state, anomaly=None), [closed]


def _close_reason(anomaly: Anomaly, after: Floats) -> CloseReason:
    """Return why an anomaly is over, by the readings after its last unusual one: (n,)."""
    if not len(after):
        return "no data"
    peak, extremes = anomaly.peak, anomaly.extremes
    if extremes is None or peak.lower is None or peak.upper is None:
        return "recovered"
    # the detector has come to take them for ordinary, though they are what they were
    is_there = (after >= extremes.lowest) & (after <= extremes.highest)
    is_beyond = (after < peak.lower) | (after > peak.upper)
    return "new normal" if (is_there & is_beyond).all() else "recovered"


def _is_over(anomaly: Anomaly | None, metric: Metric, until: int) -> bool:
    if anomaly is None:
        return False
    period = 1000 * metric.period
    calm = max(RECOVERY_PERIODS * period, CALM_MS if anomaly.is_relapse else 0)
    return until >= anomaly.last_seen + period + calm


def _add_reading(
    state: AnomalyState, metric: Metric, evaluation: Evaluation, position: int, sustained: int
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Return the state after an unusual reading, and the anomaly that it opened."""
    counts = bool(evaluation.is_counted[position])
    if state.anomaly:
        extended = _extended(state.anomaly, evaluation, position) if counts else state.anomaly
        return _with_open(state, extended), []
    alert = _new_alert(state, evaluation, position)
    if state.pending:
        pending = _extended(state.pending, evaluation, position)
    elif alert:
        pending = _new_anomaly(state, metric, evaluation, alert, position)
    elif counts:
        return _add_to_relapse(state, metric, evaluation, position)
    else:
        return state, []
    if pending.readings >= sustained:
        return _with_open(state, pending), [Opened(pending)]
    return replace(state, pending=pending, relapse=None), []


def _add_to_relapse(
    state: AnomalyState, metric: Metric, evaluation: Evaluation, position: int
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Return the state after an unusual reading of an alert that was notified before."""
    if state.relapse:
        relapse = _extended(state.relapse, evaluation, position)
    else:
        here = Alert(position, position, position)
        begun = _new_anomaly(state, metric, evaluation, here, position)
        relapse = msgspec.structs.replace(begun, is_relapse=True)
    if _is_lasting(relapse, metric):
        return _with_open(state, relapse), [Opened(relapse)]
    return replace(state, relapse=relapse), []


def _with_open(state: AnomalyState, anomaly: Anomaly) -> AnomalyState:
    notified_until = max(anomaly.last_seen, state.notified_until)
    return replace(
        state, anomaly=anomaly, pending=None, relapse=None, notified_until=notified_until
    )


def _new_alert(state: AnomalyState, evaluation: Evaluation, position: int) -> Alert | None:
    """Return the alert that an anomalous reading belongs to, unless it was notified."""
    times = evaluation.series.times
    begun = [alert for alert in evaluation.detection.alerts if alert.start <= position]
    return begun[-1] if begun and times[begun[-1].start] > state.notified_until else None


def _is_lasting(relapse: Anomaly, metric: Metric) -> bool:
    """Return whether a relapse is news: it lasts, or it flickers for long."""
    period = 1000 * metric.period
    lasted = relapse.last_seen - relapse.first_seen + period
    share = relapse.readings * period / lasted
    is_long = lasted >= FLAPPING_MS and share >= FLAPPING_SHARE
    is_dense = lasted >= RELAPSE_MS and share >= RELAPSE_SHARE
    return relapse.readings >= RELAPSE_READINGS and (is_dense or is_long)


def _new_anomaly(
    state: AnomalyState, metric: Metric, evaluation: Evaluation, alert: Alert, position: int
) -> Anomaly:
    times = evaluation.series.times
    first_seen = int(times[alert.start])
    identity = f"{metric} since {first_seen // 1000}"
    if first_seen <= state.notified_until:  # as after a withdrawal: not the anomaly of that time
        identity += f", after {state.notified_until // 1000}"
    counts = evaluation.is_unusual & evaluation.is_counted
    return Anomaly(
        id=_digest(identity),
        first_seen=first_seen,
        last_seen=int(times[position]),
        readings=int(counts[alert.start : position + 1].sum()),
        member=alert.member or None,
        peak=peak_at(evaluation, position),
        provenance=evaluation.provenance,
        extremes=extremes_at(evaluation, position),
    )


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _extended(anomaly: Anomaly, evaluation: Evaluation, position: int) -> Anomaly:
    """Return an anomaly after one more unusual reading, or one that was known and has changed."""
    time = int(evaluation.series.times[position])
    last_seen = max(time, anomaly.last_seen)
    if not evaluation.is_counted[position]:
        return msgspec.structs.replace(anomaly, last_seen=last_seen)
    peak, extremes = peak_at(evaluation, position), extremes_at(evaluation, position)
    if anomaly.readings and anomaly.extremes:  # else none of those before counts
        peak = max(anomaly.peak, peak, key=lambda each: each.severity)
        extremes = _wider(anomaly.extremes, extremes)
    return msgspec.structs.replace(
        anomaly,
        last_seen=last_seen,
        readings=anomaly.readings + (time > anomaly.last_seen),
        peak=peak,
        extremes=extremes,
    )


def extremes_at(evaluation: Evaluation, position: int) -> Extremes:
    """Return how far one unusual reading went."""
    value = float(evaluation.series.values[position])
    deviation = value - float(evaluation.detection.expected[position])
    return Extremes(value, value, max(0.0, -deviation), max(0.0, deviation))  # 0 for NaN, too


def _wider(one: Extremes, other: Extremes) -> Extremes:
    return Extremes(
        lowest=min(one.lowest, other.lowest),
        highest=max(one.highest, other.highest),
        below=max(one.below, other.below),
        above=max(one.above, other.above),
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
