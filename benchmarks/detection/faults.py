"""`python -m benchmarks faults`: faults injected into real series, and labelled series.

Every detector is compared at the same alert budgets. Sizes of faults are in units of a series'
spread, see `spread`. An injected fault is found if an alert starts in it, or within half an hour
after it, at a reading that is not flagged without the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zlib import crc32

import numpy as np
import typer

from benchmarks.detection.counting import (
    BUDGETS,
    HOUR_MS,
    LAYOUT,
    UNTOUCHED,
    Trial,
    Untouched,
    count,
    find_series,
    read_series,
    summarise,
    training_readings,
    whole_step,
)
from benchmarks.detection.peers import alerts_of, detect_each, flags_of, load
from benchmarks.detection.report import (
    MAX_PICTURES,
    Jobs,
    Names,
    Out,
    Peers,
    Plots,
    check_detectors,
    check_writable,
    draw,
    fault_remarks,
    fault_tables,
    file_name,
    print_tables,
    run_tasks,
    write_json,
)
from ops_anomaly.detection.types import Series
from training import SourceError
from training.sources.series import DAY_MS, MINUTE_MS, LabelledSeries

if TYPE_CHECKING:
    from benchmarks.detection.report import Task
    from ops_anomaly.detection.types import Detection, Floats, Integers, Mask

AFTER_MS = 30 * MINUTE_MS
"""An alert may start so long after the last reading of a fault."""

QUICK_SERIES = 3
QUICK_READINGS = 6480
"""At the beginning of each series."""

QUICK_LABELLED = 6


class Part(StrEnum):
    """The two parts of the data."""

    UNLABELLED = "unlabelled"
    LABELLED = "labelled"


class CountBy(StrEnum):
    """What counts as one alert: a group of flags, or what the detector calls an alert."""

    FLAGS = "flags"
    ALERTS = "alerts"


def faults(
    data: Annotated[Path, typer.Option(help="A folder of unlabelled/ and labelled/ CSV files.")],
    detector: Names = None,
    peers: Peers = False,
    only: Annotated[Part | None, typer.Option(help="Run this part of the data only.")] = None,
    count_by: Annotated[
        CountBy, typer.Option(help="Count groups of flags, or the detector's own alerts.")
    ] = CountBy.FLAGS,
    seeds: Annotated[int, typer.Option(min=1, help="Places of each fault in a series.")] = 2,
    quick: Annotated[
        bool, typer.Option("--quick", help="Three short series, six labelled, one seed: a minute.")
    ] = False,
    jobs: Jobs = -1,
    out: Out = None,
    plots: Plots = None,
) -> None:
    """Inject faults into real series, and evaluate labelled ones, at three alert budgets."""
    names = check_detectors(detector, peers)
    seeds = 1 if quick else seeds
    tasks = plan(names, data, seeds, quick, only, count_by)
    check_writable(out, plots)
    records = [each for made in run_tasks("Series", tasks, jobs) for each in made]
    summary = summarise(records)
    print_tables(fault_tables(records, summary), fault_remarks(summary))
    if out:
        options = {"benchmark": "faults", "detectors": names, "seeds": seeds, "quick": quick}
        write_json(out, options | {"count_by": count_by, "data": str(data)}, records, summary)
    if plots:
        draw_missed(records, data, plots)


def plan(
    names: Sequence[str],
    data: Path,
    seeds: int,
    quick: bool = False,
    only: Part | None = None,
    count_by: str = CountBy.FLAGS,
) -> list[Task]:
    """Return what is to be run: every detector on every series.

    Raises
    ------
    SourceError
        If the folder holds no series.
    """
    unlabelled = [] if only == Part.LABELLED else find_series(data, Part.UNLABELLED)
    labelled = [] if only == Part.UNLABELLED else find_series(data, Part.LABELLED)
    if not unlabelled and not labelled:
        raise SourceError(f"{data} holds no series: {LAYOUT}")
    if quick:
        unlabelled = unlabelled[:: max(len(unlabelled) // QUICK_SERIES, 1)][:QUICK_SERIES]
        labelled = labelled[:: max(len(labelled) // QUICK_LABELLED, 1)][:QUICK_LABELLED]
    readings = QUICK_READINGS if quick else None
    tasks: list[Task] = []
    for name in names:
        tasks += [(on_unlabelled, (name, path, seeds, count_by, readings)) for path in unlabelled]
        tasks += [(on_labelled, (name, path, count_by)) for path in labelled]
    return tasks


def on_unlabelled(
    name: str, path: Path, seeds: int, count_by: str = "flags", readings: int | None = None
) -> list[Trial | Untouched]:
    """Run a detector on a real series, or its beginning, untouched and with each fault."""
    series = beginning(read_series(path), readings)
    n = len(series)
    results = detect_each(name, series.series, BUDGETS)
    clean = {budget: flags_of(result, n) for budget, result in zip(BUDGETS, results, strict=True)}
    records: list[Trial | Untouched] = []
    for budget, result in zip(BUDGETS, results, strict=True):
        records.append(as_it_is(name, series, UNTOUCHED, budget, result, count_by))
    for fault in all_faults(series, seeds):
        records += try_fault(name, series, fault, clean, count_by)
    return records


def on_labelled(name: str, path: Path, count_by: str = "flags") -> list[Untouched]:
    """Run a detector on a labelled series."""
    series = read_series(path)
    results = detect_each(name, series.series, BUDGETS)
    return [
        as_it_is(name, series, step_name(whole_step(series.series)), budget, result, count_by)
        for budget, result in zip(BUDGETS, results, strict=True)
    ]


def as_it_is(
    name: str, series: LabelledSeries, group: str, budget: float, result: Detection, count_by: str
) -> Untouched:
    """Count the alerts on a series as it is."""
    counts = count(series, alerts_of(result, series.times, count_by))
    flags = flags_of(result, len(series))
    flagged = float(flags[training_readings(series.series) :].mean())
    return Untouched(name, series.name, group, budget, counts, flagged)


def step_name(step: int) -> str:
    """Name a step.

    Examples
    --------
    >>> step_name(300_000), step_name(3_600_000)
    ('5 min', '1 h')
    """
    return f"{step // HOUR_MS} h" if step >= HOUR_MS else f"{step // MINUTE_MS} min"


def beginning(series: LabelledSeries, readings: int | None) -> LabelledSeries:
    """Return the first readings, or all."""
    return series.part(0, min(readings or len(series), len(series)))


def try_fault(
    name: str, series: LabelledSeries, fault: Fault, clean: dict[float, Mask], count_by: str
) -> list[Trial]:
    """Run a detector on a series with a fault; clean: flags (n,) without it, by budget."""
    stop = int(np.searchsorted(series.times, series.times[fault.last] + AFTER_MS, "right"))
    values, times = inject(series, fault)[:stop], series.times[:stop]
    trials = []
    results = detect_each(name, Series(times, values), BUDGETS)
    for budget, result in zip(BUDGETS, results, strict=True):
        flags = flags_of(result, stop)
        starts = np.array([first for first, _ in alerts_of(result, times, count_by)], np.int64)
        delay = hit(series, fault, starts, clean[budget])
        begin = fault.earlier.first if fault.earlier else fault.first
        before = None
        if fault.earlier:
            before = hit(series, fault.earlier, starts, clean[budget]) is not None
        differing = int((flags[:begin] != clean[budget][:begin]).sum())
        trials.append(
            Trial(
                detector=name,
                series=series.name,
                kind=fault.kind,
                size=fault.size,
                budget=budget,
                first=fault.first,
                last=fault.last,
                found=delay is not None,
                found_before=before,
                delay=np.nan if delay is None else delay,
                changed_before=differing,
                readings=len(series),
            )
        )
    return trials


def hit(series: LabelledSeries, fault: Fault, starts: Integers, clean: Mask) -> float | None:
    """Return the delay in minutes of the first alert that a fault raised, or None."""
    low, high = series.times[fault.first], series.times[fault.last] + AFTER_MS
    at = starts[(series.times[starts] >= low) & (series.times[starts] <= high)]
    at = at[~clean[at]]
    return float(series.times[at[0]] - low) / MINUTE_MS if len(at) else None


def draw_missed(records: list[Trial | Untouched], data: Path, folder: Path) -> None:
    """Draw faults that were missed at one alert a week, one of each kind and detector."""
    paths = {path.stem: path for path in find_series(data, Part.UNLABELLED)}
    trials = [r for r in records if isinstance(r, Trial)]
    missed = [trial for trial in trials if not trial.found and trial.budget == 1.0]
    first = {(trial.detector, trial.kind): trial for trial in reversed(missed)}
    for trial in list(first.values())[:MAX_PICTURES]:
        draw_trial(trial, paths[trial.series], folder)


def draw_trial(trial: Trial, path: Path, folder: Path) -> None:
    """Inject a fault again, and draw it."""
    series = beginning(read_series(path), trial.readings)
    wanted = (trial.kind, trial.size, trial.first)
    fault = next(f for f in all_faults(series, 100) if (f.kind, f.size, f.first) == wanted)
    stop = min(trial.last + round(readings_a_day(series) / 4), len(series))
    changed = Series(series.times[:stop], inject(series, fault)[:stop])
    detection = load(trial.detector)(changed, trial.budget)
    title = f"{trial.detector}: {trial.name} in {trial.series}: missed at one alert a week"
    name = file_name(f"faults {trial.detector} {trial.name}")
    part = (trial.first, trial.last + 1)
    draw(changed, detection, part, title, folder / f"{name}.png", series.values[:stop])


MAX_TRIES = 40
"""Places tried for a fault that needs busy hours, or a difference between days."""


@dataclass(frozen=True)
class Fault:
    """One fault in one series.

    Attributes
    ----------
    kind, size : str
    first, last : int
        Positions of its first and last reading.
    values : (last + 1 - first,) float64
        What is read instead.
    earlier : Fault or None
        The same fault before, where this one repeats it.
    """

    kind: str
    size: str
    first: int
    last: int
    values: Floats
    earlier: Fault | None = None


@dataclass(frozen=True)
class Stretch:
    """Where a fault goes: a part of a series, and what is around it."""

    series: LabelledSeries
    first: int
    last: int
    spread: float
    rng: np.random.Generator

    @property
    def values(self) -> Floats:
        """The untouched values."""
        return self.series.values[self.first : self.last + 1]

    @property
    def day(self) -> int:
        """Readings a day."""
        return readings_a_day(self.series)

    def earlier(self, shift: int) -> Floats:
        """Values `shift` readings before."""
        return self.series.values[self.first - shift : self.last + 1 - shift]

    @property
    def curve(self) -> Floats:
        """Centred mean of 13 readings."""
        around = self.series.values[self.first - 6 : self.last + 7]
        return np.convolve(around, np.full(13, 1 / 13), "valid")


@dataclass(frozen=True)
class Kind:
    """A kind of fault at one size.

    Attributes
    ----------
    duration : int
        Milliseconds; 0 is a single reading.
    needs : str
        anywhere, busy (hours), or contrast (between days).
    """

    kind: str
    size: str
    duration: int
    change: Callable[[Stretch], Floats]
    needs: str = "anywhere"

    @property
    def name(self) -> str:
        """Kind and size."""
        return f"{self.kind} {self.size}"


def lifted(spreads: float) -> Callable[[Stretch], Floats]:
    """Return a change by so many spreads."""
    return lambda at: at.values + spreads * at.spread


def scaled(factor: float) -> Callable[[Stretch], Floats]:
    """Return a change to a multiple."""
    return lambda at: at.values * factor


def nothing(at: Stretch) -> Floats:
    """Return zeros, or the lowest value of a series that can be negative."""
    return np.full(len(at.values), min(0.0, float(at.series.values.min())))


def repeated_value(at: Stretch) -> Floats:
    """Return the value before, repeated."""
    return np.full(len(at.values), at.series.values[at.first - 1])


def late(hours: int) -> Callable[[Stretch], Floats]:
    """Return a change to yesterday's curve, so many hours out of step."""
    return lambda at: at.earlier(at.day + round(hours * HOUR_MS / whole_step(at.series.series)))


