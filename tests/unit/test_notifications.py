"""Messages of incidents as somebody reads them at 3 a.m., and where each of them goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.anomalies import (
    Anomaly,
    CloseReason,
    Extremes,
    Peak,
    Provenance,
    ReportedAnomaly,
)
from ops_anomaly.watcher.formatting import subject_line
from ops_anomaly.watcher.incidents import (
    Incident,
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    IncidentResumed,
    Transition,
)
from ops_anomaly.watcher.notifications import (
    MAX_LISTED,
    MAX_MEMBERS,
    delivery_test,
    incident_notification,
)
from ops_anomaly.watcher.outbox import EVENT, MESSAGE, Notification
from ops_anomaly.watcher.watch_file import Options
from tests.support.watcher import NOON_MS

STEP = 300_000
METRIC = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", "i-0123"),), "Average", 300)
ANOMALY = Anomaly(
    id="de00a668a6215580",
    first_seen=NOON_MS,
    last_seen=NOON_MS + 4 * STEP,
    readings=5,
    member="rise",
    peak=Peak(
        time=NOON_MS + STEP,
        value=93.0,
        expected=24.688,
        lower=21.66,
        upper=27.17,
        score=50.5,
        severity=0.8912,
        reason="unusual for Wednesday 12:05: 93, expected 24.69",
    ),
    provenance=Provenance("web", model=None, version=None, readings=1_576, confidence=0.7174),
    extremes=Extremes(88.0, 93.0, 0.0, 68.312),
)
SILENCE = msgspec.structs.replace(
    ANOMALY,
    readings=0,
    member=None,
    extremes=None,
    peak=Peak(NOON_MS, None, None, None, None, 0.0, 1.0, "no data for 30 min or more"),
)
WEB = Options(
    name="web",
    owner="platform on-call",
    runbook="https://wiki.example.com/web",
    tags={"team": "platform", "tier": "1"},
)
PAGE = "https://console.example.com/incidents"


def member(metric: Metric = METRIC, anomaly: Anomaly = ANOMALY, **more: object) -> ReportedAnomaly:
    """Return a member of an incident; `more` is of its anomaly."""
    changed = msgspec.structs.replace(anomaly, **more)
    return ReportedAnomaly(str(metric), changed, opened_at=NOON_MS + STEP)


def incident_of(*members: ReportedAnomaly, **more: object) -> Incident:
    return Incident(**{"id": ANOMALY.id, "opened_at": NOON_MS, "members": list(members)} | more)


def closed(incident: Incident, reason: CloseReason, *, is_silent: bool = False) -> IncidentClosed:
    after = msgspec.structs.replace(incident, closed_at=NOON_MS + 9 * STEP, close_reason=reason)
    return IncidentClosed(after, is_silent)


def sent(
    transition: Transition,
    *entries: Options,
    page: str | None = PAGE,
    now: int = NOON_MS,
    bucket: str | None = None,
) -> Notification:
    """Return the notification of a change, by these entries of the watch file."""
    by_name = {each.name: each for each in entries}
    return incident_notification(transition, by_name, page, now, bucket)


ONE = incident_of(member())


def load_balancer(number: int, name: str, severity: float, late: int) -> ReportedAnomaly:
    """Return a member of which many belong to the same target group."""
    dimensions = (("LoadBalancer", f"app/shop-{number:02}"), ("TargetGroup", "checkout"))
    peak = msgspec.structs.replace(ANOMALY.peak, severity=severity)
    metric = Metric("AWS/ApplicationELB", name, dimensions, "Sum", 300)
    return member(metric, peak=peak, first_seen=NOON_MS + late * STEP, id=f"{number:016}")


def thirty() -> Incident:
    names = ["TargetResponseTime", "RequestCount", "HTTPCode_Target_5XX_Count"]
    return incident_of(
        *(load_balancer(n // 3, names[n % 3], 0.98 - n / 100, late=n < 28) for n in range(30))
    )


# --- incidents that open ------------------------------------------------------------------------


def test_the_message_of_an_incident_that_opens() -> None:
    notification = sent(IncidentOpened(ONE), WEB)
    assert notification.subject == "CPUUtilization of i-0123: 93, expected 24.69 (severity 0.89)"
    assert notification.message == (
        """\
CPUUtilization of i-0123: 93, expected 24.69, since Wed 25 Nov, 12:00 UTC

Why         unusual for Wednesday 12:05: 93, expected 24.69
Normal      21.66 to 27.17
Severity    0.89 of 1 (error)
Confidence  72 % (last 1,576 datapoints)

Owner       platform on-call
Runbook     https://wiki.example.com/web
Tags        team=platform, tier=1

Charts      https://console.example.com/incidents
Fine?       ops-anomaly feedback de00a668a6215580 fine
Not now?    ops-anomaly feedback de00a668a6215580 snooze 4h

