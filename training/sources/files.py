"""A series from a file or from each file of a folder, as people have them.

`tables` finds the form of a file and `columns` reads its cells. Here the columns and the series are
chosen, bad rows are reported together, and one line says what was read as what: whatever is not
clear is refused with the option that settles it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import IRREGULAR, counted, utc
from ops_anomaly.detection.types import Series
from training import SourceError
from training.sources.columns import (
    Times,
    Values,
    is_gap,
    is_number,
    is_time,
    parse_times,
    parse_values,
    time_zone,
)
from training.sources.series import LabelledSeries, label_windows, parse_time
from training.sources.tables import (
    TIME_NAMES,
    UNNAMED,
    Table,
    bare,
    read_table,
    without_number,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".parquet")
"""Names of files that a folder is searched for."""

MAX_LISTED = 10
"""Bad rows, series or files that a message lists."""

SAMPLE = 1_000
"""Cells by which a column is recognised; it is read whole."""

DATE_ALONE = re.compile(r"[0-9]+[-/.][0-9]+[-/.][0-9]+")
TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AaPp][Mm])?")


@dataclass(frozen=True)
class ReadOptions:
    """How a file is read; nothing is needed where the file leaves nothing open.

    Attributes
    ----------
    time_column, value_column : str or None
        Headers of columns.
    series : str or None
        One of several series: its name, or a part of it that no other has.
    timezone : str or None
        Of times that name no zone, such as "Europe/Berlin"; UTC by default.
    day_first : bool or None
        Whether 03/04/2026 is 3 April.
    decimal_comma : bool or None
        Whether 1,234 is less than two.
    """

    time_column: str | None = None
    value_column: str | None = None
    series: str | None = None
    timezone: str | None = None
    day_first: bool | None = None
    decimal_comma: bool | None = None


DEFAULTS = ReadOptions()


def read_file(path: Path, options: ReadOptions = DEFAULTS) -> LabelledSeries:
    """Read a file of CSV, JSON or Parquet; its `read_as` says what was taken.

    Readings are sorted by time; one without a value is a gap; one that is there twice is kept once.

    Raises
    ------
    SourceError
        Naming the file: it can't be read, an option is needed, or rows are wrong, of which it lists
        the first ten.
    """
    try:
        table = read_table(path)
        series, read_as = series_of_table(table, options)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    return LabelledSeries(path.name, f"file {path.name}", series, read_as=read_as)


def read_labelled_file(
    path: Path, labels_path: Path, options: ReadOptions = DEFAULTS
) -> LabelledSeries:
    """Read a file as `read_file` does, and its labels.

    Parameters
    ----------
    labels_path
        JSON: a list of times and of [first, last] windows, or NAB's form, an object of such
        lists by file name. Times without an offset are of the zone of the options.
    """
    series = read_file(path, options)
    zone = time_zone(options.timezone or "UTC")
    labels, windows = read_labels(labels_path, path.name, series.times, zone)
    return replace(series, labels=labels, windows=windows)


def read_folder(folder: Path, options: ReadOptions = DEFAULTS) -> dict[str, LabelledSeries]:
    """Read each file of a folder into a series, by the file's name without its suffix.

    Raises
    ------
    SourceError
        Listing the files that can't be read; or if there is none, or two have the same name.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise SourceError(f"{folder}: can't be read: {error.strerror}") from error
    if not paths:
        raise SourceError(f"{folder}: no files {', '.join(SUFFIXES)}")
    found: dict[str, LabelledSeries] = {}
    faults = []
    for path in paths:
        try:
            series = read_file(path, options)
        except SourceError as error:
            faults.append(str(error))
            continue
        if path.stem in found:
            faults.append(f"{path}: another file is named {path.stem} too; rename one")
        found[path.stem] = series
    if faults:
        count = f"{len(faults)} of {counted(len(paths), 'file')} can't be read"
        raise SourceError(listed(f"{folder}: {count}", faults))
    return found


def series_of_table(table: Table, options: ReadOptions) -> tuple[Series, str]:
    """Return the series that the options choose, and a line on what was taken."""
    if not table.rows and not table.faults:
        raise SourceError(f"no readings in it; it was recognised as {table.form}")
    time = time_column(table, options.time_column)
    value = value_column(table, time, options.value_column)
    table, name = choose_series(table, time, value, options.series)
    times, values = parse_rows(table, time, value, options)
    series, notes = in_order(times.milliseconds, values.numbers, table)
    taken_as = ", ".join(filter(None, [described_step(series), times.taken_as, values.taken_as]))
    line = f"Read as {table.form}: {len(series):,} readings of {name or value}, {taken_as}"
    return series, "; ".join([line, *notes, *table.notes])


def described_step(series: Series) -> str:
    """Return how far readings are apart, in words; empty if there is one at most."""
    if len(series) < 2:
        return ""
    steps, usual = np.diff(series.times), series.step
    is_irregular = (np.abs(steps - usual) > 0.05 * usual).mean() > IRREGULAR
    return f"{'mostly ' * bool(is_irregular)}{duration(usual)} apart"


