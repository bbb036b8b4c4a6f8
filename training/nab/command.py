"""The judging as the command line shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.nab.corpus import NabFile, read_corpus
from training.nab.curve import curve_table, false_alert_curve
from training.nab.judgement import Judgement, judge_scores
from training.nab.plots import draw_all
from training.nab.profiles import PROFILES
from training.nab.published import published_here
from training.nab.results import SCORES_JSON, check_writable, write_results
from training.nab.run import Scored, run_detectors, runs
from training.nab.tables import categories_table, files_table, totals_table


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
