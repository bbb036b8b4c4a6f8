"""A board of incidents as a fleet has it on a bad afternoon: for the page, and to see what it does.

`python -m tests.support.boards FILE` writes the page; with `--widget` the widget, with `--dark` in
dark colours.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from pathlib import Path

from ops_anomaly.charts import Chart
from ops_anomaly.watcher.anomalies import (
    Anomaly,
    CloseReason,
    Extremes,
    Peak,
    Provenance,
    ReportedAnomaly,
)
from ops_anomaly.watcher.feedback import Feedback, Undo
from ops_anomaly.watcher.incidents import Incident, IncidentBoard
from ops_anomaly.watcher.page import page, widget
from ops_anomaly.watcher.watch_file import Options, parse_watch_file

NOW = 1_795_617_000_000
"""Wednesday 25 November 2026, 14:30 UTC."""

MINUTE, HOUR, STEP = 60_000, 3_600_000, 300_000
PERIODS = 288
ENDPOINT = "arn:aws:lambda:eu-central-1:123456789012:function:ops-anomaly-incidents"


def simulated(
    base: float, swing: float, noise: float, began: int, ended: int, change: float, seed: int = 0
) -> Chart:
    """A day of a metric with a daily pattern that changes by so much from one time to another."""
    rng = random.Random(seed)
    start = NOW - NOW % STEP - PERIODS * STEP
    times = [start + STEP * number for number in range(PERIODS)]
    expected = [base + swing * math.sin(2 * math.pi * time / (24 * HOUR)) for time in times]
    is_unusual = [began <= time < ended for time in times]
    values = [
        max(usual + rng.gauss(0, noise) + change * rng.uniform(0.85, 1) * unusual, 0.0)
        for usual, unusual in zip(expected, is_unusual, strict=True)
    ]
    return Chart(
        start=start,
        step=STEP,
        values=[round(value, 3) for value in values],
        expected=[round(usual, 3) for usual in expected],
        lower=[round(usual - 4 * noise, 3) for usual in expected],
        upper=[round(usual + 4 * noise, 3) for usual in expected],
        unusual=[number for number, unusual in enumerate(is_unusual) if unusual],
    )


def reported(
    metric: str,
    chart: Chart,
    severity: float,
    reason: str,
    entry: str = "web",
    model: str | None = None,
    closed_at: int | None = None,
    close_reason: CloseReason | None = None,
) -> ReportedAnomaly:
    """The anomaly that a chart shows."""
    first, last = chart.unusual[0], chart.unusual[-1]
    peak = max(chart.unusual, key=lambda at: abs(chart.values[at] - chart.expected[at]))
    values = [chart.values[at] for at in chart.unusual]
    first_seen = chart.start + STEP * first
    return ReportedAnomaly(
        metric=metric,
        anomaly=Anomaly(
            id=hashlib.sha256(f"{metric} since {first_seen}".encode()).hexdigest()[:16],
            first_seen=first_seen,
            last_seen=chart.start + STEP * last,
            readings=len(values),
            member=None,
            peak=Peak(
                time=chart.start + STEP * peak,
                value=chart.values[peak],
                expected=chart.expected[peak],
                lower=chart.lower[peak],
                upper=chart.upper[peak],
                score=8.1,
                severity=severity,
                reason=reason,
            ),
            provenance=Provenance(entry, model, "Vq3xN0aT" if model else None, 4_032, 0.97),
            extremes=Extremes(min(values), max(values), 0.0, max(values)),
        ),
        opened_at=first_seen + STEP,
        closed_at=closed_at,
        close_reason=close_reason,
        chart=chart,
    )


def outage() -> Incident:
    """A database fails, and with it thirty metrics; the first five have a chart."""
    began = NOW - 25 * MINUTE
    members = []
    for number in range(30):
        start = began + (number // 6) * STEP
        name, base = [
            ("TargetResponseTime", 0.24),
            ("HTTPCode_Target_5XX_Count", 3.0),
            ("RequestCountPerTarget", 410.0),
        ][number % 3]
        balancer = f"app/shop-{number // 3 + 1:02}"
        change = -0.9 * base if name == "RequestCountPerTarget" else 14 * base
        chart = simulated(base, 0.3 * base, 0.05 * base, start, NOW + STEP, change, number)
        metric = f"AWS/ApplicationELB {name} LoadBalancer={balancer} TargetGroup=checkout Sum 300"
        direction = "below" if change < 0 else "above"
        reason = f"far {direction} what this time of day usually has, by 12 times its usual spread"
        member = reported(metric, chart, 0.98 - 0.012 * number, reason, "load-balancers")
        members.append(member if number < 5 else bare(member))
    return Incident(members[0].anomaly.id, began + STEP, members)


def bare(member: ReportedAnomaly) -> ReportedAnomaly:
    """A member of which no chart is kept."""
    return ReportedAnomaly(member.metric, member.anomaly, member.opened_at)


def single() -> Incident:
    """One instance is busier than its model knows it."""
    chart = simulated(22, 8, 1.2, NOW - 70 * MINUTE, NOW + STEP, 31, 1)
    metric = "AWS/EC2 CPUUtilization InstanceId=i-0a1b2c3d4e5f67890 Average 300"
    reason = "higher than usual for Wednesday 13:00: about twice as high since 13:20"
    member = reported(metric, chart, 0.71, reason, "web", "ec2-cpu")
    return Incident(member.anomaly.id, member.opened_at, [member])


def silence() -> Incident:
    """A queue's consumer has stopped to report."""
    chart = simulated(120, 30, 6, NOW - 55 * MINUTE, NOW + STEP, 0, 2)
    member = reported(
        "Shop OrdersProcessed Service=billing Sum 300",
        chart,
        1.0,
        "no data for 55 min; it usually has some every 5 min",
        "billing",
    )
    values = [None if at in chart.unusual else value for at, value in enumerate(chart.values)]
    peak = Peak(
        member.anomaly.first_seen, None, 118.0, None, None, 0.0, 1.0, member.anomaly.peak.reason
    )
    anomaly = Anomaly(
        id=member.anomaly.id,
        first_seen=member.anomaly.first_seen,
        last_seen=NOW,
        readings=0,
        member=None,
        peak=peak,
        provenance=member.anomaly.provenance,
    )
    drawn = Chart(
        chart.start, chart.step, values, chart.expected, chart.lower, chart.upper, unusual=[]
    )
    silent = ReportedAnomaly(member.metric, anomaly, member.opened_at, chart=drawn)
    return Incident(anomaly.id, silent.opened_at, [silent], snoozed_until=NOW + 3 * HOUR)


