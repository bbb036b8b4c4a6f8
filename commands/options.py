"""What several commands share: the console, options, and commands to copy."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from commands import CommandError
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidMetricError
from ops_anomaly.aws.objects import check_name
from ops_anomaly.watcher.watch_file import PER_METRIC

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


def command(
    action: str, name: str | None, bucket: str, endpoint_url: str | None, *options: str
) -> str:
    """Return a command to copy: with the bucket and endpoint of this one."""
    elsewhere = ("--endpoint-url", endpoint_url) if endpoint_url else ()
    named = (name,) if name else ()
    words = ("ops-anomaly", action, *named, *options, "--bucket", bucket, *elsewhere)
    return shlex.join(words)


def check_model_name(name: str) -> str:
    """Return the name of a model to train or publish.

    Raises
    ------
    InvalidModelNameError
        If no model has such a name.
    CommandError
        If a watch file means something else by it.
    """
    if name == PER_METRIC:
        raise CommandError(
            f"{name!r} can't be the name of a model: in a watch file it means a model a metric. "
            "Train it under another --name"
        )
    return check_name(name)
