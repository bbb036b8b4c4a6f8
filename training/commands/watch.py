"""The command on the watch file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from registry.keys import WATCH_KEY
from training.commands.options import EndpointUrl, console


def watch(
    file: Annotated[Path, typer.Argument(help="The watch file, in YAML.")],
    bucket: Annotated[str | None, typer.Option(help="Publish it into the stack's bucket.")] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Check a watch file, show what it stands for and costs, and publish it with --bucket."""
    from training.fleet.read import read_watch_file, resolve_watch_file
    from training.fleet.show import show_fleet
    from training.publishing.s3 import s3_client
    from training.publishing.watch_file import publish_watch_file
    from training.sources.cloudwatch import cloudwatch_client

    watch_file = read_watch_file(file)
    show_fleet(watch_file, resolve_watch_file(cloudwatch_client(), watch_file), console)
    if bucket is None:
        console.print("Not published, and models not looked up: give --bucket for both.")
        return
    version = publish_watch_file(s3_client(endpoint_url), bucket, watch_file)
    if version is None:
        console.print("It is live already, as it is.")
        return
    console.print(f"Published [bold]s3://{escape(bucket)}/{WATCH_KEY}[/bold]")
    console.print(f"  VersionId  {version}")
    console.print("The watcher takes it at its next look.")
