"""Trains the contextual detector: it learns what is normal for the metric, and what is novel.

scikit-learn fits the isolation forest of its novelty member, on how far each reading is from the
history before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import joblib
import numpy as np
import numpy.typing as npt
from sklearn import ensemble

from ops_anomaly.detection.contextual import ContextualDetector
from ops_anomaly.detection.history import History
from ops_anomaly.detection.isolation_forest import IsolationForest
from ops_anomaly.detection.novelty_forest import NoveltyForest, extend
from ops_anomaly.detection.types import FLOAT32_MAX
from training import SourceError
from training.candidates import Candidate
from training.candidates.value_forest import floor_to_float32
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Series

TREES = 100
MAX_ROWS = 256
"""Rows that a tree is fitted on, at most: more would hide anomalies among their like."""

MIN_ROWS = 30

FIRST_ROW = 30
"""Before it everything is far from the little there is."""


def fit_contextual(series: LabelledSeries, seed: int) -> Candidate:
    """Fit the novelty member, and let the detector see the ordinary readings of the series.

    Readings in anomaly windows are left out of both: a known incident should not make the next
    one seem ordinary.

    Raises
    ------
    SourceError
        If too few readings are outside of anomaly windows.
    """
    ordinary = series.normal
    estimator = fit_isolation_forest(ordinary, seed)
    novelty = NoveltyForest.untrained(export_isolation_forest(estimator))
    detector = ContextualDetector.untrained(novelty).update(ordinary)[1]

    def save_estimator(folder: Path) -> None:
        joblib.dump(estimator, folder / "isolation-forest.joblib")

    return Candidate(detector, save_estimator)


def fit_isolation_forest(ordinary: Series, seed: int) -> ensemble.IsolationForest:
    """Fit scikit-learn's isolation forest on the distances of each reading to its history.

    Raises
    ------
    SourceError
        If there are too few readings.
    """
    rows = extend(History.empty(), ordinary, None)[0].distances[FIRST_ROW:]
    if len(rows) < MIN_ROWS:
        raise SourceError(
            f"{len(ordinary)} readings of the training part are outside of anomaly windows; "
            f"{FIRST_ROW + MIN_ROWS} are needed"
        )
    estimator = ensemble.IsolationForest(
        n_estimators=TREES, max_samples=min(MAX_ROWS, len(rows)), random_state=seed
    )
    return estimator.fit(clipped(rows))


def clipped(rows: Floats) -> Floats:
    """Return rows within the range of float32, in which scikit-learn compares."""
    return np.minimum(rows, FLOAT32_MAX)


def export_isolation_forest(estimator: ensemble.IsolationForest) -> IsolationForest:
    """Export a fitted forest as complete trees, equal to it to the bit."""
    depth = max(int(np.ceil(np.log2(max(estimator.max_samples_, 2)))), 1)
    nodes = 2**depth - 1
    features = np.zeros((len(estimator.estimators_), nodes), np.uint8)
    splits = np.full(features.shape, FLOAT32_MAX, np.float32)
    paths = np.zeros((len(estimator.estimators_), nodes + 1))
    for number, fitted_tree in enumerate(estimator.estimators_):
        tree = fitted_tree.tree_
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
    expected_path = float(average_path_length(np.array([estimator.max_samples_]))[0])
    return IsolationForest(features, splits, paths, expected_path)


def average_path_length(samples: npt.NDArray[np.int64]) -> Floats:
    """Return the average path length of unsuccessful searches in trees of so many samples.

    Equation 1 of Liu, Ting and Zhou, "Isolation Forest", ICDM 2008, as scikit-learn has it.
    """
    n = np.maximum(samples.astype(np.float64), 3.0)
    lengths = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, lengths))