Metric      AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300
Entry       web (watch file)
Incident    de00a668a6215580"""
    )


def test_a_message_has_no_lines_of_what_is_not_known() -> None:
    peak = msgspec.structs.replace(ANOMALY.peak, expected=None, lower=None, upper=None)
    notification = sent(IncidentOpened(incident_of(member(peak=peak))), page=None)
    assert notification.subject == "CPUUtilization of i-0123: 93 (severity 0.89)"
    assert notification.message == (
        """\
CPUUtilization of i-0123: 93, since Wed 25 Nov, 12:00 UTC

Why         unusual for Wednesday 12:05: 93, expected 24.69
Severity    0.89 of 1 (error)
Confidence  72 % (last 1,576 datapoints)

Fine?       ops-anomaly feedback de00a668a6215580 fine
Not now?    ops-anomaly feedback de00a668a6215580 snooze 4h

Metric      AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300
Entry       web (watch file)
Incident    de00a668a6215580"""
    )


def test_a_model_is_named_with_its_version() -> None:
    provenance = Provenance("web", model="ec2-cpu", version="v7", readings=576, confidence=0.9)
    notification = sent(IncidentOpened(incident_of(member(provenance=provenance))))
    assert "\nConfidence  90 % (model ec2-cpu, version v7)\n" in notification.message
    [found] = notification.detail["members"]
    assert found["model"] == {"name": "ec2-cpu", "version": "v7"}


def test_a_silence_is_no_data_rather_than_a_value() -> None:
    notification = sent(IncidentOpened(incident_of(member(anomaly=SILENCE))))
    assert notification.subject == "No data: CPUUtilization of i-0123 (severity 1.00)"
    first, _, why, severity, *others = notification.message.splitlines()
    assert first == "No data: CPUUtilization of i-0123, since Wed 25 Nov, 12:00 UTC"
    assert (why, severity) == (
        "Why         no data for 30 min or more",
        "Severity    1.00 of 1 (critical)",
    )
    assert not [line for line in others if line.startswith(("Normal", "Confidence"))]
    [found] = notification.detail["members"]
    assert (found["kind"], found["value"], found["readings"]) == ("silence", None, 0)


def test_thirty_metrics_are_one_message_with_the_worst_the_first_and_what_they_share() -> None:
    notification = sent(IncidentOpened(thirty()))
    assert notification.subject == (
        "TargetResponseTime of app/shop-00, checkout: 93, expected 24.69, and 29 more "
        "(severity 0.98)"
    )
    head, listed, facts, *_ = notification.message.split("\n\n")
    assert head == (
        "TargetResponseTime of app/shop-00, checkout: 93, expected 24.69; 30 metrics "
        "since Wed 25 Nov, 12:00 UTC"
    )
    first, *_, last, others = listed.splitlines()
    assert first == "0.98  TargetResponseTime of app/shop-00: 93, expected 24.69"
    assert last == "0.89  TargetResponseTime of app/shop-03: 93, expected 24.69"
    assert others == (
        "and 20 more: 7 RequestCount, 7 HTTPCode_Target_5XX_Count, 6 TargetResponseTime"
    )
    assert len(listed.splitlines()) == MAX_LISTED + 1
    assert facts.startswith(
        """\
