"""`python -m benchmarks nab`: detectors scored by the Numenta Anomaly Benchmark's own rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast
from zlib import crc32

import joblib
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.detection.nab_alerts import alert_scores
from benchmarks.detection.nab_corpus import NabFile, read_corpus
from benchmarks.detection.nab_report import (
    SCORES_JSON,
    categories_table,
    check_writable,
    draw_all,
    files_table,
    published_here,
    totals_table,
    write_results,
)
from benchmarks.detection.nab_scoring import PROFILES, Result, Run, score_run
from training.candidates import CANDIDATES
from training.candidates.contextual import fit_contextual

if TYPE_CHECKING:
    from ops_anomaly.detection.contextual import ContextualDetector
    from ops_anomaly.detection.types import Detector, Floats
    from training.sources.series import LabelledSeries

    Scorer = Callable[[LabelledSeries, int, int], Floats]
    """Takes a series without labels, its probation, a seed; returns a score a reading."""


OPERATOR_SENSITIVITY = 2.0
"""Alerts a week: the best for NAB, and too many for an operator."""


class DetectorName(StrEnum):
    """The detectors that can be scored."""

    CONTEXTUAL = "contextual"
    CONTEXTUAL_OPERATOR = "contextual-operator"
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
        typer.Option(help=r"Run only this; repeatable.  \[default: all]", show_default=False),
    ] = None,
    profile: Annotated[
        list[ProfileName] | None,
        typer.Option(
            help=r"Score under this one only; repeatable.  \[default: all]", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/nab"),
    threshold: Annotated[
        float | None,
        typer.Option(
            help=r"Of the anomaly score.  \[default: the best over these files]", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each detector that uses random numbers.")
    ] = 1,
    plots: Annotated[bool, typer.Option("--plots", help="Draw a picture a file.")] = False,
) -> None:
    """Score detectors by the Numenta Anomaly Benchmark's own rules.

    Every file below ROOT/data counts. Each detector learns from a file's first 15 % and is scored
    after it. The contextual detector takes a second a file; the LSTM autoencoder, half a minute.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("must be a finite number", param_hint="--threshold")

    console = Console()
    files = read_corpus(root)
    check_writable(out)
    published = published_here(root, files)
    windows = sum(len(file.windows) for file in files)
    console.print(f"{len(files)} files with {windows} anomaly windows from {escape(str(root))}")
    runs = run_with_progress(files, list(dict.fromkeys(detector or DetectorName)), seeds, console)
    profiles = list(dict.fromkeys(profile or ProfileName))
    results = [
        score_run(files, run, PROFILES[each], threshold) for run in runs for each in profiles
    ]
    write_results(files, runs, results, out)
    console.print(totals_table(results, published))
    console.print(categories_table(results, profiles[0]))
    console.print(files_table(results, profiles[0]))
    how = "optimised over these files" if threshold is None else f"{threshold:g}, as given"
    console.print(f"Threshold: {how}. Results: {out} (NAB's layout), {out / SCORES_JSON}")
    if plots:
        draw(files, runs, results, out, console)


def run_with_progress(
    files: Sequence[NabFile], names: Sequence[str], seeds: int, console: Console
) -> list[Run]:
    """Run the detectors over the files, with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("scoring files", total=len(files) * len(plan(names, seeds)))
        return run_detectors(files, names, seeds, lambda: progress.advance(task))


def draw(
    files: Sequence[NabFile],
    runs: Sequence[Run],
    results: Sequence[Result],
    out: Path,
    console: Console,
) -> None:
    """Draw the files of each detector's first seed, under the first profile."""
    drawn = 0
    first = [run for run in runs if run.seed == 0]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("drawing", total=len(files) * len(first))
        for run in first:
            result = next(
                each for each in results if (each.detector, each.seed) == (run.detector, 0)
            )
            for _ in draw_all(files, run, result, out):
                progress.advance(task)
                drawn += 1
    console.print(f"Pictures: {drawn} in {out / 'plots'}")


