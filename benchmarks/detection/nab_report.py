"""Results of NAB: files in its own layout, tables beside the published scores, pictures."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from benchmarks.detection.nab_corpus import NabFile
from benchmarks.detection.nab_scoring import PROFILES, Result, Run, normalised
from training import RunError, SourceError
from training.console import NOTHING
from training.pictures import ALERT, DPI, FIT, INK, WINDOW

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats

RESULT_COLUMNS = ("timestamp", "value", "anomaly_score", "label")
SCORES_JSON = "scores.json"


def check_writable(out: Path) -> None:
    """Make the folder of the results, or raise `RunError` before anything is computed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out} can't be written: {error}; give another --out") from error


def folder_name(run: Run) -> str:
    """Return what a run is called in the results: seeds after the first are named."""
    return run.detector if run.seed == 0 else f"{run.detector}.seed{run.seed}"


def write_results(
    files: Sequence[NabFile],
    runs: Sequence[Run],
    results: Sequence[Result],
    out: Path,
) -> None:
    """Write OUT/DETECTOR/CATEGORY/DETECTOR_FILE.csv for each run and file, and scores.json.

    Each file is written beside its place and moved there whole.

    Raises
    ------
    RunError
        If the folder can't be written.
    """
    try:
        for run in runs:
            name = folder_name(run)
            for file, scores in zip(files, run.scores, strict=True):
                category, csv_name = file.name.split("/")
                rows = zip(
                    file.texts, file.values.tolist(), scores.tolist(), file.label, strict=True
                )
                write_csv(out / name / category / f"{name}_{csv_name}", rows)
        record = {
            "files": [file.name for file in files],
            "windows": sum(len(file.windows) for file in files),
            "results": [asdict(result) for result in results],
        }
        write_whole(out / SCORES_JSON, json.dumps(record, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"{out} can't be written: {error}") from error


def write_csv(path: Path, rows: zip[tuple[str, float, float, int]]) -> None:
    """Write one file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, newline="", encoding="utf-8", delete=False
    ) as file:
        writer = csv.writer(file)
        writer.writerow(RESULT_COLUMNS)
        writer.writerows(rows)
    Path(file.name).replace(path)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)


SCOREBOARD = {
    # detector: standard, reward low FP, reward low FN; NAB v1.1's README, all 58 files
    "ARTime": (74.9, 65.1, 80.4),
    "Numenta HTM": (70.5, 62.6, 75.2),
    "CAD OSE": (69.9, 67.0, 73.2),
    "earthgecko Skyline": (58.2, 46.2, 63.9),
    "KNN CAD": (58.0, 43.4, 64.8),
    "Relative Entropy": (54.6, 47.6, 58.8),
    "Random Cut Forest": (51.7, 38.4, 59.7),
    "Twitter ADVec": (47.1, 33.6, 53.5),
    "Windowed Gaussian": (39.6, 20.9, 47.4),
}

SCORES = "published/scores.csv"


def published_here(root: Path, files: list[NabFile]) -> dict[str, dict[str, float]]:
    """Return totals over exactly these files, detector -> profile -> total.

    They come from `published/scores.csv` beside the data, with NAB's columns Detector, Profile,
    File, Score; nothing where there is none.

    Raises
    ------
    SourceError
        If the file is there and can't be read.
    """
    path = root / SCORES
    if not path.exists():
        return {}
    windows = {file.name: len(file.windows) for file in files}
    raw: dict[tuple[str, str], dict[str, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                scores = raw.setdefault((row["Detector"], row["Profile"]), {})
                scores[row["File"]] = float(row["Score"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error!r}") from error
    totals: dict[str, dict[str, float]] = {}
    for (detector, profile), scores in raw.items():
        if profile in PROFILES and scores.keys() >= windows.keys():
            total = sum(scores[name] for name in windows)
            totals.setdefault(detector, {})[profile] = normalised(
                total, sum(windows.values()), PROFILES[profile]
            )
    return totals


PROFILE_TITLES = {
    "standard": "standard",
    "reward_low_FP_rate": "low FP",
    "reward_low_FN_rate": "low FN",
}


def by_detector(results: Sequence[Result], profile: str) -> dict[str, list[Result]]:
    """Return the results of one profile by detector, one for each seed."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if result.profile == profile:
            found.setdefault(result.detector, []).append(result)
    return found


def profiles_of(results: Sequence[Result]) -> list[str]:
    """Return the profiles of the results, in the order of the rules."""
    return [name for name in PROFILES if any(each.profile == name for each in results)]


def totals_table(results: Sequence[Result], published: dict[str, dict[str, float]]) -> Table:
    """Return totals by profile: those run here, those published on the same files, the board."""
    profiles = profiles_of(results)
    titles = (PROFILE_TITLES[name] for name in profiles)
    table = markdown_table("NAB", "detector", "on which files", *titles, "threshold")
    for detector in dict.fromkeys(result.detector for result in results):
        runs = {name: by_detector(results, name)[detector] for name in profiles}
        seeds = len(runs[profiles[0]])
        table.add_row(
            f"[bold]{detector}[/bold]",
            "these" + (f", {seeds} seeds" if seeds > 1 else ""),
            *(f"{mean(each.total for each in runs[name]):.1f}" for name in profiles),
            f"{mean(each.threshold for each in runs[profiles[0]]):.3g}",
        )
    table.add_section()
    for detector, totals in published.items():
        cells = (f"{totals[name]:.1f}" if name in totals else NOTHING for name in profiles)
        table.add_row(detector, "published, same", *cells, "")
    table.add_section()
    position = {name: number for number, name in enumerate(PROFILES)}
    for detector, scores in SCOREBOARD.items():
        cells = (f"{scores[position[name]]:.1f}" for name in profiles)
        table.add_row(detector, "published, all 58", *cells, "")
    return table


def categories_table(results: Sequence[Result], profile: str) -> Table:
    """Return one profile's totals by category, means over seeds."""
    found = by_detector(results, profile)
    table = markdown_table(f"By category, {PROFILE_TITLES[profile]} profile", "category", *found)
    for category in next(iter(found.values()))[0].categories:
        cells = []
        for seeds in found.values():
            totals = [each.categories[category] for each in seeds]
            known = [total for total in totals if total is not None]
            cells.append(f"{mean(known):.1f}" if known else NOTHING)
        table.add_row(category, *cells)
    return table


def files_table(results: Sequence[Result], profile: str) -> Table:
    """Return the files of the first detector, most points lost first: means over seeds."""
    detector, runs = next(iter(by_detector(results, profile).items()))
    table = markdown_table(
        f"By file, {detector}, {PROFILE_TITLES[profile]} profile",
        "file",
        "windows",
        "found",
        "false alarms",
        "score",
        "points lost",
    )
    for of_seeds in sorted(
        zip(*(run.files for run in runs), strict=True),
        key=lambda of_seeds: -mean(each.lost for each in of_seeds),
    ):
        table.add_row(
            of_seeds[0].file.split("/")[1].removesuffix(".csv"),
            str(of_seeds[0].windows),
            f"{mean(each.windows_found for each in of_seeds):.3g}",
            f"{mean(each.false_alarms for each in of_seeds):.3g}",
            f"{mean(each.score for each in of_seeds):.2f}",
            f"{mean(each.lost for each in of_seeds):.2f}",
        )
    return table


def markdown_table(title: str, *columns: str) -> Table:
    """Return an empty table, the first column to the left, numbers to the right."""
    table = Table(
        title=f"[bold]{title}[/bold]",
        title_justify="left",
        title_style="",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def draw_all(files: Sequence[NabFile], run: Run, result: Result, out: Path) -> Iterator[Path]:
    """Draw every file of a run into OUT/plots/RUN/CATEGORY, and yield each path."""
    for file, scores in zip(files, run.scores, strict=True):
        path = (out / "plots" / folder_name(run) / file.name).with_suffix(".png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_file(file, scores, result).savefig(path, dpi=DPI, metadata={"Software": None})
        except OSError as error:
            raise RunError(f"{path} can't be written: {error}") from error
        yield path


def draw_file(file: NabFile, scores: Floats, result: Result) -> Figure:
    """Draw one file: values above, scores below, windows and probation shaded."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    times = np.array(file.texts, "datetime64[s]")
    detected = np.flatnonzero(scores >= result.threshold)
    detected = detected[detected >= file.probation]
    hit = file.label[detected] == 1
    for axes in (above, below):
        axes.axvspan(times[0], times[file.probation], color=FIT)
        for first, last in file.windows:
            axes.axvspan(times[first], times[last], color=WINDOW, alpha=0.35)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    above.plot(times, file.values, color=INK, linewidth=0.7)
    for rows, marker, color, label in (
        (detected[hit], "o", "#1b7837", "detection in a window"),
        (detected[~hit], "X", ALERT, "false alarm"),
    ):
        above.plot(times[rows], file.values[rows], marker, color=color, markersize=7, label=label)
    below.vlines(times, 0, scores, color=INK, linewidth=0.8)
    below.axhline(result.threshold, color=ALERT, linestyle="--", linewidth=0.8)
    above.set_ylabel("value")
    below.set_ylabel("score")
    above.set_title(
        f"{file.name}: {result.detector}, {result.profile}, threshold {result.threshold:.3g}",
        loc="left",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
