"""What is in the bucket: models, their versions, and which is live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from detector.artifact import Manifest, read_manifest, unpack
from detector.errors import ArtifactError
from registry.keys import CREATED_METADATA, DIGEST_METADATA, NAME_PATTERN, model_key
from training.errors import PublishError
from training.publishing.s3 import NOT_THERE, explained


@dataclass(frozen=True)
class Version:
    """One published version of a model: the object and its metadata."""

    version_id: str
    etag: str
    published: datetime
    metadata: Mapping[str, str]
    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 that was recorded when it was published, or empty."""
        return self.metadata.get(DIGEST_METADATA, "")

    @property
    def created(self) -> str:
        """When it was trained, ISO 8601, or empty."""
        return self.metadata.get(CREATED_METADATA, "")

    @property
    def manifest(self) -> Manifest | None:
        """What the artifact says of itself, or None where it can't be read."""
        try:
            return read_manifest(self.data)
        except ArtifactError:
            return None

    def check_usable(self) -> None:
        """Raise `PublishError` if the artifact could not be served."""
        try:
            unpack(self.data, self.digest)
        except ArtifactError as error:
            raise PublishError(f"version {self.version_id} can't be served: {error}") from error


def read_version(s3: Any, bucket: str, name: str, version_id: str | None = None) -> Version | None:
    """Return a version of a model, the live one by default; None where there is none.

    Raises
    ------
    PublishError
        If the bucket does not let it be read.
    """
    which = {"VersionId": version_id} if version_id else {}
    try:
        with explained(f"reading {name}"):
            answer = s3.get_object(Bucket=bucket, Key=model_key(name), **which)
            data = answer["Body"].read()
    except PublishError as error:
        if is_missing(error.__cause__, asked_for_version=version_id is not None):
            return None
        raise
    return Version(
        version_id=answer.get("VersionId", ""),
        etag=answer["ETag"],
        published=answer["LastModified"],
        metadata=answer["Metadata"],
        data=data,
    )


def is_missing(error: BaseException | None, *, asked_for_version: bool) -> bool:
    """Tell whether an error means that the object is not there."""
    if not isinstance(error, ClientError):
        return False
    code = error.response["Error"]["Code"]
    # S3 calls a VersionId that it can't have issued an invalid argument
    return code in NOT_THERE or (asked_for_version and code == "InvalidArgument")


def list_versions(s3: Any, bucket: str, name: str) -> list[Version]:
    """Return every version of a model, newest first."""
    key = model_key(name)
    with explained(f"listing the versions of {name}"):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
        ids = [
            each["VersionId"]
            for page in pages
            for each in page.get("Versions", ())
            if each["Key"] == key
        ]
    found = (read_version(s3, bucket, name, version_id) for version_id in ids)
    return [version for version in found if version is not None]


def list_models(s3: Any, bucket: str) -> list[str]:
    """Return the names under which models lie in the bucket, sorted; other keys are passed over."""
    with explained(f"listing bucket {bucket}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="models/", Delimiter="/"
        )
        found = [
            prefix["Prefix"].split("/")[1]
            for page in pages
            for prefix in page.get("CommonPrefixes", ())
        ]
    return sorted(name for name in found if re.fullmatch(NAME_PATTERN, name))
