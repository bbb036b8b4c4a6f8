"""The watcher's part of the stack: what invokes it, what it sends, and that no event is lost."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from ops_anomaly.watcher.outbox import EXPIRY_MS
from tests.support.cloudformation import (
    FUNCTIONS,
    QUEUES,
    ROOT,
    TEMPLATE,
    TOPICS,
    Evaluation,
    Resources,
    TemplateLoader,
    as_list,
    dead_letter_queues,
    deployed,
    of_type,
    statements,
)

PARAMETERS = TEMPLATE["Parameters"]
PERIODS = PARAMETERS["WatchPeriodSeconds"]["AllowedValues"]
RESOURCES = deployed()
MAPPINGS = of_type("AWS::Lambda::EventSourceMapping", RESOURCES)
FORTNIGHT = 14 * 86_400
WATCHERS = ("WatchFunction", "AlarmFunction")

SCHEDULE, EVERY_MINUTE = (
    RESOURCES[f"WatchFunction{name}"]["Properties"] for name in ("Tick", "Incidents")
)
RULES = of_type("AWS::Events::Rule", RESOURCES)
RULE = RULES["AlarmRule"]
[RULE_TARGET] = RULE["Targets"]
INVOKED = [
    *(each["Target"] for each in of_type("AWS::Scheduler::Schedule", RESOURCES).values()),
    *(target for rule in RULES.values() for target in rule["Targets"]),
]


def policy_of(kind: str, attribute: str, name: str) -> list[dict[str, Any]]:
    """Return the statements of the one policy that a queue or a topic has."""
    policies = of_type(kind, RESOURCES).values()
    [policy] = [each for each in policies if each[attribute] == [{"Ref": name}]]
    return policy["PolicyDocument"]["Statement"]


# --- no event is lost silently ------------------------------------------------------------------


@pytest.mark.parametrize("target", INVOKED)
def test_an_event_that_is_not_delivered_is_retried_and_kept(target: dict[str, Any]) -> None:
    assert {"MaximumEventAgeInSeconds", "MaximumRetryAttempts"} == set(target["RetryPolicy"])
    [queue, _] = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"]
    assert queue == "DeadLetters"


@pytest.mark.parametrize("function", [*WATCHERS, "ConsoleFunction"])
def test_an_event_that_fails_is_retried_and_kept(function: str) -> None:
    configs = of_type("AWS::Lambda::EventInvokeConfig", RESOURCES).values()
    [config] = [each for each in configs if each["FunctionName"] == {"Ref": function}]
    assert config["MaximumRetryAttempts"] == 2
    assert config["MaximumEventAgeInSeconds"] == 3600
    on_failure = config["DestinationConfig"]["OnFailure"]["Destination"]
    assert on_failure == {"Fn::GetAtt": ["DeadLetters", "Arn"]}


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_has_dead_letters_or_holds_them(name: str) -> None:
    assert ("RedrivePolicy" in QUEUES[name]) == (name not in dead_letter_queues())


@pytest.mark.parametrize("name", sorted(QUEUES.keys() - dead_letter_queues()))
def test_dead_letters_are_of_the_kind_of_their_queue(name: str) -> None:
    # SQS does not move messages from a FIFO queue to another one, nor back
    [letters, _] = QUEUES[name]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"]
    assert QUEUES[letters].get("FifoQueue") == QUEUES[name].get("FifoQueue")


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_message_that_fails_is_retried_and_kept(mapping: str) -> None:
    queue = QUEUES[MAPPINGS[mapping]["EventSourceArn"]["Fn::GetAtt"][0]]
    timeout = FUNCTIONS[MAPPINGS[mapping]["FunctionName"]["Ref"]]["Timeout"]
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    assert tries >= 3
    assert queue["VisibilityTimeout"] > timeout  # or a slow message would be handed out twice
    assert queue["MessageRetentionPeriod"] > 2 * tries * queue["VisibilityTimeout"]


@pytest.mark.parametrize("name", sorted(dead_letter_queues()))
def test_dead_letters_are_kept_for_two_weeks(name: str) -> None:
    assert QUEUES[name]["MessageRetentionPeriod"] == FORTNIGHT


@pytest.mark.parametrize(
    ("queue", "rules"),
    [("AlarmQueue", ["AlarmRule"]), ("DeadLetters", ["AlarmRule", "ConsoleFunctionFeedback"])],
)
def test_the_rules_and_nobody_else_may_write_without_a_role(queue: str, rules: list[str]) -> None:
    policy = policy_of("AWS::SQS::QueuePolicy", "Queues", queue)
    allowed = [each for each in policy if each["Effect"] == "Allow"]
    for statement in allowed:
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert [each["Condition"] for each in allowed] == [
        {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [rule, "Arn"]}}} for rule in rules
    ]


def test_every_rule_may_leave_what_it_could_not_deliver() -> None:
    resources = deployed(SlackWebhookUrl="https://hooks.slack.com/services/T/B/x")
    policies = of_type("AWS::SQS::QueuePolicy", resources)
    allowed = [
        statement["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::GetAtt"][0]
        for statement in policies["DeadLettersPolicy"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert set(allowed) == set(of_type("AWS::Events::Rule", resources))


@pytest.mark.parametrize("queue", ["ShardQueue", "ShardDeadLetters"])
def test_nobody_writes_shard_jobs_without_a_role(queue: str) -> None:
    policy = policy_of("AWS::SQS::QueuePolicy", "Queues", queue)
    assert {statement["Effect"] for statement in policy} == {"Deny"}


# --- nothing unencrypted ------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUEUES)
def test_queues_are_encrypted_by_a_key_that_services_may_use(name: str) -> None:
    assert QUEUES[name]["SqsManagedSseEnabled"] is True
    assert "KmsMasterKeyId" not in QUEUES[name]


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


# --- ticks --------------------------------------------------------------------------------------


def test_the_schedule_sends_the_tick_of_the_sample() -> None:
    sample = json.loads((ROOT / "events/schedule.json").read_text())
    tick = sample | {"time": "<aws.scheduler.scheduled-time>"}
    assert json.loads(SCHEDULE["Target"]["Input"]) == tick
    assert SCHEDULE["Target"]["Arn"] == {"Fn::GetAtt": ["WatchFunction", "Arn"]}


@pytest.mark.parametrize("period", PERIODS)
def test_a_tick_comes_one_minute_after_each_period_has_ended(period: int) -> None:
    schedule = deployed(WatchPeriodSeconds=str(period))["WatchFunctionTick"]["Properties"]
    expected = {(end // 60 + 1) % 1440 for end in range(0, 86_400, period)}
    assert minutes_of_the_day(schedule["ScheduleExpression"]) == expected
    assert "ScheduleExpressionTimezone" not in schedule  # UTC, as CloudWatch's periods


def minutes_of_the_day(expression: str) -> set[int]:
    """Return the minutes of a day at which a cron expression of EventBridge fires."""
    [(minutes, hours)] = re.findall(r"^cron\((\S+) (\S+) \* \* \? \*\)$", expression)
    return {60 * hour + minute for hour in steps(hours, 24) for minute in steps(minutes, 60)}


def steps(field: str, end: int) -> range:
    """Return what a field of a cron expression stands for: *, 7, or 1/5."""
    if field == "*":
        return range(end)
    first, _, step = field.partition("/")
    return range(int(first), end, int(step or end))


def test_the_schedule_is_punctual_and_can_be_disabled() -> None:
    assert SCHEDULE["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert SCHEDULE["State"] == "ENABLED"
    disabled = deployed(WatchState="DISABLED")["WatchFunctionTick"]["Properties"]
    assert disabled["State"] == "DISABLED"


def test_incidents_are_brought_up_to_date_every_minute() -> None:
    assert json.loads(EVERY_MINUTE["Target"]["Input"]) == {"watch": "incidents"}
    assert EVERY_MINUTE["Target"]["Arn"] == {"Fn::GetAtt": ["WatchFunction", "Arn"]}
    assert EVERY_MINUTE["ScheduleExpression"] == "cron(* * * * ? *)"
    assert EVERY_MINUTE["FlexibleTimeWindow"] == {"Mode": "OFF"}
    disabled = deployed(WatchState="DISABLED")["WatchFunctionIncidents"]["Properties"]
    assert (EVERY_MINUTE["State"], disabled["State"]) == ("ENABLED", "DISABLED")


def test_a_missed_tick_is_retried_until_the_next_one() -> None:
    for period in PERIODS:
        tick = deployed(WatchPeriodSeconds=str(period))["WatchFunctionTick"]["Properties"]
        age = tick["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"]
        assert age == str(period)
        assert 60 <= int(age) <= 86_400  # what EventBridge Scheduler takes


NAMES = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::Events::Rule": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::Scheduler::Schedule": "Name",
}


@pytest.mark.parametrize(("kind", "name"), NAMES.items())
def test_two_stacks_in_an_account_do_not_collide(kind: str, name: str) -> None:
    found = of_type(kind, RESOURCES)
    assert found
    assert [each for each, properties in found.items() if name in properties] == []


# --- shard jobs ---------------------------------------------------------------------------------


def test_a_message_group_is_the_lock_of_a_shard() -> None:
    queue = QUEUES["ShardQueue"]
    assert queue["FifoQueue"] is True
    assert "ContentBasedDeduplication" not in queue  # the sender names shard and time
    assert FUNCTIONS["WatchFunction"]["Timeout"] < queue["VisibilityTimeout"]


def test_each_invocation_runs_one_shard_job_and_several_run_in_parallel() -> None:
    mapping = MAPPINGS["ShardQueueMapping"]
    assert mapping["FunctionName"] == {"Ref": "WatchFunction"}
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["ShardQueue", "Arn"]}
    assert mapping["BatchSize"] == 1
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": "10"}


def test_the_function_knows_how_many_run_in_parallel() -> None:
    resources = deployed(WatchConcurrency="33")
    mapping = resources["ShardQueueMapping"]["Properties"]
    variables = resources["WatchFunction"]["Properties"]["Environment"]["Variables"]
    assert mapping["ScalingConfig"]["MaximumConcurrency"] == variables["WATCH_CONCURRENCY"] == "33"


def test_a_shard_fits_the_smallest_function() -> None:
    assert PARAMETERS["WatchMemorySize"]["MinValue"] >= 1280  # 1,100 MB were seen


# --- alarms -------------------------------------------------------------------------------------


def is_evaluated(alarm: str, **parameters: str) -> bool:
    """Return whether the rule's pattern matches an alarm of the stack `prod`."""
    rule = deployed(**parameters)["AlarmRule"]["Properties"]
    [pattern] = rule["EventPattern"]["detail"]["alarmName"]
    prefixes = [
        each.get("Fn::Sub", "").replace("${AWS::StackName}", "prod")
        if isinstance(each, dict)
        else each
        for each in pattern["anything-but"]["prefix"]
    ]
    assert all(prefixes)  # the empty one is a prefix of every name
    return rule["State"] == "ENABLED" and not alarm.startswith(tuple(prefixes))


