"""CSV files with the columns timestamp and value, and labels in JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ops_anomaly.detection.types import ValueOutOfRangeError, check_value
from training.errors import SourceError
from training.sources.series import Floats, Series, Times, label_windows

COLUMNS = ("timestamp", "value")


def read_csv_series(path: Path, labels_path: Path | None = None) -> Series:
    """Read a series of one's own.

    Parameters
    ----------
    path
        CSV with a header and the columns `timestamp` (ISO 8601; with an offset it is turned to
        UTC) and `value`.
    labels_path
        JSON: a list of times and of [first, last] windows, or NAB's form, an object of such
        lists by file name.

    Raises
    ------
    SourceError
        Naming the file and the line that is wrong.
    """
    timestamps, values = read_readings(path)
    labels, windows = None, label_windows(np.empty(0, "datetime64[s]"), timestamps)
    if labels_path is not None:
        labels, windows = read_labels(labels_path, path.name, timestamps)
    return Series(path.name, f"CSV file {path.name}", timestamps, values, labels, windows)


def read_readings(path: Path, *, skip_repeats: bool = False) -> tuple[Times, Floats]:
    """Read the readings of a CSV file: (n,) datetime64[s] and (n,) float64.

    Parameters
    ----------
    skip_repeats
        Leave out a reading that is not later than the one before, instead of refusing the file.

    Raises
    ------
    SourceError
        Naming the line that is not a reading, or not later than the one before.
    """
    times: list[datetime] = []
    values: list[float] = []
    for line, text, time, value in read_rows(path):
        if times and time <= times[-1]:
            if skip_repeats:
                continue
            fault = "repeats the time of" if time == times[-1] else "is earlier than"
            raise SourceError(
                f"{path}: line {line}: {text} {fault} the reading before; sort the file and keep "
                "one reading a time"
            )
        times.append(time)
        values.append(value)
    return np.array(times, "datetime64[s]"), np.array(values, np.float64)


def read_rows(path: Path) -> Iterator[tuple[int, str, datetime, float]]:
    """Yield each row's line number, its time as written and as naive UTC, and its value.

    Raises
    ------
    SourceError
        If the file can't be read, or naming the line that is not a reading.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise SourceError(f"{path}: line 1: the header must name {' and '.join(COLUMNS)}")
            for row in rows:
                time, value = read_row(row, f"{path}: line {rows.line_num}")
                yield rows.line_num, row["timestamp"] or "", time, value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error}") from error


def read_row(row: dict[str, str | None], where: str) -> tuple[datetime, float]:
    """Return one row's time (UTC, naive) and value, or raise `SourceError` saying where."""
    time = parse_time(row["timestamp"] or "", where)
    text = row["value"] or ""
    try:
        value = float(text)
        check_value(value)
    except ValueOutOfRangeError as error:
        raise SourceError(f"{where}: value {text!r}: {error}") from error
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise SourceError(f"{where}: value {text!r} is not a number; mend or delete the line")
    return time, value


def parse_time(text: Any, where: str) -> datetime:
    """Return a time of ISO 8601 as naive UTC, or raise `SourceError` saying where."""
    try:
        time = datetime.fromisoformat(text).replace(microsecond=0)
        return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, TypeError, OverflowError):
        raise SourceError(
            f"{where}: {text!r} is not a time; write it like 2014-02-14T14:30:00"
        ) from None


def read_labels(path: Path, file_name: str, timestamps: Times) -> tuple[Times, Times]:
    """Read labels and windows of one series from a JSON file.

    Returns
    -------
    labels, windows : (k,) and (w, 2) datetime64[s]
        A bare time is a label and gets a window of NAB's width; a [first, last] pair is a window,
        its middle the label.

    Raises
    ------
    SourceError
        If the file is not of that form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    if isinstance(content, dict):
        content = next((v for k, v in content.items() if k.split("/")[-1] == file_name), None)
    if not isinstance(content, list):
        raise SourceError(
            f"{path}: a list of times and [first, last] pairs is needed, or an object "
            f"with such a list under {file_name!r}"
        )
    points = [parse_time(entry, str(path)) for entry in content if not isinstance(entry, list)]
    pairs = [[parse_time(end, str(path)) for end in pair] for pair in content if is_pair(pair)]
    if len(points) + len(pairs) != len(content):
        raise SourceError(f"{path}: a window is a pair of times: [first, last]")
    if any(first > last for first, last in pairs):
        raise SourceError(f"{path}: a window ends before it begins")
    outside = [time for time in [*points, *chain(*pairs)] if not is_within(time, timestamps)]
    if outside:
        raise SourceError(f"{path}: {outside[0]} is not within the series; is its zone UTC?")
    labels = nearest(timestamps, np.array(points, "datetime64[s]"))
    drawn = np.array(pairs, "datetime64[s]").reshape(-1, 2)
    middles = nearest(timestamps, drawn[:, 0] + (drawn[:, 1] - drawn[:, 0]) // 2)
    windows = np.concatenate([label_windows(labels, timestamps), drawn])
    return np.unique(np.concatenate([labels, middles])), windows[np.argsort(windows[:, 0])]


def is_within(time: datetime, timestamps: Times) -> bool:
    """Tell whether a time lies between the first and the last reading."""
    return bool(timestamps[0] <= np.datetime64(time, "s") <= timestamps[-1])


def nearest(timestamps: Times, times: Times) -> Times:
    """Return the time of the reading nearest to each time."""
    after = np.clip(np.searchsorted(timestamps, times), 1, len(timestamps) - 1)
    earlier = times - timestamps[after - 1] < timestamps[after] - times
    return timestamps[np.where(earlier, after - 1, after)]


def is_pair(entry: Any) -> bool:
    """Tell whether a label entry is a window."""
    return isinstance(entry, list) and len(entry) == 2
