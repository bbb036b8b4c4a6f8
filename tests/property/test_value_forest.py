"""The served value forest equals scikit-learn's forest to the bit."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import IsolationForest

from ops_anomaly.detection.artifact import digest, pack, unpack
from ops_anomaly.detection.types import FLOAT32_MAX
from ops_anomaly.detection.value_forest import ValueForest
from tests.support.series import series_of
from training.candidates.value_forest import export_value_forest
from training.sources.series import LabelledSeries

float32_range = st.floats(-FLOAT32_MAX, FLOAT32_MAX)
any_breaks = st.one_of(
    st.lists(float32_range, min_size=1, max_size=60, unique=True),
    st.lists(st.floats(0, 1), min_size=1, max_size=60, unique=True),
    # crowded: all but one in one cell
    st.lists(st.floats(0, 1), min_size=1, max_size=60, unique=True).map(lambda near: [*near, 1e9]),
    # the closest, the widest, and, of a damaged artifact, some that no value reaches
    st.sampled_from([[0.0, 5e-324], [-FLOAT32_MAX, FLOAT32_MAX], [-1.7e308, 0.0, 1.7e308]]),
)


def fitted(values: np.ndarray, trees: int = 10, seed: int = 0, contamination: float = 0.01):
    forest = IsolationForest(n_estimators=trees, random_state=seed, contamination=contamination)
    return forest.fit(values[:, np.newaxis])


def assert_equal(forest: IsolationForest, served: ValueForest, values: np.ndarray) -> None:
    """Compare score and decision of each value, bit by bit."""
    scores = served.score_samples(series_of(values))
    np.testing.assert_array_equal(-scores, forest.score_samples(values[:, np.newaxis]))
    decided = np.where(scores > served.threshold, -1, 1)
    np.testing.assert_array_equal(decided, forest.predict(values[:, np.newaxis]))
    assert [served.predict(value) for value in values[:50].tolist()] == (decided[:50] < 0).tolist()


def neighbourhood(thresholds: np.ndarray, ulps: int = 3) -> np.ndarray:
    """Return each threshold with its float64 and float32 neighbours and the points between."""
    found = [thresholds]
    for direction in (-np.inf, np.inf):
        near = thresholds
        narrow = thresholds.astype(np.float32)
        for _ in range(ulps):
            near = np.nextafter(near, direction)
            wider = np.nextafter(narrow, np.float32(direction))
            halfway = narrow.astype(np.float64) / 2 + wider.astype(np.float64) / 2
            found += [near, wider.astype(np.float64), halfway]
            found += [np.nextafter(halfway, -np.inf), np.nextafter(halfway, np.inf)]
            narrow = wider
    return np.unique(np.concatenate(found))


def thresholds_of(forest: IsolationForest) -> np.ndarray:
    trees = [tree.tree_ for tree in forest.estimators_]
    return np.concatenate([tree.threshold[tree.children_left >= 0] for tree in trees])


@settings(max_examples=60)
@given(
    arrays(np.float64, st.integers(2, 80), elements=st.floats(-1e6, 1e6)),
    st.integers(0, 2**16),
)
def test_every_threshold_and_its_neighbours(values: np.ndarray, seed: int) -> None:
    forest = fitted(values, seed=seed)
    served = export_value_forest(forest)
    thresholds = thresholds_of(forest)
    if thresholds.size:
        assert_equal(forest, served, neighbourhood(thresholds))
    assert_equal(forest, served, values)


@settings(max_examples=60)
@given(
    arrays(np.float64, st.integers(2, 80), elements=float32_range),
    arrays(np.float64, 40, elements=float32_range),
)
def test_any_value_of_float32s_range(trained_on: np.ndarray, values: np.ndarray) -> None:
    forest = fitted(trained_on)
    assert_equal(forest, export_value_forest(forest), values)


def values_around(breaks: np.ndarray, seed: int) -> np.ndarray:
    """Return each break with its neighbours, values between and beyond them, and the extremes."""
    inside = np.clip(breaks, -FLOAT32_MAX, FLOAT32_MAX)
    width = float(inside[-1] - inside[0]) or 1.0
    drawn = np.random.default_rng(seed).uniform(-0.2, 1.2, 2_000)
    near = [np.nextafter(inside, direction) for direction in (-np.inf, np.inf)]
    extremes = [0.0, -0.0, 5e-324, FLOAT32_MAX, -FLOAT32_MAX]
    values = np.concatenate([inside, *near, inside[0] + drawn * width, extremes])
    return np.clip(values, -FLOAT32_MAX, FLOAT32_MAX)


@settings(max_examples=20)
@given(any_breaks, st.lists(st.floats(0.1, 1.0), min_size=62, max_size=62), st.integers(0, 2**16))
def test_predict_agrees_with_the_scores(
    breaks: list[float], scores: list[float], seed: int
) -> None:
    edges = np.unique(breaks)
    forest = ValueForest(array("d", edges), array("d", scores[: len(edges) + 1]), threshold=0.5)
    values = values_around(edges, seed)
    expected = forest.score_samples(series_of(values)) > forest.threshold
    assert [forest.predict(value) for value in values.tolist()] == expected.tolist()


@pytest.mark.parametrize("score", [0.4, 0.6])
def test_without_breaks_there_is_one_score(score: float) -> None:
    forest = ValueForest(array("d"), array("d", [score]), threshold=0.5)
    assert forest.score_samples(series_of(np.zeros(3))).tolist() == [score] * 3
    assert forest.predict(-FLOAT32_MAX) == forest.predict(7.0) == (score > forest.threshold)


def test_the_forest_of_the_job_at_every_threshold(simulated: LabelledSeries) -> None:
    forest = fitted(simulated.values, trees=100, seed=42, contamination=2 / 4032)
    served = export_value_forest(forest)
    edges = neighbourhood(thresholds_of(forest))
    assert len(edges) > 10_000
    assert_equal(forest, served, edges)
    extremes = np.array([0.0, -0.0, 5e-324, FLOAT32_MAX, -FLOAT32_MAX])
    assert_equal(forest, served, extremes)


def test_the_forest_of_nab_at_every_threshold(nab_series: LabelledSeries) -> None:
    forest = fitted(nab_series.values, trees=100, seed=42, contamination=2 / 4032)
    assert_equal(forest, export_value_forest(forest), neighbourhood(thresholds_of(forest)))


def test_a_constant_series_has_one_score() -> None:
    forest = fitted(np.full(300, 7.0))
    data = pack(export_value_forest(forest), "constant", libraries={}, training_data={}, figures={})
    served, _ = unpack(data, digest(data))
    assert_equal(forest, served, np.array([-1.0, 7.0, 8.0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.5e38, -3.5e38])
def test_what_scikit_learn_refuses_is_refused(value: float) -> None:
    served = export_value_forest(fitted(np.arange(10.0)))
    with pytest.raises(ValueError, match="not a finite number within"):
        served.predict(value)
    with pytest.raises(ValueError, match="not a finite number within"):
        served.score_samples(series_of(np.array([0.0, value])))
