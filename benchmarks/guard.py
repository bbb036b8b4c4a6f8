"""`python -m benchmarks guard`: simulated retrainings, of which a third are worse.

Each takes a metric at a moment: the live model was trained some days before, and a new one is
trained now, by the code that retrains a fleet. Labelled incidents are left out, as if people had
said that they were real. Worse are those whose new readings have an incident of which nobody has
said anything, of which half are missing, or whose metric is broken: all of them are made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import typer
from joblib import Parallel, delayed
from rich.console import Console

from benchmarks.detection.counting import HOUR_MS, find_series, read_series, whole_step
from benchmarks.detection.report import Jobs, Out
from benchmarks.detection.simulation import SHAPES, simulate
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.types import Series
from training.backtest import spread_of
from training.console import new_table, print_table, show_progress
from training.retraining.batch import reached, train_model
from training.retraining.documents import RunPlan, Task
from training.retraining.guard import FEWER_FAULTS, MORE_ALERTS, LiveModel, Verdict
from training.sources.nab import Nab
from training.sources.series import DAY_MS, LabelledSeries, no_ranges

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats

AGES = (1, 2, 3, 7)
"""Days since the live model was trained."""

SIZES = (1.0, 2.0, 4.0)
"""Of incidents, in spreads of the metric."""

HOURS = (0.5, 1.0, 2.0, 6.0, 12.0, 24.0)
"""How long they last. What lasts for longer than a day is the new normal."""

MIN_CHANGE = 0.15
"""Spreads by which an incident changes its readings, on average: less is none to a person."""

MAX_TRIED = 100
"""Places of an incident that are tried."""

CLEAN_DAYS = 25
"""Of the unlabelled series: later there are incidents that nobody has marked."""

SIMULATED_DAYS = 45

MIN_READINGS = 620
"""Of a time, a few more than a model needs."""


@dataclass(frozen=True)
class Ground:
    """A series to retrain on.

    Attributes
    ----------
    source : str
        Where it is from.
    days : int
        That a model is trained on.
    """

    source: str
    series: LabelledSeries
    days: int


@dataclass(frozen=True)
class Retraining:
    """One of the simulated retrainings.

    Attributes
    ----------
    old, new : LabelledSeries
        What the live model was trained on, and what the new one is.
    until : int
        When it is trained, milliseconds.
    defect : str or None
        Why the new model is worse, if it is.
    """

    source: str
    old: LabelledSeries
    new: LabelledSeries
    until: int
    age: int
    defect: str | None


class Result(msgspec.Struct, frozen=True):
    """What the guard made of a retraining."""

    source: str
    name: str
    age: int
    defect: str | None
    verdict: Verdict


# --- what is worse ------------------------------------------------------------------------------


def with_incident(series: LabelledSeries, since: int, rng: np.random.Generator) -> Series:
    """Return the series with an incident after a time: an outage, a shift, a runaway, noise."""
    spread = spread_of(series.normal.values, round(DAY_MS / whole_step(series.series)))
    for _ in range(MAX_TRIED):
        part = place_of_incident(series, since, rng)
        values = series.values.copy()
        values[part] = in_incident(values, part, float(rng.choice(SIZES)) * spread, rng)
        if np.abs(values - series.values)[part].mean() >= MIN_CHANGE * spread:
            break
    return Series(series.times, values)


def in_incident(values: Floats, part: slice, size: float, rng: np.random.Generator) -> Floats:
    """Return the readings of a part in an incident of a size; what is never negative stays so."""
    before, lowest = values[part], min(float(values.min()), 0.0)
    changed = {
        "outage": np.full(len(before), lowest),
        "rise": before + size,
        "fall": before - size,
        "runaway": before + np.linspace(0.0, 2 * size, len(before)),
        "noise": before + np.abs(rng.normal(0.0, size, len(before))),
    }
    kind = str(rng.choice(list(changed)))
    floor = 0.0 if lowest == 0.0 else -np.inf
    values_in: Floats = np.maximum(changed[kind], floor)
    return values_in


def place_of_incident(series: LabelledSeries, since: int, rng: np.random.Generator) -> slice:
    """Return where an incident is: after a time, and not in one that is left out anyway."""
    for _ in range(MAX_TRIED):
        length = max(float(rng.choice(HOURS)) * HOUR_MS, 3 * whole_step(series.series))
        latest = int(series.times[-1] - length)
        begin = int(rng.integers(min(since, latest), latest + 1))
        part = slice(*np.searchsorted(series.times, [begin, begin + length]).tolist())
        if not series.in_window[part].any() and part.stop > part.start:
            break
    return part


def with_gaps(series: LabelledSeries, since: int, rng: np.random.Generator) -> Series:
    """Return half of the readings: at random, every second one or hour, or in one block."""
    count = len(series)
    half, positions = count // 2, np.arange(count)
    block = int(rng.integers(1, count - half))
    kept = [
        rng.random(count) < 0.5,
        positions % 2 == 0,
        series.times // HOUR_MS % 2 == 0,
        positions < half,
        positions >= half,
        (positions < block) | (positions >= block + half),
    ][int(rng.integers(6))]
    return series.series[kept]


def broken(series: LabelledSeries, since: int, rng: np.random.Generator) -> Series:
    """Return the series of a metric that is constant, stuck, in another unit, or hardly there."""
    times, values = series.times, series.values.copy()
    kind = str(rng.choice(["constant", "stuck", "unit", "few"]))
    if kind == "constant":
        values[:] = values[0]
    elif kind == "stuck":
        first = int(np.searchsorted(times, rng.integers(since, times[-1] - DAY_MS // 2)))
        last = times[first] + rng.uniform(0.5, 7.0) * DAY_MS
        values[first:] = np.where(times[first:] <= last, values[first], values[first:])
    elif kind == "unit":
        first = int(np.searchsorted(times, rng.integers(since, times[-1] - HOUR_MS)))
        values[first:] *= float(rng.choice([1 / 1000, 1000]))
    else:
        return series.series[np.flatnonzero(rng.random(len(series)) < 0.05)]
    return Series(times, values)


DEFECTS: dict[str, Callable[[LabelledSeries, int, np.random.Generator], Series]] = {
    "an incident": with_incident,
    "half the data missing": with_gaps,
    "a broken metric": broken,
}


# --- what there is to retrain on ----------------------------------------------------------------


def simulated(seed: int) -> list[Ground]:
    """Return a series of each shape of metric."""
    return [
        Ground(
            "simulated",
            LabelledSeries(shape, shape, simulate(shape, 300_000, SIMULATED_DAYS, seed).series),
            14,
        )
        for shape in SHAPES
    ]


def of_folder(folder: Path) -> list[Ground]:
    """Return the series of a folder of unlabelled and labelled files, as `faults` reads them."""
    grounds = []
    for part in ("unlabelled", "labelled"):
        for path in find_series(folder, part):
            series = read_series(path)
            if part == "unlabelled":
                last = series.times[0] + CLEAN_DAYS * DAY_MS
                series = series.part(0, int(np.searchsorted(series.times, last)))
            days = 28 if whole_step(series.series) >= HOUR_MS else 14
            grounds.append(Ground(part, series, min(days, int(0.6 * series.days))))
    return grounds


def of_nab(root: Path) -> list[Ground]:
    """Return the series of NAB; most of them are of two weeks, which is less than is needed."""
    nab = Nab(root)
    paths = sorted((root / "data").rglob("*.csv"))
    series = [nab.series(f"{path.parent.name}/{path.name}") for path in paths]
    return [Ground("NAB", each, 14 if each.days > 22 else 10) for each in series if each.days > 12]


def draw(grounds: Sequence[Ground], number: int, seed: int) -> Retraining:
    """Return a retraining; every third one is worse."""
    rng = np.random.default_rng([seed, number])
    names = list(DEFECTS)
    defect = names[number // 3 % len(names)] if number % 3 == 0 else None
    sources = sorted({ground.source for ground in grounds})
    chosen = [each for each in grounds if each.source == sources[number // 9 % len(sources)]]
    while True:
        ground = chosen[int(rng.integers(len(chosen)))]
        age = int(rng.choice(AGES))
        times = ground.series.times
        earliest = int(times[0]) + (ground.days + age) * DAY_MS
        if earliest >= times[-1]:
            continue
        until = int(rng.integers(earliest, int(times[-1])))
        since = until - age * DAY_MS
        old = between(ground.series, since - ground.days * DAY_MS, since)
        new = between(ground.series, until - ground.days * DAY_MS, until)
        if old is None or new is None:
            continue
        if defect:
            changed = DEFECTS[defect](new, since, rng)
            new = LabelledSeries(new.name, new.origin, changed, left_out=new.left_out)
        return Retraining(ground.source, old, new, until, age, defect)


def between(series: LabelledSeries, start: int, stop: int) -> LabelledSeries | None:
    """Return the readings of a time, labelled incidents left out; None where there are too few."""
    first, last = np.searchsorted(series.times, [start, stop]).tolist()
    if last - first < MIN_READINGS:
        return None
    part = series.series[first:last]
    known = (
        np.concatenate([series.windows, series.left_out]) if len(series.windows) else no_ranges()
    )
    plain = LabelledSeries(series.name, series.origin, part)
    return plain.leaving_out(reached([tuple(each) for each in known.tolist()], plain))


PLAN = RunPlan(run="bench", until=0)
"""Settings of both trainings, as a fleet is retrained by default."""


# --- measure ------------------------------------------------------------------------------------


def retrain(retraining: Retraining, plan: RunPlan = PLAN) -> Result | None:
    """Return what the guard makes of a retraining; None where there is no live model."""
    step = whole_step(retraining.old.series)
    metric = f"Bench/Guard Value Average {max(step // 60_000, 1) * 60}"
    periods = round(retraining.old.days * DAY_MS / step)
    then = retraining.until - retraining.age * DAY_MS
    before = Task("guard", metric, "bench", periods, then)
    _, _, data = train_model(plan, before, retraining.old, None)
    if data is None:
        return None
    live = LiveModel(*unpack(data, digest(data)))
    now = Task("guard", metric, "bench", periods, retraining.until)
    verdict, _, _ = train_model(plan, now, retraining.new, live)
    return Result(
        retraining.source, retraining.old.name, retraining.age, retraining.defect, verdict
    )


def guard(
    data: Annotated[
        Path | None, typer.Option(help="A folder of unlabelled/ and labelled/ CSV files.")
    ] = None,
    nab: Annotated[Path | None, typer.Option(envvar="NAB_ROOT", help="NAB's folder.")] = None,
    retrainings: Annotated[int, typer.Option(min=3, help="How many, a third of them worse.")] = 200,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    jobs: Jobs = -1,
    out: Out = None,
) -> None:
    """Simulate retrainings, and count which the guard refuses."""
    console = Console()
    grounds = simulated(seed)
    grounds += of_folder(data) if data else []
    grounds += of_nab(nab) if nab else []
    results: list[Result] = []
    with show_progress(console) as on_progress:
        work = (delayed(retrain)(draw(grounds, number, seed)) for number in range(retrainings))
        for done, result in enumerate(Parallel(jobs, return_as="generator")(work), start=1):
            results += [result] if result else []
            on_progress("Retraining", done, retrainings)
    show(results, console)
    if out:
        out.write_bytes(msgspec.json.encode(results))


REASONS = ("incident", "injected faults", "alerts a week")
"""Words of the guard's reasons; any other one is of the data."""


