"""The watcher's part of the stack: what invokes it, what it sends, and that no event is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cloudformation import (
    FUNCTIONS,
    QUEUES,
    RESOURCES,
    ROOT,
    TEMPLATE,
    TOPICS,
    dead_letter_queues,
    events,
    of_type,
    statements,
)

PARAMETERS = TEMPLATE["Parameters"]
CONDITIONS = TEMPLATE["Conditions"]
MAPPINGS = of_type("AWS::Lambda::EventSourceMapping")
FORTNIGHT = 14 * 86_400

[(WATCHER, _, SCHEDULE)] = events("ScheduleV2")
[(_, RULE_NAME, RULE)] = events("EventBridgeRule")

# Functions that EventBridge invokes asynchronously, and by what.
ASYNCHRONOUS = [
    pytest.param(function, properties, id=name)
    for function, name, properties in events("ScheduleV2", "EventBridgeRule")
]


def policy_of(kind: str, attribute: str, name: str) -> list[dict[str, Any]]:
    """Return the statements of the one policy that a queue or a topic has."""
    [policy] = [each for each in of_type(kind).values() if each[attribute] == [{"Ref": name}]]
    return policy["PolicyDocument"]["Statement"]


# --- no event is lost silently ------------------------------------------------------------------


@pytest.mark.parametrize(("function", "properties"), ASYNCHRONOUS)
def test_an_event_that_is_not_delivered_is_retried_and_kept(
    function: str, properties: dict[str, Any]
) -> None:
    assert {"MaximumEventAgeInSeconds", "MaximumRetryAttempts"} == set(properties["RetryPolicy"])
    kept_in = properties["DeadLetterConfig"]["Arn"]["Fn::GetAtt"].removesuffix(".Arn")
    assert kept_in in dead_letter_queues()


@pytest.mark.parametrize("function", sorted({param.values[0] for param in ASYNCHRONOUS}))
def test_an_event_that_fails_is_retried_and_kept(function: str) -> None:
    config = FUNCTIONS[function]["EventInvokeConfig"]
    assert config["MaximumRetryAttempts"] == 2
    assert config["MaximumEventAgeInSeconds"] == 3600
    on_failure = config["DestinationConfig"]["OnFailure"]
    assert on_failure["Type"] == "SQS"
    assert on_failure["Destination"]["Fn::GetAtt"].removesuffix(".Arn") in dead_letter_queues()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_message_that_fails_is_retried_and_kept(mapping: str) -> None:
    queue = QUEUES[MAPPINGS[mapping]["EventSourceArn"]["Fn::GetAtt"].removesuffix(".Arn")]
    timeout = FUNCTIONS[MAPPINGS[mapping]["FunctionName"]["Ref"]]["Timeout"]
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    assert tries == 3
    assert queue["VisibilityTimeout"] > timeout  # or a slow message would be handed out twice
    assert queue["MessageRetentionPeriod"] > 2 * tries * queue["VisibilityTimeout"]


def test_a_shard_job_is_retried_before_the_next_tick() -> None:
    assert QUEUES["WatchQueue"]["VisibilityTimeout"] < PARAMETERS["WatchPeriodSeconds"]["Default"]


@pytest.mark.parametrize("name", sorted(dead_letter_queues()))
def test_dead_letters_are_kept_for_two_weeks(name: str) -> None:
    assert QUEUES[name]["MessageRetentionPeriod"] == FORTNIGHT


def test_the_rule_may_write_dead_letters() -> None:
    [statement] = [
        each
        for each in policy_of("AWS::SQS::QueuePolicy", "Queues", "WatchDeadLetters")
        if each["Effect"] == "Allow"
    ]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": f"{WATCHER}{RULE_NAME}.Arn"}}
    }


# --- nothing unencrypted ------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUEUES)
def test_queues_are_encrypted_by_a_key_that_services_may_use(name: str) -> None:
    assert QUEUES[name]["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in QUEUES[name]


@pytest.mark.parametrize("name", TOPICS)
def test_topics_are_encrypted(name: str) -> None:
    assert TOPICS[name]["KmsMasterKeyId"] == "alias/aws/sns"


@pytest.mark.parametrize(
    ("kind", "attribute", "name", "action"),
    [
        *(("AWS::SQS::QueuePolicy", "Queues", name, "sqs:*") for name in QUEUES),
        *(("AWS::SNS::TopicPolicy", "Topics", name, "sns:Publish") for name in TOPICS),
    ],
)
def test_queues_and_topics_accept_only_tls(
    kind: str, attribute: str, name: str, action: str
) -> None:
    [statement] = [each for each in policy_of(kind, attribute, name) if each["Effect"] == "Deny"]
    assert statement["Principal"] == "*"
    assert statement["Action"] == action
    assert name in str(statement["Resource"])
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


# --- what invokes it ----------------------------------------------------------------------------


def test_the_schedule_sends_the_tick_of_the_sample() -> None:
    sample = json.loads((ROOT / "events/schedule.json").read_text())
    assert json.loads(SCHEDULE["Input"]) == sample | {"time": "<aws.scheduler.scheduled-time>"}


def test_the_schedule_is_punctual_and_can_be_disabled() -> None:
    assert SCHEDULE["ScheduleExpression"] == {"Ref": "WatchSchedule"}
    assert SCHEDULE["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert SCHEDULE["State"] == {"Ref": "WatchState"}
    assert PARAMETERS["WatchState"]["AllowedValues"] == ["ENABLED", "DISABLED"]


def test_two_stacks_in_an_account_do_not_collide() -> None:
    assert SCHEDULE["OmitName"] is True
    assert "RuleName" not in RULE
    for name, properties in (QUEUES | TOPICS | FUNCTIONS).items():
        assert not {"QueueName", "TopicName", "FunctionName"} & set(properties), name


def test_a_job_ends_before_the_next_tick() -> None:
    assert FUNCTIONS[WATCHER]["Timeout"] < PARAMETERS["WatchPeriodSeconds"]["Default"]
    assert SCHEDULE["RetryPolicy"]["MaximumEventAgeInSeconds"] == {"Ref": "WatchPeriodSeconds"}


def test_each_invocation_runs_one_shard_job_and_several_run_in_parallel() -> None:
    [mapping] = MAPPINGS.values()
    assert mapping["FunctionName"] == {"Ref": WATCHER}
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": "WatchQueue.Arn"}
    assert mapping["BatchSize"] == 1
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "WatchConcurrency"}}
    assert PARAMETERS["WatchConcurrency"]["Default"] == 10


@pytest.mark.parametrize("name", sorted(f.name for f in (ROOT / "events").glob("alarm-*.json")))
def test_the_rule_matches_alarms_but_not_those_of_the_stack(name: str) -> None:
    pattern, event = RULE["Pattern"], json.loads((ROOT / "events" / name).read_text())
    assert set(pattern) == {"source", "detail-type", "detail"}
    assert event["source"] in pattern["source"]
    assert (event.get("detail-type") in pattern["detail-type"]) == ("detail" in event)
    own = {"prefix": {"Fn::Sub": "${AWS::StackName}-"}}
    assert pattern["detail"] == {"alarmName": [{"anything-but": own}]}


def test_evaluation_of_alarms_can_be_disabled() -> None:
    assert RULE["State"] == {"Fn::If": ["EvaluatesAlarms", "ENABLED", "DISABLED"]}
    assert CONDITIONS["EvaluatesAlarms"] == {"Fn::Equals": [{"Ref": "EvaluateAlarms"}, "Yes"]}


def test_alarms_of_this_account_and_region_may_have_it_as_their_action() -> None:
    [permission] = of_type("AWS::Lambda::Permission").values()
    account, region = "${AWS::AccountId}", "${AWS::Region}"
    assert permission == {
        "FunctionName": {"Ref": WATCHER},
        "Action": "lambda:InvokeFunction",
        "Principal": "lambda.alarms.cloudwatch.amazonaws.com",
        "SourceAccount": {"Ref": "AWS::AccountId"},
        "SourceArn": {"Fn::Sub": f"arn:${{AWS::Partition}}:cloudwatch:{region}:{account}:alarm:*"},
    }


# --- what it sends ------------------------------------------------------------------------------


def test_it_is_configured_with_the_bus_topic_and_queue_of_the_stack() -> None:
    variables = FUNCTIONS[WATCHER]["Environment"]["Variables"]
    assert variables["EVENT_BUS_NAME"] == {
        "Fn::If": ["OwnsEventBus", {"Ref": "AlertBus"}, "default"]
    }
    assert variables["ALERT_TOPIC_ARN"] == {"Ref": "AlertTopic"}
    assert variables["SHARD_QUEUE_URL"] == {"Ref": "WatchQueue"}


def test_it_can_only_send_events_of_its_own_source() -> None:
    [statement] = [each for each in statements(WATCHER) if each["Action"] == "events:PutEvents"]
    assert statement["Condition"] == {
        "ForAllValues:StringEquals": {"events:source": "ops-anomaly"},
        "Null": {"events:source": "false"},
    }


@pytest.mark.parametrize(
    ("name", "condition", "equals"),
    [
        ("AlertBus", "OwnsEventBus", {"Fn::Equals": [{"Ref": "EventBus"}, "Own"]}),
        (
            "AlertSubscription",
            "HasAlertEmail",
            {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlertEmail"}, ""]}]},
        ),
    ],
)
def test_optional_resources_have_a_condition(
    name: str, condition: str, equals: dict[str, Any]
) -> None:
    assert RESOURCES[name]["Condition"] == condition
    assert CONDITIONS[condition] == equals


def test_outputs_name_where_alerts_and_dead_letters_are() -> None:
    values = [output["Value"] for output in TEMPLATE["Outputs"].values()]
    for name in (WATCHER, "AlertTopic", "WatchDeadLetters"):
        assert {"Ref": name} in values
    assert FUNCTIONS[WATCHER]["Environment"]["Variables"]["EVENT_BUS_NAME"] in values
