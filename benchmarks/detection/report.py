"""What `life` and `faults` share: options, tables of 80 columns, JSON, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import joblib
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.detection.counting import BUDGETS, UNTOUCHED, Trial, Untouched
from benchmarks.detection.nab_report import write_whole
from benchmarks.detection.peers import PEERS, UnknownDetectorError, flags_of, load
from benchmarks.detection.simulation import PERIODS, Record
from training import RunError
from training.console import new_table, show_progress
from training.pictures import ALERT, DPI, FIT, INK, PALE, WINDOW
from training.sources.series import DAY_MS

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Floats, Series

    Task = tuple[Callable[..., list[Any]], tuple[Any, ...]]
    """A function that returns records, and its arguments."""

Names = Annotated[
    list[str] | None,
    typer.Option(
        "--detector",
        "-d",
        help=r"contextual, a peer, or module:function; repeatable.  \[default: contextual]",
        show_default=False,
    ),
]
Peers = Annotated[bool, typer.Option("--peers", help="Run all peers beside it.")]
Jobs = Annotated[int, typer.Option(help="Processes; -1 for all cores.")]
Out = Annotated[Path | None, typer.Option(help="Write results here, as JSON.")]
Plots = Annotated[Path | None, typer.Option(help="Draw what went wrong into this folder.")]

WIDTH = 80

COLUMNS_WIDTH = 50
"""Of all columns beside the first."""

ORDINARY_WEEKS = "ordinary weeks"

MAX_FLAGGED = 0.05
"""Share of untouched readings that may be flagged without a remark."""

MAX_PICTURES = 24


def check_detectors(names: Sequence[str] | None, peers: bool) -> list[str]:
    """Return the detectors to run, each once; raise a usage error where there is no such one."""
    chosen = [*(names or ["contextual"]), *(PEERS if peers else ())]
    for name in chosen:
        try:
            load(name)
        except UnknownDetectorError as error:
            raise typer.BadParameter(str(error), param_hint="--detector") from error
    return list(dict.fromkeys(chosen))


def check_choices(option: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Raise a usage error for a value that an option doesn't know."""
    choices = list(known)
    for value in values:
        if value not in choices:
            raise typer.BadParameter(
                f"{value!r} is not one of {', '.join(choices)}", param_hint=option
            )


def check_writable(out: Path | None, plots: Path | None) -> None:
    """Make the folders of the results, or raise `RunError` before anything is computed."""
    for folder in (out.parent if out else None, plots):
        try:
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder} can't be written: {error}; give another one") from error
    if out and out.is_dir():
        raise RunError(f"{out} is a folder; give a file, such as --out {out / 'results.json'}")


def run_tasks(stage: str, tasks: Sequence[Task], jobs: int) -> list[list[Any]]:
    """Return the results of tasks in their order, with progress on standard error."""
    calls = (joblib.delayed(single_threaded)(*task) for task in tasks)
    results: list[list[Any]] = []
    with show_progress(Console(stderr=True)) as on_progress:
        on_progress(stage, 0, len(tasks))
        for each in joblib.Parallel(n_jobs=jobs, return_as="generator")(calls):
            results.append(each)
            on_progress(stage, len(results), len(tasks))
    return results


def single_threaded(function: Callable[..., list[Any]], arguments: tuple[Any, ...]) -> list[Any]:
    """Run one task with one thread in array libraries: more cost 15 times the processor time."""
    with threadpool_limits(1):
        return function(*arguments)


def print_tables(tables: Iterable[Table], remarks: Iterable[str] = ()) -> None:
    """Print tables, an empty line after each, and remarks; never wider than 80 columns."""
    console = Console(width=WIDTH)
    for each in tables:
        console.print(each)
        console.print()
    for remark in remarks:
        console.print(remark, markup=False, highlight=False)


def write_json(path: Path, command: dict[str, Any], records: list[Any], summary: Any) -> None:
    """Write the options, the summary and the records; raise `RunError` where that fails."""
    rows = [asdict(record) for record in records]
    content = plain({"command": command, "summary": summary, "records": rows})
    try:
        write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"{path} can't be written: {error}") from error


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str | None = None
) -> Table:
    """Return a compact table whose first column is text and whose others are numbers."""
    made = new_table(title, note, *columns)
    made.box = None
    for row in rows:
        made.add_row(*row)
    return made