def low_level(at: Stretch) -> Floats:
    """Return the day's low level, with a tenth of what is above it."""
    day_before = at.series.values[at.first - at.day : at.first]
    low = np.quantile(day_before, 0.1)
    return low + 0.1 * (at.values - low)


def ramp(spreads: float) -> Callable[[Stretch], Floats]:
    """Return a change by a slope that ends so many spreads higher."""
    return lambda at: at.values + spreads * at.spread * np.linspace(0, 1, len(at.values))


def noise(factor: float) -> Callable[[Stretch], Floats]:
    """Return a change of the noise about the curve."""
    return lambda at: at.curve + factor * (at.values - at.curve)


KINDS = (
    *(Kind("spike", f"+{k}", 0, lifted(k)) for k in (1, 2, 4)),
    *(Kind("level shift", f"+{k:g}", 6 * HOUR_MS, lifted(k)) for k in (0.5, 1, 2)),
    Kind("drop", "-0.5", 2 * HOUR_MS, lifted(-0.5)),
    *(Kind("zero", f"{h} h", h * HOUR_MS, nothing, "busy") for h in (1, 6)),
    *(Kind("half", f"{h} h", h * HOUR_MS, scaled(0.5), "busy") for h in (2, 6)),
    Kind("double", "2 h", 2 * HOUR_MS, scaled(2.0), "busy"),
    *(Kind("flat", f"{h} h", h * HOUR_MS, repeated_value) for h in (2, 6, 24)),
    *(Kind("late pattern", f"{h} h", 12 * HOUR_MS, late(h), "contrast") for h in (6, 12)),
    Kind("busy hours missing", "4 h", 4 * HOUR_MS, low_level, "busy"),
    *(Kind("drift", f"+{k}", 24 * HOUR_MS, ramp(k)) for k in (1, 2)),
    Kind("noise", "x3", 6 * HOUR_MS, noise(3.0)),
    Kind("noise", "x0.2", 6 * HOUR_MS, noise(0.2)),
)

