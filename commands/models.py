"""`publish`, `models`, `rollback`: the models in the bucket, and their versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from commands.options import AsJson, Bucket, EndpointUrl, command, console
from ops_anomaly.aws.objects import check_name
from ops_anomaly.detection.formatting import duration

if TYPE_CHECKING:
    from training.versions import History, Version

LAST = 10
"""Versions of each model that are listed where no model is named."""

Expect = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="Refuse unless this version is live: its VersionId, or how it begins; or none.",
    ),
]


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, as train wrote it.")],
    bucket: Bucket,
    candidate: Annotated[
        str | None,
        typer.Option(help="Publish this kind instead of the winner: value-forest, ..."),
    ] = None,
    expect: Expect = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a run's winner the live model, and say how to undo it.

    If two people publish at the same time, one is refused: whoever writes second after both have
    read which version is live, a second or two before. To protect the version that you compared
    with for longer, name it with --expect.
    """
    from training.publishing import publish_run
    from training.run import read_run
    from training.versions import s3_client

    run = read_run(folder)
    former, live = publish_run(
        s3_client(endpoint_url), bucket, run, console, kind=candidate, expect=expect
    )
    show_undo(run.record["name"], former, live, bucket, endpoint_url)


def models(
    bucket: Bucket,
    name: Annotated[
        str | None,
        typer.Argument(help=f"List every version of this model; else the last {LAST} of each."),
    ] = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """List models and their versions, and which ones are live."""
    from training.versions import list_models, read_histories, s3_client

    s3 = s3_client(endpoint_url)
    names = [check_name(name)] if name else list_models(s3, bucket)
    histories = read_histories(s3, bucket, names, None if name else LAST)
    if as_json:
        records = [history.record() for history in histories]
        typer.echo(json.dumps({"bucket": bucket, "models": records}, indent=2, ensure_ascii=False))
        return
    for history in histories:
        show_model(history, more=command("models", history.name, bucket, endpoint_url))
    if names:
        console.print(NOTE, style="dim", highlight=False)
    else:
        console.print(f"Bucket {bucket} has no models yet. Next: ops-anomaly train")


NOTE = (
    "* is live. age: since it was published. score: F1 of labelled incidents; without labels, the "
    "share of injected faults that was found."
)


def show_model(history: History, more: str) -> None:
    """Print a model's versions, and what the live one is.

    Parameters
    ----------
    more
        The command that lists the older ones too.
    """
    from training.console import print_table

    console.print(history.name, style="bold", highlight=False)
    if history.live:
        show_training(history.live)
    else:
        console.print("  not live, as it was deleted; a rollback brings it back", style="yellow")
    print_table(versions_table(history), console)
    if history.older:
        console.print(f"  and {history.older:,} older: {more}", highlight=False, soft_wrap=True)
    console.print()


def show_training(live: Version) -> None:
    """Print what the live version was trained on, and whether that is long ago."""
    from training.console import age
    from training.fleet import is_old
    from training.versions import describe_training, since_training

    console.print(f"  trained {since_training(live)} on {describe_training(live)}", highlight=False)
    if origin := live.training_data.get("origin"):
        console.print(f"  {origin}", style="dim", highlight=False, markup=False, soft_wrap=True)
    if (until := live.trained_until) and is_old(until):
        console.print(
            f"  its data ended {age(until)} ago: train it again", style="yellow", highlight=False
        )


def versions_table(history: History) -> Table:
    """Return a row a version, newest first: 80 columns wide at most."""
    from training.console import NOTHING, age
    from training.versions import kind_of

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    for column in ("VersionId", "age", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("readings", "score"):
        table.add_column(column, no_wrap=True, justify="right")
    for version in history.versions:
        readings = version.training_data.get("readings")
        table.add_row(
            "*" if version == history.live else "",
            version.version_id,
            age(version.published),
            kind_of(version),
            f"{readings:,}" if readings else NOTHING,
            version.score or NOTHING,
            style="bold" if version == history.live else None,
        )
    return table


def rollback(
    name: Annotated[str, typer.Argument(help="The model.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="VERSION", help="Its VersionId, as models lists it, or how it begins."
        ),
    ],
    bucket: Bucket,
    expect: Expect = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make an older version live again; no version is lost.

    It becomes a new version with a VersionId of its own, so that a rollback can be undone too.
    Of two people who publish or roll back at the same time, one is refused, as by publish.
    """
    from training.publishing import roll_back
    from training.versions import describe, s3_client

    former, live = roll_back(s3_client(endpoint_url), bucket, check_name(name), to, expect)
    if former:
        console.print(f"Live until now: {describe(former)}", highlight=False)
    console.print(f"Live again: {describe(live)}", highlight=False)
    console.print(f"  new VersionId  {live.version_id}", highlight=False)
    show_undo(name, former, live, bucket, endpoint_url)


def show_undo(
    name: str, former: Version | None, live: Version, bucket: str, endpoint_url: str | None
) -> None:
    """Print when a version is served, and the very command that makes the former one live again."""
    if former and former.step_ms and live.step_ms and former.step_ms != live.step_ms:
        console.print(
            f"It was trained on readings of {duration(live.step_ms)}, the former one of "
            f"{duration(former.step_ms)}: metrics of another period need a model of another name.",
            style="yellow",
        )
    console.print("Warm functions serve it within ModelTtlSeconds of the stack, 300 by default.")
    if former is None:
        console.print(f"Nothing was live as {name} before, so there is nothing to go back to.")
        return
    versions = ("--to", former.version_id, "--expect", live.version_id)
    undo = command("rollback", name, bucket, endpoint_url, *versions)
    console.print(f"To undo:\n  {undo}", highlight=False, markup=False, soft_wrap=True)
