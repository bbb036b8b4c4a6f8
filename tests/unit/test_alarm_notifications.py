"""Messages of alarms: how unusual what they are about is, and since when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops_anomaly.watcher.alarm_evaluation import Verdict
from ops_anomaly.watcher.alarm_notifications import (
    MAX_SERIES,
    alarm_cleared,
    alarm_fired,
    verdict_sentence,
)
from tests.support.alarms import change
from tests.support.watcher import NOON, NOON_MS

METRIC = "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"
VERDICT = Verdict(
    title="CPUUtilization of i-0123",
    metric=METRIC,
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


def test_the_message_of_an_alarm_that_fires() -> None:
    _, sent = alarm_fired(change(), [VERDICT, UNKNOWN], NOON_MS)
    assert sent.message == (
        """\
Alarm cpu-high: unusual, fired on Wed 25 Nov, 12:00 UTC

CPUUtilization of i-0123 has been unusual since Wed 25 Nov, 12:00 UTC, severity 0.89: \
never seen before: 93. Compared with 1,576 datapoints since Tue 24 Nov, 12:00 UTC.
Latency could not be evaluated: it is secret.

Reason      Threshold Crossed
Alarm       arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu-high
Incident    555475478a9e2d0b"""
    )
    assert (sent.detail["summary"], sent.detail["text"]) == (sent.subject, sent.message)


def test_the_message_of_an_alarm_that_is_ok_again() -> None:
    incident, _ = alarm_fired(change(), [VERDICT], NOON_MS)
    sent = alarm_cleared(change("OK", NOON + 2_700), incident, NOON_MS)
    assert sent.message == (
        """\
Resolved: alarm cpu-high after 45 min, OK since Wed 25 Nov, 12:45 UTC

When it fired: CPUUtilization of i-0123 has been unusual since Wed 25 Nov, 12:00 UTC, severity \
0.89: never seen before: 93. Compared with 1,576 datapoints since Tue 24 Nov, 12:00 UTC.

Reason      Threshold Crossed
Alarm       arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu-high
Incident    555475478a9e2d0b"""
    )
    assert (sent.detail["summary"], sent.detail["text"]) == (sent.subject, sent.message)


@pytest.mark.parametrize(
    ("verdicts", "level"),
    [
        ([replace(VERDICT, severity=0.95)], "critical"),
        ([VERDICT, UNKNOWN], "error"),
        ([replace(VERDICT, severity=0.6)], "warning"),
        ([NORMAL], "info"),
        ([NORMAL, UNKNOWN], "warning"),
        ([], "warning"),
    ],
)
def test_an_alarm_is_for_information_only_if_all_of_it_is_known_to_be_normal(
    verdicts: list[Verdict], level: str
) -> None:
    _, sent = alarm_fired(change(), verdicts, NOON_MS)
    assert sent.detail["level"] == level


def test_the_verdict_on_an_unusual_series() -> None:
    assert verdict_sentence(VERDICT) == (
        "CPUUtilization of i-0123 has been unusual since Wed 25 Nov, 12:00 UTC, "
        "severity 0.89: never seen before: 93. Compared with 1,576 datapoints since Tue "
        "24 Nov, 12:00 UTC."
    )


def test_the_verdict_on_a_normal_series() -> None:
    assert verdict_sentence(NORMAL) == (
        "CPUUtilization of i-0123 is at 25, which is not unusual (normal range 21.66 to 27.17). "
        "Compared with 1,576 datapoints since Tue 24 Nov, 12:00 UTC."
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
