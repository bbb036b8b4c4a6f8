"""A retraining run from this machine: in processes of it, or on a cluster of Dask.

Each worker connects for itself, trains one batch after the other (`retraining.train_batch`), and
leaves the outcomes in the run: what is sent to it is the run's name and a number.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed

from ops_anomaly.aws.errors import AwsError, ConflictError, ObjectNotFoundError
from ops_anomaly.aws.objects import FEEDBACK_KEY, S3ObjectStore, StoredObject
from training import RunError, SourceError, TrainingError
from training.alerts import decode_marks
from training.console import counted, new_table, print_table
from training.publishing import BucketModels, check_bucket
from training.retraining import (
    BATCH,
    Outcome,
    Report,
    RunPlan,
    Services,
    finish_run,
    read_plan,
    tasks_of,
    train_batch,
    write_plan,
)
from training.sources.cloudwatch import cloudwatch_client, fetch_series
from training.sources.series import DAY_MS
from training.versions import s3_client

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.feedback import MetricFeedback
    from ops_anomaly.watcher.fleet import Watched
    from training.console import OnProgress
    from training.sources.series import LabelledSeries

PARTS = 4
"""Batches that each worker has at least, where a fleet is small: none is idle for long."""

MAX_SHOWN = 20
"""Metrics that the table shows of those that were refused or failed."""

Connect = Callable[[], Services]
"""Returns the services of a run; it is sent to every worker, and called there."""


class FolderStore:
    """An object store in a folder of this machine: a run without a bucket.

    Many processes may write, each its own objects: a conditional write is exclusive where there
    must be no object yet, and compares before it writes where there is one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        """Read a file; see `ObjectStore.read`."""
        try:
            data = (self.root / key).read_bytes()
        except FileNotFoundError as error:
            raise ObjectNotFoundError(str(self.root / key)) from error
        etag = etag_of(data)
        return None if etag == unless_etag else StoredObject(data, etag, etag)

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        """Write a file on condition; see `ObjectStore.write`."""
        path, new = self.root / key, self._written_beside(key, data)
        try:
            if if_etag is None:
                os.link(new, path)  # fails where there is one
            elif etag_of(path.read_bytes()) == if_etag:
                new.replace(path)
            else:
                raise ConflictError(f"{path}: changed by another writer")
        except (FileExistsError, FileNotFoundError) as error:
            raise ConflictError(f"{path}: changed by another writer") from error
        finally:
            new.unlink(missing_ok=True)
        return etag_of(data)

    def overwrite(self, key: str, data: bytes) -> None:
        """Write a file; see `ObjectStore.overwrite`."""
        self._written_beside(key, data).replace(self.root / key)

    def _written_beside(self, key: str, data: bytes) -> Path:
        """Write a file that no one reads, so that no one reads half of one."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_bytes(data)
        return new


def etag_of(data: bytes) -> str:
    """Return the ETag of a file's content."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class CloudWatchReader:
    """Reads series as `retraining.ReadSeries` has it, with a client of its own."""

    cloudwatch: Any

    def __call__(self, metrics: Sequence[Metric], plan: RunPlan) -> Mapping[Metric, LabelledSeries]:
        """Return the last days of metrics."""
        until = plan.until / 1000
        return fetch_series(self.cloudwatch, metrics, plan.days, until, lambda done, total: None)


@dataclass(frozen=True)
class Account:
    """The services of the account of the environment, and of a bucket or a folder.

    Attributes
    ----------
    bucket : str or None
        Where the run is kept and models are published; without one, the run is in `folder`, and
        nothing is published.
    endpoint_url : str or None
        S3 elsewhere than AWS.
    """

    bucket: str | None = None
    endpoint_url: str | None = None
    folder: Path = Path()

    def __call__(self) -> Services:
        """Connect; see `Connect`."""
        reader = CloudWatchReader(cloudwatch_client())
        if self.bucket is None:
            return Services(FolderStore(self.folder), reader)
        from obstore.auth.boto3 import Boto3CredentialProvider

        if self.endpoint_url:
            os.environ["AWS_ENDPOINT_URL"] = self.endpoint_url  # as obstore takes it
        s3 = s3_client(self.endpoint_url)
        check_bucket(s3, self.bucket)
        try:
            store = S3ObjectStore(self.bucket, 20, Boto3CredentialProvider())
        except ValueError as error:
            raise RunError(
                f"bucket {self.bucket} can't be used: {error}; set AWS_PROFILE or credentials"
            ) from error
        return Services(store, reader, BucketModels(s3, self.bucket))


# --- a run --------------------------------------------------------------------------------------


def plan_run(
    services: Services,
    fleet: Sequence[Watched],
    plan: RunPlan,
    said: Mapping[str, MetricFeedback],
    workers: int = 1,
    in_incident: Collection[str] = (),
) -> RunPlan:
    """Plan a run over the metrics whose entries ask for a model each.

    Parameters
    ----------
    workers
        How many there will be: each gets several batches.

    Raises
    ------
    SourceError
        If no entry asks for models, or none of those that do has a metric at the moment.
    ConflictError
        If there is a run of this name.
    """
    start = plan.until - plan.days * DAY_MS
    tasks = tasks_of(fleet, said, in_incident, start, plan.until)
    if not tasks:
        raise SourceError(
            "no metric is to have a model of its own: give an entry of the watch file "
            "`model: per-metric`, and see what it matches with: ops-anomaly watch FILE"
        )
    return write_plan(services.store, plan, tasks, batch_size(len(tasks), workers))


