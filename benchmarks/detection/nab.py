"""`python -m benchmarks nab`: detectors scored by the Numenta Anomaly Benchmark's own rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.detection.nab_corpus import NabFile, read_corpus
from benchmarks.detection.nab_detectors import (
    Scored,
    run_detectors,
    runs,
)
from benchmarks.detection.nab_report import (
    SCORES_JSON,
    categories_table,
    check_writable,
    draw_all,
    files_table,
    markdown_table,
    published_here,
    totals_table,
    write_results,
)
from benchmarks.detection.nab_scoring import PROFILES, Judgement, judge_scores
from ops_anomaly.detection.alerting import CURVE
from training.candidates.contextual_forest import fit_contextual_forest

READINGS_A_WEEK = 2_016
"""Of a metric that is read every 5 minutes."""


def false_alert_curve(files: Sequence[NabFile], seeds: int) -> list[tuple[float, float]]:
    """Return threshold and false alerts per 1,000 readings, after probation, over all files."""
    jobs = (
        joblib.delayed(count_false_alerts)(file, seed) for seed in range(seeds) for file in files
    )
    counts, readings = zip(*joblib.Parallel(n_jobs=-1)(jobs), strict=True)
    rates = 1000 * np.sum(counts, axis=0) / sum(readings)
    return [(threshold, float(rate)) for (threshold, _), rate in zip(CURVE, rates, strict=True)]


def count_false_alerts(file: NabFile, seed: int) -> tuple[list[int], int]:
    """Return false alerts at each threshold of the curve, and readings that could raise one."""
    series, probation = file.series, file.probation_readings
    detector = fit_contextual_forest(file.unlabelled.part(0, probation), seed).detector
    ordinary = ~series.in_window[probation:]
    counts = []
    for threshold, _ in CURVE:
        alerts = detector.detect(
            series.timestamps[probation:], series.values[probation:], threshold
        ).alerts
        counts.append(sum(bool(ordinary[alert.start]) for alert in alerts))
    return counts, int(ordinary.sum())


def curve_table(curve: Sequence[tuple[float, float]]) -> Table:
    """Return the curve as the terminal shows it."""
    table = markdown_table(
        "False alerts of the contextual forest", "threshold", "per 1,000 readings", "a week"
    )
    for threshold, rate in curve:
        table.add_row(
            f"{threshold:g}", f"{rate:.3f}", f"{rate * READINGS_A_WEEK / 1000:.2f} at 5 minutes"
        )
    return table


def judge_by_nab(
    root: Path,
    detectors: Sequence[str],
    profiles: Sequence[str],
    out: Path,
    threshold: float | None,
    seeds: int,
    *,
    plots: bool,
    curve: bool,
    console: Console,
) -> None:
    """Run the detectors over NAB's files below `root`, judge them, write and show the results."""
    files = read_corpus(root)
    check_writable(out)
    published = published_here(root, files)
    windows = sum(len(file.windows) for file in files)
    console.print(f"{len(files)} files with {windows} anomaly windows from {escape(str(root))}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("scoring files", total=len(files) * len(runs(detectors, seeds)))
        scored = run_detectors(files, detectors, seeds, lambda: progress.advance(bar))
    judgements = [
        judge_scores(files, each, PROFILES[profile], threshold)
        for each in scored
        for profile in profiles
    ]
    write_results(files, scored, judgements, out)
    show(judgements, published, profiles[0], console)
    how = "optimised over these files" if threshold is None else f"{threshold:g}, as given"
    console.print(f"Threshold: {how}. Results: {out} (NAB's layout), {out / SCORES_JSON}")
    if curve:
        console.print(curve_table(false_alert_curve(files, seeds)))
    if plots:
        draw(files, scored, judgements, out, console)


def show(
    judgements: list[Judgement],
    published: dict[str, dict[str, float]],
    profile: str,
    console: Console,
) -> None:
    """Print totals, categories, and files."""
    console.print(totals_table(judgements, published))
    console.print(categories_table(judgements, profile))
    console.print(files_table(judgements, profile))


def draw(
    files: list[NabFile],
    scored: list[Scored],
    judgements: list[Judgement],
    out: Path,
    console: Console,
) -> None:
    """Draw the files of each detector's first seed, under the first profile."""
    drawn = 0
    with Progress(console=console, transient=True) as progress:
        first = [each for each in scored if each.seed == 0]
        bar = progress.add_task("drawing", total=len(files) * len(first))
        for each in first:
            judgement = next(
                judgement
                for judgement in judgements
                if (judgement.detector, judgement.seed) == (each.detector, each.seed)
            )
            for _ in draw_all(files, each, judgement, out):
                progress.advance(bar)
                drawn += 1
    console.print(f"Pictures: {drawn} in {out / 'plots'}")


class DetectorName(StrEnum):
    """What NAB can be asked to judge."""

    CONTEXTUAL = "contextual"
    VALUE_FOREST = "value-forest"
    LSTM_AUTOENCODER = "lstm-autoencoder"
    WINDOWED_GAUSSIAN = "windowed-gaussian"
    RANDOM = "random"
    NULL = "null"


class ProfileName(StrEnum):
    """NAB's application profiles."""

    STANDARD = "standard"
    LOW_FP = "reward_low_FP_rate"
    LOW_FN = "reward_low_FN_rate"


def nab(
    root: Annotated[
        Path,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ],
    detector: Annotated[
        list[DetectorName] | None,
        typer.Option(
            help=r"Run only this; may be given again.  \[default: all]", show_default=False
        ),
    ] = None,
    profile: Annotated[
        list[ProfileName] | None,
        typer.Option(help=r"Judge by this one; may be given again.  \[default: all]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/nab"),
    threshold: Annotated[
        float | None,
        typer.Option(help=r"Of the anomaly score.  \[default: the best over the files at hand]"),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each detector that uses random numbers.")
    ] = 1,
    plots: Annotated[bool, typer.Option("--plots", help="Draw a picture a file.")] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure what a sensitivity means in false alerts.")
    ] = False,
) -> None:
    """Judge detectors by the Numenta Anomaly Benchmark's own rules.

    Every file below ROOT/data counts. Each detector learns from a file's first 15 % and is judged
    after it. The contextual forest takes a second a file; the LSTM autoencoder, half a minute.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("a finite number is needed", param_hint="--threshold")

    judge_by_nab(
        root,
        [each.value for each in dict.fromkeys(detector or DetectorName)],
        [each.value for each in dict.fromkeys(profile or ProfileName)],
        out,
        threshold,
        seeds,
        plots=plots,
        curve=curve,
        console=Console(),
    )
