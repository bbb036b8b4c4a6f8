"""`watch`: check a watch file, and publish it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from commands.options import EndpointUrl, console
from ops_anomaly.aws.objects import WATCH_KEY


def print_schema(wanted: bool) -> None:
    """Print the schema, where `--schema` asks for it."""
    from training.watch_yaml import watch_schema

    if wanted:
        typer.echo(json.dumps(watch_schema(), indent=2))
        raise typer.Exit


def watch(
    file: Annotated[Path, typer.Argument(help="The watch file, in YAML.")],
    bucket: Annotated[str | None, typer.Option(help="Publish it into the stack's bucket.")] = None,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, with every metric.")
    ] = False,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            is_eager=True,
            callback=print_schema,
            help="Print the JSON schema of watch files, for editors.",
        ),
    ] = False,
) -> None:
    """Check a watch file, and publish it with --bucket.

    Shows what it matches and costs, how many false alerts to expect, and where a model does not
    fit the metrics of its entry.
    """
    from training.fleet import fleet_record, resolve_watch_file, show_fleet
    from training.publishing import publish_watch_file
    from training.sources.cloudwatch import cloudwatch_client
    from training.versions import s3_client, watched_models
    from training.watch_yaml import read_watch_file

    watch_file = read_watch_file(file)
    fleet = resolve_watch_file(cloudwatch_client(), watch_file)
    s3 = s3_client(endpoint_url) if bucket else None
    models = watched_models(s3, bucket, watch_file) if bucket else None
    if not as_json:
        show_fleet(watch_file, fleet, models, console)
    version = publish_watch_file(s3, bucket, watch_file) if bucket else None
    if as_json:
        record = fleet_record(watch_file, fleet, models)
        if bucket:
            record["published"] = {"bucket": bucket, "version_id": version, "new": bool(version)}
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    elif bucket is None:
        console.print("Not published: give --bucket.")
    else:
        show_published(bucket, version)


def show_published(bucket: str, version: str | None) -> None:
    """Print what has become of the watch file; no version where it was live already."""
    if version is None:
        console.print("This watch file is already live.")
        return
    console.print(f"Published [bold]s3://{escape(bucket)}/{WATCH_KEY}[/bold]")
    console.print(f"  VersionId  {version}")
    console.print("The watcher reads it within five minutes.")
