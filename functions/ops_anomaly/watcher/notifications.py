"""The wording of notifications: an event with the documented detail, and a message for people."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.watcher.alarm_evaluation import AlarmIncident
from ops_anomaly.watcher.anomalies import Closed, Opened
from ops_anomaly.watcher.formatting import iso, metric_title, spoken, subject_line
from ops_anomaly.watcher.outbox import Notification

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.alarm_evaluation import Verdict
    from ops_anomaly.watcher.anomalies import Anomaly, CloseReason, Provenance
    from ops_anomaly.watcher.events import AlarmChange


VERSION = "1"
"""Of the events' detail; `docs/events.md` describes it."""

MAX_SERIES = 10
"""Series of an alarm that are reported: the most unusual ones."""

CLOSED_SUBJECTS: dict[CloseReason, str] = {
    "recovered": "Resolved",
    "no data": "No more data",
    "no longer watched": "No longer watched",
    "withdrawn": "Withdrawn",
}
CLOSED_MESSAGES: dict[CloseReason, str] = {
    "recovered": "It is back to normal; the last unusual reading was on {last}.",
    "no data": "There has been no data since {last}: the resource is gone, or its data is late.",
    "no longer watched": "It has left the fleet or the watch file; the last unusual reading was "
    "on {last}.",
    "withdrawn": "CloudWatch has corrected the readings that it rested on, and they are ordinary: "
    "there was no incident.",
}


def incident_notification(transition: Opened | Closed, metric: Metric, now: int) -> Notification:
    """Return the notification of an incident that opens or closes."""
    incident = transition.anomaly
    detail: dict[str, Any] = {
        "version": VERSION,
        "id": incident.id,
        "entry": incident.provenance.entry,
        "metric": metric_detail(metric),
        "first_seen": iso(incident.first_seen),
        **msgspec.structs.asdict(incident.peak),
        "time": iso(incident.peak.time),
        "confidence": incident.provenance.confidence,
        "member": incident.member,
        "model": model_detail(incident.provenance),
    }
    match transition:
        case Opened():
            kind = "opened"
            subject, message = opened_subject(incident, metric), opened_message(incident, metric)
        case Closed(reason=reason):
            kind = "closed"
            subject, message = closed_message(incident, metric, reason)
            detail |= {
                "ended": iso(incident.last_seen),
                "readings": incident.readings,
                "close_reason": reason,
            }
    return Notification(
        id=f"{incident.id}/{kind}",
        about=incident.id,
        detail_type=f"Anomaly {kind.capitalize()}",
        detail=detail,
        subject=subject_line(subject),
        message=message,
        made_at=now,
    )


def delivery_test(now: int) -> Notification:
    """Return a notification that shows whether alerts arrive, and says that it is no alert."""
    identity = f"test-{now}"
    return Notification(
        id=identity,
        about=identity,
        detail_type="Test Alert",
        detail={"version": VERSION, "id": identity, "time": iso(now), "severity": None},
        subject="Test: alerts of the anomaly watcher arrive here",
        message="\n".join(
            [
                "This is a test, and no alert: somebody has checked whether alerts arrive.",
                "",
                f"Sent on  {spoken(now)}",
                f"Test     {identity}",
            ]
        ),
        made_at=now,
    )


def metric_detail(metric: Metric) -> dict[str, Any]:
    """Return a metric as events carry it."""
    return {
        "namespace": metric.namespace,
        "name": metric.name,
        "dimensions": dict(metric.dimensions),
        "statistic": metric.statistic,
        "period": metric.period,
    }


def model_detail(provenance: Provenance) -> dict[str, str | None] | None:
    """Return a model as events carry it; None where the metric's own history was used."""
    if provenance.model is None:
        return None
    return {"name": provenance.model, "version": provenance.version}


def opened_subject(incident: Anomaly, metric: Metric) -> str:
    """Return what a phone shows of a new incident."""
    peak = incident.peak
    expected = "" if peak.expected is None else f", expected {number(peak.expected)}"
    value = f"{number(peak.value)}{expected}"
    return f"{title_of(metric)}: {value} (severity {peak.severity:.2f})"


