"""What CloudWatch raises, in this room's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from registry.errors import (
    CloudWatchDeniedError,
    CloudWatchRefusedError,
    CloudWatchUnavailableError,
)

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
REFUSED = {"ValidationError", "InvalidParameterValue", "InvalidParameterCombination"}


@contextmanager
def explained(what: str, permission: str) -> Iterator[None]:
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
