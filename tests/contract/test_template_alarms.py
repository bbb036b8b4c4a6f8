"""The alarms of the stack: whom they notify, how each takes missing data, and what they watch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.contract.test_template_graph import CHANGED
from tests.support.cloudformation import (
    FUNCTIONS,
    QUEUES,
    TEMPLATE,
    dead_letter_queues,
    deployed,
    of_type,
    package,
    statements,
)

NAMESPACE = "OpsAnomaly"
RESOURCES = deployed()
DEPLOYED = [name for name in FUNCTIONS if name in RESOURCES]
"""By default; an authorizer that fails is a response of 500, and those have an alarm."""

ALARMS = of_type("AWS::CloudWatch::Alarm", RESOURCES)
HEARTBEAT = "WatchStoppedAlarm"
HEARTBEATS = {HEARTBEAT: "Ticks", "IncidentsStoppedAlarm": "IncidentRuns"}
GROWTH = {name for name, alarm in ALARMS.items() if "Metrics" in alarm}
PERIODS = TEMPLATE["Parameters"]["WatchPeriodSeconds"]["AllowedValues"]
DAY = 86_400

# Each function that loads models has an alarm on these.
MODEL_FAULTS = ("ModelRefreshFailed", "ModelLoadFailed")
LOADERS = [name for name in DEPLOYED if "/models/*" in str(statements(name))]


def metric(alarm: dict[str, Any]) -> dict[str, Any]:
    """Return what an alarm watches: namespace, name, dimensions, period and statistic."""
    if "Metrics" in alarm:
        [stat] = [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]
        return stat["Metric"] | {"Period": stat["Period"], "Statistic": stat["Stat"]}
    return alarm


def services() -> dict[str, object]:
    """Return the service that each function publishes its metrics as."""
    return {
        name: RESOURCES[name]["Properties"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for name in DEPLOYED
    }


def watching(namespace: str, name: str, dimension: object) -> list[str]:
    """Return the alarms on a metric."""
    return [
        alarm
        for alarm, properties in ALARMS.items()
        if (metric(properties)["Namespace"], metric(properties)["MetricName"]) == (namespace, name)
        and [each["Value"] for each in metric(properties)["Dimensions"]] == [dimension]
    ]


# --- whom they notify ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALARMS)
@pytest.mark.parametrize(
    ("topic", "actions"),
    [("", [{"Ref": "AlertTopic"}]), (CHANGED["AlarmTopicArn"], [CHANGED["AlarmTopicArn"]])],
    ids=["default", "AlarmTopicArn"],
)
def test_an_alarm_notifies_the_alert_topic_or_the_one_that_is_named(
    name: str, topic: str, actions: list[object]
) -> None:
    alarm = deployed(AlarmTopicArn=topic)[name]["Properties"]
    assert alarm["AlarmDescription"]
    assert alarm["AlarmActions"] == actions
    if name not in GROWTH:  # it is OK when no more arrive, which is no news
        assert alarm["OKActions"] == actions
    if name in HEARTBEATS:
        assert alarm["InsufficientDataActions"] == actions


def test_alarms_can_publish_to_the_alert_topic() -> None:
    # no key of AWS's own lets CloudWatch through, and the message would be lost in silence
    [topic] = of_type("AWS::SNS::Topic", RESOURCES).values()
    assert "KmsMasterKeyId" not in topic
    [policy] = of_type("AWS::SNS::TopicPolicy", RESOURCES).values()
    [statement] = [
        each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"
    ]
    alarms = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Action"] == "sns:Publish"
    assert statement["Resource"] == {"Ref": "AlertTopic"}
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {"aws:SourceArn": {"Fn::Sub": alarms}},
    }


def test_the_alert_topic_can_have_a_key_of_ones_own() -> None:
    [topic] = of_type("AWS::SNS::Topic", deployed(**CHANGED)).values()
    assert topic["KmsMasterKeyId"] == CHANGED["AlertTopicKeyArn"]


# --- missing data -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ALARMS.keys() - HEARTBEATS.keys()))
def test_missing_data_is_no_fault(name: str) -> None:
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"
    assert ALARMS[name]["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("heartbeat", HEARTBEATS)
def test_a_watcher_that_stops_notifies_but_one_that_has_not_begun_does_not(heartbeat: str) -> None:
    # A new alarm is in INSUFFICIENT_DATA, and actions need a change of state. Missing data that
    # is a breach would make it ALARM before the first tick.
    alarm = ALARMS[heartbeat]
    assert watching(NAMESPACE, HEARTBEATS[heartbeat], services()["WatchFunction"]) == [heartbeat]
    assert alarm["TreatMissingData"] == "missing"
    assert alarm["InsufficientDataActions"]
    assert alarm["Statistic"] == "Sum"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)


def test_a_disabled_watcher_has_no_heartbeat_alarm() -> None:
    assert not HEARTBEATS.keys() & deployed(WatchState="DISABLED").keys()


@pytest.mark.parametrize("period", PERIODS)
def test_alarms_on_ticks_have_their_period(period: int) -> None:
    resources = deployed(WatchPeriodSeconds=str(period))
    for name in (HEARTBEAT, "FleetListFailedAlarm"):
        alarm = resources[name]["Properties"]
        assert alarm["Period"] == str(period)  # there is no data in between
        assert alarm["EvaluationPeriods"] == 3
        # CloudWatch takes a day, and a week where periods are an hour or more
        assert 3 * period <= (DAY if period < 3600 else 7 * DAY)


# --- what they watch ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ALARMS if metric(ALARMS[n])["Namespace"] == NAMESPACE])
def test_an_alarm_watches_a_metric_that_a_function_publishes(name: str) -> None:
    alarm = ALARMS[name]
    [dimension] = alarm["Dimensions"]
    assert dimension["Name"] == "service"
    [function] = [name for name, service in services().items() if service == dimension["Value"]]
    environment = FUNCTIONS[function]["Environment"]["Variables"]
    assert environment["POWERTOOLS_METRICS_NAMESPACE"] == NAMESPACE
    assert alarm["MetricName"] in published(function)


def published(function: str) -> str:
    """Return the source that may name a function's metrics."""
    return "\n".join(source.read_text() for source in package(function).rglob("*.py"))


