"""Running detectors over the files, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import joblib

from training.nab.corpus import NabFile
from training.nab.detectors import DETECTORS, UNSEEDED
from training.sources.series import Floats


@dataclass(frozen=True)
class Scored:
    """One detector with one seed, over all files.

    Attributes
    ----------
    scores : list of (n,) float64
        A score a row, for each file.
    """

    detector: str
    seed: int
    scores: list[Floats]


def run_detectors(
    files: Sequence[NabFile],
    names: Sequence[str],
    seeds: int,
    on_file_done: Callable[[], None],
) -> list[Scored]:
    """Score every file with every detector and seed.

    Parameters
    ----------
    seeds
        Run with seeds 0 to `seeds` - 1, where a seed matters.
    on_file_done
        Called after each file of each run; `runs(names, seeds)` says how many runs there are.
    """
    plan = runs(names, seeds)
    jobs = (joblib.delayed(score_file)(name, file, seed) for name, seed in plan for file in files)
    scores = []
    for each in joblib.Parallel(n_jobs=-1, return_as="generator")(jobs):
        scores.append(each)
        on_file_done()
    return [
        Scored(name, seed, scores[start : start + len(files)])
        for (name, seed), start in zip(plan, range(0, len(scores), len(files)), strict=True)
    ]


def runs(names: Sequence[str], seeds: int) -> list[tuple[str, int]]:
    """Return every detector with every seed that it is run with."""
    return [(name, seed) for name in names for seed in range(1 if name in UNSEEDED else seeds)]


def score_file(name: str, file: NabFile, seed: int) -> Floats:
    """Return one detector's scores of a file's rows; it sees no label."""
    return file.on_rows(DETECTORS[name](file.unlabelled, file.probation_readings, seed))
