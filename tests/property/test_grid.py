"""A grid against a dictionary of readings."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric, Readings
from ops_anomaly.watcher.state import FIRST_EVALUATION_PERIODS, LATE, SETTLE_SECONDS, MetricState

PERIODS = st.sampled_from([60, 300, 3_600])
VALUES = st.floats(-1e6, 1e6)
SERIES = st.dictionaries(st.integers(0, 40), VALUES)


def metric(period: int) -> Metric:
    return Metric("shop", "Orders", (), "Sum", period)


def readings(period: int, values: dict[int, float]) -> Readings:
    times = period * np.array(list(values), np.int64)
    return Readings(times.astype("datetime64[s]"), np.array(list(values.values()), np.float64))


def kept(grid: MetricState) -> dict[int, float]:
    times, values = grid.readings
    return dict(zip((times // grid.metric.period).tolist(), values.tolist(), strict=True))


@given(PERIODS, SERIES, st.integers(1, 50), st.data())
def test_readings_in_any_order_are_their_union(
    period: int, series: dict[int, float], slots: int, data: Any
) -> None:
    parts = data.draw(st.lists(st.sets(st.sampled_from(sorted(series))))) if series else []
    grid = MetricState.nothing(metric(period))
    for part in [*parts, series.keys()]:
        some = {number: series[number] for number in part}
        grid, _ = grid.noted(readings(period, some), 41 * period, slots)
    assert kept(grid) == {number: v for number, v in series.items() if number >= 41 - slots}
    assert len(grid.values) == slots


@given(
    PERIODS,
    st.lists(st.tuples(st.integers(0, 25), SERIES), min_size=1, max_size=6),
    st.integers(1, 50),
)
def test_a_reading_is_fresh_if_it_was_not_there_and_is_not_too_late(
    period: int, deliveries: list[tuple[int, dict[int, float]]], slots: int
) -> None:
    grid, plain, until = MetricState.nothing(metric(period)), dict[int, float](), 0
    for number, (further, values) in enumerate(deliveries):
        before, until = until, until + further
        judged_from = until - FIRST_EVALUATION_PERIODS if number == 0 else before - LATE
        old, plain = plain, plain | {n: v for n, v in values.items() if n < until}
        plain = {n: v for n, v in plain.items() if n >= until - slots}
        grid, is_fresh = grid.noted(readings(period, values), until * period, slots)
        assert kept(grid) == plain
        fresh = (grid.readings[0][is_fresh] // period).tolist()
        assert fresh == sorted(n for n in plain if n not in old and n >= judged_from)


@given(PERIODS, SERIES, st.integers(1, 50), st.integers(1, 50), st.integers(0, 60))
def test_the_same_delivery_again_changes_nothing(
    period: int, values: dict[int, float], slots: int, before: int, until: int
) -> None:
    grid, _ = MetricState.nothing(metric(period)).noted(
        readings(period, {}), before * period, slots
    )
    once, _ = grid.noted(readings(period, values), until * period, slots)
    twice, is_fresh = once.noted(readings(period, values), until * period, slots)
    assert not is_fresh.any()
    assert twice.start == once.start
    np.testing.assert_array_equal(twice.values, once.values)


@given(PERIODS, st.integers(0, 100), st.integers(1, 50), st.integers(1, 80), st.floats(0, 1e6))
def test_a_span_reaches_from_what_was_asked_for_to_what_has_settled(
    period: int, slots_before: int, slots: int, asked_until: int, now: float
) -> None:
    grid = MetricState(
        metric(period), (asked_until - slots_before) * period, np.zeros(slots_before)
    )
    due = grid.span(now, slots)
    if due is None:
        assert now < grid.end + period + SETTLE_SECONDS
        return
    start, end = due
    assert start % period == end % period == 0
    assert end <= now - SETTLE_SECONDS < end + period
    oldest = end - slots * period
    assert oldest <= start <= max(grid.end - LATE * period, oldest)
