"""What NAB says of a detector: totals, categories, files, under each profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.nab.corpus import NabFile
from training.nab.profiles import Profile
from training.nab.run import Scored
from training.nab.scoring import NO_WINDOW, best_threshold, file_score, normalised, worth
from training.sources.series import Floats


@dataclass(frozen=True)
class FileJudgement:
    """How one file went.

    Attributes
    ----------
    score : float
        Raw, as NAB's results have it.
    lost : float
        Points of the total that a perfect detector would have more.
    windows, windows_found, false_alarms : int
        False alarms are detected rows outside of windows.
    """

    file: str
    score: float
    lost: float
    windows: int
    windows_found: int
    false_alarms: int


@dataclass(frozen=True)
class Judgement:
    """How one detector with one seed went under one profile.

    Attributes
    ----------
    total : float
        On NAB's scale, 0 to 100.
    categories : dict of str to float
        The same over the files of one category; None for one without a window.
    """

    detector: str
    seed: int
    profile: str
    threshold: float
    total: float
    categories: dict[str, float | None]
    files: list[FileJudgement]


def judge_scores(
    files: Sequence[NabFile], scored: Scored, profile: Profile, threshold: float | None
) -> Judgement:
    """Judge one run; without a threshold, at the best one over all files."""
    if threshold is None:
        threshold, _ = best_threshold(files, scored.scores, profile)
    raw = [
        file_score(file, scores, threshold, profile)
        for file, scores in zip(files, scored.scores, strict=True)
    ]
    windows = sum(len(file.windows) for file in files)
    one_point = max(windows * (profile.true_positive + profile.false_negative) / 100.0, 1e-9)
    return Judgement(
        detector=scored.detector,
        seed=scored.seed,
        profile=profile.name,
        threshold=threshold,
        total=normalised(sum(raw), windows, profile),
        categories={
            category: category_total(files, raw, category, profile)
            for category in dict.fromkeys(file.category for file in files)
        },
        files=[
            judge_file(file, scores, threshold, score, one_point, profile)
            for file, scores, score in zip(files, scored.scores, raw, strict=True)
        ],
    )


def category_total(
    files: Sequence[NabFile], raw: Sequence[float], category: str, profile: Profile
) -> float | None:
    """Return a category's total on NAB's scale; None where it has no window."""
    members = [number for number, file in enumerate(files) if file.category == category]
    windows = sum(len(files[number].windows) for number in members)
    if not windows:
        return None
    return normalised(sum(raw[number] for number in members), windows, profile)


def judge_file(
    file: NabFile,
    scores: Floats,
    threshold: float,
    score: float,
    one_point: float,
    profile: Profile,
) -> FileJudgement:
    """Return what became of one file's windows, and what was lost on it."""
    detected = scores >= threshold
    detected[: file.probation] = False
    window = worth(file).window[detected]
    return FileJudgement(
        file=file.name,
        score=score,
        lost=(len(file.windows) * profile.true_positive - score) / one_point,
        windows=len(file.windows),
        windows_found=len(np.unique(window[window != NO_WINDOW])),
        false_alarms=int((window == NO_WINDOW).sum()),
    )
