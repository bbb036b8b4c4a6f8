"""The promises that the stack makes, as assertions on its template."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.contract import cloudformation

ROOT = Path(__file__).parents[2]
TEMPLATE = cloudformation.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type, by logical name."""
    return {
        name: resource.get("Properties", {})
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind
    }


FUNCTIONS = of_type("AWS::Serverless::Function")
BUCKETS = of_type("AWS::S3::Bucket")
ALARMS = of_type("AWS::CloudWatch::Alarm")
API = RESOURCES["Api"]["Properties"]


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
def test_bucket_takes_tls_only(name: str) -> None:
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
def test_bucket_keeps_every_version(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "Retain"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
    for rule in BUCKETS[name]["LifecycleConfiguration"]["Rules"]:
        assert set(rule) == {"Id", "Status", "AbortIncompleteMultipartUpload"}


# --- the function -------------------------------------------------------------------------------


def test_function_may_read_models_and_nothing_else() -> None:
    function = FUNCTIONS["ApiFunction"]
    [policy] = function["Policies"]
    [statement] = policy["Statement"]
    assert statement == {
        "Sid": "ReadModels",
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": {"Fn::Sub": "${ModelBucket.Arn}/models/*"},
    }
    assert "Role" not in function


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
    assert f"build-{name}:" in makefile


def test_function_is_given_the_settings_it_reads() -> None:
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', (ROOT / "functions/api/settings.py").read_text()))
    given = FUNCTIONS["ApiFunction"]["Environment"]["Variables"]
    assert read
    assert {name for name in given if not name.startswith("POWERTOOLS_")} == read


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_traced_and_answers_before_the_gateway_gives_up(name: str) -> None:
    assert FUNCTIONS[name]["Tracing"] == "Active"
    assert FUNCTIONS[name]["Timeout"] < 29


# --- the API ------------------------------------------------------------------------------------


def operations() -> list[tuple[str, dict[str, Any]]]:
    """Return every path and operation that the gateway lets through."""
    paths = API["DefinitionBody"]["paths"]
    return [(path, each) for path, methods in paths.items() for each in methods.values()]


def test_every_request_shows_a_key_or_a_signature() -> None:
    assert TEMPLATE["Parameters"]["Authorization"]["Default"] == "ApiKey"
    for _, operation in operations():
        assert operation["security"] == {
            "Fn::If": ["UsesApiKey", [{"api_key": []}], [{"sigv4": []}]]
        }
    schemes = API["DefinitionBody"]["components"]["securitySchemes"]
    assert schemes["api_key"]["name"] == "x-api-key"
    assert schemes["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_a_changed_authorization_reaches_the_stage() -> None:
    assert API["AlwaysDeploy"] is True


def test_key_belongs_to_a_throttled_usage_plan_of_the_stage() -> None:
    [plan] = of_type("AWS::ApiGateway::UsagePlan").values()
    [link] = of_type("AWS::ApiGateway::UsagePlanKey").values()
    assert plan["ApiStages"] == [{"ApiId": {"Ref": "Api"}, "Stage": {"Ref": "Api.Stage"}}]
    assert {"RateLimit", "BurstLimit"} <= set(plan["Throttle"])
    assert link["KeyId"] == {"Ref": "ApiKey"}
    assert link["UsagePlanId"] == {"Ref": "UsagePlan"}


def test_all_paths_reach_the_function() -> None:
    assert [path for path, _ in operations()] == ["/", "/{proxy+}"]
    events = FUNCTIONS["ApiFunction"]["Events"].values()
    assert {event["Properties"]["Path"] for event in events} == {"/", "/{proxy+}"}
    assert {event["Properties"]["Method"] for event in events} == {"ANY"}


@pytest.mark.parametrize("kind", API["GatewayResponses"])
def test_gateway_answers_with_problem_details(kind: str) -> None:
    response = API["GatewayResponses"][kind]
    headers = response["ResponseParameters"]["Headers"]
    assert headers["Content-Type"] == "'application/problem+json'"
    template = response["ResponseTemplates"]["application/json"]
    body = json.loads(template.replace("$context.error.messageString", '"as the gateway says"'))
    assert body["title"]
    assert body["detail"]


def test_gateway_answers_for_all_of_its_errors() -> None:
    assert {"INVALID_API_KEY", "THROTTLED", "REQUEST_TOO_LARGE", "INTEGRATION_TIMEOUT"} <= set(
        API["GatewayResponses"]
    )
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(API["GatewayResponses"])


# --- logs and alarms ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_type("AWS::Logs::LogGroup"))
def test_logs_are_not_kept_for_ever(name: str) -> None:
    assert RESOURCES[name]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_function_and_stage_write_to_groups_with_retention() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    for function in FUNCTIONS.values():
        assert function["LoggingConfig"]["LogGroup"]["Ref"] in groups
    destination = API["AccessLogSetting"]["DestinationArn"]["Fn::GetAtt"]
    assert destination.removesuffix(".Arn") in groups


def test_access_log_tells_no_secrets() -> None:
    record = json.loads(API["AccessLogSetting"]["Format"])
    assert not {"$context.identity.apiKey", "$context.identity.sourceIp"} & set(record.values())


@pytest.mark.parametrize("name", ALARMS)
def test_alarm_says_what_missing_data_means_and_what_to_do(name: str) -> None:
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"
    assert ALARMS[name]["AlarmDescription"]
    told = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    assert ALARMS[name]["AlarmActions"] == told
    assert ALARMS[name]["OKActions"] == told


@pytest.mark.parametrize("metric", ["ModelRefreshFailed", "ModelLoadFailed"])
def test_alarm_watches_the_metric_as_the_function_publishes_it(metric: str) -> None:
    [alarm] = [each for each in ALARMS.values() if each["MetricName"] == metric]
    environment = FUNCTIONS["ApiFunction"]["Environment"]["Variables"]
    service = environment["POWERTOOLS_SERVICE_NAME"]
    assert alarm["Namespace"] == environment["POWERTOOLS_METRICS_NAMESPACE"]
    assert alarm["Dimensions"] == [{"Name": "service", "Value": service}]
    sources = (ROOT / "functions/api").glob("*.py")
    assert any(f'"{metric}"' in source.read_text() for source in sources)


# --- what is deployed ---------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_make_deploys_what_it_built_with_the_parameters_of_samconfig(environment: str) -> None:
    make = ["make", "--dry-run", "deploy", f"TO={environment}", "ARCHITECTURE=x86_64"]
    commands = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert " ARCHITECTURE=x86_64 " in commands
    parameters = SAMCONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    options = f"--config-env {environment} --parameter-overrides {parameters}"
    assert f"sam deploy {options} Architecture=x86_64\n" in commands


def pins(file: str) -> dict[str, str]:
    """Return name -> version of the `name==version` lines of a requirements file."""
    found = re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;]+)", (ROOT / file).read_text(), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@pytest.mark.parametrize("file", ["requirements.txt", "constraints.txt"])
def test_deployed_libraries_are_the_ones_tested(file: str) -> None:
    deployed, tested = pins("functions/requirements.txt"), pins(file)
    shared = deployed.keys() & tested.keys()
    assert shared
    assert {name: deployed[name] for name in shared} == {name: tested[name] for name in shared}
