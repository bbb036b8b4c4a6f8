"""`python -m benchmarks life`: the whole life of a metric, simulated, case by case.

Every case is a function from a `Setting` to records. It simulates a metric, runs the detector with
and without an incident, and records whether that was found, by how many alerts, how late, and what
else was alerted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from benchmarks.detection.counting import BUDGETS, HOUR_MS
from benchmarks.detection.peers import detect_each, flags_of
from benchmarks.detection.report import (
    MAX_PICTURES,
    Jobs,
    Names,
    Out,
    Peers,
    Plots,
    check_choices,
    check_detectors,
    check_writable,
    draw,
    file_name,
    life_summary,
    life_tables,
    print_tables,
    run_tasks,
    write_json,
)
from benchmarks.detection.simulation import (
    JOBS,
    PERIODS,
    SHAPES,
    Metric,
    Record,
    Setting,
    found_only,
    incident,
    ordinary,
    outage,
    record,
    rises,
    simulate,
)
from ops_anomaly.detection.types import WEEK, Series
from training.sources.series import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection

    Case = Callable[[Setting], list[Record]]


def life(
    detector: Names = None,
    peers: Peers = False,
    case: Annotated[
        list[str] | None, typer.Option(help="Run only this, as outage; repeatable.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help='Run only this, as "weekly 60"; repeatable.')
    ] = None,
    period: Annotated[
        list[str] | None, typer.Option(help='Run only this, as "5 min"; repeatable.')
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Simulations of each case.")] = 3,
    sensitivity: Annotated[float, typer.Option(min=0.01, help="False alerts a week.")] = 1.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two periods, six shapes, one seed: a minute.")
    ] = False,
    jobs: Jobs = -1,
    out: Out = None,
    plots: Plots = None,
) -> None:
    """Simulate the life of metrics: new, broken, shifted, with gaps, on weekends, ordinary."""
    names = check_detectors(detector, peers)
    check_choices("--case", case or (), CASES)
    check_choices("--shape", shape or (), SHAPES)
    check_choices("--period", period or (), PERIODS)
    check_writable(out, plots)
    seeds = 1 if quick else seeds
    chosen = choose(names, seeds, sensitivity, quick, case, period, shape)
    if not chosen:
        raise typer.BadParameter("no case has this shape at this period", param_hint="--case")
    tasks = [(run_case, (setting,)) for setting in chosen]
    records = [each for made in run_tasks("Cases", tasks, jobs) for each in made]
    print_tables(life_tables(records))
    if out:
        options = {"benchmark": "life", "detectors": names, "seeds": seeds, "quick": quick}
        write_json(out, options | {"sensitivity": sensitivity}, records, life_summary(records))
    if plots:
        draw_worst(records, plots)


def choose(
    names: Sequence[str],
    seeds: int,
    sensitivity: float,
    quick: bool = False,
    cases: Sequence[str] | None = None,
    periods: Sequence[str] | None = None,
    shapes: Sequence[str] | None = None,
) -> list[Setting]:
    """Return every setting of the chosen cases, periods and shapes; all where none is chosen."""
    return [
        Setting(name, period, shape, seed, sensitivity, case)
        for name in names
        for case, (_, suited, possible) in CASES.items()
        for period in possible
        for shape in suited
        for seed in range(seeds)
        if case in (cases or CASES)
        and period in (periods or (QUICK_PERIODS if quick else PERIODS))
        and shape in (shapes or (QUICK_SHAPES if quick else SHAPES))
    ]


def run_case(setting: Setting) -> list[Record]:
    """Run one group of cases."""
    return CASES[setting.group][0](setting)


def draw_worst(records: list[Record], folder: Path) -> None:
    """Draw cases that went wrong, one of each case and detector, at most `MAX_PICTURES`."""
    wrong = [r for r in records if False in (r.found, r.single, r.recovered)]
    wrong += [r for r in records if (r.false or 0) > (r.weeks or 0) * 3 * r.sensitivity + 1]
    first = {(r.detector, r.case): r for r in reversed(wrong) if r.start >= 0}
    for each in list(first.values())[:MAX_PICTURES]:
        draw_case(each, folder)


def draw_case(r: Record, folder: Path) -> None:
    """Run a case again, and draw the metric and what the detector found in it."""
    seen: list[tuple[Record, Metric, Detection]] = []
    setting = Setting(r.detector, r.period, r.shape, r.seed, r.sensitivity, r.group)
    run_case(replace(setting, observer=lambda *each: seen.append(each)))
    for made, metric, detection in seen:
        if (made.case, made.start, made.stop) == (r.case, r.start, r.stop):
            name = f"{r.detector} {r.case} {r.shape} {r.period}"
            outcome = f"found {r.found}, one {r.single}, recovered {r.recovered}, false {r.false}"
            path = folder / f"life-{file_name(name)}.png"
            draw(metric.series, detection, (r.start, r.stop), f"{name}: {outcome}", path)
            return


def new_metric(setting: Setting) -> list[Record]:
    """Count false alerts of a new metric, hours 12 to 72."""
    before_weekend = 1.9 if setting.shape.startswith("weekly") else 7.0
    start = float(setting.rng("new").uniform(0, before_weekend))
    metric = setting.simulate(3, start)
    part = metric.during(round(12 * HOUR_MS / metric.period), 60 * HOUR_MS)
    result = setting.detect(metric, 0.2)
    return [ordinary(setting, "new metric, hours 12-72", metric, result, part, 0.2)]


def first_weekend(setting: Setting) -> list[Record]:
    """Count alerts on the first weekend, and on the Monday after it."""
    metric = setting.simulate(8, 0.0)
    result = setting.detect(metric)
    weekend = slice(metric.position(5), metric.position(7))
    monday = slice(metric.position(7), metric.position(8))
    return [
        ordinary(setting, "first weekend", metric, result, weekend),
        ordinary(setting, "first Monday", metric, result, monday),
    ]


def outages(setting: Setting) -> list[Record]:
    """Break a busy hour, and do the same again 1, 3 and 6 days later."""
    rng = setting.rng("outage")
    day = setting.history
    metric = setting.simulate(day + max(setting.lags) + 1.7, 2.0)
    depth = float(rng.choice([0.0, 0.3]))
    hour = float(rng.uniform(10, 15))
    clean = setting.detect(metric)
    records = []
    for minutes in (15, 30, 60, 240):
        if minutes * MINUTE_MS < metric.period:
            continue
        part = metric.during(metric.position(day + hour / 24), minutes * MINUTE_MS)
        broken = outage(metric, part, depth)
        faulty = setting.detect(broken[: part.stop + round(DAY_MS / metric.period)])
        seen = broken[: len(faulty.is_anomaly)]
        made = incident(setting, f"outage {minutes} min", clean, faulty, seen, part)
        records.append(made)
        if made.found and minutes == 60:
            records += repeats(setting, clean, broken, part, depth)
    return records


def repeats(
    setting: Setting, clean: Detection, broken: Metric, part: slice, depth: float
) -> list[Record]:
    """Repeat the outage of `part` some days later."""
    records = []
    for days in setting.lags:
        shift = round(days * DAY_MS / broken.period)
        again = slice(part.start + shift, part.stop + shift)
        metric = outage(broken, again, depth)[: again.stop + round(DAY_MS / broken.period)]
        faulty = setting.detect(metric)
        records.append(incident(setting, f"again after {days} d", clean, faulty, metric, again))
    return records


def flatlines(setting: Setting) -> list[Record]:
    """Let the value stand still from a random hour on."""
    rng = setting.rng("flat")
    metric = setting.simulate(setting.history + 3)
    clean = setting.detect(metric)
    records = []
    for hours in (2, 6, 24):
        if hours * HOUR_MS < 6 * metric.period:
            continue
        part = metric.during(metric.position(setting.history + rng.random()), hours * HOUR_MS)
        stuck = metric.with_values(part, metric.values[part.start - 1])[
            : part.stop + metric.readings(HOUR_MS)
        ]
        faulty = setting.detect(stuck)
        made = incident(setting, f"flatline {hours} h", clean, faulty, stuck, part)
        records.append(found_only(made))
    return records


def jobs(setting: Setting) -> list[Record]:
    """Leave a nightly job out, or run it at another time."""
    metric = setting.simulate(setting.history + 2)
    clean = setting.detect(metric)
    nightly = JOBS[setting.shape]
    at = metric.position(setting.history + nightly.start / 24)
    usual = metric.during(at, round(nightly.longest * HOUR_MS))
    length = usual.stop - usual.start
    idle = metric.values[usual.stop : usual.stop + length]
    work = metric.values[usual] - idle
    missing = metric.with_values(usual, idle)
    records = [job_record(setting, "job missing", clean, missing, [usual])]
    for hours in (6, 12):
        start = usual.start + round(hours * HOUR_MS / metric.period)
        late = slice(start, start + length)
        moved = missing.with_values(late, missing.values[late] + work)
        records.append(job_record(setting, f"job {hours} h late", clean, moved, [usual, late]))
    return records


def job_record(
    setting: Setting, case: str, clean: Detection, metric: Metric, parts: list[slice]
) -> Record:
    """Record an incident at several parts: found at one of them is found."""
    shown = metric[: parts[-1].stop + metric.readings(2 * HOUR_MS)]
    faulty = setting.detect(shown)
    made = [incident(setting, case, clean, faulty, shown, part) for part in parts]
    first = next((each for each in made if each.found), made[0])
    return found_only(first)


def weekends(setting: Setting) -> list[Record]:
    """Break, or halve, an hour of each weekday, after two weeks of history."""
    rng = setting.rng("weekends")
    metric = setting.simulate(22)
    clean = setting.detect(metric)
    records = []
    for day in range(7):
        part = metric.during(metric.position(14 + day + rng.uniform(11, 14) / 24), HOUR_MS)
        stop = part.stop + metric.readings(2 * HOUR_MS)
        name = "Sat/Sun" if day >= 5 else "Mon-Fri"
        for what, depth in (("outage", 0.0), ("halved", 0.5)):
            broken = outage(metric, part, depth)[:stop]
            case = f"weeks: {what} {name}"
            made = incident(setting, case, clean, setting.detect(broken), broken, part)
            records.append(found_only(made))
    return records


def few_readings(setting: Setting) -> list[Record]:
    """Put the last one or three of 12 to 65 readings at 20 robust deviations."""
    rng = setting.rng("few")
    records = []
    for n in (12, 15, 20, 25, 30, 40, 50, 65):
        start = float(rng.uniform(0, 7))
        metric = setting.simulate(n * setting.period_ms / DAY_MS + 0.001, start)[:n]
        deviation = 1.4826 * np.median(np.abs(metric.values - np.median(metric.values)))
        size = 20 * max(float(deviation), 0.01 * abs(float(np.median(metric.values))), 0.05)
        name = "under 20" if n < 20 else "20 to 65"
        clean = setting.detect(metric)
        records.append(ordinary(setting, f"few readings ({name})", metric, clean, slice(0, n)))
        for last in (1, 3):
            part = slice(n - last, n)
            gross = metric.with_values(part, float(np.median(metric.values)) + size)
            records += gross_value(setting, name, clean, gross, part)
    return records


def gross_value(
    setting: Setting, name: str, clean: Detection, metric: Metric, part: slice
) -> list[Record]:
    """Record a gross value after few readings: found, or declared impossible to evaluate."""
    result, n = setting.detect(metric), len(metric)
    flags = flags_of(result, n) & ~flags_of(clean, n)
    found = bool(flags[part].any())
    declines = not bool(result.can_evaluate[part].any())
    return [
        record(setting, f"few: found, {name}", found=found),
        record(setting, f"few: or declined, {name}", found=found or declines),
    ]


def short_spikes(setting: Setting) -> list[Record]:
    """Put one reading off by 8 robust deviations of one-step errors, within the day's range.

    The errors are those of forecasting the next deviation from the curve by the last one.
    """
    rng = setting.rng("spikes")
    metric = setting.simulate(setting.history + 1)
    clean = setting.detect(metric)
    day = metric.values[metric.position(setting.history - 1) :]
    low, high = np.quantile(day, (0.01, 0.99))
    records = []
    for sign, name in ((1, "spike in range"), (-1, "dip in range")):
        size = sign * 8 * metric.one_step_error
        for _ in range(4):
            at = place_within(metric, setting.history, size, low, high, rng)
            if at is not None:
                part = slice(at, at + 1)
                odd = metric.with_values(part, metric.curve[at] + size)
                odd = odd[: at + 1 + metric.readings(HOUR_MS)]
                made = incident(setting, name, clean, setting.detect(odd), odd, part)
                records.append(found_only(made))
    return records


def place_within(
    metric: Metric, day: int, size: float, low: float, high: float, rng: np.random.Generator
) -> int | None:
    """Return a position on a day where a step of `size` off the curve stays within a range."""
    for _ in range(60):
        at = metric.position(day + 0.9 * rng.random())
        if low <= metric.curve[at] + size <= high:
            return at
    return None


def level_shift(setting: Setting) -> list[Record]:
    """Shift the level for good: one alert, none after two days, then sensitive as before."""
    rng = setting.rng("shift")
    day = setting.history
    factor = float(rng.choice([0.5, 1.8])) if not rises(setting.shape) else 3.0
    lasting = 5 if setting.period_ms >= MINUTE_MS else 3
    metric = setting.simulate(day + lasting + 1)
    at = metric.position(day + rng.uniform(9, 15) / 24)
    shifted = metric.with_values(slice(at, None), factor * metric.values[at:])
    before, after = setting.detect(metric), setting.detect(shifted)
    two_days, end = at + round(2 * DAY_MS / metric.period), metric.position(day + lasting)
    shift = incident(setting, "level shift", before, after, shifted, slice(at, two_days))
    usual = flags_of(before, len(metric))
    later = bool((flags_of(after, len(metric)) & ~usual)[two_days:end].any())
    alerts = [alert.start for alert in after.alerts if at <= alert.start < two_days]
    starts = {start for start in alerts if not usual[start]}
    return [
        replace(shift, single=len(starts) == 1, recovered=not later),
        *at_new_level(setting, shifted, after, shifted.position(day + lasting + 0.5)),
    ]


def at_new_level(setting: Setting, shifted: Metric, clean: Detection, at: int) -> list[Record]:
    """Break the shifted metric for an hour, or by one reading."""
    part, spike = shifted.during(at, HOUR_MS), slice(at, at + 1)
    stop = part.stop + shifted.readings(2 * HOUR_MS)
    size = 1.0 if setting.shape != "steady" else 0.02  # 20 deviations of what is nearly constant
    odd = shifted.with_values(spike, (1 + size) * shifted.values[spike])
    records = []
    for case, changed, where in (
        ("shift: outage then", outage(shifted, part, 0.0), part),
        ("shift: spike then", odd, spike),
    ):
        shown = changed[:stop]
        made = incident(setting, case, clean, setting.detect(shown), shown, where)
        records.append(found_only(made))
    return records


def drifts(setting: Setting) -> list[Record]:
    """Drift by two daily ranges within a day; and grow by 5 % a week, which is ordinary."""
    metric = setting.simulate(setting.history + 2)
    clean = setting.detect(metric)
    part = metric.during(metric.position(setting.history), DAY_MS)
    day = metric.values[metric.position(setting.history - 1) : part.start]
    size = 2 * max(float(np.ptp(np.quantile(day, (0.01, 0.99)))), 10 * metric.noise)
    ramp = np.linspace(0, size, part.stop - part.start)
    drifting = metric.with_values(part, metric.values[part] + ramp)[: part.stop]
    faulty = setting.detect(drifting)
    found = incident(setting, "drift within a day", clean, faulty, drifting, part)
    growth = 1 + 0.05 * (metric.times - metric.times[0]) / WEEK
    grown = metric.with_values(slice(None), metric.values * growth)
    part = slice(metric.position(setting.history / 2), len(metric))
    slow = ordinary(setting, "growth 5 % a week", grown, setting.detect(grown), part)
    return [found_only(found), slow]


def gaps(setting: Setting) -> list[Record]:
    """Leave an hour, or a day, without readings: alerts in the day after it."""
    metric = setting.simulate(setting.history + 3)
    records = []
    for hours in (1, 24):
        if hours * HOUR_MS <= metric.period:
            continue
        missing = metric.during(metric.position(setting.history + 0.4), hours * HOUR_MS)
        kept = np.ones(len(metric), bool)
        kept[missing] = False
        gapped = metric[kept]
        part = gapped.during(missing.start, DAY_MS)
        records.append(ordinary(setting, f"gap of {hours} h", gapped, setting.detect(gapped), part))
    return records


def irregular(setting: Setting) -> list[Record]:
    """Read at uneven times, one in twenty missing: false alerts, and an outage."""
    rng = setting.rng("irregular")
    metric = setting.simulate(setting.history + 2)
    jitter = (metric.period * 0.3 * rng.uniform(-1, 1, len(metric))).astype(np.int64)
    metric = replace(metric, series=Series(metric.times + jitter, metric.values))
    metric = metric[rng.random(len(metric)) > 0.05]
    clean = setting.detect(metric)
    at = metric.position(setting.history + 0.5)
    stop = int(np.searchsorted(metric.times, metric.times[at] + HOUR_MS))
    part = slice(at, max(stop, at + 1))
    broken = outage(metric, part, 0.0)
    found = incident(setting, "irregular: outage", clean, setting.detect(broken), broken, part)
    steady = slice(metric.position(setting.history / 2), len(metric))
    return [found_only(found), ordinary(setting, "irregular times", metric, clean, steady)]


def clock_change(setting: Setting) -> list[Record]:
    """Begin the day an hour earlier from a Sunday on: alerts in the three days after it."""
    day = setting.history // 7 * 7 + 6 if setting.history > 6 else setting.history
    early = setting.simulate(day + 3)
    late = simulate(setting.shape, setting.period_ms, day + 3, setting.seed, 1 / 24)
    at = early.position(day + 2 / 24)
    values = np.concatenate([early.values[:at], late.values[at:]])
    metric = early.with_values(slice(None), values)
    part = slice(at, len(metric))
    return [ordinary(setting, "clock change", metric, setting.detect(metric), part)]


def constants(setting: Setting) -> list[Record]:
    """Read a constant, exact or as arithmetic rounds it: alerts after the first day."""
    rng = setting.rng("constant")
    metric = setting.simulate(setting.history)
    part = slice(metric.position(1), len(metric))
    level = float(rng.choice([0.3, 1.1, 97.3]))
    units = rng.integers(-1, 2, len(metric)) * (rng.random(len(metric)) < 0.05)
    rounded = metric.with_values(slice(None), level + units * np.spacing(level))
    exact = metric.with_values(slice(None), level)
    return [
        ordinary(setting, "constant", exact, setting.detect(exact), part),
        ordinary(setting, "constant, rounded", rounded, setting.detect(rounded), part),
    ]


def false_alerts(setting: Setting) -> list[Record]:
    """Count false alerts of an ordinary series at several sensitivities."""
    days = {"10 s": 4, "1 min": 14, "5 min": 42, "1 h": 112}[setting.period]
    metric = setting.simulate(days)
    part = slice(metric.position(min(14, 0.35 * days)), len(metric))
    results = detect_each(setting.detector, metric.series, BUDGETS)
    records = [
        ordinary(setting, "ordinary weeks", metric, result, part, budget)
        for budget, result in zip(BUDGETS, results, strict=True)
    ]
    flags = flags_of(results[1], len(metric))
    records.append(record(setting, "flagged, ordinary weeks", share=float(flags[part].mean())))
    return records + bounds(setting, metric, results[1], part)


def bounds(setting: Setting, metric: Metric, result: Detection, part: slice) -> list[Record]:
    """Check the bounds: known, of some width, not negative, and exceeded by what alerts."""
    lower, upper = np.asarray(result.lower), np.asarray(result.upper)
    share = float(result.can_evaluate[part].mean())
    able = record(setting, "enough history, once settled", share=share)
    if len(lower) != len(metric):
        return [able]
    low, high, values = lower[part], upper[part], metric.values[part]
    known = np.isfinite(low) & np.isfinite(high)
    checks = {"bounds: known": float(known.mean())}
    if known.any():
        checks["bounds: of some width"] = float((high > low)[known].mean())
        checks["bounds: not negative"] = float((low >= 0)[known].mean())
        inside = (values >= low) & (values <= high)
        checks["bounds: hold what is ordinary"] = float(inside[known].mean())
        offsets = [alert.start - part.start for alert in result.alerts]
        starts = [at for at in offsets if at >= 0 and known[at]]
        if starts:
            checks["bounds: left by what alerts"] = float((~inside[starts]).mean())
    return [able, *(record(setting, case, share=share) for case, share in checks.items())]


SEASONAL = ("daily", "weekly 60", "heavy", "bursts", "counts", "percent")
ALL = tuple(PERIODS)
ORDINARY = (*SEASONAL, "sparse", "idle", "job", "backup", "steady")

CASES: dict[str, tuple[Case, tuple[str, ...], tuple[str, ...]]] = {
    # name: what is run, of which shapes, at which periods
    "new": (new_metric, (*ORDINARY, "weekly 30"), ALL),
    "first-weekend": (first_weekend, ("weekly 60", "weekly 30"), ("1 min", "5 min", "1 h")),
    "outage": (outages, ORDINARY, ALL),
    "flat": (flatlines, (*SEASONAL, "steady"), ALL),
    "job": (jobs, ("job", "backup"), ALL),
    "weekends": (weekends, ("weekly 60", "weekly 30"), ("1 min", "5 min", "1 h")),
    "few": (few_readings, ("daily", "heavy", "idle", "steady", "percent"), ALL),
    "spikes": (short_spikes, ("daily", "weekly 60"), ALL),
    "shift": (level_shift, ("daily", "weekly 60", "heavy", "counts", "steady"), ALL),
    "drift": (drifts, ("daily", "weekly 60", "heavy", "counts"), ALL),
    "gaps": (gaps, ("daily", "weekly 60", "heavy", "job"), ALL),
    "irregular": (irregular, ("daily", "weekly 60", "heavy"), ALL),
    "clock": (clock_change, ("daily", "job", "percent"), ALL),
    "constant": (constants, ("steady",), ALL),
    "false-alerts": (false_alerts, ORDINARY, ALL),
}

QUICK_PERIODS = ("5 min", "1 h")
QUICK_SHAPES = ("daily", "weekly 60", "heavy", "idle", "job", "steady")
