"""Everything this package raises on purpose, and the one mapping from AWS's errors to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class AwsError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidModelNameError(AwsError, ValueError):
    """A model name has characters that no model name has, or too many."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Invalid model name {name!r}: use 1 to 63 lower-case letters, digits and hyphens, "
            "starting with a letter or digit"
        )


class InvalidMetricError(AwsError, ValueError):
    """A metric's text, statistic or period is malformed."""


class InvalidWatchFileError(AwsError, ValueError):
    """The watch file is malformed; the message names every field that is."""


class ObjectNotFoundError(AwsError):
    """The object doesn't exist or may not be read: without ListBucket, S3 returns 403 for both."""


class StoreUnavailableError(AwsError):
    """The bucket did not respond: throttled, timed out, unreachable."""


class ConflictError(AwsError):
    """Another writer changed the object in between: read it again, then decide again."""


class CorruptIndexError(AwsError):
    """The index of models is malformed; publishing any model writes it anew."""


class CorruptFeedbackError(AwsError):
    """The file of feedback is malformed: mend it by hand, or restore its version before."""


class ModelNotFoundError(AwsError):
    """No model of this name has been published."""


class ModelUnavailableError(AwsError):
    """The model can't be loaded now: the bucket does not respond, or the artifact is unusable."""


class ServiceError(AwsError):
    """An AWS service did not do what it was asked for."""


class AccessDeniedError(ServiceError):
    """A permission is missing."""


class RequestRefusedError(ServiceError):
    """The service refuses the request itself: repeating it won't help."""


class ServiceUnavailableError(ServiceError):
    """The service did not respond, or not for now: throttled, timed out, expired credentials."""


DENIED = re.compile(r"(?i)AccessDenied|NotAuthorized|Unauthorized|AuthorizationError")

NOT_THE_REQUEST = re.compile(
    r"(?i)Throttl|SlowDown|TooManyRequests|LimitExceeded|ThroughputExceeded"
    r"|Timeout|InProgress|NotComplete"
    r"|Expired|InvalidToken|TokenRefresh|AuthenticationToken|Signature|UnrecognizedClient"
)
"""Codes that may come with status 400 and yet are about throttling, time or credentials. The same
code differs by service and protocol: Throttling, ThrottlingException, RequestThrottled."""

NOT_REFUSALS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
)


@contextmanager
def translate_aws_errors(action: str, permission: str = "") -> Iterator[None]:
    """Turn what boto3 raises, whatever the service, into errors that say what was tried.

    Parameters
    ----------
    action
        What is tried, such as "reading 3 series from CloudWatch".
    permission
        The IAM action that it takes.

    Raises
    ------
    AccessDeniedError
        If the permission is missing.
    RequestRefusedError
        If the request is refused for what it is: any 4xx that is neither access nor throttling, and
        what boto3 does not even send.
    ServiceUnavailableError
        Of everything else.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        raise _translated(error, action, permission) from error
    except ParamValidationError as error:
        raise RequestRefusedError(f"{action}: refused: {error}") from error
    except BotoCoreError as error:
        raise ServiceUnavailableError(f"{action}: {error}") from error


def _translated(error: ClientError, action: str, permission: str) -> ServiceError:
    code, message = (error.response["Error"].get(part, "") for part in ("Code", "Message"))
    if DENIED.search(code):
        needed = f"; the role needs {permission}" if permission else ""
        return AccessDeniedError(f"{action}: access denied{needed} ({message})")
    if _is_refusal(code, int(error.response["ResponseMetadata"]["HTTPStatusCode"])):
        return RequestRefusedError(f"{action}: refused: {message}")
    return ServiceUnavailableError(f"{action}: {code or 'error'}: {message}")


def _is_refusal(code: str, status: int) -> bool:
    return 400 <= status < 500 and status not in NOT_REFUSALS and not NOT_THE_REQUEST.search(code)
