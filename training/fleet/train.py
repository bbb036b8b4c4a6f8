"""Training every model that a watch file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from registry.metric import Metric
from registry.watch_file import WatchFile
from training.fleet.read import resolve_watch_file
from training.fleet.selection import Selected, metrics_by_model, select
from training.job import Settings, split
from training.sources.cloudwatch import missing
from training.sources.fetch import fetch_with_progress
from training.sources.obtain import show_series
from training.train_run import train_run

RUNS = Path("runs")


def train_watched(
    watch_file: WatchFile,
    cloudwatch: Any,
    days: int,
    train_share: float,
    seed: int,
    console: Console,
    runs: Path = RUNS,
) -> list[Path]:
    """Train each model on the fullest of its metrics; return the folders of the runs.

    All is fetched and checked before anything is trained.

    Raises
    ------
    SourceError
        If CloudWatch can't be asked, or one of the series does not do.
    """
    models = metrics_by_model(resolve_watch_file(cloudwatch, watch_file))
    metrics: list[Metric] = [metric for named in models.values() for metric in named]
    found = fetch_with_progress(cloudwatch, metrics, days, console)
    selected, without = select(models, found)
    if without:
        raise missing([models[model][0] for model in without], days, cloudwatch)
    for each in selected:
        split(each.series, train_share)  # raises where a part would be too short
    return [train_one(each, train_share, seed, console, runs) for each in selected]


def train_one(
    selected: Selected, train_share: float, seed: int, console: Console, runs: Path
) -> Path:
    """Train one model, and return the folder of its run."""
    folder = runs / selected.model
    console.rule(f"[bold]{selected.model}", align="left")
    if selected.metrics > 1:
        console.print(
            f"Of {selected.metrics} metrics, the one with the most readings: "
            f"{escape(str(selected.metric))}"
        )
    show_series(selected.series, console)
    train_run(selected.series, Settings(selected.model, train_share, seed), folder, console)
    return folder
