"""The models and the watch file in the bucket: publish, list, roll back.

Every write is conditional: it is refused when somebody else wrote in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops_anomaly.aws.errors import CorruptIndexError, ServiceError, translate_aws_errors
from ops_anomaly.aws.models import parse_index, write_index
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    INDEX_KEY,
    NAME_PATTERN,
    WATCH_KEY,
    WRITE_ATTEMPTS,
    WRITE_ID_METADATA,
    model_key,
    new_write_id,
    run_prefix,
)
from ops_anomaly.detection.artifact import Manifest, digest, read_manifest, unpack
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.watch_file import WatchFile, write_watch_file
from training import PublishConflictError, PublishError
from training.candidates import TITLES
from training.console import NOTHING, new_table
from training.fleet import PublishedModel
from training.run import StoredRun, is_of_a_run

INDEX_ATTEMPTS = 5
"""Tries at adding a name to the index, while others add theirs."""

MISSING = {"NoSuchKey", "NoSuchVersion", "404"}

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
BINARY = "application/octet-stream"


def publish_run(
    s3: Any, bucket: str, run: StoredRun, kind: str | None, console: Console
) -> Version:
    """Publish a run's winner, or the candidate named, and print what was live before."""
    name, kind = run.record["name"], kind or run.winner
    check_bucket(s3, bucket)
    champion = read_version(s3, bucket, name)
    if champion:
        console.print(f"Live until now: {describe(champion)}")
    live = publish(s3, bucket, name, run, kind, champion)
    console.print(f"Published [bold]s3://{escape(bucket)}/{model_key(name)}[/bold]")
    console.print(f"  model      {describe(live)}")
    console.print(f"  VersionId  {live.version_id}")
    console.print(f"  SHA-256    {live.digest}")
    return live


def publish(
    s3: Any, bucket: str, name: str, run: StoredRun, kind: str, champion: Version | None
) -> Version:
    """Make a run's artifact live, if `champion` is still what is live.

    The run's report is uploaded first, the artifact by one conditional PUT, and the index of
    names last: whatever fails, half of it is never served.

    Raises
    ------
    PublishConflictError
        If somebody published in between.
    PublishError
        If the bucket refuses.
    """
    data = run.artifact(kind)
    upload_run(s3, bucket, name, run)
    version_id = write_if_unchanged(
        f"publishing {name}",
        s3,
        champion.etag if champion else None,
        Bucket=bucket,
        Key=model_key(name),
        Body=data,
        ContentType=BINARY,
        Metadata={
            DIGEST_METADATA: digest(data),
            CREATED_METADATA: run.record["created"],
            "run": run.record["run"],
        },
    )
    add_to_index(s3, bucket, name)
    return written_version(s3, bucket, name, version_id)


def upload_run(s3: Any, bucket: str, name: str, run: StoredRun) -> None:
    """Keep the run's report, pictures, figures and estimators beside the models."""
    prefix = run_prefix(name, run.record["run"])
    for path in sorted(filter(is_of_a_run, run.folder.iterdir())):
        with publish_errors(f"uploading {path.name}"):
            s3.put_object(
                Bucket=bucket,
                Key=prefix + path.name,
                Body=path.read_bytes(),
                ContentType=CONTENT_TYPES.get(path.suffix, BINARY),
            )


def add_to_index(s3: Any, bucket: str, name: str) -> None:
    """Add a name to the index of models, which the API reads instead of listing the bucket."""
    for _ in range(INDEX_ATTEMPTS):
        names, etag = read_index(s3, bucket)
        if names is None:  # rebuilt from the models in the bucket
            names = list_models(s3, bucket)
        elif name in names:
            return
        try:
            write_if_unchanged(
                "writing the index of models",
                s3,
                etag,
                Bucket=bucket,
                Key=INDEX_KEY,
                Body=write_index([*names, name]),
                ContentType="application/json",
            )
        except PublishConflictError:
            continue  # somebody added another name: read it and add ours to theirs
        return
    raise PublishError(
        f"{name} is published and served, but GET /models does not list it yet, as others keep "
        "writing the index; publish once more"
    )


def read_index(s3: Any, bucket: str) -> tuple[list[str] | None, str | None]:
    """Return the names in the index of models and its ETag.

    Returns
    -------
    names
        None where the index can't be read.
    etag
        None where there is no index.
    """
    try:
        with publish_errors("reading the index of models"):
            response = s3.get_object(Bucket=bucket, Key=INDEX_KEY)
            data = response["Body"].read()
        return parse_index(data), response["ETag"]
    except CorruptIndexError:
        return None, response["ETag"]
    except PublishError as error:
        if is_missing(error.__cause__, with_version=False):
            return [], None
        raise


