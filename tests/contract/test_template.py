"""The template: buckets, functions, permissions, and what is deployed."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from typing import Any

import pytest

from tests.support.cloudformation import (
    BUCKETS,
    FUNCTIONS,
    RESOURCES,
    ROOT,
    TEMPLATE,
    as_list,
    of_type,
    package,
    statements,
)

SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())

# All that the functions' roles may do, by action; each on these resources and no others.
MODELS, WATCH, STATE = (
    {"Fn::Sub": f"${{ModelBucket.Arn}}/{prefix}/*"} for prefix in ("models", "watch", "state")
)
MAY = {
    "ApiFunction": {"s3:GetObject": [MODELS]},
    "WatchFunction": {
        "s3:GetObject": [MODELS, WATCH, STATE],
        "s3:PutObject": [STATE],
        "cloudwatch:GetMetricData": ["*"],
        "cloudwatch:ListMetrics": ["*"],
        "cloudwatch:DescribeAlarms": ["*"],
        "events:PutEvents": [
            {
                "Fn::If": [
                    "OwnsEventBus",
                    {"Fn::GetAtt": "AlertBus.Arn"},
                    {
                        "Fn::Sub": "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}"
                        ":event-bus/default"
                    },
                ]
            }
        ],
        "sns:Publish": [{"Ref": "AlertTopic"}],
        "sqs:SendMessage": [{"Fn::GetAtt": "WatchQueue.Arn"}],
        "sqs:ReceiveMessage": [{"Fn::GetAtt": "WatchQueue.Arn"}],
        "sqs:DeleteMessage": [{"Fn::GetAtt": "WatchQueue.Arn"}],
        "sqs:GetQueueAttributes": [{"Fn::GetAtt": "WatchQueue.Arn"}],
    },
}

LOG_NAMES = {"ApiFunction": "api", "WatchFunction": "watch"}

# SAM events that bring no managed policy along: that of SQS would cover every queue there is.
EVENTS_WITHOUT_A_POLICY = {"Api", "ScheduleV2", "EventBridgeRule"}


# --- the bucket ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_is_versioned_encrypted_and_private(name: str) -> None:
    bucket = BUCKETS[name]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_accepts_only_tls(name: str) -> None:
    [policy] = [
        each["PolicyDocument"]
        for each in of_type("AWS::S3::BucketPolicy").values()
        if each["Bucket"] == {"Ref": name}
    ]
    [statement] = policy["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Action"] == "s3:*"
    assert statement["Resource"] == [
        {"Fn::GetAtt": f"{name}.Arn"},
        {"Fn::Sub": f"${{{name}.Arn}}/*"},
    ]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_keeps_every_version_of_a_model(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "Retain"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
    for rule in BUCKETS[name]["LifecycleConfiguration"]["Rules"]:
        does = set(rule) - {"Id", "Status", "Prefix"}
        if rule.get("Prefix") == "state/":
            assert does == {"NoncurrentVersionExpiration"}
            assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
        else:
            assert does == {"AbortIncompleteMultipartUpload"}


# --- the functions ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_do_what_it_needs_and_nothing_else(name: str) -> None:
    may: dict[str, list[Any]] = {}
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            may.setdefault(action, []).extend(as_list(statement["Resource"]))
    assert may == MAY[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_no_further_permissions(name: str) -> None:
    function = FUNCTIONS[name]
    assert "Role" not in function
    assert all(
        isinstance(policy, dict) and "Statement" in policy for policy in function["Policies"]
    )
    assert {event["Type"] for event in function["Events"].values()} <= EVENTS_WITHOUT_A_POLICY


@pytest.mark.parametrize("name", FUNCTIONS)
def test_handler_is_in_the_source(name: str) -> None:
    module, handler = FUNCTIONS[name]["Handler"].rsplit(".", 1)
    code = ROOT / FUNCTIONS[name]["CodeUri"]
    source = (code / module.replace(".", "/")).with_suffix(".py").read_text()
    assert re.search(rf"^def {handler}\(event\b.*, context\b", source, re.M)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_built_by_the_makefile_for_python_3_13(name: str) -> None:
    assert FUNCTIONS[name]["Runtime"] == "python3.13"
    assert RESOURCES[name]["Metadata"] == {"BuildMethod": "makefile"}
    makefile = (ROOT / FUNCTIONS[name]["CodeUri"] / "Makefile").read_text()
    assert re.search(rf"^(build-\w+ )*build-{name}( build-\w+)*:", makefile, re.M)
    assert re.search(r"^PACKAGE := ops_anomaly$", makefile, re.M)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_given_the_settings_it_reads(name: str) -> None:
    files = [*package(name).glob("*.py"), package(name).with_name("aws") / "settings.py"]
    reads = re.compile(r'environ(?:, |\.get\()"([A-Z_]+)"')
    read = {name for file in files for name in reads.findall(file.read_text())}
    given = FUNCTIONS[name]["Environment"]["Variables"]
    assert {word for word in given if not word.startswith("POWERTOOLS_")} == read


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sam_local_has_the_settings_without_a_default(name: str) -> None:
    local = json.loads((ROOT / "events/env.json").read_text())[name]
    given = FUNCTIONS[name]["Environment"]["Variables"]
    assert set(local) <= set(given)
    assert {word for word in given if isinstance(given[word], dict)} - set(local) <= {
        *("MODEL_TTL_SECONDS", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL")
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_traced(name: str) -> None:
    assert FUNCTIONS[name]["Tracing"] == "Active"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_writes_to_a_group_of_its_own(name: str) -> None:
    group = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    assert group == f"{name}LogGroup"
    assert of_type("AWS::Logs::LogGroup")[group]["LogGroupName"] == {
        "Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{LOG_NAMES[name]}"
    }


@pytest.mark.parametrize("name", of_type("AWS::Logs::LogGroup"))
def test_logs_are_not_kept_for_ever(name: str) -> None:
    assert RESOURCES[name]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


# --- what is deployed ---------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_make_deploys_what_it_built_with_the_parameters_of_samconfig(environment: str) -> None:
    make = ["make", "--dry-run", "deploy", f"TO={environment}", "ARCHITECTURE=x86_64"]
    commands = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert " ARCHITECTURE=x86_64 " in commands
    parameters = SAMCONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    assert f"sam deploy --config-env {environment} " in commands
    assert f'--parameter-overrides "{parameters} Architecture=x86_64"\n' in commands


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_samconfig_sets_parameters_that_the_template_has(environment: str) -> None:
    overrides = SAMCONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    for pair in overrides.split():
        name, value = pair.split("=", 1)
        allowed = TEMPLATE["Parameters"][name].get("AllowedValues")
        assert allowed is None or value in map(str, allowed)


def pins(file: str) -> dict[str, str]:
    """Return name -> version of the `name==version` lines of a requirements file."""
    found = re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;]+)", (ROOT / file).read_text(), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_deployed_libraries_are_the_ones_tested() -> None:
    deployed, tested = pins("functions/requirements.txt"), pins("constraints.txt")
    shared = deployed.keys() & tested.keys()
    assert shared
    assert {name: deployed[name] for name in shared} == {name: tested[name] for name in shared}
