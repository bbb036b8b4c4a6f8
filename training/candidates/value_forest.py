"""Fits scikit-learn's isolation forest on values alone, and exports it as a step function."""

from __future__ import annotations

from array import array
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from ops_anomaly.detection.value_forest import ValueForest
from training import SourceError
from training.candidates import Candidate
from training.sources.series import LabelledSeries

TREES = 100
CHUNK = 65_536


def fit_value_forest(series: LabelledSeries, seed: int) -> Candidate:
    """Fit the forest on readings outside anomaly windows, with a threshold that needs no labels."""
    values = series.normal.values
    if not values.size:
        raise SourceError("every reading of the training part is in an anomaly window")
    forest = IsolationForest(n_estimators=TREES, random_state=seed).fit(values[:, np.newaxis])
    one_a_day = values.size / (series.readings_a_week / 7)
    forest.offset_ = label_free_offset(forest, values, max_flagged=one_a_day)

    def save_estimator(folder: Path) -> None:
        joblib.dump(forest, folder / "value-forest.joblib")

    return Candidate(export_value_forest(forest), save_estimator)


def fit_baseline_forest(series: LabelledSeries, seed: int = 42) -> ValueForest:
    """Fit the baseline experiment's forest: on everything, contamination taken from the labels."""
    contamination = series.is_label.sum() / len(series)
    forest = IsolationForest(n_estimators=TREES, contamination=contamination, random_state=seed)
    return export_value_forest(forest.fit(series.values[:, np.newaxis]))


def label_free_offset(
    forest: IsolationForest, values: npt.NDArray[np.float64], max_flagged: float
) -> float:
    """Return the `offset_` by which only the most isolated training values are anomalies.

    The forest saturates: whatever is beyond the training values scores like the outermost of
    them. So the threshold is the highest training score but one: anything lower would flag more
    of the ordinary, anything higher nothing at all. Where the outermost values are common (more
    than `max_flagged` readings share the highest score), the forest can't distinguish values
    beyond from normal ones, and nothing is flagged.
    """
    scores, counts = np.unique(-forest.score_samples(values[:, np.newaxis]), return_counts=True)
    if counts[-1] > max_flagged or len(scores) == 1:
        return -float(scores[-1])
    return -float(scores[-2])


def export_value_forest(forest: IsolationForest) -> ValueForest:
    """Turn a fitted forest of one feature into a step function, equal to the bit.

    scikit-learn rounds values to float32 and tests `x <= t` at each split, so all values between
    two neighbouring thresholds score alike: one of each interval is scored by scikit-learn itself
    and neighbours with equal scores are merged.

    Parameters
    ----------
    forest
        Fitted on one feature. Its `offset_` becomes the threshold.
    """
    splits = [each.tree_.threshold[each.tree_.children_left >= 0] for each in forest.estimators_]
    edges = np.unique(floor_to_float32(np.concatenate(splits)))
    beyond = np.nextafter(edges[-1:] if edges.size else np.zeros(1, np.float32), np.float32(np.inf))
    inside = np.concatenate([edges, beyond]).astype(np.float64)  # one value of each interval
    scores = np.concatenate(
        [
            -forest.score_samples(inside[start : start + CHUNK, np.newaxis])
            for start in range(0, len(inside), CHUNK)
        ]
    )
    kept = np.flatnonzero(np.diff(scores))
    return ValueForest(
        breaks=array("d", float64_boundary(edges[kept])),
        scores=array("d", np.append(scores[kept], scores[-1])),
        threshold=-float(forest.offset_),
    )


def floor_to_float32(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 not above each threshold: no float32 is between the two."""
    rounded = thresholds.astype(np.float32)
    too_high = rounded.astype(np.float64) > thresholds
    return np.where(too_high, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def float64_boundary(edges: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the largest float64 that rounds to each float32 edge or below.

    Halfway to the next float32, rounding goes to the one with an even mantissa.
    """
    upper = np.nextafter(edges, np.float32(np.inf)).astype(np.float64)
    halfway = edges.astype(np.float64) / 2 + upper / 2
    rounds_down = halfway.astype(np.float32) <= edges
    return np.where(rounds_down, halfway, np.nextafter(halfway, -np.inf))