def roll_back(s3: Any, bucket: str, name: str, version_id: str) -> Version:
    """Make an older version live again, by copying it over the head.

    Raises
    ------
    PublishConflictError
        If somebody published in between.
    PublishError
        If there is no such version, it is already live, or it can't be served.
    """
    check_bucket(s3, bucket)
    champion = read_version(s3, bucket, name)
    older = read_version(s3, bucket, name, version_id) if version_id else None
    if older is None:
        raise PublishError(
            f"{name} has no version {version_id}; list them with: ops-anomaly models"
        )
    if champion and champion.version_id == version_id:
        raise PublishError(f"version {version_id} of {name} is already live")
    older.check_usable()
    copied = write_if_unchanged(
        f"rolling {name} back",
        s3,
        champion.etag if champion else None,
        Bucket=bucket,
        Key=model_key(name),
        CopySource={"Bucket": bucket, "Key": model_key(name), "VersionId": version_id},
        ContentType=BINARY,
        Metadata=older.metadata,
        MetadataDirective="REPLACE",
    )
    return written_version(s3, bucket, name, copied)


def written_version(s3: Any, bucket: str, name: str, version_id: str) -> Version:
    """Return the version just written, even if somebody has published another one since."""
    written = read_version(s3, bucket, name, version_id)
    if written is None:
        raise PublishError(
            f"version {version_id} of {name} was written, and has been deleted since"
        )
    return written


def describe(version: Version) -> str:
    """Return in a few words what a version is."""
    manifest = version.manifest
    if manifest is None:
        return "unreadable artifact"
    f1 = manifest.figures.get("f1")
    kind = TITLES.get(manifest.kind, manifest.kind)
    figure = NOTHING if f1 is None else f"{f1:.2f}"
    return f"{kind}, trained {version.created or 'at an unknown time'}, F1 {figure}"


