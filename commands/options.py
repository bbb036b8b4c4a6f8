"""What several commands share: the console, and options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidMetricError

console = Console(soft_wrap=not sys.stdout.isatty())
"""In a pipe lines are as long as they are."""

Bucket = Annotated[str, typer.Option(envvar="MODEL_BUCKET", help="The stack's versioned bucket.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(envvar="AWS_ENDPOINT_URL", help="S3 elsewhere than AWS: the laptop's bucket."),
]


def parse_metric(text: str) -> Metric:
    """Read --cloudwatch."""
    try:
        return Metric.parse(text)
    except InvalidMetricError as error:
        raise typer.BadParameter(str(error)) from error