REPEATED = (
    Kind("repeated", "spike", 0, lifted(4)),
    Kind("repeated", "+2", 2 * HOUR_MS, lifted(2)),
    Kind("repeated", "zero", 2 * HOUR_MS, nothing, "busy"),
    Kind("repeated", "double", 2 * HOUR_MS, scaled(2.0), "busy"),
)
LAGS = (1, 3)
"""Days from an incident to the same again."""


def readings_a_day(series: LabelledSeries) -> int:
    """Return the readings of a day, at least two."""
    return max(round(DAY_MS / whole_step(series.series)), 2)


def robust_daily_range(values: Floats, day: int) -> float:
    """Return the median over days of each day's 1-99 % range."""
    n = len(values) // day
    low, high = np.quantile(values[: n * day].reshape(n, day), (0.01, 0.99), axis=1)
    return float(np.median(high - low))


def spread(series: LabelledSeries) -> float:
    """Return the unit of sizes: the 5-95 % range of the training prefix.

    It is at least the robust daily range, so that a fault in an idle, quantised series has a size
    that an operator would see.
    """
    training = series.values[: training_readings(series.series)]
    low, high = np.quantile(training, (0.05, 0.95))
    return max(float(high - low), robust_daily_range(training, readings_a_day(series)), 1e-9)