def versions_table(s3: Any, bucket: str, name: str) -> Table:
    """Return a table of every version of a model, newest first; it fits 80 columns."""
    live = read_version(s3, bucket, name)
    columns = ("", "VersionId", "published", "kind", "F1")
    table = new_table(f"{name} (* is live)", None, *columns)
    for version in list_versions(s3, bucket, name):
        manifest = version.manifest
        f1 = manifest.figures.get("f1") if manifest else None
        table.add_row(
            "*" if live and version.version_id == live.version_id else "",
            version.version_id,
            f"{version.published:%Y-%m-%d}",
            manifest.kind if manifest else "unreadable",
            NOTHING if f1 is None else f"{f1:.2f}",
        )
    return table


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
        """The artifact's manifest, or None where it can't be read."""
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
        If the bucket refuses.
    """
    which = {"VersionId": version_id} if version_id else {}
    try:
        with publish_errors(f"reading {name}"):
            response = s3.get_object(Bucket=bucket, Key=model_key(name), **which)
            data = response["Body"].read()
    except PublishError as error:
        if is_missing(error.__cause__, with_version=version_id is not None):
            return None
        raise
    return Version(
        version_id=response.get("VersionId", ""),
        etag=response["ETag"],
        published=response["LastModified"],
        metadata=response["Metadata"],
        data=data,
    )


def list_versions(s3: Any, bucket: str, name: str) -> list[Version]:
    """Return every version of a model, newest first."""
    key = model_key(name)
    with publish_errors(f"listing the versions of {name}"):
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
    """Return the names of the models in the bucket, sorted; other keys are ignored."""
    with publish_errors(f"listing bucket {bucket}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="models/", Delimiter="/"
        )
        found = [
            prefix["Prefix"].split("/")[1]
            for page in pages
            for prefix in page.get("CommonPrefixes", ())
        ]
    return sorted(name for name in found if re.fullmatch(NAME_PATTERN, name))


def publish_watch_file(s3: Any, bucket: str, watch_file: WatchFile) -> str | None:
    """Make a watch file live; return its VersionId, or None if it already is.

    Raises
    ------
    PublishConflictError
        If somebody published in between.
    PublishError
        If a model of it is not published, or the bucket refuses.
    """
    check_bucket(s3, bucket)
    check_models(s3, bucket, watch_file)
    data = write_watch_file(watch_file)
    live, etag = read_live(s3, bucket)
    if live == data:
        return None
    return write_if_unchanged(
        "publishing the watch file",
        s3,
        etag,
        Bucket=bucket,
        Key=WATCH_KEY,
        Body=data,
        ContentType="application/json",
    )


def check_models(s3: Any, bucket: str, watch_file: WatchFile) -> None:
    """Raise `PublishError` if an entry names a model that is not published in the bucket."""
    named = {entry.model: entry.name for entry in watch_file.entries if entry.model}
    absent = sorted(named.keys() - set(list_models(s3, bucket))) if named else []
    if absent:
        listed = ", ".join(f"{model} (of entry {named[model]})" for model in absent)
        raise PublishError(
            f"not published in bucket {bucket}: {listed}. Train with: ops-anomaly train "
            "--watch FILE, publish each run, then try again; or leave `model` out, and each metric "
            "is compared with its own history"
        )


def watched_models(s3: Any, bucket: str, watch_file: WatchFile) -> dict[str, PublishedModel]:
    """Return what is to be known of the models that a watch file names.

    A model that is not published, or can't be read, is left out: `check_models` and the watcher
    report that.
    """
    models = {}
    for name in {entry.model for entry in watch_file.entries if entry.model}:
        version = read_version(s3, bucket, name)
        if version is None:
            continue
        try:
            detector, manifest = unpack(version.data, digest(version.data))
        except ArtifactError:
            continue
        data = manifest.training_data
        models[name] = PublishedModel(
            kind=TITLES.get(manifest.kind, manifest.kind),
            has_sensitivity=detector.has_sensitivity,
            step_ms=data.get("step_ms"),
            trained_until=datetime.fromisoformat(data["last"]) if "last" in data else None,
        )
    return models


def read_live(s3: Any, bucket: str) -> tuple[bytes | None, str | None]:
    """Return the live watch file and its ETag; None and None where there is none."""
    try:
        with publish_errors("reading the live watch file"):
            response = s3.get_object(Bucket=bucket, Key=WATCH_KEY)
            return response["Body"].read(), response["ETag"]
    except PublishError as error:
        if is_missing(error.__cause__, with_version=False):
            return None, None
        raise


def s3_client(endpoint_url: str | None) -> Any:
    """Return an S3 client, for AWS or for the endpoint given."""
    style = {"addressing_style": "path"} if endpoint_url else {}
    with publish_errors("S3 can't be used"):
        return boto3.client("s3", endpoint_url=endpoint_url, config=Config(s3=style))


def check_bucket(s3: Any, bucket: str) -> None:
    """Raise `PublishError` unless the bucket is there and versioned."""
    with publish_errors(f"bucket {bucket} can't be used"):
        versioning = s3.get_bucket_versioning(Bucket=bucket)
    if versioning.get("Status") != "Enabled":
        raise PublishError(
            f"bucket {bucket} is not versioned, so nothing could be rolled back; enable versioning "
            "on it, or use the bucket of the stack"
        )


def write_if_unchanged(action: str, s3: Any, expected_etag: str | None, **request: Any) -> str:
    """Write an object if the one there is still the expected one; return its VersionId.

    A write that was carried out and whose response was lost is a success.

    Parameters
    ----------
    expected_etag
        ETag of the object to replace; None where there must be none yet.
    request
        Of `put_object`; or of `copy_object`, if it has a `CopySource`.

    Raises
    ------
    PublishConflictError
        If another object is there (412), or others keep writing at the same time (409).
    PublishError
        If the bucket refuses for another reason, or does not respond.
    """
    write = s3.copy_object if "CopySource" in request else s3.put_object
    condition = {"IfMatch": expected_etag} if expected_etag else {"IfNoneMatch": "*"}
    write_id = new_write_id()
    request["Metadata"] = {**request.get("Metadata", {}), WRITE_ID_METADATA: write_id}
    for _ in range(WRITE_ATTEMPTS):
        try:
            with publish_errors(action):
                return str(write(**request, **condition)["VersionId"])
        except PublishError as error:
            status = http_status(error.__cause__)
            if status == HTTPStatus.CONFLICT:  # another write was in progress: try again
                continue
            if status == HTTPStatus.PRECONDITION_FAILED or is_unanswered(status):
                version_id = version_written(s3, request["Bucket"], request["Key"], write_id)
                if version_id:
                    return version_id
            if status == HTTPStatus.PRECONDITION_FAILED:
                raise PublishConflictError(
                    f"{action}: refused, as somebody else wrote it in between; check which "
                    "version is live (ops-anomaly models), then decide again"
                ) from error
            raise
    raise PublishConflictError(f"{action}: others keep writing at the same time; try again")


def version_written(s3: Any, bucket: str, key: str, write_id: str) -> str | None:
    """Return the VersionId of the object there if it has this write id.

    Raises
    ------
    PublishError
        If it can't be read, so that it is not known whether it was written.
    """
    try:
        with publish_errors(f"whether {key} was written is not known (see: ops-anomaly models)"):
            response = s3.head_object(Bucket=bucket, Key=key)
    except PublishError as error:
        if is_missing(error.__cause__, with_version=False):
            return None
        raise
    is_own = response["Metadata"].get(WRITE_ID_METADATA) == write_id
    return str(response["VersionId"]) if is_own else None


@contextmanager
def publish_errors(action: str) -> Iterator[None]:
    """Turn the errors of boto3 into a `PublishError` that says what was tried."""
    try:
        with translate_aws_errors(action):
            yield
    except ServiceError as error:
        raise PublishError(str(error)) from error.__cause__
    except ValueError as error:  # the endpoint is not a URL, or the bucket's name not valid
        raise PublishError(f"{action}: {error}") from error


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error of the client, where it has one."""
    if isinstance(error, ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return None


def is_unanswered(status: int | None) -> bool:
    """Return whether a request may have been carried out although it failed."""
    return status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def is_missing(error: BaseException | None, *, with_version: bool) -> bool:
    """Return whether an error means that the object is missing."""
    if not isinstance(error, ClientError):
        return False
    code = error.response["Error"]["Code"]
    # to S3, a VersionId that it can't have issued is an invalid argument
    return code in MISSING or (with_version and code == "InvalidArgument")