def run_detectors(
    files: Sequence[NabFile],
    names: Sequence[str],
    seeds: int,
    on_file_done: Callable[[], None],
) -> list[Run]:
    """Score every file with every detector and seed.

    Parameters
    ----------
    seeds
        Run with seeds 0 to `seeds` - 1, where a seed matters.
    on_file_done
        Called after each file of each run; there are as many runs as `plan(names, seeds)` has.
    """
    planned = plan(names, seeds)
    jobs = (
        joblib.delayed(row_scores)(name, file, seed) for name, seed in planned for file in files
    )
    scores: list[Floats] = []
    for each in joblib.Parallel(n_jobs=-1, return_as="generator")(jobs):
        scores.append(each)
        on_file_done()
    return [
        Run(name, seed, scores[start : start + len(files)])
        for (name, seed), start in zip(planned, range(0, len(scores), len(files)), strict=True)
    ]


def plan(names: Sequence[str], seeds: int) -> list[tuple[str, int]]:
    """Return every detector with every seed that it is run with."""
    return [(name, seed) for name in names for seed in range(1 if name in UNSEEDED else seeds)]


def row_scores(name: str, file: NabFile, seed: int) -> Floats:
    """Return one detector's scores of a file's rows; it sees no label."""
    return file.on_rows(DETECTORS[name](file.unlabelled, file.probation_readings, seed))


def contextual(series: LabelledSeries, probation: int, seed: int) -> Floats:
    """Fit on the probation; score the alerts of the novelty member at NAB's budget."""
    candidate = fit_contextual(series.part(0, probation), seed)
    novelty = cast("ContextualDetector", candidate.detector).novelty
    return alert_scores(series.series, probation, novelty.forest if novelty else None)


def contextual_operator(series: LabelledSeries, probation: int, seed: int) -> Floats:
    """Fit on the probation; score the alerts that an operator gets, at two a week."""
    detector = fitted("contextual", series, probation, seed)
    detection = detector.detect(series.series[probation:], OPERATOR_SENSITIVITY)
    scores = np.zeros(len(series.series))
    for alert in detection.alerts:
        scores[probation + alert.start] = detection.scores[alert.start : alert.end + 1].max()
    return scores


def sample_scores(kind: str) -> Scorer:
    """Return what fits a model of this kind on the probation, and scores each reading."""

    def scorer(series: LabelledSeries, probation: int, seed: int) -> Floats:
        detector = fitted(kind, series, probation, seed)
        return after_probation(detector.score_samples(series.series[probation:]), probation)

    return scorer


def fitted(kind: str, series: LabelledSeries, probation: int, seed: int) -> Detector:
    """Return a detector of a kind, fitted on the probation."""
    (row,) = (row for row in CANDIDATES if row.kind == kind)
    return row.fit(series.part(0, probation), seed, lambda *_: None).detector


def after_probation(scores: Floats, probation: int) -> Floats:
    """Return scores of the whole series; 0 in the probation."""
    return np.concatenate([np.zeros(probation), scores])


def windowed_gaussian(series: LabelledSeries, probation: int, seed: int) -> Floats:
    """Score how improbable a reading is under a normal distribution of those before it.

    As NAB's own baseline of the name: of all before it, up to 6,400; from then on the window
    moves in steps of 150.
    """
    window, step = 6_400, 150
    values = series.values
    before = np.arange(len(values))
    stops = np.where(before <= window, before, window + (before - window) // step * step)
    starts = np.maximum(stops - window, 0)
    scores = np.zeros(len(values))
    for position, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if not position:
            continue
        if position == 1 or stop != stops[position - 1]:
            mean, spread = values[start:stop].mean(), values[start:stop].std() or 1e-6
        distance = abs(values[position] - mean) / spread
        scores[position] = 1.0 - 0.5 * math.erfc(distance / math.sqrt(2.0))
    return scores


def at_random(series: LabelledSeries, probation: int, seed: int) -> Floats:
    """Score at random, uniformly."""
    return np.random.default_rng([seed, crc32(series.name.encode())]).random(len(series))


def constant(series: LabelledSeries, probation: int, seed: int) -> Floats:
    """Score every reading alike: the least that a detector must exceed."""
    return np.full(len(series), 0.5)


DETECTORS: dict[str, Scorer] = {
    "contextual": contextual,
    "contextual-operator": contextual_operator,
    "value-forest": sample_scores("value-forest"),
    "lstm-autoencoder": sample_scores("lstm-autoencoder"),
    "windowed-gaussian": windowed_gaussian,
    "random": at_random,
    "null": constant,
}

UNSEEDED = ("windowed-gaussian", "null")
"""Those that a seed does not change: they run once."""
