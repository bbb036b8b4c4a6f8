"""The command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry.errors import InvalidMetricError
from registry.keys import check_name
from registry.metric import EXAMPLE, Metric
from training.commands.options import console
from training.sources.exclusion import TimeRange, parse_range
from training.sources.exclusion import exclude as exclude_ranges
from training.sources.nab import SEED_FILE
from training.sources.obtain import SourceOptions, obtain_series


def parse_metric(text: str) -> Metric:
    """Read --cloudwatch."""
    try:
        return Metric.parse(text)
    except InvalidMetricError as error:
        raise typer.BadParameter(str(error)) from error


def train(
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
    ] = SEED_FILE,
    csv: Annotated[
        Path | None, typer.Option(help="A series of your own: columns timestamp and value.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="With --csv: JSON list of anomalies: times, or pairs of first and last."),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Take a simulated EC2 CPU series.")
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
        int, typer.Option(min=1, max=455, help="From CloudWatch: so many days up to now.")
    ] = 14,
    exclude: Annotated[
        list[TimeRange] | None,
        typer.Option(
            parser=parse_range,
            metavar="FROM TO",
            help="Keep a past incident out of training, such as 2026-03-01T08:00 "
            "2026-03-01T09:30 (UTC); may be given again.",
        ),
    ] = None,
    train_share: Annotated[
        float, typer.Option(min=0.1, max=0.9, help="First part, fitted on; the rest judges.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of random numbers.")] = 42,
) -> None:
    """Fit the candidates, compare them, write artifacts and report.

    The series is your own with --csv or --cloudwatch, else NAB's (from --nab-root, the cache or a
    download); where NAB can't be had, one is simulated.
    """
    if watch is not None:
        if csv or labels or simulated or cloudwatch or exclude or out:
            raise typer.BadParameter(
                "it names series, models and folders: leave --csv, --labels, --simulated, "
                "--cloudwatch, --exclude and --out",
                param_hint="--watch",
            )
        train_all(watch, days, train_share, seed)
        return
    folder = out or Path("runs") / check_name(name)
    options = SourceOptions(csv, labels, nab_root, nab_file, simulated, cloudwatch, days)
    series = exclude_ranges(obtain_series(options, console), exclude or ())

    from training.job import Settings
    from training.train_run import train_run

    train_run(series, Settings(check_name(name), train_share, seed), folder, console)
    console.print(f"Next: python -m training publish {folder} --bucket BUCKET")


def train_all(path: Path, days: int, train_share: float, seed: int) -> None:
    """Train every model that a watch file names, and say what comes next."""
    from training.fleet.read import read_watch_file
    from training.fleet.train import train_watched
    from training.sources.cloudwatch import cloudwatch_client

    watch_file = read_watch_file(path)
    folders = train_watched(watch_file, cloudwatch_client(), days, train_share, seed, console)
    console.rule(align="left")
    for folder in folders:
        console.print(f"Next: python -m training publish {folder} --bucket BUCKET")
    console.print(f"Then: python -m training watch {path} --bucket BUCKET")
