"""Messages as somebody reads them at 3 a.m., and subjects that SNS takes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.alarm_evaluation import Verdict
from ops_anomaly.watcher.anomalies import (
    Anomaly,
    Closed,
    CloseReason,
    Opened,
    Peak,
    Provenance,
)
from ops_anomaly.watcher.formatting import subject_line
from ops_anomaly.watcher.notifications import (
    MAX_SERIES,
    alarm_fired,
    incident_notification,
    verdict_sentence,
)
from tests.support.alarms import change
from tests.support.watcher import NOON_MS

STEP = 300_000
METRIC = Metric("AWS/EC2", "CPUUtilization", (("InstanceId", "i-0123"),), "Average", 300)
INCIDENT = Anomaly(
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
)
VERDICT = Verdict(
    title="CPUUtilization of i-0123",
    metric=str(METRIC),
    alarm="cpu-high",
    value=93.0,
    lower=21.66,
    upper=27.17,
    severity=0.8912,
    is_unusual=True,
    since=NOON_MS,
    reason="never seen before: 93",
    readings=1_576,
    history_start=NOON_MS - 86_400_000,
)

NORMAL = replace(VERDICT, value=25.0, severity=0.2, is_unusual=False, since=None, reason=None)
UNKNOWN = Verdict("Latency", "Latency of a", "latency", unavailable_because="it is secret")


def test_the_message_of_an_incident_that_opens() -> None:
    sent = incident_notification(Opened(INCIDENT), METRIC, NOON_MS)
    assert sent.subject == "CPUUtilization of i-0123: 93, expected 24.69 (severity 0.89)"
    assert sent.message == (
        """\
CPUUtilization of i-0123 has been unusual since Wednesday 25 November, 12:00 UTC.

  value       93 on Wednesday 25 November, 12:05 UTC
  expected    24.69 (normal range 21.66 to 27.17)
  reason      unusual for Wednesday 12:05: 93, expected 24.69
  severity    0.89 of 1 (0.5 is at the threshold)
  confidence  72 % (last 1,576 datapoints)

Metric    AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300
Entry     web (watch file)
Anomaly  de00a668a6215580; another message follows when it closes."""
    )


def test_the_message_of_an_incident_that_closes() -> None:
    sent = incident_notification(Closed(INCIDENT, "recovered"), METRIC, NOON_MS)
    assert sent.subject == "Resolved: CPUUtilization of i-0123 after 25 min"
    assert sent.message == (
        """\
Resolved: CPUUtilization of i-0123 after 25 min.
It is back to normal; the last unusual reading was on Wednesday 25 November, 12:20 UTC.

  since     Wednesday 25 November, 12:00 UTC
  duration  25 min, 5 unusual readings
  worst     93 on Wednesday 25 November, 12:05 UTC
  severity  0.89 of 1
  reason    unusual for Wednesday 12:05: 93, expected 24.69

