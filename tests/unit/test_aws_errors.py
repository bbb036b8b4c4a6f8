"""The one mapping from AWS's errors: what is refused, what is denied, what may work later."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from ops_anomaly.aws.errors import (
    AccessDeniedError,
    RequestRefusedError,
    ServiceError,
    ServiceUnavailableError,
    translate_aws_errors,
)


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
        ("ValidationError", 400, RequestRefusedError),
        ("InvalidParameterCombination", 400, RequestRefusedError),
        ("InvalidParameter", 400, RequestRefusedError),  # SNS
        ("AWS.SimpleQueueService.NonExistentQueue", 400, RequestRefusedError),
        ("ResourceNotFoundException", 400, RequestRefusedError),  # EventBridge
        ("NoSuchBucket", 404, RequestRefusedError),
        ("ANewCodeOfNextYear", 422, RequestRefusedError),
        ("AccessDenied", 403, AccessDeniedError),
        ("AccessDeniedException", 400, AccessDeniedError),
        ("AuthorizationError", 403, AccessDeniedError),  # SNS
        ("Throttling", 400, ServiceUnavailableError),
        ("ThrottlingException", 400, ServiceUnavailableError),
        ("SlowDown", 503, ServiceUnavailableError),
        ("TooManyRequests", 429, ServiceUnavailableError),
        ("ExpiredToken", 400, ServiceUnavailableError),
        ("InvalidClientTokenId", 403, ServiceUnavailableError),
        ("InternalFailure", 500, ServiceUnavailableError),
        ("ServiceUnavailable", 503, ServiceUnavailableError),
    ],
)
def test_errors_are_sorted_by_status_and_code(
    code: str, status: int, expected: type[ServiceError]
) -> None:
    error = raised(client_error(code, status))
    assert type(error) is expected
    assert str(error).startswith("sending it: ")
    assert "because" in str(error)


def test_no_response_is_unavailable() -> None:
    error = raised(ReadTimeoutError(endpoint_url="https://somewhere"))
    assert isinstance(error, ServiceUnavailableError)
    assert "somewhere" in str(error)


def test_a_missing_permission_is_named() -> None:
    error = raised(client_error("AccessDenied", 403), "sns:Publish")
    assert str(error) == "sending it: access denied; the role needs sns:Publish (because)"


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), translate_aws_errors("sending it"):
        raise ZeroDivisionError
