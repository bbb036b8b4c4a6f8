"""The tail's surprisal against ten lines of plain Python."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.detection.tails import Tail
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
def test_it_equals_the_formula(history: list[float], x: float) -> None:
    got = Tail.of(np.array(history)).surprisal(np.array([x]))[0]
    onset = quantile(sorted(history), 0.98)
    if abs(x - onset) > 1e-6 * max(1.0, abs(onset)):  # at the onset, rounding picks the side
        assert got == pytest.approx(plain_surprisal(history, x), rel=1e-6, abs=1e-9)


@given(scores, st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_higher_score_is_never_less_surprising(
    history: list[float], x: float, more: float
) -> None:
    low, high = Tail.of(np.array(history)).surprisal(np.array([x, x + more]))
    assert high >= low


def test_what_all_of_the_history_shares_is_no_surprise() -> None:
    assert Tail.of(np.zeros(100)).surprisal(np.array([0.0]))[0] == 0.0


@given(scores, st.floats(4, 20))
def test_a_score_of_a_surprise_is_as_surprising(history: list[float], surprisal: float) -> None:
    tail = Tail.of(np.array(history) / 1e3)
    score = np.array([tail.score_of(surprisal)])
    assert tail.surprisal(score)[0] == pytest.approx(surprisal, abs=1e-3)


def test_a_tail_of_nothing_is_refused() -> None:
    with pytest.raises(CorruptArtifactError):
        Tail.of(np.empty(0))
