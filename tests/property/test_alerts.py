"""Alerts against a loop over the readings."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import Vigilance, event_starts, grouped, raise_alerts, severity

scores = st.lists(st.floats(0, 12), min_size=1, max_size=300)


def plain_alerts(scores: list[float], threshold: float) -> list[int]:
    added, last, raised = 0.0, None, []
    for t, score in enumerate(scores):
        if t:
            # what was added fades by 1/e in 7 t readings, at most 30,000
            before, now = max(t - 1, 1), max(t, 1)
            added *= (before / now) ** (1 / 7)
        pause = min(max(0.045 * t, 24), 150)
        if score >= threshold + added and (last is None or t - last >= pause):
            raised.append(t)
            last, added = t, added + 0.6
    return raised


@given(scores, st.floats(0.1, 8))
def test_they_are_those_of_a_plain_loop(scores: list[float], threshold: float) -> None:
    _, raised, _ = raise_alerts(np.array(scores), 0, threshold, Vigilance())
    assert raised == plain_alerts(scores, threshold)


@given(scores, st.floats(0.1, 8), st.data())
def test_they_do_not_depend_on_the_chunks(
    scores: list[float], threshold: float, data: st.DataObject
) -> None:
    _, whole, _ = raise_alerts(np.array(scores), 0, threshold, Vigilance())
    cut = data.draw(st.integers(0, len(scores)))
    _, early, state = raise_alerts(np.array(scores[:cut]), 0, threshold, Vigilance())
    _, late, _ = raise_alerts(np.array(scores[cut:]), cut, threshold, state)
    assert early + [cut + position for position in late] == whole


def test_an_alert_raises_the_bar_and_time_lowers_it() -> None:
    bar, raised, _ = raise_alerts(np.array([0.0] * 10 + [9.0] + [0.0] * 90), 0, 2.0, Vigilance())
    assert raised == [10]
    assert bar[10] == 2.0
    assert 2.5 < bar[11] < 2.6
    assert (np.diff(bar[11:]) < 0).all()


def test_much_later_it_fades_exponentially() -> None:
    early, late = Vigilance(1.0, 50_000).bar(np.array([50_000.0, 80_000.0]), 0.0)
    assert early == 1.0
    assert math.isclose(late, math.exp(-1))


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_flags_close_in_time_are_one_alert(flagged: list[bool]) -> None:
    flags = np.array(flagged)
    times = np.datetime64("2026-01-01", "s") + np.arange(len(flags)) * np.timedelta64(300, "s")
    events = grouped(flags, event_starts(times, flags))
    assert sum(flags[start : end + 1].sum() for start, end in events) == flags.sum()
    assert all(flags[start] and flags[end] for start, end in events)
    assert all(later[0] - earlier[1] > 12 for earlier, later in zip(events, events[1:]))  # noqa: B905,RUF007


@given(st.floats(0, 1e6), st.floats(1e-3, 1e3))
def test_severity_is_a_half_at_the_bar(score: float, bar: float) -> None:
    low, at, high = severity(np.array([score, bar, score + bar]), np.full(3, bar))
    assert 0 <= low <= high <= 1
    assert at == 0.5
    assert (score >= bar) == (low >= 0.5)
