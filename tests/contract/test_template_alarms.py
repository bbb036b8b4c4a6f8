"""The alarms of the stack: each handles missing data, and watches what is published."""

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
    package,
)

NAMESPACE = "OpsAnomaly"
OWN = {name for name, alarm in ALARMS.items() if alarm["Namespace"] == NAMESPACE}
HEARTBEATS = {name for name, alarm in ALARMS.items() if alarm["TreatMissingData"] == "breaching"}
ACTIONS = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}

# Each function that loads models has an alarm on these.
MODEL_FAULTS = ("ModelRefreshFailed", "ModelLoadFailed")


def services() -> dict[str, object]:
    """Return the service that each function publishes its metrics as."""
    return {
        name: function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for name, function in FUNCTIONS.items()
    }


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_has_a_description_and_actions(name: str) -> None:
    assert ALARMS[name]["AlarmDescription"]
    assert ALARMS[name]["AlarmActions"] == ACTIONS
    assert ALARMS[name]["OKActions"] == ACTIONS


@pytest.mark.parametrize("name", ALARMS)
def test_missing_data_is_a_fault_of_heartbeats_only(name: str) -> None:
    alarm = ALARMS[name]
    if name in HEARTBEATS:
        assert alarm["ComparisonOperator"] == "LessThanThreshold"
    else:
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_named_after_the_stack(name: str) -> None:
    # by CloudFormation: the rule for alarms leaves these out by that prefix
    assert "AlarmName" not in ALARMS[name]


@pytest.mark.parametrize("name", sorted(OWN))
def test_an_alarm_watches_a_metric_that_a_function_publishes(name: str) -> None:
    alarm = ALARMS[name]
    [dimension] = alarm["Dimensions"]
    assert dimension["Name"] == "service"
    [function] = [name for name, service in services().items() if service == dimension["Value"]]
    environment = FUNCTIONS[function]["Environment"]["Variables"]
    assert environment["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    sources = package(function).rglob("*.py")
    assert any(f'"{alarm["MetricName"]}"' in source.read_text() for source in sources)


def test_functions_publish_metrics_under_different_services() -> None:
    names = [str(service) for service in services().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("function", "metric"), list(product(FUNCTIONS, MODEL_FAULTS)))
def test_a_broken_model_raises_an_alarm(function: str, metric: str) -> None:
    dimensions = [{"Name": "service", "Value": services()[function]}]
    assert [
        a for a in ALARMS.values() if (a["MetricName"], a["Dimensions"]) == (metric, dimensions)
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_crash_of_any_function_raises_an_alarm(function: str) -> None:
    [alarm] = [
        each
        for each in ALARMS.values()
        if each["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": function}}]
    ]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Errors")
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)


# --- the watcher --------------------------------------------------------------------------------


def test_a_watcher_that_stops_raises_an_alarm() -> None:
    [name] = HEARTBEATS
    alarm = ALARMS[name]
    assert alarm["MetricName"] == "Ticks"
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
    assert alarm["EvaluationPeriods"] == 3
    assert alarm["Period"] == {"Ref": "WatchPeriodSeconds"}


def test_a_disabled_watcher_has_no_heartbeat_alarm() -> None:
    [name] = HEARTBEATS
    assert RESOURCES[name]["Condition"] == "Watches"
    assert TEMPLATE["Conditions"]["Watches"] == {"Fn::Equals": [{"Ref": "WatchState"}, "ENABLED"]}


def test_the_heartbeat_has_the_period_of_the_schedule() -> None:
    parameters = TEMPLATE["Parameters"]
    minutes = re.fullmatch(r"rate\((\d+) minutes\)", parameters["WatchSchedule"]["Default"])
    assert minutes is not None
    assert parameters["WatchPeriodSeconds"]["Default"] == 60 * int(minutes[1])


def test_alerts_undelivered_for_three_ticks_raise_an_alarm() -> None:
    [alarm] = [each for each in ALARMS.values() if each["MetricName"] == "AlertsPending"]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 1)
    assert alarm["EvaluationPeriods"] == 3
    assert alarm["Period"] == {"Ref": "WatchPeriodSeconds"}  # there is no data in between


def test_a_rebuilt_state_raises_an_alarm() -> None:
    [alarm] = [each for each in ALARMS.values() if each["MetricName"] == "StateRebuilt"]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
    assert alarm["EvaluationPeriods"] == 1


@pytest.mark.parametrize("name", sorted(dead_letter_queues()))
def test_a_dead_letter_raises_an_alarm(name: str) -> None:
    [alarm] = [
        each
        for each in ALARMS.values()
        if each["Dimensions"]
        == [{"Name": "QueueName", "Value": {"Fn::GetAtt": f"{name}.QueueName"}}]
    ]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Threshold"] == 1


@pytest.mark.parametrize("name", sorted(QUEUES.keys() - dead_letter_queues()))
def test_a_growing_queue_raises_an_alarm_before_messages_expire(name: str) -> None:
    [alarm] = [
        each
        for each in ALARMS.values()
        if each["Dimensions"]
        == [{"Name": "QueueName", "Value": {"Fn::GetAtt": f"{name}.QueueName"}}]
    ]
    assert alarm["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert alarm["Threshold"] <= QUEUES[name]["MessageRetentionPeriod"] / 2
