"""Measure this project and its peers side by side: make bench.

On one core, in processes of their own, in turn. Writes a page, a picture and every figure.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.speed.bucket import fit_models, served_bucket
from benchmarks.speed.errors import BenchError, MissingError
from benchmarks.speed.figures import Growth, Results
from benchmarks.speed.installation import KEPT, Installation, seconds_to_make
from benchmarks.speed.machine import keep_off, this_machine
from benchmarks.speed.picture import draw
from benchmarks.speed.report import PICTURE, as_json, markdown
from benchmarks.speed.sections.cold_start import cold_start
from benchmarks.speed.sections.growth import forest_sizes, models, readings
from benchmarks.speed.sections.kernels import many_features, million_values, one_value
from benchmarks.speed.sections.load import load
from benchmarks.speed.sections.network import lstm
from benchmarks.speed.sections.package import package
from benchmarks.speed.sections.streams import contextual_forest
from benchmarks.speed.sections.warm import warm
from benchmarks.speed.setting import Section, Setting
from benchmarks.speed.show import show
from benchmarks.speed.versions import facts, find_installation
from local.stack import forget_aws

SECTIONS: dict[str, Section] = {
    "cold-start": cold_start,
    "warm": warm,
    "one-value": one_value,
    "million-values": million_values,
    "many-features": many_features,
    "contextual": contextual_forest,
    "lstm": lstm,
    "package": package,
    "load": load,
    "readings": readings,
    "forest-sizes": forest_sizes,
    "models": models,
}
Name = StrEnum("Name", {name: name for name in SECTIONS})


def measure(names: Sequence[str], console: Console, *, quick: bool) -> Results:
    """Measure these sections on one core of this machine, which this process leaves free."""
    installed, machine = find_installation(), this_machine()

    def installation() -> Installation:
        if installed is None:
            raise MissingError("no Python 3.13 was found here")
        return installed

    keep_off(machine)
    forget_aws()
    columns = (TextColumn("{task.description:60}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        bucket = running.enter_context(served_bucket(fit_models(folder)))
        progress = running.enter_context(Progress(*columns, console=console, transient=True))
        task = progress.add_task("", total=len(names))

        def tell(text: str) -> None:
            progress.update(task, description=text)

        def tell_done(name: str, seconds: float) -> None:
            progress.console.print(f"{name:16} {seconds:4.0f} s", style="dim")
            progress.advance(task)

        setting = Setting(machine, installation, bucket, folder, tell, quick)
        results = measure_sections({name: SECTIONS[name] for name in names}, setting, tell_done)
    results.facts = {
        "Measured on": f"{datetime.now(UTC):%d %B %Y}" + (", quickly" if quick else ""),
        "Machine": str(machine),
        **facts(installed),
    }
    return results


def measure_sections(
    sections: Mapping[str, Section], setting: Setting, tell_done: Callable[[str, float], None]
) -> Results:
    """Measure one section after the other; what can't be measured here is skipped with its reason.

    Parameters
    ----------
    tell_done
        Called with the name of each section and the seconds that it took.
    """
    results = Results()
    for name, section in sections.items():
        began = time.perf_counter()
        try:
            for measured in section(setting):
                chosen = results.growths if isinstance(measured, Growth) else results.rows
                chosen.append(measured)
        except MissingError as error:
            results.skipped[name] = str(error)
        tell_done(name, time.perf_counter() - began)
    return results


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds and sizes: two minutes.")
    ] = False,
    only: Annotated[
        list[Name] | None, typer.Option(help="Measure only this; can be given several times.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder that is written into: runs/bench, quickly runs/bench-quick."),
    ] = None,
) -> None:
    """Measure this project and its peers side by side."""
    out = out or Path("runs/bench-quick" if quick else "runs/bench")
    console, began = Console(), time.time()
    results = measure([str(name) for name in only or Name], console, quick=quick)
    installing = seconds_to_make(since=began)
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.md").write_text(markdown(results), encoding="utf-8")
    (out / "bench.json").write_text(as_json(results), encoding="utf-8")
    draw(results, out / PICTURE)
    show(results, console)
    measuring = time.time() - began - installing
    console.print(
        f"\nMeasured in {measuring:.0f} s, after {installing:.0f} s of installing what is kept in "
        f"{KEPT.name} ({seconds_to_make():.0f} s in all).\n"
        f"Table: {out / 'bench.md'}  every figure: {out / 'bench.json'}  "
        f"picture: {out / PICTURE}",
        highlight=False,
        soft_wrap=True,
    )


def main() -> int:
    """Run the command line; what goes wrong is one message, not a traceback."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command(help=__doc__)(bench)
    try:
        app()
    except BenchError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; nothing is left running.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
