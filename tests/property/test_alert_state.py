"""Alerts at NAB's budget against a loop over the readings."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection.nab_alerts import (
    SEASON_WARM_UP,
    THRESHOLD,
    Alerts,
    AlertState,
    is_warming_up,
    raise_alerts,
)

SCORES = st.lists(st.floats(0, 3) | st.floats(0, 12), min_size=1, max_size=300)
NO_ALERT = AlertState()


def split(scores: list[float], pointwise: list[float] | None = None) -> np.ndarray:
    """Return components of scores: pointwise ones, all of a score by default, and the rest."""
    parts = np.zeros((len(scores), 4))
    parts[:, 1] = scores if pointwise is None else pointwise
    parts[:, 2] = np.array(scores) - parts[:, 1]
    return parts


def alerts(
    parts: np.ndarray, *, first: int = 0, state: AlertState = NO_ALERT, warm_up: int = 0
) -> Alerts:
    may_alert = np.arange(first, first + len(parts)) >= warm_up
    return raise_alerts(parts, may_alert, first, state)


def plain_starts(scores: list[float], pointwise: list[float], warm_up: int) -> list[int]:
    added, last, was_notified, starts = 0.0, None, False, []
    for t, score in enumerate(scores):
        if t:
            # what was added decays by 1/e in 8 t readings
            added *= (max(t - 1, 1) / max(t, 1)) ** (1 / 8)
        counting = pointwise[t] if last is not None and t - last < 24 else score
        is_notified = t >= warm_up
        cooldown = min(max(0.045 * t, 24), 150)
        in_cooldown = last is not None and t - last < cooldown and (was_notified or not is_notified)
        if counting >= THRESHOLD + added and not in_cooldown:
            last, was_notified, added = t, is_notified, added + 0.55
            if is_notified:
                starts.append(t)
    return starts


@settings(max_examples=100)
@given(SCORES, st.integers(0, 150), st.randoms())
def test_alerts_are_those_of_a_plain_loop(
    scores: list[float], warm_up: int, random: Random
) -> None:
    parts = split(scores, [score * random.choice([0.0, 0.5, 1.0]) for score in scores])
    starts = plain_starts(parts.sum(axis=1).tolist(), parts[:, 1].tolist(), warm_up)
    assert alerts(parts, warm_up=warm_up).starts == starts


@settings(max_examples=100)
@given(SCORES, st.integers(0, 150), st.data())
def test_alerts_do_not_depend_on_chunks(
    scores: list[float], warm_up: int, data: st.DataObject
) -> None:
    parts = split(scores)
    whole = alerts(parts, warm_up=warm_up)
    cut = data.draw(st.integers(0, len(scores)))
    early = alerts(parts[:cut], warm_up=warm_up)
    late = alerts(parts[cut:], first=cut, state=early.state, warm_up=warm_up)
    assert early.starts + [cut + position for position in late.starts] == whole.starts
    assert [*early.thresholds, *late.thresholds] == whole.thresholds.tolist()
    assert late.state == whole.state


def test_an_alert_raises_the_threshold_and_time_lowers_it() -> None:
    raised = alerts(split([0.0] * 10 + [9.0] + [0.0] * 90))
    assert raised.starts == [10]
    assert raised.thresholds[10] == THRESHOLD
    assert 0.5 < raised.thresholds[11] - THRESHOLD < 0.55
    assert (np.diff(raised.thresholds[11:]) < 0).all()


def test_no_alert_follows_within_the_cooldown() -> None:
    scores = [0.0] * 50 + [9.0] + [0.0] * 22 + [9.0, 9.0]
    assert alerts(split(scores)).starts == [50, 74]


def test_an_alert_in_the_warm_up_starts_no_cooldown() -> None:
    raised = alerts(split([0.0] * 50 + [9.0] + [0.0] * 9 + [9.0]), warm_up=60)
    assert raised.starts == [60]


def test_what_subsequences_still_hold_raises_no_second_alert() -> None:
    scores = [0.0] * 2_000 + [9.0] * 24
    pointwise = [0.0] * 2_000 + [9.0] + [0.0] * 23
    first = alerts(split(scores, pointwise), warm_up=2_001)
    assert first.starts == []
    assert first.state.last_alert == 2_000
    assert alerts(split([9.0]), first=2_024, state=first.state).starts == [0]


def test_late_in_a_series_the_threshold_decays_exponentially() -> None:
    early, late = AlertState(1.0, 50_000).thresholds(np.array([50_000.0, 80_000.0]))
    assert early == THRESHOLD + 1.0
    assert math.isclose(late - THRESHOLD, math.exp(-1))


def test_a_season_warms_up_but_new_values_alert() -> None:
    parts = np.zeros((200, 5))
    parts[:, 1] = 9.0
    expected = [100 <= t < 100 + SEASON_WARM_UP for t in range(10, 210)]
    assert is_warming_up(parts, 10, 100).tolist() == expected
    assert not is_warming_up(parts, 10, -1).any()
    parts[:, 0] = THRESHOLD / 2
    assert not is_warming_up(parts, 10, 100).any()
