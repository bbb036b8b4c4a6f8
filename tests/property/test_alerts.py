"""Alerts against a loop over the readings."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.detection.alerting import (
    AlertState,
    Raised,
    event_starts,
    grouped,
    raise_alerts,
    severity,
)

scores = st.lists(st.floats(0, 12), min_size=1, max_size=300)


NOTHING_YET = AlertState()


def alerts(
    scores: list[float],
    threshold: float,
    *,
    first: int = 0,
    state: AlertState = NOTHING_YET,
    own: list[float] | None = None,
    held_back: int = 0,
) -> Raised:
    """Raise alerts; `own` is the scores themselves, and the first ones may be held back."""
    told = np.arange(first, first + len(scores)) >= held_back
    mine = np.array(scores if own is None else own, float)
    return raise_alerts(np.array(scores, float), mine, told, first, threshold, state)


def plain_alerts(
    scores: list[float], own: list[float], threshold: float, held_back: int
) -> tuple[list[int], list[bool]]:
    added, last, was_told, raised, flags = 0.0, None, False, [], []
    for t, score in enumerate(scores):
        if t:
            # what was added fades by 1/e in 8 t readings
            added *= (max(t - 1, 1) / max(t, 1)) ** (1 / 8)
        counting = own[t] if last is not None and t - last < 24 else score
        is_notified = t >= held_back
        flags.append(is_notified and counting >= threshold + added)
        pause = min(max(0.045 * t, 24), 150)
        pausing = last is not None and t - last < pause and (was_told or not is_notified)
        if counting >= threshold + added and not pausing:
            last, was_told, added = t, is_notified, added + 0.55
            if is_notified:
                raised.append(t)
    return raised, flags


@given(scores, st.floats(0.1, 8), st.integers(0, 150), st.randoms())
def test_they_are_those_of_a_plain_loop(
    scores: list[float], threshold: float, held_back: int, random: Random
) -> None:
    own = [score * random.choice([0.0, 0.5, 1.0]) for score in scores]
    raised = alerts(scores, threshold, own=own, held_back=held_back)
    starts, flags = plain_alerts(scores, own, threshold, held_back)
    assert raised.starts == starts
    assert raised.is_anomaly.tolist() == flags


@given(scores, st.floats(0.1, 8), st.integers(0, 150), st.data())
def test_they_do_not_depend_on_the_chunks(
    scores: list[float], threshold: float, held_back: int, data: st.DataObject
) -> None:
    whole = alerts(scores, threshold, held_back=held_back)
    cut = data.draw(st.integers(0, len(scores)))
    early = alerts(scores[:cut], threshold, held_back=held_back)
    late = alerts(scores[cut:], threshold, first=cut, state=early.alert_state, held_back=held_back)
    assert early.starts + [cut + position for position in late.starts] == whole.starts
    assert [*early.is_anomaly, *late.is_anomaly] == whole.is_anomaly.tolist()


@given(scores, st.floats(0.1, 8), st.integers(0, 150))
def test_every_anomaly_belongs_to_an_alert(
    scores: list[float], threshold: float, held_back: int
) -> None:
    raised = alerts(scores, threshold, held_back=held_back)
    events = grouped(raised.is_anomaly, raised.starts)
    inside = sum(raised.is_anomaly[start : end + 1].sum() for start, end in events)
    assert inside == raised.is_anomaly.sum()


def test_an_alert_raises_the_bar_and_time_lowers_it() -> None:
    raised = alerts([0.0] * 10 + [9.0] + [0.0] * 90, 2.0)
    assert raised.starts == [10]
    assert raised.bar[10] == 2.0
    assert 2.5 < raised.bar[11] < 2.55
    assert (np.diff(raised.bar[11:]) < 0).all()


def test_an_alert_that_was_held_back_delays_none() -> None:
    raised = alerts([0.0] * 50 + [9.0] + [0.0] * 9 + [9.0], 2.0, held_back=60)
    assert raised.starts == [60]


def test_what_a_run_still_holds_is_no_anomaly_again() -> None:
    scores = [0.0] * 50 + [9.0] * 24 + [0.0]
    own = [0.0] * 50 + [9.0] + [0.0] * 24
    assert np.flatnonzero(alerts(scores, 2.0, own=own).is_anomaly).tolist() == [50]


def test_much_later_it_fades_exponentially() -> None:
    early, late = AlertState(1.0, 50_000).bar(np.array([50_000.0, 80_000.0]), 0.0)
    assert early == 1.0
    assert math.isclose(late, math.exp(-1))


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_flags_close_in_time_are_one_alert(flagged: list[bool]) -> None:
    flags = np.array(flagged)
    times = np.datetime64("2026-01-01", "s") + np.arange(len(flags)) * np.timedelta64(300, "s")
    events = grouped(flags, event_starts(times, flags))
    assert sum(flags[start : end + 1].sum() for start, end in events) == flags.sum()
    assert all(flags[start] and flags[end] for start, end in events)
    assert all(later[0] - earlier[1] > 12 for earlier, later in pairwise(events))


@given(st.floats(0, 1e6), st.floats(1e-3, 1e3))
def test_severity_is_a_half_at_the_bar(score: float, bar: float) -> None:
    low, at, high = severity(np.array([score, bar, score + bar]), np.full(3, bar))
    assert 0 <= low <= high <= 1
    assert at == 0.5
    assert (score >= bar) == (low >= 0.5)