Metric    AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300
Anomaly  de00a668a6215580"""
    )


@pytest.mark.parametrize(
    ("reason", "subject", "sentence"),
    [
        ("no data", "No more data: ", "There has been no data since Wednesday 25 November, 12:20"),
        ("no longer watched", "No longer watched: ", "It has left the fleet or the watch file;"),
    ],
)
def test_an_incident_that_closes_without_a_recovery_is_not_called_resolved(
    reason: CloseReason, subject: str, sentence: str
) -> None:
    sent = incident_notification(Closed(INCIDENT, reason), METRIC, NOON_MS)
    assert sent.subject.startswith(subject)
    assert f"\n{sentence}" in sent.message
    assert "Resolved" not in sent.subject + sent.message


def test_unknown_expectations_are_left_out() -> None:
    peak = msgspec.structs.replace(INCIDENT.peak, expected=None, lower=None, upper=None)
    incident = msgspec.structs.replace(INCIDENT, peak=peak)
    sent = incident_notification(Opened(incident), METRIC, NOON_MS)
    assert sent.subject == "CPUUtilization of i-0123: 93 (severity 0.89)"
    assert "  expected    unknown\n" in sent.message


def test_a_model_is_named_with_its_version() -> None:
    provenance = Provenance("web", model="ec2-cpu", version="v7", readings=576, confidence=0.9)
    incident = msgspec.structs.replace(INCIDENT, provenance=provenance)
    sent = incident_notification(Opened(incident), METRIC, NOON_MS)
    assert "  confidence  90 % (model ec2-cpu, version v7)\n" in sent.message
    assert sent.detail["model"] == {"name": "ec2-cpu", "version": "v7"}


@pytest.mark.parametrize("name", ["Größe\nder Warteschlange", " Orders", "x" * 300])
def test_a_subject_is_a_line_of_ascii_that_sns_takes(name: str) -> None:
    metric = replace(METRIC, name=name)
    subject = incident_notification(Opened(INCIDENT), metric, NOON_MS).subject
    assert subject == subject_line(subject)
    assert subject.startswith(("Gr??e der", "Orders", "xxx"))


def test_the_verdict_on_an_unusual_series() -> None:
    assert verdict_sentence(VERDICT) == (
        "CPUUtilization of i-0123 has been unusual since Wednesday 25 November, 12:00 UTC, "
        "severity 0.89: never seen before: 93. Compared with 1,576 datapoints since Tuesday "
        "24 November, 12:00 UTC."
    )


def test_the_verdict_on_a_normal_series() -> None:
    assert verdict_sentence(NORMAL) == (
        "CPUUtilization of i-0123 is at 25, which is not unusual (normal range 21.66 to 27.17). "
        "Compared with 1,576 datapoints since Tuesday 24 November, 12:00 UTC."
    )


@pytest.mark.parametrize(
    ("verdicts", "is_unusual", "subject"),
    [
        ([VERDICT], True, "unusual"),
        ([UNKNOWN, NORMAL, VERDICT], True, "unusual"),
        ([NORMAL, NORMAL], False, "not unusual"),
        ([NORMAL, UNKNOWN], None, "could not be evaluated completely"),
        ([UNKNOWN], None, "could not be evaluated"),
        ([], None, "could not be evaluated"),
    ],
)
def test_an_alarm_is_not_unusual_only_if_all_of_it_could_be_evaluated(
    verdicts: list[Verdict], is_unusual: bool | None, subject: str
) -> None:
    incident, sent = alarm_fired(change(), verdicts, NOON_MS)
    assert sent.detail["is_unusual"] is incident.detail["is_unusual"] is is_unusual
    assert sent.subject == f"Alarm cpu-high: {subject}"


@pytest.mark.parametrize(
    ("verdicts", "verdict", "severity"),
    [
        ([NORMAL, VERDICT, UNKNOWN], VERDICT, 0.8912),
        ([NORMAL, UNKNOWN], UNKNOWN, 0.2),
        ([replace(NORMAL, severity=0.1), NORMAL], NORMAL, 0.2),
    ],
)
def test_the_verdict_on_an_alarm_is_that_on_its_most_unusual_series(
    verdicts: list[Verdict], verdict: Verdict, severity: float
) -> None:
    _, sent = alarm_fired(change(), verdicts, NOON_MS)
    assert (sent.detail["verdict"], sent.detail["severity"]) == (
        *(verdict_sentence(verdict), severity),
    )


def test_all_series_of_an_alarm_are_reported_in_their_order_if_they_are_few() -> None:
    verdicts = [replace(NORMAL, metric=f"m{n}") for n in range(MAX_SERIES - 1)] + [VERDICT]
    _, sent = alarm_fired(change(), verdicts, NOON_MS)
    assert [each["metric"] for each in sent.detail["series"]] == [v.metric for v in verdicts]
    assert sent.detail["series_count"] == MAX_SERIES
    assert "most unusual" not in sent.message


def test_the_most_unusual_series_of_many_are_reported() -> None:
    unusual = [replace(VERDICT, metric=f"u{n}", severity=0.6 + n / 100) for n in range(3)]
    unknown = [replace(UNKNOWN, metric=f"k{n}") for n in range(2)]
    normal = [replace(NORMAL, metric=f"n{n}", severity=n / 100) for n in range(9)]
    _, sent = alarm_fired(change(), [*normal, *unknown, *unusual], NOON_MS)
    assert [each["metric"] for each in sent.detail["series"]] == [
        *("u2", "u1", "u0", "k0", "k1"),
        *("n8", "n7", "n6", "n5", "n4"),
    ]
    assert sent.detail["series_count"] == 14
    assert "3 of 14 series are unusual. The 10 most unusual:\n" in sent.message