In common   TargetGroup=checkout
First       RequestCount of app/shop-09, checkout and 1 more, on Wed 25 Nov, 12:00 UTC
Why         unusual for Wednesday 12:05: 93, expected 24.69
"""
    )
    assert max(map(len, listed.splitlines())) <= 78


def test_metrics_that_are_unlike_and_began_together_have_nothing_in_common_and_no_first() -> None:
    queue = Metric("AWS/SQS", "ApproximateAgeOfOldestMessage", (("QueueName", "q"),), "Sum", 300)
    message = sent(IncidentOpened(incident_of(member(), member(queue)))).message
    assert "CPUUtilization of i-0123: 93, expected 24.69; 2 metrics since" in message
    assert "\n0.89  ApproximateAgeOfOldestMessage of q: 93, expected 24.69\n\nWhy " in message


def test_a_silence_among_others_is_listed_as_such() -> None:
    silent = member(replace(METRIC, name="StatusCheckFailed"), SILENCE)
    message = sent(IncidentOpened(incident_of(member(), silent))).message
    assert "\n1.00  No data: StatusCheckFailed\n" in message


# --- what happens to open incidents -------------------------------------------------------------


def test_what_joins_is_an_event_and_no_message() -> None:
    incident = thirty()
    notification = sent(IncidentJoined(incident, incident.members[:2]), WEB)
    assert (notification.detail_type, notification.waiting) == ("Incident Updated", (EVENT,))
    assert notification.detail["member_count"] == 30
    assert notification.subject.startswith("Growing: TargetResponseTime of app/shop-00")
    assert notification.message.startswith("Growing: TargetResponseTime of app/shop-00, checkout")


def test_an_incident_that_was_opened_again_closes_under_another_id() -> None:
    first, second = (
        IncidentClosed(msgspec.structs.replace(ONE, closed_at=NOON_MS + n), is_silent=False)
        for n in (1, 2)
    )
    assert sent(first).id != sent(second).id


def test_each_growth_has_its_own_id_and_so_has_each_reminder() -> None:
    two, three = (incident_of(*[member()] * n) for n in (2, 3))
    grown = {sent(IncidentJoined(each, [member()])).id for each in (two, three)}
    reminded = {sent(IncidentResumed(ONE), now=NOON_MS + n).id for n in range(2)}
    assert len(grown | reminded | {sent(IncidentOpened(ONE)).id}) == 5
    assert sent(IncidentOpened(ONE)).detail["notification"] == f"{ONE.id}/opened"


def test_a_reminder_says_that_it_is_one_and_for_how_long_it_has_lasted() -> None:
    notification = sent(IncidentResumed(ONE), WEB)
    assert (notification.detail_type, notification.waiting) == (
        *("Incident Reminded", (EVENT, MESSAGE)),
    )
    assert notification.subject == (
        "Still open: CPUUtilization of i-0123: 93, expected 24.69 (severity 0.89)"
    )
    assert notification.message.startswith(
        "Still open: CPUUtilization of i-0123: 93, expected 24.69, since Wed 25 Nov, 12:00 UTC\n\n"
        "Lasted      25 min so far\nWhy "
    )


# --- incidents that close -----------------------------------------------------------------------


def test_the_message_of_an_incident_that_closes() -> None:
    notification = sent(closed(ONE, "recovered"), WEB)
    assert notification.subject == "Resolved: CPUUtilization of i-0123 after 25 min"
    assert notification.message == (
        """\
Resolved: CPUUtilization of i-0123 after 25 min
It is back to normal; the last unusual reading was on Wed 25 Nov, 12:20 UTC.

Since       Wed 25 Nov, 12:00 UTC
Worst       93, expected 24.69, on Wed 25 Nov, 12:05 UTC
Why         unusual for Wednesday 12:05: 93, expected 24.69
Severity    0.89 of 1

Owner       platform on-call
Runbook     https://wiki.example.com/web
Tags        team=platform, tier=1

Charts      https://console.example.com/incidents
Fine?       ops-anomaly feedback de00a668a6215580 fine
Real?       ops-anomaly feedback de00a668a6215580 real

