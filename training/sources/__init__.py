"""Which series a run takes: your own, CloudWatch's, NAB's, or a simulated one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import Series
from training import SourceError
from training.sources.files import DEFAULTS, ReadOptions, read_file, read_labelled_file
from training.sources.nab import BASELINE_FILE, Nab, cached_nab, download_nab
from training.sources.series import DAY_MS, LabelledSeries, label_windows, parse_time

if TYPE_CHECKING:
    from rich.console import Console

    from ops_anomaly.detection.types import Floats, Integers


@dataclass(frozen=True)
class SourceOptions:
    """What the caller wants; nothing means NAB wherever it can be had, else a simulation.

    `reading` settles what the file, `csv`, leaves open.
    """

    csv: Path | None = None
    labels: Path | None = None
    nab_root: Path | None = None
    nab_file: str = BASELINE_FILE
    simulated: bool = False
    cloudwatch: Metric | None = None
    days: int = 14
    reading: ReadOptions = DEFAULTS


def obtain_series(options: SourceOptions, console: Console) -> LabelledSeries:
    """Return the series of `options`, and print where it came from.

    NAB is looked for in `nab_root`, in the user's cache, and on the network; where none has it,
    a series is simulated and a line says so.

    Raises
    ------
    SourceError
        If what was named can't be had or read.
    """
    series = choose_series(options, console)
    show_series(series, console)
    return series


def show_series(series: LabelledSeries, console: Console) -> None:
    """Print where a series comes from, and what it is."""
    from rich.markup import escape

    known = "no labels" if series.labels is None else f"{len(series.labels)} labelled anomalies"
    if series.read_as:
        console.print(escape(series.read_as))
    console.print(
        f"Data: [bold]{escape(series.origin)}[/bold] — {len(series):,} readings, "
        f"{series.days:.1f} days, {known}"
    )


def choose_series(options: SourceOptions, console: Console) -> LabelledSeries:
    """Return the series of the one source that `options` name."""
    if options.labels and not options.csv:
        raise SourceError("--labels goes with --csv")
    if options.reading != DEFAULTS and not options.csv:
        raise SourceError(
            "--time-column, --value-column, --series, --timezone, --day-first and --decimal-comma "
            "go with --csv"
        )
    if sum(map(bool, (options.csv, options.simulated, options.cloudwatch))) > 1:
        raise SourceError("--csv, --cloudwatch and --simulated exclude each other; give one")
    if options.cloudwatch:
        return one_metric(options.cloudwatch, options.days, console)
    if options.csv:
        if options.labels:
            return read_labelled_file(options.csv, options.labels, options.reading)
        return read_file(options.csv, options.reading)
    if options.simulated:
        return simulate_ec2_cpu()
    return nab_or_simulated(options, console)


def one_metric(metric: Metric, days: int, console: Console) -> LabelledSeries:
    """Return the last days of one metric of CloudWatch."""
    from training.sources.cloudwatch import cloudwatch_client, fetch_with_progress, missing

    cloudwatch = cloudwatch_client()
    found = fetch_with_progress(cloudwatch, [metric], days, console)
    if metric not in found:
        raise missing([metric], days, cloudwatch)
    return found[metric]


def nab_or_simulated(options: SourceOptions, console: Console) -> LabelledSeries:
    """Return NAB's series from wherever it can be had, else a simulation."""
    from rich.markup import escape
    from rich.progress import Progress

    if options.nab_root:
        return Nab(options.nab_root).series(options.nab_file)
    cached = cached_nab(options.nab_file)
    if cached:
        return cached.series(options.nab_file)
    console.print("NAB is not in the cache; downloading it (give --nab-root to use a copy) …")
    try:
        with Progress(console=console, transient=True) as progress:
            return download_nab(options.nab_file, progress).series(options.nab_file)
    except SourceError as error:
        if options.nab_file != BASELINE_FILE:
            raise  # named by the caller: nothing else will do
        console.print(
            f"[yellow]No NAB: {escape(str(error))}. Using a simulated EC2 CPU series instead."
        )
        return simulate_ec2_cpu()


STEP_MS = 300_000
DAY = 288
"""Readings in a day."""

DAYS = 14

QUANTUM = 0.066
"""CPU counters of small instances move in steps of about this many per cent."""

INCIDENTS = {
    # kind -> (day, reading of the day)
    "spike": (2, 200),
    "drop": (8, 104),
    "level shift": (9, 230),
    "job at the wrong time": (11, 88),
    "runaway": (12, 90),
}


def simulate_ec2_cpu(seed: int = 42) -> LabelledSeries:
    """Return 14 days of CPU utilisation in per cent, every 5 minutes, with five incidents.

    The machine idles at a quantised base load, somewhat higher on weekdays, and runs a job each
    day at about 04:00 that takes 1.5 % for 10 minutes. The incidents: a spike, a drop to zero,
    a level shift, the job at the wrong time, a runaway process. The same seed gives the same
    series.
    """
    random = np.random.default_rng(seed)
    times = parse_time("2014-02-14T14:30:00", "start") + STEP_MS * np.arange(DAYS * DAY)
    values = base_load(times, random)
    run_daily_job(values, random)
    starts = cause_incidents(values, random)
    labels = times[np.array(sorted(starts))]
    return LabelledSeries(
        name="simulated_ec2_cpu",
        origin=f"simulated EC2 CPU series, seed {seed}",
        series=Series(times, values.round(3)),
        labels=labels,
        windows=label_windows(labels, times),
    )


def base_load(times: Integers, random: np.random.Generator) -> Floats:
    """Return an idle load of one or two quanta, two more often on weekdays."""
    weekday = (times // DAY_MS + 3) % 7 < 5
    busy = random.random(len(times)) < np.where(weekday, 0.75, 0.6)
    noise = random.choice([0.0, 0.002], len(times))
    load: Floats = QUANTUM * np.where(busy, 2.0, 1.0) + noise
    return load


def run_daily_job(values: Floats, random: np.random.Generator) -> None:
    """Add the job of each day, a few minutes early or late."""
    for day in range(DAYS):
        start = day * DAY + 160 + int(random.integers(-1, 2))
        values[start : start + 2] = 1.5 + random.normal(0.0, 0.03, 2)


def cause_incidents(values: Floats, random: np.random.Generator) -> list[int]:
    """Write the incidents into the values and return where each begins."""
    starts = {kind: day * DAY + reading for kind, (day, reading) in INCIDENTS.items()}
    at = starts["spike"]
    values[at] = 2.3
    at = starts["drop"]
    values[at : at + 24] = 0.0
    at = starts["level shift"]
    values[at : at + 48] += 0.6
    at = starts["job at the wrong time"]
    values[at : at + 2] = 1.5
    at = starts["runaway"]
    values[at : at + 12] = np.linspace(1.9, 4.0, 12) + random.normal(0.0, 0.05, 12)
    return list(starts.values())
