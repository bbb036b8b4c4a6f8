"""Why a model can't be had.

What CloudWatch raises, in this room's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AwsError(Exception):
    """Base of everything this room raises on purpose."""


class InvalidModelNameError(AwsError, ValueError):
    """A model can't be called so."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no model name: use 1 to 63 lower-case letters, digits and hyphens, "
            "starting with a letter or digit"
        )


class ObjectNotFoundError(AwsError):
    """There is no such object, or it may not be read: without ListBucket S3 answers 403 to both."""


class StoreUnavailableError(AwsError):
    """The bucket did not answer: throttled, timed out, unreachable."""


class CorruptIndexError(AwsError):
    """The index of models is not what publishing writes; publishing any model writes it anew."""


class ModelNotFoundError(AwsError):
    """No model of this name has been published."""


class ModelUnavailableError(AwsError):
    """The model can't be loaded now: the bucket does not answer, or its artifact is unusable."""


class InvalidMetricError(AwsError, ValueError):
    """A metric's text, statistic or period is malformed."""


class InvalidWatchFileError(AwsError, ValueError):
    """The watch file is malformed; the message names every field that is."""


class ConflictError(AwsError):
    """Somebody else wrote the object in between: read it again, then decide again."""


class CloudWatchError(AwsError):
    """CloudWatch did not give what it was asked for."""


class CloudWatchDeniedError(CloudWatchError):
    """A permission is missing."""


class CloudWatchRefusedError(CloudWatchError):
    """CloudWatch does not understand the question: an expression, a period, a statistic."""


class CloudWatchUnavailableError(CloudWatchError):
    """CloudWatch did not answer: throttled, timed out, unreachable."""


DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
REFUSED = {"ValidationError", "InvalidParameterValue", "InvalidParameterCombination"}


@contextmanager
def translate_aws_errors(what: str, permission: str) -> Iterator[None]:
    """Turn what boto3 raises into errors that say what was tried.

    Parameters
    ----------
    permission
        The IAM action that it takes.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code, message = (error.response["Error"].get(part, "") for part in ("Code", "Message"))
        if code in DENIED:
            raise CloudWatchDeniedError(
                f"{what}: not allowed; the role needs {permission} ({message})"
            ) from error
        if code in REFUSED:
            raise CloudWatchRefusedError(f"{what}: CloudWatch refuses it: {message}") from error
        raise CloudWatchUnavailableError(f"{what}: {code or 'error'}: {message}") from error
    except BotoCoreError as error:
        raise CloudWatchUnavailableError(f"{what}: {error}") from error