@pytest.mark.parametrize(
    ("alarm", "evaluated"),
    [
        ("web-latency", True),
        ("prod-WatchErrorsAlarm-1AB2", False),  # of the stack
        ("TargetTracking-table/orders-AlarmHigh-1f2e", False),  # of auto scaling
        ("batch-nightly", True),
    ],
)
def test_which_alarms_are_evaluated(alarm: str, evaluated: bool) -> None:
    assert is_evaluated(alarm) is evaluated


def test_further_prefixes_are_not_evaluated() -> None:
    prefixes = "batch-,AWS/Config deprecated"
    assert not is_evaluated("batch-nightly", IgnoredAlarmPrefixes=prefixes)
    assert not is_evaluated("AWS/Config deprecated rule", IgnoredAlarmPrefixes=prefixes)
    assert not is_evaluated("TargetTracking-x", IgnoredAlarmPrefixes=prefixes)
    assert not is_evaluated("prod-x", IgnoredAlarmPrefixes=prefixes)
    assert is_evaluated("web-latency", IgnoredAlarmPrefixes=prefixes)


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        ("", True),
        ("a", True),
        ("a b,c", True),
        *((each, False) for each in (",", "a,", "a,,b", " ", "a, b")),
    ],
)
def test_no_prefix_is_empty(text: str, is_accepted: bool) -> None:
    pattern = PARAMETERS["IgnoredAlarmPrefixes"]["AllowedPattern"]
    assert (re.fullmatch(pattern, text) is not None) is is_accepted