def test_functions_publish_metrics_under_different_services() -> None:
    names = [str(service) for service in services().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("function", "fault"), list(product(LOADERS, MODEL_FAULTS)))
def test_a_broken_model_raises_an_alarm(function: str, fault: str) -> None:
    [alarm] = watching(NAMESPACE, fault, services()[function])
    assert (ALARMS[alarm]["Statistic"], ALARMS[alarm]["Threshold"]) == ("Sum", 1)


@pytest.mark.parametrize("function", DEPLOYED)
def test_a_crash_of_any_function_raises_an_alarm(function: str) -> None:
    [alarm] = watching("AWS/Lambda", "Errors", {"Ref": function})
    assert (ALARMS[alarm]["Statistic"], ALARMS[alarm]["Threshold"]) == ("Sum", 1)


@pytest.mark.parametrize("function", ["WatchFunction", "AlarmFunction"])
def test_a_rebuilt_state_raises_an_alarm(function: str) -> None:
    [alarm] = watching(NAMESPACE, "StateRebuilt", services()[function])
    assert (ALARMS[alarm]["Statistic"], ALARMS[alarm]["EvaluationPeriods"]) == ("Sum", 1)


def test_alerts_that_stay_undelivered_raise_an_alarm() -> None:
    [alarm] = watching(NAMESPACE, "AlertsPending", services()["WatchFunction"])
    assert (ALARMS[alarm]["Statistic"], ALARMS[alarm]["Threshold"]) == ("Maximum", 1)