def show(results: Sequence[Result], console: Console) -> None:
    """Print how many were refused, by kind and source; and how much equals differ."""
    sources = sorted({each.source for each in results})
    table = new_table("Refused by the guard", None, "new model", *sources, "all")
    for title, chosen in (
        *(
            (f"worse: {name}", [each for each in results if each.defect == name])
            for name in DEFECTS
        ),
        ("worse, all", [each for each in results if each.defect]),
        ("no worse", [each for each in results if not each.defect]),
    ):
        of_sources = [[each for each in chosen if each.source == source] for source in sources]
        table.add_row(title, *map(refused, [*of_sources, chosen]))
    print_table(table, console)
    reasons = Counter(
        next((word for word in REASONS if word in each.verdict.reason), "data")
        for each in results
        if not each.defect and not each.verdict.publish
    )
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    console.print(f"Why those that are no worse were refused: {listed or 'none was'}")
    pairs = [
        (each.verdict.new, each.verdict.live)
        for each in results
        if not each.defect and each.verdict.new and each.verdict.live
    ]
    found = [(new.faults_found, live.faults_found) for new, live in pairs]
    fewer = np.array([b - a for a, b in found if a is not None and b is not None])
    more = np.array([new.alerts_a_week - live.alerts_a_week for new, live in pairs])
    console.print(
        f"Of {len(pairs)} models that are no worse, {100 * (fewer > FEWER_FAULTS).mean():.1f} % "
        f"find fewer faults than the live one by more than {FEWER_FAULTS:g}, and "
        f"{100 * (more > MORE_ALERTS).mean():.1f} % raise more than {MORE_ALERTS:g} alerts a week "
        "more",
        soft_wrap=True,
    )


def refused(results: Sequence[Result]) -> str:
    """Return how many of the retrainings were refused."""
    return f"{sum(not each.verdict.publish for each in results)}/{len(results)}"
