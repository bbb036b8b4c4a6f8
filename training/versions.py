"""The models in the bucket and their versions: read, list, find, describe.

Of an artifact only its head is read, which has the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ops_anomaly.aws.errors import ServiceError, ServiceUnavailableError, translate_aws_errors
from ops_anomaly.aws.models import valid_time
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    NAME_PATTERN,
    model_key,
)
from ops_anomaly.detection.artifact import Manifest, digest, read_manifest, unpack
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.watch_file import PER_METRIC, WatchFile
from training import PublishError, PublishUnavailableError
from training.candidates import TITLES
from training.console import NOTHING, age
from training.fleet import PublishedModel, entry_of

HEAD_BYTES = 65_536
"""Of an artifact, to read: its header is a tenth of that."""

READERS = 10
"""Threads that read versions, as many as a client of boto3 has connections."""

MAX_CANDIDATES = 10
"""Versions or models that an error lists."""

RUN_METADATA = "run"
"""Object metadata of an artifact: the run that it is of."""

LIVE_KEY = re.compile(rf"models/({NAME_PATTERN.strip('^$')})/model\.safetensors")
"""As `model_key` has it."""

MISSING = {"NoSuchKey", "NoSuchVersion", "404"}


@dataclass(frozen=True)
class Version:
    """One published version of a model: what object, metadata and manifest say of it.

    Attributes
    ----------
    manifest : Manifest, optional
        None where the artifact can't be read.
    """

    version_id: str
    etag: str
    published: datetime
    metadata: Mapping[str, str]
    manifest: Manifest | None

    @property
    def digest(self) -> str:
        """SHA-256 that was recorded when it was published, or empty."""
        return self.metadata.get(DIGEST_METADATA, "")

    @property
    def run(self) -> str:
        """The run that it is of, or empty."""
        return self.metadata.get(RUN_METADATA, "")

    @property
    def created(self) -> str:
        """When it was trained, ISO 8601, or empty."""
        return self.metadata.get(CREATED_METADATA, "")

    @property
    def training_data(self) -> Mapping[str, Any]:
        """What its manifest says of the training data; empty where that can't be read."""
        return self.manifest.training_data if self.manifest else {}

    @property
    def step_ms(self) -> float | None:
        """Milliseconds between the readings that it was trained on, where it says so."""
        return self.training_data.get("step_ms")

    @property
    def trained_until(self) -> datetime | None:
        """Time of the last reading that it was trained on, where it says so."""
        last = valid_time(str(self.training_data.get("last")))
        return datetime.fromisoformat(last) if last else None

    @property
    def score(self) -> str:
        """F1 of labelled incidents; without any, the share of injected faults that was found."""
        figures = self.manifest.figures if self.manifest else {}
        if figures.get("f1") is not None:
            return f"{figures['f1']:.2f}"
        share = figures.get("backtest", {}).get("share_found")
        return "" if share is None else f"{100 * share:.0f} %"

    def record(self) -> dict[str, Any]:
        """Return all that is known of it, as JSON has it."""
        manifest = self.manifest
        return {
            "version_id": self.version_id,
            "published": self.published.astimezone(UTC).isoformat(),
            "trained": self.created or None,
            "run": self.run or None,
            "sha256": self.digest or None,
            "kind": manifest.kind if manifest else None,
            "training_data": self.training_data or None,
            "figures": manifest.figures if manifest else None,
        }


@dataclass(frozen=True)
class PublishedArtifact:
    """The live version of a model: its bytes, and what its object says.

    Attributes
    ----------
    run : str
        The run that it is of, or empty.
    """

    data: bytes
    etag: str
    digest: str
    version: str
    run: str


def describe(version: Version) -> str:
    """Return in a few words what a version is.

    Such as "contextual detector, trained 8 months ago, F1 0.67".
    """
    manifest = version.manifest
    if manifest is None:
        return "unreadable artifact"
    score = version.score or NOTHING
    what = "faults found:" if score.endswith("%") else "F1"
    title = TITLES.get(manifest.kind, manifest.kind)
    return f"{title}, trained {since_training(version)}, {what} {score}"


def since_training(version: Version) -> str:
    """Return how long ago a version was trained."""
    created = valid_time(version.created)
    return f"{age(datetime.fromisoformat(created))} ago" if created else "at an unknown time"


def describe_training(version: Version) -> str:
    """Return in a few words what a version was trained on.

    Such as "4,032 readings of 5 min, 2026-02-14 to 2026-02-28".
    """
    data = version.training_data
    count = f"{data['readings']:,} readings" if "readings" in data else "unknown readings"
    step = f" of {duration(version.step_ms)}" if version.step_ms else ""
    span = f", {data['first'][:10]} to {data['last'][:10]}" if "last" in data else ""
    return f"{count}{step}{span}"


# --- reading ------------------------------------------------------------------------------------