Metric      AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300
Entry       web (watch file)
Incident    de00a668a6215580"""
    )
    assert notification.detail["lasted_seconds"] == 1_500


@pytest.mark.parametrize(
    ("reason", "subject", "sentence"),
    [
        ("no data", "No more data: ", "There has been no data since Wed 25 Nov, 12:20 UTC: the"),
        ("no longer watched", "No longer watched: ", "It has left the fleet or the watch file."),
        ("new normal", "New normal: ", "It has not gone back: it has stayed there for so long"),
        ("withdrawn", "Withdrawn: ", "CloudWatch has corrected the readings that it rested on"),
        ("marked as fine", "Marked as fine: ", "Somebody has said that it is fine"),
    ],
)
def test_an_incident_that_closes_without_a_recovery_is_not_called_resolved(
    reason: CloseReason, subject: str, sentence: str
) -> None:
    notification = sent(closed(ONE, reason))
    assert notification.subject == f"{subject}CPUUtilization of i-0123 after 25 min"
    assert f"\n{sentence}" in notification.message
    assert "Resolved" not in notification.message


@pytest.mark.parametrize("reason", ["withdrawn", "marked as fine"])
def test_there_is_nothing_left_to_say_of_what_was_no_incident(reason: CloseReason) -> None:
    assert "ops-anomaly feedback" not in sent(closed(ONE, reason)).message


def test_the_end_of_a_silence_says_that_there_is_data_again() -> None:
    notification = sent(closed(incident_of(member(anomaly=SILENCE)), "data is back"))
    assert notification.subject == "Data is back: CPUUtilization of i-0123 after 20 min"
    assert "There is data again; there was none until Wed 25 Nov, 12:20 UTC." in (
        notification.message
    )
    assert "Worst" not in notification.message


def test_a_silence_can_be_snoozed_and_nothing_else_as_there_are_no_readings() -> None:
    silence = incident_of(member(anomaly=SILENCE))
    opened, over = sent(IncidentOpened(silence)), sent(closed(silence, "data is back"))
    commands = [line for line in opened.message.splitlines() if "ops-anomaly feedback" in line]
    assert commands == ["Not now?    ops-anomaly feedback de00a668a6215580 snooze 4h"]
    assert "ops-anomaly feedback" not in over.message


def test_members_that_ended_in_different_ways_are_counted_by_how() -> None:
    reasons: Sequence[CloseReason] = ["recovered", "recovered", "no data"]
    members = [msgspec.structs.replace(member(), close_reason=reason) for reason in reasons]
    notification = sent(closed(incident_of(*members), "recovered"))
    assert notification.subject.startswith("Resolved: CPUUtilization of i-0123, and 2 more after")
    assert "\nMetrics     3 (2 recovered, 1 no data)\n" in notification.message


def test_people_are_not_notified_of_an_incident_that_they_have_closed_themselves() -> None:
    notification = sent(closed(ONE, "marked as fine", is_silent=True))
    assert notification.waiting == (EVENT,)


# --- where messages go, and what they hold ------------------------------------------------------

PAYMENTS, SHOP = (f"arn:aws:sns:eu-west-1:123456789012:{name}" for name in ("payments", "shop"))


def of_entries(*names: str) -> Incident:
    """Return an incident with a member of each of these entries."""
    by = [msgspec.structs.replace(ANOMALY.provenance, entry=name) for name in names]
    return incident_of(*(member(provenance=each) for each in by))


@pytest.mark.parametrize("topics", [[MESSAGE], [PAYMENTS], [SHOP, MESSAGE, PAYMENTS]])
def test_a_message_goes_to_the_topics_of_the_incident(topics: list[str]) -> None:
    incident = msgspec.structs.replace(ONE, topics=topics)
    for each in (IncidentOpened(incident), IncidentResumed(incident), closed(incident, "no data")):
        assert sent(each).waiting == (EVENT, *topics)


def test_what_joins_is_a_message_only_where_nobody_knows_of_the_incident() -> None:
    notification = sent(IncidentJoined(ONE, ONE.members, [PAYMENTS]))
    assert notification.waiting == (EVENT, PAYMENTS)


def test_the_commands_in_a_message_work_as_they_are_copied() -> None:
    message = sent(IncidentOpened(ONE), bucket="models-of-ours").message
    assert f"ops-anomaly feedback {ONE.id} fine --bucket models-of-ours\n" in message
    assert f"ops-anomaly feedback {ONE.id} snooze 4h --bucket models-of-ours\n" in message


def test_owners_runbooks_and_tags_are_those_of_all_entries_the_worst_first() -> None:
    orders = Options(name="orders", owner="payments", tags={"team": "payments", "pci": "yes"})
    notification = sent(IncidentOpened(of_entries("orders", "web")), WEB, orders)
    assert notification.detail["owners"] == ["payments", "platform on-call"]
    assert notification.detail["runbooks"] == ["https://wiki.example.com/web"]
    assert notification.detail["tags"] == {"team": "payments", "tier": "1", "pci": "yes"}
    assert "\nOwner       payments, platform on-call\n" in notification.message


def test_an_event_has_the_first_members_and_says_how_many_there_are() -> None:
    detail = sent(IncidentOpened(thirty())).detail
    assert (len(detail["members"]), detail["member_count"]) == (MAX_MEMBERS, 30)


@pytest.mark.parametrize(
    ("severity", "level"),
    [(1.0, "critical"), (0.9, "critical"), (0.89, "error"), (0.75, "error"), (0.4, "warning")],
)
def test_a_severity_has_a_word_that_on_call_tools_know(severity: float, level: str) -> None:
    peak = msgspec.structs.replace(ANOMALY.peak, severity=severity)
    notification = sent(IncidentOpened(incident_of(member(peak=peak))))
    assert notification.detail["level"] == level
    assert f"of 1 ({level})\n" in notification.message


@pytest.mark.parametrize("name", ["Größe\nder Warteschlange", " Orders", "x" * 255])
@pytest.mark.parametrize("count", [1, 100])
def test_a_subject_is_a_line_of_ascii_that_keeps_the_numbers(name: str, count: int) -> None:
    incident = incident_of(*[member(replace(METRIC, name=name))] * count)
    for each in (IncidentOpened(incident), IncidentResumed(incident), closed(incident, "no data")):
        subject = sent(each).subject
        assert subject == subject_line(subject)
    assert sent(IncidentOpened(incident)).subject.endswith("(severity 0.89)")
    assert sent(closed(incident, "no longer watched")).subject.endswith(" after 25 min")


def test_a_test_alert_says_that_it_is_none() -> None:
    notification = delivery_test(NOON_MS)
    assert notification.waiting == (EVENT, MESSAGE)
    assert notification.detail["level"] == "info"
    assert notification.message == (
        """\
This is a test, and no alert: somebody has checked whether alerts arrive.

Sent        Wed 25 Nov, 12:00 UTC
Test        test-1795608000000"""
    )
