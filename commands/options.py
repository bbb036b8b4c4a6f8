"""What several commands share: the console, options, and commands to copy."""

from __future__ import annotations

import shlex
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


def command(action: str, name: str, bucket: str, endpoint_url: str | None, *options: str) -> str:
    """Return a command to copy: with the bucket and endpoint of this one."""
    elsewhere = ("--endpoint-url", endpoint_url) if endpoint_url else ()
    words = ("ops-anomaly", action, name, *options, "--bucket", bucket, *elsewhere)
    return shlex.join(words)
