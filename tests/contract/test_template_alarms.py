"""Alarms mean something: each says what missing data is, and watches what is published."""

from __future__ import annotations

import re
from itertools import product

import pytest

from tests.support.cloudformation import (
    ALARMS,
    FUNCTIONS,
    QUEUES,
    RESOURCES,
    TEMPLATE,
    dead_letter_queues,
    room,
)

NAMESPACE = "OpsAnomaly"
OWN = {name for name, alarm in ALARMS.items() if alarm["Namespace"] == NAMESPACE}
HEARTBEATS = {name for name, alarm in ALARMS.items() if alarm["TreatMissingData"] == "breaching"}
TOLD = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}

# What each function that loads models promises to have an alarm on.
MODEL_FAULTS = ("ModelRefreshFailed", "ModelLoadFailed")


def services() -> dict[str, object]:
    """Return the service that each function publishes its metrics as."""
    return {
        name: function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for name, function in FUNCTIONS.items()
    }


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_says_what_to_do_and_whom_it_tells(name: str) -> None:
    assert ALARMS[name]["AlarmDescription"]
    assert ALARMS[name]["AlarmActions"] == TOLD
    assert ALARMS[name]["OKActions"] == TOLD


@pytest.mark.parametrize("name", ALARMS)
def test_missing_data_is_a_fault_only_where_a_heartbeat_is_missed(name: str) -> None:
    alarm = ALARMS[name]
    if name in HEARTBEATS:
        assert alarm["ComparisonOperator"] == "LessThanThreshold"
    else:
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_belongs_to_the_stack_by_its_name(name: str) -> None:
    # CloudFormation's name begins with the stack's: the rule for alarms leaves these out by it
    assert "AlarmName" not in ALARMS[name]


@pytest.mark.parametrize("name", sorted(OWN))
def test_alarm_watches_a_metric_as_a_function_publishes_it(name: str) -> None:
    alarm = ALARMS[name]
    [dimension] = alarm["Dimensions"]
    assert dimension["Name"] == "service"
    [function] = [name for name, service in services().items() if service == dimension["Value"]]
    environment = FUNCTIONS[function]["Environment"]["Variables"]
    assert environment["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    sources = room(function).rglob("*.py")
    assert any(f'"{alarm["MetricName"]}"' in source.read_text() for source in sources)


def test_functions_do_not_trip_each_others_alarms() -> None:
    names = [str(service) for service in services().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("function", "metric"), list(product(FUNCTIONS, MODEL_FAULTS)))
def test_broken_model_is_noticed_by_whoever_serves_it(function: str, metric: str) -> None:
    dimensions = [{"Name": "service", "Value": services()[function]}]
    assert [
        a for a in ALARMS.values() if (a["MetricName"], a["Dimensions"]) == (metric, dimensions)
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_crash_of_any_function_is_noticed(function: str) -> None:
    [alarm] = [
        each
        for each in ALARMS.values()
        if each["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": function}}]
    ]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Errors")
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)


# --- the watcher --------------------------------------------------------------------------------


def test_watch_that_stops_is_noticed_by_its_missing_heartbeat() -> None:
    [name] = HEARTBEATS
    alarm = ALARMS[name]
    assert alarm["MetricName"] == "Ticks"
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
    assert alarm["EvaluationPeriods"] == 3
    assert alarm["Period"] == {"Ref": "WatchPeriodSeconds"}


def test_watch_that_is_switched_off_is_no_fault() -> None:
    [name] = HEARTBEATS
    assert RESOURCES[name]["Condition"] == "Watches"
    assert TEMPLATE["Conditions"]["Watches"] == {"Fn::Equals": [{"Ref": "WatchState"}, "ENABLED"]}


def test_heartbeat_suits_the_schedule() -> None:
    parameters = TEMPLATE["Parameters"]
    minutes = re.fullmatch(r"rate\((\d+) minutes\)", parameters["WatchSchedule"]["Default"])
    assert minutes is not None
    assert parameters["WatchPeriodSeconds"]["Default"] == 60 * int(minutes[1])


def test_alerts_that_wait_for_three_looks_are_noticed() -> None:
    [alarm] = [each for each in ALARMS.values() if each["MetricName"] == "AlertsPending"]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 1)
    assert alarm["EvaluationPeriods"] == 3
    assert alarm["Period"] == {"Ref": "WatchPeriodSeconds"}  # there is no data in between


def test_state_that_was_lost_is_noticed_at_once() -> None:
    [alarm] = [each for each in ALARMS.values() if each["MetricName"] == "StateRebuilt"]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
    assert alarm["EvaluationPeriods"] == 1


@pytest.mark.parametrize("name", sorted(dead_letter_queues()))
def test_dead_letter_is_noticed(name: str) -> None:
    [alarm] = [
        each
        for each in ALARMS.values()
        if each["Dimensions"]
        == [{"Name": "QueueName", "Value": {"Fn::GetAtt": f"{name}.QueueName"}}]
    ]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Threshold"] == 1


@pytest.mark.parametrize("name", sorted(QUEUES.keys() - dead_letter_queues()))
def test_queue_that_grows_is_noticed_before_messages_expire(name: str) -> None:
    [alarm] = [
        each
        for each in ALARMS.values()
        if each["Dimensions"]
        == [{"Name": "QueueName", "Value": {"Fn::GetAtt": f"{name}.QueueName"}}]
    ]
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert alarm["Threshold"] <= QUEUES[name]["MessageRetentionPeriod"] / 2
