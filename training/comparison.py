"""Comparing the candidates: the seed's experiment as it was, and the honest one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.detection import Detection
from detector.interface import Detector
from detector.lstm_autoencoder import LstmAutoencoder
from training.candidates.candidate import Candidate
from training.candidates.value_forest import fit_as_the_seed_did
from training.evaluation import Confusion, Figures, confusion, judge
from training.sources.series import Mask, Series


@dataclass(frozen=True)
class Judged:
    """A candidate and how it did after the part it was fitted on.

    Attributes
    ----------
    detection : Detection
        On the judged part, at a threshold that was fixed without that part's labels.
    """

    candidate: Candidate
    detection: Detection
    figures: Figures
    readings: Confusion


@dataclass(frozen=True)
class SeedRow:
    """One row of the seed's table: judged on the points it was fitted on, with their labels."""

    kind: str
    confusion: Confusion


def judge_candidate(candidate: Candidate, series: Series) -> Judged:
    """Judge a candidate on the part of the series that follows the one it was fitted on."""
    detection = candidate.detector.detect(series.timestamps, series.values)
    flags = detection.is_anomaly
    return Judged(
        candidate,
        detection,
        judge(series, flags, detection.alerts),
        confusion(series.in_window, flags),
    )


def seed_experiment(series: Series, lstm: LstmAutoencoder) -> list[SeedRow]:
    """Repeat the seed's experiment on the labelled points; empty where there is none to judge by.

    The forest is fitted and judged on the same points, its contamination taken from the labels.
    The LSTM's flags are as many as there are labels, and each window's error is credited to the
    window's first reading, a window's length too early.
    """
    if not 0 < series.is_label.mean() <= 0.5:  # scikit-learn's bounds of contamination
        return []
    forest = fit_as_the_seed_did(series)
    return [
        SeedRow(forest.kind, confusion(series.is_label, flags_of(forest, series))),
        SeedRow(lstm.kind, confusion(series.is_label, flags_as_the_seed_did(lstm, series))),
    ]


def flags_of(detector: Detector, series: Series) -> Mask:
    """Return a detector's flags over a whole series: (n,) bool."""
    return detector.score_samples(series.timestamps, series.values) > detector.threshold


def flags_as_the_seed_did(lstm: LstmAutoencoder, series: Series) -> Mask:
    """Return as many flags as there are labels, each a window's length too early: (n,) bool."""
    shift = len(lstm.history)
    scores = lstm.score_samples(series.timestamps, series.values)[shift:]
    flags = np.zeros(len(series), bool)
    flags[np.argsort(scores)[-int(series.is_label.sum()) :]] = True
    return flags