def opened_message(incident: Anomaly, metric: Metric) -> str:
    """Return the message of a new incident, to be understood at 3 a.m."""
    peak, provenance = incident.peak, incident.provenance
    expected = "unknown" if peak.expected is None else number(peak.expected)
    return "\n".join(
        [
            f"{title_of(metric)} has been unusual since {spoken(incident.first_seen)}.",
            "",
            f"  value       {number(peak.value)} on {spoken(peak.time)}",
            f"  expected    {expected}{normal_range(peak.lower, peak.upper)}",
            f"  reason      {peak.reason}",
            f"  severity    {peak.severity:.2f} of 1 (0.5 is at the threshold)",
            f"  confidence  {percent(provenance.confidence)} ({basis(provenance)})",
            "",
            f"Metric    {metric}",
            f"Entry     {provenance.entry} (watch file)",
            f"Anomaly  {incident.id}; another message follows when it closes.",
        ]
    )


def closed_message(incident: Anomaly, metric: Metric, reason: CloseReason) -> tuple[str, str]:
    """Return subject and message of an incident that closes."""
    peak = incident.peak
    lasted = duration(incident.last_seen + 1000 * metric.period - incident.first_seen)
    readings = f"{incident.readings} unusual reading{'' if incident.readings == 1 else 's'}"
    subject = f"{CLOSED_SUBJECTS[reason]}: {title_of(metric)} after {lasted}"
    return subject, "\n".join(
        [
            f"{subject}.",
            CLOSED_MESSAGES[reason].format(last=spoken(incident.last_seen)),
            "",
            f"  since     {spoken(incident.first_seen)}",
            f"  duration  {lasted}, {readings}",
            f"  worst     {number(peak.value)} on {spoken(peak.time)}",
            f"  severity  {peak.severity:.2f} of 1",
            f"  reason    {peak.reason}",
            "",
            f"Metric    {metric}",
            f"Anomaly  {incident.id}",
        ]
    )


def alarm_fired(
    change: AlarmChange, verdicts: Sequence[Verdict], now: int
) -> tuple[AlarmIncident, Notification]:
    """Return the incident of an alarm that fires, and its notification."""
    incident_id = hashlib.sha256(f"{change.arn} at {change.at}".encode()).hexdigest()[:16]
    outcomes = [each.is_unusual for each in verdicts]
    severities = [each.severity for each in verdicts if each.severity is not None]
    first_seen = min((each.since for each in verdicts if each.since is not None), default=None)
    ranked = sorted(verdicts, key=verdict_rank, reverse=True)
    reported = verdicts if len(verdicts) <= MAX_SERIES else ranked[:MAX_SERIES]
    sentences = [verdict_sentence(each) for each in reported] or [
        "The alarm could not be evaluated: it has no metrics."
    ]
    detail = {
        "version": VERSION,
        "id": incident_id,
        "alarm": alarm_detail(change),
        "severity": max(severities, default=None),
        "is_unusual": is_any_unusual(outcomes),
        "first_seen": None if first_seen is None else iso(first_seen),
        "verdict": verdict_sentence(ranked[0]) if ranked else sentences[0],
        "series_count": len(verdicts),
        "series": [verdict_detail(each) for each in reported],
    }
    if len(reported) < len(verdicts):
        counted = f"{outcomes.count(True)} of {len(verdicts)} series are unusual."
        sentences = [f"{counted} The {MAX_SERIES} most unusual:", *sentences]
    message = "\n".join(
        [
            f"Alarm {change.name} fired on {spoken(change.at)}.",
            "",
            *sentences,
            "",
            f"Reason    {change.reason}",
            f"Alarm     {change.arn}",
            f"Anomaly  {incident_id}; another message follows when the alarm is OK.",
        ]
    )
    return AlarmIncident(id=incident_id, since=change.at, detail=detail), Notification(
        id=f"{incident_id}/evaluated",
        about=incident_id,
        detail_type="Alarm Evaluated",
        detail=detail,
        subject=subject_line(f"Alarm {change.name}: {outcome_of(outcomes)}"),
        message=message,
        made_at=now,
    )


def verdict_rank(verdict: Verdict) -> tuple[int, float]:
    """Return what orders verdicts: ordinary, unknown, unusual; each by severity."""
    certainty = {False: 0, None: 1, True: 2}[verdict.is_unusual]
    return certainty, verdict.severity or 0.0


