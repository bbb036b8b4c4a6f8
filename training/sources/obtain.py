"""Which source a run takes, and saying so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ops_anomaly.aws.cloudwatch import Metric
from training.errors import SourceError
from training.sources.csv_file import parse_time, read_csv_series
from training.sources.nab import SEED_FILE, Nab, cached_nab, download_nab
from training.sources.series import Series
from training.sources.simulated import simulate_ec2_cpu


@dataclass(frozen=True)
class SourceOptions:
    """What the caller asked for; nothing means NAB wherever it can be had, else a simulation."""

    csv: Path | None = None
    labels: Path | None = None
    nab_root: Path | None = None
    nab_file: str = SEED_FILE
    simulated: bool = False
    cloudwatch: Metric | None = None
    days: int = 14


def obtain_series(options: SourceOptions, console: Console) -> Series:
    """Return the series that `options` ask for, and print where it came from.

    NAB is looked for in `nab_root`, in the user's cache, and on the network; where none has it,
    a series is simulated and a line says so.

    Raises
    ------
    SourceError
        If what was asked for by name can't be had or read.
    """
    series = choose_series(options, console)
    show_series(series, console)
    return series


def show_series(series: Series, console: Console) -> None:
    """Print where a series comes from, and what it is."""
    known = "no labels" if series.labels is None else f"{len(series.labels)} labelled anomalies"
    console.print(
        f"Data: [bold]{escape(series.origin)}[/bold] — {len(series):,} readings, "
        f"{series.days:.1f} days, {known}"
    )


def choose_series(options: SourceOptions, console: Console) -> Series:
    """Return the series of the first source that `options` leave."""
    if options.labels and not options.csv:
        raise SourceError("--labels goes with --csv")
    if sum(map(bool, (options.csv, options.simulated, options.cloudwatch))) > 1:
        raise SourceError("--csv, --cloudwatch and --simulated exclude each other; give one")
    if options.cloudwatch:
        return one_metric(options.cloudwatch, options.days, console)
    if options.csv:
        return read_csv_series(options.csv, options.labels)
    if options.simulated:
        return simulate_ec2_cpu()
    return nab_or_simulated(options, console)


def nab_or_simulated(options: SourceOptions, console: Console) -> Series:
    """Return NAB's series from wherever it can be had, else a simulation."""
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
        if options.nab_file != SEED_FILE:
            raise  # asked for by name: nothing else will do
        console.print(
            f"[yellow]No NAB: {escape(str(error))}. Using a simulated EC2 CPU series instead."
        )
        return simulate_ec2_cpu()


def one_metric(metric: Metric, days: int, console: Console) -> Series:
    """Return the last days of one metric of CloudWatch."""
    from training.sources.cloudwatch import cloudwatch_client, missing
    from training.sources.nab import fetch_with_progress

    cloudwatch = cloudwatch_client()
    found = fetch_with_progress(cloudwatch, [metric], days, console)
    if metric not in found:
        raise missing([metric], days, cloudwatch)
    return found[metric]


OPTION = "--exclude"


class TimeRange(NamedTuple):
    """First and last moment, naive UTC."""

    first: datetime
    last: datetime


def parse_range(texts: Sequence[str]) -> TimeRange:
    """Read a range from two times of ISO 8601; with an offset they are turned to UTC.

    Raises
    ------
    SourceError
        If one is no time, or they are reversed.

    Examples
    --------
    >>> parse_range(("2026-03-01T08:00", "2026-03-01T10:00+01:00")).last.hour
    9
    """
    first, last = (parse_time(text, OPTION) for text in texts)
    if first > last:
        raise SourceError(f"{OPTION} {' '.join(texts)}: it ends before it begins; swap the two")
    return TimeRange(first, last)


def exclude(series: Series, ranges: Sequence[TimeRange]) -> Series:
    """Return the series with the readings of some ranges left out.

    Raises
    ------
    SourceError
        If a range holds none of the readings.
    """
    if not ranges:
        return series
    times = series.timestamps
    left_out = np.array(ranges, "datetime64[s]")
    for first, last in left_out:
        if not ((times >= first) & (times <= last)).any():
            raise SourceError(
                f"{OPTION} {first} {last}: there is no reading in it; those of {series.name} run "
                f"from {times[0]} to {times[-1]}, and its times are taken as UTC"
            )
    return series.leaving_out(left_out)
