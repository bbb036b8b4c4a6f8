"""`publish`, `models`, `rollback`, `runs`: the models in the bucket, their versions and runs."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from commands import CommandError
from commands.options import (
    AsJson,
    Bucket,
    EndpointUrl,
    check_model_name,
    command,
    console,
)
from ops_anomaly.aws.objects import check_name
from ops_anomaly.detection.formatting import duration
from ops_anomaly.watcher.watch_file import ENTRY_CHARACTERS
from training.fleet import entry_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from training.retraining.documents import Status
    from training.retraining.runs import KnownRun, Unpublished
    from training.versions import History, ListedModel, Version

LAST = 10
"""Versions of each model that are listed where no model is named; and runs."""

MAX_SHOWN = 20
"""Models of which the versions are listed; of more there is a line an entry, and so many lines."""

CENT = 0.01

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
    check_model_name(run.record["name"])
    former, live = publish_run(
        s3_client(endpoint_url), bucket, run, console, kind=candidate, expect=expect
    )
    show_undo(run.record["name"], former, live, bucket, endpoint_url)


def models(
    bucket: Bucket,
    name: Annotated[
        str | None,
        typer.Argument(
            help=f"List every version of this model, or the last {LAST} of those that begin so."
        ),
    ] = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """List models and their versions, and which ones are live.

    Of more than 20, there is a line for the models of each entry.
    """
    from training.retraining.runs import unpublished_since
    from training.versions import list_live, object_versions, read_histories, s3_client

    s3 = s3_client(endpoint_url)
    is_one = name is not None and bool(object_versions(s3, bucket, check_name(name)))
    listed = [] if is_one else list_live(s3, bucket, own_prefix(name or ""))
    if len(listed) > MAX_SHOWN:
        show_listed(s3, bucket, listed, endpoint_url, as_json=as_json)
        return
    if name and not is_one and not listed:
        since = unpublished_since(s3, bucket, name, None)
        if since:
            show_without_model(name, since, bucket, as_json=as_json)
            return
    # a name that no model has, nor begins with, is an error that lists those that there are
    names = [each.name for each in listed] or ([name] if name else [])
    histories = read_histories(s3, bucket, names, None if is_one else LAST)
    if as_json:
        records = [
            history.record() | {"not_published": since and since.record()}
            for history in histories
            for since in [unpublished_since(s3, bucket, history.name, live_since(history))]
        ]
        print_json({"bucket": bucket, "models": records})
        return
    for history in histories:
        show_model(history, more=command("models", history.name, bucket, endpoint_url))
        show_runs(s3, bucket, history)
        console.print()
    if names:
        console.print(NOTE, style="dim", highlight=False)
    else:
        fleet = command("train", None, bucket, endpoint_url, "--watch", "FILE")
        console.print(
            f"Bucket {bucket} has no models yet. Next: ops-anomaly train, or of a fleet\n  {fleet}",
            highlight=False,
            soft_wrap=True,
        )


def own_prefix(name: str) -> str:
    """Return how the models of an entry begin, where `name` is that of an entry that is longer."""
    return name if len(name) <= ENTRY_CHARACTERS or entry_of(name) else name[:ENTRY_CHARACTERS]


def live_since(history: History) -> datetime | None:
    """Return when the live version of a model was published; None where there is none."""
    return history.live.published if history.live else None


def show_without_model(name: str, since: Unpublished, bucket: str, *, as_json: bool) -> None:
    """Print why a metric has no model of its own yet."""
    from training.versions import History

    if as_json:
        record = History(name, None, (), 0).record() | {"not_published": since.record()}
        print_json({"bucket": bucket, "models": [record]})
        return
    console.print(name, style="bold", highlight=False)
    console.print("  no model has been published yet", highlight=False)
    console.print(f"  {since.outcome.metric}", style="dim", highlight=False, markup=False)
    show_unpublished(since, bucket)


def print_json(record: Mapping[str, object]) -> None:
    """Print a record as JSON."""
    typer.echo(json.dumps(record, indent=2, ensure_ascii=False))


def show_listed(
    s3: Any, bucket: str, listed: Sequence[ListedModel], endpoint_url: str | None, *, as_json: bool
) -> None:
    """Print many models: those of an entry in one line, and what the last run came to."""
    from training.console import print_table
    from training.retraining.runs import list_runs

    if as_json:
        records = [
            {"name": each.name, "published": each.published.astimezone(UTC).isoformat()}
            for each in listed
        ]
        print_json({"bucket": bucket, "models": records})
        return
    print_table(listed_table(listed), console)
    for run in list_runs(s3, bucket, 1):
        console.print(f"Last run: {run.run} {run_in_words(run)}", highlight=False)
    console.print(
        "Versions of one model, or of all that begin so:\n  "
        + command("models", listed[0].name, bucket, endpoint_url),
        highlight=False,
        soft_wrap=True,
    )


def listed_table(listed: Sequence[ListedModel]) -> Table:
    """Return a row an entry, and one for each other model: 80 columns wide at most."""
    from training.console import age, new_table
    from training.versions import by_entry

    groups = sorted(by_entry(listed).items(), key=lambda group: -len(group[1]))
    table = new_table(f"{len(listed):,} models", None, "model", "live", "newest", "oldest")
    for name, members in groups[:MAX_SHOWN]:
        times = [each.published for each in members]
        table.add_row(name, f"{len(members):,}", age(max(times)), age(min(times)))
    if others := groups[MAX_SHOWN:]:
        count = sum(len(members) for _, members in others)
        table.add_row(f"others, of {len(others):,} names", f"{count:,}", "", "")
    return table


def run_in_words(run: KnownRun) -> str:
    """Return what started a run, and what it came to."""
    from training.console import counted
    from training.retraining.page import counts_in_words
    from training.retraining.runs import by

    if run.damage:
        return f"damaged: {run.damage}"
    if run.summary:
        return f"({by(run.plan)}): {counts_in_words(run.summary)}"
    planned = f", {counted(run.plan.metrics, 'metric')} planned" if run.plan else ""
    return f"({by(run.plan)}): not finished{planned}"


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


def show_runs(s3: Any, bucket: str, history: History) -> None:
    """Print which run trained the live version, and why a later one did not publish its model."""
    from training.retraining.runs import run_of, unpublished_since

    if history.live and (run := run_of(s3, bucket, history.live)):
        console.print(f"  run {run}", highlight=False)
    since = unpublished_since(s3, bucket, history.name, live_since(history))
    if since:
        show_unpublished(since, bucket)


def show_unpublished(since: Unpublished, bucket: str) -> None:
    """Print why a run did not publish a model, and what to do about it."""
    from training.console import age
    from training.retraining.reasons import UNPUBLISHED, command_for, reason_of

    outcome = since.outcome
    what = f"{outcome.status} {age(since.time)} ago by run {since.run}"
    console.print(f"  {what}: {outcome.reason}", style="yellow", highlight=False, markup=False)
    if outcome.status in UNPUBLISHED:
        console.print(f"  {reason_of(outcome).to_do}", highlight=False, markup=False)
    if outcome.metric and (what_to_type := command_for(outcome, bucket)):
        console.print(f"    {what_to_type}", highlight=False, markup=False, soft_wrap=True)


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


HOLD = (
    "The next retraining publishes again if what it trains is no worse than this version. To hold "
    "it, give the metric an entry of its own in the watch file, under metrics, with model: {name}, "
    "and publish the file: ops-anomaly watch FILE --bucket {bucket}"
)
"""What is said of the model of a metric that is trained again every night."""


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
    if entry_of(name):
        console.print(HOLD.format(name=name, bucket=bucket), highlight=False)


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


def runs(
    bucket: Bucket,
    run: Annotated[
        str | None,
        typer.Argument(help=f"Save the report of this run; else list the last {LAST}."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to.  [default: retraining-RUN.html]", show_default=False),
    ] = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the retrainings of a fleet, or save the report of one."""
    from training.console import print_table
    from training.retraining.runs import list_runs, read_page, read_run
    from training.versions import s3_client

    s3 = s3_client(endpoint_url)
    if run is None:
        found = list_runs(s3, bucket, LAST)
        if as_json:
            print_json({"bucket": bucket, "runs": [each.record() for each in found]})
        elif found:
            print_table(runs_table(found), console)
            last = next((each.run for each in found if each.summary), found[0].run)
            report = command("runs", last, bucket, endpoint_url)
            console.print(f"The report of one: {report}", highlight=False, soft_wrap=True)
        else:
            first = command("train", None, bucket, endpoint_url, "--watch", "FILE")
            console.print(
                f"Bucket {bucket} has no runs yet. Next:\n  {first}",
                highlight=False,
                soft_wrap=True,
            )
        return
    page, known = read_page(s3, bucket, run), read_run(s3, bucket, run)
    path = out or Path(f"retraining-{run}.html")
    try:
        path.write_bytes(page)
    except OSError as error:
        raise CommandError(
            f"{path} can't be written: {error.strerror}; give another --out"
        ) from error
    if as_json:
        print_json({"bucket": bucket, "report": str(path), **known.record()})
        return
    console.print(f"{known.run} {run_in_words(known)}", highlight=False)
    console.print(f"Report: {path}", highlight=False, markup=False, soft_wrap=True)