def life_tables(records: list[Record]) -> Iterator[Table]:
    """Yield the tables of `life`, detector by detector, and beside each other."""
    names = list(dict.fromkeys(record.detector for record in records))
    for name in names:
        yield from detector_tables(name, [r for r in records if r.detector == name])
    if len(names) > 1:
        yield comparison(names, records, "found")
        yield comparison(names, records, "false")


def detector_tables(name: str, records: list[Record]) -> Iterator[Table]:
    """Yield the tables of one detector."""
    weeks = [r for r in records if r.case == ORDINARY_WEEKS]
    other = [r for r in records if r.false is not None and r.case != ORDINARY_WEEKS]
    for make, rows in (
        (found_table, [r for r in records if r.found is not None]),
        (ordinary_table, other),
        (share_table, [r for r in records if r.share is not None]),
        (budget_table, weeks),
        (shape_table, weeks),
    ):
        if rows:
            yield make(name, rows)


def comparison(names: list[str], records: list[Record], attribute: str) -> Table:
    """Return a case a row and a detector a column: % found, or false alerts a series."""
    known = [r for r in records if getattr(r, attribute) is not None]
    rows = []
    for case, budget in dict.fromkeys((r.case, r.sensitivity) for r in known):
        chosen = [r for r in known if (r.case, r.sensitivity) == (case, budget)]
        row = [f"{case} @{budget:g}"]
        for name in names:
            values = [getattr(r, attribute) for r in chosen if r.detector == name]
            row.append(percent(values) if attribute == "found" else number(mean(values)))
        rows.append(row)
    title = "% found" if attribute == "found" else "False alerts a series"
    return table(title, ("case", *shortened(names).values()), rows)


def found_table(name: str, records: list[Record]) -> Table:
    """Return the shares found by case and period."""
    columns = ("case", "n", "found", *PERIODS, "one", "recov", "both", "delay")
    rows = []
    for case in dict.fromkeys(record.case for record in records):
        chosen = [record for record in records if record.case == case]
        by_period = [percent(r.found for r in chosen if r.period == period) for period in PERIODS]
        rows.append(
            (
                case,
                str(len(chosen)),
                percent(r.found for r in chosen),
                *by_period,
                percent(r.single for r in chosen),
                percent(r.recovered for r in chosen),
                percent(r.single and r.recovered for r in chosen if r.recovered is not None),
                median(r.delay for r in chosen),
            )
        )
    title = f"{name}: % found, by one alert, none flagged after, both; minutes"
    return table(title, columns, rows)


def ordinary_table(name: str, records: list[Record]) -> Table:
    """Return the false alerts where nothing happens."""
    columns = ("case", "n", "a series", *PERIODS, "% any", "a week")
    rows = []
    for case in dict.fromkeys(record.case for record in records):
        chosen = [record for record in records if record.case == case]
        by_period = [
            number(mean([r.false for r in chosen if r.period == period])) for period in PERIODS
        ]
        rows.append(
            (
                case,
                str(len(chosen)),
                number(mean([r.false for r in chosen])),
                *by_period,
                percent((r.false or 0) > 0 for r in chosen),
                number(rate(chosen)),
            )
        )
    return table(f"{name}: false alerts a series", columns, rows)


def share_table(name: str, records: list[Record]) -> Table:
    """Return the shares of readings, or of alerts, with a property."""
    rows = []
    for case in dict.fromkeys(record.case for record in records):
        chosen = [r for r in records if r.case == case]
        lowest = min(chosen, key=lambda r: r.share or 0)
        by_period = [
            number(mean([100 * (r.share or 0) for r in chosen if r.period == period]), 1)
            for period in PERIODS
        ]
        worst = f"{100 * (lowest.share or 0):.0f} {lowest.shape}"
        rows.append((case, str(len(chosen)), *by_period, worst))
    columns = ("", "n", *PERIODS, "worst")
    return table(f"{name}: % of ordinary readings, or of alerts", columns, rows)


