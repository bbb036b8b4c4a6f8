"""The policies that docs/operations.md offers: what people need, and no other's resources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase

import parliament
import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.contract.test_template_graph import SETTINGS
from tests.support.cloudformation import ROOT, as_list, deployed

POLICIES = {
    path.stem: json.loads(path.read_text())["Statement"]
    for path in sorted((ROOT / "docs" / "policies").glob("*.json"))
}
MAX_MANAGED_POLICY = 6144
"""Characters without blanks that IAM takes."""

# What CloudFormation may need for settings that no resource of the stack has.
FEATURES_NOT_USED = {
    *("ec2", "elasticfilesystem", "firehose", "kms", "s3", "s3files", "s3tables"),
    *("iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary"),
    *("lambda:GetLayerVersion", "lambda:GetCodeSigningConfig", "lambda:PassCapacityProvider"),
    *("codedeploy:RegisterOnPremisesInstance", "logs:CreateLogDelivery"),
    *("logs:DeleteIndexPolicy", "logs:DeleteResourcePolicy", "logs:PutIndexPolicy"),
    "logs:PutResourcePolicy",
}

# Statements of actions that have no resource that could be named.
UNBOUND = {"ActionsWithoutResources", "EndSubscription", "ReadMetrics"}

SHARED = (  # by stacks of any name, or AWS's own
    "arn:aws:apigateway:",  # identifiers are random
    "arn:aws:execute-api:",
    "arn:aws:lambda:*:*:event-source-mapping:",
    "arn:aws:cloudformation:*:aws:transform/Serverless-2016-10-31",
    "arn:aws:codedeploy:*:*:deploymentconfig:CodeDeployDefault.",
    "arn:aws:events:*:*:event-bus/default",
    "arn:aws:iam::*:role/aws-service-role/apidestinations.events.amazonaws.com/",
)


def needed_by_cloudformation() -> Iterator[str]:
    """Yield the actions that the schemas of the stack's resources list."""
    kinds = {each["Type"] for parameters in SETTINGS for each in deployed(**parameters).values()}
    for kind in kinds:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        for handler in ("create", "read", "update", "delete"):
            yield from schema.get("handlers", {}).get(handler, {}).get("permissions", [])


def test_who_deploys_may_do_what_cloudformation_does() -> None:
    allowed = [action for each in POLICIES["deploy"] for action in as_list(each["Action"])]
    needed = {
        action
        for action in needed_by_cloudformation()
        if not {action, action.split(":")[0]} & FEATURES_NOT_USED
    }
    assert len(needed) > 100
    assert {each for each in needed if not any(fnmatchcase(each, p) for p in allowed)} == set()


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_reaches_nothing_but_stacks_of_this_name(name: str) -> None:
    for statement in POLICIES[name]:
        if statement["Sid"] in UNBOUND:
            continue
        for resource in as_list(statement["Resource"]):
            is_own = "ops-anomaly-" in resource or "aws-sam-cli-managed-default" in resource
            is_nobodys = resource.startswith(SHARED)
            assert is_own or is_nobodys, resource


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_fits_iam(name: str) -> None:
    policy = {"Version": "2012-10-17", "Statement": POLICIES[name]}
    assert len("".join(json.dumps(policy).split())) <= MAX_MANAGED_POLICY


@pytest.mark.parametrize("name", POLICIES)
def test_parliament_accepts_a_policy(name: str) -> None:
    # A whole service on one's own resources has actions that know none; and parliament does not
    # know that the account of AWS's transform is "aws".
    statements = [
        each
        for each in POLICIES[name]
        if each["Sid"] != "Transform" and not any(a.endswith(":*") for a in each["Action"])
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    findings = parliament.analyze_policy_string(json.dumps(policy)).findings
    # to deploy is to write the policies of the stack's own roles and bucket
    escalation = "RESOURCE_POLICY_PRIVILEGE_ESCALATION"
    assert [str(each) for each in findings if each.issue != escalation] == []


def test_nobody_may_delete_a_model() -> None:
    actions = {
        a for policy in POLICIES.values() for each in policy for a in as_list(each["Action"])
    }
    assert not actions & {"s3:*", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:Delete*"}


def test_every_policy_is_offered() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in POLICIES if f"](policies/{name}.json)" not in text] == []
