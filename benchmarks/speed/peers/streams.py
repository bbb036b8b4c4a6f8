"""Detectors of a stream: river's, one reading at a time, and this project's.

river's are made once, and go on with the series from its beginning whenever they are run.
"""

from __future__ import annotations

from typing import Any

from benchmarks.speed.peers.contestant import Contestant
from training.sources.simulated import simulate_ec2_cpu

SEED = 42
PUBLISHED = {"n_trees": 25, "height": 15}
"""The settings of Tan, Ting and Liu, "Fast anomaly detection for streaming data", IJCAI 2011."""

DAY = 288
"""Readings in a day."""


def values(readings: int) -> list[float]:
    """Return so many readings of the simulated series, repeated where it is too short."""
    series = simulate_ec2_cpu().values.tolist()
    return (series * (readings // len(series) + 1))[:readings]


def half_space_trees(readings: int, *, as_published: bool = False) -> Contestant:
    """Return river's half-space trees behind its scaler, as its documentation has them."""
    from river import anomaly, preprocessing

    settings: dict[str, Any] = PUBLISHED if as_published else {}
    detector = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=SEED, **settings)
    rows = [{"value": value} for value in values(readings)]

    def run() -> float:
        score = 0.0
        for row in rows:
            score = detector.score_one(row)
            detector.learn_one(row)
        return score

    return Contestant(run, run)


def windowed_gaussian(readings: int) -> Contestant:
    """Return river's Gaussian over the last day."""
    from river import anomaly

    detector, asked = anomaly.GaussianScorer(window_size=DAY), values(readings)

    def run() -> float:
        score = 0.0
        for value in asked:
            score = detector.score_one(None, value)
            detector.learn_one(None, value)
        return score

    return Contestant(run, run)


def contextual_forest(readings: int, *, has_forest: bool) -> Contestant:
    """Return this project's detector: scores, decisions, bounds, reasons and alerts of a series."""
    import numpy as np

    from ops_anomaly.detection.contextual_forest import ContextualForest
    from training.candidates.contextual_forest import fit_contextual_forest

    series = simulate_ec2_cpu()
    forest = fit_contextual_forest(series.part(0, 2016), SEED).detector.forest
    detector = ContextualForest.untrained(forest if has_forest else None)
    asked = np.array(values(readings))
    times = series.timestamps[0] + np.timedelta64(300, "s") * np.arange(readings)
    return Contestant(
        lambda: detector.detect(times, asked), lambda: len(detector.detect(times, asked).scores)
    )


def contextual_forest_step(after: int) -> Contestant:
    """Return this project's detector as it follows a stream: one reading at a time."""
    from training.candidates.contextual_forest import fit_contextual_forest

    series = simulate_ec2_cpu()
    detector = fit_contextual_forest(series.part(0, after), SEED).detector
    one = slice(after, after + 1)
    times, asked = series.timestamps[one], series.values[one]
    return Contestant(lambda: detector.follow(times, asked), lambda: 1)
