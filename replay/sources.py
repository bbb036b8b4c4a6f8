"""What is replayed: the metrics of a watch file with their history, or files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from ops_anomaly.aws.cloudwatch import Metric, Span
from ops_anomaly.aws.errors import CorruptFeedbackError
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import counted
from ops_anomaly.detection.types import SENSITIVITY
from ops_anomaly.watcher.feedback_file import decode_feedback
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file
from replay import ReplayError
from replay.engine import between
from replay.job import OutcomeFolder
from replay.reading import (
    HistoryFolder,
    Planned,
    account_of,
    expense,
    plan,
    plan_file,
    read_missing,
)
from training.console import show_progress
from training.cost import STACK, Cost, cost_by_fleet, cost_of
from training.fleet import dollars, resolve_watch_file
from training.sources.cloudwatch import missing
from training.sources.files import ReadOptions, read_file, read_folder

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Series
    from ops_anomaly.watcher.feedback import Feedback

MAX_NAMED = 5
"""Metrics without readings, or files, that a message names."""


@dataclass(frozen=True)
class Source:
    """Metrics to replay.

    Attributes
    ----------
    planned : sequence of Planned
        Those that have readings.
    history_of
        Returns the readings of one of them.
    without_readings : sequence of Metric
    cost : Cost
        Of watching them.
    """

    planned: Sequence[Planned]
    history_of: Callable[[Planned], Series]
    without_readings: Sequence[Metric]
    cost: Cost


class Folders:
    """Where a replay keeps what it has read and evaluated.

    Raises
    ------
    ReplayError
        If the folder can't be written.
    """

    def __init__(self, out: Path) -> None:
        self.page = out / "replay.html"
        self.histories = out / "cache" / "histories"
        outcomes = out / "cache" / "outcomes"
        try:
            for each in (self.histories, outcomes):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReplayError(f"{out} can't be written: {error}; give another --out") from error
        self.outcomes = OutcomeFolder(outcomes)


def one_metric(metric: Metric) -> WatchFile:
    """Return a watch file of one metric."""
    return parse_watch_file({"version": 1, "metrics": [{"name": "metric", "metric": str(metric)}]})


def with_sensitivity(watch_file: WatchFile, sensitivity: float | None) -> WatchFile:
    """Return a watch file of which all entries have another sensitivity, if one is given."""
    if sensitivity is None:
        return watch_file
    replace = msgspec.structs.replace
    return replace(
        watch_file,
        metrics=[replace(each, sensitivity=sensitivity) for each in watch_file.metrics],
        selectors=[replace(each, sensitivity=sensitivity) for each in watch_file.selectors],
    )


def read_feedback(path: Path | None) -> list[Feedback]:
    """Read marks that were saved from the page.

    Raises
    ------
    ReplayError
        If the file can't be read.
    """
    try:
        return decode_feedback(path.read_bytes()) if path else []
    except (OSError, CorruptFeedbackError) as error:
        raise ReplayError(
            f"{path} is not a file of feedback: save it from a replay's page "
            f"({error.__cause__ or error})"
        ) from error


def source_of_files(
    path: Path, reading: ReadOptions, days: int, sensitivity: float | None, console: Console
) -> Source:
    """Return a file as a metric, or each file of a folder: these are a group.

    Raises
    ------
    SourceError, ReplayError
        If one can't be read, or not replayed.
    """
    found = read_folder(path, reading) if path.is_dir() else {path.stem: read_file(path, reading)}
    group = path.resolve().name if len(found) > 1 else None
    planned, histories = [], {}
    for each in list(found.values())[:MAX_NAMED]:
        console.print(f"{each.name}: {each.read_as}", highlight=False, markup=False)
    if len(found) > MAX_NAMED:
        console.print(f"and {len(found) - MAX_NAMED:,} more files", highlight=False)
    for name, each in found.items():
        one, series = plan_file(name, each.series, days, sensitivity or SENSITIVITY, group)
        planned.append(one)
        histories[one.metric] = series
    members = [(each.metric, each.options) for each in planned]
    cost = Cost(**cost_by_fleet(members), listing=0.0, scores=0.0, stack=STACK)
    return Source(planned, lambda each: histories[each.metric], [], cost)


def source_of_cloudwatch(
    cloudwatch: Any,
    watch_file: WatchFile,
    days: int,
    folders: Folders,
    console: Console,
    confirm: Callable[[], None],
    now: int,
) -> Source:
    """Read the history of a watch file's metrics, as far as it is not known.

    Parameters
    ----------
    cloudwatch
        A client of boto3.
    confirm
        Called when it has been said what reading takes, and costs; raises to stop.
    now : int
        Milliseconds since 1970.

    Raises
    ------
    SourceError, ReplayError
        If CloudWatch can't be read, or has none of it.
    """
    fleet = resolve_watch_file(cloudwatch, watch_file)
    key = msgspec.json.encode([account_of(cloudwatch), watch_file, days]).decode()
    until = folders.outcomes.until(key, now)
    planned = [
        plan(metric, watched.options, days, until)
        for watched in fleet
        for metric in watched.metrics
    ]
    if not planned:
        raise ReplayError(
            "no metric matches the watch file at the moment; see what it matches with: "
            "ops-anomaly watch FILE"
        )
    histories = HistoryFolder(folders.histories, account_of(cloudwatch), now)
    spans = [span for each in planned if (span := histories.missing(each.span))]
    show_expense(planned, spans, console)
    if spans:
        confirm()
        with show_progress(console) as on_progress:
            stage = "Reading from CloudWatch, metrics"
            read_missing(
                cloudwatch, spans, histories, lambda done, total: on_progress(stage, done, total)
            )
    return _with_readings(cloudwatch, planned, histories, days, cost_of(watch_file, fleet))


def show_expense(planned: Sequence[Planned], spans: Sequence[Span], console: Console) -> None:
    """Print what will be read, and what that costs."""
    longest = max(each.until - each.read_from for each in planned)
    text = f"{counted(len(planned), 'metric')}, {duration(longest)} of history: "
    if not spans:
        console.print(f"{text}all of it was read before.", highlight=False)
        return
    needs = expense(spans)
    text += (
        f"{needs.datapoints:,} datapoints in {counted(needs.calls, 'call')} of "
        f"GetMetricData, which cost {dollars(needs.dollars)}. Nothing is written to AWS."
    )
    known = len(planned) - len(spans)
    console.print(text + (f" {known:,} were read before." if known else ""), highlight=False)


def _with_readings(
    cloudwatch: Any, planned: Sequence[Planned], histories: HistoryFolder, days: int, cost: Cost
) -> Source:
    """Return the metrics that have readings in the time that is replayed."""

    def history_of(each: Planned) -> Series:
        return histories.read(each.span)

    found: list[Planned] = []
    without: list[Metric] = []
    for each in planned:
        if len(between(history_of(each), each.start, each.until)):
            found.append(each)
        else:
            without.append(each.metric)
    if not found:
        raise missing(without[:MAX_NAMED], days, cloudwatch)
    return Source(found, history_of, without, cost)
