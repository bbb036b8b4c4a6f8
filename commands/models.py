"""`publish`, `models`, `rollback`: the models in the bucket, and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Bucket, EndpointUrl, console
from ops_anomaly.aws.objects import check_name


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, as train wrote it.")],
    bucket: Bucket,
    candidate: Annotated[
        str | None,
        typer.Option(help="Publish this kind instead of the winner: value-forest, ..."),
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a run's winner the live model, unless somebody else has just published."""
    from training.publishing import publish_run, s3_client
    from training.run import read_run

    run = read_run(folder)
    publish_run(s3_client(endpoint_url), bucket, run, candidate, console)
    console.print("Warm functions serve it within their MODEL_TTL_SECONDS. To undo:")
    console.print(f"  ops-anomaly rollback {run.record['name']} --to VERSION_ID")


def models(bucket: Bucket, endpoint_url: EndpointUrl = None) -> None:
    """List every version of every model, with figures; * is live."""
    from training.publishing import list_models, s3_client, versions_table

    s3 = s3_client(endpoint_url)
    names = list_models(s3, bucket)
    for name in names:
        console.print(versions_table(s3, bucket, name))
    if not names:
        console.print(f"Bucket {bucket} has no models yet. Next: ops-anomaly train")


def rollback(
    name: Annotated[str, typer.Argument(help="The model.")],
    to: Annotated[str, typer.Option(help="VersionId, as models lists it.")],
    bucket: Bucket,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make an older version live again; no version is lost."""
    from training.publishing import describe, roll_back, s3_client

    live = roll_back(s3_client(endpoint_url), bucket, check_name(name), to)
    console.print(f"{name} is back at version {to}: {describe(live)}")
    console.print(f"  new VersionId  {live.version_id}")
    console.print("Warm functions serve it within their MODEL_TTL_SECONDS.")
