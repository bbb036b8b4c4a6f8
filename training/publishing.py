"""The models and the watch file in the bucket: publish, list, roll back.

Every write is conditional: it is refused when somebody else wrote in between.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ops_anomaly.aws.errors import CorruptIndexError
from ops_anomaly.aws.models import parse_index, write_index
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    INDEX_KEY,
    WATCH_KEY,
    WRITE_ATTEMPTS,
    WRITE_ID_METADATA,
    model_key,
    new_write_id,
    run_prefix,
)
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.watch_file import PER_METRIC, WatchFile, write_watch_file
from training import PublishConflictError, PublishError
from training.run import StoredRun, is_of_a_run
from training.versions import (
    MAX_CANDIDATES,
    RUN_METADATA,
    PublishedArtifact,
    Version,
    describe,
    describe_training,
    find_version,
    http_status,
    is_missing,
    list_models,
    live_versions,
    publish_errors,
    read_artifact,
    read_object,
    read_version,
)

if TYPE_CHECKING:
    from rich.console import Console

NO_VERSION = "none"
"""Expected where none may be live yet."""

INDEX_ATTEMPTS = 5
"""Tries at adding a name to the index, while others add theirs."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
BINARY = "application/octet-stream"


def publish_run(
    s3: Any,
    bucket: str,
    run: StoredRun,
    console: Console,
    *,
    kind: str | None = None,
    expect: str | None = None,
) -> tuple[Version | None, Version]:
    """Publish a run's winner, or the candidate named; print and return what was live, and is now.

    Parameters
    ----------
    kind
        Of the candidate to publish.
    expect
        VersionId of the only version to replace, or how it begins; "none" where none may be live.

    Raises
    ------
    PublishConflictError
        If another version than the expected one is live, or somebody published in between.
    PublishError
        If there is no such version, or the bucket refuses.
    """
    from rich.markup import escape

    name, kind = run.record["name"], kind or run.winner
    check_bucket(s3, bucket)
    champion = read_version(s3, bucket, name)
    check_expected(s3, bucket, name, champion, expect)
    if champion:
        console.print(f"Live until now: {describe(champion)}", highlight=False)
    live = publish(s3, bucket, name, run, kind, champion)
    console.print(f"Published [bold]s3://{escape(bucket)}/{model_key(name)}[/bold]")
    console.print(f"  model      {describe(live)}", highlight=False)
    console.print(f"  trained on {describe_training(live)}", highlight=False)
    console.print(f"  VersionId  {live.version_id}", highlight=False)
    console.print(f"  SHA-256    {live.digest}", highlight=False)
    return champion, live


def check_expected(
    s3: Any, bucket: str, name: str, champion: Version | None, expect: str | None
) -> None:
    """Raise `PublishConflictError` if another version is live than the expected one, if any is."""
    if expect is None:
        return
    expected = NO_VERSION if expect == NO_VERSION else find_version(s3, bucket, name, expect)
    if expected != (champion.version_id if champion else NO_VERSION):
        live = f"{champion.version_id} ({describe(champion)})" if champion else NO_VERSION
        raise PublishConflictError(
            f"nothing was written: of {name} the expected version is {expected}; live is {live}. "
            f"Compare with it, then decide again: ops-anomaly models {name}"
        )


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
    version_id = put_artifact(
        s3,
        bucket,
        name,
        data,
        run=run.record["run"],
        created=run.record["created"],
        replaces=champion.etag if champion else None,
    )
    update_index(s3, bucket, [name])
    return written_version(s3, bucket, name, version_id)


def put_artifact(
    s3: Any, bucket: str, name: str, data: bytes, *, run: str, created: str, replaces: str | None
) -> str:
    """Make an artifact live, and return its VersionId.

    Parameters
    ----------
    run, created
        The run that it is of; when it was trained, ISO 8601.
    replaces
        ETag of the only version to replace; None where none may be live.

    Raises
    ------
    PublishConflictError
        If somebody published in between.
    PublishError
        If the bucket refuses.
    """
    return write_if_unchanged(
        f"publishing {name}",
        s3,
        replaces,
        Bucket=bucket,
        Key=model_key(name),
        Body=data,
        ContentType=BINARY,
        Metadata={DIGEST_METADATA: digest(data), CREATED_METADATA: created, RUN_METADATA: run},
    )


