"""The counting rule: which events an alert finds, which alerts are false, and a fair threshold.

An event is found if an alert starts within it, widened at both ends by a slack. An alert is false
if no reading from its first to its last flag is within a widened event. Only what starts after the
training prefix counts. There is no point adjustment.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.detection.types import WEEK, Series
from training import SourceError
from training.sources.series import DAY_MS, MINUTE_MS, LabelledSeries, parse_time

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers, Mask

HOUR_MS = 60 * MINUTE_MS

BUDGETS = (0.2, 1.0, 3.0)
"""False alerts a week that detectors are run with."""

TRAINING_MS = 14 * DAY_MS
TRAINING_SHARE = 0.35

SLACK_MS = 15 * MINUTE_MS

UNTOUCHED = "untouched"
"""The group of series without labels or faults, in tables and results."""

LAYOUT = (
    "expected unlabelled/**/*.csv (timestamp,value) and labelled/**/*.csv (timestamp,value,label)"
)


def find_series(data: Path, kind: str) -> list[Path]:
    """List the CSV files below `data/kind`; `kind` is labelled or unlabelled."""
    return sorted((data / kind).rglob("*.csv"))


def read_series(path: Path) -> LabelledSeries:
    """Read `timestamp,value[,label]`; labels that are close in time are one window.

    Rows without a value and repeated timestamps are skipped.

    Raises
    ------
    SourceError
        If the file can't be read, or naming the line that isn't a reading.
    """
    readings: dict[int, tuple[float, bool]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"timestamp", "value"} <= set(rows.fieldnames or ()):
                raise SourceError(f"{path}: {LAYOUT}")
            for row in rows:
                if row["value"]:
                    time = parse_time(row["timestamp"], f"{path}: line {rows.line_num}")
                    readings.setdefault(time, (float(row["value"]), row.get("label") == "1"))
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    times = np.array(sorted(readings), np.int64)
    values = np.array([readings[time][0] for time in times.tolist()])
    labels = np.array([readings[time][1] for time in times.tolist()], bool)
    windows = [(times[first], times[last]) for first, last in group(times, labels)]
    return LabelledSeries(
        name=path.stem,
        origin=str(path),
        series=Series(times, values),
        labels=times[labels],
        windows=np.array(windows, np.int64).reshape(-1, 2),
    )


def whole_step(series: Series) -> int:
    """Return the median step in whole milliseconds, at least 1."""
    return max(int(series.step), 1)


def training_readings(series: Series) -> int:
    """Return the length of the prefix that is not evaluated: 14 days, at most 35 %."""
    return int(min(TRAINING_MS / whole_step(series), TRAINING_SHARE * len(series)))


def group(times: Integers, flags: Mask) -> list[tuple[int, int]]:
    """Return first and last position of each group of flags at most an hour, or 3 steps, apart.

    Examples
    --------
    >>> group(np.arange(9) * HOUR_MS, np.array([0, 1, 0, 0, 1, 0, 0, 0, 1], bool))
    [(1, 4), (8, 8)]
    """
    flagged = np.flatnonzero(flags)
    if not len(flagged):
        return []
    apart = max(HOUR_MS, 3 * float(np.median(np.diff(times)))) if len(times) > 1 else HOUR_MS
    parts = np.split(flagged, np.flatnonzero(np.diff(times[flagged]) > apart) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts]


@dataclass(frozen=True)
class Counts:
    """What a detector's alerts on one series, or on several, amount to.

    Attributes
    ----------
    events, found, false : int
    weeks : float
        Evaluated time outside of events.
    delays : list of float
        Minutes from the start of each event found to the first alert in it; negative within the
        slack.
    """

    events: int = 0
    found: int = 0
    false: int = 0
    weeks: float = 0.0
    delays: list[float] = field(default_factory=list)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.events + other.events,
            self.found + other.found,
            self.false + other.false,
            self.weeks + other.weeks,
            self.delays + other.delays,
        )

    @property
    def false_a_week(self) -> float:
        """False alerts a metric-week."""
        return self.false / self.weeks if self.weeks else 0.0


def count(series: LabelledSeries, alerts: list[tuple[int, int]]) -> Counts:
    """Count alerts, (first, last) positions, against the windows of a series."""
    times, start = series.times, training_readings(series.series)
    step = whole_step(series.series)
    slack = max(SLACK_MS, step)
    widened = [(first, first - slack, last + slack) for first, last in series.windows]
    in_event = np.zeros(len(times), bool)
    for _, low, high in widened:
        in_event |= (times >= low) & (times <= high)
    touched = np.concatenate([[0], np.cumsum(in_event)])
    alerts = sorted(alert for alert in alerts if alert[0] >= start)
    false = sum(bool(touched[last + 1] == touched[first]) for first, last in alerts)
    evaluated = [event for event in widened if event[0] >= times[start]]
    delays = []
    for first, low, high in evaluated:
        hit = next((times[at] for at, _ in alerts if low <= times[at] <= high), None)
        if hit is not None:
            delays.append(float(hit - first) / MINUTE_MS)
    weeks = float((~in_event[start:]).sum()) * step / WEEK
    return Counts(len(evaluated), len(delays), false, weeks, delays)


BLOCK_HOURS = 6
MIN_BLOCKS = 8

MIN_TAIL = 0.15
"""The tail's mean is at least this share of the median: a thinner one is not believed."""