def is_busy(series: LabelledSeries, first: int, last: int) -> bool:
    """Return whether a stretch is above 40 % of the last week's 5-95 % range."""
    week = series.values[max(first - 7 * readings_a_day(series), 0) : first]
    low, high = np.quantile(week, (0.05, 0.95))
    return bool(np.median(series.values[first : last + 1]) > low + 0.4 * (high - low))


def has_contrast(at: Stretch, changed: Floats) -> bool:
    """Return whether a change is three times what yesterday differs from today, by the rms."""
    usual = np.sqrt(np.mean((at.values - at.earlier(at.day)) ** 2))
    return bool(np.sqrt(np.mean((changed - at.values) ** 2)) >= 3 * usual)


def place(
    series: LabelledSeries, kind: Kind, rng: np.random.Generator, after: int = 0
) -> Fault | None:
    """Place a fault; None where the series has no place for it, or it changes nothing.

    Parameters
    ----------
    after : int
        Readings to leave free behind it.
    """
    day, length = readings_a_day(series), max(round(kind.duration / whole_step(series.series)), 1)
    earliest = training_readings(series.series) + 2 * day
    latest = len(series.values) - length - day - after
    unit = spread(series)
    for _ in range(MAX_TRIES):
        if latest <= earliest:
            return None
        first = int(rng.integers(earliest, latest))
        fault = changed(series, kind, first, first + length - 1, unit, rng)
        if fault is not None:
            return fault
    return None


