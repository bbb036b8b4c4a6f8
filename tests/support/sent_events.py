"""Events as the watcher sends them: one of each kind, and larger ones than anybody has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.alarm_evaluation import Verdict
from ops_anomaly.watcher.alarm_notifications import alarm_cleared, alarm_fired
from ops_anomaly.watcher.events import AlarmChange
from ops_anomaly.watcher.incidents import (
    Incident,
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    IncidentResumed,
)
from ops_anomaly.watcher.notifications import delivery_test, incident_notification
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.watch_file import Options
from tests.support.boards import NOW, bare, closed, entries, outage, silence, single
from tests.support.retraining_reports import largest, night
from training.retraining.report import run_notification

EVENTS = Path(__file__).parents[2] / "events"
CPU = "AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300"
PAGE = (
    "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1"
    "#dashboards/dashboard/ops-anomaly-eu-central-1"
)


def alarm_change(name: str) -> AlarmChange:
    """Return the change of an alarm of the sample events."""
    return AlarmChange.from_event(json.loads((EVENTS / f"{name}.json").read_text()))


def sent() -> list[Notification]:
    """Return notifications of every kind."""
    down = outage()
    transitions = (
        IncidentOpened(single()),
        IncidentOpened(down),
        IncidentJoined(down, down.members[:3]),
        IncidentResumed(silence()),
        IncidentClosed(closed(), is_silent=False),
    )
    full = Verdict(
        title="CPUUtilization of i-0123456789abcdef0",
        metric=CPU,
        alarm="web-1-cpu-high",
        value=93.0,
        expected=31.405,
        lower=28.666,
        upper=33.7874,
        score=55.5517,
        severity=0.9231,
        is_unusual=True,
        since=NOW,
        reason='unusual for "Wednesday 11:50": 93, expected 31.41',
        readings=576,
        history_start=NOW - 2 * 86_400_000,
    )
    blank = Verdict("Errors", "100 * a / b", "errors", unavailable_because="no such metric")
    incident, fired = alarm_fired(alarm_change("alarm-metric"), [full, blank], NOW)
    _, unknown = alarm_fired(alarm_change("alarm-metric"), [blank], NOW)
    return [
        *(incident_notification(each, entries(), PAGE, NOW) for each in transitions),
        incident_notification(IncidentOpened(single()), {}, None, NOW),
        fired,
        unknown,
        alarm_cleared(alarm_change("alarm-metric-ok"), incident, NOW),
        delivery_test(NOW),
        run_notification(night()),
    ]


def event_of(notification: Notification) -> dict[str, Any]:
    """Return a notification as EventBridge passes it on."""
    return {
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": notification.detail_type,
        "source": "ops-anomaly",
        "account": "123456789012",
        "time": "2026-11-25T14:30:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": notification.detail,
    }


def largest_metric(number: int) -> Metric:
    """Return a metric whose names are as long as CloudWatch takes them."""
    dimensions = ((f"{n:02}{number:02}".ljust(255, "d"), "v" * 1_024) for n in range(30))
    return Metric("n" * 255, "m" * 255, tuple(dimensions), "Average", 300)


def largest_incident() -> Notification:
    """Return the opening of an incident that has as much of everything as can be configured.

    Its six members are as many as would fit, if there were nothing else.
    """
    like = bare(single().members[0])
    options, members = {}, []
    for number in range(6):
        name = f"{number}".ljust(64, "e")
        options[name] = Options(
            name=name,
            owner=f"{number}".ljust(256, "\u00e4"),
            runbook=f"https://example.com/{number}/".ljust(2_048, "\u65e5"),
            tags={f"{number} {n}".ljust(256, "\x01"): "\x01" * 256 for n in range(50)},
        )
        provenance = msgspec.structs.replace(like.anomaly.provenance, entry=name)
        anomaly = msgspec.structs.replace(like.anomaly, provenance=provenance)
        metric = str(largest_metric(number))
        members.append(msgspec.structs.replace(like, metric=metric, anomaly=anomaly))
    incident = Incident(like.anomaly.id, NOW, members)
    return incident_notification(IncidentOpened(incident), options, PAGE, NOW)


def largest_alarm() -> Notification:
    """Return an alarm about as many metrics, with as long names, as can be."""
    metrics = [str(largest_metric(number)) for number in range(30)]
    verdicts = [Verdict(each, each, "a" * 255, unavailable_because="unknown") for each in metrics]
    return alarm_fired(alarm_change("alarm-metric"), verdicts, NOW)[1]


def largest_retraining() -> Notification:
    """Return a retraining that published nothing of 10,000 metrics with names as long as can be."""
    return run_notification(largest())
