"""The tail's surprisal, and sorted samples, against ten lines of plain Python."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.detection.tails import SortedSample, Tail
from ops_anomaly.detection.types import CorruptArtifactError

scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def quantile(ordered: list[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def plain_surprisal(history: list[float], x: float) -> float:
    ordered = sorted(history)
    u = quantile(ordered, 0.98)
    excess = [value - u for value in ordered if value > u]
    b = max(
        sum(excess) / len(excess) if excess else 0.0,
        0.3 * (u - statistics.median(ordered)),
        1e-9 * max(1.0, abs(u)),
    )
    if x > u:
        return math.log(50) + math.log(1 + 0.1 * (x - u) / b) / 0.1
    share = sum(value >= x for value in ordered) / len(ordered)
    return -math.log(max(share, 0.02))


@given(scores, st.floats(-1e6, 1e6))
def test_the_surprisal_is_that_of_the_formula(history: list[float], x: float) -> None:
    got = Tail.of(np.array(history)).surprisal(np.array([x]))[0]
    start = quantile(sorted(history), 0.98)
    if abs(x - start) > 1e-6 * max(1.0, abs(start)):  # where the tail starts, rounding decides
        assert got == pytest.approx(plain_surprisal(history, x), rel=1e-6, abs=1e-9)


@given(scores, st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_higher_score_never_has_less_surprisal(
    history: list[float], x: float, more: float
) -> None:
    low, high = Tail.of(np.array(history)).surprisal(np.array([x, x + more]))
    assert high >= low


def test_a_score_that_all_of_the_history_shares_has_no_surprisal() -> None:
    assert Tail.of(np.zeros(100)).surprisal(np.array([0.0]))[0] == 0.0


@given(scores, st.floats(4, 20))
def test_the_score_of_a_surprisal_has_it(history: list[float], surprisal: float) -> None:
    tail = Tail.of(np.array(history) / 1e3)
    score = np.array([tail.score_of(surprisal)])
    assert tail.surprisal(score)[0] == pytest.approx(surprisal, abs=1e-3)


def test_a_tail_needs_a_score() -> None:
    with pytest.raises(CorruptArtifactError):
        Tail.of(np.empty(0))


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9),
    st.booleans(),
)
def test_a_sorted_sample_is_searched_as_an_unsorted_one(
    numbers: list[float], queries: list[float], is_sorted: bool
) -> None:
    make = SortedSample.sorted if is_sorted else SortedSample
    sample, each = make(np.array(numbers)), np.array(queries)
    shares = [sum(x < query for x in numbers) / len(numbers) for query in queries]
    assert sample.shares_below(each).tolist() == shares
    nearest = [min(abs(x - query) for x in numbers) for query in queries]
    assert sample.distances(each).tolist() == nearest
