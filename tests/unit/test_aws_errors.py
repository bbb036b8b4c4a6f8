"""The one mapping from AWS's errors: what is refused, what is denied, what may work later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.retries import standard

from ops_anomaly.aws.errors import (
    AccessDeniedError,
    RequestRefusedError,
    ServiceError,
    ServiceUnavailableError,
    translate_aws_errors,
)
from tests.support.aws_responses import wire_client

REFUSED, DENIED, UNAVAILABLE = RequestRefusedError, AccessDeniedError, ServiceUnavailableError


def raised(error: Exception, permission: str = "") -> ServiceError:
    with (
        pytest.raises(ServiceError) as caught,
        translate_aws_errors("sending it", permission),
    ):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def client_error(code: str, status: int) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": "because"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "Operation")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("InvalidParameterCombination", 400, REFUSED),
        ("InvalidParameter", 400, REFUSED),  # SNS
        ("AWS.SimpleQueueService.NonExistentQueue", 400, REFUSED),
        ("ResourceNotFoundException", 400, REFUSED),  # EventBridge
        ("NoSuchBucket", 404, REFUSED),
        ("ANewCodeOfNextYear", 422, REFUSED),
        ("AccessDenied", 403, DENIED),
        ("AccessDeniedException", 400, DENIED),
        ("AuthorizationError", 403, DENIED),  # SNS
        ("NotAuthorized", 400, DENIED),
        ("KMSAccessDenied", 400, DENIED),  # SNS
        ("KmsAccessDeniedException", 400, DENIED),  # CloudWatch
        ("SlowDown", 503, UNAVAILABLE),
        ("TooManyRequests", 429, UNAVAILABLE),
        ("KMSThrottling", 400, UNAVAILABLE),  # SNS
        ("KmsThrottled", 400, UNAVAILABLE),  # SQS
        ("RequestThrottled", 403, UNAVAILABLE),  # SQS
        ("Gone", 408, UNAVAILABLE),
        ("ExpiredToken", 400, UNAVAILABLE),
        ("ExpiredTokenException", 400, UNAVAILABLE),
        ("InvalidClientTokenId", 403, UNAVAILABLE),
        ("InvalidSignatureException", 400, UNAVAILABLE),
        ("MissingAuthenticationTokenException", 400, UNAVAILABLE),
        ("RequestTimeTooSkewed", 403, UNAVAILABLE),
        ("SignatureDoesNotMatch", 403, UNAVAILABLE),
        ("UnrecognizedClientException", 400, UNAVAILABLE),
        ("InternalFailure", 500, UNAVAILABLE),
        ("ServiceUnavailable", 503, UNAVAILABLE),
    ],
)
def test_errors_are_sorted_by_status_and_code(
    code: str, status: int, expected: type[ServiceError]
) -> None:
    error = raised(client_error(code, status))
    assert type(error) is expected
    assert str(error).startswith("sending it: ")
    assert "because" in str(error)


@pytest.mark.parametrize(
    "code",
    [
        *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
        *standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES,
    ],
)
def test_what_boto3_retries_is_not_refused(code: str) -> None:
    assert type(raised(client_error(code, 400))) is UNAVAILABLE


@pytest.mark.parametrize("error", [NoCredentialsError(), ReadTimeoutError(endpoint_url="there")])
def test_no_response_is_unavailable(error: Exception) -> None:
    assert type(raised(error)) is UNAVAILABLE


def test_a_request_that_boto3_does_not_even_send_is_refused() -> None:
    error = raised(ParamValidationError(report="Invalid type for parameter Period"))
    assert type(error) is REFUSED
    assert "Invalid type for parameter Period" in str(error)


def test_a_missing_permission_is_named() -> None:
    error = raised(client_error("AccessDenied", 403), "sns:Publish")
    assert str(error) == "sending it: access denied; the role needs sns:Publish (because)"


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), translate_aws_errors("sending it"):
        raise ZeroDivisionError


# --- as botocore parses what comes over the wire -------------------------------------------------

LIST = ("cloudwatch", lambda client: client.list_metrics())
PUT = ("events", lambda client: client.put_events(Entries=[{"Source": "a"}]))
SEND = ("sqs", lambda client: client.send_message(QueueUrl="https://q", MessageBody="a"))
PUBLISH = ("sns", lambda client: client.publish(TopicArn="arn:a", Message="a"))

WIRE = [
    (call, protocol, code, status, expected)
    for call, protocols in (
        (LIST, ("query", "json", "smithy-rpc-v2-cbor")),
        (PUT, ("json",)),
        (SEND, ("json",)),
        (PUBLISH, ("query",)),
    )
    for protocol in protocols
    for code, status, expected in (
        ("ValidationError", 400, REFUSED),
        ("ValidationException", 400, REFUSED),
        ("InvalidParameterValueException", 400, REFUSED),
        ("MissingParameter", 400, REFUSED),
        ("MissingRequiredParameterException", 400, REFUSED),
        ("InvalidFormat", 400, REFUSED),
        ("InvalidNextToken", 400, REFUSED),
        ("AccessDenied", 403, DENIED),
        ("AccessDeniedException", 400, DENIED),
        ("Throttling", 400, UNAVAILABLE),
        ("ThrottlingException", 400, UNAVAILABLE),
        ("ExpiredTokenException", 400, UNAVAILABLE),
        ("InternalServiceFault", 500, UNAVAILABLE),
    )
]


@pytest.mark.parametrize(("call", "protocol", "code", "status", "expected"), WIRE)
def test_errors_are_sorted_in_every_protocol(
    call: tuple[str, Callable[[Any], Any]],
    protocol: str,
    code: str,
    status: int,
    expected: type[ServiceError],
) -> None:
    service, send = call
    client = wire_client(service, protocol).failing(code, status)
    with pytest.raises(ServiceError, match="because") as caught, translate_aws_errors("sending it"):
        send(client)
    assert type(caught.value) is expected
    assert caught.value.__cause__.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("code", "query", "expected"),
    [
        ("ValidationException", "ValidationError", REFUSED),
        ("InvalidParameterValueException", "InvalidParameterValue", REFUSED),
        ("ThrottlingException", "Throttling", UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("protocol", ["json", "smithy-rpc-v2-cbor"])
def test_the_header_with_the_older_code_makes_no_difference(
    protocol: str, code: str, query: str, expected: type[ServiceError]
) -> None:
    header = {"x-amzn-query-error": f"{query};Sender"}
    client = wire_client("cloudwatch", protocol).failing(code, 400, header)
    with pytest.raises(ServiceError) as caught, translate_aws_errors("sending it"):
        client.list_metrics()
    assert type(caught.value) is expected
    assert caught.value.__cause__.response["Error"]["Code"] == query
