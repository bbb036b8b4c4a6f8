"""The stack as CloudFormation creates it, with either setting of every condition."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.support.cloudformation import (
    TEMPLATE,
    Evaluation,
    all_dependencies,
    dependencies,
    deployed,
    references,
)

DEFAULTS: dict[str, str] = {}
CHANGED = {
    "ModelBucketName": "models-of-a-former-stack",
    "Authorization": "IAM",
    "ApiGatewayLogRole": "Existing",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:on-call",
    "WatchState": "DISABLED",
    "EvaluateAlarms": "No",
    "IgnoredAlarmPrefixes": "batch-,nightly ",
    "EventBus": "Own",
    "AlertEmail": "ops@example.com",
    "AlertTopicKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/0123",
    "EntryTopicArns": "arn:aws:sns:eu-west-1:123456789012:shop",
    "SlackWebhookUrl": "https://hooks.slack.com/services/T0/B0/secret",
    "Deployment": "Canary10Percent15Minutes",
    "Retrain": "rate(1 day)",
    "Dashboard": "No",
}
AZURE = {"AzureCompatible": "Yes"}  # not with IAM: a rule of the template says so
SETTINGS = [DEFAULTS, CHANGED, AZURE, *({name: value} for name, value in CHANGED.items())]


def test_the_settings_cover_both_sides_of_every_condition() -> None:
    for name in TEMPLATE["Conditions"]:
        sides = {Evaluation(TEMPLATE, parameters).condition(name) for parameters in SETTINGS}
        assert sides == {False, True}, name


@pytest.mark.parametrize("parameters", SETTINGS, ids="-".join)
def test_nothing_refers_to_what_is_not_there(parameters: dict[str, str]) -> None:
    resources = deployed(**parameters)
    known = resources.keys() | TEMPLATE["Parameters"].keys()
    referred = chain.from_iterable(map(references, resources.values()))
    assert {name for name in referred if not name.startswith("AWS::")} <= known


@pytest.mark.parametrize("parameters", SETTINGS, ids="-".join)
def test_nothing_waits_for_itself(parameters: dict[str, str]) -> None:
    resources = deployed(**parameters)
    assert [name for name in resources if name in all_dependencies(name, resources)] == []


def test_the_graph_has_references_of_every_form() -> None:
    resources = {
        "A": {"Type": "T", "DependsOn": "B", "Properties": {"p": [{"Ref": "C"}]}},
        "B": {"Type": "T", "Properties": {"p": {"Fn::GetAtt": ["D", "Arn"]}}},
        "C": {"Type": "T", "Metadata": {"m": {"Fn::Sub": "a ${D.Arn} ${!E} ${AWS::Region}"}}},
        "D": {"Type": "T", "Properties": {"p": {"Fn::Sub": ["${x}", {"x": {"Ref": "E"}}]}}},
        "E": {"Type": "T", "DependsOn": ["B"]},
    }
    assert dependencies(resources) == {
        "A": {"B", "C"},
        "B": {"D"},
        "C": {"D"},
        "D": {"E"},
        "E": {"B"},
    }
    assert all_dependencies("A", resources) == {"B", "C", "D", "E"}
    assert all_dependencies("B", resources) == {"B", "D", "E"}  # a circle


# --- API Gateway --------------------------------------------------------------------------------


def test_the_account_of_api_gateway_waits_for_an_api() -> None:
    # an account that never had one refuses the setting
    resources = deployed()
    kinds = {resources[name]["Type"] for name in all_dependencies("ApiGatewayAccount", resources)}
    assert "AWS::ApiGateway::RestApi" in kinds


def test_the_stage_with_access_logs_waits_for_the_role_that_writes_them() -> None:
    resources = deployed()
    [stage] = [n for n, each in resources.items() if each["Type"] == "AWS::ApiGateway::Stage"]
    assert resources[stage]["Properties"]["AccessLogSetting"]
    assert "ApiGatewayAccount" in all_dependencies(stage, resources)


# --- what is kept -------------------------------------------------------------------------------


def test_a_failed_first_deployment_leaves_nothing_behind() -> None:
    kept = {
        name: each["DeletionPolicy"]
        for name, each in TEMPLATE["Resources"].items()
        if "DeletionPolicy" in each
    }
    assert kept == dict.fromkeys(
        ["ModelBucket", "ModelBucketPolicy", "ApiGatewayAccount", "ApiGatewayLogWriter"],
        "RetainExceptOnCreate",
    )


def test_what_outlives_the_stack_outlives_a_replacement() -> None:
    for name, each in TEMPLATE["Resources"].items():
        if "DeletionPolicy" in each:
            assert each["UpdateReplacePolicy"] == "Retain", name


# --- a bucket that exists already ---------------------------------------------------------------


def test_an_existing_bucket_takes_the_place_of_the_new_one_everywhere() -> None:
    resources = deployed(ModelBucketName="mine")
    assert not {"ModelBucket", "ModelBucketPolicy"} & resources.keys()
    assert "ModelBucket" not in str(
        [each["Properties"] for each in resources.values() if "Properties" in each]
    )
    for function in ("ApiFunction", "WatchFunction", "AlarmFunction"):
        environment = resources[function]["Properties"]["Environment"]["Variables"]
        assert environment["MODEL_BUCKET"] == "mine"
        role = str(resources[f"{function}Role"])
        assert "s3:::mine/" in role
        assert role.count("s3:::") == role.count("s3:::mine/")


def test_the_bucket_that_is_used_is_an_output() -> None:
    evaluate = Evaluation(TEMPLATE, {"ModelBucketName": "mine"})
    assert evaluate.value(TEMPLATE["Outputs"]["ModelBucketName"]["Value"]) == "mine"