# Columns


def time_column(table: Table, wanted: str | None) -> str:
    """Return the header of the column of times: the one asked for, or the only one.

    Raises
    ------
    SourceError
        If there is none or several.
    """
    if wanted is not None:
        return pick(table.header, wanted, "--time-column", "columns")
    like = [name for name in table.header if mostly(is_time, table.column(name))]
    named = [name for name in table.header if bare(without_number(name)) in TIME_NAMES]
    for candidates in ([name for name in named if name in like], like, named):
        if len(candidates) == 1:
            check_time_of_day(table, candidates[0])
            return candidates[0]
    if like or named:
        return pick(like or named, None, "--time-column", "columns of times")
    problem = f"recognised as {table.form}, but no column has times such as 2026-03-04T12:00:00Z"
    raise SourceError(listed(f"{problem}; choose one with --time-column", table.header))


def check_time_of_day(table: Table, time: str) -> None:
    """Raise `SourceError` if the time of day is in another column than the date."""
    if mostly(lambda cell: not DATE_ALONE.fullmatch(cell), table.column(time)):
        return
    for name in table.header:
        if name != time and mostly(
            lambda cell: bool(TIME_OF_DAY.fullmatch(cell)), table.column(name)
        ):
            raise SourceError(
                f"the time of day is in a column of its own, {name}; write date and time into one"
            )


def value_column(table: Table, time: str, wanted: str | None) -> str:
    """Return the header of the column of values; see `time_column`."""
    others = [name for name in table.header if name != time]
    if wanted is not None:
        return pick(others, wanted, "--value-column", "columns")
    numeric = [name for name in others if mostly(is_number, table.column(name))]
    named = [name for name in others if bare(without_number(name)) == "value"]
    beside_index = [name for name in numeric if (name, table.header[0]) != (UNNAMED, UNNAMED)]
    for candidates in (named, beside_index, numeric, others):
        if len(candidates) == 1:
            return candidates[0]
    if numeric or named:
        return pick(numeric or named, None, "--value-column", "columns of values")
    raise SourceError(listed("no column of numbers beside that of times", others))


def pick(names: Sequence[str], wanted: str | None, option: str, noun: str) -> str:
    """Return the one of some names that an option asks for, whole or by a part of its own.

    Raises
    ------
    SourceError
        If it asks for none or several of them, or for nothing where there are several.
    """
    found = list(names)
    if wanted is not None:
        # a part ends where a word does: i-1 is no part of i-12
        part = re.compile(rf"(?<![\w-]){re.escape(wanted)}(?![\w-])")
        found = [name for name in names if name == wanted] or [*filter(part.search, names)]
    if len(found) == 1:
        return found[0]
    if wanted is not None:
        problem = f"{option} {wanted}: {'more than one' if found else 'none'} of"
        raise SourceError(listed(f"{problem} {len(names)} {noun}", found or names))
    raise SourceError(listed(f"{len(names)} {noun}; choose one with {option}", names))