def batch_size(metrics: int, workers: int) -> int:
    """Return how many metrics a batch has, so that no worker is idle for long.

    Examples
    --------
    >>> batch_size(1_000, 2), batch_size(30, 2), batch_size(3, 8)
    (25, 4, 1)
    """
    return max(min(BATCH, -(-metrics // (PARTS * workers))), 1)


def new_run(now: float) -> str:
    """Return a name for a run: when it began, to the second.

    Examples
    --------
    >>> new_run(0.0)
    '1970-01-01T000000Z'
    """
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H%M%SZ}"


def stored_marks(services: Services) -> dict[str, MetricFeedback]:
    """Return the feedback that a stack keeps, by metric; none where there is none."""
    try:
        stored = services.store.read(FEEDBACK_KEY)
    except ObjectNotFoundError:
        return {}
    return decode_marks(stored.data, FEEDBACK_KEY) if stored else {}


@dataclass(frozen=True)
class Workers:
    """Who trains the batches.

    Attributes
    ----------
    jobs : int
        Processes of this machine.
    dask : str or None
        Address of a scheduler of Dask, instead; its workers need this project installed.
    """

    jobs: int = 1
    dask: str | None = None

    def run(
        self, connect: Connect, run: str, numbers: Sequence[int]
    ) -> Iterator[list[Outcome] | str]:
        """Yield what became of batches as they end: outcomes, or why a batch did not end."""
        work = partial(train_there, connect, run)
        if self.dask is not None:
            yield from on_dask(self.dask, work, numbers)
        elif self.jobs == 1:
            yield from map(partial(train_with, connect(), run), numbers)
        else:
            pool = Parallel(n_jobs=self.jobs, return_as="generator_unordered", batch_size=1)
            yield from pool(delayed(work)(number) for number in numbers)


@cache
def connected(connect: Connect) -> Services:
    """Return the services of a worker, which connects once."""
    return connect()


def train_there(connect: Connect, run: str, number: int) -> list[Outcome] | str:
    """Train a batch in a worker; see `train_with`."""
    return train_with(connected(connect), run, number)


def train_with(services: Services, run: str, number: int) -> list[Outcome] | str:
    """Train a batch; return why it did not end, where others may."""
    try:
        return train_batch(services, run, number)
    except (TrainingError, AwsError) as error:
        return str(error)


def on_dask(
    address: str, work: Callable[[int], list[Outcome] | str], numbers: Sequence[int]
) -> Iterator[list[Outcome] | str]:
    """Yield what became of batches on a cluster of Dask.

    A batch whose worker died is one that did not end.

    Raises
    ------
    RunError
        If Dask is not installed, or the scheduler does not respond.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise RunError(
            "--dask needs Dask's distributed: pip install 'ops-anomaly[dask]'"
        ) from error
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise RunError(f"the scheduler of Dask at {address} does not respond: {error}") from error
    with client:
        futures = client.map(work, numbers, pure=False)
        for future in as_completed(futures):
            failure = future.exception()
            yield str(failure) if failure else future.result()


def train_fleet(
    connect: Connect, run: str, workers: Workers, on_progress: OnProgress
) -> tuple[Report, list[str]]:
    """Train what is left of a run, and report.

    Returns
    -------
    report : Report
    problems : list of str
        Why batches did not end: the run can be continued.

    Raises
    ------
    RunError
        If there is no such run, or a worker died.
    """
    services = connect()
    plan = read_plan(services.store, run)
    stage, done, problems = "Training, metrics", 0, []
    on_progress(stage, done, plan.metrics)
    try:
        for result in workers.run(connect, run, range(plan.batches)):
            if isinstance(result, str):
                problems.append(result)
            else:
                done += len(result)
                on_progress(stage, done, plan.metrics)
    except BrokenProcessPool as error:
        raise RunError(
            f"a process died, perhaps for want of memory: use fewer --jobs, and continue with "
            f"--resume {run}"
        ) from error
    return finish_run(services, run), list(dict.fromkeys(problems))


def show_report(report: Report, problems: Sequence[str], console: Console) -> None:
    """Print what became of a run: a row an entry, and why metrics were not trained."""
    print_table(report_table(report), console)
    unpublished = [each for each in report.outcomes if each.status in ("refused", "failed")]
    for each in unpublished[:MAX_SHOWN]:
        console.print(
            f"{each.status}: {each.metric}\n  {each.reason}",
            style="red" if each.status == "failed" else "yellow",
            markup=False,
            highlight=False,
        )
    if len(unpublished) > MAX_SHOWN:
        console.print(f"... and {len(unpublished) - MAX_SHOWN:,} more, in the run's report.json")
    for problem in problems:
        console.print(problem, style="red", markup=False, highlight=False)
    if report.missing:
        console.print(
            f"{counted(report.missing, 'metric')} not reached: continue with --resume {report.run}",
            highlight=False,
        )


def report_table(report: Report) -> Table:
    """Return how many metrics of each entry have which outcome; it fits 80 columns."""
    table = new_table(f"Run {report.run}", None, "entry", *report.counts)
    entries: dict[str, Counter[str]] = {}
    for each in report.outcomes:
        entries.setdefault(each.entry, Counter())[each.status] += 1
    for entry, found in entries.items():
        table.add_row(entry, *(f"{found[status]:,}" for status in report.counts))
    if len(entries) > 1:
        table.add_row("all", *(f"{count:,}" for count in report.counts.values()))
    return table