MIN_EXCESS = 1e-3
"""Stands for the excess where no block exceeds the median."""

EXCEEDED = 0.5
"""How often a block exceeds the median. Counted, it would be 0 for maxima that are all alike, and
the threshold would be the median itself: every reading would reach it."""


def own_threshold(scores: Floats, day: int, alerts_a_week: float) -> float:
    """Return the threshold for the next readings; infinite with less than two days of history.

    It makes scores of different units comparable. The highest score of every six hours is kept;
    above the median of these maxima an exponential tail is fitted, and the threshold is where the
    tail is exceeded as often as the budget allows. Labels are not used, so earlier incidents
    raise it.

    Parameters
    ----------
    scores : (n,) float64
        Of the history.
    day : int
        Readings a day.
    alerts_a_week : float
        Budget.
    """
    size = max(round(day * BLOCK_HOURS / 24), 1)
    blocks = len(scores) // size
    if blocks < MIN_BLOCKS:
        return float("inf")
    maxima = scores[-blocks * size :].reshape(blocks, size).max(axis=1)
    median = float(np.median(maxima))
    excess = maxima[maxima > median] - median
    mean_excess = float(excess.mean()) if len(excess) else MIN_EXCESS
    scale = max(mean_excess, MIN_TAIL * max(median, 1.0))
    expected = alerts_a_week * size / (7 * day)
    return median + scale * max(float(np.log(EXCEEDED / expected)), 0.0)


def daily_thresholds(scores: Floats, day: int, alerts_a_week: float) -> Floats:
    """Return a threshold for each reading (n,), renewed daily from the scores before that day.

    The first day's scores are left out of every history.
    """
    thresholds = np.full(len(scores), np.inf)
    for start in range(day, len(scores), day):
        thresholds[start : start + day] = own_threshold(scores[day:start], day, alerts_a_week)
    return thresholds


@dataclass(frozen=True)
class Trial:
    """How one fault was detected at one budget.

    Attributes
    ----------
    found : bool
    found_before : bool or None
        Whether the earlier one was found, where the fault is a repeated one.
    delay : float
        Minutes to the alert; NaN where it was not found.
    changed_before : int
        Flags before the fault that differ from those without it: a detector that looks ahead.
    readings : int
        Length of the series that the fault was placed in.
    """

    detector: str
    series: str
    kind: str
    size: str
    budget: float
    first: int
    last: int
    found: bool
    found_before: bool | None
    delay: float
    changed_before: int
    readings: int

    @property
    def name(self) -> str:
        """Kind and size."""
        return f"{self.kind} {self.size}"


@dataclass(frozen=True)
class Untouched:
    """Alerts on one series as it is: false ones where it is unlabelled, or outside of events.

    Attributes
    ----------
    flagged : float
        Share of the readings after the training prefix that are flagged: a detector that always
        fires has one long alert, but not in this.
    """

    detector: str
    series: str
    group: str
    budget: float
    counts: Counts
    flagged: float


def mean_share(trials: list[Trial]) -> float:
    """Return the share found, as the mean over all pairs of a kind and a series."""
    cells: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for trial in trials:
        cells[trial.kind, trial.series].append(trial.found)
    return float(np.mean([np.mean(found) for found in cells.values()])) if cells else np.nan


def summarise(records: list[Trial | Untouched]) -> dict[str, Any]:
    """Return the figures by detector and budget, for tables and JSON."""
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(record.detector for record in records):
        for budget in BUDGETS:
            chosen = [r for r in records if r.detector == name and r.budget == budget]
            summary.setdefault(name, {})[f"{budget:g}"] = figures_of(chosen)
    return summary


def figures_of(records: list[Trial | Untouched]) -> dict[str, Any]:
    """Return one detector's figures at one budget."""
    trials = [r for r in records if isinstance(r, Trial)]
    delays = [t.delay for t in trials if t.found]
    again = [t for t in trials if t.found_before]
    kinds = dict.fromkeys(t.name for t in trials)
    figures: dict[str, Any] = {
        "faults": len(trials),
        "mean_share": mean_share(trials),
        "share_of_faults": share(trials),
        "delay_minutes": float(np.median(delays)) if delays else np.nan,
        "again_of_found_first": share(again),
        "found_first": len(again),
        "looked_ahead": sum(t.changed_before > 0 for t in trials),
        "by_kind": {kind: share(t for t in trials if t.name == kind) for kind in kinds},
        "by_series": {
            name: share(t for t in trials if t.series == name)
            for name in dict.fromkeys(t.series for t in trials)
        },
    }
    untouched = [r for r in records if isinstance(r, Untouched)]
    for name in dict.fromkeys(r.group for r in untouched):
        figures[name] = totals([r for r in untouched if r.group == name])
    return figures


def totals(records: list[Untouched]) -> dict[str, float]:
    """Return the figures of one group of series without injected faults."""
    total = sum((r.counts for r in records), Counts())
    return {
        "events": total.events,
        "found": total.found,
        "false": total.false,
        "weeks": total.weeks,
        "false_a_week": total.false_a_week,
        "flagged": float(np.mean([r.flagged for r in records])),
        "delay_minutes": float(np.median(total.delays)) if total.delays else np.nan,
    }


def share(trials: Iterable[Trial]) -> float:
    """Return the share of trials that were found."""
    found = [trial.found for trial in trials]
    return float(np.mean(found)) if found else np.nan
