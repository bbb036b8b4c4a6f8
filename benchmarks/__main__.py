"""Benchmarks: how well detectors find anomalies, and how fast this project is."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from benchmarks.detection.nab import nab
from training.errors import TrainingError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.command()(nab)


@app.callback()
def benchmarks() -> None:
    """Benchmarks: how well detectors find anomalies, and how fast this project is."""


def main() -> int:
    """Run the command line; what goes wrong is one message, not a traceback."""
    try:
        app()
    except TrainingError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