def budget_table(name: str, records: list[Record]) -> Table:
    """Return the false alerts a week by budget and period."""
    rows = []
    for period in PERIODS:
        chosen = [r for r in records if r.period == period]
        if chosen:
            observed = [number(rate([r for r in chosen if r.sensitivity == b])) for b in BUDGETS]
            weeks = sum(r.weeks or 0 for r in chosen if r.sensitivity == BUDGETS[0])
            rows.append((period, *observed, number(weeks, 0)))
    columns = ("false alerts a week", *(f"budget {b:g}" for b in BUDGETS), "weeks")
    return table(f"{name}: budget and observed, ordinary series", columns, rows)


def shape_table(name: str, records: list[Record]) -> Table:
    """Return the same by shape."""
    rows = []
    for shape in dict.fromkeys(r.shape for r in records):
        chosen = [r for r in records if r.shape == shape and r.period != "10 s"]
        rows.append(
            (shape, *(number(rate([r for r in chosen if r.sensitivity == b])) for b in BUDGETS))
        )
    columns = ("by shape, without 10 s", *(f"budget {b:g}" for b in BUDGETS))
    return table(f"{name}: budget and observed, by shape", columns, rows)


def fault_tables(records: list[Trial | Untouched], summary: dict[str, Any]) -> Iterator[Table]:
    """Yield the tables of `faults`."""
    if any(isinstance(record, Trial) for record in records):
        yield injected_table(summary)
        yield kind_table(summary)
    groups = dict.fromkeys(r.group for r in records if isinstance(r, Untouched))
    for name in groups:
        if name != UNTOUCHED:
            yield labelled_table(summary, name)


def fault_remarks(summary: dict[str, Any]) -> Iterator[str]:
    """Yield what makes a detector's figures doubtful: it flags a lot, or looks ahead."""
    for name, by_budget in summary.items():
        flagged = by_budget["1"].get(UNTOUCHED, {}).get("flagged", 0)
        if flagged > MAX_FLAGGED:
            yield f"{name} flags {flagged:.0%} of all untouched readings"
        trials = max(figures["looked_ahead"] for figures in by_budget.values())
        if trials:
            yield f"{name}: flags before the fault changed in {trials} trials: it looks ahead"


