"""Fetching from CloudWatch, as the command line shows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from registry.metric import Metric
from training.sources.cloudwatch import fetch_series
from training.sources.series import Series


def fetch_with_progress(
    cloudwatch: Any, metrics: Sequence[Metric], days: int, console: Console
) -> dict[Metric, Series]:
    """Read the last days of metrics up to now, under a progress bar; see `fetch_series`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task(f"{days} days from CloudWatch, metrics", total=len(metrics))
        return fetch_series(
            cloudwatch,
            metrics,
            days,
            time.time(),
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
