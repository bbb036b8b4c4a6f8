"""The template: buckets, functions, permissions, and what is deployed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cloudformation import (
    BUCKETS,
    FUNCTIONS,
    RESOURCES,
    ROOT,
    TEMPLATE,
    TRANSFORMED,
    all_dependencies,
    as_list,
    deployed,
    of_type,
    package,
    references,
    source_root,
    statements,
)

SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())

# All that the functions' roles may do, by action; each on these resources and no others.
BUCKET = "arn:${AWS::Partition}:s3:::${ModelBucket}"
MODELS, WATCH, FEEDBACK, STATE, ALARM_STATE, PLANS, RUNS = (
    {"Fn::Sub": f"{BUCKET}/{prefix}/*"}
    for prefix in ("models", "watch", "feedback", "state", "state/alarms", "plans", "runs")
)
INCIDENTS, FLEET, INDEX, ARTIFACTS, WATCH_FILE, FEEDBACK_FILE, OUTCOMES = (
    {"Fn::Sub": f"{BUCKET}/{name}"}
    for name in (
        *("state/incidents.json", "state/fleet.json", "models/index.json"),
        *("models/*/model.safetensors", "watch/watch.json", "feedback/feedback.json"),
        "plans/*/outcomes/*",
    )
)
DEAD_LETTERS, SHARD_QUEUE, ALARM_QUEUE = (
    {"Fn::GetAtt": [name, "Arn"]} for name in ("DeadLetters", "ShardQueue", "AlarmQueue")
)
DEFAULT_BUS = {
    "Fn::Sub": "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
}
MAY_NOTIFY = {"events:PutEvents": [DEFAULT_BUS], "sns:Publish": [{"Ref": "AlertTopic"}]}
MAY = {
    "ApiFunction": {"s3:GetObject": [MODELS]},
    "KeyFunction": {},
    "WatchFunction": MAY_NOTIFY
    | {
        "s3:GetObject": [MODELS, WATCH, FEEDBACK, STATE],
        "s3:PutObject": [STATE],
        "cloudwatch:GetMetricData": ["*"],
        "cloudwatch:ListMetrics": ["*"],
        "sqs:SendMessage": [DEAD_LETTERS, SHARD_QUEUE],
        "sqs:ReceiveMessage": [SHARD_QUEUE],
        "sqs:DeleteMessage": [SHARD_QUEUE],
        "sqs:GetQueueAttributes": [SHARD_QUEUE],
    },
    "AlarmFunction": MAY_NOTIFY
    | {
        "s3:GetObject": [ALARM_STATE],
        "s3:PutObject": [ALARM_STATE],
        "cloudwatch:GetMetricData": ["*"],
        "cloudwatch:DescribeAlarms": ["*"],
        "sqs:SendMessage": [DEAD_LETTERS, ALARM_QUEUE],
        "sqs:ReceiveMessage": [ALARM_QUEUE],
        "sqs:DeleteMessage": [ALARM_QUEUE],
        "sqs:GetQueueAttributes": [ALARM_QUEUE],
    },
    "ConsoleFunction": {
        "s3:GetObject": [INCIDENTS, FLEET, FEEDBACK],
        "s3:PutObject": [FEEDBACK],
        "sqs:SendMessage": [DEAD_LETTERS],
    },
    "RetrainingPlanFunction": {
        "s3:GetObject": [WATCH_FILE, FEEDBACK_FILE, FLEET, INCIDENTS, PLANS],
        "s3:PutObject": [PLANS],
        "s3:GetBucketVersioning": [{"Fn::Sub": BUCKET}],
        "cloudwatch:ListMetrics": ["*"],
    },
    "RetrainingTrainFunction": {
        "s3:GetObject": [PLANS, ARTIFACTS],
        "s3:PutObject": [ARTIFACTS, OUTCOMES, RUNS],
        "s3:ListBucket": [{"Fn::Sub": BUCKET}],
        "cloudwatch:GetMetricData": ["*"],
    },
    "RetrainingReportFunction": {
        "s3:GetObject": [PLANS, INDEX, ARTIFACTS],
        "s3:PutObject": [PLANS, INDEX],
        "s3:ListBucket": [{"Fn::Sub": BUCKET}],
        "events:PutEvents": [DEFAULT_BUS],
    },
}
MAY_MANAGED = {"service-role/AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess"}

EVERYTHING = {"AzureCompatible": "Yes", "Retrain": "rate(1 day)"}
"""Parameters with which every function is there."""

LOG_NAMES = {
    "ApiFunction": "api",
    "KeyFunction": "key",
    "WatchFunction": "watch",
    "AlarmFunction": "alarms",
    "ConsoleFunction": "console",
    "RetrainingPlanFunction": "retraining-plan",
    "RetrainingTrainFunction": "retraining-train",
    "RetrainingReportFunction": "retraining-report",
}


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
        {"Fn::GetAtt": [name, "Arn"]},
        {"Fn::Sub": f"${{{name}.Arn}}/*"},
    ]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_keeps_every_version_of_a_model(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
    for rule in deployed()[name]["Properties"]["LifecycleConfiguration"]["Rules"]:
        does = set(rule) - {"Id", "Status", "Prefix"}
        if rule.get("Prefix") == "state/":
            assert does == {"NoncurrentVersionExpiration"}
            assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
        else:
            assert does == {"AbortIncompleteMultipartUpload"}


# --- the functions ------------------------------------------------------------------------------


def permissions(function: str, **parameters: str) -> dict[str, list[Any]]:
    """Return the resources of each action that a function's role allows."""
    may: dict[str, list[Any]] = {}
    for statement in statements(function, **parameters):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            may.setdefault(action, []).extend(as_list(statement["Resource"]))
    return may


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_do_what_it_needs_and_nothing_else(name: str) -> None:
    assert permissions(name, **EVERYTHING) == MAY[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_no_further_permissions(name: str) -> None:
    managed = deployed(**EVERYTHING)[f"{name}Role"]["Properties"]["ManagedPolicyArns"]
    assert {arn.partition(":policy/")[2] for arn in managed} == MAY_MANAGED


@pytest.mark.parametrize("name", ["WatchFunction", "AlarmFunction"])
def test_with_a_bus_of_its_own_a_function_may_send_to_no_other(name: str) -> None:
    bus = permissions(name, EventBus="Own")["events:PutEvents"]
    assert bus == [{"Fn::GetAtt": ["AlertBus", "Arn"]}]


@pytest.mark.parametrize("name", ["WatchFunction", "AlarmFunction"])
def test_with_a_key_of_its_own_for_the_topic_a_function_may_use_it(name: str) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/0123"
    may = permissions(name, AlertTopicKeyArn=key)
    assert {action: may[action] for action in may if action.startswith("kms:")} == {
        "kms:Decrypt": [key],
        "kms:GenerateDataKey": [key],
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_handler_is_in_the_source(name: str) -> None:
    module, handler = FUNCTIONS[name]["Handler"].rsplit(".", 1)
    source = (source_root(name) / module.replace(".", "/")).with_suffix(".py").read_text()
    assert re.search(rf"^def {handler}\(event\b.*, context\b", source, re.M)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_built_by_the_makefile_for_python_3_13(name: str) -> None:
    assert FUNCTIONS[name]["Runtime"] == "python3.13"
    assert RESOURCES[name]["Metadata"] == {"BuildMethod": "makefile"}
    makefile = (ROOT / FUNCTIONS[name]["CodeUri"] / "Makefile").read_text()
    assert re.search(rf"^(build-\w+ )*build-{name}( build-\w+)*: size", makefile, re.M)
    [packages] = re.findall(r"^PACKAGES := (.+)$", makefile, re.M)
    assert package(name).relative_to(source_root(name)).parts[0] in map(
        os.path.basename, packages.split()
    )


CONFIGURED = [name for name in FUNCTIONS if "Environment" in FUNCTIONS[name]]


@pytest.mark.parametrize("folder", sorted({package(name) for name in CONFIGURED}))
def test_functions_are_given_the_settings_that_their_package_reads(folder: Path) -> None:
    files = [*folder.glob("*.py"), *folder.parent.glob("aws/settings.py")]
    reads = re.compile(r'environ(?:, |\.get\()\s*"([A-Z_]+)"')
    read = {name for file in files for name in reads.findall(file.read_text())}
    given = {
        word
        for name in CONFIGURED
        if package(name) == folder
        for word in FUNCTIONS[name]["Environment"]["Variables"]
        if not word.startswith(("POWERTOOLS_", "JOBLIB_"))
    }
    assert given == read


def test_only_the_function_without_permissions_has_no_settings() -> None:
    assert set(FUNCTIONS) - set(CONFIGURED) == {"KeyFunction"}


@pytest.mark.parametrize("name", CONFIGURED)
def test_sam_local_has_the_settings_without_a_default(name: str) -> None:
    local = json.loads((ROOT / "events/env.json").read_text())[name]
    given = FUNCTIONS[name]["Environment"]["Variables"]
    assert set(local) <= set(given)
    assert {word for word in given if isinstance(given[word], dict)} - set(local) <= {
        *("MODEL_TTL_SECONDS", "AZURE_COMPATIBLE"),
        *("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"),
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


# --- versions of the API ------------------------------------------------------------------------


def version(**parameters: str) -> tuple[str, Any]:
    """Return logical name and description of the published version."""
    [(name, properties)] = of_type("AWS::Lambda::Version", deployed(**parameters)).items()
    return name, properties["Description"]


@pytest.mark.parametrize(
    "changed",
    [
        {"Architecture": "x86_64"},
        {"MemorySize": "2048"},
        {"DefaultModel": "other"},
        {"ModelTtlSeconds": "60"},
        {"ModelBucketName": "mine"},
        {"LogLevel": "DEBUG"},
        {"AzureCompatible": "Yes"},
    ],
    ids="-".join,
)
def test_a_changed_parameter_of_the_api_publishes_a_version(changed: dict[str, str]) -> None:
    # or callers would be served by the former one: a version is a copy of all settings
    assert deployed(**changed)["ApiFunction"] != deployed()["ApiFunction"]
    assert version(**changed) != version()


def test_no_other_parameter_is_in_the_api_function() -> None:
    # SAM does not see that a parameter has changed: the description must have them all
    [(name, _)] = of_type("AWS::Lambda::Version", deployed()).items()
    versioned = TRANSFORMED["Resources"]["ApiFunction"], TRANSFORMED["Resources"][name]
    function, description = (
        set(references(each)) & TEMPLATE["Parameters"].keys() for each in versioned
    )
    assert function <= description


def test_the_api_calls_the_published_version() -> None:
    resources = deployed()
    [alias] = of_type("AWS::Lambda::Alias", resources)
    paths = resources["Api"]["Properties"]["Body"]["paths"].values()
    operations = [each for methods in paths for each in methods.values()]
    called = [str(each["x-amazon-apigateway-integration"]["uri"]) for each in operations]
    assert all(f"functions/${{{alias}}}/invocations" in uri for uri in called)
    allowed = of_type("AWS::Lambda::Permission", resources).values()
    assert {
        str(each["FunctionName"])
        for each in allowed
        if each["Principal"] == "apigateway.amazonaws.com"
    } == {str({"Ref": alias})}


def test_by_default_a_version_takes_over_immediately_without_codedeploy() -> None:
    resources = deployed()
    assert not any(each["Type"].startswith("AWS::CodeDeploy") for each in resources.values())
    assert not any("UpdatePolicy" in each for each in resources.values())


@pytest.mark.parametrize("deployment", TEMPLATE["Parameters"]["Deployment"]["AllowedValues"][1:])
def test_a_canary_goes_back_when_an_alarm_of_the_api_goes_off(deployment: str) -> None:
    resources = deployed(Deployment=deployment)
    [group] = of_type("AWS::CodeDeploy::DeploymentGroup", resources).values()
    assert group["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{deployment}"
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    brakes = {alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]}
    assert brakes == {"ApiErrorsAlarm", "Api5xxAlarm", "ModelLoadFailedAlarm"}
    [alias] = [name for name, each in resources.items() if each["Type"] == "AWS::Lambda::Alias"]
    assert brakes <= all_dependencies(alias, resources)
    minutes = int(re.search(r"Percent(\d+)Minutes", deployment)[1])
    assert all(60 * minutes >= 2 * resources[each]["Properties"]["Period"] for each in brakes)


# --- what is deployed ---------------------------------------------------------------------------

SPELLINGS = {
    "a string": 'parameter_overrides = "LogLevel=DEBUG LogRetentionDays=7"',
    "single quotes": "parameter_overrides = 'LogLevel=\"DEBUG\" LogRetentionDays=7'",
    "several lines": 'parameter_overrides = """\\\n  LogLevel=DEBUG \\\n  LogRetentionDays=7"""',
    "a list": 'parameter_overrides = [\n  "LogLevel=DEBUG",\n  "LogRetentionDays=7",\n]',
    "a table": "parameter_overrides = { LogLevel = 'DEBUG', LogRetentionDays = 7 }",
    "no blanks": "parameter_overrides='LogLevel=DEBUG LogRetentionDays=7'",
    "nothing": "stack_name = 'other'",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_make_adds_the_architecture_to_the_parameters_of_samconfig(
    spelling: str, tmp_path: Path
) -> None:
    written = f"version = 0.1\n[dev.deploy.parameters]\nresolve_s3 = true\n{spelling}\n"
    (tmp_path / "samconfig.toml").write_text(written)
    before = tomllib.loads(written)["dev"]["deploy"]["parameters"]
    after = configuration(tmp_path, "dev")["dev"]["deploy"]["parameters"]
    own, architecture = after.pop("parameter_overrides")
    assert own == before.pop("parameter_overrides", None)  # SAM reads it in all of these forms
    assert architecture == "Architecture=x86_64"
    assert after == before


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_make_deploys_what_it_built_with_the_parameters_of_samconfig(
    environment: str, tmp_path: Path
) -> None:
    make = ["make", "--dry-run", "deploy", f"TO={environment}", "ARCHITECTURE=x86_64"]
    commands = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    build, deploy = (re.search(rf".* sam {name} .*", commands)[0] for name in ("build", "deploy"))
    assert " ARCHITECTURE=x86_64 " in build
    assert f" --config-file {ROOT}/.aws-sam/samconfig.yaml --config-env {environment}" in deploy
    assert "--parameter-overrides" not in deploy  # it would replace those of samconfig.toml

    shutil.copy(ROOT / "samconfig.toml", tmp_path)
    config = configuration(tmp_path, environment)
    parameters = config[environment]["deploy"]["parameters"]
    own = SAMCONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    assert parameters["parameter_overrides"] == [own, "Architecture=x86_64"]


def configuration(folder: Path, environment: str) -> Any:
    """Return what `make deploy` would give to SAM instead of a folder's samconfig.toml."""
    file = ".aws-sam/samconfig.yaml"
    settings = [f"TO={environment}", "ARCHITECTURE=x86_64", f"BIN={Path(sys.executable).parent}"]
    make = ["make", "--silent", "--file", str(ROOT / "Makefile"), file, *settings]
    subprocess.run(make, cwd=folder, check=True)
    return yaml.safe_load((folder / file).read_text())


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


@pytest.mark.parametrize("package", ["functions", "training"])
def test_deployed_libraries_are_the_ones_tested(package: str) -> None:
    deployed, tested = pins(f"{package}/requirements.txt"), pins("constraints.txt")
    shared = deployed.keys() & tested.keys()
    assert shared
    assert {name: deployed[name] for name in shared} == {name: tested[name] for name in shared}