def closed() -> Incident:
    """A deployment of this morning."""
    chart = simulated(310, 60, 12, NOW - 6 * HOUR, NOW - 5 * HOUR, 420, 3)
    member = reported(
        "AWS/Lambda Duration FunctionName=thumbnails p99 300",
        chart,
        0.83,
        "higher than any of the last 14 days",
        "functions",
        None,
        NOW - 5 * HOUR + 20 * MINUTE,
        "recovered",
    )
    return Incident(
        member.anomaly.id, member.opened_at, [member], NOW - 5 * HOUR + 20 * MINUTE, "recovered"
    )


def said_to_be_fine() -> Incident:
    """A load test of last night, which somebody has explained."""
    chart = simulated(54, 20, 3, NOW - 14 * HOUR, NOW - 12 * HOUR, 160, 4)
    member = reported(
        "AWS/SQS NumberOfMessagesReceived QueueName=orders Sum 300",
        chart,
        0.9,
        "higher than usual for Wednesday 00:30: about four times as high",
        "queues",
        None,
        NOW - 12 * HOUR,
        "marked as fine",
    )
    return Incident(
        member.anomaly.id, member.opened_at, [member], NOW - 12 * HOUR, "marked as fine"
    )


def muted() -> ReportedAnomaly:
    """A batch machine within its maintenance window."""
    chart = simulated(12, 3, 0.8, NOW - 40 * MINUTE, NOW + STEP, 66, 5)
    metric = "AWS/EC2 CPUUtilization InstanceId=i-0ba7c4000000000d0 Average 300"
    return reported(metric, chart, 0.95, "higher than any of the last 14 days", "batch")


def board() -> IncidentBoard:
    """All of it."""
    incidents = [outage(), silence(), single(), closed(), said_to_be_fine()]
    return IncidentBoard(incidents, [muted()])


def entries() -> dict[str, Options]:
    """Options of the entries, as a watch file has them."""

    def entry(name: str, **more: object) -> dict[str, object]:
        metric = "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"
        return {"name": name, "metric": metric, **more}

    watch_file = parse_watch_file(
        {
            "version": 1,
            "metrics": [
                entry(
                    "load-balancers",
                    owner="shop on-call",
                    runbook="https://wiki.example.com/shop/load-balancers",
                    tags={"tier": "1", "team": "shop"},
                ),
                entry("web", owner="platform", tags={"team": "platform"}),
                entry("billing", owner="payments", runbook="https://wiki.example.com/billing"),
                entry("functions"),
                entry("queues", owner="shop on-call"),
                entry("batch", mute=[{"from": "14:00", "to": "16:00", "reason": "nightly load"}]),
            ],
        }
    )
    return {each.name: each for each in watch_file.entries}


def feedback() -> list[Feedback]:
    """What people have said."""
    fine = said_to_be_fine().id
    return [
        Feedback(
            fine,
            "real",
            "ben@example.com",
            NOW - 13 * HOUR,
            undone=Undo("ann@example.com", NOW - 12 * HOUR),
        ),
        Feedback(fine, "fine", "ann@example.com", NOW - 12 * HOUR),
        Feedback(silence().id, "snooze", "ann@example.com", NOW - HOUR, until=NOW + 3 * HOUR),
    ]


def main(file: str, *options: str) -> None:
    """Write the page to a file."""
    shown = {"now": NOW, "entries": entries(), "feedback": feedback()}
    theme = "dark" if "--dark" in options else "light"
    if "--widget" in options:
        text = widget(board(), **shown, endpoint=ENDPOINT, theme=theme)
    else:
        text = page(board(), **shown)
    Path(file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
