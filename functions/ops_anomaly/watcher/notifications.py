"""What is told of an incident: the event's documented detail, and the message for a person.

What is told of an alarm: when it fires, how unusual that is, and when it is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.watcher.alarm_verdicts import AlarmIncident
from ops_anomaly.watcher.formatting import called, iso, spoken, subject_line
from ops_anomaly.watcher.incidents import Closed, Opened
from ops_anomaly.watcher.outbox import VERSION, Notification

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.alarm_verdicts import Verdict
    from ops_anomaly.watcher.events import AlarmChange
    from ops_anomaly.watcher.incidents import Because, Incident


ENDINGS = {
    "quiet": "Its readings have been ordinary again since {last}.",
    "no data": "It has had no readings since {last}: it has vanished, or is late.",
    "no longer watched": "It is no longer watched; its last unusual reading was at {last}.",
}


def notice_of(step: Opened | Closed, metric: Metric, now: float) -> Notification:
    """Return what is told when an incident of a metric begins or ends."""
    incident = step.incident
    detail: dict[str, Any] = {
        "version": VERSION,
        "id": incident.id,
        "entry": incident.provenance.entry,
        "metric": metric_detail(metric),
        "first_seen": iso(incident.first_seen),
        **msgspec.structs.asdict(incident.peak),
        "time": iso(incident.peak.time),
        "confidence": incident.provenance.confidence,
        "model": incident.provenance.model_detail,
    }
    match step:
        case Opened():
            kind, subject = "opened", opened_subject(incident, metric)
            message = opened_message(incident, metric)
        case Closed(because=because):
            kind, subject = "closed", f"Over: {short(metric)}, after {lasted(incident, metric)}"
            message = closed_message(incident, metric, because)
            detail |= {
                "ended": iso(incident.last_seen),
                "readings": incident.readings,
                "closed_because": because,
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


def metric_detail(metric: Metric) -> dict[str, Any]:
    """Return a metric as events carry it."""
    return {
        "namespace": metric.namespace,
        "name": metric.name,
        "dimensions": dict(metric.dimensions),
        "statistic": metric.statistic,
        "period": metric.period,
    }


def short(metric: Metric) -> str:
    """Return a metric as people call it."""
    return called(metric.name, [value for _, value in metric.dimensions])


def lasted(incident: Incident, metric: Metric) -> str:
    """Return how long the unusual readings of an incident lasted."""
    return duration(1000 * (incident.last_seen + metric.period - incident.first_seen))


def opened_subject(incident: Incident, metric: Metric) -> str:
    """Return what a phone shows of a new incident."""
    peak = incident.peak
    expected = "" if peak.expected is None else f", expected {number(peak.expected)}"
    return f"{short(metric)}: {number(peak.value)}{expected} (severity {peak.severity:.2f})"


def opened_message(incident: Incident, metric: Metric) -> str:
    """Return the message of a new incident, to be understood at 3 a.m."""
    peak, provenance = incident.peak, incident.provenance
    expected = "not known" if peak.expected is None else number(peak.expected)
    if peak.lower is not None and peak.upper is not None:
        expected += f" (ordinary: {number(peak.lower)} to {number(peak.upper)})"
    return "\n".join(
        [
            f"{short(metric)} is unusual since {spoken(incident.first_seen)}.",
            "",
            f"  value     {number(peak.value)} at {spoken(peak.time)}",
            f"  expected  {expected}",
            f"  why       {peak.reason}",
            f"  severity  {peak.severity:.2f} of 1, where 0.5 is only just unusual",
            f"  sure      {provenance.confidence:.0%}, judged by {provenance.words}",
            "",
            f"Metric    {metric}",
            f"Entry     {provenance.entry} of the watch file",
            f"Incident  {incident.id}; one more message follows when it ends.",
        ]
    )


def closed_message(incident: Incident, metric: Metric, because: Because) -> str:
    """Return the message of an incident's end."""
    peak = incident.peak
    readings = f"{incident.readings} unusual reading{'' if incident.readings == 1 else 's'}"
    return "\n".join(
        [
            f"{short(metric)}: the incident since {spoken(incident.first_seen)} is over.",
            ENDINGS[because].format(last=spoken(incident.last_seen)),
            "",
            f"  lasted    {lasted(incident, metric)}, {readings}",
            f"  worst     {number(peak.value)} at {spoken(peak.time)}",
            f"  severity  {peak.severity:.2f} of 1",
            f"  why       {peak.reason}",
            "",
            f"Metric    {metric}",
            f"Incident  {incident.id}",
        ]
    )


def fired(
    change: AlarmChange, verdicts: Sequence[Verdict], now: float
) -> tuple[AlarmIncident, Notification]:
    """Return the incident of an alarm that fires, and what is told of it."""
    worst = max(verdicts, key=lambda each: each.severity or -1.0, default=None)
    incident_id = hashlib.sha256(f"{change.arn} at {change.at}".encode()).hexdigest()[:16]
    known = [each.is_unusual for each in verdicts if each.is_unusual is not None]
    detail = {
        "version": VERSION,
        "id": incident_id,
        "alarm": alarm_detail(change),
        "severity": worst.severity if worst else None,
        "is_unusual": any(known) if known else None,
        "first_seen": min((each.since for each in verdicts if each.since), default=None),
        "verdict": worst.words if worst else "It could not be judged: it has no metrics.",
        "judged": [each.detail for each in verdicts],
    }
    head = {True: "unusual", False: "not unusual", None: "could not be judged"}
    message = "\n".join(
        [
            f"Alarm {change.name} fired on {spoken(change.at)}.",
            "",
            *(each.words for each in verdicts),
            *([] if verdicts else [str(detail["verdict"])]),
            "",
            f"CloudWatch says: {change.why}",
            f"Alarm     {change.arn}",
            f"Incident  {incident_id}; one more message follows when the alarm is over.",
        ]
    )
    is_unusual = detail["is_unusual"]
    subject = f"Alarm {change.name}: {head[is_unusual if isinstance(is_unusual, bool) else None]}"
    return AlarmIncident(id=incident_id, since=change.at, detail=detail), Notification(
        id=f"{incident_id}/judged",
        about=incident_id,
        detail_type="Alarm Judged",
        detail=detail,
        subject=subject_line(subject),
        message=message,
        made_at=now,
    )


def cleared(change: AlarmChange, incident: AlarmIncident, now: float) -> Notification:
    """Return what is told when an alarm is over."""
    lasted = change.at - incident.since
    return Notification(
        id=f"{incident.id}/cleared",
        about=incident.id,
        detail_type="Alarm Cleared",
        detail={
            **incident.detail,
            "alarm": alarm_detail(change),
            "lasted_seconds": round(lasted),
        },
        subject=subject_line(f"Over: alarm {change.name}, after {duration(1000 * lasted)}"),
        message="\n".join(
            [
                f"Alarm {change.name} is over since {spoken(change.at)}; it lasted "
                f"{duration(1000 * lasted)}.",
                "",
                f"When it fired: {incident.detail['verdict']}",
                f"CloudWatch says: {change.why}",
                "",
                f"Alarm     {change.arn}",
                f"Incident  {incident.id}",
            ]
        ),
        made_at=now,
    )


def alarm_detail(change: AlarmChange) -> dict[str, Any]:
    """Return an alarm as events carry it."""
    return {"name": change.name, "arn": change.arn, "state": change.state, "at": iso(change.at)}
