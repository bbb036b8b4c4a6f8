"""The Numenta Anomaly Benchmark: found on disk, in the cache, or downloaded.

Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015. MIT licence. None of it is in this repository.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import SourceError
from training.sources.csv_file import read_readings
from training.sources.series import Series

SEED_FILE = "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv"
"""The series that this project starts from: CPU utilisation of an EC2 instance."""

LABELS = "labels/combined_labels.json"
WINDOWS = "labels/combined_windows.json"


@dataclass(frozen=True)
class Nab:
    """A folder laid out as NAB is: `data/` and `labels/`."""

    root: Path

    def __post_init__(self) -> None:
        for part in ("data", LABELS, WINDOWS):
            if not (self.root / part).exists():
                raise SourceError(
                    f"{self.root} is not laid out as NAB is: {part} is missing. Point NAB_ROOT, "
                    "or the command's option, to the folder that holds data/ and labels/"
                )

    def series(self, file: str = SEED_FILE) -> Series:
        """Read one file with its labels and windows.

        Parameters
        ----------
        file
            Path below `data/`, such as "realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv".

        Raises
        ------
        SourceError
            If the file is not there, or the label files do not know it.
        """
        path = self.root / "data" / file
        if not path.is_file():
            raise SourceError(f"NAB at {self.root} has no file {file}")
        labels, windows = self.marks(file)
        # four of its files repeat the hour in which daylight saving ends
        timestamps, values = read_readings(path, skip_repeats=True)
        return Series(
            name=path.stem,
            origin=f"NAB {file}",
            timestamps=timestamps,
            values=values,
            labels=np.array(labels, "datetime64[s]"),
            windows=np.array(windows, "datetime64[s]").reshape(-1, 2),
        )

    def marks(self, file: str) -> tuple[list[str], list[list[str]]]:
        """Return the labels and the windows of a file, as NAB writes them."""
        try:
            labels = json.loads((self.root / LABELS).read_text(encoding="utf-8"))
            windows = json.loads((self.root / WINDOWS).read_text(encoding="utf-8"))
            return labels[file], windows[file]
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"NAB at {self.root} has no labels for {file}: {error!r}") from error
