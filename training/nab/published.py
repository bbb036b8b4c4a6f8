"""What others published: totals of NAB's scoreboard, and per-file scores where they are at hand."""

from __future__ import annotations

import csv
from pathlib import Path

from training.errors import SourceError
from training.nab.corpus import NabFile
from training.nab.profiles import PROFILES
from training.nab.scoring import normalised

SCOREBOARD = {
    # detector: standard, reward low FP, reward low FN; NAB v1.1's README, all 58 files
    "ARTime": (74.9, 65.1, 80.4),
    "Numenta HTM": (70.5, 62.6, 75.2),
    "CAD OSE": (69.9, 67.0, 73.2),
    "earthgecko Skyline": (58.2, 46.2, 63.9),
    "KNN CAD": (58.0, 43.4, 64.8),
    "Relative Entropy": (54.6, 47.6, 58.8),
    "Random Cut Forest": (51.7, 38.4, 59.7),
    "Twitter ADVec": (47.1, 33.6, 53.5),
    "Windowed Gaussian": (39.6, 20.9, 47.4),
}

SCORES = "published/scores.csv"


def published_here(root: Path, files: list[NabFile]) -> dict[str, dict[str, float]]:
    """Return totals over exactly these files, detector -> profile -> total.

    They come from `published/scores.csv` beside the data, with NAB's columns Detector, Profile,
    File, Score; nothing where there is none.

    Raises
    ------
    SourceError
        If the file is there and can't be read.
    """
    path = root / SCORES
    if not path.exists():
        return {}
    windows = {file.name: len(file.windows) for file in files}
    raw: dict[tuple[str, str], dict[str, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                scores = raw.setdefault((row["Detector"], row["Profile"]), {})
                scores[row["File"]] = float(row["Score"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SourceError(f"{path} can't be read: {error!r}") from error
    totals: dict[str, dict[str, float]] = {}
    for (detector, profile), scores in raw.items():
        if profile in PROFILES and scores.keys() >= windows.keys():
            total = sum(scores[name] for name in windows)
            totals.setdefault(detector, {})[profile] = normalised(
                total, sum(windows.values()), PROFILES[profile]
            )
    return totals
