"""The S3 client of the job, and its errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from training.errors import PublishConflictError, PublishError

ATTEMPTS = 5
"""Tries at a write that S3 asks to repeat."""

NOT_THERE = {"NoSuchKey", "NoSuchVersion", "404"}


def s3_client(endpoint_url: str | None) -> Any:
    """Return an S3 client, for AWS or for the endpoint given."""
    style = {"addressing_style": "path"} if endpoint_url else {}
    with explained("S3 can't be used"):
        return boto3.client("s3", endpoint_url=endpoint_url, config=Config(s3=style))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what S3 and its client raise into a `PublishError` that says what was tried."""
    try:
        yield
    except (ClientError, BotoCoreError, ValueError) as error:  # ValueError: no URL, no bucket name
        raise PublishError(f"{what}: {error}") from error


def write_if_unchanged(what: str, write: Any, expected_etag: str | None, **request: Any) -> Any:
    """Write an object if the one there is still the expected one; return S3's answer.

    Parameters
    ----------
    write
        `put_object` or `copy_object` of a client.
    expected_etag
        ETag of the object that is to be replaced; None where there must be none yet.

    Raises
    ------
    PublishConflictError
        If another object is there (412), or others keep writing at the same time (409).
    PublishError
        If the bucket refuses for another reason.
    """
    condition = {"IfMatch": expected_etag} if expected_etag else {"IfNoneMatch": "*"}
    for _ in range(ATTEMPTS):
        try:
            with explained(what):
                return write(**request, **condition)
        except PublishError as error:
            status = http_status(error.__cause__)
            if status == HTTPStatus.CONFLICT:  # another write was under way: ask again
                continue
            if status == HTTPStatus.PRECONDITION_FAILED:
                raise PublishConflictError(
                    f"{what}: refused, as somebody else wrote it in between; look at what is live "
                    "(python -m training models), then decide again"
                ) from error
            raise
    raise PublishConflictError(f"{what}: others keep writing at the same time; try again")


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error of the client, where it has one."""
    if isinstance(error, ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return None
