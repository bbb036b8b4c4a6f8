"""The S3 client of the job, and its errors in words.

Making a version live: publish a run's artifact, or roll back to an older version.

What is in the bucket: models, their versions, and which is live.

Publishing a watch file: what the watcher reads at its next tick.

What the commands on the bucket show.
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
from botocore.exceptions import BotoCoreError, ClientError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops_anomaly.aws.errors import CorruptIndexError
from ops_anomaly.aws.models import parse_index, write_index
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    INDEX_KEY,
    NAME_PATTERN,
    WATCH_KEY,
    model_key,
    run_prefix,
)
from ops_anomaly.detection.artifact import Manifest, digest, read_manifest, unpack
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.watch_file import WatchFile, write_watch_file
from training.candidates.candidate import NAMES, NOTHING
from training.errors import PublishConflictError, PublishError
from training.run_folder import StoredRun, is_of_a_run

ATTEMPTS = 5
"""Tries at a write that S3 asks to repeat."""

NOT_THERE = {"NoSuchKey", "NoSuchVersion", "404"}


def s3_client(endpoint_url: str | None) -> Any:
    """Return an S3 client, for AWS or for the endpoint given."""
    style = {"addressing_style": "path"} if endpoint_url else {}
    with translate_aws_errors("S3 can't be used"):
        return boto3.client("s3", endpoint_url=endpoint_url, config=Config(s3=style))


@contextmanager
def translate_aws_errors(what: str) -> Iterator[None]:
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
            with translate_aws_errors(what):
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


CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
BINARY = "application/octet-stream"


def check_bucket(s3: Any, bucket: str) -> None:
    """Raise `PublishError` unless the bucket is there and versioned."""
    with translate_aws_errors(f"bucket {bucket} can't be used"):
        versioning = s3.get_bucket_versioning(Bucket=bucket)
    if versioning.get("Status") != "Enabled":
        raise PublishError(
            f"bucket {bucket} is not versioned, so nothing could be rolled back; enable versioning "
            "on it, or use the bucket of the stack"
        )


def publish(
    s3: Any, bucket: str, name: str, run: StoredRun, kind: str, champion: Version | None
) -> Version:
    """Make a run's artifact live, if `champion` is what is live still.

    The run's report is uploaded first, the artifact by one conditional PUT, and the index of
    names last: whatever fails, no half of it is ever served.

    Raises
    ------
    PublishConflictError
        If somebody published in between.
    PublishError
        If the bucket refuses.
    """
    data = run.artifact(kind)
    upload_run(s3, bucket, name, run)
    answer = write_if_unchanged(
        f"publishing {name}",
        s3.put_object,
        champion and champion.etag,
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
    return written_version(s3, bucket, name, answer["VersionId"])


def roll_back(s3: Any, bucket: str, name: str, version_id: str) -> Version:
    """Make an older version live again, by copying it over the head.

    Raises
    ------
    PublishConflictError
        If somebody published in between.
    PublishError
        If there is no such version, it is live already, or it can't be served.
    """
    check_bucket(s3, bucket)
    champion = read_version(s3, bucket, name)
    older = read_version(s3, bucket, name, version_id) if version_id else None
    if older is None:
        raise PublishError(
            f"{name} has no version {version_id}; list them with: python -m training models"
        )
    if champion and champion.version_id == version_id:
        raise PublishError(f"version {version_id} of {name} is live already")
    older.check_usable()
    answer = write_if_unchanged(
        f"rolling {name} back",
        s3.copy_object,
        champion and champion.etag,
        Bucket=bucket,
        Key=model_key(name),
        CopySource={"Bucket": bucket, "Key": model_key(name), "VersionId": version_id},
    )
    return written_version(s3, bucket, name, answer["VersionId"])


def written_version(s3: Any, bucket: str, name: str, version_id: str) -> Version:
    """Return what was just written, even if somebody has published another version since."""
    written = read_version(s3, bucket, name, version_id)
    if written is None:
        raise PublishError(f"version {version_id} of {name} was written, but is deleted since")
    return written


def upload_run(s3: Any, bucket: str, name: str, run: StoredRun) -> None:
    """Keep the run's report, pictures, figures and estimators beside the models."""
    prefix = run_prefix(name, run.record["run"])
    for path in sorted(filter(is_of_a_run, run.folder.iterdir())):
        with translate_aws_errors(f"uploading {path.name}"):
            s3.put_object(
                Bucket=bucket,
                Key=prefix + path.name,
                Body=path.read_bytes(),
                ContentType=CONTENT_TYPES.get(path.suffix, BINARY),
            )


