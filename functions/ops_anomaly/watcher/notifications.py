"""The wording of notifications: an event with the documented detail, and a message for people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.watcher.alarm_evaluation import AlarmIncident
from ops_anomaly.watcher.formatting import iso, metric_title, spoken, subject_line
from ops_anomaly.watcher.incidents import (
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    IncidentResumed,
)
from ops_anomaly.watcher.outbox import EVENT, MESSAGE, Notification

if TYPE_CHECKING:
    from ops_anomaly.watcher.alarm_evaluation import Verdict
    from ops_anomaly.watcher.anomalies import Anomaly, CloseReason, Peak, Provenance
    from ops_anomaly.watcher.events import AlarmChange
    from ops_anomaly.watcher.incidents import Incident, ReportedAnomaly, Transition
    from ops_anomaly.watcher.watch_file import Options


VERSION = "1"
"""Of the events' detail; `docs/events.md` describes it."""

MAX_MEMBERS = 20
"""Members of an incident that an event carries: the first ones; EventBridge takes 256 KB."""

MAX_LISTED = 10
"""Members that a message lists."""

MAX_SERIES = 10
"""Series of an alarm that are reported: the most unusual ones."""

CLOSED_SUBJECTS: dict[CloseReason, str] = {
    "recovered": "Resolved",
    "no data": "No more data",
    "no longer watched": "No longer watched",
    "withdrawn": "Withdrawn",
    "data is back": "Data is back",
    "marked as fine": "Marked as fine",
}
CLOSED_MESSAGES: dict[CloseReason, str] = {
    "recovered": "It is back to normal; the last unusual reading was on {last}.",
    "no data": "There has been no data since {last}: the resource is gone, or its data is late.",
    "no longer watched": "It has left the fleet or the watch file; the last unusual reading was "
    "on {last}.",
    "withdrawn": "CloudWatch has corrected the readings that it rested on, and they are ordinary: "
    "there was no incident.",
    "data is back": "There is data again; there was none until {last}.",
    "marked as fine": "Somebody has said that it is fine.",
}


def incident_notification(
    transition: Transition, entries: Mapping[str, Options], page: str | None, now: int
) -> Notification:
    """Return the notification of an incident that opens, grows, closes, or outlasts a snooze.

    Parameters
    ----------
    entries
        The options of each entry of the watch file, by its name.
    page : str or None
        URL of the page of incidents.
    """
    incident = transition.incident
    context = _context(incident, entries)
    topics = tuple(dict.fromkeys(each.topic or MESSAGE for each in context)) or (MESSAGE,)
    match transition:
        case IncidentOpened():
            kind, name = "Opened", "opened"
            subject, lines = opened_subject(incident), opened_lines(incident)
        case IncidentResumed():
            kind, name = "Reminded", f"reminded-{now}"
            subject, lines = f"Still open: {opened_subject(incident)}", opened_lines(incident)
        case IncidentJoined():
            kind, name, topics = "Updated", f"joined-{len(incident.members)}", ()
            subject, lines = opened_subject(incident), opened_lines(incident)
        case IncidentClosed(is_silent=is_silent):
            kind, name = "Closed", "closed"
            topics = () if is_silent else topics
            subject, lines = closed_subject(incident), closed_lines(incident)
    lines += ["", *_footer(incident, context, page)]
    message = "\n".join(lines)
    return Notification(
        id=f"{incident.id}/{name}",
        about=incident.id,
        detail_type=f"Incident {kind}",
        detail=incident_detail(incident, context, page, subject, message),
        subject=subject_line(subject),
        message=message,
        made_at=now,
        waiting=(EVENT, *topics),
    )


def incident_detail(
    incident: Incident, context: Sequence[Options], page: str | None, summary: str, text: str
) -> dict[str, Any]:
    """Return an incident as events carry it."""
    lasted = _lasted(incident)
    return {
        "version": VERSION,
        "id": incident.id,
        "summary": summary,
        "text": text,
        "severity": incident.severity,
        "first_seen": iso(incident.first_seen),
        "opened": iso(incident.opened_at),
        "closed": None if incident.closed_at is None else iso(incident.closed_at),
        "close_reason": incident.close_reason,
        "lasted_seconds": None if incident.closed_at is None else lasted // 1000,
        "member_count": len(incident.members),
        "members": [member_detail(each) for each in incident.members[:MAX_MEMBERS]],
        "owners": _unique(each.owner for each in context),
        "runbooks": _unique(each.runbook for each in context),
        "tags": {key: value for each in reversed(context) for key, value in each.tags.items()},
        "page": page,
    }


def member_detail(member: ReportedAnomaly) -> dict[str, Any]:
    """Return one anomaly of an incident as events carry it."""
    anomaly = member.anomaly
    return {
        "id": anomaly.id,
        "kind": "silence" if anomaly.is_silence else "anomaly",
        "entry": anomaly.provenance.entry,
        "metric": metric_detail(Metric.parse(member.metric)),
        "first_seen": iso(anomaly.first_seen),
        "last_seen": iso(anomaly.last_seen),
        "readings": anomaly.readings,
        **msgspec.structs.asdict(anomaly.peak),
        "time": iso(anomaly.peak.time),
        "confidence": anomaly.provenance.confidence,
        "member": anomaly.member,
        "model": model_detail(anomaly.provenance),
        "close_reason": member.close_reason,
    }


def _context(incident: Incident, entries: Mapping[str, Options]) -> list[Options]:
    """Return the options of the incident's entries, in the order of its members."""
    names = dict.fromkeys(each.anomaly.provenance.entry for each in incident.members)
    return [entries[name] for name in names if name in entries]


