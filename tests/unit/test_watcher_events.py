"""The events that invoke the watcher: alarms by every route, ticks, shard jobs, and others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_anomaly.watcher.alarm_evaluation import query_from_event
from ops_anomaly.watcher.events import (
    AlarmChange,
    AlarmChanges,
    DirectAlarms,
    ShardJob,
    ShardJobs,
    Tick,
    UnknownEventError,
    encode_shard_job,
    recognise,
)
from tests.support.alarms import (
    PREFIX,
    alarm_data,
    by_action,
    by_queue,
    by_rule,
    by_topic,
    change,
    on_expression,
    on_metric,
    sns_envelope,
    sns_message,
)
from tests.support.watcher import NOON, NOON_MS

# --- what an alarm's change says ---------------------------------------------------------------


def test_a_rule_and_an_action_give_the_same_change() -> None:
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
    with pytest.raises(UnknownEventError, match="not a valid time"):
        AlarmChange.from_event(by_rule(data))


# --- alarms by SNS -------------------------------------------------------------------------------


def queried(alarm: AlarmChange) -> tuple[Any, ...]:
    query = query_from_event(alarm.name, alarm.metrics)
    stats = [(each.get("Expression"), each.get("MetricStat")) for each in query.queries]
    return query.unavailable_because, query.series, query.title, query.period, stats


def test_a_topic_gives_the_change_that_a_rule_does() -> None:
    ours, theirs = AlarmChange.from_event(sns_message()), change()
    assert (ours.name, ours.arn, ours.state, ours.previous_state, ours.at, ours.reason) == (
        *(theirs.name, theirs.arn, theirs.state, theirs.previous_state, theirs.at, theirs.reason),
    )
    assert queried(ours) == queried(theirs)
    assert ours.evaluated_from is None  # SNS does not say which datapoints were evaluated


@pytest.mark.parametrize(
    ("trigger", "statistic"),
    [
        ({"Statistic": "SUM"}, "Sum"),
        ({"Statistic": "SAMPLE_COUNT"}, "SampleCount"),
        ({"Statistic": "SAMPLECOUNT"}, "SampleCount"),
        ({"Statistic": "MINIMUM"}, "Minimum"),
        ({"StatisticType": "ExtendedStatistic", "ExtendedStatistic": "p99"}, "p99"),
        ({"StatisticType": "ExtendedStatistic", "Statistic": "tm90"}, "tm90"),
    ],
    ids=str,
)
def test_a_topic_writes_statistics_its_own_way(trigger: dict[str, Any], statistic: str) -> None:
    message = sns_message()
    message["Trigger"] = message["Trigger"] | trigger
    [metric] = AlarmChange.from_event(message).metrics
    assert metric["metricStat"]["stat"] == statistic


def test_an_expression_by_a_topic_gives_the_query_that_a_rule_does() -> None:
    share = {"Expression": "100*(m1/m2)", "Id": "e1", "Label": "Share", "ReturnData": True}
    parts = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {
                    "Dimensions": [{"value": "i-00000", "name": "InstanceId"}],
                    "MetricName": "CPUUtilization",
                    "Namespace": "AWS/EC2",
                },
                "Period": 60,
                "Stat": "Average",
            },
            "ReturnData": False,
        }
        for name in ("m1", "m2")
    ]
    trigger = {"Period": 60, "EvaluationPeriods": 5, "Metrics": [share, *parts]}
    theirs = change(
        metrics=[
            on_expression("e1", "100*(m1/m2)", label="Share"),
            on_metric("m1", 60, returnData=False),
            on_metric("m2", 60, returnData=False),
        ]
    )
    ours = AlarmChange.from_event(sns_message(Trigger=trigger))
    assert queried(ours) == queried(theirs)
    assert queried(ours)[0] is None


def test_unit_account_and_period_of_a_metric_by_a_topic_are_kept() -> None:
    message = sns_message()
    message["Trigger"] = message["Trigger"] | {"Unit": "Percent"}
    [metric] = AlarmChange.from_event(message).metrics
    assert metric["metricStat"]["unit"] == "Percent"
    query = {"Id": "q1", "Expression": "SELECT 1", "Period": 60, "AccountId": "123456789012"}
    [metric] = AlarmChange.from_event(sns_message(Trigger={"Metrics": [query]})).metrics
    assert (metric["period"], metric["accountId"]) == (60, "123456789012")


def test_a_composite_alarm_by_a_topic_has_a_rule_but_no_metrics() -> None:
    triggered = [{"Arn": f"{PREFIX}a", "State": {"Value": "ALARM"}}]
    message = sns_message(AlarmRule="ALARM(a) OR ALARM(b)", TriggeringChildren=triggered)
    del message["Trigger"]
    alarm = AlarmChange.from_event(message)
    assert (alarm.metrics, alarm.triggered_by) == ([], [f"{PREFIX}a"])
    assert alarm.rule == "ALARM(a) OR ALARM(b)"


def test_a_kind_of_alarm_that_is_not_known_is_notified_all_the_same() -> None:
    alarm = AlarmChange.from_event(sns_message(Trigger={"Query": "up == 0"}))
    assert (alarm.name, alarm.metrics) == ("cpu-high", [])


# --- what an event is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-11-25T12:00:00Z", NOON),
        ("2026-11-25T13:00:00+01:00", NOON),
        ("<aws.scheduler.scheduled-time>", None),
        (None, None),
        (NOON, None),
    ],
)
def test_a_tick_has_the_time_it_was_scheduled_for(time: object, seconds: int | None) -> None:
    assert recognise({"watch": "fleet", "time": time}) == Tick(seconds)


def test_a_tick_by_hand_has_no_time() -> None:
    assert recognise({"watch": "fleet"}) == Tick(None)


def test_a_shard_job_is_read_from_the_queue_as_it_was_written() -> None:
    jobs = [ShardJob(shard=3, time=NOON), ShardJob(shard=0, time=NOON)]
    assert [json.loads(encode_shard_job(job)) for job in jobs] == [
        {"shard": 3, "time": NOON},
        {"shard": 0, "time": NOON},
    ]
    assert recognise(by_queue(*map(encode_shard_job, jobs))) == ShardJobs(jobs)


@pytest.mark.parametrize(
    "job",
    [
        {"shard": -1, "time": NOON},
        {"shard": "3", "time": NOON},
        {"shard": 3},
        {"shard": 3, "time": NOON + 0.5},
        {"shard": 3, "time": NOON, "more": 1},
    ],
    ids=str,
)
def test_a_malformed_shard_job_is_unknown(job: dict[str, Any]) -> None:
    with pytest.raises(UnknownEventError, match="malformed shard job"):
        recognise(by_queue(encode_shard_job(ShardJob(shard=0, time=NOON)), job))


WAYS = {
    "rule": by_rule(alarm_data()),
    "action": by_action(alarm_data()),
    "topic": sns_message(),
    "envelope": sns_envelope(sns_message()),
    "rule to topic": sns_envelope(by_rule(alarm_data())),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_alarm_comes_by_the_queue_in_any_form(way: str) -> None:
    message = WAYS[way]
    assert recognise(by_queue(message)) == AlarmChanges([AlarmChange.from_event(message)])
    assert AlarmChange.from_event(message).name == "cpu-high"


@pytest.mark.parametrize(
    "event",
    [
        by_rule(alarm_data()),
        by_action(alarm_data()),
        by_topic(sns_message()),
        by_topic(by_rule(alarm_data())),
    ],
    ids=["rule", "action", "topic", "rule to topic"],
)
def test_an_alarm_that_comes_directly_is_the_same_once_it_is_forwarded_to_the_queue(
    event: dict[str, Any],
) -> None:
    direct = recognise(event)
    assert isinstance(direct, DirectAlarms)
    assert [alarm.name for alarm in direct.changes] == ["cpu-high"]
    assert recognise(by_queue(*direct.messages)) == AlarmChanges(direct.changes)


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
        {"Records": [{"eventSource": "aws:sqs", "body": None}]},
        {"Records": [{"EventSource": "aws:sns"}]},
        by_queue("{}"),
        by_queue("[1]"),
        by_queue("not JSON"),
        by_queue("[" * 100_000),
        by_queue({"AlarmName": "a"}),
        by_queue({"Type": "Notification", "Message": "The build is red."}),
        by_queue({"Type": "Notification", "Message": "[" * 100_000}),
        by_queue({"Type": "SubscriptionConfirmation", "Message": json.dumps(sns_message())}),
        by_topic({"detail": "of something else"}),
        {"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"},
        {"source": "aws.cloudwatch"},
        {"detail-type": "CloudWatch Alarm State Change"},
    ],
    ids=lambda event: str(event)[:80],
)
def test_any_other_event_is_unknown(event: object) -> None:
    with pytest.raises(UnknownEventError):
        recognise(event)
