"""What linters say of the stack as deployed: cfn-lint of resources, parliament of policies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import parliament
import pytest
from cfnlint.api import ManualArgs, lint

from tests.contract.test_template_graph import SETTINGS
from tests.support.cloudformation import Resources, deployed, of_type, transform

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "ops-anomaly",
}
ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": "arn:aws:sqs:eu-west-1:123456789012:{}",
    "AWS::SNS::Topic": "arn:aws:sns:eu-west-1:123456789012:{}",
    "AWS::Events::EventBus": "arn:aws:events:eu-west-1:123456789012:event-bus/{}",
    "AWS::Events::ApiDestination": "arn:aws:events:eu-west-1:123456789012:api-destination/{}/0123",
    "AWS::Events::Rule": "arn:aws:events:eu-west-1:123456789012:rule/{}",
    "AWS::Lambda::Function": "arn:aws:lambda:eu-west-1:123456789012:function:{}",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:eu-west-1:123456789012:stateMachine:{}",
}
REFERRED_BY_ARN = ("AWS::SNS::Topic", "AWS::StepFunctions::StateMachine")
ACCEPTED = {
    ("NO_VERSION", ""),  # of policies that SAM writes
    ("RESOURCE_STAR", "['cloudwatch:DescribeAlarms']"),  # or it would not find composite alarms
    # of two kinds of executions there is only one
    *(
        (
            "RESOURCE_MISMATCH",
            str([{"action": action, "required_format": "arn:*:states:*:*:express:*:*:*"}]),
        )
        for action in ("states:DescribeExecution", "states:StopExecution")
    ),
}
RESOURCE_POLICIES = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")


def named(value: Any, resources: Resources) -> Any:
    """Return a value with names and ARNs as AWS would give them."""
    match value:
        case {"Ref": str(name)}:
            is_arn = any(name in of_type(kind, resources) for kind in REFERRED_BY_ARN)
            return arn(name, resources) if is_arn else PSEUDO[name]
        case {"Fn::GetAtt": [name, "Arn"]}:
            return arn(name, resources)
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{(.+?)\}", lambda found: placeholder(found[1], resources), text)
        case dict():
            return {key: named(each, resources) for key, each in value.items()}
        case list():
            return [named(each, resources) for each in value]
    return value


def placeholder(name: str, resources: Resources) -> str:
    resource, _, attribute = name.partition(".")
    return PSEUDO.get(name) or (arn(resource, resources) if attribute else resource.lower())


def arn(name: str, resources: Resources) -> str:
    return ARNS[resources[name]["Type"]].format(name.lower())


def policies(resources: Resources) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all policies of roles and of resources, with a name."""
    for name, role in of_type("AWS::IAM::Role", resources).items():
        for policy in role.get("Policies", []):
            yield f"{name} {policy['PolicyName']}", policy["PolicyDocument"]
    for kind in RESOURCE_POLICIES:
        for name, each in of_type(kind, resources).items():
            yield name, each["PolicyDocument"]


# Conditions are left to cfn-lint; of the parameters, only this one changes what SAM makes, which
# uses it up.
def test_cfn_lint_accepts_what_sam_makes_of_the_template() -> None:
    template = transform(Deployment="Canary10Percent15Minutes")  # it has all resources
    found = lint(json.dumps(template), config=ManualArgs())
    assert {(match.rule.id, *match.path) for match in found} == {
        ("W2001", "Parameters", "Deployment"),
        ("W7001", "Mappings", "Deployment"),
    }


@pytest.mark.parametrize("parameters", SETTINGS, ids="-".join)
def test_parliament_accepts_every_policy(parameters: dict[str, str]) -> None:
    resources = deployed(**parameters)
    for name, policy in policies(resources):
        findings = parliament.analyze_policy_string(json.dumps(named(policy, resources))).findings
        found = {(finding.issue, str(finding.detail)) for finding in findings}
        assert found <= ACCEPTED, name


def test_parliament_objects_to_an_action_that_its_resource_does_not_have() -> None:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    assert parliament.analyze_policy_string(json.dumps(policy)).findings
