"""Commands on the bucket's models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.keys import check_name
from training.commands.options import Bucket, EndpointUrl, console


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, as train wrote it.")],
    bucket: Bucket,
    candidate: Annotated[
        str | None,
        typer.Option(help="Publish this kind instead of the winner: value-forest, ..."),
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a run's winner the live model, unless somebody else publishes meanwhile."""
    from training.publishing.s3 import s3_client
    from training.publishing.show import publish_run
    from training.run_folder import read_run

    run = read_run(folder)
    publish_run(s3_client(endpoint_url), bucket, run, candidate, console)
    console.print("Warm functions serve it within their MODEL_TTL_SECONDS. To undo:")
    console.print(f"  python -m training rollback {run.record['name']} --to VERSION_ID")


def models(bucket: Bucket, endpoint_url: EndpointUrl = None) -> None:
    """List every model and version, with figures, and which is live."""
    from training.publishing.s3 import s3_client
    from training.publishing.show import versions_table
    from training.publishing.versions import list_models

    s3 = s3_client(endpoint_url)
    names = list_models(s3, bucket)
    for name in names:
        console.print(versions_table(s3, bucket, name))
    if not names:
        console.print(f"Bucket {bucket} holds no model yet. Next: python -m training train")


def rollback(
    name: Annotated[str, typer.Argument(help="The model.")],
    to: Annotated[str, typer.Option(help="VersionId, as models lists it.")],
    bucket: Bucket,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make an older version live again; every version stays."""
    from training.publishing.publish import roll_back
    from training.publishing.s3 import s3_client
    from training.publishing.show import describe

    live = roll_back(s3_client(endpoint_url), bucket, check_name(name), to)
    console.print(f"{name} is version {to} again: {describe(live)}")
    console.print(f"  its new VersionId  {live.version_id}")
    console.print("Warm functions serve it within their MODEL_TTL_SECONDS.")