@pytest.mark.parametrize("name", sorted(f.name for f in (ROOT / "events").glob("alarm-*.json")))
def test_the_rule_matches_the_events_of_alarms(name: str) -> None:
    pattern, event = RULE["EventPattern"], json.loads((ROOT / "events" / name).read_text())
    assert set(pattern) == {"source", "detail-type", "detail"}
    matches = all(event.get(field) in pattern[field] for field in ("source", "detail-type"))
    assert matches == ("detail" in event)  # the others are actions, topics and queues


def test_evaluation_of_alarms_can_be_disabled() -> None:
    assert is_evaluated("web-latency")
    assert not is_evaluated("web-latency", EvaluateAlarms="No")


def test_a_storm_of_alarms_waits_in_a_queue() -> None:
    assert RULE_TARGET["Arn"] == {"Fn::GetAtt": ["AlarmQueue", "Arn"]}
    mapping = MAPPINGS["AlarmQueueMapping"]
    assert mapping["FunctionName"] == {"Ref": "AlarmFunction"}
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["AlarmQueue", "Arn"]}
    assert mapping["BatchSize"] == 1
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": "5"}
    assert PARAMETERS["AlarmConcurrency"]["MinValue"] == 2  # what Lambda takes


def test_no_function_reserves_concurrency_that_a_new_account_does_not_have() -> None:
    assert not any("ReservedConcurrentExecutions" in each for each in FUNCTIONS.values())


def test_only_alarms_may_invoke_a_function_of_the_watcher_directly() -> None:
    permissions = of_type("AWS::Lambda::Permission", RESOURCES).values()
    [permission] = [each for each in permissions if each["FunctionName"]["Ref"] in WATCHERS]
    alarms = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"
    assert permission == {
        "FunctionName": {"Ref": "AlarmFunction"},
        "Action": "lambda:InvokeFunction",
        "Principal": "lambda.alarms.cloudwatch.amazonaws.com",
        "SourceAccount": {"Ref": "AWS::AccountId"},
        "SourceArn": {"Fn::Sub": alarms},
    }


# --- what they send -----------------------------------------------------------------------------


@pytest.mark.parametrize("function", WATCHERS)
def test_a_function_is_configured_with_the_bus_and_topic_of_the_stack(function: str) -> None:
    def variables(**parameters: str) -> dict[str, Any]:
        return deployed(**parameters)[function]["Properties"]["Environment"]["Variables"]

    assert variables()["EVENT_BUS_NAME"] == "default"
    assert variables(EventBus="Own")["EVENT_BUS_NAME"] == {"Ref": "AlertBus"}
    assert variables()["ALERT_TOPIC_ARN"] == {"Ref": "AlertTopic"}


def test_a_function_is_configured_with_its_queue() -> None:
    watch, alarms = (FUNCTIONS[each]["Environment"]["Variables"] for each in WATCHERS)
    assert watch["SHARD_QUEUE_URL"] == {"Ref": "ShardQueue"}
    assert alarms["ALARM_QUEUE_URL"] == {"Ref": "AlarmQueue"}


@pytest.mark.parametrize("function", WATCHERS)
def test_a_function_can_only_send_events_of_its_own_source(function: str) -> None:
    [statement] = [
        each for each in statements(function) if "events:PutEvents" in as_list(each["Action"])
    ]
    assert statement["Condition"] == {
        "ForAllValues:StringEquals": {"events:source": "ops-anomaly"},
        "Null": {"events:source": "false"},
    }


