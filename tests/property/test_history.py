"""Blocks, and the seasonal reference against a few lines of plain Python."""

from __future__ import annotations

import statistics

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection.history import BLOCK, block_start, blocks, references
from ops_anomaly.detection.types import DAY, MINUTE, WEEK


def plain_reference(times: list[int], series: list[float], t: int, tolerance: float) -> float:
    best = float("nan")
    for period, repeats in ((DAY, 7), (WEEK, 3)):
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
    length, usual = int(random.integers(1, 250)), step_minutes * MINUTE
    steps = random.choice([1, 1, 1, 2, 40], length) * usual
    times = np.unique(np.cumsum(steps) + random.integers(0, MINUTE, length))
    series = random.normal(0, 1, len(times)).round(1)
    first = int(random.integers(0, len(times)))
    count = len(times) - first
    got = references(times, series, first, np.zeros(count, int), np.full(count, float(usual)))
    tolerance = int(max(1.01 * usual, 10 * MINUTE))
    expected = [
        plain_reference(times.tolist(), series.tolist(), t, tolerance)
        for t in range(first, len(times))
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_reference_is_never_later_even_where_a_step_is_as_long_as_a_season() -> None:
    times = DAY * np.arange(10)
    series = np.arange(10.0)
    got = references(times, series, 5, np.zeros(5, int), np.full(5, float(DAY)))
    assert (got < series[5:]).all()


@given(st.integers(0, 2_000), st.integers(1, 500), st.integers(0, 100))
def test_blocks_start_where_they_would_in_one_piece(first: int, count: int, dropped: int) -> None:
    dropped = min(dropped, first)
    parts = list(blocks(first, first + count, dropped))
    new = [index + dropped for part in parts for index in range(part.new, part.stop)]
    assert new == list(range(first, first + count))
    for part in parts:
        starts = {block_start(index + dropped) for index in range(part.new, part.stop)}
        assert starts == {part.start + dropped}
        assert part.stop - part.start <= BLOCK
