"""Publishing a watch file: what the watcher reads at its next tick."""

from __future__ import annotations

from typing import Any

from registry.keys import WATCH_KEY
from registry.watch_file import WatchFile, write_watch_file
from training.errors import PublishError
from training.publishing.publish import check_bucket
from training.publishing.s3 import explained, write_if_unchanged
from training.publishing.versions import is_missing, list_models


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
        with explained("reading the watch file that is live"):
            answer = s3.get_object(Bucket=bucket, Key=WATCH_KEY)
            return answer["Body"].read(), answer["ETag"]
    except PublishError as error:
        if is_missing(error.__cause__, asked_for_version=False):
            return None, None
        raise
