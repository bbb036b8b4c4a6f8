"""Fits scikit-learn's isolation forest on distances to the history, and exports it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import numpy.typing as npt
from sklearn import ensemble

from ops_anomaly.detection.contextual_forest import SKIPPED, ContextualForest, extend
from ops_anomaly.detection.history import Past
from ops_anomaly.detection.isolation_forest import IsolationForest
from ops_anomaly.detection.types import FLOAT32_MAX
from training import SourceError
from training.candidates import Candidate
from training.candidates.value_forest import floor_to_float32
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats

TREES = 100
MAX_ROWS = 256
"""Rows that a tree is fitted on, at most: more would hide anomalies among their like."""

MIN_ROWS = 30


def fit_contextual_forest(series: LabelledSeries, seed: int) -> Candidate:
    """Fit the forest on distances to the history, and give the detector that history.

    Readings in anomaly windows are left out of both: a known incident should not make the next
    one seem ordinary.

    Raises
    ------
    SourceError
        If too few readings are outside of anomaly windows.
    """
    normal = series.normal
    rows = extend(Past.nothing(), normal.times, normal.values, None).past.distances[SKIPPED:]
    if len(rows) < MIN_ROWS:
        raise SourceError(
            f"{len(normal)} readings of the training part are outside of anomaly windows; "
            f"{SKIPPED + MIN_ROWS} are needed"
        )
    forest = ensemble.IsolationForest(
        n_estimators=TREES, max_samples=min(MAX_ROWS, len(rows)), random_state=seed
    ).fit(clipped(rows))
    detector = ContextualForest.untrained(export_isolation_forest(forest))

    def save_estimator(folder: Path) -> None:
        joblib.dump(forest, folder / "contextual-forest.joblib")

    return Candidate(detector.update(normal)[1], save_estimator)


def clipped(rows: Floats) -> Floats:
    """Return rows within the range of float32, in which scikit-learn compares."""
    return np.minimum(rows, FLOAT32_MAX)


def export_isolation_forest(forest: ensemble.IsolationForest) -> IsolationForest:
    """Export a fitted forest as complete trees, equal to it to the bit."""
    depth = max(int(np.ceil(np.log2(max(forest.max_samples_, 2)))), 1)
    nodes = 2**depth - 1
    features = np.zeros((len(forest.estimators_), nodes), np.uint8)
    splits = np.full(features.shape, FLOAT32_MAX, np.float32)
    paths = np.zeros((len(forest.estimators_), nodes + 1))
    for number, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        below = average_path_length(tree.n_node_samples)
        floors = floor_to_float32(tree.threshold)
        # node of the fitted tree, its position in the complete one, its depth
        branches = [(0, 0, 0)]
        while branches:
            node, position, level = branches.pop()
            if tree.children_left[node] < 0:
                leaf = (position + 1) * 2 ** (depth - level) - 1 - nodes  # its leftmost descendant
                paths[number, leaf] = (level + 1) + below[node] - 1.0
                continue
            features[number, position] = tree.feature[node]
            splits[number, position] = floors[node]
            branches.append((tree.children_left[node], 2 * position + 1, level + 1))
            branches.append((tree.children_right[node], 2 * position + 2, level + 1))
    expected_path = float(average_path_length(np.array([forest.max_samples_]))[0])
    return IsolationForest(features, splits, paths, expected_path)


def average_path_length(samples: npt.NDArray[np.int64]) -> Floats:
    """Return the average path length of unsuccessful searches in trees of so many samples.

    Equation 1 of Liu, Ting and Zhou, "Isolation Forest", ICDM 2008, as scikit-learn has it.
    """
    n = np.maximum(samples.astype(np.float64), 3.0)
    lengths = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, lengths))