def runs_table(runs: Sequence[KnownRun]) -> Table:
    """Return a row a run, newest first: 80 columns wide at most."""
    from training.console import NOTHING, new_table
    from training.fleet import dollars
    from training.retraining.runs import by

    counts: tuple[Status, ...] = ("published", "kept", "refused", "failed")
    notes = {
        "open: not finished, or cut off.": any(
            not each.summary and not each.damage for each in runs
        ),
        "damaged: can't be read; begin a new run.": any(each.damage for each in runs),
    }
    note = " ".join(text for text, is_needed in notes.items() if is_needed)
    table = new_table("Runs", note or None, "run", "by", *counts, "missing", "took", "cost")
    table.box = None  # so that the widest fits
    table.columns[0].no_wrap = True
    for run in runs:
        summary = run.summary
        if summary is None:
            state = "damaged" if run.damage else "open"
            starter = NOTHING if run.damage else by(run.plan)
            table.add_row(run.run, starter, *5 * [NOTHING], state, NOTHING)
            continue
        cost = summary.cost.total
        table.add_row(
            run.run,
            by(run.plan),
            *(f"{summary.counts[status]:,}" for status in counts),
            f"{summary.missing:,}",
            duration(summary.finished - summary.started),
            dollars(cost) if cost >= CENT else "<1¢",
        )
    return table