def changed(
    series: LabelledSeries, kind: Kind, first: int, last: int, unit: float, rng: np.random.Generator
) -> Fault | None:
    """Return the fault at a place, or None where that does not suit."""
    if kind.needs == "busy" and not is_busy(series, first, last):
        return None
    at = Stretch(series, first, last, unit, rng)
    values = np.array(kind.change(at), np.float64)
    if series.values.min() >= 0:
        values = np.maximum(values, 0)
    if kind.needs == "contrast" and not has_contrast(at, values):
        return None
    if np.array_equal(values, at.values):
        return None
    return Fault(kind.kind, kind.size, first, last, values)


def repeat(series: LabelledSeries, kind: Kind, lag: int, rng: np.random.Generator) -> Fault | None:
    """Place a fault and the same one `lag` days later, at the same time of day."""
    day = readings_a_day(series)
    for _ in range(MAX_TRIES):
        earlier = place(series, kind, rng, after=lag * day)
        if earlier is None:
            return None
        first, last = earlier.first + lag * day, earlier.last + lag * day
        again = changed(series, kind, first, last, spread(series), rng)
        if again is not None:
            size = f"{kind.size}, {lag} d"
            return Fault(again.kind, size, first, last, again.values, earlier)
    return None


def all_faults(series: LabelledSeries, seeds: int) -> Iterator[Fault]:
    """Yield every kind of fault at `seeds` places each; a place depends on names and seed only."""
    for seed in range(seeds):
        for kind in KINDS:
            fault = place(series, kind, generator(series, kind, seed))
            if fault is not None:
                yield fault
        for kind in REPEATED:
            for lag in LAGS:
                fault = repeat(series, kind, lag, generator(series, kind, seed, lag))
                if fault is not None:
                    yield fault


def generator(series: LabelledSeries, kind: Kind, *numbers: int) -> np.random.Generator:
    """Return a random generator of its own for each fault."""
    key = crc32(f"{series.name}/{kind.name}".encode())
    return np.random.default_rng([key, *numbers])


def inject(series: LabelledSeries, fault: Fault) -> Floats:
    """Return a copy of the series' values (n,) with the fault, and the earlier one, in it."""
    values = series.values.copy()
    for each in (fault.earlier, fault):
        if each is not None:
            values[each.first : each.last + 1] = each.values
    return values