def _unique(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


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


def opened_subject(incident: Incident) -> str:
    """Return what a phone shows of an incident that is open."""
    leader, others = incident.members[0], len(incident.members) - 1
    title, peak = _title(leader), leader.anomaly.peak
    if leader.anomaly.is_silence:
        what = f"No data: {title}"
    else:
        expected = "" if peak.expected is None else f", expected {number(peak.expected)}"
        what = f"{title}: {_value(peak)}{expected}"
    more = f" and {others} more" if others else ""
    return f"{what}{more} (severity {incident.severity:.2f})"


def opened_lines(incident: Incident) -> list[str]:
    """Return the message of an incident that is open, to be understood at 3 a.m."""
    leader = incident.members[0]
    if len(incident.members) == 1:
        return [_sentence(leader), "", *_particulars(leader.anomaly)]
    first = min(incident.members, key=lambda each: (each.anomaly.first_seen, each.metric))
    listed = incident.members[:MAX_LISTED]
    left = len(incident.members) - len(listed)
    return [
        f"{len(incident.members)} metrics have been unusual since {spoken(incident.first_seen)}.",
        f"The worst: {_sentence(leader)}",
        f"The first: {_title(first)}, on {spoken(first.anomaly.first_seen)}.",
        "",
        *(f"  {each.anomaly.peak.severity:.2f}  {_title(each)}: {_brief(each)}" for each in listed),
        *([f"        and {left} more"] if left else []),
        "",
        *_particulars(leader.anomaly),
    ]


def closed_subject(incident: Incident) -> str:
    """Return what a phone shows of an incident that is over."""
    others = len(incident.members) - 1
    more = f" and {others} more" if others else ""
    title = f"{_title(incident.members[0])}{more}"
    return f"{_closed_as(incident)}: {title} after {duration(_lasted(incident))}"


def closed_lines(incident: Incident) -> list[str]:
    """Return the message of an incident that is over."""
    leader, count = incident.members[0].anomaly, len(incident.members)
    reason = incident.close_reason or "recovered"
    lines = [
        f"{closed_subject(incident)}.",
        CLOSED_MESSAGES[reason].format(last=spoken(incident.last_seen)),
        "",
        f"  since     {spoken(incident.first_seen)}",
        f"  duration  {duration(_lasted(incident))}",
    ]
    if count > 1:
        lines.append(f"  metrics   {count}")
    if not leader.is_silence:
        lines.append(f"  worst     {_value(leader.peak)} on {spoken(leader.peak.time)}")
    return [
        *lines,
        f"  severity  {incident.severity:.2f} of 1",
        f"  reason    {leader.peak.reason}",
    ]


def _closed_as(incident: Incident) -> str:
    return CLOSED_SUBJECTS[incident.close_reason or "recovered"]


def _footer(incident: Incident, context: Sequence[Options], page: str | None) -> list[str]:
    """Return who is responsible, what to do, and where to look."""
    tags = {key: value for each in reversed(context) for key, value in each.tags.items()}
    rows = [
        ("Owner", ", ".join(_unique(each.owner for each in context))),
        ("Runbook", ", ".join(_unique(each.runbook for each in context))),
        ("Tags", ", ".join(f"{key}={value}" for key, value in tags.items())),
        ("Metric", incident.members[0].metric),
        ("Entry", f"{incident.members[0].anomaly.provenance.entry} (watch file)"),
        ("Incident", incident.id),
        ("Page", page or ""),
    ]
    return [f"{name:9} {value}" for name, value in rows if value]


def _sentence(member: ReportedAnomaly) -> str:
    """Return what, how much and since when."""
    anomaly, title = member.anomaly, _title(member)
    since = spoken(anomaly.first_seen)
    if anomaly.is_silence:
        return f"{title} has had no data since {since}."
    expected = anomaly.peak.expected
    instead = "" if expected is None else f", where {number(expected)} was expected"
    return f"{title} has been unusual since {since}: {_value(anomaly.peak)}{instead}."


def _brief(member: ReportedAnomaly) -> str:
    peak = member.anomaly.peak
    if member.anomaly.is_silence:
        return "no data"
    return _value(peak) + ("" if peak.expected is None else f", expected {number(peak.expected)}")


def _particulars(anomaly: Anomaly) -> list[str]:
    """Return what is known of an anomaly, a line each."""
    peak, provenance = anomaly.peak, anomaly.provenance
    expected = "unknown" if peak.expected is None else number(peak.expected)
    return [
        f"  value       {_value(peak)} on {spoken(peak.time)}",
        f"  expected    {expected}{normal_range(peak.lower, peak.upper)}",
        f"  reason      {peak.reason}",
        f"  severity    {peak.severity:.2f} of 1 (0.5 is at the threshold)",
        f"  confidence  {percent(provenance.confidence)} ({basis(provenance)})",
    ][2 if anomaly.is_silence else 0 :]


def _value(peak: Peak) -> str:
    return "no data" if peak.value is None else number(peak.value)


def _title(member: ReportedAnomaly) -> str:
    return title_of(Metric.parse(member.metric))


def _lasted(incident: Incident) -> int:
    """Return how long it was unusual, in milliseconds, with the last period."""
    last = max(incident.members, key=lambda each: each.anomaly.last_seen)
    period = 0 if last.anomaly.is_silence else 1000 * Metric.parse(last.metric).period
    return last.anomaly.last_seen + period - incident.first_seen


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
