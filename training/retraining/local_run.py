"""A run from this machine: in processes of it, or on a cluster of Dask.

Each worker connects for itself, trains one batch after the other (`batch.train_batch`), and leaves
the outcomes in the run: what is sent to it is the run's name and a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from joblib import Parallel, delayed

from ops_anomaly.aws.errors import AwsError, ConflictError
from training import RunError, TrainingError
from training.console import counted, new_table, print_table
from training.retraining.batch import train_batch
from training.retraining.documents import (
    DamagedRunError,
    Outcome,
    Report,
    RunPlan,
    Services,
    read_plan,
)
from training.retraining.plan import new_run, plan_run
from training.retraining.report import finish_run
from training.retraining.services import explained

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.feedback import MetricFeedback
    from ops_anomaly.watcher.fleet import Watched
    from training.console import OnProgress
    from training.retraining.services import Connect

MAX_SHOWN = 20
"""Metrics that the table shows of those that were refused or failed."""

MAX_BEGUN = 60
"""Runs that may begin within the same second, each under the name of the next one that is free."""


class Problem(NamedTuple):
    """Why a batch did not end.

    Attributes
    ----------
    is_lasting : bool
        Whether it never will.
    """

    reason: str
    is_lasting: bool = False


Result = list[Outcome] | Problem
"""What became of a batch."""


def begin_run(
    store: ObjectStore,
    fleet: Sequence[Watched],
    settings: RunPlan,
    workers: int,
    marks: Mapping[str, MetricFeedback] | None = None,
    days: int | None = None,
) -> RunPlan:
    """Plan a run from this machine; see `plan.plan_run`.

    Parameters
    ----------
    settings
        Its plan but for the name, which is that of the second in which it began, or of the next one
        that is free.

    Raises
    ------
    ConflictError
        If a minute of names is taken.
    """
    second = settings.started // 1000
    last = second + MAX_BEGUN
    while True:
        plan = msgspec.structs.replace(settings, run=new_run(second))
        try:
            return plan_run(store, fleet, plan, workers, marks, days)
        except ConflictError:
            if second == last:
                raise
            second += 1


@dataclass(frozen=True)
class Workers:
    """Who trains the batches.

    Attributes
    ----------
    jobs : int
        Processes of this machine.
    dask : str or None
        Address of a scheduler of Dask, instead; its workers need this project installed.

    Raises
    ------
    RunError
        If Dask is asked for, and not installed.
    """

    jobs: int = 1
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.dask is not None and find_spec("distributed") is None:
            raise RunError(
                "--dask needs Dask, which is not installed; in a clone of this project: "
                "pip install '.[dask]'"
            )

    def run(self, connect: Connect, run: str, numbers: Sequence[int]) -> Iterator[Result]:
        """Yield what became of batches as they end."""
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


def train_there(connect: Connect, run: str, number: int) -> Result:
    """Train a batch in a worker; see `train_with`."""
    return train_with(connected(connect), run, number)


def train_with(services: Services, run: str, number: int) -> Result:
    """Train a batch; return why it did not end, where others may."""
    try:
        return train_batch(services, run, number)
    except ConflictError:
        return Problem(f"batch {number}: another process is training it")
    except DamagedRunError as error:
        return Problem(str(error), is_lasting=True)
    except (TrainingError, AwsError) as error:
        return Problem(explained(error))


def on_dask(
    address: str, work: Callable[[int], Result], numbers: Sequence[int]
) -> Iterator[Result]:
    """Yield what became of batches on a cluster of Dask.

    A batch whose worker died is one that did not end.

    Raises
    ------
    RunError
        If the scheduler does not respond.
    """
    from distributed import Client, as_completed

    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise RunError(f"the scheduler of Dask at {address} does not respond: {error}") from error
    with client:
        futures = client.map(work, numbers, pure=False)
        for future in as_completed(futures):
            failure = future.exception()
            yield Problem(str(failure)) if failure else future.result()


def train_fleet(
    connect: Connect, run: str, workers: Workers, on_progress: OnProgress
) -> tuple[Report, list[Problem]]:
    """Train what is left of a run, and report.

    Returns
    -------
    report : Report
    problems : list of Problem
        Why batches did not end, each reason once.

    Raises
    ------
    RunError
        If there is no such run, or a worker died.
    """
    services = connect()
    plan = read_plan(services.store, run)
    stage, done = "Training, metrics", 0
    problems: list[Problem] = []
    on_progress(stage, done, plan.metrics)
    try:
        for result in workers.run(connect, run, range(plan.batches)):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                done += len(result)
                on_progress(stage, done, plan.metrics)
    except BrokenProcessPool as error:
        raise RunError("a process died, perhaps for want of memory: use fewer --jobs") from error
    return finish_run(services, run), list(dict.fromkeys(problems))


def show_report(report: Report, problems: Sequence[Problem], again: str, console: Console) -> None:
    """Print what became of a run: a row an entry, and why metrics were not trained.

    Parameters
    ----------
    again : str
        The command that continues it.
    """
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
        console.print(problem.reason, style="red", markup=False, highlight=False, soft_wrap=True)
    if report.missing and problems and all(problem.is_lasting for problem in problems):
        console.print("This run can't be continued.", highlight=False)
    elif report.missing:
        text = f"{counted(report.missing, 'metric')} not reached. To continue:\n  {again}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def report_table(report: Report) -> Table:
    """Return how many metrics of each entry have which outcome; it fits 80 columns.

    Of metrics that were not reached the entry is not known where the batch is gone: the last row
    has all.
    """
    missing = {"missing": report.missing} if report.missing else {}
    columns = (*report.counts, *missing)
    table = new_table(f"Run {report.run}", None, "entry", *columns)
    for entry, counts in report.entries.items():
        table.add_row(entry, *(f"{counts.get(column, 0):,}" for column in columns))
    if len(report.entries) != 1 or missing:
        everything = (*report.counts.values(), *missing.values())
        table.add_row("all", *(f"{count:,}" for count in everything))
    return table
