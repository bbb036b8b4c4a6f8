"""Nightly retraining: by default nothing of it, and with `Retrain` a state machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from tests.contract.test_template_graph import CHANGED
from tests.support.cloudformation import (
    BUCKETS,
    FUNCTIONS,
    TEMPLATE,
    Resources,
    as_list,
    deployed,
    of_type,
)

EVERY_DAY = "rate(1 day)"
OFF, ON = deployed(), deployed(Retrain=EVERY_DAY)
RETRAINING = sorted(name for name in FUNCTIONS if name.startswith("Retraining"))
MACHINE = ON["Retraining"]["Properties"]
SUBSTITUTIONS = MACHINE["DefinitionSubstitutions"]
PLAN = {"run", "bucket", "items", "metrics", "batches", "concurrency"}
"""Fields of what the plan's handler returns."""


def definition() -> dict[str, Any]:
    """Return the definition of the state machine; what is substituted is written as before."""
    separator, lines = MACHINE["DefinitionString"]["Fn::Join"]
    return json.loads(separator.join(lines))


DEFINITION = definition()
STATES = DEFINITION["States"]
MAP = STATES["TrainBatches"]
CHILD = MAP["ItemProcessor"]
TASKS = {
    name: state
    for states in (STATES, CHILD["States"])
    for name, state in states.items()
    if state["Type"] == "Task"
}


# --- both settings ------------------------------------------------------------------------------


def comparable(resources: Resources) -> Resources:
    """Return resources without deployments of the API, which are another one each time."""
    others = {name: each for name, each in resources.items() if "ApiDeployment" not in name}
    return json.loads(re.sub(r"ApiDeployment\w+", "ApiDeployment", json.dumps(others)))


def test_by_default_nothing_of_it_is_deployed() -> None:
    off, on = map(comparable, (OFF, ON))
    assert off.keys() - on.keys() == set()
    added = on.keys() - off.keys()
    assert {name for name in added if not name.startswith("Retraining")} == set()
    assert {on[name]["Type"] for name in added} == {
        "AWS::StepFunctions::StateMachine",
        "AWS::Scheduler::Schedule",
        "AWS::Lambda::Function",
        "AWS::IAM::Role",
        "AWS::Logs::LogGroup",
        "AWS::CloudWatch::Alarm",
    }


def test_all_else_is_the_same_but_what_the_bucket_keeps_and_the_dashboard_shows() -> None:
    off, on = map(comparable, (OFF, ON))
    assert {name for name in off if off[name] != on[name]} == {"ModelBucket", "Health"}


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        *((each, True) for each in ("", EVERY_DAY, "cron(0 3 * * ? *)")),
        *((each, False) for each in ("1 day", "rate()", "at(2026-11-27T03:00:00)", " ")),
    ],
)
def test_a_schedule_is_a_rate_or_a_cron_expression(text: str, is_accepted: bool) -> None:
    pattern = TEMPLATE["Parameters"]["Retrain"]["AllowedPattern"]
    assert (re.fullmatch(pattern, text) is not None) is is_accepted


@pytest.mark.parametrize("name", BUCKETS)
def test_versions_and_runs_of_every_night_do_not_grow_for_ever(name: str) -> None:
    before, now = (
        each[name]["Properties"]["LifecycleConfiguration"]["Rules"] for each in (OFF, ON)
    )
    assert [rule for rule in now if rule not in before] == [
        {
            "Id": "ForgetFormerModels",
            "Status": "Enabled",
            "Prefix": "models/",
            # both must hold: the last 30 days, and the last 30 versions, can be rolled back to
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 30},
        },
        {
            "Id": "ForgetFormerRuns",
            "Status": "Enabled",
            "Prefix": "plans/",
            "ExpirationInDays": 90,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
    ]


# --- the schedule -------------------------------------------------------------------------------


def test_the_schedule_starts_the_state_machine() -> None:
    schedule = ON["RetrainingSchedule"]["Properties"]
    assert schedule["ScheduleExpression"] == EVERY_DAY
    assert schedule["Target"]["Arn"] == {"Ref": "Retraining"}
    assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert schedule["Target"]["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
    assert "Name" not in schedule  # two stacks would fight for it
    role = ON["RetrainingScheduleRole"]["Properties"]
    assert allowed(role["Policies"]) == {
        "states:StartExecution": [{"Ref": "Retraining"}],
        "sqs:SendMessage": [{"Fn::GetAtt": ["DeadLetters", "Arn"]}],
    }


# --- the state machine --------------------------------------------------------------------------


def findings(definition: dict[str, Any]) -> list[str]:
    """Return what cfn-lint says of a definition."""
    role = "arn:aws:iam::123456789012:role/r"
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": role, "Definition": definition},
    }
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Machine": machine}}
    return [str(match) for match in lint(json.dumps(template), config=ManualArgs())]


