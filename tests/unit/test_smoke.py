"""What `ops-anomaly smoke` makes of what AWS says, where the laptop stack can't say it."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from commands import smoke
from commands.smoke import Deployment, attempt, check_bucket, check_subscribers, expect_ok
from tests.support.cloudformation import TEMPLATE
from tests.support.fake_cloudwatch import client_error

TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
OUTPUTS = {"ApiUrl": "https://api/v1/", "AlertTopicArn": TOPIC, "ModelBucketName": "models"}


def deployment(client: Any, **outputs: str) -> Deployment:
    return Deployment("the-stack", OUTPUTS | outputs, lambda service: client)


def test_the_template_has_the_outputs_that_are_read() -> None:
    always = {name for name, output in TEMPLATE["Outputs"].items() if "Condition" not in output}
    assert always >= smoke.NEEDED_OUTPUTS
    assert "ApiKeyId" in TEMPLATE["Outputs"]


class Topic:
    """A topic with these subscriptions, on two pages."""

    def __init__(self, **subscriptions: str) -> None:
        self.found = [
            {"Endpoint": endpoint, "SubscriptionArn": arn}
            for endpoint, arn in subscriptions.items()
        ]

    def get_paginator(self, _: str) -> Topic:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"Subscriptions": self.found[:1]}, {"Subscriptions": self.found[1:]}]


def test_an_address_that_was_not_confirmed_is_named() -> None:
    topic = Topic(**{"me@example.com": TOPIC + ":1", "you@example.com": "PendingConfirmation"})
    found = attempt("subscribers", check_subscribers, deployment(topic))
    assert (found.status, found.detail) == ("failed", "not confirmed: you@example.com")
    assert "e-mail" in found.remedy


def test_the_own_temporary_queue_is_no_subscriber() -> None:
    topic = Topic(**{"arn:aws:sqs:us-east-1:123456789012:the-stack-smoke-0123": TOPIC + ":1"})
    assert attempt("subscribers", check_subscribers, deployment(topic)).status == "skipped"


def test_a_missing_permission_is_named_and_where_to_find_them_all() -> None:
    class S3:
        def get_bucket_versioning(self, **_: str) -> None:
            raise client_error("AccessDenied", "GetBucketVersioning")

    found = attempt("bucket", check_bucket, deployment(S3()))
    assert found.status == "failed"
    assert "s3:GetBucketVersioning" in found.detail
    assert "docs/operations.md" in found.remedy


class Gateway:
    def get_api_key(self, apiKey: str, includeValue: bool) -> dict[str, str]:
        return {"value": f"value of {apiKey}"}


def test_requests_carry_the_key_or_are_signed() -> None:
    with_key = deployment(Gateway(), ApiKeyId="k1").headers("GET", "https://api/v1/health", b"")
    assert with_key["x-api-key"] == "value of k1"
    by_iam = deployment(Gateway()).headers("POST", "https://api/v1/detect", b"{}")
    assert "x-api-key" not in by_iam
    assert "/us-east-1/execute-api/aws4_request" in by_iam["Authorization"]


@pytest.mark.parametrize(
    ("status", "body", "reason", "remedy"),
    [
        (403, b'{"detail": "Send a valid API key"}', "403 Send a valid API key", "usage plan"),
        (429, b'{"detail": "slow down"}', "429 slow down", "RequestsPerSecond"),
        (502, b"Bad Gateway", "502 Bad Gateway", "sam logs --stack-name the-stack"),
        (504, b"[]", "504 []", "sam logs"),
    ],
)
def test_what_the_api_refuses_is_explained(
    status: int, body: bytes, reason: str, remedy: str
) -> None:
    response = requests.Response()
    response.status_code, response._content, response.url = status, body, "https://api/v1/detect"
    response.request = requests.Request("POST", response.url).prepare()
    found = attempt("API", expect_ok, response, deployment(None))
    assert (found.status, found.detail) == ("failed", f"POST https://api/v1/detect: {reason}")
    assert remedy in found.remedy