def read_version(s3: Any, bucket: str, name: str, version_id: str | None = None) -> Version | None:
    """Return a version of a model, the live one by default; None where there is none.

    Raises
    ------
    PublishError
        If the bucket refuses.
    """
    response = read_object(s3, bucket, name, version_id, Range=f"bytes=0-{HEAD_BYTES - 1}")
    if response is None:
        return None
    return Version(
        version_id=response.get("VersionId", ""),
        etag=response["ETag"],
        published=response["LastModified"],
        metadata=response["Metadata"],
        manifest=manifest_of(response["Data"]),
    )


def manifest_of(head: bytes) -> Manifest | None:
    """Return the manifest of an artifact that begins so, or None where it can't be read."""
    try:
        return read_manifest(head)
    except ArtifactError:
        return None


def read_artifact(s3: Any, bucket: str, name: str, version_id: str | None = None) -> bytes | None:
    """Return a version's artifact, of the live one by default; None where there is none."""
    response = read_object(s3, bucket, name, version_id)
    return None if response is None else response["Data"]


def read_object(
    s3: Any, bucket: str, name: str, version_id: str | None, **part: str
) -> dict[str, Any] | None:
    """Return S3's response with the object's bytes as `Data`, or None where there is none."""
    which = {"VersionId": version_id} if version_id else {}
    try:
        with publish_errors(f"reading {name}"):
            response = s3.get_object(Bucket=bucket, Key=model_key(name), **which, **part)
            return {**response, "Data": response["Body"].read()}
    except PublishError as error:
        if part and http_status(error.__cause__) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return read_object(s3, bucket, name, version_id)  # of an empty object there is no part
        if is_missing(error.__cause__, with_version=version_id is not None):
            return None
        raise


@dataclass(frozen=True)
class History:
    """The versions of a model, newest first.

    Attributes
    ----------
    live : Version, optional
        None where the model was deleted.
    older : int
        How many versions there are beside, which were not read.
    """

    name: str
    live: Version | None
    versions: Sequence[Version]
    older: int

    def record(self) -> dict[str, Any]:
        """Return all of it, as JSON has it."""
        return {
            "name": self.name,
            "live": self.live.version_id if self.live else None,
            "versions": [version.record() for version in self.versions],
            "older_versions": self.older,
        }


def read_histories(
    s3: Any, bucket: str, names: Sequence[str], last: int | None = None
) -> Iterator[History]:
    """Yield the versions of models: all of them, or the last so many of each.

    Several requests are under way at a time, for these models and their versions.

    Raises
    ------
    PublishError
        If there is no version of a model, or the bucket refuses.
    """
    with ThreadPoolExecutor(READERS) as pool:
        listings = pool.map(lambda name: object_versions(s3, bucket, name), names)
        for name, listed in zip(names, listings, strict=True):
            if not listed:
                raise unknown_model(s3, bucket, name)
            ids = [str(each["VersionId"]) for each in listed[:last]]
            found = pool.map(partial(read_version, s3, bucket, name), ids)
            versions = [version for version in found if version is not None]
            head = ids[0] if listed[0]["IsLatest"] else None
            live = next((each for each in versions if each.version_id == head), None)
            yield History(name, live, versions, len(listed) - len(ids))


def read_history(s3: Any, bucket: str, name: str) -> History:
    """Return all versions of a model; `PublishError` if there is none."""
    [history] = read_histories(s3, bucket, [name])
    return history


def object_versions(s3: Any, bucket: str, name: str) -> list[dict[str, Any]]:
    """Return what S3 lists of the versions of a model, newest first."""
    key = model_key(name)
    with publish_errors(f"listing the versions of {name}"):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
        return [each for page in pages for each in page.get("Versions", ()) if each["Key"] == key]


@dataclass(frozen=True)
class ListedModel:
    """A live model, as far as a listing of the bucket has it."""

    name: str
    published: datetime


def list_live(s3: Any, bucket: str, beginning: str = "") -> list[ListedModel]:
    """Return the live models whose names begin so, by name: a request for each thousand."""
    with publish_errors(f"listing bucket {bucket}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"models/{beginning}"
        )
        found = [each for page in pages for each in page.get("Contents", ())]
    live = [
        ListedModel(match[1], each["LastModified"])
        for each in found
        if (match := LIVE_KEY.fullmatch(each["Key"]))
    ]
    return sorted(live, key=lambda each: each.name)


def list_models(s3: Any, bucket: str) -> list[str]:
    """Return the names of the live models, sorted; other keys are ignored."""
    return [each.name for each in list_live(s3, bucket)]


def by_entry(models: Iterable[ListedModel]) -> dict[str, list[ListedModel]]:
    """Return the models a metric of each entry together, and each other model alone.

    Examples
    --------
    >>> now = datetime.now(UTC)
    >>> names = ("web-9b13adae612bbe9d", "web-f3c0e6f3a1b2c4d5", "ec2-cpu")
    >>> {name: len(models) for name, models in by_entry(ListedModel(n, now) for n in names).items()}
    {'web-*': 2, 'ec2-cpu': 1}
    """
    groups: dict[str, list[ListedModel]] = {}
    for each in models:
        entry = entry_of(each.name)
        groups.setdefault(f"{entry}-*" if entry else each.name, []).append(each)
    return groups


