"""NAB's files as its rules need them: every row counts, repeated times too."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.errors import SourceError
from training.sources.csv_file import read_rows
from training.sources.nab import LABELS, WINDOWS, Nab
from training.sources.series import Floats, Series

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
        The timestamps as they are written.
    series : Series
        The readings whose time is later than that of all before, labels and windows.
    rows : (len(series),) int
        The row of each reading of `series`.
    windows : list of (int, int)
        First and last row of each anomaly window.
    """

    name: str
    texts: list[str]
    values: Floats
    series: Series
    rows: np.ndarray
    windows: list[tuple[int, int]]

    @property
    def category(self) -> str:
        """The folder it lies in."""
        return self.name.split("/")[0]

    @property
    def probation(self) -> int:
        """How many rows at the beginning are not judged."""
        return int(min(PROBATION * len(self.texts), MAX_PROBATION))

    @property
    def label(self) -> np.ndarray:
        """Which rows lie in a window: (n,) 0 or 1, as NAB's results have it."""
        label = np.zeros(len(self.texts), int)
        for first, last in self.windows:
            label[first : last + 1] = 1
        return label

    @property
    def unlabelled(self) -> Series:
        """The series as detectors get it."""
        return replace(self.series, labels=None, windows=np.empty((0, 2), "datetime64[s]"))

    @property
    def probation_readings(self) -> int:
        """How many readings of `series` lie in the rows that are not judged."""
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
    rows = list(read_rows(path))
    texts = [text for _, text, _, _ in rows]
    values = [value for _, _, _, value in rows]
    times = [time for _, _, time, _ in rows]
    stamps = np.array(times, "datetime64[s]")
    is_later = np.ones(len(stamps), bool)
    is_later[1:] = stamps[1:] > np.maximum.accumulate(stamps)[:-1]
    try:
        labelled = np.array(labels, "datetime64[s]")
        limits = np.array(windows, "datetime64[s]").reshape(-1, 2)
    except (ValueError, TypeError) as error:
        raise SourceError(f"NAB's labels of {name} are no times: {error}") from error
    series = Series(
        name=path.stem,
        origin=f"NAB {name}",
        timestamps=stamps[is_later],
        values=np.array(values)[is_later],
        labels=labelled,
        windows=limits,
    )
    return NabFile(
        name=name,
        texts=texts,
        values=np.array(values),
        series=series,
        rows=np.flatnonzero(is_later),
        windows=[
            (row_of(stamps, first, name), row_of(stamps, last, name)) for first, last in limits
        ],
    )


def row_of(stamps: np.ndarray, time: np.datetime64, name: str) -> int:
    """Return the first row of a time, or raise `SourceError`."""
    found = np.flatnonzero(stamps == time)
    if not found.size:
        raise SourceError(f"NAB's window limit {time} is no time of {name}")
    return int(found[0])
