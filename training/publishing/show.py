"""What the commands on the bucket show."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from registry.keys import model_key
from training.candidates.names import NAMES, NOTHING
from training.publishing.publish import check_bucket, publish
from training.publishing.versions import Version, list_versions, read_version
from training.run_folder import StoredRun


def publish_run(
    s3: Any, bucket: str, run: StoredRun, kind: str | None, console: Console
) -> Version:
    """Publish a run's winner (or the candidate asked for), beside what is live now."""
    name, kind = run.record["name"], kind or run.winner
    check_bucket(s3, bucket)
    champion = read_version(s3, bucket, name)
    if champion:
        console.print(f"Live until now: {describe(champion)}")
    live = publish(s3, bucket, name, run, kind, champion)
    console.print(f"Published [bold]s3://{escape(bucket)}/{model_key(name)}[/bold]")
    console.print(f"  model      {describe(live)}")
    console.print(f"  VersionId  {live.version_id}")
    console.print(f"  SHA-256    {live.digest}")
    return live


def describe(version: Version) -> str:
    """Say in a few words what a version is."""
    manifest = version.manifest
    if manifest is None:
        return "unreadable artifact"
    f1 = manifest.figures.get("f1")
    kind = NAMES.get(manifest.kind, manifest.kind)
    figure = NOTHING if f1 is None else f"{f1:.2f}"
    return f"{kind}, trained {version.created or 'at a time unknown'}, F1 {figure}"


def versions_table(s3: Any, bucket: str, name: str) -> Table:
    """Return a table of every version of a model, newest first; it fits 80 columns."""
    live = read_version(s3, bucket, name)
    table = Table(
        title=f"[bold]{name}[/bold] (* is live)",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("", "VersionId", "published", "kind", "F1", "false/day"):
        table.add_column(column, no_wrap=True)
    for version in list_versions(s3, bucket, name):
        manifest = version.manifest
        figures = manifest.figures if manifest else {}
        shares = (figures.get("f1"), figures.get("false_alarms_a_day"))
        table.add_row(
            "*" if live and version.version_id == live.version_id else "",
            version.version_id,
            f"{version.published:%Y-%m-%d %H:%M}",
            NAMES.get(manifest.kind, manifest.kind) if manifest else "unreadable",
            *(NOTHING if share is None else f"{share:.2f}" for share in shares),
        )
    return table
