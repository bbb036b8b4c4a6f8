"""A run from this machine: in processes of it, or on a cluster of Dask.

Each worker connects for itself, trains one batch after the other (`batch.train_batch`), and leaves
the outcomes in the run: what is sent to it is the run's name and a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from joblib import Parallel, delayed

from ops_anomaly.aws.errors import AwsError
from training import RunError, TrainingError
from training.console import counted, new_table, print_table
from training.retraining.batch import train_batch
from training.retraining.documents import Outcome, Report, Services, read_plan
from training.retraining.report import finish_run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from training.console import OnProgress
    from training.retraining.services import Connect

MAX_SHOWN = 20
"""Metrics that the table shows of those that were refused or failed."""


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