@dataclass(frozen=True)
class BucketModels:
    """The models of a bucket, as the retraining of a fleet reads and publishes them.

    Attributes
    ----------
    s3
        A client of boto3.
    """

    s3: Any
    bucket: str

    def read(self, name: str) -> PublishedArtifact | None:
        """Return the live version of a model; None where there is none."""
        response = read_object(self.s3, self.bucket, name, None)
        if response is None:
            return None
        metadata = response["Metadata"]
        return PublishedArtifact(
            data=response["Data"],
            etag=response["ETag"],
            digest=metadata.get(DIGEST_METADATA, ""),
            version=response.get("VersionId", ""),
            run=metadata.get(RUN_METADATA, ""),
        )

    def publish(
        self, name: str, data: bytes, *, run: str, created: str, replaces: str | None
    ) -> str:
        """Make an artifact live; see `put_artifact`."""
        return put_artifact(
            self.s3, self.bucket, name, data, run=run, created=created, replaces=replaces
        )

    def update_index(self, names: Collection[str]) -> None:
        """Have the index say which versions of models are live; see `update_index`."""
        update_index(self.s3, self.bucket, names)


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


def update_index(s3: Any, bucket: str, names: Collection[str]) -> None:
    """Have the index of models say which versions of these are live.

    The API reads the index instead of listing the bucket, and the watcher learns from it which of
    its models have another version. It is not written where it says so already. What is live is
    asked for after the index was read, which is written on the condition that nobody has since: so
    whoever comes last writes what has been published last.

    Raises
    ------
    PublishError
        If the bucket refuses, does not respond, or others keep writing the index.
    """
    for _ in range(INDEX_ATTEMPTS):
        index, etag = read_index(s3, bucket)
        known = list_models(s3, bucket) if index is None else names  # it is made anew
        before = {name: each for name, each in (index or {}).items() if name not in known}
        after = before | live_versions(s3, bucket, known)
        if after == index:
            return
        try:
            write_if_unchanged(
                "writing the index of models",
                s3,
                etag,
                Bucket=bucket,
                Key=INDEX_KEY,
                Body=write_index(after),
                ContentType="application/json",
            )
        except PublishConflictError:
            continue  # somebody wrote in between
        return
    raise PublishError(
        f"{', '.join(sorted(names)[:MAX_CANDIDATES])}: published and served, but the index of "
        "models has not all of it yet, as others keep writing it; do the same once more"
    )


def read_index(s3: Any, bucket: str) -> tuple[dict[str, str] | None, str | None]:
    """Return the index of models, versions by name, and its ETag.

    Returns
    -------
    index
        None where there is none, or it can't be read.
    etag
        None where there is none.
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
            return None, None
        raise


def roll_back(
    s3: Any, bucket: str, name: str, version_id: str, expect: str | None = None
) -> tuple[Version | None, Version]:
    """Make an older version live again, by copying it over the head.

    Parameters
    ----------
    version_id, expect
        Of the version to go back to, and of the only one to replace; or how they begin.

    Returns
    -------
    tuple of Version
        What was live, and what is now.

    Raises
    ------
    PublishConflictError
        If another version than the expected one is live, or somebody published in between.
    PublishError
        If there is no such version, it is already live, or it can't be served.
    """
    check_bucket(s3, bucket)
    version_id = find_version(s3, bucket, name, version_id)
    champion = read_version(s3, bucket, name)
    check_expected(s3, bucket, name, champion, expect)
    if champion and champion.version_id == version_id:
        update_index(s3, bucket, [name])  # in case that an earlier one was cut off
        raise PublishError(f"version {version_id} of {name} is already live")
    older = usable_version(s3, bucket, name, version_id)
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
    update_index(s3, bucket, [name])
    return champion, written_version(s3, bucket, name, copied)


def usable_version(s3: Any, bucket: str, name: str, version_id: str) -> Version:
    """Return a version; raise `PublishError` if it has been deleted or could not be served."""
    version = read_version(s3, bucket, name, version_id)
    data = read_artifact(s3, bucket, name, version_id)
    if version is None or data is None:
        raise PublishError(f"version {version_id} of {name} has been deleted")
    try:
        unpack(data, version.digest)
    except ArtifactError as error:
        raise PublishError(f"version {version_id} can't be served: {error}") from error
    return version


def written_version(s3: Any, bucket: str, name: str, version_id: str) -> Version:
    """Return the version just written, even if somebody has published another one since."""
    written = read_version(s3, bucket, name, version_id)
    if written is None:
        raise PublishError(
            f"version {version_id} of {name} was written, and has been deleted since"
        )
    return written


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
    named = {
        entry.model: entry.name
        for entry in watch_file.entries
        if entry.model and entry.model != PER_METRIC
    }
    absent = sorted(named.keys() - set(list_models(s3, bucket))) if named else []
    if absent:
        listed = ", ".join(f"{model} (of entry {named[model]})" for model in absent)
        raise PublishError(
            f"not published in bucket {bucket}: {listed}. Train with: ops-anomaly train "
            "--watch FILE, publish each run, then try again; or leave `model` out, and each metric "
            "is compared with its own history"
        )


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


def is_unanswered(status: int | None) -> bool:
    """Return whether a request may have been carried out although it failed."""
    return status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR
