"""The wording of incidents: an event with the documented detail, and a message for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.watcher.formatting import (
    MAX_SUBJECT,
    iso,
    metric_title,
    shortened,
    spoken,
    subject_line,
)
from ops_anomaly.watcher.incidents import (
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    IncidentResumed,
)
from ops_anomaly.watcher.outbox import EVENT, MESSAGE, Notification

if TYPE_CHECKING:
    from ops_anomaly.watcher.anomalies import (
        Anomaly,
        CloseReason,
        Peak,
        Provenance,
        ReportedAnomaly,
    )
    from ops_anomaly.watcher.incidents import Incident, Transition
    from ops_anomaly.watcher.watch_file import Options


VERSION = "1"
"""Of the events' detail; `docs/events.md` describes it."""

Level = Literal["critical", "error", "warning", "info"]
"""A severity in words: those of PagerDuty's Events API, and of most on-call tools."""

CRITICAL, ERROR = 0.9, 0.75
"""Severities from which an incident has these levels; 0.5 is at the threshold of an alert."""

MAX_DETAIL = 240_000
"""Bytes of a detail; EventBridge takes 256 KB, with the rest of the event."""

MAX_MEMBERS, MAX_OWNERS = 20, 5
"""Members of an incident that an event carries, the first ones; and owners and runbooks."""

MAX_LISTED, MAX_COUNTED = 10, 4
"""Members that a message lists; and names of metrics by which it counts the others."""

MAX_TITLE, MAX_TAGS = 100, 200
"""Characters of a metric's short name, and of the tags, in a message."""

SNOOZE = "4h"

CLOSED_SUBJECTS: dict[CloseReason, str] = {
    "recovered": "Resolved",
    "new normal": "New normal",
    "no data": "No more data",
    "no longer watched": "No longer watched",
    "withdrawn": "Withdrawn",
    "data is back": "Data is back",
    "marked as fine": "Marked as fine",
}
CLOSED_MESSAGES: dict[CloseReason, str] = {
    "recovered": "It is back to normal; the last unusual reading was on {last}.",
    "no data": "There has been no data since {last}: the resource is gone, or its data is late.",
    "new normal": "It has not gone back: it has stayed there for so long that this is its new "
    "normal, and what it is compared with from now on.",
    "no longer watched": "It has left the fleet or the watch file.",
    "withdrawn": "CloudWatch has corrected the readings that it rested on, and they are ordinary: "
    "there was no incident.",
    "data is back": "There is data again; there was none until {last}.",
    "marked as fine": "Somebody has said that it is fine: the next like it does not alert.",
}


def incident_notification(
    transition: Transition,
    entries: Mapping[str, Options],
    page: str | None,
    now: int,
    bucket: str | None = None,
) -> Notification:
    """Return the notification of an incident that opens, grows, closes, or outlasts a snooze.

    Parameters
    ----------
    entries
        The options of each entry of the watch file, by its name.
    page : str or None
        URL of the page of incidents.
    bucket : str or None
        For the commands that a message suggests.
    """
    incident = transition.incident
    context = _context(incident, entries)
    kind, name, begin = _kind(transition, now)
    if isinstance(transition, IncidentClosed):
        summary, lines = closed_summary(incident), closed_lines(incident)
    else:
        summary, lines = opened_summary(incident, begin), opened_lines(incident, begin)
    text = "\n".join([*lines, "", *_footer(incident, context, page, bucket)])
    notification_id = f"{incident.id}/{name}"
    said = {"notification": notification_id, "summary": summary, "text": text}
    return Notification(
        id=notification_id,
        about=incident.id,
        detail_type=f"Incident {kind}",
        detail=incident_detail(incident, context, page, said),
        subject=subject_line(summary),
        message=text,
        made_at=now,
        waiting=(EVENT, *_topics(transition)),
    )


