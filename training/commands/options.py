"""What several commands share."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

console = Console()

Bucket = Annotated[str, typer.Option(envvar="MODEL_BUCKET", help="The stack's versioned bucket.")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(envvar="AWS_ENDPOINT_URL", help="S3 elsewhere than AWS: the laptop's bucket."),
]
