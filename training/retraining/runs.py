"""The runs that a bucket keeps, as the command line reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from training import PublishError, RunError
from training.retraining.documents import (
    Outcome,
    RunPlan,
    Summary,
    key_of,
    page_key,
    summary_key,
)
from training.retraining.reasons import resume_command
from training.versions import READERS, is_missing, publish_errors

if TYPE_CHECKING:
    from training.versions import Version

Content = TypeVar("Content")


@dataclass(frozen=True)
class KnownRun:
    """A run in the bucket.

    Attributes
    ----------
    plan : RunPlan or None
        None where it was not planned to its end.
    summary : Summary or None
        None where it has not ended.
    damage : str or None
        Which of them can't be read, and why; both are None then.
    """

    run: str
    plan: RunPlan | None = None
    summary: Summary | None = None
    damage: str | None = None

    def record(self) -> dict[str, Any]:
        """Return all of it, as JSON has it."""
        ended: dict[str, Any] | None = msgspec.to_builtins(self.summary)
        planned: dict[str, Any] | None = msgspec.to_builtins(self.plan)
        return {"run": self.run, "plan": planned, "summary": ended, "damage": self.damage}


def by(plan: RunPlan | None) -> str:
    """Return who trains: the stack, or somebody's machine."""
    return "stack" if plan and plan.execution else "machine"


def list_runs(s3: Any, bucket: str, last: int) -> list[KnownRun]:
    """Return the last runs, newest first.

    Raises
    ------
    PublishError
        If the bucket refuses.
    """
    with publish_errors(f"listing bucket {bucket}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="plans/", Delimiter="/"
        )
        found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
    names = sorted((prefix.split("/")[1] for prefix in found), reverse=True)[:last]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(partial(read_run, s3, bucket), names))


def read_run(s3: Any, bucket: str, run: str) -> KnownRun:
    """Return a run; neither plan nor summary where there is none, or somebody has damaged them."""
    try:
        return KnownRun(
            run,
            read_document(s3, bucket, key_of(run, "plan.json"), RunPlan),
            read_document(s3, bucket, summary_key(run), Summary),
        )
    except RunError as error:
        return KnownRun(run, damage=str(error))


def read_page(s3: Any, bucket: str, run: str) -> bytes:
    """Return the page of a run.

    Raises
    ------
    RunError
        If there is no such run, or it has not ended; it says how to continue it.
    PublishError
        If the bucket refuses.
    """
    data = read_key(s3, bucket, page_key(run))
    if data is not None:
        return data
    known = read_run(s3, bucket, run)
    if known.damage:
        raise RunError(f"{known.damage}; begin a new run")
    if known.plan is None:
        raise RunError(
            f"bucket {bucket} has no run {run}, or its plan was not finished; see those that it "
            f"has: ops-anomaly runs --bucket {bucket}"
        )
    raise RunError(
        f"run {run} has no report yet: it is being trained, or was cut off. To continue it: "
        f"{resume_command(run, bucket)}"
    )


class Unpublished(NamedTuple):
    """Why a model was not published: what became of it, in which run, and when."""

    outcome: Outcome
    run: str
    time: datetime

    def record(self) -> dict[str, Any]:
        """Return all of it, as JSON has it."""
        when = self.time.astimezone(UTC).isoformat()
        return {"run": self.run, "time": when, **msgspec.to_builtins(self.outcome)}


def run_of(s3: Any, bucket: str, version: Version) -> str:
    """Return the run that a version is of, and what started that where it is known; or nothing.

    Such as "2026-11-27T020000Z (stack)".
    """
    if not version.run:
        return ""
    plan = read_run(s3, bucket, version.run).plan
    if plan is None:  # the run is of one model, or its plan has expired
        return version.run
    return f"{version.run} ({by(plan)})"


def unpublished_since(
    s3: Any, bucket: str, name: str, published: datetime | None
) -> Unpublished | None:
    """Return why the last retraining did not publish a model; None if it did, or there was none.

    Parameters
    ----------
    published
        When the live version was; None where there is none.
    """
    with publish_errors(f"listing the runs of {name}"):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"runs/{name}/")
        keys = [each for page in pages for each in page.get("Contents", ())]
    found = [
        each
        for each in keys
        if each["Key"].endswith("/outcome.json")
        and (published is None or each["LastModified"] > published)
    ]
    if not found:
        return None
    newest = max(found, key=lambda each: each["LastModified"])
    run = newest["Key"].split("/")[2]
    try:
        outcome = read_document(s3, bucket, newest["Key"], Outcome)
    except RunError as error:
        outcome = Outcome(name, "", "", "failed", f"Unreadable: {error}")
    return Unpublished(outcome, run, newest["LastModified"]) if outcome else None


def read_document(s3: Any, bucket: str, key: str, kind: type[Content]) -> Content | None:
    """Return a document; None where there is none, and `RunError` if it can't be read."""
    data = read_key(s3, bucket, key)
    try:
        return None if data is None else msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise RunError(f"s3://{bucket}/{key} is not as a run writes it: {error}") from error


def read_key(s3: Any, bucket: str, key: str) -> bytes | None:
    """Return an object's content; None where there is none."""
    try:
        with publish_errors(f"reading {key}"):
            return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except PublishError as error:
        if is_missing(error.__cause__, with_version=False):
            return None
        raise