def _kind(transition: Transition, now: int) -> tuple[str, str, str]:
    """Return how the detail type and the id of a notification end, and how its text begins."""
    match transition:
        case IncidentOpened():
            return "Opened", "opened", ""
        case IncidentJoined(incident=incident):
            return "Updated", f"joined-{len(incident.members)}", "Growing: "
        case IncidentResumed():
            return "Reminded", f"reminded-{now}", "Still open: "
        case IncidentClosed(incident=incident):  # which may be opened again, as by "undo"
            return "Closed", f"closed-{incident.closed_at}", ""


def _topics(transition: Transition) -> Iterable[str]:
    """Return where the message goes; nowhere if people need none."""
    match transition:
        case IncidentJoined(topics=topics):
            return topics
        case IncidentClosed(is_silent=True):
            return ()
    return transition.incident.topics or (MESSAGE,)


def level_of(severity: float | None) -> Level:
    """Return a severity in words; what is unknown is a warning.

    Examples
    --------
    >>> level_of(0.93), level_of(0.8), level_of(0.6), level_of(None)
    ('critical', 'error', 'warning', 'warning')
    """
    if severity is None or severity < ERROR:
        return "warning"
    return "critical" if severity >= CRITICAL else "error"


def incident_detail(
    incident: Incident, context: Sequence[Options], page: str | None, said: Mapping[str, str]
) -> dict[str, Any]:
    """Return an incident as events carry it, with what is said of it."""
    lasted = _lasted(incident)
    detail = {
        "version": VERSION,
        "id": incident.id,
        "level": level_of(incident.severity),
        "severity": incident.severity,
        **said,
        "first_seen": iso(incident.first_seen),
        "opened": iso(incident.opened_at),
        "closed": None if incident.closed_at is None else iso(incident.closed_at),
        "close_reason": incident.close_reason,
        "lasted_seconds": None if incident.closed_at is None else lasted // 1000,
        "owners": _unique(each.owner for each in context)[:MAX_OWNERS],
        "runbooks": _unique(each.runbook for each in context)[:MAX_OWNERS],
        "tags": _tags(context),
        "page": page,
        "member_count": len(incident.members),
        "members": [member_detail(each) for each in incident.members[:MAX_MEMBERS]],
    }
    return fitted(detail, "members")


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


def fitted(detail: dict[str, Any], listed: str) -> dict[str, Any]:
    """Return a detail that EventBridge takes: without tags and the last items, if it has to be."""
    if len(msgspec.json.encode(detail)) <= MAX_DETAIL:
        return detail
    if detail.get("tags"):
        return fitted(detail | {"tags": {}}, listed)
    return fitted(detail | {listed: detail[listed][:-1]}, listed)


def _context(incident: Incident, entries: Mapping[str, Options]) -> list[Options]:
    """Return the options of the incident's entries, in the order of its members."""
    names = dict.fromkeys(each.anomaly.provenance.entry for each in incident.members)
    return [entries[name] for name in names if name in entries]


