"""Train models, publish the winner, list versions, roll back; publish a watch file; check a stack.

First: train, open runs/ec2-cpu/report.html, publish runs/ec2-cpu --bucket B.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ops_anomaly.aws.cloudwatch import EXAMPLE, Metric
from ops_anomaly.aws.errors import InvalidMetricError, InvalidModelNameError
from ops_anomaly.aws.objects import WATCH_KEY, check_name
from training import TrainingError
from training.candidates import MAX_EPOCHS
from training.sources import SourceOptions, obtain_series
from training.sources.files import BASELINE_FILE
from training.sources.series import TimeRange, exclude, parse_range

console = Console()

Bucket = Annotated[str, typer.Option(envvar="MODEL_BUCKET", help="The stack's versioned bucket.")]
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


def train_command(
    name: Annotated[str, typer.Option(help="The model's name in bucket and API.")] = "ec2-cpu",
    out: Annotated[
        Path | None,
        typer.Option(help=r"Folder of the run.  \[default: runs/NAME]", show_default=False),
    ] = None,
    nab_root: Annotated[
        Path | None,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ] = None,
    nab_file: Annotated[
        str, typer.Option(help="The series: a path below NAB's data/.")
    ] = BASELINE_FILE,
    csv: Annotated[
        Path | None, typer.Option(help="A series of your own: columns timestamp and value.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="With --csv: JSON list of anomalies: times, or pairs of first and last."),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Use a simulated EC2 CPU series.")
    ] = False,
    cloudwatch: Annotated[
        Metric | None,
        typer.Option(parser=parse_metric, metavar="METRIC", help=f"A metric, as {EXAMPLE!r}."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="A watch file: train each model that it names, into runs/MODEL."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=455, help="From CloudWatch: the last so many days.")
    ] = 14,
    excluded: Annotated[
        list[TimeRange] | None,
        typer.Option(
            "--exclude",
            parser=parse_range,
            metavar="FROM TO",
            help="Keep a past incident out of training, such as 2026-03-01T08:00 "
            "2026-03-01T09:30 (UTC); repeatable.",
        ),
    ] = None,
    train_share: Annotated[
        float,
        typer.Option(
            min=0.1, max=0.9, help="Share of the training part; the rest is the test part."
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 42,
    epochs: Annotated[
        int, typer.Option(min=1, help="At most, of models that are trained by epochs.")
    ] = MAX_EPOCHS,
) -> None:
    """Fit the candidates, compare them, write artifacts and report.

    The series is your own with --csv or --cloudwatch, else NAB's (from --nab-root, the cache or a
    download); where NAB can't be had, one is simulated.
    """
    if watch is not None:
        if csv or labels or simulated or cloudwatch or excluded or out:
            raise typer.BadParameter(
                "it names series, models and folders: leave out --csv, --labels, --simulated, "
                "--cloudwatch, --exclude and --out",
                param_hint="--watch",
            )
        train_all(watch, days, train_share, seed, epochs)
        return
    folder = out or Path("runs") / check_name(name)
    options = SourceOptions(csv, labels, nab_root, nab_file, simulated, cloudwatch, days)
    series = exclude(obtain_series(options, console), excluded or ())
    console.print("Loading the libraries ...", style="dim")

    from training.job import train_run
    from training.run import Settings

    train_run(series, Settings(check_name(name), train_share, seed, epochs), folder, console)
    console.print(f"Next: ops-anomaly publish {folder} --bucket BUCKET")


def train_all(path: Path, days: int, train_share: float, seed: int, epochs: int) -> None:
    """Train every model that a watch file names, and print the next commands."""
    from training.fleet import read_watch_file
    from training.job import train_watched
    from training.run import Settings
    from training.sources.cloudwatch import cloudwatch_client

    watch_file = read_watch_file(path)
    settings = Settings("", train_share, seed, epochs)
    folders = train_watched(watch_file, cloudwatch_client(), days, settings, console)
    console.rule(align="left")
    for folder in folders:
        console.print(f"Next: ops-anomaly publish {folder} --bucket BUCKET")
    console.print(f"Then: ops-anomaly watch {path} --bucket BUCKET")


def publish_command(
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


def watch(
    file: Annotated[Path, typer.Argument(help="The watch file, in YAML.")],
    bucket: Annotated[str | None, typer.Option(help="Publish it into the stack's bucket.")] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Check a watch file, show what it matches and costs, and publish it with --bucket."""
    from training.fleet import read_watch_file, resolve_watch_file, show_fleet
    from training.publishing import fixed_models, publish_watch_file, s3_client
    from training.sources.cloudwatch import cloudwatch_client

    watch_file = read_watch_file(file)
    fleet = resolve_watch_file(cloudwatch_client(), watch_file)
    s3 = s3_client(endpoint_url) if bucket else None
    fixed = fixed_models(s3, bucket, watch_file) if bucket else None
    show_fleet(watch_file, fleet, fixed, console)
    if bucket is None:
        console.print("Not published: give --bucket.")
        return
    version = publish_watch_file(s3, bucket, watch_file)
    if version is None:
        console.print("This watch file is already live.")
        return
    console.print(f"Published [bold]s3://{escape(bucket)}/{WATCH_KEY}[/bold]")
    console.print(f"  VersionId  {version}")
    console.print("The watcher reads it within five minutes.")


def smoke_command(
    stack: Annotated[str, typer.Option(help="Name of the deployed stack.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Use each part of a deployed stack once, and say what to do about what fails; 1 if any does.

    It sends a test alert and a test alarm: whoever has subscribed gets them, marked as tests.
    """
    from training.smoke import default_client, outcomes_json, print_outcome, smoke

    outcomes = []
    for outcome in smoke(stack, default_client):
        outcomes.append(outcome)
        if not as_json:
            print_outcome(outcome, console)
    if as_json:
        typer.echo(outcomes_json(stack, outcomes))
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
app.command("train")(train_command)
app.command("publish")(publish_command)
for command in (models, rollback, watch):
    app.command()(command)
app.command("smoke")(smoke_command)


def command_line() -> Any:
    """Return the command line; typer can't declare a repeated option of two values, click can."""
    group: Any = typer.main.get_command(app)
    for option in group.commands["train"].params:
        if option.name == "excluded":
            option.nargs = 2
    return group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; an error is one message, not a traceback.

    Parameters
    ----------
    arguments
        Those of the process by default.

    Returns
    -------
    int
        The exit status of an error; success, and what click reports, is a `SystemExit`.
    """
    try:
        command_line()(arguments, prog_name="ops-anomaly")
    except (TrainingError, InvalidModelNameError) as error:
        # what a message quotes must not be taken for markup
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
