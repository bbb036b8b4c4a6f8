"""Alerts of detectors without an alert state, and severity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.detection.types import event_starts, grouped, severity
from tests.support.series import series_of


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_flags_close_in_time_are_one_alert(flagged: list[bool]) -> None:
    flags = np.array(flagged)
    events = grouped(flags, event_starts(series_of(flags).times, flags))
    assert sum(flags[start : end + 1].sum() for start, end in events) == flags.sum()
    assert all(flags[start] and flags[end] for start, end in events)
    assert all(later[0] - earlier[1] > 12 for earlier, later in pairwise(events))


@given(st.floats(0, 1e6), st.floats(1e-3, 1e3))
def test_severity_is_a_half_at_the_threshold(score: float, threshold: float) -> None:
    scores = np.array([score, threshold, score + threshold])
    low, at, high = severity(scores, np.full(3, threshold))
    assert 0 <= low <= high <= 1
    assert at == 0.5
    assert (score >= threshold) == (low >= 0.5)
