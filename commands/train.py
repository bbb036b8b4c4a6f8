"""`train`: fit the candidates on a series, or on one for each model of a watch file."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console

from commands import CommandError
from commands.options import EndpointUrl, check_model_name, command, console, parse_metric
from commands.reading import (
    DayFirst,
    DecimalComma,
    SeriesName,
    TimeColumn,
    Timezone,
    ValueColumn,
)
from ops_anomaly.aws.cloudwatch import EXAMPLE, Metric
from ops_anomaly.aws.errors import AwsError
from ops_anomaly.watcher.watch_file import PER_METRIC
from training import TrainingError
from training.alerts import exclude_real, incidents_of_file, read_feedback
from training.candidates import KINDS, MAX_EPOCHS
from training.run import Settings, check_target, read_run
from training.sources import SourceOptions, obtain_series
from training.sources.columns import time_zone
from training.sources.files import ReadOptions
from training.sources.nab import BASELINE_FILE
from training.sources.series import exclude, parse_range

if TYPE_CHECKING:
    from ops_anomaly.watcher.watch_file import WatchFile
    from training.retraining.documents import RunPlan
    from training.retraining.local_run import Workers
    from training.retraining.services import Account

DAYS = 14

FLEET_OPTIONS = ("bucket", "jobs", "dask")
"""They go with a run over metrics that have a model each."""

RESUME_OPTIONS = {"resume", "watch", *FLEET_OPTIONS, "endpoint_url", "as_json"}
"""They go with --resume: what else decides a run is in its plan."""

WATCH_OPTIONS = RESUME_OPTIONS | {"days", "feedback", "train_share", "seed", "epochs", "candidates"}
"""They go with --watch: the watch file names series, models and folders."""

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


def given(context: typer.Context) -> dict[str, str]:
    """Return the options that were typed, as they were declared, by the names of parameters."""
    sources = {
        each: context.get_parameter_source(str(each.name)) for each in context.command.params
    }
    return {
        str(each.name): each.opts[0]
        for each, source in sources.items()
        if source and source.name == "COMMANDLINE"  # of the click that typer brings along
    }


def refuse_others(typed: dict[str, str], allowed: Collection[str], option: str, why: str) -> None:
    """Refuse options that do nothing with another one."""
    others = [text for name, text in typed.items() if name not in allowed]
    if others:
        raise typer.BadParameter(f"{why}: leave out {', '.join(others)}", param_hint=option)


def train(
    context: typer.Context,
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
            envvar="MODEL_BUCKET",
            help="With --watch, a model a metric: publish each that the guard passes; the run is "
            "kept there.",
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
        typer.Option(
            metavar="RUN",
            help="Continue a run of models a metric that was cut off, in --bucket or this folder; "
            "it needs no watch file.",
        ),
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
    typed = given(context)
    kinds = tuple(kind for kind in KINDS if kind in (candidates or KINDS))
    where = FleetOptions(bucket, endpoint_url, jobs, dask)
    if resume is not None:
        refuse_others(typed, RESUME_OPTIONS, "--resume", "its plan says how a run is trained")
        show_trained(Trained(fleet=resume_fleet(resume, where, output)), as_json=as_json)
        return
    if watch is not None:
        why = "the watch file names series, models and folders"
        refuse_others(typed, WATCH_OPTIONS, "--watch", why)
        settings = Settings("", train_share, seed, epochs, kinds=kinds)
        job = WatchJob(watch, days, settings, feedback, is_kind_given=bool(candidates))
        show_trained(train_watch_file(job, where, typed, output), as_json=as_json)
        return
    if any(option in typed for option in FLEET_OPTIONS):
        raise typer.BadParameter("--bucket, --jobs and --dask go with --watch")
    reading = ReadOptions(
        time_column, value_column, series_name, timezone, day_first, decimal_comma
    )
    real = read_feedback(feedback) if feedback else None
    name = check_model_name(name or default_name(csv))
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
    output.print(f"Next: ops-anomaly publish {folder} --bucket {bucket or 'BUCKET'}")


@dataclass(frozen=True)
class FleetOptions:
    """Where a run over metrics with a model each is kept, and who trains it."""

    bucket: str | None
    endpoint_url: str | None
    jobs: int
    dask: str | None

    def account(self) -> Account:
        """Return what connects to the services of a run."""
        from training.retraining.services import Account

        return Account(self.bucket, self.endpoint_url, Path.cwd())

    def workers(self) -> Workers:
        """Return who trains."""
        from training.retraining.local_run import Workers

        return Workers(self.jobs, self.dask)

    def again(self, run: str) -> str:
        """Return the command that continues a run with the same options."""
        from training.retraining.reasons import resume_command

        options = {"--endpoint-url": self.endpoint_url, "--dask": self.dask}
        words = [word for pair in options.items() if pair[1] for word in pair if word]
        if self.jobs > 1:
            words += ["--jobs", str(self.jobs)]
        return resume_command(run, self.bucket, *words)


@dataclass(frozen=True)
class WatchJob:
    """A watch file, and how its models are trained."""

    path: Path
    days: int | None
    settings: Settings
    feedback: Path | None
    is_kind_given: bool


@dataclass(frozen=True)
class Trained:
    """What a watch file, or a run that was continued, came to.

    Attributes
    ----------
    fleet : dict or None
        The report of the run over metrics with a model each, as JSON has it.
    runs : sequence of Path
        Folders of the models that the watch file names.
    has_failed : bool
        Whether these could not be trained, after the others were.
    """

    fleet: dict[str, Any] | None
    runs: Sequence[Path] = ()
    has_failed: bool = False


def show_trained(trained: Trained, *, as_json: bool) -> None:
    """Print it as JSON if asked for, and exit with 1 where something was not trained."""
    if as_json:
        runs = [read_run(folder).as_json() for folder in trained.runs]
        typer.echo(json.dumps({"runs": runs, "fleet": trained.fleet}, indent=2))
    if trained.has_failed or (trained.fleet and trained.fleet["missing"]):
        raise typer.Exit(1)


def train_watch_file(
    job: WatchJob, options: FleetOptions, typed: Collection[str], output: Console
) -> Trained:
    """Train all that a watch file asks for: metrics with a model each, then the models it names."""
    from training.fleet import named_models
    from training.watch_yaml import read_watch_file

    watch_file = read_watch_file(job.path)
    fleet = None
    if any(entry.model == PER_METRIC for entry in watch_file.entries):
        fleet = train_per_metric(watch_file, job, options, output)
        if not named_models(watch_file.entries):
            return Trained(fleet)
    elif any(option in typed for option in FLEET_OPTIONS):
        raise typer.BadParameter(
            "they are for entries with `model: per-metric`, and the watch file has none",
            param_hint="--bucket, --jobs, --dask",
        )
    try:
        return Trained(fleet, train_named(watch_file, job, options.bucket, output))
    except TrainingError as error:
        if fleet is None:
            raise
        message = f"Error: of the models that the watch file names: {error}"
        output.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
        return Trained(fleet, has_failed=True)


def train_per_metric(
    watch_file: WatchFile, job: WatchJob, options: FleetOptions, output: Console
) -> dict[str, Any]:
    """Train a model for each metric of the entries that ask for it, and show what became of it."""
    from training.alerts import read_marks
    from training.fleet import resolve_watch_file
    from training.retraining.local_run import begin_run
    from training.sources.cloudwatch import cloudwatch_client

    workers = options.workers()  # before anything is planned
    marks = read_marks(job.feedback) if job.feedback else None
    with one_message():
        store = options.account()().store
        fleet = resolve_watch_file(cloudwatch_client(), watch_file)
        plan = begin_run(store, fleet, plan_settings(job), options.jobs, marks, job.days)
    where = f"bucket {options.bucket}" if options.bucket else "this folder; nothing is published"
    output.print(f"Run {plan.run}, in {where}", markup=False, highlight=False, soft_wrap=True)
    return train_run_of_fleet(plan.run, workers, options, output)


def plan_settings(job: WatchJob) -> RunPlan:
    """Return the plan of a run that begins now, but for its name and metrics."""
    from training.retraining.documents import DEFAULT_KINDS, RunPlan

    now = time.time()
    return RunPlan(
        run="",
        until=int(now // 60) * 60_000,
        started=int(1000 * now),
        train_share=job.settings.train_share,
        seed=job.settings.seed,
        kinds=job.settings.kinds if job.is_kind_given else DEFAULT_KINDS,
        max_epochs=job.settings.max_epochs,
    )


def resume_fleet(run: str, options: FleetOptions, output: Console) -> dict[str, Any]:
    """Continue a run that was cut off, and show what became of it."""
    from training import RunError
    from training.retraining.documents import DamagedRunError, check_run, read_plan

    check_run(run)
    workers = options.workers()
    with one_message():
        try:
            read_plan(options.account()().store, run)
        except DamagedRunError:
            raise
        except RunError as error:
            hint = "" if options.bucket else "; if it is in a bucket, give --bucket"
            raise RunError(f"{error}{hint}") from error
    return train_run_of_fleet(run, workers, options, output)


def train_run_of_fleet(
    run: str, workers: Workers, options: FleetOptions, output: Console
) -> dict[str, Any]:
    """Train what is left of a run, and show what became of it, or how to continue it."""
    import msgspec

    from training.console import show_progress
    from training.retraining.documents import DamagedRunError
    from training.retraining.local_run import show_report, train_fleet
    from training.retraining.services import explained

    again = options.again(run)
    continued = f"What was trained is kept. To continue:\n  {again}"
    try:
        with show_progress(output) as on_progress:
            report, problems = train_fleet(options.account(), run, workers, on_progress)
    except DamagedRunError:
        raise
    except (AwsError, TrainingError) as error:
        raise CommandError(f"{explained(error)}\n{continued}") from error
    except KeyboardInterrupt:
        output.print(f"\nInterrupted. {continued}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    show_report(report, problems, again, output)
    page = command("runs", run, options.bucket, options.endpoint_url) if options.bucket else None
    output.print(f"Report: {page or report.page}", markup=False, highlight=False, soft_wrap=True)
    return {**msgspec.to_builtins(report), "problems": [each.reason for each in problems]}


@contextmanager
def one_message() -> Iterator[None]:
    """Turn an error before there is a plan into one message of the command line."""
    from training.retraining.services import explained

    try:
        yield
    except (AwsError, TrainingError) as error:
        raise CommandError(explained(error)) from error


def train_named(
    watch_file: WatchFile, job: WatchJob, bucket: str | None, output: Console
) -> list[Path]:
    """Train every model that a watch file names, print the next commands, return the folders."""
    from training.job import train_watched
    from training.sources.cloudwatch import cloudwatch_client

    real = read_feedback(job.feedback) if job.feedback else None
    days = job.days or DAYS
    folders = train_watched(watch_file, cloudwatch_client(), days, job.settings, output, real)
    output.rule(align="left")
    for folder in folders:
        output.print(f"Next: ops-anomaly publish {folder} --bucket {bucket or 'BUCKET'}")
    output.print(f"Then: ops-anomaly watch {job.path} --bucket {bucket or 'BUCKET'}")
    return folders
