"""Making a version live: publish a run's artifact, or roll back to an older version."""

from __future__ import annotations

from typing import Any

from detector.artifact import digest
from registry.errors import CorruptIndexError
from registry.index import parse_index, write_index
from registry.keys import CREATED_METADATA, DIGEST_METADATA, INDEX_KEY, model_key, run_prefix
from training.errors import PublishConflictError, PublishError
from training.publishing.s3 import ATTEMPTS, explained, write_if_unchanged
from training.publishing.versions import Version, is_missing, list_models, read_version
from training.run_folder import StoredRun, is_of_a_run

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
}
BINARY = "application/octet-stream"


def check_bucket(s3: Any, bucket: str) -> None:
    """Raise `PublishError` unless the bucket is there and versioned."""
    with explained(f"bucket {bucket} can't be used"):
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
        with explained(f"uploading {path.name}"):
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
        with explained("reading the index of models"):
            answer = s3.get_object(Bucket=bucket, Key=INDEX_KEY)
            data = answer["Body"].read()
        return parse_index(data), answer["ETag"]
    except CorruptIndexError:
        return None, answer["ETag"]
    except PublishError as error:
        if is_missing(error.__cause__, asked_for_version=False):
            return [], None
        raise