def resolved(value: Any) -> Any:
    """Return a definition with ARNs for what is substituted."""
    match value:
        case str():
            value = value.replace("${Partition}", "aws")
            return re.sub(
                r"\$\{(\w+)\}", r"arn:aws:lambda:eu-west-1:123456789012:function:\1", value
            )
        case dict():
            return {key: resolved(each) for key, each in value.items()}
        case list():
            return [resolved(each) for each in value]
    return value


def test_the_definition_is_valid() -> None:
    assert findings(resolved(DEFINITION)) == []
    text = json.dumps(resolved(DEFINITION))
    assert findings(json.loads(text.replace('"MaxConcurrencyPath"', '"MaxParallelPath"'))) != []


def test_everything_in_it_is_substituted() -> None:
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(DEFINITION)))
    assert used == SUBSTITUTIONS.keys()
    assert {each["Fn::GetAtt"][0] for each in SUBSTITUTIONS.values() if "Fn::GetAtt" in each} == {
        *RETRAINING
    }


@pytest.mark.parametrize("states", [DEFINITION, CHILD], ids=["run", "batch"])
def test_every_state_is_reached_and_leads_to_one_that_is_there(states: dict[str, Any]) -> None:
    found, left = set[str](), [states["StartAt"]]
    while left:
        found.add(left[-1])
        state = states["States"][left.pop()]
        left += set(following(state)) - found
    assert found == states["States"].keys()


def following(state: dict[str, Any]) -> Iterator[str]:
    for each in (state, *state.get("Catch", []), *state.get("Choices", [])):
        yield from [each[key] for key in ("Next", "Default") if key in each]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_outlasts_its_function(name: str) -> None:
    # or a retry would begin while the first one is still running
    function = TASKS[name]["Parameters"]["FunctionName"].strip("${}")
    properties = ON[SUBSTITUTIONS[function]["Fn::GetAtt"][0]]["Properties"]
    assert properties["Timeout"] < TASKS[name]["TimeoutSeconds"] <= properties["Timeout"] + 60


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_tried_again_and_not_by_all_at_the_same_time(name: str) -> None:
    retries = TASKS[name]["Retry"]
    assert retries[-1]["ErrorEquals"] == ["States.ALL"]
    for each in retries:
        assert each["MaxAttempts"] >= 4
        assert each["BackoffRate"] > 1
        assert each["JitterStrategy"] == "FULL"
        assert each["MaxDelaySeconds"] <= 300


def test_all_retries_fit_into_a_run() -> None:
    retries = TASKS["TrainBatch"]["Retry"]
    waiting = sum(each["MaxAttempts"] * each["MaxDelaySeconds"] for each in retries)
    tries = 1 + retries[-1]["MaxAttempts"]
    longest = tries * TASKS["TrainBatch"]["TimeoutSeconds"] + waiting
    assert DEFINITION["TimeoutSeconds"] > 3 * longest


def test_the_batches_are_what_the_plan_has_written() -> None:
    assert STATES["Plan"]["Next"] == "TrainBatches"
    assert STATES["Plan"]["OutputPath"] == "$.Payload"
    assert MAP["ItemReader"] == {
        "Resource": "arn:${Partition}:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.items"},
    }
    assert MAP["MaxConcurrencyPath"] == "$.concurrency"
    taken = set(re.findall(r"\$\.(\w+)", json.dumps(MAP)))
    assert taken - {"Payload", "error"} <= PLAN
    variables = ON["RetrainingPlanFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["RETRAIN_CONCURRENCY"] == "5"  # half of what a new account has


def test_a_batch_that_is_lost_does_not_end_the_run() -> None:
    assert MAP["ToleratedFailurePercentage"] == 100
    [caught] = CHILD["States"]["TrainBatch"]["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"]
    assert CHILD["States"][caught["Next"]]["Type"] == "Pass"
    # a child that waits for its retries takes longer than the five minutes of an express execution
    assert CHILD["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}


def test_the_report_is_written_even_if_the_map_fails() -> None:
    [caught] = MAP["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"]
    assert MAP["Next"] == caught["Next"] == "Report"
    # the run is still known: what failed is beside it, or left out
    assert caught["ResultPath"].startswith("$.")
    assert MAP["ResultPath"] is None
    assert STATES["Report"]["Parameters"]["Payload"] == {"run.$": "$.run"}


def test_a_run_with_too_many_failures_has_failed() -> None:
    assert STATES["Report"]["Next"] == "HasFailed"
    [failed] = STATES["HasFailed"]["Choices"]
    assert failed == {"Variable": "$.has_failed", "BooleanEquals": True, "Next": "Failed"}
    assert STATES[STATES["HasFailed"]["Default"]]["Type"] == "Succeed"
    assert STATES["Failed"]["Type"] == "Fail"
    assert "--resume {}" in STATES["Failed"]["CausePath"]


def test_its_errors_are_logged_and_its_executions_traced() -> None:
    logging = MACHINE["LoggingConfiguration"]
    [destination] = logging["Destinations"]
    group = {"Fn::GetAtt": ["RetrainingLogGroup", "Arn"]}
    assert destination["CloudWatchLogsLogGroup"]["LogGroupArn"] == group
    assert logging["Level"] == "ERROR"
    assert MACHINE["TracingConfiguration"] == {"Enabled": True}
    name = ON["RetrainingLogGroup"]["Properties"]["LogGroupName"]["Fn::Sub"]
    assert name.startswith("/aws/vendedlogs/states/${AWS::StackName}")


# --- what it may do -----------------------------------------------------------------------------


def allowed(policies: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the resources of each action that policies allow."""
    may: dict[str, list[Any]] = {}
    for policy in policies:
        for statement in as_list(policy["PolicyDocument"]["Statement"]):
            assert statement["Effect"] == "Allow"
            for action in as_list(statement["Action"]):
                may.setdefault(action, []).extend(as_list(statement["Resource"]))
    return may


def test_the_state_machine_may_do_what_it_needs_and_nothing_else() -> None:
    may = allowed(ON["RetrainingRole"]["Properties"]["Policies"])
    logs = {action for action in may if action.startswith("logs:")}
    assert may.pop("lambda:InvokeFunction") == [
        {"Fn::GetAtt": [f"Retraining{name}Function", "Arn"]} for name in ("Plan", "Train", "Report")
    ]
    here = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}"
    assert MACHINE["StateMachineName"] == {"Fn::Sub": "${AWS::StackName}-retraining"}
    [itself] = may.pop("states:StartExecution")
    assert itself["Fn::Sub"] == f"{here}:stateMachine:${{AWS::StackName}}-retraining"
    child = f"{here}:execution:${{AWS::StackName}}-retraining/map:0123"
    for action in ("states:DescribeExecution", "states:StopExecution"):
        assert any(fnmatchcase(child, each["Fn::Sub"]) for each in may.pop(action))
    plans = {"Fn::Sub": "arn:${AWS::Partition}:s3:::${ModelBucket}/plans/*"}
    of_plans = {action for action, resources in may.items() if resources == [plans]}
    assert of_plans == may.keys() - logs
    assert of_plans == {
        *("s3:GetObject", "s3:PutObject"),
        *("s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"),
    }


def test_it_works_in_a_bucket_that_exists_already() -> None:
    resources = deployed(Retrain=EVERY_DAY, ModelBucketName="mine")
    retraining = str([each for name, each in resources.items() if name.startswith("Retraining")])
    assert retraining.count("s3:::") == retraining.count("s3:::mine") > 0
    assert "ModelBucket" not in retraining


def test_only_who_trains_publishes_and_only_who_reports_sends_events() -> None:
    roles = {name: allowed(ON[f"{name}Role"]["Properties"]["Policies"]) for name in RETRAINING}
    models = {"Fn::Sub": "arn:${AWS::Partition}:s3:::${ModelBucket}/models/*/model.safetensors"}
    writers = [name for name, may in roles.items() if models in may.get("s3:PutObject", [])]
    assert writers == ["RetrainingTrainFunction"]
    senders = [name for name, may in roles.items() if "events:PutEvents" in may]
    assert senders == ["RetrainingReportFunction"]


# --- who learns of it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "actions"),
    [("", [{"Ref": "AlertTopic"}]), (CHANGED["AlarmTopicArn"], [CHANGED["AlarmTopicArn"]])],
    ids=["default", "AlarmTopicArn"],
)
def test_an_execution_that_fails_or_times_out_raises_an_alarm(
    topic: str, actions: list[object]
) -> None:
    resources = deployed(Retrain=EVERY_DAY, AlarmTopicArn=topic)
    alarm = resources["RetrainingFailedAlarm"]["Properties"]
    total, *metrics = alarm["Metrics"]
    assert all(each["Id"] in total["Expression"] for each in metrics)
    watched = [each["MetricStat"]["Metric"] for each in metrics]
    assert {each["MetricName"] for each in watched} == {"ExecutionsFailed", "ExecutionsTimedOut"}
    for each in watched:
        assert each["Namespace"] == "AWS/States"
        assert each["Dimensions"] == [{"Name": "StateMachineArn", "Value": {"Ref": "Retraining"}}]
    assert all(each["ReturnData"] is False for each in metrics)
    assert (alarm["Threshold"], alarm["TreatMissingData"]) == (1, "notBreaching")
    assert alarm["AlarmActions"] == alarm["OKActions"] == actions


def test_the_dashboard_shows_the_alarm() -> None:
    [dashboard] = of_type("AWS::CloudWatch::Dashboard", ON).values()
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    [alarms] = [each["properties"]["alarms"] for each in widgets if each["type"] == "alarm"]
    assert set(alarms) == {f"${{{name}.Arn}}" for name in of_type("AWS::CloudWatch::Alarm", ON)}


def test_an_output_names_what_starts_a_run() -> None:
    output = TEMPLATE["Outputs"]["RetrainingArn"]
    assert output["Condition"] == "Retrains"
    assert output["Value"] == {"Ref": "Retraining"}
