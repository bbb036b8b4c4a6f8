"""Benchmarks: how well detectors find anomalies, and how fast this project is."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from benchmarks.azure import azure
from benchmarks.detection.faults import faults
from benchmarks.detection.life import life
from benchmarks.detection.nab import nab
from benchmarks.fleet import fleet
from benchmarks.guard import guard
from benchmarks.pages import pages
from benchmarks.retraining import retraining
from benchmarks.shard import shard
from benchmarks.speed import BenchmarkError
from benchmarks.speed.run import speed
from local import LocalError
from training import TrainingError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.command()(nab)
app.command()(life)
app.command()(faults)
app.command()(speed)
app.command()(fleet)
app.command()(pages)
app.command()(shard)
app.command()(azure)
app.command()(guard)
app.command()(retraining)


def main() -> int:
    """Run the command line; what goes wrong is one message, not a traceback."""
    try:
        app()
    except (BenchmarkError, LocalError, TrainingError) as error:
        # what a message quotes must not be taken for markup
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; nothing is left running.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