# --- queues -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(dead_letter_queues()))
def test_a_dead_letter_raises_an_alarm_and_so_does_each_further_one(name: str) -> None:
    queue = {"Fn::GetAtt": [name, "QueueName"]}
    first, more = watching("AWS/SQS", "ApproximateNumberOfMessagesVisible", queue)
    assert (ALARMS[first]["Statistic"], ALARMS[first]["Threshold"]) == ("Maximum", 1)
    growth, letters = ALARMS[more]["Metrics"]
    assert growth["Expression"] == f"DIFF({letters['Id']})"
    assert letters["ReturnData"] is False
    assert (metric(ALARMS[more])["Statistic"], ALARMS[more]["Threshold"]) == ("Maximum", 1)


@pytest.mark.parametrize("name", sorted(QUEUES.keys() - dead_letter_queues()))
def test_a_growing_queue_raises_an_alarm_before_messages_expire(name: str) -> None:
    queue = {"Fn::GetAtt": [name, "QueueName"]}
    [alarm] = watching("AWS/SQS", "ApproximateAgeOfOldestMessage", queue)
    assert ALARMS[alarm]["Threshold"] <= QUEUES[name]["MessageRetentionPeriod"] / 2


# --- the dashboard ------------------------------------------------------------------------------


def widgets(**parameters: str) -> list[dict[str, Any]]:
    """Return what the dashboard shows, with references to resources as they are written."""
    [dashboard] = of_type("AWS::CloudWatch::Dashboard", deployed(**parameters)).values()
    return json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]


def shown() -> Iterator[tuple[str, str, str]]:
    """Yield namespace, metric and the dimension's value of each line of the dashboard."""
    for widget in widgets():
        line: list[str] = []
        for each in widget["properties"].get("metrics", []):
            written = [part for part in each if isinstance(part, str)]
            if written[0] == "...":  # the line before, but for its end
                line = [*line[:-1], written[1]]
            else:
                before = line or written
                line = [
                    old if new == "." else new for new, old in zip(written, before, strict=True)
                ]
            namespace, name, _, value = line
            yield namespace, name, value


@pytest.mark.parametrize("state", ["ENABLED", "DISABLED"])
def test_the_dashboard_shows_every_alarm(state: str) -> None:
    [alarms] = [each for each in widgets(WatchState=state) if each["type"] == "alarm"]
    names = of_type("AWS::CloudWatch::Alarm", deployed(WatchState=state))
    assert set(alarms["properties"]["alarms"]) == {f"${{{name}.Arn}}" for name in names}


def test_the_dashboard_shows_metrics_that_are_published() -> None:
    own = {(name, service) for namespace, name, service in shown() if namespace == NAMESPACE}
    watch, alarms = "${AWS::StackName}-watch", "${AWS::StackName}-alarms"
    assert {service for _, service in own} == {watch, alarms}
    assert {name for name, _ in own if f'"{name}"' not in published("WatchFunction")} == set()
    assert {name for name, _ in own} >= {
        *("Ticks", "MetricsWatched", "MetricsMissing", "MetricsPostponed", "MetricsRefused"),
        *("EvaluationDuration", "Alerts", "AlertsPending"),
    }


def test_the_dashboard_shows_errors_of_every_function_and_every_queue() -> None:
    shows = set(shown())
    for function in DEPLOYED:
        assert ("AWS/Lambda", "Errors", f"${{{function}}}") in shows
    for queue in QUEUES:
        letters = queue in dead_letter_queues()
        name = "NumberOfMessagesVisible" if letters else "AgeOfOldestMessage"
        assert ("AWS/SQS", f"Approximate{name}", f"${{{queue}.QueueName}}") in shows


def test_two_stacks_do_not_share_a_dashboard() -> None:
    # unlike other names of CloudFormation's making, that of a dashboard would not have the stack's
    [dashboard] = of_type("AWS::CloudWatch::Dashboard", RESOURCES).values()
    assert dashboard["DashboardName"] == {"Fn::Sub": "${AWS::StackName}-${AWS::Region}"}


def test_a_stack_can_do_without_the_dashboard() -> None:
    assert of_type("AWS::CloudWatch::Dashboard", deployed(Dashboard="No")) == {}
