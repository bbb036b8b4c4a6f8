"""Run the service on this machine: no Docker, no AWS account."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from local import LocalError
from training import TrainingError

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)


@app.command()
def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API; 0 takes a free one.")
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; a container needs 0.0.0.0.")
    ] = "127.0.0.1",
    once: Annotated[
        bool, typer.Option("--once", help="End after the last response; 1 if one is wrong.")
    ] = False,
    nab_root: Annotated[
        Path | None,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ] = None,
) -> None:
    """Train, publish into a local bucket, serve, send the first requests, and watch a fleet."""
    from local.demo import demo as run_demo

    run_demo(port, nab_root, once=once, console=Console(), host=host)


@app.command()
def event(
    file: Annotated[Path, typer.Argument(help="An event in JSON: see events/.")],
) -> None:
    """Send one event to its handler, and print what comes of it as JSON.

    For a request that is the response, by the model in runs/ec2-cpu; else what the watcher
    publishes about metrics that have just run away. Logs and remarks go to the standard error.
    """
    from local.events import send_event

    typer.echo(json.dumps(send_event(file, Console(stderr=True)), indent=2, ensure_ascii=False))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document, as `make openapi` commits it."""
    from local.openapi import openapi_document

    typer.echo(openapi_document())


def main() -> int:
    """Run the command line; what goes wrong is one message, not a traceback."""
    try:
        app()
    except (LocalError, TrainingError) as error:
        # what a message quotes must not be taken for markup
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; nothing is left running.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
