"""`python -m benchmarks retraining`: nights of a fleet in which much fails, and how fast it trains.

Three parts. Nights of a fleet by the deployed state machine, on moto's Step Functions, S3 and
CloudWatch, with the real handlers in this process: invocations are throttled, crash, run into their
timeout, lose their responses, or still run when Step Functions has been given an error. Whatever
happens, each metric has one outcome or is missing, no run publishes a model twice, and a live model
is replaced by a whole one or not at all. Its metrics are of half an hour and one kind of model
competes, as the training is no matter there.

Then the same fleet by one process, by two and by Dask, in turn: the artifacts have to be the same,
byte for byte. And what training one metric takes. Both with the default settings, and two weeks of
readings at 5 minutes.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.detection.simulation import SHAPES, simulate
from local.stack import isolate_from_aws, local_bucket
from ops_anomaly.aws.cloudwatch import Metric, Span
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.types import ArtifactError, Series
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import PER_METRIC, Options, WatchFile, parse_watch_file
from tests.conftest import new_bucket
from tests.support.retraining import daily, load
from tests.support.retraining_stack import (
    PLAN,
    REPORT,
    TRAIN,
    Readings,
    RetrainingStack,
    retraining_stack,
    run_of,
    until,
)
from tests.support.step_functions import Fault, How
from training.console import OnProgress, new_table, print_table, show_progress
from training.cost import batch_size
from training.retraining.batch import train_model
from training.retraining.documents import Report, RunPlan, Services, Task
from training.retraining.guard import LiveModel
from training.retraining.local_run import Workers, train_fleet
from training.retraining.plan import plan_run
from training.retraining.services import FolderStore
from training.sources.series import DAY_MS, LabelledSeries

if TYPE_CHECKING:
    from rich.table import Table

    from tests.support.forwarding import Request

NIGHTS = ("old-*", "*")
"""Hosts of each night: in the first a quarter of the fleet, so that these have live models in the
second."""

QUICK = {"kinds": ("contextual",), "places": 1}
"""Of the plans of the nights."""

PACE = 0.01
"""Of the seconds before a retry, so many pass: the others would be waited for in vain."""

PERIOD = 300
RUN = RunPlan(run="bench", until=until(0))
"""Of the parts that measure time: the default settings."""


def retraining(
    metrics: Annotated[int, typer.Option(min=20, help="Of the nights.")] = 1_000,
    concurrency: Annotated[int, typer.Option(min=1, help="Batches in parallel, in a night.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of what fails.")] = 1,
    timed: Annotated[
        int, typer.Option(min=0, help="Metrics that are trained by each kind of workers; 0: none.")
    ] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="How often by each kind of workers.")] = 2,
) -> None:
    """Retrain a fleet while much fails, then measure how fast one is trained."""
    console = Console()
    isolate_from_aws()
    os.environ.update(POWERTOOLS_LOG_LEVEL="CRITICAL", AWS_REGION="us-east-1")
    warnings.filterwarnings("ignore", message=".*does not match an error shape")
    logging.disable()  # moto logs what fails, and that is much here
    with show_progress(console) as on_progress:
        nights = retrain(metrics, concurrency, seed, on_progress)
    print_table(night_table(nights, concurrency), console)
    is_right = all(night.is_right for night in nights)
    if timed:
        with show_progress(console) as on_progress:
            times = time_workers(timed, rounds, on_progress)
        print_table(worker_table(times, timed), console)
        with show_progress(console) as on_progress:
            print_table(training_table(on_progress), console)
        is_right = is_right and times.is_same
    raise typer.Exit(not is_right)


# --- nights -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Night:
    """What a night came to.

    Attributes
    ----------
    left : int
        Metrics that are missing still when the run was continued.
    injected : Counter of str
        What was made to fail.
    doubled : int
        Metrics with two outcomes, and models that a run has published twice.
    touched : int
        Live models that were replaced although their outcome does not say so.
    broken : int
        Live models that can't be served.
    denied : int
        Calls that a role did not allow.
    """

    report: Report
    left: int
    status: str
    injected: Counter[str]
    doubled: int
    touched: int
    broken: int
    denied: int
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether nothing is left that should not be."""
        expected = "FAILED" if self.report.has_failed else "SUCCEEDED"
        wrong = self.left + self.doubled + self.touched + self.broken + self.denied
        return self.status == expected and not wrong