def mostly(is_such: Callable[[str], bool], cells: Sequence[str]) -> bool:
    """Return whether more than half of the cells that are no gaps are such, by a sample."""
    written = [cell for cell in cells if not is_gap(cell)]
    sample = written[:: 1 + len(written) // SAMPLE]
    return 2 * sum(map(is_such, sample)) > len(sample)


# Series


def choose_series(
    table: Table, time: str, value: str, wanted: str | None
) -> tuple[Table, str | None]:
    """Return the rows of one series, and its name if it has one.

    Raises
    ------
    SourceError
        If there are several and the option doesn't choose one of them.
    """
    names = table.series or series_names(table, [time, value])
    if not names and wanted is None:
        return table, None
    chosen = pick(list(dict.fromkeys(names)), wanted, "--series", "series")
    rows = [row for row, name in enumerate(names) if name == chosen]
    selected = replace(
        table,
        rows=[table.rows[row] for row in rows],
        places=[table.places[row] for row in rows],
    )
    return selected, chosen


def series_names(table: Table, used: Sequence[str]) -> list[str]:
    """Return the series of each row, by columns of text that repeats and differs.

    A column of remarks names no series: they are there for some rows only, or seldom repeat.
    """
    columns = {name: table.column(name) for name in table.header if name not in used}
    naming = [
        cells
        for cells in columns.values()
        if 1 < len(set(cells)) <= len(cells) / 2
        and 2 * sum(map(is_gap, cells)) < len(cells)
        and not mostly(is_number, cells)
        and not mostly(is_time, cells)
    ]
    return [", ".join(cells) for cells in zip(*naming, strict=True)]


# Rows


def parse_rows(table: Table, time: str, value: str, options: ReadOptions) -> tuple[Times, Values]:
    """Return the times and values of all rows.

    Raises
    ------
    SourceError
        Listing the first rows that are wrong, and what was expected.
    """
    cells = {"time": table.column(time), "value": table.column(value)}
    times = parse_times(cells["time"], options.timezone, options.day_first)
    values = parse_values(cells["value"], table.locale_unknown, options.decimal_comma)
    faults = dict(table.faults)
    for name, found in (("value", values.faults), ("time", times.faults)):
        for row, fault in found.items():
            faults[table.places[row]] = f"{name} {cells[name][row]!r}: {fault}"
    if faults:
        count = f"{len(faults):,} of {len(table.rows) + len(table.faults):,} rows can't be read"
        lines = [f"{table.place_name} {place}: {faults[place]}" for place in sorted(faults)]
        raise SourceError(listed(f"{count}; correct or delete them", lines))
    if np.isnan(values.numbers).all():
        count = counted(len(values.numbers), "value")
        raise SourceError(f"{value}: none of its {count} is a number, all are empty or NaN")
    return times, values


def in_order(times: Integers, values: Floats, table: Table) -> tuple[Series, list[str]]:
    """Return readings by time, one each, without gaps; and notes on what was done.

    Raises
    ------
    SourceError
        If a time has two values.
    """
    notes = []
    steps = np.diff(times)
    if (steps < 0).any():
        notes.append("sorted by time" if (steps > 0).any() else "newest first")
    order = np.argsort(times, kind="stable")
    order = order[~np.isnan(values[order])]
    if len(order) < len(times):
        notes.append(f"{counted(len(times) - len(order), 'reading')} without a value left out")
    series = Series(times[order], values[order])
    is_repeated = np.diff(series.times, prepend=series.times[:1] - 1) == 0
    differs = np.flatnonzero(is_repeated[1:] & (np.diff(series.values) != 0))
    if len(differs):
        first, second = order[differs[0]], order[differs[0] + 1]
        raise SourceError(
            f"{utc(int(times[first]))} has two values, {values[first]} "
            f"({table.place_name} {table.places[first]}) and {values[second]} "
            f"({table.place_name} {table.places[second]}); of {counted(len(differs), 'such time')} "
            "in all. Keep one reading a time, of several series one a file; if clocks went back "
            "there, give --timezone"
        )
    if is_repeated.any():
        notes.append(f"{counted(int(is_repeated.sum()), 'repeated reading')} left out")
    return series[~is_repeated], notes


def listed(head: str, lines: Sequence[str]) -> str:
    """Return a message about several things, with the first of them a line each."""
    more = len(lines) - MAX_LISTED
    end = [f"and {more:,} more"] if more > 0 else []
    return "\n  ".join([f"{head}:", *lines[:MAX_LISTED], *end])


# Labels


LABELS_FORM = (
    "expected a list of times and [first, last] pairs, such as "
    '["2026-03-01T12:00:00Z", ["2026-03-02T08:00:00Z", "2026-03-02T09:30:00Z"]]'
)


def read_labels(
    path: Path, file_name: str, times: Integers, zone: tzinfo
) -> tuple[Integers, Integers]:
    """Read labels and windows of one series from a JSON file.

    Parameters
    ----------
    zone
        Of times without an offset.

    Returns
    -------
    labels, windows : (k,) and (w, 2) int64
        A bare time is a label and gets a window of NAB's width; a [first, last] pair is a window,
        its middle the label.

    Raises
    ------
    SourceError
        If the file is not of that form.
    """
    content = label_entries(path, file_name)
    where = str(path)
    points = [parse_time(entry, where, zone) for entry in content if not isinstance(entry, list)]
    pairs = [[parse_time(end, where, zone) for end in pair] for pair in content if is_pair(pair)]
    if len(points) + len(pairs) != len(content):
        raise SourceError(f"{path}: a window is a pair of times: [first, last]")
    if any(first > last for first, last in pairs):
        raise SourceError(f"{path}: a window ends before it begins")
    for time in [*points, *chain(*pairs)]:
        if not times[0] <= time <= times[-1]:
            raise SourceError(f"{path}: {utc(time)} is not within the series; is its zone {zone}?")
    labels = nearest(times, np.array(points, np.int64))
    drawn = np.array(pairs, np.int64).reshape(-1, 2)
    middles = nearest(times, drawn[:, 0] + (drawn[:, 1] - drawn[:, 0]) // 2)
    windows = np.concatenate([label_windows(labels, times), drawn])
    return np.unique(np.concatenate([labels, middles])), windows[np.argsort(windows[:, 0])]


def label_entries(path: Path, file_name: str) -> list[Any]:
    """Return the list of one series' labels and windows, unchecked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}; {LABELS_FORM}") from error
    if isinstance(content, dict):
        content = next((v for k, v in content.items() if k.split("/")[-1] == file_name), None)
    if not isinstance(content, list):
        raise SourceError(
            f"{path}: {LABELS_FORM}, or an object with such a list under {file_name!r}"
        )
    return content


def is_pair(entry: Any) -> bool:
    """Return whether a label entry is a window."""
    return isinstance(entry, list) and len(entry) == 2


def nearest(times: Integers, wanted: Integers) -> Integers:
    """Return the time of the reading nearest to each wanted time."""
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    is_before_nearer = wanted - times[after - 1] < times[after] - wanted
    found: Integers = times[np.where(is_before_nearer, after - 1, after)]
    return found
