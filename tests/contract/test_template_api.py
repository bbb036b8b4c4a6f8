"""The API's part of the stack: authorization, limits, and the gateway's own responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cloudformation import FUNCTIONS, RESOURCES, TEMPLATE, of_type

API = RESOURCES["Api"]["Properties"]


def operations() -> list[tuple[str, dict[str, Any]]]:
    """Return every path and operation of the gateway."""
    paths = API["DefinitionBody"]["paths"]
    return [(path, each) for path, methods in paths.items() for each in methods.values()]


def test_every_request_needs_a_key_or_a_signature() -> None:
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


def test_the_function_times_out_before_the_gateway() -> None:
    assert FUNCTIONS["ApiFunction"]["Timeout"] < 29


def test_all_paths_reach_the_function() -> None:
    assert [path for path, _ in operations()] == ["/", "/{proxy+}"]
    events = FUNCTIONS["ApiFunction"]["Events"].values()
    assert {event["Properties"]["Path"] for event in events} == {"/", "/{proxy+}"}
    assert {event["Properties"]["Method"] for event in events} == {"ANY"}


@pytest.mark.parametrize("kind", API["GatewayResponses"])
def test_errors_of_the_gateway_are_problem_details(kind: str) -> None:
    response = API["GatewayResponses"][kind]
    headers = response["ResponseParameters"]["Headers"]
    assert headers["Content-Type"] == "'application/problem+json'"
    template = response["ResponseTemplates"]["application/json"]
    body = json.loads(template.replace("$context.error.messageString", '"as the gateway says"'))
    assert body["title"]
    assert body["detail"]


def test_every_error_of_the_gateway_has_a_response() -> None:
    assert {"INVALID_API_KEY", "THROTTLED", "REQUEST_TOO_LARGE", "INTEGRATION_TIMEOUT"} <= set(
        API["GatewayResponses"]
    )
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(API["GatewayResponses"])


def test_the_access_log_has_no_secrets_and_expires() -> None:
    record = json.loads(API["AccessLogSetting"]["Format"])
    assert not {"$context.identity.apiKey", "$context.identity.sourceIp"} & set(record.values())
    group, _ = API["AccessLogSetting"]["DestinationArn"]["Fn::GetAtt"]
    assert group in of_type("AWS::Logs::LogGroup")
