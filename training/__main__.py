"""Train models, publish the winner, list what is live, roll back; say what is watched.

A first round: train, look at runs/ec2-cpu/report.html, publish runs/ec2-cpu --bucket B.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console

from registry.errors import InvalidModelNameError
from training.commands.nab import nab
from training.commands.publishing import models, publish, rollback
from training.commands.train import train
from training.commands.watch import watch
from training.errors import TrainingError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
for command in (train, publish, models, rollback, watch, nab):
    app.command()(command)


def command_line() -> Callable[[], Any]:
    """Return what runs a command; an option of two values that repeats, typer can't declare."""
    group: Any = typer.main.get_command(app)
    for option in group.commands["train"].params:
        if option.name == "exclude":
            option.nargs = 2
    return group


def main() -> int:
    """Run the command line; what goes wrong is one message, not a traceback."""
    try:
        command_line()()
    except (TrainingError, InvalidModelNameError) as error:
        # what a message quotes must not be taken for markup
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
