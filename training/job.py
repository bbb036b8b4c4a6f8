"""The training job: fit the candidates on the first part, evaluate them after it, choose, write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.watch_file import WatchFile
from training.alerts import RealIncidents, exclude_real, propose_exclusions
from training.backtest import plan_injections, run_backtest, split, try_sensitivities
from training.candidates import CANDIDATES, TITLES, Candidate, CandidateKind
from training.comparison import baseline_experiment, choose_winner, evaluate_candidate
from training.console import OnProgress, show_progress
from training.fleet import Selected, metrics_by_model, resolve_watch_file, select
from training.report import show_run, write_report
from training.run import (
    Run,
    Settings,
    StoredRun,
    artifact,
    check_target,
    write_run,
)
from training.sources import show_series
from training.sources.cloudwatch import fetch_with_progress, missing
from training.sources.series import LabelledSeries

RUNS = Path("runs")


def train_run(
    series: LabelledSeries, settings: Settings, folder: Path, console: Console
) -> StoredRun:
    """Train, show what was found, and write the run into `folder`.

    Raises
    ------
    SourceError
        If either part of the series is too short.
    RunError
        If the folder can't hold the run; before anything is trained.
    """
    check_target(folder)
    with show_progress(console) as on_progress:
        run = train(series, settings, on_progress)
    show_run(run, console)
    stored = write_run(run, folder, partial(write_report, published=folder))
    page = escape(str(folder / "report.html"))
    console.print(f"Report: [bold]{page}[/bold] (pictures and figures beside it)")
    return stored


def train(series: LabelledSeries, settings: Settings, on_progress: OnProgress) -> Run:
    """Fit, evaluate and compare the candidates.

    Raises
    ------
    SourceError
        If either part of the series is too short.
    """
    cut = split(series, settings.train_share)
    training_part, test_part = series.part(0, cut), series.part(cut, len(series))
    rows = [row for row in CANDIDATES if row.kind in settings.kinds]
    fitted = {row.kind: fit(row, training_part, settings, on_progress) for row in rows}
    evaluations = [evaluate_candidate(candidate, test_part) for candidate in fitted.values()]
    plan = plan_injections(series, cut, settings.seed, settings.max_places)
    backtests = {}
    for done, each in enumerate(evaluations):
        kind = each.candidate.kind
        on_progress(f"Backtest of the {TITLES[kind]}", done, len(evaluations))
        backtests[kind] = run_backtest(each.candidate.detector, plan, each.sensitivity)
    winner, rule = choose_winner(evaluations, backtests)
    best = winner.candidate
    sensitivities = try_sensitivities(
        best.detector,
        plan,
        backtests[best.kind],
        lambda done, total: on_progress(f"Sensitivities of the {TITLES[best.kind]}", done, total),
    )
    return Run(
        settings=settings,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        series=series,
        test_part=test_part,
        evaluations=evaluations,
        baseline=baseline_experiment(series, fitted),
        plan=plan,
        backtests=backtests,
        winner=winner,
        rule=rule,
        sensitivities=sensitivities,
        proposals=propose_exclusions(series, cut),
        artifacts={
            each.candidate.kind: artifact(
                each, backtests[each.candidate.kind], series, cut, settings.name
            )
            for each in evaluations
        },
    )


def fit(
    row: CandidateKind, part: LabelledSeries, settings: Settings, on_progress: OnProgress
) -> Candidate:
    """Fit one candidate."""
    stage = f"Fitting the {row.title}"
    on_progress(stage, 0, 1)
    return row.fit(
        part,
        settings.seed,
        lambda epoch, most, _: on_progress(stage, epoch, most),
        settings.max_epochs,
    )


def train_watched(
    watch_file: WatchFile,
    cloudwatch: Any,
    days: int,
    settings: Settings,
    console: Console,
    real: RealIncidents | None = None,
    runs: Path = RUNS,
) -> list[Path]:
    """Train each model of a watch file on the fullest of its metrics; return the runs' folders.

    All is fetched and checked before anything is trained.

    Parameters
    ----------
    settings
        Of every run, but for the name.
    real
        Past incidents by feedback, which are left out.

    Raises
    ------
    SourceError
        If CloudWatch can't be read, or one of the series is too short.
    RunError
        If one of the folders can't hold its run.
    """
    models = metrics_by_model(resolve_watch_file(cloudwatch, watch_file))
    for model in models:
        check_target(runs / model)
    metrics: list[Metric] = [metric for named in models.values() for metric in named]
    found = fetch_with_progress(cloudwatch, metrics, days, console)
    selected, without = select(models, found)
    if without:
        raise missing([models[model][0] for model in without], days, cloudwatch)
    for each in selected:
        split(each.series, settings.train_share)  # raises where a part would be too short
    return [train_selected(each, settings, console, real, runs) for each in selected]


def train_selected(
    selected: Selected,
    settings: Settings,
    console: Console,
    real: RealIncidents | None,
    runs: Path,
) -> Path:
    """Train one model, and return the folder of its run."""
    folder = runs / selected.model
    console.rule(f"[bold]{selected.model}", align="left")
    if selected.metrics > 1:
        console.print(
            f"Of {selected.metrics} metrics, the one with the most readings: "
            f"{escape(str(selected.metric))}"
        )
    series = selected.series
    show_series(series, console)
    if real is not None:
        series = exclude_real(series, real.get(str(selected.metric), ()), console)
    train_run(series, replace(settings, name=selected.model), folder, console)
    return folder
