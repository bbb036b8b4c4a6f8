"""The events that invoke the watcher: alarms by either route, ticks, shard jobs, and others."""

from __future__ import annotations

import json

import pytest

from ops_anomaly.watcher.events import (
    AlarmChange,
    ShardJobs,
    Tick,
    UnknownEventError,
    recognise,
)
from tests.support.alarms import PREFIX, alarm_data, by_action, by_rule, change, on_metric
from tests.support.watcher import NOON, NOON_MS


def test_both_routes_give_the_same_change() -> None:
    data = alarm_data("ALARM", NOON, previous="INSUFFICIENT_DATA")
    assert AlarmChange.from_event(by_rule(data)) == AlarmChange.from_event(by_action(data))
    alarm = AlarmChange.from_event(by_rule(data))
    assert (alarm.name, alarm.arn) == ("cpu-high", f"{PREFIX}cpu-high")
    assert (alarm.state, alarm.previous_state, alarm.at) == ("ALARM", "INSUFFICIENT_DATA", NOON_MS)
    assert alarm.evaluated_from == NOON_MS - 900_000
    assert alarm.metrics == [on_metric()]


def test_a_composite_alarm_has_a_rule_but_no_metrics() -> None:
    alarm = change(rule="ALARM(a) OR ALARM(b)", triggered_by=["a"])
    assert (alarm.metrics, alarm.triggered_by) == ([], [f"{PREFIX}a"])
    assert alarm.rule == "ALARM(a) OR ALARM(b)"


@pytest.mark.parametrize("reason_data", [None, "", "null", "[]", "{", "7", {"startDate": 1}])
def test_unusable_reason_data_is_ignored(reason_data: object) -> None:
    data = alarm_data()
    data["state"]["reasonData"] = reason_data
    alarm = AlarmChange.from_event(by_action(data))
    assert (alarm.evaluated_from, alarm.triggered_by) == (None, [])


@pytest.mark.parametrize("missing", ["alarmName", "state"])
def test_an_alarm_event_without_its_parts_is_unknown(missing: str) -> None:
    event = by_action(alarm_data())
    del event["alarmData"][missing]
    with pytest.raises(UnknownEventError, match=missing):
        AlarmChange.from_event(event)


@pytest.mark.parametrize("at", [None, 0, "noon", "2026-11-25T12:00:00"])
def test_a_change_without_a_valid_time_is_unknown(at: object) -> None:
    data = alarm_data()
    data["state"]["timestamp"] = at
    with pytest.raises(UnknownEventError):
        AlarmChange.from_event(by_rule(data))


def test_every_kind_of_event_is_recognised() -> None:
    job = {"of": 1, "shard": 0, "time": NOON, "entries": []}
    record = {"eventSource": "aws:sqs", "body": json.dumps(job)}
    assert recognise({"watch": "fleet", "time": "2026-11-25T12:00:00Z"}) == Tick()
    assert isinstance(recognise({"Records": [record, record]}), ShardJobs)
    assert recognise(by_rule(alarm_data())) == recognise(by_action(alarm_data())) == change()


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "fleet",
        {},
        {"watch": "fleets"},
        {"Records": []},
        {"Records": [{"eventSource": "aws:s3"}]},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"Records": [{"eventSource": "aws:sqs", "body": '{"of": 0}'}]},
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"},
        {"source": "aws.cloudwatch"},
        {"detail-type": "CloudWatch Alarm State Change"},
    ],
    ids=str,
)
def test_any_other_event_is_unknown(event: object) -> None:
    with pytest.raises(UnknownEventError):
        recognise(event)
