"""Train models, publish the winner, list versions, roll back; publish a watch file; check a stack.

First: train, open runs/ec2-cpu/report.html, publish runs/ec2-cpu --bucket B.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console

from commands.models import models, publish, rollback
from commands.smoke import SmokeError, smoke
from commands.train import train
from commands.watch import watch
from ops_anomaly.aws.errors import InvalidModelNameError
from training import TrainingError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
for command in (train, publish, models, rollback, watch, smoke):
    app.command()(command)


def command_line() -> Any:
    """Return the command line; typer can't declare a repeated option of two values, click can."""
    group: Any = typer.main.get_command(app)
    for option in group.commands["train"].params:
        if option.name == "excluded":
            option.nargs = 2
    return group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; an error is one message, not a traceback.

    Parameters
    ----------
    arguments
        Those of the process by default.

    Returns
    -------
    int
        The exit status of an error; success, and what click reports, is a `SystemExit`.
    """
    try:
        command_line()(arguments, prog_name="ops-anomaly")
    except (TrainingError, SmokeError, InvalidModelNameError) as error:
        # what a message quotes must not be taken for markup
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