def is_any_unusual(outcomes: Sequence[bool | None]) -> bool | None:
    """Return whether any series is unusual; None unless every other one could be evaluated.

    Examples
    --------
    >>> is_any_unusual([False, None, True]), is_any_unusual([False, None]), is_any_unusual([False])
    (True, None, False)
    """
    if True in outcomes:
        return True
    return None if None in outcomes or not outcomes else False


def outcome_of(outcomes: Sequence[bool | None]) -> str:
    """Return what a phone shows of how unusual an alarm is."""
    is_unusual = is_any_unusual(outcomes)
    if is_unusual is None:
        return "could not be evaluated" + (" completely" if False in outcomes else "")
    return "unusual" if is_unusual else "not unusual"


def alarm_cleared(change: AlarmChange, incident: AlarmIncident, now: int) -> Notification:
    """Return the notification of an alarm that is OK again."""
    lasted = change.at - incident.since
    subject = f"Resolved: alarm {change.name} after {duration(lasted)}"
    return Notification(
        id=f"{incident.id}/cleared",
        about=incident.id,
        detail_type="Alarm Cleared",
        detail={
            **incident.detail,
            "alarm": alarm_detail(change),
            "lasted_seconds": lasted // 1000,
        },
        subject=subject_line(subject),
        message="\n".join(
            [
                f"{subject}. It has been OK since {spoken(change.at)}.",
                "",
                f"When it fired: {incident.detail['verdict']}",
                "",
                f"Reason    {change.reason}",
                f"Alarm     {change.arn}",
                f"Anomaly  {incident.id}",
            ]
        ),
        made_at=now,
    )


def alarm_detail(change: AlarmChange) -> dict[str, Any]:
    """Return an alarm as events carry it."""
    return {"name": change.name, "arn": change.arn, "state": change.state, "at": iso(change.at)}


def verdict_detail(verdict: Verdict) -> dict[str, Any]:
    """Return one series of an alarm as events carry it."""
    return {
        "metric": verdict.metric,
        "alarm": verdict.alarm,
        "value": verdict.value,
        "expected": verdict.expected,
        "lower": verdict.lower,
        "upper": verdict.upper,
        "score": verdict.score,
        "severity": verdict.severity,
        "is_unusual": verdict.is_unusual,
        "since": None if verdict.since is None else iso(verdict.since),
        "reason": verdict.reason,
        "compared_with": compared_with(verdict),
        "unavailable_because": verdict.unavailable_because,
    }


def verdict_sentence(verdict: Verdict) -> str:
    """Return how unusual one series of an alarm is, as a sentence."""
    if verdict.value is None or verdict.severity is None:
        return f"{verdict.title} could not be evaluated: {verdict.unavailable_because}."
    if verdict.since is not None:
        found = (
            f"has been unusual since {spoken(verdict.since)}, severity {verdict.severity:.2f}: "
            f"{verdict.reason}"
        )
    else:
        bounds = normal_range(verdict.lower, verdict.upper)
        found = f"is at {number(verdict.value)}, which is not unusual{bounds}"
    return f"{verdict.title} {found}. Compared with {compared_with(verdict)}."


def compared_with(verdict: Verdict) -> str | None:
    """Return the history that a series was compared with."""
    if verdict.history_start is None:
        return None
    return f"{verdict.readings:,} datapoints since {spoken(verdict.history_start)}"


def title_of(metric: Metric) -> str:
    """Return the short name of a metric."""
    return metric_title(metric.name, [value for _, value in metric.dimensions])


def basis(provenance: Provenance) -> str:
    """Return what an evaluation rests on."""
    if provenance.model is None:
        return f"last {provenance.readings:,} datapoints"
    return f"model {provenance.model}, version {provenance.version}"


def normal_range(lower: float | None, upper: float | None) -> str:
    """Return the bounds of what was expected, in brackets; nothing if they are not known.

    Examples
    --------
    >>> normal_range(21.66, 27.17)
    ' (normal range 21.66 to 27.17)'
    """
    if lower is None or upper is None:
        return ""
    return f" (normal range {number(lower)} to {number(upper)})"


def percent(share: float) -> str:
    """Return a share as a percentage.

    Examples
    --------
    >>> percent(0.7174)
    '72 %'
    """
    return f"{100 * share:.0f} %"
