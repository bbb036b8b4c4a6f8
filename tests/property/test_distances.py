"""Each distance to the past against a few lines of plain Python."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector import nearest
from detector.blocks import BLOCK, block_start, blocks
from detector.nearest import RUN, nearest_runs, nearest_values
from detector.seasonal import DAY_MS, references

MINUTE_MS = 60_000

values = st.floats(-1e3, 1e3, width=32)


@given(st.lists(values, max_size=30), st.lists(values, min_size=1, max_size=20), st.data())
def test_the_nearest_value(past: list[float], block: list[float], data: st.DataObject) -> None:
    new = data.draw(st.integers(0, len(block) - 1))
    got = nearest_values(np.sort(np.array(past, float)), np.array(block), new)
    for position, distance in enumerate(got, start=new):
        before = past + block[:position]
        assert distance == min((abs(block[position] - x) for x in before), default=0.0)


def plain_nearest_run(series: np.ndarray, t: int) -> float:
    now = series[t - RUN + 1 : t + 1]
    squares = [
        float(((now - series[j - RUN + 1 : j + 1]) ** 2).sum())
        for j in range(max(RUN - 1, t - nearest.LAGS), t - RUN + 1)
    ]
    return (min(squares) / RUN) ** 0.5 if t >= RUN - 1 and squares else 0.0


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([40, 100, 5_000]))
def test_the_nearest_run(seed: int, length: int, lags: int) -> None:
    random = np.random.default_rng(seed)
    series = random.normal(0, 1, length).round(1) * random.choice([1.0, 50.0], length, p=[0.9, 0.1])
    first = int(random.integers(0, length))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "LAGS", lags)
        got = nearest_runs(series, first)
        expected = [plain_nearest_run(series, t) for t in range(first, length)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)


def plain_reference(times: list[int], series: list[float], t: int, tolerance: float) -> float:
    best = float("nan")
    for period, repeats in ((DAY_MS, 7), (7 * DAY_MS, 3)):
        near = [
            series[i]
            for k in range(1, repeats + 1)
            for i in range(t)
            if abs(times[i] - (times[t] - k * period)) <= tolerance
        ]
        if near:
            median = statistics.median(near)
            if not abs(series[t] - best) <= abs(series[t] - median):
                best = median
    return best


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([30, 60, 240, 1_440]))
def test_the_seasonal_reference(seed: int, step_minutes: int) -> None:
    random = np.random.default_rng(seed)
    length = int(random.integers(1, 500))
    steps = random.choice([1, 1, 1, 2, 40], length) * step_minutes * MINUTE_MS
    times = np.cumsum(steps) + random.integers(0, 60_000, length)
    times = np.unique(times)
    series = random.normal(0, 1, len(times)).round(1)
    first = int(random.integers(0, len(times)))
    asked = len(times) - first
    usual = float(step_minutes * MINUTE_MS)
    got = references(times, series, first, np.zeros(asked, int), np.full(asked, usual))
    tolerance = int(max(1.01 * usual, 600_000))
    expected = [
        plain_reference(times.tolist(), series.tolist(), t, tolerance)
        for t in range(first, len(times))
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_reference_never_lies_in_the_future_even_where_a_step_is_as_long_as_a_season() -> None:
    times = DAY_MS * np.arange(10)
    series = np.arange(10.0)
    got = references(times, series, 5, np.zeros(5, int), np.full(5, float(DAY_MS)))
    assert (got < series[5:]).all()


@given(st.integers(0, 2_000), st.integers(1, 500), st.integers(0, 100))
def test_blocks_begin_where_they_would_in_one_piece(first: int, count: int, offset: int) -> None:
    offset = min(offset, first)
    parts = list(blocks(first, first + count, offset))
    new = [index + offset for part in parts for index in range(part.new, part.stop)]
    assert new == list(range(first, first + count))
    for part in parts:
        assert {block_start(index + offset) for index in range(part.new, part.stop)} == {
            part.start + offset
        }
        assert part.stop - part.start <= BLOCK
