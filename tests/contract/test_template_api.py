"""The API's part of the stack: authorization, limits, and the gateway's own responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cloudformation import FUNCTIONS, RESOURCES, TEMPLATE, deployed, of_type

API = RESOURCES["Api"]["Properties"]


AZURE = {"AzureCompatible": "Yes"}
AZURE_PATH = "/anomalydetector/{proxy+}"
DENIED = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint for your "
    "resource."
)


def definition(**parameters: str) -> dict[str, Any]:
    """Return the gateway's OpenAPI document, as deployed with these parameters."""
    return deployed(**parameters)["Api"]["Properties"]["Body"]


def operations(**parameters: str) -> list[tuple[str, dict[str, Any]]]:
    """Return every path and operation of the gateway."""
    paths = definition(**parameters)["paths"]
    return [(path, each) for path, methods in paths.items() for each in methods.values()]


def gateway_responses(**parameters: str) -> dict[str, Any]:
    """Return what the gateway itself responds with, by the kind of error."""
    return definition(**parameters)["x-amazon-apigateway-gateway-responses"]


@pytest.mark.parametrize(("authorization", "scheme"), [("ApiKey", "api_key"), ("IAM", "sigv4")])
def test_every_request_needs_a_key_or_a_signature(authorization: str, scheme: str) -> None:
    assert TEMPLATE["Parameters"]["Authorization"]["Default"] == "ApiKey"
    for _, operation in operations(Authorization=authorization):
        assert operation["security"] == [{scheme: []}]
    document = definition(Authorization=authorization)
    schemes = document["components"]["securitySchemes"]
    assert schemes.keys() == {"api_key", "sigv4"}
    assert schemes["api_key"]["name"] == "x-api-key"
    assert schemes["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    assert document["x-amazon-apigateway-api-key-source"] == "HEADER"


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
    assert [path for path, _ in operations(**AZURE)] == ["/", "/{proxy+}", AZURE_PATH]
    events = FUNCTIONS["ApiFunction"]["Events"].values()
    assert {event["Properties"]["Path"] for event in events} == {"/", "/{proxy+}"}
    assert {event["Properties"]["Method"] for event in events} == {"ANY"}


@pytest.mark.parametrize("kind", gateway_responses())
def test_errors_of_the_gateway_are_problem_details(kind: str) -> None:
    response = gateway_responses()[kind]
    content_type = response["responseParameters"]["gatewayresponse.header.Content-Type"]
    assert content_type == "'application/problem+json'"
    template = response["responseTemplates"]["application/json"]
    body = json.loads(template.replace("$context.error.messageString", '"as the gateway says"'))
    assert body["title"]
    assert body["detail"]


def test_every_error_of_the_gateway_has_a_response() -> None:
    assert {"INVALID_API_KEY", "THROTTLED", "REQUEST_TOO_LARGE", "INTEGRATION_TIMEOUT"} <= set(
        gateway_responses()
    )
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(gateway_responses())


# --- clients of Azure AI Anomaly Detector -------------------------------------------------------


def test_azures_clients_are_served_only_on_demand_and_not_with_iam() -> None:
    assert TEMPLATE["Parameters"]["AzureCompatible"]["Default"] == "No"
    assert not {name for name in deployed() if name.startswith("KeyFunction")}
    environment = deployed()["ApiFunction"]["Properties"]["Environment"]["Variables"]
    assert environment["AZURE_COMPATIBLE"] == "No"
    rule = TEMPLATE["Rules"]["AzureNeedsApiKeys"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "AzureCompatible"}, "Yes"]}
    [assertion] = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "Authorization"}, "ApiKey"]}


@pytest.mark.parametrize(
    ("scheme", "header", "paths"),
    [
        ("own_header", "x-api-key", ["/", "/{proxy+}"]),
        ("azure_header", "Ocp-Apim-Subscription-Key", [AZURE_PATH]),
    ],
)
def test_with_them_each_path_takes_the_key_from_its_header_by_a_cached_authorizer(
    scheme: str, header: str, paths: list[str]
) -> None:
    document = definition(**AZURE)
    assert document["x-amazon-apigateway-api-key-source"] == "AUTHORIZER"
    security = [{"api_key": []}, {scheme: []}]
    assert [path for path, each in operations(**AZURE) if each["security"] == security] == paths
    found = document["components"]["securitySchemes"][scheme]
    assert found["x-amazon-apigateway-authtype"] == "custom"
    authorizer = found["x-amazon-apigateway-authorizer"]
    assert authorizer["type"] == "request"
    assert authorizer["identitySource"] == f"method.request.header.{header}"
    assert authorizer["authorizerResultTtlInSeconds"] > 0
    assert "functions/${KeyFunction.Arn}/invocations" in str(authorizer["authorizerUri"])


def test_the_gateway_alone_may_call_the_authorizer() -> None:
    [permission] = [
        each
        for each in of_type("AWS::Lambda::Permission", deployed(**AZURE)).values()
        if each["FunctionName"] == {"Ref": "KeyFunction"}
    ]
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["SourceArn"]["Fn::Sub"].endswith(":${Api}/authorizers/*")


@pytest.mark.parametrize("kind", ["INVALID_API_KEY", "UNAUTHORIZED"])
def test_a_wrong_key_is_azures_401(kind: str) -> None:
    response = gateway_responses(**AZURE)[kind]
    assert response["statusCode"] == "401"
    parameters = response["responseParameters"]
    assert parameters["gatewayresponse.header.Content-Type"] == "'application/json'"
    body = json.loads(response["responseTemplates"]["application/json"])
    assert body == {"error": {"code": "401", "message": DENIED}}


def test_the_other_errors_of_the_gateway_stay_as_they_are() -> None:
    same = gateway_responses(**AZURE)
    for kind, response in gateway_responses().items():
        assert kind == "INVALID_API_KEY" or same[kind] == response


def test_the_access_log_has_no_secrets_and_expires() -> None:
    record = json.loads(API["AccessLogSetting"]["Format"])
    assert not {"$context.identity.apiKey", "$context.identity.sourceIp"} & set(record.values())
    group, _ = API["AccessLogSetting"]["DestinationArn"]["Fn::GetAtt"]
    assert group in of_type("AWS::Logs::LogGroup")
