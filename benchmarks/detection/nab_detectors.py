"""The detectors that NAB scores, and how they are run over its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from zlib import crc32

import joblib
import numpy as np

from benchmarks.detection.nab_corpus import NabFile
from ops_anomaly.detection.types import Detection, Detector
from training.candidates.contextual_forest import fit_contextual_forest
from training.candidates.value_forest import fit_value_forest
from training.sources.series import Floats, Series

Scorer = Callable[[Series, int, int], Floats]
"""Takes a series without labels, its length of probation, a seed; returns a score a reading."""


def contextual(series: Series, probation: int, seed: int) -> Floats:
    """Fit on the probation; score the readings that raise an alert, the others 0.

    An alert's score is what it has beyond the bar, put on top of the threshold: in nats.
    """
    detector = fit_contextual_forest(series.part(0, probation), seed).detector
    after = series.part(probation, len(series))
    return after_probation(alert_scores(detector, after), probation)


def alert_scores(detector: Detector, series: Series) -> Floats:
    """Return what each alert has beyond the bar, on top of the threshold; else 0: (n,)."""
    detection: Detection = detector.detect(series.timestamps, series.values)
    scores = np.zeros(len(series))
    for alert in detection.alerts:
        beyond = detection.scores[alert.start] - detection.bar[alert.start]
        scores[alert.start] = detector.threshold + beyond
    return scores


def value_forest(series: Series, probation: int, seed: int) -> Floats:
    """Fit the seed's forest on the probation; score each value by itself."""
    detector = fit_value_forest(series.part(0, probation), seed).detector
    after = series.part(probation, len(series))
    return after_probation(detector.score_samples(after.timestamps, after.values), probation)


def lstm_autoencoder(series: Series, probation: int, seed: int) -> Floats:
    """Train on the probation; score each reading by its surprise after the window before it."""
    from training.candidates.lstm_autoencoder import fit_lstm_autoencoder

    detector = fit_lstm_autoencoder(series.part(0, probation), seed, lambda *_: None).detector
    after = series.part(probation, len(series))
    return after_probation(detector.score_samples(after.timestamps, after.values), probation)


def windowed_gaussian(series: Series, probation: int, seed: int) -> Floats:
    """Score how improbable a reading is under a normal distribution of those before it.

    As NAB's own baseline of the name: of all before it, up to 6,400; from then on the window
    moves in steps of 150.
    """
    window, step = 6_400, 150
    values = series.values
    before = np.arange(len(values))
    stops = np.where(before <= window, before, window + (before - window) // step * step)
    starts = np.maximum(stops - window, 0)
    scores = np.zeros(len(values))
    for position, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if not position:
            continue
        if position == 1 or stop != stops[position - 1]:
            mean, spread = values[start:stop].mean(), values[start:stop].std() or 1e-6
        scores[position] = 1.0 - 0.5 * erfc(abs(values[position] - mean) / spread / sqrt(2.0))
    return scores


def at_random(series: Series, probation: int, seed: int) -> Floats:
    """Score at random, uniformly."""
    return np.random.default_rng([seed, crc32(series.name.encode())]).random(len(series))


def null(series: Series, probation: int, seed: int) -> Floats:
    """Score every reading alike: what nobody should lose to."""
    return np.full(len(series), 0.5)


def after_probation(scores: Floats, probation: int) -> Floats:
    """Return scores of the whole series; 0 in the probation."""
    return np.concatenate([np.zeros(probation), scores])


DETECTORS: dict[str, Scorer] = {
    "contextual": contextual,
    "value-forest": value_forest,
    "lstm-autoencoder": lstm_autoencoder,
    "windowed-gaussian": windowed_gaussian,
    "random": at_random,
    "null": null,
}

UNSEEDED = ("windowed-gaussian", "null")
"""Those that a seed does not change: they run once."""


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
