"""Each distance to the past against a few lines of plain Python."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection import subsequences
from ops_anomaly.detection.history import BLOCK, block_start, blocks
from ops_anomaly.detection.seasonal import DAY_MS, references
from ops_anomaly.detection.subsequences import RUN, RunBounds, nearest_runs, nearest_values
from ops_anomaly.detection.tails import SortedSample

MINUTE_MS = 60_000

values = st.floats(-1e3, 1e3, width=32)


@given(st.lists(values, max_size=30), st.lists(values, min_size=1, max_size=20), st.data())
def test_the_nearest_value(past: list[float], block: list[float], data: st.DataObject) -> None:
    new = data.draw(st.integers(0, len(block) - 1))
    got = nearest_values(SortedSample(np.array(past, float)), np.array(block), new)
    for position, distance in enumerate(got, start=new):
        before = past + block[:position]
        assert distance == min((abs(block[position] - x) for x in before), default=0.0)


@given(st.lists(values, min_size=1, max_size=30), st.lists(values, min_size=1, max_size=9))
def test_the_share_below(numbers: list[float], asked: list[float]) -> None:
    got = SortedSample(np.array(numbers)).shares_below(np.array(asked))
    assert got.tolist() == [sum(x < each for x in numbers) / len(numbers) for each in asked]


def halved(squares: list[float]) -> float:
    """Add up by halves; the 24 squares of a run are three times 8."""
    if len(squares) == 24:
        return (halved(squares[16:]) + halved(squares[8:16])) + halved(squares[:8])
    half = len(squares) // 2
    return halved(squares[half:]) + halved(squares[:half]) if half else squares[0]


def plain_nearest_run(series: list[float], t: int, lags: int) -> float:
    squares = [
        halved([(series[j - k] - series[t - k]) ** 2 for k in range(RUN - 1, -1, -1)])
        for j in range(max(RUN - 1, t - lags), t - RUN + 1)
    ]
    return math.sqrt(min(squares, default=0.0) / RUN)


SCALES = [1.0, 1e-3, 1e38, 1e-160, 1e-200, 1e-320]


def some_series(kind: str, random: np.random.Generator, length: int) -> np.ndarray:
    noise = random.normal(0, 1, length)
    return {
        "spikes": noise.round(1) * random.choice([1, 50, 1e6], length, p=[0.9, 0.09, 0.01]),
        "rhythm": np.sin(np.arange(length) / 9) + random.choice([1e-6, 1e-2]) * noise,
        "quantised": random.choice([0.132, 0.134], length, p=[0.9, 0.1]),
        "plateaus": np.repeat(noise.round(1), 40)[:length],
        "periodic": np.resize(noise[:30], length) + (np.arange(length) == 200),
        "wide": np.sign(noise) * np.exp(60 * np.abs(noise)).clip(0, 3e38),
        "walk": np.cumsum(noise),
    }[kind]


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["spikes", "rhythm", "quantised", "plateaus", "periodic", "wide", "walk"]),
    st.sampled_from(SCALES),
    st.integers(1, 400),
    st.sampled_from([40, 100, 5_000]),
)
def test_the_nearest_run_to_the_bit(
    seed: int, kind: str, scale: float, length: int, lags: int
) -> None:
    random = np.random.default_rng(seed)
    series = (some_series(kind, random, length) * scale).clip(-3.4e38, 3.4e38)
    first = int(random.integers(0, length))
    some = random.integers(first, length, 20)
    expected = [plain_nearest_run(series.tolist(), t, lags) for t in some]
    with pytest.MonkeyPatch.context() as patch:
        for module in (subsequences,):
            patch.setattr(module, "LAGS", lags)
        patch.setattr(subsequences, "SHORT", 0)
        for few in (0, 1_000):  # with bounds, and without
            patch.setattr(subsequences, "FEW", few)
            assert nearest_runs(series, first)[some - first].tolist() == expected
        one_by_one = [nearest_runs(series[: t + 1], t)[0] for t in some]
    assert one_by_one == expected


@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["spikes", "rhythm", "plateaus", "wide", "walk"]),
    st.sampled_from([400, 1_200]),
)
def test_bounds_rule_out_no_nearest_run(seed: int, kind: str, length: int) -> None:
    series = some_series(kind, np.random.default_rng(seed), length)
    expected = subsequences.least_squares(series, RUN, length - RUN + 1)
    np.testing.assert_array_equal(subsequences.bounded_squares(series, RUN), expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["spikes", "rhythm", "wide", "walk"]))
def test_no_bound_is_above_the_distance(seed: int, kind: str) -> None:
    series = some_series(kind, np.random.default_rng(seed), 100)
    start, table = 60, np.empty((17, 36), np.float32)
    bounds = RunBounds(series, RUN, start, 0)
    bounds.fill(table, start, 0)
    each = np.lib.stride_tricks.sliding_window_view(series, RUN)
    for row, column in np.ndindex(table.shape):
        if each[column].tolist() == each[column + 1].tolist():
            continue  # left to the next one, its equal
        square = halved(((each[start + row] - each[column]) ** 2).tolist())
        ceiling = bounds.ceiling(start + row, np.array([square]))
        assert table[row, column] <= ceiling[0]


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
