"""`replay`: what the watcher would have notified of in the last days."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from commands.options import AsJson, console, parse_metric
from commands.reading import (
    DayFirst,
    DecimalComma,
    SeriesName,
    TimeColumn,
    Timezone,
    ValueColumn,
    option_words,
)
from ops_anomaly.aws.cloudwatch import EXAMPLE, Metric

if TYPE_CHECKING:
    from ops_anomaly.watcher.watch_file import WatchFile

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

OUT = Path("runs/replay")


def print_permissions(wanted: bool) -> None:
    """Print the policy, where `--permissions` asks for it."""
    from replay.reading import PERMISSIONS

    if wanted:
        typer.echo(json.dumps(PERMISSIONS, indent=2))
        raise typer.Exit


def replay(
    file: Annotated[Path | None, typer.Argument(help="A watch file, in YAML.")] = None,
    cloudwatch: Annotated[
        Metric | None,
        typer.Option(
            parser=parse_metric,
            metavar="METRIC",
            help=f"Instead of a watch file: one metric, as {EXAMPLE!r}.",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Instead of CloudWatch: a file of readings, or a folder of such files."),
    ] = None,
    time_column: TimeColumn = None,
    value_column: ValueColumn = None,
    series_name: SeriesName = None,
    timezone: Timezone = None,
    day_first: DayFirst = None,
    decimal_comma: DecimalComma = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="The last so many days.")] = 30,
    sensitivity: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=100, help="Of all entries, instead of what the watch file says."
        ),
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option(help="Marks saved from the page: see what becomes of them.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the page, and of what was read.")] = OUT,
    as_json: AsJson = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Read from CloudWatch without asking first.")
    ] = False,
    permissions: Annotated[
        bool,
        typer.Option(
            "--permissions",
            is_eager=True,
            callback=print_permissions,
            help="Print the IAM policy that it needs, and exit.",
        ),
    ] = False,
) -> None:
    """Show what the watcher would have notified of.

    Before anything is deployed: it runs the watcher's own code over the history of your metrics,
    prints the incidents, and writes a page with a chart of each. It only reads: nothing is written
    to AWS, and nobody is notified. A replay that was interrupted continues.
    """
    from replay.page import Commands, replay_to_page
    from replay.sources import (
        Folders,
        read_feedback,
        source_of_cloudwatch,
        source_of_files,
        with_sensitivity,
    )
    from replay.summary import as_record, show_replay
    from training.sources.cloudwatch import cloudwatch_client
    from training.sources.files import DEFAULTS, ReadOptions

    reading = ReadOptions(
        time_column, value_column, series_name, timezone, day_first, decimal_comma
    )
    if reading != DEFAULTS and not csv:
        raise typer.BadParameter("options on how a file is read go with --csv")
    if sum(each is not None for each in (file, cloudwatch, csv)) != 1:
        raise typer.BadParameter("give a watch file, or --cloudwatch, or --csv: one of them")
    output = Console(stderr=True) if as_json else console
    again = again_command(file, cloudwatch, csv, days, sensitivity, out, option_words(reading))
    commands, now = Commands(again, publish_command(file)), int(1_000 * time.time())
    try:
        folders = Folders(out)
        said = read_feedback(feedback)
        if csv:
            source = source_of_files(csv, reading, days, sensitivity, output)
        else:
            watch_file = with_sensitivity(watch_file_of(file, cloudwatch), sensitivity)
            source = source_of_cloudwatch(
                cloudwatch_client(),
                watch_file,
                days,
                folders,
                output,
                lambda: confirm(is_asked=not (yes or as_json)),
                now,
            )
        found = replay_to_page(source, said, folders, commands, now, output)
    except KeyboardInterrupt:
        output.print(
            f"\nInterrupted. What was read and evaluated is kept in {out}: the same command "
            "continues there."
        )
        raise typer.Exit(INTERRUPTED) from None
    url = folders.page.resolve().as_uri()
    if as_json:
        typer.echo(json.dumps(as_record(found, source) | {"page": url}, indent=2))
        return
    show_replay(found, source, output)
    if found.notified.incidents and not said:
        output.print("Next: mark incidents on the page as fine or real, save feedback.json, then")
        output.print(f"  {again}", markup=False, highlight=False, soft_wrap=True)
    output.print(f"Page: {url}", markup=False, highlight=False, soft_wrap=True)


def watch_file_of(file: Path | None, metric: Metric | None) -> WatchFile:
    """Return the watch file that is named, or one of a metric."""
    from replay.sources import one_metric
    from training.watch_yaml import read_watch_file

    if metric:
        return one_metric(metric)
    return read_watch_file(file or Path())


def confirm(*, is_asked: bool) -> None:
    """Ask before what costs money is read, in a terminal."""
    if is_asked and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm("Read it?", default=True, abort=True)


def again_command(
    file: Path | None,
    metric: Metric | None,
    csv: Path | None,
    days: int,
    sensitivity: float | None,
    out: Path,
    reading: list[str],
) -> str:
    """Return the command that replays the same with feedback."""
    files = ["--csv", str(csv), *reading]
    of = [str(file)] if file else ["--cloudwatch", str(metric)] if metric else files
    words = ["ops-anomaly", "replay", *of, "--days", str(days)]
    if sensitivity is not None:
        words += ["--sensitivity", f"{sensitivity:g}"]
    if out != OUT:
        words += ["--out", str(out)]
    return shlex.join([*words, "--feedback", "feedback.json"])


def publish_command(file: Path | None) -> str | None:
    """Return the command that puts a watch file to work."""
    return shlex.join(["ops-anomaly", "watch", str(file), "--bucket", "BUCKET"]) if file else None