def live_versions(s3: Any, bucket: str, names: Collection[str]) -> dict[str, str]:
    """Return the VersionIds of the models that are live, by name; several are asked for at a time.

    Raises
    ------
    PublishError
        If the bucket refuses, or does not respond.
    """
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(partial(live_version, s3, bucket), names)
        return {name: version for name, version in zip(names, found, strict=True) if version}


def live_version(s3: Any, bucket: str, name: str) -> str | None:
    """Return the VersionId of the live version of a model; None where there is none."""
    try:
        with publish_errors(f"asking for the live version of {name}"):
            return str(s3.head_object(Bucket=bucket, Key=model_key(name))["VersionId"])
    except PublishError as error:
        if is_missing(error.__cause__, with_version=False):
            return None
        raise


def find_version(s3: Any, bucket: str, name: str, prefix: str) -> str:
    """Return the VersionId that begins so.

    Raises
    ------
    PublishError
        If none or several do; it lists those that there are.
    """
    ids = [str(each["VersionId"]) for each in object_versions(s3, bucket, name)]
    if not ids:
        raise unknown_model(s3, bucket, name)
    if prefix in ids:
        return prefix
    matching = [each for each in ids if prefix and each.startswith(prefix)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        problem = f"{len(matching)} versions of {name} begin with {prefix!r}; give more of it:"
    else:
        problem = f"{name} has no version that begins with {prefix!r}; it has:"
    raise PublishError(problem + list_candidates(s3, bucket, name, matching or ids))


def kind_of(version: Version) -> str:
    """Return the kind of detector, for a list."""
    return version.manifest.kind if version.manifest else "unreadable"


def list_candidates(s3: Any, bucket: str, name: str, ids: Sequence[str]) -> str:
    """Return a line for each of the newest of these versions."""
    versions = (read_version(s3, bucket, name, each) for each in ids[:MAX_CANDIDATES])
    lines = [f"{v.version_id}  {age(v.published)} ago, {kind_of(v)}" for v in versions if v]
    if len(ids) > MAX_CANDIDATES:
        lines.append(f"... and {len(ids) - MAX_CANDIDATES:,} older")
    return "".join(f"\n  {line}" for line in lines)


def unknown_model(s3: Any, bucket: str, name: str) -> PublishError:
    """Return an error that says which models there are."""
    names = list_models(s3, bucket)
    listed = ", ".join(names[:MAX_CANDIDATES]) + (", ..." if len(names) > MAX_CANDIDATES else "")
    return PublishError(f"bucket {bucket} has no model {name}; it has: {listed or 'none'}")


def watched_models(s3: Any, bucket: str, watch_file: WatchFile) -> dict[str, PublishedModel | None]:
    """Return what is to be known of the models that a watch file names, and those of one metric.

    A model that is not published, or can't be read, is left out: `check_models` and the watcher
    report that.
    """
    models: dict[str, PublishedModel | None] = {}
    named = {each.model for each in watch_file.entries if each.model}
    if PER_METRIC in named:
        models |= dict.fromkeys(list_models(s3, bucket))
    for name in named - {PER_METRIC}:
        models.pop(name, None)
        data = read_artifact(s3, bucket, name)
        if data is None:
            continue
        try:
            detector, manifest = unpack(data, digest(data))
        except ArtifactError:
            continue
        until = valid_time(str(manifest.training_data.get("last")))
        models[name] = PublishedModel(
            kind=TITLES.get(manifest.kind, manifest.kind),
            has_sensitivity=detector.has_sensitivity,
            step_ms=manifest.training_data.get("step_ms"),
            trained_until=datetime.fromisoformat(until) if until else None,
        )
    return models


# --- S3 -----------------------------------------------------------------------------------------


def s3_client(endpoint_url: str | None) -> Any:
    """Return an S3 client, for AWS or for the endpoint given."""
    style = {"addressing_style": "path"} if endpoint_url else {}
    with publish_errors("S3 can't be used"):
        return boto3.client("s3", endpoint_url=endpoint_url, config=Config(s3=style))


@contextmanager
def publish_errors(action: str) -> Iterator[None]:
    """Turn the errors of boto3 into a `PublishError` that says what was tried."""
    try:
        with translate_aws_errors(action):
            yield
    except ServiceUnavailableError as error:
        raise PublishUnavailableError(str(error)) from error.__cause__
    except ServiceError as error:
        raise PublishError(str(error)) from error.__cause__
    except ValueError as error:  # the endpoint is not a URL, or the bucket's name not valid
        raise PublishError(f"{action}: {error}") from error


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error of the client, where it has one."""
    if isinstance(error, ClientError):
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return None


def is_missing(error: BaseException | None, *, with_version: bool) -> bool:
    """Return whether an error means that the object is missing."""
    if not isinstance(error, ClientError):
        return False
    code = error.response["Error"]["Code"]
    # to S3, a VersionId that it can't have issued is an invalid argument
    return code in MISSING or (with_version and code == "InvalidArgument")
