"""NAB's scoring rules, under its three application profiles.

Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015: the first detection in a window earns the more the earlier it comes; a
false alarm costs the less the closer behind a window it is; a missed window costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.nab_corpus import NabFile

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers


@dataclass(frozen=True)
class Profile:
    """Weights of one profile.

    Attributes
    ----------
    true_positive : float
        Credit of a window found at its very beginning.
    false_positive : float
        Cost of a false alarm far from any window.
    false_negative : float
        Cost of a window missed.
    """

    name: str
    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("standard", 1.0, 0.11, 1.0),
        Profile("reward_low_FP_rate", 1.0, 0.22, 1.0),
        Profile("reward_low_FN_rate", 1.0, 0.11, 2.0),
    )
}


NO_WINDOW = -1


def scaled_sigmoid(position: Floats) -> Floats:
    """Return 1 far before a window's end, 0 at its end, -1 far behind it: (n,) -> (n,)."""
    near = np.minimum(position, 3.0)
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * near)) - 1.0)


AT_WINDOW_START = float(scaled_sigmoid(np.array([-1.0]))[0])


@dataclass(frozen=True)
class Worth:
    """What a detection at each row of a file is worth, before the profile's weights.

    Attributes
    ----------
    value : (n,) float64
        In a window, 0 to 1 of a hit's credit; outside, -1 to 0 of a false alarm's cost.
    window : (n,) int
        The window of each row, `NO_WINDOW` outside of all.
    windows : int
        How many windows the file has.
    """

    value: Floats
    window: Integers
    windows: int


def worth(file: NabFile) -> Worth:
    """Return what a detection at each row is worth; rows in probation are worth nothing."""
    rows = np.arange(len(file.texts), dtype=np.float64)
    value = np.full(len(rows), -1.0)
    window = np.full(len(rows), NO_WINDOW, np.int64)
    for number, (first, last) in enumerate(file.windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        value[inside] = scaled_sigmoid(-(last - rows[inside] + 1) / width) / AT_WINDOW_START
        window[inside] = number
        behind = slice(last + 1, None)  # until the next window, which overwrites it
        with np.errstate(divide="ignore"):
            value[behind] = scaled_sigmoid((rows[behind] - last) / np.float64(width - 1))
    value[: file.probation] = 0.0
    return Worth(value, window, len(file.windows))


def file_score(file: NabFile, scores: Floats, threshold: float, profile: Profile) -> float:
    """Return the raw score of one file's detections: rows that score at least `threshold`."""
    detected = scores >= threshold
    detected[: file.probation] = False
    merit = worth(file)
    false_alarms = detected & (merit.window == NO_WINDOW)
    total = profile.false_positive * float(merit.value[false_alarms].sum())
    for number in range(merit.windows):
        hits = merit.value[detected & (merit.window == number)]
        total += profile.true_positive * float(hits.max()) if hits.size else -profile.false_negative
    return total


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """Return a raw score on NAB's scale: 0 detects nothing, 100 every window at its first row."""
    nothing = -profile.false_negative * windows
    perfect = profile.true_positive * windows
    return 100.0 * (raw - nothing) / (perfect - nothing) if windows else 0.0


def best_threshold(
    files: Sequence[NabFile], scores: Sequence[Floats], profile: Profile
) -> tuple[float, float]:
    """Return the threshold that gives the highest total over all files, and that raw total.

    Every score is tried. The total changes by what each row adds once the threshold has come
    down to its score: a false alarm its cost, a row of a window what it is worth more than the
    rows of that window that scored higher.
    """
    thresholds, gains = [], []
    nothing = 0.0
    for file, file_scores in zip(files, scores, strict=True):
        merit = worth(file)
        nothing -= profile.false_negative * merit.windows
        scored_rows = np.arange(file.probation, len(file_scores))
        outside = scored_rows[merit.window[scored_rows] == NO_WINDOW]
        thresholds.append(file_scores[outside])
        gains.append(profile.false_positive * merit.value[outside])
        for number in range(merit.windows):
            rows = scored_rows[merit.window[scored_rows] == number]
            rows = rows[np.argsort(-file_scores[rows], kind="stable")]
            best = np.maximum.accumulate(profile.true_positive * merit.value[rows])
            thresholds.append(file_scores[rows])
            gains.append(np.diff(best, prepend=-profile.false_negative))
    scored, gained = np.concatenate(thresholds), np.concatenate(gains)
    order = np.argsort(-scored, kind="stable")
    scored, totals = scored[order], nothing + np.cumsum(gained[order])
    complete = np.append(scored[1:] < scored[:-1], True)  # a threshold takes all its ties
    at = int(np.argmax(np.where(complete, totals, -np.inf)))
    if totals[at] <= nothing:
        return float(np.nextafter(scored[0], np.inf)), nothing
    return float(scored[at]), float(totals[at])


@dataclass(frozen=True)
class Run:
    """One detector with one seed, over all files.

    Attributes
    ----------
    scores : list of (n,) float64
        A score a row, for each file.
    """

    detector: str
    seed: int
    scores: list[Floats]


@dataclass(frozen=True)
class FileResult:
    """The result on one file.

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
class Result:
    """The result of one run under one profile.

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
    files: list[FileResult]


def score_run(
    files: Sequence[NabFile], run: Run, profile: Profile, threshold: float | None
) -> Result:
    """Score one run; without a threshold, at the best one over all files."""
    if threshold is None:
        threshold, _ = best_threshold(files, run.scores, profile)
    raw = [
        file_score(file, scores, threshold, profile)
        for file, scores in zip(files, run.scores, strict=True)
    ]
    windows = sum(len(file.windows) for file in files)
    one_point = max(windows * (profile.true_positive + profile.false_negative) / 100.0, 1e-9)
    return Result(
        detector=run.detector,
        seed=run.seed,
        profile=profile.name,
        threshold=threshold,
        total=normalised(sum(raw), windows, profile),
        categories={
            category: category_total(files, raw, category, profile)
            for category in dict.fromkeys(file.category for file in files)
        },
        files=[
            file_result(file, scores, threshold, score, one_point, profile)
            for file, scores, score in zip(files, run.scores, raw, strict=True)
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


def file_result(
    file: NabFile,
    scores: Floats,
    threshold: float,
    score: float,
    one_point: float,
    profile: Profile,
) -> FileResult:
    """Return the windows found in one file, the false alarms, and the points lost on it."""
    detected = scores >= threshold
    detected[: file.probation] = False
    window = worth(file).window[detected]
    return FileResult(
        file=file.name,
        score=score,
        lost=(len(file.windows) * profile.true_positive - score) / one_point,
        windows=len(file.windows),
        windows_found=len(np.unique(window[window != NO_WINDOW])),
        false_alarms=int((window == NO_WINDOW).sum()),
    )
