"""What is told of an alarm: when it fires, how unusual that is, and when it is over."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detector.explanation import duration
from watch.alarms.memory import AlarmIncident
from watch.clock import iso, spoken
from watch.outbox import VERSION, Notice
from watch.words import subject_line

if TYPE_CHECKING:
    from watch.alarms.change import AlarmChange
    from watch.alarms.verdict import Verdict


def fired(
    change: AlarmChange, verdicts: Sequence[Verdict], now: float
) -> tuple[AlarmIncident, Notice]:
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
    return AlarmIncident(id=incident_id, since=change.at, detail=detail), Notice(
        id=f"{incident_id}/judged",
        about=incident_id,
        detail_type="Alarm Judged",
        detail=detail,
        subject=subject_line(subject),
        message=message,
        made_at=now,
    )


def cleared(change: AlarmChange, incident: AlarmIncident, now: float) -> Notice:
    """Return what is told when an alarm is over."""
    lasted = change.at - incident.since
    return Notice(
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