def retrain(metrics: int, concurrency: int, seed: int, on_progress: OnProgress) -> list[Night]:
    """Retrain a fleet in some nights; what is missing after one is trained from a machine."""
    rng = np.random.default_rng(seed)
    fleet = [load(f"{'new' if number % 4 else 'old'}-{number:04}") for number in range(metrics)]
    readings = Readings(broken_some(fleet, rng))
    readings.refused = {fleet[number] for number in rng.choice(metrics, some(metrics), False)}
    nights = []
    with ExitStack() as stack:
        bucket = new_bucket(stack.enter_context(local_bucket()))
        account = stack.enter_context(
            retraining_stack(bucket, "bench", readings, QUICK, concurrency, PACE)
        )
        for number, hosts in enumerate(NIGHTS):
            account.publish(watching(hosts), fleet if number == 0 else [])
            watched = sum(fnmatch(dict(metric.dimensions)["Host"], hosts) for metric in fleet)
            batches = -(-watched // batch_size(watched, concurrency))
            faults = faults_of(batches, number, rng)
            on_done = partial(on_night, on_progress, number, batches)
            nights.append(retrain_in_night(account, number, faults, on_done))
    return nights


def watching(hosts: str) -> WatchFile:
    """Return a watch file whose metrics have a model each."""
    selector = {
        "name": "web",
        "namespace": "Shop/Web",
        "metric": "Load",
        "dimensions": {"Host": hosts},
        "statistic": "Average",
        "period": 1_800,
        "model": PER_METRIC,
    }
    return parse_watch_file({"version": 1, "selectors": [selector]})


def some(metrics: int) -> int:
    """Return how many metrics of a fleet are broken in one way."""
    return max(metrics // 50, 1)


def broken_some(fleet: Sequence[Metric], rng: np.random.Generator) -> Callable[[Metric], Series]:
    """Return the readings of a fleet; of some metrics they have stopped, or have an incident."""
    stopped, high = (
        {fleet[number] for number in rng.choice(len(fleet), some(len(fleet)), False)}
        for _ in range(2)
    )

    @cache
    def of(metric: Metric) -> Series:
        series = daily(str(metric), until(2), 16).series
        if metric in stopped:
            return series[series.times < until(0) - 2 * DAY_MS]
        if metric in high:  # in the afternoon before each night
            time_of_day = series.times % DAY_MS / DAY_MS
            is_high = (time_of_day > 0.5) & (time_of_day < 0.75) & (series.times > until(-1))
            return Series(series.times, np.where(is_high, 170.0, series.values))
        return series

    return of


HOWS: Sequence[How] = ("throttled", "response lost", "crash", "timeout", "still running")


def faults_of(batches: int, night: int, rng: np.random.Generator) -> list[Fault]:
    """Return what goes wrong in a night: a fault for every other batch, wherever it is.

    In the last night, one batch fails for good.
    """
    faults = [
        Fault("response lost", lambda function, event: function in (PLAN, REPORT), times=2),
        Fault("throttled", lambda function, event: function in (PLAN, REPORT), times=2),
    ]
    for number in rng.permutation(batches)[: -(-batches // 2)].tolist():
        how = HOWS[int(rng.integers(len(HOWS)))]
        writes = ("/models/", "/outcomes/")[int(rng.integers(2))]
        last = int(rng.integers(3))  # so that what still runs has ended before the last retry
        faults.append(Fault(how, trains(number), at=nth_write(writes, last)))
    if night == len(NIGHTS) - 1:
        always = Fault("crash", trains(int(rng.integers(batches))), lambda request: True, 1_000)
        faults.insert(0, always)
    return faults


def trains(batch: int) -> Callable[[str, Any], bool]:
    """Return whether an invocation trains a batch."""
    return lambda function, event: function == TRAIN and event["batch"] == batch


def nth_write(part: str, number: int) -> Callable[[Request], bool]:
    """Return whether a request is so many-th write of a key with a part."""
    writes = count()
    return lambda request: (
        request.method == "PUT" and part in request.path and next(writes) == number
    )


def on_night(on_progress: OnProgress, night: int, batches: int, done: int) -> None:
    """Show how many batches of a night are done."""
    on_progress(f"Night {night + 1}, batches", done, batches)


def retrain_in_night(
    account: RetrainingStack, number: int, faults: list[Fault], on_done: Callable[[int], None]
) -> Night:
    """Retrain in a night, and count what it has left; what is missing is trained afterwards."""
    functions, readings = account.machine.functions, account.readings
    functions.faults[:], functions.invocations[:] = faults, []
    readings.throttled = readings.failing = 5
    before, began = account.live_versions(), time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        night = pool.submit(account.night, number)
        while not night.done():
            done = {
                each.event["batch"]
                for each in functions.invocations
                if each.function == TRAIN and each.is_done
            }
            on_done(len(done))
            wait([night], timeout=1)
    seconds = time.perf_counter() - began
    report = account.report(number)
    said = {each.model: each.version for each in report.outcomes if each.status == "published"}
    touched = (before | said).items() ^ account.live_versions().items()
    injected = Counter(each.fault for each in functions.invocations if each.fault)
    runs = account.runs().values()
    left = 0
    if report.missing:
        functions.faults.clear()
        continued, _ = train_fleet(account.services, run_of(number), Workers(), lambda *_: None)
        left = continued.missing
    return Night(
        report=report,
        left=left,
        status=night.result().status,
        injected=Counter({str(how): times for how, times in injected.items()}),
        doubled=sum(len(each) - len(set(each)) for each in [*runs, models_of(report)]),
        touched=len({model for model, _ in touched}),
        broken=sum(not is_whole(*each) for each in account.models().values()),
        denied=len(functions.denied()) + len(account.machine.step_functions.denied),
        seconds=seconds,
    )


def models_of(report: Report) -> list[str]:
    """Return the models that a report has an outcome of."""
    return [each.model for each in report.outcomes]


def is_whole(data: bytes, metadata: Mapping[str, str]) -> bool:
    """Return whether a model can be served."""
    try:
        unpack(data, metadata["sha256"])
    except ArtifactError:
        return False
    return True


def night_table(nights: Sequence[Night], concurrency: int) -> Table:
    """Return what the nights came to."""
    table = new_table(
        f"Nights of a fleet, {concurrency} batches in parallel",
        "One batch of the last night fails for good: its metrics are missing.",
        "",
        *(f"night {number + 1}" for number in range(len(nights))),
    )

    rows = {
        "metrics": [len(night.report.outcomes) + night.report.missing for night in nights],
        **{
            status: [night.report.counts[status] for night in nights]
            for status in ("published", "refused", "failed")
        },
        "missing": [night.report.missing for night in nights],
        "missing still when the run was continued": [night.left for night in nights],
        "two outcomes, or published twice": [night.doubled for night in nights],
        "live models changed, and no outcome says so": [night.touched for night in nights],
        "live models that can't be served": [night.broken for night in nights],
        "calls that a role does not allow": [night.denied for night in nights],
        **{f"invocations: {how}": [night.injected[how] for night in nights] for how in HOWS},
    }
    for title, values in rows.items():
        table.add_row(title, *(f"{value:,}" for value in values))
    table.add_row("minutes", *(f"{night.seconds / 60:.1f}" for night in nights))
    return table


# --- workers ------------------------------------------------------------------------------------


def host(number: int) -> Metric:
    """Return a metric of the parts that measure time."""
    return Metric("Bench", "Load", (("Host", str(number)),), "Average", PERIOD)


@cache
def made_up(metric: Metric) -> LabelledSeries:
    """Return two weeks of a metric at 5 minutes; each shape in turn."""
    number = int(dict(metric.dimensions)["Host"])
    shape = list(SHAPES)[number % len(SHAPES)]
    series = simulate(shape, 1_000 * PERIOD, 14, seed=number).series
    times = series.times - series.times[-1] + RUN.until - 1_000 * PERIOD
    return LabelledSeries(str(metric), "simulated", Series(times, series.values))


def read_made_up(spans: Sequence[Span]) -> dict[Metric, LabelledSeries]:
    """Read metrics, as `ReadSeries` has it."""
    return {span.metric: made_up(span.metric) for span in spans}


@dataclass(frozen=True)
class MadeUpFleet:
    """Services that a worker connects to: a run in a folder, and metrics that are simulated."""

    folder: Path

    def __call__(self) -> Services:
        """Connect; see `services.Connect`."""
        return Services(FolderStore(self.folder), read_made_up)


@dataclass(frozen=True)
class WorkerTimes:
    """How long each kind of workers took, in turn.

    Attributes
    ----------
    seconds : dict of str to list of float
        A round each; empty where it is not installed.
    is_same : bool
        Whether all artifacts were the same, byte for byte.
    """

    seconds: Mapping[str, list[float]]
    is_same: bool


ALONE, PROCESSES, DASK = "one process", "two processes (joblib)", "two workers of Dask"


def time_workers(metrics: int, rounds: int, on_progress: OnProgress) -> WorkerTimes:
    """Train the same fleet by each kind of workers, in turn; all of them have started before."""
    seconds: dict[str, list[float]] = {ALONE: [], PROCESSES: [], DASK: []}
    artifacts = []
    with dask_cluster() as address:
        kinds = {ALONE: Workers(), PROCESSES: Workers(jobs=2)}
        kinds |= {DASK: Workers(dask=address)} if address else {}
        for number, (kind, workers) in enumerate([*kinds.items()] * (rounds + 1)):
            is_first = number < len(kinds)  # which starts them
            on_progress("Workers, runs", number, (rounds + 1) * len(kinds))
            took, found = train_by(workers, 4 if is_first else metrics)
            if not is_first:
                seconds[kind].append(took)
                artifacts.append(found)
    return WorkerTimes(seconds, all(each == artifacts[0] for each in artifacts))


@contextmanager
def dask_cluster() -> Iterator[str | None]:
    """Run a cluster of two processes; yield its scheduler's address, None without Dask."""
    try:
        from distributed import LocalCluster
    except ImportError:
        yield None
        return
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def train_by(workers: Workers, metrics: int) -> tuple[float, dict[str, str]]:
    """Return how long workers take, and the digests of what they trained."""
    fleet = [
        Metric("Bench", "Load", (("Host", str(n)),), "Average", PERIOD) for n in range(metrics)
    ]
    with tempfile.TemporaryDirectory() as folder:
        connect = MadeUpFleet(Path(folder))
        options = Options(name="bench", model=PER_METRIC)
        plan_run(connect().store, [Watched(options, fleet)], RUN, workers=2)
        began = time.perf_counter()
        train_fleet(connect, RUN.run, workers, lambda *_: None)
        seconds = time.perf_counter() - began
        found = sorted(Path(folder).glob("runs/*/bench/model.safetensors"))
        return seconds, {path.parts[-3]: digest(path.read_bytes()) for path in found}


def worker_table(times: WorkerTimes, metrics: int) -> Table:
    """Return how many times one process each kind of workers is, round by round."""
    same = "the same, byte for byte" if times.is_same else "NOT THE SAME"
    table = new_table(
        f"{metrics:,} metrics of two weeks at 5 minutes",
        f"Artifacts: {same}. Dask, in a clone: pip install '.\\[dask]'.",
        *("trained by", "seconds", "times one process"),
    )
    for kind, seconds in times.seconds.items():
        ratios = [alone / each for alone, each in zip(times.seconds[ALONE], seconds, strict=False)]
        table.add_row(kind, spread(seconds, ".1f"), spread(ratios, ".2f"))
    return table


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, and the range."""
    if not values:
        return "not installed"
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({least:{form}} to {most:{form}})"


# --- one metric ---------------------------------------------------------------------------------


def training_table(on_progress: OnProgress) -> Table:
    """Measure the training of a metric of each shape, backtest and guard included."""
    first, later = [], []
    for number in range(len(SHAPES)):
        on_progress("Shapes of metrics", number, len(SHAPES))
        metric = host(number)
        end = int(made_up(metric).times[-1]) + 1000 * metric.period
        task = Task("bench", str(metric), "bench", len(made_up(metric)), end)
        began = time.process_time()
        _, _, data = train_model(RUN, task, made_up(metric), None)
        first.append(1_000 * (time.process_time() - began))
        if data is None:
            continue
        live = LiveModel(*unpack(data, digest(data)))
        began = time.process_time()
        train_model(RUN, task, made_up(metric), live)
        later.append(1_000 * (time.process_time() - began))
    table = new_table(
        "Processor time of training a metric of two weeks at 5 minutes",
        "Backtest and guard included; of one core with OPENBLAS_NUM_THREADS=1.",
        *("", "milliseconds"),
    )
    table.add_row("its first model", spread(first, ".0f"))
    table.add_row("in place of a live one", spread(later, ".0f"))
    return table
