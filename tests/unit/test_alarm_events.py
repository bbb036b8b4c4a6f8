"""What an alarm says when it changes, by either route, and which series it is about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_anomaly.aws.errors import ServiceUnavailableError
from ops_anomaly.watcher.alarm_queries import (
    MAX_CHILDREN,
    AlarmQuery,
    alarm_names_in_rule,
    from_description,
    from_event,
    queries_of_composite,
)
from ops_anomaly.watcher.documents import UnknownEventError
from ops_anomaly.watcher.events import AlarmChange, ShardJobs, Tick, recognise
from tests.support.alarms import (
    CPU,
    PREFIX,
    by_action,
    by_rule,
    change,
    on_expression,
    on_metric,
    told,
)
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.watcher import NOON

CPU_SERIES = "AWS/EC2 CPUUtilization InstanceId=i-00000 Average 300"
CPU_QUERY = {
    "Metric": {
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-00000"}],
    },
    "Period": 300,
    "Stat": "Average",
}


def described(name: str, **more: Any) -> dict[str, Any]:
    """Return a metric alarm as DescribeAlarms does."""
    return {
        "AlarmName": name,
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-00000"}],
        "Period": 300,
        "Statistic": "Average",
    } | more


def asked(alarm: AlarmChange, *alarms: dict[str, Any]) -> list[AlarmQuery]:
    """Return the questions of a composite alarm, where CloudWatch knows these alarms."""
    cloudwatch = FakeCloudWatch()
    cloudwatch.alarms = list(alarms)
    return queries_of_composite(cloudwatch, alarm)


# --- what arrives -------------------------------------------------------------------------------


def test_both_routes_say_the_same() -> None:
    said = told("ALARM", NOON, before="INSUFFICIENT_DATA")
    assert AlarmChange.from_event(by_rule(said)) == AlarmChange.from_event(by_action(said))
    alarm = AlarmChange.from_event(by_rule(said))
    assert (alarm.name, alarm.arn) == ("cpu-high", f"{PREFIX}cpu-high")
    assert (alarm.state, alarm.before, alarm.at) == ("ALARM", "INSUFFICIENT_DATA", NOON)
    assert alarm.evaluated_from == NOON - 900
    assert alarm.metrics == [on_metric()]


def test_a_composite_alarm_has_children_and_a_rule_but_no_metrics() -> None:
    alarm = change(rule="ALARM(a) OR ALARM(b)", because_of=["a"])
    assert (alarm.metrics, alarm.children) == ([], [f"{PREFIX}a"])
    assert alarm.rule == "ALARM(a) OR ALARM(b)"


@pytest.mark.parametrize("data", [None, "", "null", "[]", "{", "7", {"startDate": 1}])
def test_reason_data_that_is_of_no_use_is_done_without(data: object) -> None:
    said = told()
    said["state"]["reasonData"] = data
    alarm = AlarmChange.from_event(by_action(said))
    assert (alarm.evaluated_from, alarm.children) == (None, [])


@pytest.mark.parametrize("missing", ["alarmName", "state"])
def test_an_alarm_s_event_without_its_parts_is_unknown(missing: str) -> None:
    event = by_action(told())
    del event["alarmData"][missing]
    with pytest.raises(UnknownEventError, match=missing):
        AlarmChange.from_event(event)


@pytest.mark.parametrize("at", [None, 0, "noon", "2026-11-25T12:00:00"])
def test_a_change_without_a_time_is_unknown(at: object) -> None:
    said = told()
    said["state"]["timestamp"] = at
    with pytest.raises(UnknownEventError):
        AlarmChange.from_event(by_rule(said))


def test_every_kind_of_event_is_recognised() -> None:
    turn = {"of": 1, "shard": 0, "time": NOON, "entries": []}
    record = {"eventSource": "aws:sqs", "body": json.dumps(turn)}
    assert recognise({"watch": "fleet", "time": "2026-11-25T12:00:00Z"}) == Tick()
    assert isinstance(recognise({"Records": [record, record]}), ShardJobs)
    assert recognise(by_rule(told())) == recognise(by_action(told())) == change()


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


# --- what to ask --------------------------------------------------------------------------------


def test_an_alarm_on_a_metric_asks_for_it_under_an_id_that_queries_may_have() -> None:
    question = from_event("cpu-high", [on_metric("5c0f7a52-91d4-4c6e")])
    assert question.queries == [{"Id": "q0", "MetricStat": CPU_QUERY, "ReturnData": True}]
    assert (question.answer, question.period, question.cannot) == ("q0", 300, None)
    assert (question.series, question.title) == (CPU_SERIES, "CPUUtilization of i-00000")


def test_an_alarm_on_an_expression_asks_for_what_it_returns() -> None:
    share = on_expression("share", "errors / requests", label="Share of errors")
    parts = [on_metric(name, 60, returnData=False) for name in ("errors", "requests")]
    question = from_event("shop", [share, *parts])
    assert [query["Id"] for query in question.queries] == ["share", "errors", "requests"]
    assert (question.answer, question.period) == ("share", 60)
    assert (question.series, question.title) == ("errors / requests", "Share of errors")


def test_an_alarm_on_a_band_asks_for_the_metric_alone() -> None:
    question = from_event("odd", [on_metric(), on_expression("ad1", "ANOMALY_DETECTION_BAND(m1)")])
    assert [query["Id"] for query in question.queries] == ["m1"]
    assert question.series == CPU_SERIES


def test_the_account_and_the_unit_of_a_metric_are_kept() -> None:
    stat = {"metric": CPU, "period": 300, "stat": "p99", "unit": "Percent"}
    question = from_event("a", [on_metric(metricStat=stat, accountId="123456789012")])
    [query] = question.queries
    assert (query["AccountId"], query["MetricStat"]["Unit"]) == ("123456789012", "Percent")


def test_the_period_of_an_expression_counts() -> None:
    assert from_event("a", [on_expression("q1", "SELECT 1", period=60)]).period == 60


@pytest.mark.parametrize("returning", [0, 2])
def test_an_alarm_that_returns_not_one_series_can_not_be_judged(returning: int) -> None:
    metrics = [on_metric(f"m{n}", returnData=n < returning) for n in range(3)]
    assert from_event("a", metrics).cannot == f"its metrics return {returning} series, not one"


@pytest.mark.parametrize("metric", [{}, "m1", {"id": "m1", "metricStat": {}}, {"id": 1}])
def test_metrics_that_can_not_be_read_are_told(metric: Any) -> None:
    assert "can't be read" in (from_event("a", [metric]).cannot or "")


def test_an_alarm_that_was_looked_up_asks_the_same_as_its_event() -> None:
    event = from_event("cpu-high", [on_metric()])
    looked_up = from_description(described("cpu-high"))
    assert (looked_up.series, looked_up.title) == (event.series, event.title)
    assert looked_up.queries == [{"Id": "m1", "MetricStat": CPU_QUERY}]
    p99 = from_description(described("a", ExtendedStatistic="p99", Statistic=None))
    assert p99.series.endswith(" p99 300")


def test_an_alarm_on_an_expression_can_be_looked_up() -> None:
    metrics = [{"Id": "e1", "Expression": "2 * m1"}, {"Id": "m1", "MetricStat": CPU_QUERY}]
    metrics[1]["ReturnData"] = False
    assert from_description({"AlarmName": "a", "Metrics": metrics}).series == "2 * m1"


# --- the children of composite alarms -----------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "children"),
    [
        ("ALARM(a)", ["a"]),
        ('ALARM("a b") OR (NOT OK(c) AND INSUFFICIENT_DATA( d ))', ["a b", "c", "d"]),
        ("ALARM('it is (so)') AND ALARM(a)", ["it is (so)", "a"]),
        (f'ALARM("{PREFIX}a: b")', ["a: b"]),
        ("TRUE", []),
        ("", []),
    ],
)
def test_the_children_of_a_rule(rule: str, children: list[str]) -> None:
    assert alarm_names_in_rule(rule) == children


def test_a_composite_alarm_asks_for_what_made_it_change() -> None:
    alarm = change(rule="ALARM(a) OR ALARM(b)", because_of=["b"])
    [question] = asked(alarm, described("a"), described("b"))
    assert (question.alarm, question.series) == ("b", CPU_SERIES)


def test_a_composite_alarm_that_does_not_say_asks_for_all_of_its_rule() -> None:
    alarm = change(rule="ALARM(a) OR ALARM(b)")
    assert [q.alarm for q in asked(alarm, described("a"), described("b"))] == ["a", "b"]


def test_composite_children_are_followed_and_each_alarm_is_asked_once() -> None:
    alarm = change(name="top", rule="ALARM(middle) OR ALARM(a)")
    middle = {"AlarmName": "middle", "AlarmRule": "ALARM(a) OR ALARM(b) OR ALARM(top)"}
    questions = asked(alarm, middle, described("a"), described("b"))
    assert [question.alarm for question in questions] == ["a", "b"]


def test_a_child_that_is_gone_is_told() -> None:
    questions = asked(change(rule="ALARM(a) OR ALARM(gone)"), described("a"))
    assert {question.alarm: question.cannot for question in questions} == {
        "a": None,
        "gone": "there is no such alarm any more",
    }


def test_more_children_than_can_be_looked_up_are_left() -> None:
    rule = " OR ".join(f"ALARM(a{number})" for number in range(MAX_CHILDREN + 1))
    assert len(asked(change(rule=rule))) == MAX_CHILDREN


def test_where_alarms_may_not_be_looked_up_the_permission_is_told() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("AccessDenied", "DescribeAlarms")]
    [question] = queries_of_composite(cloudwatch, change(rule="ALARM(a)"))
    assert "the role needs cloudwatch:DescribeAlarms" in (question.cannot or "")


def test_where_cloudwatch_does_not_answer_a_retry_is_needed() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("Throttling", "DescribeAlarms")]
    with pytest.raises(ServiceUnavailableError):
        queries_of_composite(cloudwatch, change(rule="ALARM(a)"))
