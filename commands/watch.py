"""`watch`: check a watch file, and publish it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from commands.options import EndpointUrl, console
from ops_anomaly.aws.objects import WATCH_KEY


def watch(
    file: Annotated[Path, typer.Argument(help="The watch file, in YAML.")],
    bucket: Annotated[str | None, typer.Option(help="Publish it into the stack's bucket.")] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Check a watch file, show what it matches and costs, and publish it with --bucket."""
    from training.fleet import read_watch_file, resolve_watch_file, show_fleet
    from training.publishing import fixed_models, publish_watch_file, s3_client
    from training.sources.cloudwatch import cloudwatch_client

    watch_file = read_watch_file(file)
    fleet = resolve_watch_file(cloudwatch_client(), watch_file)
    s3 = s3_client(endpoint_url) if bucket else None
    fixed = fixed_models(s3, bucket, watch_file) if bucket else None
    show_fleet(watch_file, fleet, fixed, console)
    if bucket is None:
        console.print("Not published: give --bucket.")
        return
    version = publish_watch_file(s3, bucket, watch_file)
    if version is None:
        console.print("This watch file is already live.")
        return
    console.print(f"Published [bold]s3://{escape(bucket)}/{WATCH_KEY}[/bold]")
    console.print(f"  VersionId  {version}")
    console.print("The watcher reads it within five minutes.")
