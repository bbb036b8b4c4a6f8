"""What is told of an incident: the event's documented detail, and the message for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from detector.explanation import duration, number
from watch.clock import iso, spoken
from watch.fleet.incident import Closed, Opened
from watch.outbox import VERSION, Notice
from watch.words import called, subject_line

if TYPE_CHECKING:
    from registry.metric import Metric
    from watch.fleet.incident import Because, Incident

ENDINGS = {
    "quiet": "Its readings have been ordinary again since {last}.",
    "no data": "It has had no readings since {last}: it has vanished, or is late.",
    "no longer watched": "It is no longer watched; its last unusual reading was at {last}.",
}


def notice_of(step: Opened | Closed, metric: Metric, now: float) -> Notice:
    """Return what is told when an incident of a metric begins or ends."""
    incident = step.incident
    detail: dict[str, Any] = {
        "version": VERSION,
        "id": incident.id,
        "entry": incident.judged_by.entry,
        "metric": metric_detail(metric),
        "first_seen": iso(incident.first_seen),
        **msgspec.structs.asdict(incident.peak),
        "time": iso(incident.peak.time),
        "confidence": incident.judged_by.confidence,
        "model": incident.judged_by.model_detail,
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
    return Notice(
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
    peak, judged_by = incident.peak, incident.judged_by
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
            f"  sure      {judged_by.confidence:.0%}, judged by {judged_by.words}",
            "",
            f"Metric    {metric}",
            f"Entry     {judged_by.entry} of the watch file",
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
