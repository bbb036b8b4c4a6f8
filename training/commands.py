"""What the commands do and show, for the command line and for the laptop demo alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from registry.keys import model_key
from training.comparison import RULE
from training.job import Settings, train
from training.publishing.publish import check_bucket, publish
from training.publishing.versions import Version, list_versions, read_version
from training.report.page import write_report
from training.report.table import NAMES, NOTHING, comparison_tables
from training.run_folder import StoredRun, check_replaceable, write_run
from training.sources.series import Series


def train_run(series: Series, settings: Settings, folder: Path, console: Console) -> StoredRun:
    """Train, show the comparison, and write the run into `folder`."""
    check_replaceable(folder)
    with training_progress(console) as on_progress:
        run = train(series, settings, on_progress)
    for table in comparison_tables(run):
        console.print(table)
    winner = NAMES[run.winner.candidate.kind]
    console.print(f"Winner: [bold green]{winner}[/bold green], by {RULE}.")
    if not len(run.judged_part.windows):
        console.print(
            "[yellow]No labelled window lies after the part fitted on, so recall is not known; a "
            "smaller --train-share may leave one.[/yellow]"
        )
    stored = write_run(run, folder, write_report)
    console.print(f"Report: [bold]{folder / 'report.html'}[/bold] (pictures and figures beside it)")
    return stored


@contextmanager
def training_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar for the whole job; give the function that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=None)
        yield lambda what, done, total: progress.update(
            bar, description=what, completed=done, total=total
        )


def publish_run(
    s3: Any, bucket: str, run: StoredRun, kind: str | None, console: Console
) -> Version:
    """Publish a run's winner (or the candidate asked for), beside what is live now."""
    name, kind = run.record["name"], kind or run.winner
    check_bucket(s3, bucket)
    champion = read_version(s3, bucket, name)
    if champion:
        console.print(f"Live until now: {describe(champion)}")
    live = publish(s3, bucket, name, run, kind, champion)
    console.print(f"Published [bold]s3://{bucket}/{model_key(name)}[/bold]")
    console.print(f"  model      {describe(live)}")
    console.print(f"  VersionId  {live.version_id}")
    console.print(f"  SHA-256    {live.digest}")
    return live


def describe(version: Version) -> str:
    """Say in a few words what a version is."""
    manifest = version.manifest
    if manifest is None:
        return "unreadable artifact"
    f1 = manifest.figures.get("f1")
    kind = NAMES.get(manifest.kind, manifest.kind)
    figure = NOTHING if f1 is None else f"{f1:.2f}"
    return f"{kind}, trained {version.created or 'at a time unknown'}, F1 {figure}"


def versions_table(s3: Any, bucket: str, name: str) -> Table:
    """Return a table of every version of a model, newest first."""
    live = read_version(s3, bucket, name)
    table = Table(title=name, title_justify="left")
    for column in ("", "VersionId", "published", "what", "false alarms a day", "SHA-256"):
        table.add_column(column, overflow="fold")
    for version in list_versions(s3, bucket, name):
        is_live = live is not None and version.version_id == live.version_id
        figures = version.manifest.figures if version.manifest else {}
        rate = figures.get("false_alarms_a_day")
        table.add_row(
            "[bold green]live[/bold green]" if is_live else "",
            version.version_id,
            version.published.isoformat(timespec="seconds"),
            describe(version),
            NOTHING if rate is None else f"{rate:.2f}",
            version.digest[:8],
        )
    return table
