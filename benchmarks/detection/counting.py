"""The counting rule: which events an alert finds, which alerts are false, and a fair threshold.

An event is found if an alert starts within it, widened at both ends by a slack. An alert is false
if no reading from its first to its last flag is within a widened event. Only what starts after the
training prefix counts. There is no point adjustment.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.types import WEEK_MS, Series
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
    weeks = float((~in_event[start:]).sum()) * step / WEEK_MS
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
    tail is exceeded as often as alerts are asked for. Labels are not used, so earlier incidents
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
