"""Replay the last weeks; train, publish and roll back models; watch a fleet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console

from commands import CommandError
from commands.feedback import feedback
from commands.models import models, publish, rollback, runs
from commands.replay import replay
from commands.smoke import smoke
from commands.train import train
from commands.watch import watch
from ops_anomaly.aws.cloudwatch import EXAMPLE
from ops_anomaly.aws.errors import InvalidModelNameError
from training import TrainingError

EXAMPLES: dict[Callable[..., None], tuple[str, ...]] = {
    replay: (
        "replay watch.yaml --days 30",
        "replay --csv exports/",
        f'replay --days 30 \\\n      --cloudwatch "{EXAMPLE}"',
    ),
    train: (
        "train --csv web-cpu.csv --name web-1-cpu",
        f'train --name web-1-cpu --days 14 \\\n      --cloudwatch "{EXAMPLE}"',
    ),
    publish: (
        "publish runs/web-1-cpu --bucket my-models",
        "publish runs/web-1-cpu --bucket my-models --expect Qx7dWmT2",
    ),
    models: ("models --bucket my-models", "models web-1-cpu --bucket my-models --json"),
    runs: ("runs --bucket my-models", "runs 2026-11-27T020000Z --bucket my-models"),
    rollback: ("rollback web-1-cpu --to Qx7dWmT2 --bucket my-models",),
    watch: ("watch watch.yaml", "watch watch.yaml --bucket my-models"),
    feedback: (
        "feedback d7c150d4 fine --bucket my-models",
        "feedback d7c150d4 snooze 4h --bucket my-models",
        "feedback d7c150d4 --undo --bucket my-models",
    ),
    smoke: ("smoke --stack ops-anomaly-dev",),
}
"""Of each command, in the order in which they are listed."""

FIRST_STEPS = [EXAMPLES[command][0] for command in (replay, train, publish, watch)]

EXIT_CODES = """Exit codes: 0 done; 1 an error, which says what to do, or a part of a stack that
smoke found failing; 2 a wrong option."""

KEEP_LINES = "\b\n"
"""Has click print a paragraph as it is."""


def example_lines(heading: str, examples: Iterable[str]) -> str:
    """Return examples as the help has them."""
    return KEEP_LINES + "\n".join([heading, *(f"  ops-anomaly {each}" for each in examples)])


app = typer.Typer(
    help=__doc__,
    epilog=f"{example_lines('First steps:', FIRST_STEPS)}\n\n{EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help, the same in a terminal and in a pipe
)
for command, examples in EXAMPLES.items():
    app.command(epilog=example_lines("Examples:", examples))(command)


def print_version(wanted: bool) -> None:
    """Print the version, where `--version` asks for it."""
    if wanted:
        typer.echo(f"ops-anomaly {version('ops-anomaly')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""


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
    except (CommandError, TrainingError, InvalidModelNameError) as error:
        # what a message quotes must not be taken for markup
        console = Console(stderr=True, soft_wrap=not sys.stderr.isatty())
        console.print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
