"""Training as the command line and the laptop demo show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.watch_file import WatchFile
from training.candidates.candidate import NAMES
from training.fleet import Selected, metrics_by_model, resolve_watch_file, select
from training.job import Run, Settings, split, train
from training.report.page import write_report
from training.report.tables import comparison_tables, sensitivity_table, summary_table
from training.run_folder import StoredRun, check_replaceable, write_run
from training.sources.cloudwatch import missing
from training.sources.nab import fetch_with_progress
from training.sources.obtain import show_series
from training.sources.series import Series


def train_run(series: Series, settings: Settings, folder: Path, console: Console) -> StoredRun:
    """Train, show the comparison, and write the run into `folder`."""
    check_replaceable(folder)
    with training_progress(console) as on_progress:
        run = train(series, settings, on_progress)
    for table in (*comparison_tables(run), summary_table(run), sensitivity_table(run)):
        console.print(table)
        console.print()
    show_proposals(run, console)
    winner = NAMES[run.winner.candidate.kind]
    console.print(f"Winner: [bold green]{winner}[/bold green], by {run.rule}.")
    if run.series.labels is not None and not len(run.judged_part.windows):
        console.print(
            "[yellow]No labelled window lies after the part fitted on, so recall is not known; a "
            "smaller --train-share may leave one.[/yellow]"
        )
    stored = write_run(run, folder, write_report)
    page = escape(str(folder / "report.html"))
    console.print(f"Report: [bold]{page}[/bold] (pictures and figures beside it)")
    return stored


def show_proposals(run: Run, console: Console) -> None:
    """Print what looks like a past incident, as options to paste."""
    if not run.proposals:
        return
    console.print(
        "Look at these: unusual in the part fitted on. What was an incident is better kept out of "
        "training, by adding its line to the command:"
    )
    for each in run.proposals:
        console.print(f"  {each.option}", highlight=False, soft_wrap=True)
        console.print(
            f"    severity {each.severity:.2f}: {each.reason}",
            style="dim",
            markup=False,
            highlight=False,
        )
    console.print()


@contextmanager
def training_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar for the whole job; give the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=None)
        yield lambda what, done, total: progress.update(
            bar, description=what, completed=done, total=total
        )


RUNS = Path("runs")


def train_watched(
    watch_file: WatchFile,
    cloudwatch: Any,
    days: int,
    train_share: float,
    seed: int,
    console: Console,
    runs: Path = RUNS,
) -> list[Path]:
    """Train each model on the fullest of its metrics; return the folders of the runs.

    All is fetched and checked before anything is trained.

    Raises
    ------
    SourceError
        If CloudWatch can't be asked, or one of the series does not do.
    """
    models = metrics_by_model(resolve_watch_file(cloudwatch, watch_file))
    metrics: list[Metric] = [metric for named in models.values() for metric in named]
    found = fetch_with_progress(cloudwatch, metrics, days, console)
    selected, without = select(models, found)
    if without:
        raise missing([models[model][0] for model in without], days, cloudwatch)
    for each in selected:
        split(each.series, train_share)  # raises where a part would be too short
    return [train_one(each, train_share, seed, console, runs) for each in selected]


def train_one(
    selected: Selected, train_share: float, seed: int, console: Console, runs: Path
) -> Path:
    """Train one model, and return the folder of its run."""
    folder = runs / selected.model
    console.rule(f"[bold]{selected.model}", align="left")
    if selected.metrics > 1:
        console.print(
            f"Of {selected.metrics} metrics, the one with the most readings: "
            f"{escape(str(selected.metric))}"
        )
    show_series(selected.series, console)
    train_run(selected.series, Settings(selected.model, train_share, seed), folder, console)
    return folder