def add_to_index(s3: Any, bucket: str, name: str) -> None:
    """Add a name to the index of models, which the API reads instead of listing the bucket."""
    for _ in range(ATTEMPTS):
        names, etag = read_index(s3, bucket)
        if names is None:  # made anew from what lies in the bucket
            names = list_models(s3, bucket)
        elif name in names:
            return
        try:
            write_if_unchanged(
                "writing the index of models",
                s3.put_object,
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
        None where there is an index that can't be read.
    etag
        None where there is no index.
    """
    try:
        with translate_aws_errors("reading the index of models"):
            answer = s3.get_object(Bucket=bucket, Key=INDEX_KEY)
            data = answer["Body"].read()
        return parse_index(data), answer["ETag"]
    except CorruptIndexError:
        return None, answer["ETag"]
    except PublishError as error:
        if is_missing(error.__cause__, asked_for_version=False):
            return [], None
        raise


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
        with translate_aws_errors(f"reading {name}"):
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
    with translate_aws_errors(f"listing the versions of {name}"):
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
    with translate_aws_errors(f"listing bucket {bucket}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="models/", Delimiter="/"
        )
        found = [
            prefix["Prefix"].split("/")[1]
            for page in pages
            for prefix in page.get("CommonPrefixes", ())
        ]
    return sorted(name for name in found if re.fullmatch(NAME_PATTERN, name))


def check_models(s3: Any, bucket: str, watch_file: WatchFile) -> None:
    """Raise `PublishError` if an entry names a model that is not published in the bucket."""
    named = {entry.model: entry.name for entry in watch_file.entries if entry.model}
    absent = sorted(named.keys() - set(list_models(s3, bucket))) if named else []
    if absent:
        listed = ", ".join(f"{model} (of entry {named[model]})" for model in absent)
        raise PublishError(
            f"not published in bucket {bucket}: {listed}. Train with: python -m training train "
            "--watch FILE, publish each run, then try again; or leave `model` out, and each metric "
            "is judged by its own history"
        )


def publish_watch_file(s3: Any, bucket: str, watch_file: WatchFile) -> str | None:
    """Make a watch file live; return its VersionId, or None if it is live already.

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
    answer = write_if_unchanged(
        "publishing the watch file",
        s3.put_object,
        etag,
        Bucket=bucket,
        Key=WATCH_KEY,
        Body=data,
        ContentType="application/json",
    )
    return str(answer["VersionId"])


def read_live(s3: Any, bucket: str) -> tuple[bytes | None, str | None]:
    """Return what is live and its ETag; None and None where nothing is."""
    try:
        with translate_aws_errors("reading the watch file that is live"):
            answer = s3.get_object(Bucket=bucket, Key=WATCH_KEY)
            return answer["Body"].read(), answer["ETag"]
    except PublishError as error:
        if is_missing(error.__cause__, asked_for_version=False):
            return None, None
        raise


def publish_run(
    s3: Any, bucket: str, run: StoredRun, kind: str | None, console: Console
) -> Version:
    """Publish a run's winner (or the candidate asked for), beside what is live now."""
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


def describe(version: Version) -> str:
    """Say in a few words what a version is."""
    manifest = version.manifest
    if manifest is None:
        return "unreadable artifact"
    f1 = manifest.figures.get("f1")
    kind = NAMES.get(manifest.kind, manifest.kind)
    figure = NOTHING if f1 is None else f"{f1:.2f}"
    return f"{kind}, trained {version.created or 'at a time unknown'}, F1 {figure}"


def versions_table(s3: Any, bucket: str, name: str) -> Table:
    """Return a table of every version of a model, newest first; it fits 80 columns."""
    live = read_version(s3, bucket, name)
    table = Table(
        title=f"[bold]{name}[/bold] (* is live)",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("", "VersionId", "published", "kind", "F1", "false/day"):
        table.add_column(column, no_wrap=True)
    for version in list_versions(s3, bucket, name):
        manifest = version.manifest
        figures = manifest.figures if manifest else {}
        shares = (figures.get("f1"), figures.get("false_alarms_a_day"))
        table.add_row(
            "*" if live and version.version_id == live.version_id else "",
            version.version_id,
            f"{version.published:%Y-%m-%d %H:%M}",
            NAMES.get(manifest.kind, manifest.kind) if manifest else "unreadable",
            *(NOTHING if share is None else f"{share:.2f}" for share in shares),
        )
    return table
