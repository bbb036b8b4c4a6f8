"""`train`: fit the candidates on a series, or on one for each model of a watch file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console

from commands import CommandError
from commands.options import EndpointUrl, command, console, parse_metric
from commands.reading import (
    DayFirst,
    DecimalComma,
    SeriesName,
    TimeColumn,
    Timezone,
    ValueColumn,
)
from ops_anomaly.aws.cloudwatch import EXAMPLE, Metric
from ops_anomaly.aws.objects import check_name
from ops_anomaly.watcher.watch_file import PER_METRIC
from training.alerts import RealIncidents, exclude_real, incidents_of_file, read_feedback
from training.candidates import KINDS, MAX_EPOCHS
from training.run import Settings, check_target, read_run
from training.sources import SourceOptions, obtain_series
from training.sources.columns import time_zone
from training.sources.files import DEFAULTS, ReadOptions
from training.sources.nab import BASELINE_FILE
from training.sources.series import exclude, parse_range

if TYPE_CHECKING:
    from ops_anomaly.watcher.watch_file import WatchFile

DAYS = 14

INTERRUPTED = 130
"""Exit status, as shells have it."""


def parse_kind(text: str) -> str:
    """Read --candidate."""
    if text not in KINDS:
        raise typer.BadParameter(f"unknown kind of model {text!r}; there are {', '.join(KINDS)}")
    return text


class Excluded(NamedTuple):
    """First and last time of an incident as they are written: --timezone may come after them."""

    first: str
    last: str


def parse_excluded(texts: Iterable[str]) -> Excluded:
    """Read --exclude."""
    return Excluded(*texts)


def default_name(csv: Path | None) -> str:
    """Return the name of a model of a file, or of the series that is taken without one."""
    from replay.reading import entry_name

    return entry_name(csv.stem) if csv else "ec2-cpu"


def train(
    name: Annotated[
        str | None,
        typer.Option(
            help="The model's name in bucket and API.  [default: of --csv's file, else ec2-cpu]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.  [default: runs/NAME]", show_default=False),
    ] = None,
    nab_root: Annotated[
        Path | None,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ] = None,
    nab_file: Annotated[
        str, typer.Option(help="The series: a path below NAB's data/.")
    ] = BASELINE_FILE,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="A series of your own: an export of CloudWatch, Prometheus or Grafana, or any "
            "CSV, JSON or Parquet file of times and values."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="With --csv: JSON list of anomalies: times, or pairs of first and last; in UTC, "
            "or --timezone where that is given."
        ),
    ] = None,
    time_column: TimeColumn = None,
    value_column: ValueColumn = None,
    series_name: SeriesName = None,
    timezone: Timezone = None,
    day_first: DayFirst = None,
    decimal_comma: DecimalComma = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Use a simulated EC2 CPU series.")
    ] = False,
    cloudwatch: Annotated[
        Metric | None,
        typer.Option(parser=parse_metric, metavar="METRIC", help=f"A metric, as {EXAMPLE!r}."),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            help="A watch file: train each model that it names, into runs/MODEL, and one for each "
            "metric of entries with `model: per-metric`."
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            help="With --watch, a model a metric: publish each that is no worse than the live one."
        ),
    ] = None,
    endpoint_url: EndpointUrl = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="With --watch, a model a metric: so many processes.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --watch, a model a metric: the scheduler of a Dask cluster, such as "
            "tcp://10.0.0.5:8786, instead of processes.",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="With --watch: continue a run that was cut off."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=455,
            help="From CloudWatch: the last so many days.  [default: 14; the entry's history_days "
            "where it has a model a metric]",
            show_default=False,
        ),
    ] = None,
    excluded: Annotated[
        list[Excluded] | None,
        typer.Option(
            "--exclude",
            parser=parse_excluded,
            metavar="FROM TO",
            help="Keep a past incident out of training, such as 2026-03-01T08:00 "
            "2026-03-01T09:30; in UTC, or --timezone where that is given. Repeatable.",
        ),
    ] = None,
    feedback: Annotated[
        Path | None,
        typer.Option(
            help="Marks saved from a replay's page, or those of a stack: incidents that were real "
            "are kept out of training."
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
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidate",
            parser=parse_kind,
            metavar="KIND",
            help=f"Fit this kind of model only, of {', '.join(KINDS)}; repeatable.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print alerts and figures as JSON; progress goes to stderr."),
    ] = False,
) -> None:
    """Fit the candidates, and report the winner and its alerts.

    The series is your own with --csv or --cloudwatch, else NAB's (from --nab-root, the cache or a
    download); where NAB can't be had, one is simulated. Artifacts and report are written into the
    folder of the run.
    """
    output = Console(stderr=True) if as_json else console
    reading = ReadOptions(
        time_column, value_column, series_name, timezone, day_first, decimal_comma
    )
    kinds = tuple(kind for kind in KINDS if kind in (candidates or KINDS))
    real = read_feedback(feedback) if feedback else None
    if watch is not None:
        if csv or labels or simulated or cloudwatch or excluded or out or reading != DEFAULTS:
            raise typer.BadParameter(
                "it names series, models and folders: leave out --csv with its options, --labels, "
                "--simulated, --cloudwatch, --exclude and --out",
                param_hint="--watch",
            )
        settings = Settings("", train_share, seed, epochs, kinds=kinds)
        fleet = FleetOptions(
            bucket, endpoint_url, jobs, dask, resume, feedback, is_kind_given=bool(candidates)
        )
        runs, report = train_watch_file(watch, days, settings, real, fleet, output)
        if as_json:
            record = [read_run(folder).as_json() for folder in runs]
            typer.echo(json.dumps({"runs": record, "fleet": report}, indent=2))
        if report and report["missing"]:
            raise typer.Exit(1)
        return
    if bucket or dask or resume or jobs > 1:
        raise typer.BadParameter("--bucket, --jobs, --dask and --resume go with --watch")
    name = check_name(name or default_name(csv))
    folder = out or Path("runs") / name
    check_target(folder)
    options = SourceOptions(
        csv, labels, nab_root, nab_file, simulated, cloudwatch, days or DAYS, reading
    )
    zone = time_zone(timezone or "UTC")
    ranges = [parse_range(texts, zone) for texts in excluded or ()]
    series = exclude(obtain_series(options, output), ranges)
    if real is not None:
        named = csv.stem if csv else series.name
        incidents = real.get(str(cloudwatch), ()) if cloudwatch else incidents_of_file(real, named)
        series = exclude_real(series, incidents, output)
    output.print("Loading the libraries ...", style="dim")

    from training.job import train_run

    settings = Settings(name, train_share, seed, epochs, kinds=kinds)
    run = train_run(series, settings, folder, output)
    if as_json:
        typer.echo(json.dumps(run.as_json(), indent=2))
    output.print(f"Next: ops-anomaly publish {folder} --bucket BUCKET")


@dataclass(frozen=True)
class FleetOptions:
    """Options of a run over the metrics that have a model each."""

    bucket: str | None
    endpoint_url: str | None
    jobs: int
    dask: str | None
    resume: str | None
    feedback: Path | None
    is_kind_given: bool


def train_watch_file(
    path: Path,
    days: int | None,
    settings: Settings,
    real: RealIncidents | None,
    options: FleetOptions,
    output: Console,
) -> tuple[list[Path], dict[str, Any] | None]:
    """Train all that a watch file asks for.

    Returns
    -------
    runs : list of Path
        Folders of the models that it names.
    report : dict or None
        Of the run over the metrics with a model each, as JSON has it.
    """
    from training.watch_yaml import read_watch_file

    watch_file = read_watch_file(path)
    asked = {entry.model for entry in watch_file.entries}
    has_fleet = PER_METRIC in asked or options.resume is not None
    if not has_fleet and (options.bucket or options.dask or options.jobs > 1):
        raise typer.BadParameter(
            "they are for entries with `model: per-metric`, and the watch file has none",
            param_hint="--bucket, --jobs, --dask",
        )
    runs: list[Path] = []
    if not has_fleet or (asked - {PER_METRIC, None} and options.resume is None):
        runs = train_named(watch_file, path, days or DAYS, settings, real, output)
    if not has_fleet:
        return runs, None
    return runs, train_per_metric(watch_file, path, days, settings, options, output)


def train_per_metric(
    watch_file: WatchFile,
    path: Path,
    days: int | None,
    settings: Settings,
    options: FleetOptions,
    output: Console,
) -> dict[str, Any]:
    """Train a model for each metric of the entries that ask for it, and show what became of it."""
    import time

    import msgspec

    from ops_anomaly.aws.errors import AwsError
    from training.alerts import read_marks
    from training.console import show_progress
    from training.fleet import resolve_watch_file
    from training.retraining.documents import KINDS as FLEET_KINDS
    from training.retraining.documents import RunPlan
    from training.retraining.local_run import Workers, show_report, train_fleet
    from training.retraining.plan import new_run, plan_run
    from training.retraining.services import Account
    from training.sources.cloudwatch import cloudwatch_client

    connect = Account(options.bucket, options.endpoint_url, Path.cwd())
    workers = Workers(options.jobs, options.dask)
    now = time.time()
    run = options.resume or new_run(now)
    try:
        services = connect()
        if options.resume is None:
            plan = RunPlan(
                run=run,
                until=int(now // 60) * 60_000,
                train_share=settings.train_share,
                seed=settings.seed,
                kinds=settings.kinds if options.is_kind_given else FLEET_KINDS,
                max_epochs=settings.max_epochs,
            )
            marks = read_marks(options.feedback) if options.feedback else None
            fleet = resolve_watch_file(cloudwatch_client(), watch_file)
            plan_run(services.store, fleet, plan, options.jobs, marks, days)
        with show_progress(output) as on_progress:
            report, problems = train_fleet(connect, run, workers, on_progress)
    except AwsError as error:
        raise CommandError(f"{error}; what was trained is kept, see --resume {run}") from error
    except KeyboardInterrupt:
        bucket = ["--bucket", options.bucket] if options.bucket else []
        again = shlex.join(["ops-anomaly", "train", "--watch", str(path), *bucket, "--resume", run])
        output.print(
            f"\nInterrupted. What was trained is kept; to continue:\n  {again}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    show_report(report, problems, output)
    page = command("runs", run, options.bucket, options.endpoint_url) if options.bucket else None
    output.print(f"Report: {page or report.page}", markup=False, highlight=False, soft_wrap=True)
    return {**msgspec.to_builtins(report), "problems": problems}


def train_named(
    watch_file: WatchFile,
    path: Path,
    days: int,
    settings: Settings,
    real: RealIncidents | None,
    output: Console,
) -> list[Path]:
    """Train every model that a watch file names, print the next commands, return the folders."""
    from training.job import train_watched
    from training.sources.cloudwatch import cloudwatch_client

    folders = train_watched(watch_file, cloudwatch_client(), days, settings, output, real)
    output.rule(align="left")
    for folder in folders:
        output.print(f"Next: ops-anomaly publish {folder} --bucket BUCKET")
    output.print(f"Then: ops-anomaly watch {path} --bucket BUCKET")
    return folders