def test_alerts_go_by_email_where_somebody_is_named() -> None:
    assert of_type("AWS::SNS::Subscription", RESOURCES) == {}
    resources = deployed(AlertEmail="ops@example.com")
    [subscription] = of_type("AWS::SNS::Subscription", resources).values()
    assert subscription["TopicArn"] == {"Ref": "AlertTopic"}
    assert subscription["Endpoint"] == "ops@example.com"


@pytest.mark.parametrize("name", ["WatchFunction", "AlarmFunction", "AlertTopic", *QUEUES], ids=str)
def test_outputs_name_where_alerts_and_dead_letters_are(name: str) -> None:
    assert {"Ref": name} in [output["Value"] for output in TEMPLATE["Outputs"].values()]


def test_an_output_names_the_bus_of_the_alerts() -> None:
    bus = TEMPLATE["Outputs"]["EventBusName"]["Value"]
    assert Evaluation(TEMPLATE, {}).value(bus) == "default"
    assert Evaluation(TEMPLATE, {"EventBus": "Own"}).value(bus) == {"Ref": "AlertBus"}


# --- Slack --------------------------------------------------------------------------------------

SLACK_URL = "https://hooks.slack.com/services/T0/B0/secret"
SLACK = ("SlackRule", "SlackDestination", "SlackConnection", "SlackRole")


def test_slack_is_there_only_with_a_webhook() -> None:
    assert [name for name in deployed() if "Slack" in name] == []
    assert set(SLACK) <= deployed(SlackWebhookUrl=SLACK_URL).keys()
    assert not of_who_writes(deployed())
    assert of_who_writes(deployed(SlackWebhookUrl=SLACK_URL))


def of_who_writes(resources: Resources) -> list[dict[str, Any]]:
    """Return the statements by which Slack's rule may write dead letters."""
    policy = resources["DeadLettersPolicy"]["Properties"]["PolicyDocument"]
    rule = {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["SlackRule", "Arn"]}}}
    return [each for each in policy["Statement"] if each.get("Condition") == rule]


@pytest.mark.parametrize(("setting", "bus"), [("Default", "default"), ("Own", {"Ref": "AlertBus"})])
def test_the_rule_of_slack_is_on_the_bus_of_the_alerts(setting: str, bus: object) -> None:
    resources = deployed(SlackWebhookUrl=SLACK_URL, EventBus=setting)
    assert resources["SlackRule"]["Properties"]["EventBusName"] == bus
    variables = resources["WatchFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["EVENT_BUS_NAME"] == bus


def test_the_url_of_slack_is_not_shown_and_is_in_one_place() -> None:
    assert PARAMETERS["SlackWebhookUrl"]["NoEcho"] is True
    resources = deployed(SlackWebhookUrl=SLACK_URL)
    assert [name for name, each in resources.items() if SLACK_URL in json.dumps(each)] == [
        "SlackDestination"
    ]


def test_what_slack_does_not_take_is_retried_for_a_day_and_kept() -> None:
    [target] = deployed(SlackWebhookUrl=SLACK_URL)["SlackRule"]["Properties"]["Targets"]
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == EXPIRY_MS / 1000
    assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}


def test_slack_gets_what_the_template_for_other_channels_sends() -> None:
    text = (ROOT / "docs/integrations/slack.yaml").read_text()
    theirs, ours = yaml.load(text, TemplateLoader)["Resources"], TEMPLATE["Resources"]
    for name in ("SlackConnection", "SlackDestination", "SlackRole"):
        assert ours[name]["Properties"] == theirs[name]["Properties"]
    ours, theirs = ours["SlackRule"]["Properties"], theirs["SlackRule"]["Properties"]
    assert ours["EventPattern"] == theirs["EventPattern"]
    [target], [same] = ours["Targets"], theirs["Targets"]
    for part in ("Id", "Arn", "RoleArn", "InputTransformer"):
        assert target[part] == same[part]
