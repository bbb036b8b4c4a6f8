"""What is remembered of a metric: when it is asked for, what is fresh, and what stays a gap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from ops_anomaly.aws.cloudwatch import Metric, Readings
from ops_anomaly.watcher.state import FIRST_EVALUATION_PERIODS, LATE, SETTLE_SECONDS, MetricState
from tests.support.watcher import NOON

PERIOD = 300
SLOTS = 288
METRIC = Metric("shop", "Orders", (), "Sum", PERIOD)


def readings(values: Mapping[int, float]) -> Readings:
    """Return readings by how many periods after noon they began."""
    times = NOON + PERIOD * np.array(sorted(values), np.int64)
    return Readings(times.astype("datetime64[s]"), np.array([values[n] for n in sorted(values)]))


def noted(
    grid: MetricState, values: Mapping[int, float], until: int, slots: int = SLOTS
) -> tuple[MetricState, list[int]]:
    """Note readings, asked for up to so many periods after noon; return the fresh ones too."""
    after, is_fresh = grid.noted(readings(values), NOON + until * PERIOD, slots)
    times, _ = after.readings
    return after, ((times[is_fresh] - NOON) // PERIOD).tolist()


@pytest.fixture
def known() -> MetricState:
    """A grid that knows the day up to noon, each reading by its number."""
    return noted(MetricState.nothing(METRIC), {n: float(n) for n in range(-SLOTS, 0)}, until=0)[0]


def test_a_new_metric_is_asked_for_all_that_is_to_be_remembered() -> None:
    assert MetricState.nothing(METRIC).span(NOON + 61, SLOTS) == (NOON - 86_400, NOON)


def test_of_a_new_metric_the_last_periods_are_judged() -> None:
    _, fresh = noted(MetricState.nothing(METRIC), dict.fromkeys(range(-50, 0), 1.0), until=0)
    assert fresh == list(range(-FIRST_EVALUATION_PERIODS, 0))


def test_a_period_is_asked_for_once_it_has_settled(known: MetricState) -> None:
    over = NOON + PERIOD
    assert known.span(over + SETTLE_SECONDS - 1, SLOTS) is None
    assert known.span(over + SETTLE_SECONDS, SLOTS) == (NOON - LATE * PERIOD, over)


def test_within_a_period_and_by_an_earlier_clock_nothing_is_due(known: MetricState) -> None:
    assert known.span(NOON + 300, SLOTS) is None
    assert known.span(NOON - 86_400, SLOTS) is None


def test_what_was_missed_is_asked_for_with_what_may_be_late(known: MetricState) -> None:
    due = known.span(NOON + 20 * PERIOD + SETTLE_SECONDS, SLOTS)
    assert due == (NOON - LATE * PERIOD, NOON + 20 * PERIOD)


def test_after_a_long_pause_no_more_is_asked_for_than_is_remembered(known: MetricState) -> None:
    assert known.span(NOON + 10 * 86_400 + 61, SLOTS) == (NOON + 9 * 86_400, NOON + 10 * 86_400)


def test_a_longer_history_is_read_from_its_beginning(known: MetricState) -> None:
    now = NOON + PERIOD + SETTLE_SECONDS
    assert known.span(now, 7 * SLOTS) == (NOON + PERIOD - 7 * 86_400, NOON + PERIOD)


def test_of_a_longer_history_only_what_is_new_is_judged(known: MetricState) -> None:
    week = {n: float(n) for n in range(-7 * SLOTS + 1, 1)}
    after, fresh = noted(known, week, until=1, slots=7 * SLOTS)
    assert fresh == [0]
    assert after.values.tolist() == sorted(week.values())


def test_a_shorter_history_forgets_what_is_older(known: MetricState) -> None:
    after, fresh = noted(known, {0: 0.0}, until=1, slots=3)
    assert fresh == [0]
    assert after.values.tolist() == [-2.0, -1.0, 0.0]


def test_a_reading_is_fresh_once(known: MetricState) -> None:
    after, fresh = noted(known, {-1: -1.0, 0: 0.0}, until=1)
    assert fresh == [0]
    again, fresh = noted(after, {-1: -1.0, 0: 0.0}, until=1)
    assert fresh == []
    np.testing.assert_array_equal(again.values, after.values)


def test_a_gap_stays_a_gap_until_its_reading_comes(known: MetricState) -> None:
    after, fresh = noted(known, {2: 2.0}, until=3)
    assert fresh == [2]
    assert np.isnan(after.values[-3:]).tolist() == [True, True, False]
    filled, fresh = noted(after, {1: 1.0, 2: 2.0}, until=4)
    assert fresh == [1]
    assert np.isnan(filled.values[-4:]).tolist() == [True, False, False, True]


def test_a_reading_that_is_too_late_teaches_but_is_not_judged() -> None:
    grid, _ = noted(MetricState.nothing(METRIC), {-20: 1.0}, until=0)
    grid, fresh = noted(grid, {-LATE - 1: 2.0, -LATE: 3.0}, until=1)
    assert fresh == [-LATE]
    assert grid.readings[1].tolist() == [1.0, 2.0, 3.0]


def test_a_corrected_reading_takes_the_place_of_the_first_one(known: MetricState) -> None:
    after, fresh = noted(known, {-1: 99.0, 0: 0.0}, until=1)
    assert fresh == [0]
    assert after.values[-2:].tolist() == [99.0, 0.0]


def test_what_does_not_fit_is_left_out(known: MetricState) -> None:
    after, fresh = noted(known, {-SLOTS - 9: 1.0, 0: 0.0, 1: 1.0}, until=1)
    assert fresh == [0]
    assert len(after.readings[0]) == SLOTS


def test_the_incidents_of_a_metric_stay_with_it(known: MetricState) -> None:
    assert noted(known, {}, until=5)[0].course is known.course
