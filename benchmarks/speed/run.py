"""`python -m benchmarks speed`: this project and its peers, measured side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.speed import MissingError
from benchmarks.speed.harness import Section, Setting, keep_off, this_machine
from benchmarks.speed.installation import (
    KEPT,
    Installation,
    facts,
    find_installation,
    fit_models,
    seconds_to_make,
    served_bucket,
)
from benchmarks.speed.report import (
    PICTURE,
    Growth,
    Results,
    as_json,
    draw,
    markdown,
    show_results,
)
from benchmarks.speed.scoring import (
    contextual,
    forest_sizes,
    lstm,
    many_features,
    million_values,
    one_value,
)
from benchmarks.speed.serving import cold_start, models, package_sizes, readings, warm
from local.stack import isolate_from_aws

SECTIONS: dict[str, Section] = {
    "cold-start": cold_start,
    "warm": warm,
    "one-value": one_value,
    "million-values": million_values,
    "many-features": many_features,
    "contextual": contextual,
    "lstm": lstm,
    "package": package_sizes,
    "readings": readings,
    "forest-sizes": forest_sizes,
    "models": models,
}


def section_name(text: str) -> str:
    """Read --only."""
    if text not in SECTIONS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(SECTIONS)}")
    return text


def speed(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds and sizes: two minutes.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            parser=section_name,
            metavar="SECTION",
            help=f"Measure only this; repeatable: {', '.join(SECTIONS)}.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=r"Folder of the results.  \[default: runs/bench, or runs/bench-quick]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure this project and its peers side by side.

    On one core, in processes of their own, in turn. Writes a table, a picture and every figure.
    """
    out = out or Path("runs/bench-quick" if quick else "runs/bench")
    console, began = Console(), time.time()
    results = measure(only or list(SECTIONS), console, quick=quick)
    installing = seconds_to_make(since=began)
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.md").write_text(markdown(results), encoding="utf-8")
    (out / "bench.json").write_text(as_json(results), encoding="utf-8")
    draw(results, out / PICTURE)
    show_results(results, console)
    measuring = time.time() - began - installing
    console.print(
        f"\nMeasured in {measuring:.0f} s, after {installing:.0f} s of installing what is kept in "
        f"{KEPT.name} ({seconds_to_make():.0f} s in all).\n"
        f"Table: {out / 'bench.md'}  every figure: {out / 'bench.json'}  "
        f"picture: {out / PICTURE}",
        highlight=False,
        soft_wrap=True,
    )


def measure(names: Sequence[str], console: Console, *, quick: bool) -> Results:
    """Measure these sections on one core, which this process itself leaves free."""
    installed, machine = find_installation(), this_machine()

    def installation() -> Installation:
        if installed is None:
            raise MissingError("no Python 3.13 was found here")
        return installed

    keep_off(machine)
    isolate_from_aws()
    columns = (TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        bucket = running.enter_context(served_bucket(fit_models(folder)))
        progress = running.enter_context(Progress(*columns, console=console, transient=True))
        task = progress.add_task("", total=len(names))

        def show(text: str) -> None:
            progress.update(task, description=text)

        def on_done(name: str, seconds: float) -> None:
            progress.console.print(f"{name:16} {seconds:4.0f} s", style="dim")
            progress.advance(task)

        setting = Setting(machine, installation, bucket, folder, show, quick)
        results = measure_sections({name: SECTIONS[name] for name in names}, setting, on_done)
    results.facts = {
        "Measured on": f"{datetime.now(UTC):%d %B %Y}" + (", quickly" if quick else ""),
        "Machine": str(machine),
        **facts(installed),
    }
    return results


def measure_sections(
    sections: Mapping[str, Section], setting: Setting, on_done: Callable[[str, float], None]
) -> Results:
    """Measure one section after the other; skip what can't be measured here, with the reason.

    Parameters
    ----------
    on_done
        Called with the name of each section and the seconds that it took.
    """
    results = Results()
    for name, section in sections.items():
        began = time.perf_counter()
        try:
            for measured in section(setting):
                if isinstance(measured, Growth):
                    results.growths.append(measured)
                else:
                    results.rows.append(measured)
        except MissingError as error:
            results.skipped[name] = str(error)
        on_done(name, time.perf_counter() - began)
    return results