def _unique(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _tags(context: Sequence[Options]) -> dict[str, str]:
    """Return the tags of all entries; where they differ, the entry of the first member is right."""
    return {key: value for each in reversed(context) for key, value in each.tags.items()}


def delivery_test(now: int) -> Notification:
    """Return a notification that shows whether alerts arrive, and says that it is no alert."""
    identity = f"test-{now}"
    summary = "Test: alerts of the anomaly watcher arrive here"
    text = "\n".join(
        [
            "This is a test, and no alert: somebody has checked whether alerts arrive.",
            "",
            *rows(("Sent", spoken(now)), ("Test", identity)),
        ]
    )
    return Notification(
        id=identity,
        about=identity,
        detail_type="Test Alert",
        detail={
            "version": VERSION,
            "id": identity,
            "level": "info",
            "severity": None,
            "notification": identity,
            "summary": summary,
            "text": text,
            "time": iso(now),
        },
        subject=summary,
        message=text,
        made_at=now,
    )


def opened_summary(incident: Incident, begin: str = "") -> str:
    """Return what a phone shows of an incident that is open: a subject that SNS takes whole."""
    leader = incident.members[0]
    is_silent = leader.anomaly.is_silence
    found = "" if is_silent else f": {_found(leader.anomaly.peak)}"
    rest = f"{found}{_more(incident)} (severity {incident.severity:.2f})"
    return _with_title(f"{begin}{'No data: ' * is_silent}", leader, rest)


def opened_lines(incident: Incident, begin: str = "") -> list[str]:
    """Return the message of an incident that is open, to be understood at 3 a.m."""
    leader, count, common = incident.members[0], len(incident.members), _common(incident)
    metrics = f"; {count} metrics" if count > 1 else ","
    lines = [f"{begin}{_brief(leader)}{metrics} since {spoken(incident.first_seen)}", ""]
    if count > 1:
        lines += [*_listed(incident, common), ""]
    return lines + rows(
        ("Lasted", f"{duration(_lasted(incident))} so far" if begin else ""),
        *_what_members_share(incident, common),
        *_particulars(leader.anomaly),
    )


def closed_summary(incident: Incident) -> str:
    """Return what a phone shows of an incident that is over: a subject that SNS takes whole."""
    rest = f"{_more(incident)} after {duration(_lasted(incident))}"
    reason = CLOSED_SUBJECTS[incident.close_reason or "recovered"]
    return _with_title(f"{reason}: ", incident.members[0], rest)


def closed_lines(incident: Incident) -> list[str]:
    """Return the message of an incident that is over."""
    leader = incident.members[0].anomaly
    explained = CLOSED_MESSAGES[incident.close_reason or "recovered"]
    worst = "" if leader.is_silence else f"{_found(leader.peak)}, on {spoken(leader.peak.time)}"
    return [
        closed_summary(incident),
        explained.format(last=spoken(incident.last_seen)),
        "",
        *rows(
            ("Since", spoken(incident.first_seen)),
            ("Worst", worst),
            ("Why", leader.peak.reason),
            ("Severity", f"{incident.severity:.2f} of 1"),
            ("Metrics", _ends(incident)),
            *_what_members_share(incident, _common(incident)),
        ),
    ]


def _footer(
    incident: Incident, context: Sequence[Options], page: str | None, bucket: str | None
) -> list[str]:
    """Return who is responsible, what to do, and where to see it."""
    tags = ", ".join(f"{key}={value}" for key, value in _tags(context).items())
    leader = incident.members[0]
    responsible = rows(
        ("Owner", ", ".join(_unique(each.owner for each in context)[:MAX_OWNERS])),
        ("Runbook", ", ".join(_unique(each.runbook for each in context)[:MAX_OWNERS])),
        ("Tags", shortened(tags, MAX_TAGS)),
    )
    todo = rows(("Charts", page or ""), *_replies(incident, bucket))
    source = rows(
        ("Metric", leader.metric),
        ("Entry", f"{leader.anomaly.provenance.entry} (watch file)"),
        ("Incident", incident.id),
    )
    return [line for part in (responsible, todo) if part for line in (*part, "")] + source


def _replies(incident: Incident, bucket: str | None) -> list[tuple[str, str]]:
    """Return what people can say of an incident, as the commands that do it."""
    place = f" --bucket {bucket}" if bucket else ""
    command = f"ops-anomaly feedback {incident.id}"
    # of readings that are missing there is nothing to learn
    has_readings = any(not each.anomaly.is_silence for each in incident.members)
    is_known = incident.close_reason in ("withdrawn", "marked as fine")
    fine = ("Fine?", f"{command} fine{place}" if has_readings and not is_known else "")
    if incident.closed_at is None:
        return [fine, ("Not now?", f"{command} snooze {SNOOZE}{place}")]
    return [fine, ("Real?", f"{command} real{place}" if fine[1] else "")]


def rows(*named: tuple[str, str]) -> list[str]:
    """Return the lines of a message that say one thing each; nothing of what is empty."""
    return [f"{name:10}  {value}" for name, value in named if value]


def _brief(member: ReportedAnomaly, common: Iterable[tuple[str, str]] = ()) -> str:
    """Return what has happened to a metric, and how much; without the dimensions in common."""
    metric, anomaly = Metric.parse(member.metric), member.anomaly
    values = [value for name, value in metric.dimensions if (name, value) not in common]
    title = shortened(metric_title(metric.name, values), MAX_TITLE)
    return f"No data: {title}" if anomaly.is_silence else f"{title}: {_found(anomaly.peak)}"


def _found(peak: Peak) -> str:
    value = "no data" if peak.value is None else number(peak.value)
    return value if peak.expected is None else f"{value}, expected {number(peak.expected)}"


def _with_title(begin: str, member: ReportedAnomaly, rest: str) -> str:
    """Return a line with a metric's short name, shortened so that all of it fits a subject."""
    title = title_of(Metric.parse(member.metric))
    return f"{begin}{shortened(title, MAX_SUBJECT - len(begin) - len(rest))}{rest}"


def _more(incident: Incident) -> str:
    others = len(incident.members) - 1
    return f", and {others} more" if others else ""


def _listed(incident: Incident, common: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each of the worst members, and one that counts the others."""
    lines = [
        f"{each.anomaly.peak.severity:.2f}  {_brief(each, common)}"
        for each in incident.members[:MAX_LISTED]
    ]
    left = Counter(Metric.parse(each.metric).name for each in incident.members[MAX_LISTED:])
    if not left:
        return lines
    counted = [f"{n} {shortened(name, MAX_TITLE)}" for name, n in left.most_common(MAX_COUNTED)]
    others = ["..."] if len(left) > MAX_COUNTED else []
    return [*lines, f"and {left.total()} more: {', '.join(counted + others)}"]


def _what_members_share(
    incident: Incident, common: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the dimensions that all members have, and which of them were the first."""
    begin = incident.first_seen
    earliest = [each for each in incident.members if each.anomaly.first_seen == begin]
    shared = ", ".join(f"{name}={value}" for name, value in common)
    found = [("In common", shortened(shared, MAX_TAGS))]
    if len(earliest) < len(incident.members):
        first = shortened(title_of(Metric.parse(earliest[0].metric)), MAX_TITLE)
        more = f" and {len(earliest) - 1} more" if len(earliest) > 1 else ""
        found.append(("First", f"{first}{more}, on {spoken(begin)}"))
    return found


def _common(incident: Incident) -> list[tuple[str, str]]:
    """Return the dimensions that all of several members have."""
    first, *others = (Metric.parse(each.metric).dimensions for each in incident.members)
    return [pair for pair in first if others and all(pair in each for each in others)]


def _ends(incident: Incident) -> str:
    """Return how many members there were, and how they ended if they differ."""
    count = len(incident.members)
    ends = Counter(each.close_reason for each in incident.members if each.close_reason)
    counted = ", ".join(f"{n} {reason}" for reason, n in ends.most_common())
    return "" if count == 1 else f"{count} ({counted})" if len(ends) > 1 else str(count)


def _particulars(anomaly: Anomaly) -> list[tuple[str, str]]:
    """Return what is known of an anomaly."""
    peak, provenance = anomaly.peak, anomaly.provenance
    is_known = peak.lower is not None and peak.upper is not None
    normal = f"{number(peak.lower or 0.0)} to {number(peak.upper or 0.0)}" if is_known else ""
    confidence = f"{percent(provenance.confidence)} ({basis(provenance)})"
    return [
        ("Why", peak.reason),
        ("Normal", normal),
        ("Severity", f"{peak.severity:.2f} of 1 ({level_of(peak.severity)})"),
        ("Confidence", "" if anomaly.is_silence else confidence),
    ]


def _lasted(incident: Incident) -> int:
    """Return how long it was unusual, in milliseconds, with the last period."""
    last = max(incident.members, key=lambda each: each.anomaly.last_seen)
    period = 0 if last.anomaly.is_silence else 1000 * Metric.parse(last.metric).period
    return last.anomaly.last_seen + period - incident.first_seen


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
