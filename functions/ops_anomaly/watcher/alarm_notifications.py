"""The wording of alarms: an event with the documented detail, and a message for people."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.watcher.alarm_evaluation import AlarmIncident
from ops_anomaly.watcher.formatting import iso, shortened, spoken, subject_line
from ops_anomaly.watcher.notifications import (
    MAX_TITLE,
    VERSION,
    fitted,
    level_of,
    normal_range,
    rows,
)
from ops_anomaly.watcher.outbox import Notification

if TYPE_CHECKING:
    from ops_anomaly.watcher.alarm_evaluation import Verdict
    from ops_anomaly.watcher.events import AlarmChange


MAX_SERIES = 10
"""Series of an alarm that are reported: the most unusual ones."""


def alarm_fired(
    change: AlarmChange, verdicts: Sequence[Verdict], now: int
) -> tuple[AlarmIncident, Notification]:
    """Return the incident of an alarm that fires, and its notification."""
    incident_id = hashlib.sha256(f"{change.arn} at {change.at}".encode()).hexdigest()[:16]
    outcomes = [each.is_unusual for each in verdicts]
    is_unusual = is_any_unusual(outcomes)
    severity = max((each.severity for each in verdicts if each.severity is not None), default=None)
    first_seen = min((each.since for each in verdicts if each.since is not None), default=None)
    ranked = sorted(verdicts, key=verdict_rank, reverse=True)
    reported = verdicts if len(verdicts) <= MAX_SERIES else ranked[:MAX_SERIES]
    sentences = [verdict_sentence(each) for each in reported] or [
        "The alarm could not be evaluated: it has no metrics."
    ]
    verdict = verdict_sentence(ranked[0]) if ranked else sentences[0]
    if len(reported) < len(verdicts):
        counted = f"{outcomes.count(True)} of {len(verdicts)} series are unusual."
        sentences = [f"{counted} The {MAX_SERIES} most unusual:", *sentences]
    summary = f"Alarm {change.name}: {outcome_of(outcomes)}"
    text = "\n".join(
        [
            f"{summary}, fired on {spoken(change.at)}",
            "",
            *sentences,
            "",
            *_alarmrows(change, incident_id),
        ]
    )
    detail = {
        "version": VERSION,
        "id": incident_id,
        "level": "info" if is_unusual is False else level_of(severity),
        "severity": severity,
        "notification": f"{incident_id}/evaluated",
        "summary": summary,
        "text": text,
        "first_seen": None if first_seen is None else iso(first_seen),
        "alarm": alarm_detail(change),
        "is_unusual": is_unusual,
        "verdict": verdict,
        "series_count": len(verdicts),
        "series": [verdict_detail(each) for each in reported],
    }
    detail = fitted(detail, "series")
    return AlarmIncident(id=incident_id, since=change.at, detail=detail), Notification(
        id=f"{incident_id}/evaluated",
        about=incident_id,
        detail_type="Alarm Evaluated",
        detail=detail,
        subject=subject_line(summary),
        message=text,
        made_at=now,
    )


def alarm_cleared(change: AlarmChange, incident: AlarmIncident, now: int) -> Notification:
    """Return the notification of an alarm that is OK again."""
    lasted = change.at - incident.since
    summary = f"Resolved: alarm {change.name} after {duration(lasted)}"
    text = "\n".join(
        [
            f"{summary}, OK since {spoken(change.at)}",
            "",
            f"When it fired: {incident.detail['verdict']}",
            "",
            *_alarmrows(change, incident.id),
        ]
    )
    return Notification(
        id=f"{incident.id}/cleared",
        about=incident.id,
        detail_type="Alarm Cleared",
        detail={
            **incident.detail,
            "notification": f"{incident.id}/cleared",
            "summary": summary,
            "text": text,
            "alarm": alarm_detail(change),
            "lasted_seconds": lasted // 1000,
        },
        subject=subject_line(summary),
        message=text,
        made_at=now,
    )


def _alarmrows(change: AlarmChange, incident_id: str) -> list[str]:
    return rows(("Reason", change.reason), ("Alarm", change.arn), ("Incident", incident_id))


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
    title = shortened(verdict.title, MAX_TITLE)
    if verdict.value is None or verdict.severity is None:
        return f"{title} could not be evaluated: {verdict.unavailable_because}."
    if verdict.since is not None:
        found = (
            f"has been unusual since {spoken(verdict.since)}, severity {verdict.severity:.2f}: "
            f"{verdict.reason}"
        )
    else:
        bounds = normal_range(verdict.lower, verdict.upper)
        found = f"is at {number(verdict.value)}, which is not unusual{bounds}"
    return f"{title} {found}. Compared with {compared_with(verdict)}."


def compared_with(verdict: Verdict) -> str | None:
    """Return the history that a series was compared with."""
    if verdict.history_start is None:
        return None
    return f"{verdict.readings:,} datapoints since {spoken(verdict.history_start)}"
