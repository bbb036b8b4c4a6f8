"""Nearest values and subsequences against a few lines of plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection import subsequences
from ops_anomaly.detection.subsequences import (
    LENGTH,
    DistanceBounds,
    nearest_subsequences,
    nearest_values,
    squares_by_bounds,
    squares_by_comparing,
)
from ops_anomaly.detection.tails import SortedSample

VALUES = st.floats(-1e3, 1e3, width=32)
SEEDS = st.integers(0, 2**32 - 1)
SCALES = [1.0, 1e-3, 1e38, 1e-160, 1e-200, 1e-320]


def some_series(kind: str, seed: int, length: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, length)
    return {
        "spikes": noise.round(1) * random.choice([1, 50, 1e6], length, p=[0.9, 0.09, 0.01]),
        "seasonal": np.sin(np.arange(length) / 9) + random.choice([1e-6, 1e-2]) * noise,
        "quantised": random.choice([0.132, 0.134], length, p=[0.9, 0.1]),
        "plateaus": np.repeat(noise.round(1), 40)[:length],
        "periodic": np.resize(noise[:30], length) + (np.arange(length) == 200),
        "wide": np.sign(noise) * np.exp(60 * np.abs(noise)).clip(0, 3e38),
        "walk": np.cumsum(noise),
    }[kind]


KINDS = ["spikes", "seasonal", "quantised", "plateaus", "periodic", "wide", "walk"]


@settings(max_examples=50)
@given(st.lists(VALUES, max_size=30), st.lists(VALUES, min_size=1, max_size=20), st.data())
def test_the_nearest_value(history: list[float], block: list[float], data: st.DataObject) -> None:
    new = data.draw(st.integers(0, len(block) - 1))
    got = nearest_values(SortedSample(np.array(history, float)), np.array(block), new)
    for position, distance in enumerate(got, start=new):
        earlier = history + block[:position]
        assert distance == min((abs(block[position] - x) for x in earlier), default=0.0)


def halved(squares: list[float]) -> float:
    """Add up by halves; the 24 squares of a subsequence are three times 8."""
    if len(squares) == 24:
        return (halved(squares[16:]) + halved(squares[8:16])) + halved(squares[:8])
    half = len(squares) // 2
    return halved(squares[half:]) + halved(squares[:half]) if half else squares[0]


def plain_nearest(series: list[float], t: int, max_lag: int) -> float:
    squares = [
        halved([(series[j - k] - series[t - k]) ** 2 for k in range(LENGTH - 1, -1, -1)])
        for j in range(max(LENGTH - 1, t - max_lag), t - LENGTH + 1)
    ]
    return math.sqrt(min(squares, default=0.0) / LENGTH)


@settings(max_examples=60)
@given(
    SEEDS,
    st.sampled_from(KINDS),
    st.sampled_from(SCALES),
    st.integers(1, 400),
    st.sampled_from([40, 100, 5_000]),
)
def test_the_nearest_subsequence_to_the_bit(
    seed: int, kind: str, scale: float, length: int, max_lag: int
) -> None:
    random = np.random.default_rng(seed)
    series = (some_series(kind, seed, length) * scale).clip(-3.4e38, 3.4e38)
    first = int(random.integers(0, length))
    some = random.integers(first, length, 12)
    expected = [plain_nearest(series.tolist(), t, max_lag) for t in some]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsequences, "MAX_LAG", max_lag)
        patch.setattr(subsequences, "SHORT", 0)
        for max_unbounded in (0, 1_000):  # with bounds, and without
            patch.setattr(subsequences, "MAX_UNBOUNDED", max_unbounded)
            got = nearest_subsequences(series, first)[some - first]
            assert got.tolist() == expected
        one_by_one = [nearest_subsequences(series[: t + 1], t)[0] for t in some]
    assert one_by_one == expected


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(KINDS), st.sampled_from([400, 1_200]))
def test_bounds_rule_out_no_nearest_subsequence(seed: int, kind: str, length: int) -> None:
    series = some_series(kind, seed, length)
    expected = squares_by_comparing(series, LENGTH, length - LENGTH + 1)
    np.testing.assert_array_equal(squares_by_bounds(series, LENGTH), expected)


def squared_distances(series: np.ndarray, start: int, columns: int) -> np.ndarray:
    """Return what bounds must not exceed: later subsequences in rows, earlier ones in columns."""
    each = np.lib.stride_tricks.sliding_window_view(series, LENGTH)
    ones = np.square(each[start:, np.newaxis] - each[:columns])
    eights = ones.reshape(*ones.shape[:2], 3, 2, 2, 2)
    for _ in range(3):
        eights = eights[..., 1] + eights[..., 0]
    squares: np.ndarray = (eights[..., 2] + eights[..., 1]) + eights[..., 0]
    # an equal one that follows stands for both
    squares[:, (each[:columns] == each[1 : columns + 1]).all(axis=1)] = np.inf
    return squares


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(KINDS), st.sampled_from(SCALES[:3]))
def test_no_bound_exceeds_the_distance(seed: int, kind: str, scale: float) -> None:
    series = (some_series(kind, seed, 100) * scale).clip(-3.4e38, 3.4e38)
    start, table = 60, np.empty((17, 36), np.float32)
    bounds = DistanceBounds(series, start, 0)
    bounds.fill(table, start, 0)
    squares = squared_distances(series, start, 36)
    for column, bound in enumerate(table.T):
        comparable = np.isfinite(squares[:, column])
        ceiling = bounds.ceiling(start, np.where(comparable, squares[:, column], 0.0))
        assert (bound <= ceiling)[comparable].all()
