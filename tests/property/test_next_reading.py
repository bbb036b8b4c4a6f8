"""What `predict` keeps of a past: it decides as `detect` would, whatever the value."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection.contextual_forest import ContextualForest
from ops_anomaly.detection.types import FLOAT32_MAX
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources.series import Series

STEP = np.timedelta64(300_000, "ms")


@pytest.fixture(scope="module")
def trained(simulated: Series) -> ContextualForest:
    return cast("ContextualForest", fit_contextual_forest(simulated.part(0, 700), 1).detector)


def history(kind: str, seed: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Readings with gaps, of one kind or another."""
    random = np.random.default_rng(seed)
    times = np.cumsum(STEP * random.choice([1, 1, 1, 7], length))
    noise = random.normal(0, 1, length)
    values = {
        "rhythm": (np.sin(times.astype(int) / 13_750_000) + 0.2 * noise).round(1),
        "constant": np.full(length, 0.1),
        "quantised": random.choice([0.132, 0.134], length),
        "wide": np.exp(60 * noise).clip(0, 3e38) - 1e30,
    }
    return times, values[kind]


@settings(max_examples=40)
@given(
    st.sampled_from(["rhythm", "constant", "quantised", "wide"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 23, 46, 47, 48, 63, 64, 100, 127, 128, 300]),
    st.lists(st.floats(-FLOAT32_MAX, FLOAT32_MAX) | st.floats(-3, 3), max_size=5),
    st.booleans(),
)
def test_predict_is_the_decision_on_the_next_reading(
    trained: ContextualForest,
    kind: str,
    seed: int,
    length: int,
    values: list[float],
    is_trained: bool,
) -> None:
    times, before = history(kind, seed, length)
    begun = trained if is_trained else ContextualForest.untrained(threshold=0.2)
    detector = begun.advance(trained.until + STEP + times, before)
    past = detector.past.times
    step = np.timedelta64(max(int(np.median(np.diff(past[-256:]))), 1) if len(past) > 1 else 1)
    following = np.datetime64(0, "ms") if detector.until is None else detector.until + step
    for value in [*before[-3:], *before[:1], *values, 0.5, 95.0]:
        detection = detector.detect(np.array([following]), np.array([value]))
        assert detector.predict(float(value)) == detection.is_anomaly[0]


def test_predict_knows_what_was_never_seen(trained: ContextualForest) -> None:
    assert trained.predict(95.0)
    assert not trained.predict(0.13)


def test_what_predict_keeps_is_no_part_of_the_model(trained: ContextualForest) -> None:
    fresh = replace(trained)
    fresh.predict(0.13)
    assert fresh.parameters() == trained.parameters()
    assert fresh.tensors().keys() == trained.tensors().keys()
    values = np.full(5, 95.0)
    moved = fresh.advance(trained.until + STEP * np.arange(1, 6), values)
    assert not moved.predict(95.0), "it has been seen by now"
