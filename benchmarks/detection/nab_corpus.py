"""NAB's files as its rules need them: every row counts, repeated times too."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.timeline import utc
from training import SourceError
from training.sources.nab import LABELS, WINDOWS, Nab, read_rows
from training.sources.series import LabelledSeries, no_ranges, parse_time

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers

PROBATION = 0.15
MAX_PROBATION = 750


@dataclass(frozen=True)
class NabFile:
    """One file of the benchmark.

    Attributes
    ----------
    name : str
        Category and file, as in "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv".
    texts : list of str
        The timestamps as they are written, a row each.
    values : (n,) float64
        The values, a row each.
    series : LabelledSeries
        The readings whose time is later than that of all before, labels and windows.
    rows : (len(series),) int64
        The row of each reading of `series`.
    windows : list of (int, int)
        First and last row of each anomaly window.
    """

    name: str
    texts: list[str]
    values: Floats
    series: LabelledSeries
    rows: Integers
    windows: list[tuple[int, int]]

    @property
    def category(self) -> str:
        """The folder it is in."""
        return self.name.split("/")[0]

    @property
    def probation(self) -> int:
        """How many rows at the beginning are not scored."""
        return int(min(PROBATION * len(self.texts), MAX_PROBATION))

    @property
    def label(self) -> Integers:
        """Which rows are in a window: (n,) 0 or 1, as NAB's results have it."""
        label = np.zeros(len(self.texts), np.int64)
        for first, last in self.windows:
            label[first : last + 1] = 1
        return label

    @property
    def unlabelled(self) -> LabelledSeries:
        """The series as detectors get it."""
        return replace(self.series, labels=None, windows=no_ranges())

    @property
    def probation_readings(self) -> int:
        """How many readings of `series` are in the rows that are not scored."""
        return int((self.rows < self.probation).sum())

    def on_rows(self, scores: Floats) -> Floats:
        """Return scores of the series as scores of the rows; 0 where a time is repeated."""
        spread = np.zeros(len(self.texts))
        spread[self.rows] = scores
        return spread


def read_corpus(root: Path) -> list[NabFile]:
    """Read every file below `root` that NAB has windows for.

    Raises
    ------
    SourceError
        If the folder is not laid out as NAB is, or a file can't be read.
    """
    nab = Nab(root)
    try:
        windows = json.loads((nab.root / WINDOWS).read_text(encoding="utf-8"))
        labels = json.loads((nab.root / LABELS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"NAB's labels at {root} can't be read: {error}") from error
    names = sorted(
        path.relative_to(nab.root / "data").as_posix()
        for path in (nab.root / "data").glob("*/*.csv")
    )
    unknown = [name for name in names if name not in windows]
    if unknown or not names:
        raise SourceError(
            f"NAB at {root} has no windows for {unknown[0]}"
            if unknown
            else f"NAB at {root} holds no files: data/CATEGORY/FILE.csv"
        )
    return [read_file(nab, name, labels.get(name, []), windows[name]) for name in names]


def read_file(nab: Nab, name: str, labels: list[str], windows: list[list[str]]) -> NabFile:
    """Read one file of the benchmark, with its labels and windows as NAB writes them."""
    path = nab.root / "data" / name
    rows = read_rows(path)
    where = f"NAB's labels of {name}"
    limits = [[parse_time(time, where) for time in window] for window in windows]
    series = LabelledSeries(
        name=path.stem,
        origin=f"NAB {name}",
        series=rows.series,
        labels=np.array([parse_time(time, where) for time in labels], np.int64),
        windows=np.array(limits, np.int64).reshape(-1, 2),
    )
    return NabFile(
        name=name,
        texts=rows.texts,
        values=rows.values,
        series=series,
        rows=np.flatnonzero(rows.is_later),
        windows=[
            (row_of(rows.times, first, name), row_of(rows.times, last, name))
            for first, last in limits
        ],
    )


def row_of(times: Integers, time: int, name: str) -> int:
    """Return the first row of a time, or raise `SourceError`."""
    found = np.flatnonzero(times == time)
    if not found.size:
        raise SourceError(f"NAB's window limit {utc(time)} is not a time of {name}")
    return int(found[0])
