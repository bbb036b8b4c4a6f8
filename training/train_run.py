"""Training as the command line and the laptop demo show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.candidates.names import NAMES
from training.job import Run, Settings, train
from training.report.backtest_table import sensitivity_table, summary_table
from training.report.page import write_report
from training.report.table import comparison_tables
from training.run_folder import StoredRun, check_replaceable
from training.sources.series import Series
from training.write_run import write_run


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