def shortened(names: Sequence[str]) -> dict[str, str]:
    """Return names cut to what fits beside a case or a kind of fault."""
    return {name: name[: max(COLUMNS_WIDTH // len(names) - 1, 5)] for name in names}


def injected_table(summary: dict[str, Any]) -> Table:
    """Return the mean share found, the observed alerts, and the delay, by budget."""
    columns = ["detector"]
    for budget in BUDGETS:
        columns += [f"@{budget:g}: %", "obs.", "2nd", "min"]
    rows = []
    for name, by_budget in summary.items():
        row = [name]
        for budget in BUDGETS:
            chosen = by_budget[f"{budget:g}"]
            row += [
                number(100 * chosen["mean_share"], 0),
                number(chosen[UNTOUCHED]["false_a_week"]),
                number(100 * chosen["again_of_found_first"], 0),
                number(chosen["delay_minutes"], 0),
            ]
        rows.append(row)
    note = (
        "@: budget, alerts a week. %: mean found over kinds and series.\n"
        "obs.: alerts a week on untouched series. 2nd: % of repeated faults\n"
        "found, of those found the first time. min: median delay, minutes."
    )
    return table("Injected faults", columns, rows, note)


def kind_table(summary: dict[str, Any]) -> Table:
    """Return the share found by kind at the three budgets, for the first detectors."""
    names = list(summary)
    kinds = list(summary[names[0]]["1"]["by_kind"])
    budgets = [f"{b:g}" for b in BUDGETS] if len(names) == 1 else ["1"]
    short = shortened(names)
    columns = ["% found, by kind"]
    columns += [f"{short[n]}@{b}" if len(budgets) > 1 else short[n] for n in names for b in budgets]
    rows = []
    for kind in kinds:
        cells = [
            number(100 * summary[n][b]["by_kind"].get(kind, math.nan), 0)
            for n in names
            for b in budgets
        ]
        rows.append((kind, *cells))
    return table("Injected faults" + ("" if len(budgets) > 1 else ", budget 1"), columns, rows)


def labelled_table(summary: dict[str, Any], group: str) -> Table:
    """Return events found and false alerts a week on labelled series of one step."""
    columns = ["detector"]
    for budget in BUDGETS:
        columns += [f"@{budget:g}: found", "false", "min"]
    rows = []
    for name, by_budget in summary.items():
        row = [name]
        for budget in BUDGETS:
            chosen = by_budget[f"{budget:g}"][group]
            row += [
                f"{chosen['found']}/{chosen['events']}",
                number(chosen["false_a_week"]),
                number(chosen["delay_minutes"], 0),
            ]
        rows.append(row)
    title = f"Labelled, {group}: events found, false alerts a metric-week, median delay"
    return table(title, columns, rows)


def percent(values: Iterable[Any]) -> str:
    """Return the share of what is true among what is known, in per cent."""
    known = [float(value) for value in values if value is not None]
    return f"{100 * np.mean(known):.0f}" if known else ""


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, or nothing where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def median(values: Iterable[float | None]) -> str:
    """Return the median of what is known."""
    known = [value for value in values if value is not None]
    return f"{np.median(known):.0f}" if known else ""


def mean(values: list[Any]) -> float | None:
    """Return a mean; None of nothing."""
    return float(np.mean(values)) if values else None


def rate(records: list[Record]) -> float | None:
    """Return false alerts a week."""
    weeks = sum(r.weeks or 0 for r in records)
    return sum(r.false or 0 for r in records) / weeks if weeks else None


def plain(value: Any) -> Any:
    """Return a value as JSON has it: no numpy numbers, null for NaN."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def life_summary(records: list[Record]) -> dict[str, Any]:
    """Return the figures of `life` by detector, case and period."""
    summary: dict[str, Any] = {}
    for r in records:
        key_of = f"{r.case} @{r.sensitivity:g}"
        cell = summary.setdefault(r.detector, {}).setdefault(key_of, {}).setdefault(r.period, {})
        for key in ("found", "single", "recovered", "delay", "share", "false", "weeks"):
            value = getattr(r, key)
            if value is not None:
                cell.setdefault(key, []).append(float(value))
    for by_case in summary.values():
        for by_period in by_case.values():
            for cell in by_period.values():
                for key, values in cell.items():
                    is_count = key in {"false", "weeks"}
                    cell[key] = float(np.sum(values) if is_count else np.mean(values))
    return summary


def draw(
    series: Series,
    detection: Detection,
    part: tuple[int, int],
    title: str,
    path: Path,
    untouched: Floats | None = None,
) -> None:
    """Draw a series around a part of it: values, bounds, flags, and where alerts start."""
    times, last = series.times, min(part[1], len(series)) - 1
    first = int(np.searchsorted(times, times[part[0]] - 3 * DAY_MS))
    stop = int(np.searchsorted(times, times[last] + DAY_MS))
    shown, at = slice(first, stop), times.astype("datetime64[ms]")
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots()
    bounds = (detection.lower[shown], detection.upper[shown])
    axes.fill_between(at[shown], *bounds, color=FIT, label="bounds", step="mid")
    if untouched is not None:
        axes.plot(at[shown], untouched[shown], color=PALE, lw=0.8, label="untouched")
    axes.plot(at[shown], series.values[shown], color=INK, lw=0.8, label="values")
    axes.axvspan(at[part[0]], at[last], color=WINDOW, alpha=0.35, label="case")
    flagged = np.flatnonzero(flags_of(detection, len(series))[:stop])
    flagged = flagged[flagged >= first]
    axes.plot(at[flagged], series.values[flagged], ".", color=ALERT, ms=4, label="flagged")
    for start in [alert.start for alert in detection.alerts if first <= alert.start < stop]:
        axes.axvline(at[start], color=ALERT, lw=0.8)
    low, high = np.min(series.values[shown]), np.max(series.values[shown])
    margin = 0.1 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.set_title(title, fontsize=9, loc="left")
    axes.legend(loc="upper left", fontsize=7, ncols=6)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def file_name(text: str) -> str:
    """Return a text as a file name.

    Examples
    --------
    >>> file_name("life daily: gap, 5 min")
    'life-daily-gap-5-min'
    """
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in text).split())
