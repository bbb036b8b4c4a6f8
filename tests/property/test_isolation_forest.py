"""The isolation forest equals scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble

from ops_anomaly.detection.isolation_forest import IsolationForest
from ops_anomaly.detection.types import CorruptArtifactError, Stored
from tests.support.series import raw
from training.candidates.contextual import clipped, export_isolation_forest


def fitted(seed: int, rows: int, trees: int = 20) -> tuple[ensemble.IsolationForest, np.ndarray]:
    random = np.random.default_rng(seed)
    data = np.abs(random.normal(0, 1, (rows, 4))) * random.choice([0, 1, 30], (rows, 4))
    forest = ensemble.IsolationForest(
        n_estimators=trees, max_samples=min(256, rows), random_state=seed
    )
    return forest.fit(data), data


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from([2, 3, 40, 300, 700]))
def test_it_equals_scikit_learn_to_the_bit(seed: int, rows: int) -> None:
    theirs, data = fitted(seed, rows)
    ours = export_isolation_forest(theirs)
    splits = np.concatenate([each.tree_.threshold for each in theirs.estimators_])
    random = np.random.default_rng(seed)
    queries = np.concatenate(
        [
            data,
            random.choice(splits, (200, 4)),  # exactly at a split, and next to it
            np.nextafter(random.choice(splits, (100, 4)).astype(np.float32), np.float32(np.inf)),
            [[0.0] * 4, [1e30] * 4, [3.4e38] * 4],
        ]
    )
    expected = -theirs.score_samples(queries)
    np.testing.assert_array_equal(ours.score_samples(queries), expected)
    one_by_one = [ours.score_samples(row[np.newaxis])[0] for row in queries]
    np.testing.assert_array_equal(one_by_one, expected)


def test_a_number_beyond_float32_scores_like_the_largest() -> None:
    forest = export_isolation_forest(fitted(0, 300)[0])
    beyond = np.full((1, 4), 1e300)
    assert forest.score_samples(beyond) == forest.score_samples(clipped(beyond))


def test_it_is_restored_from_its_tensors() -> None:
    forest, data = fitted(1, 300)
    ours = export_isolation_forest(forest)
    again = IsolationForest.restore(raw(Stored(ours.tensors(), {})), 4, ours.expected_path)
    np.testing.assert_array_equal(again.score_samples(data), ours.score_samples(data))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("forest_features", lambda a: np.full_like(a, 4)),
        ("forest_leaves", lambda a: np.full_like(a, 65_535)),
        ("forest_lengths", lambda a: a * np.nan),
        ("forest_lengths", lambda a: -a),
        ("forest_splits", lambda a: a[:, :-1]),
        ("forest_splits", lambda a: a.ravel()),
        ("forest_splits", lambda a: a[:0]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, change) -> None:
    tensors = export_isolation_forest(fitted(2, 300)[0]).tensors()
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    with pytest.raises(CorruptArtifactError):
        IsolationForest.restore(raw(Stored(tensors, {})), 4, 10.0)
