"""Silence: a metric that stops is zero, an anomaly, or nothing, as its entry says."""

from __future__ import annotations

import numpy as np
import pytest

from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.anomalies import AnomalyState, Closed, Opened, Provenance
from ops_anomaly.watcher.silence import advance_silence, filled_with_zeros
from tests.support.shard_jobs import CLOSED, NAN, OPENED, SPIKE, World
from tests.support.watcher import machines

STEP, MINUTE = 300_000, 60_000
METRIC = machines(1)[0]
FROM = Provenance("cpu", None, None, 100, 0.5)
HALF_AN_HOUR = 30 * MINUTE


def series(**values: float) -> Series:
    """Readings by the number of their period: series(p3=1.0)."""
    times = np.array([STEP * int(name[1:]) for name in values], np.int64)
    return Series(times, np.array(list(values.values()), float))


# --- zeros --------------------------------------------------------------------------------------


def test_a_settled_period_without_a_reading_is_zero() -> None:
    filled = filled_with_zeros(series(p3=7.0), series(p0=5.0), 5 * STEP, STEP)
    assert (filled.times // STEP).tolist() == [1, 2, 3, 4]
    assert filled.values.tolist() == [0.0, 0.0, 7.0, 0.0]


def test_nothing_is_zero_before_a_metrics_first_reading_or_before_it_has_settled() -> None:
    nothing = series()
    assert len(filled_with_zeros(nothing, nothing, 9 * STEP, STEP)) == 0
    assert filled_with_zeros(series(p8=1.0), nothing, 9 * STEP, STEP).times.tolist() == [8 * STEP]
    assert len(filled_with_zeros(nothing, series(p0=5.0), STEP, STEP)) == 0


# --- silences -----------------------------------------------------------------------------------


def silent_at(
    state: AnomalyState, last: int | None, until: int, after: int | None = HALF_AN_HOUR
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """What becomes of a silence: the last reading's period, and up to where there is nothing."""
    last_ms = None if last is None else last * STEP
    return advance_silence(state, METRIC, last_ms, until * STEP, after, FROM)


@pytest.mark.parametrize(("until", "is_silent"), [(16, False), (17, True)])
def test_a_silence_opens_after_so_long_since_the_end_of_the_last_reading(
    until: int, is_silent: bool
) -> None:
    state, found = silent_at(AnomalyState(), 10, until)
    assert [type(each) for each in found] == [Opened] * is_silent
    if state.silence:
        assert state.silence.is_silence
        assert (state.silence.first_seen, state.silence.last_seen) == (11 * STEP, 17 * STEP)
        assert state.silence.peak.value is None
        assert state.silence.peak.reason == "no data for 30 min or more"


def test_a_metric_that_never_had_a_reading_or_whose_entry_ignores_it_is_not_silent() -> None:
    assert silent_at(AnomalyState(), None, 1_000)[1] == []
    assert silent_at(AnomalyState(), 10, 1_000, after=None)[1] == []


def test_a_silence_lasts_until_there_is_a_reading() -> None:
    state, [opened] = silent_at(AnomalyState(), 10, 17)
    state, found = silent_at(state, 10, 30)
    assert found == []
    assert state.silence is not None
    assert state.silence.last_seen == 30 * STEP
    assert state.silence.id == opened.anomaly.id
    state, [closed] = silent_at(state, 31, 33)
    assert isinstance(closed, Closed)
    assert (closed.reason, closed.anomaly.id) == ("data is back", opened.anomaly.id)
    assert state.silence is None


def test_an_older_job_does_not_shorten_it() -> None:
    state, _ = silent_at(AnomalyState(), 10, 17)
    state, _ = silent_at(state, 10, 12)
    assert state.silence is not None
    assert state.silence.last_seen == 17 * STEP


def test_a_silence_closes_when_the_entry_ignores_it_from_now_on() -> None:
    state, _ = silent_at(AnomalyState(), 10, 17)
    state, [closed] = silent_at(state, 10, 18, after=None)
    assert isinstance(closed, Closed)
    assert closed.reason == "no longer watched"
    assert state.silence is None


# --- through the watcher ------------------------------------------------------------------------


def silenced(when_silent: str, *, statistic: str = "Average", ticks: int = 10) -> World:
    """A machine without data from noon on, evaluated so many times; and another one with."""
    world = World(2, statistic, when_silent=when_silent)
    world.set(NAN, *range(ticks + 30))
    for tick in range(ticks + 1):
        world.run(tick)
    return world


def test_a_silence_is_an_incident_and_its_end_closes_it() -> None:
    world = silenced("notify after 30m")
    assert world.sent == [("i-00000", OPENED)]
    opened = world.event.sent[0]
    assert opened.detail["members"][0]["kind"] == "silence"
    assert opened.subject.startswith("No data: CPUUtilization of i-00000")
    world.set(30.0, 11)
    world.run(13)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    assert world.event.sent[1].detail["close_reason"] == "data is back"


def test_silence_is_ignored_unless_the_entry_says_otherwise() -> None:
    assert silenced("ignore").sent == []


def test_a_sum_without_data_is_zero_where_the_entry_says_so() -> None:
    world = silenced("zero", statistic="Sum", ticks=6)
    [(machine, kind)] = world.sent
    assert (machine, kind) == ("i-00000", OPENED)
    member = world.event.sent[0].detail["members"][0]
    assert (member["kind"], member["value"]) == ("anomaly", 0.0)


def test_a_metric_that_is_unusual_and_soon_silent_is_one_incident_until_its_data_is_back() -> None:
    world = World(1, when_silent="notify after 15m")
    world.run(0)
    world.set(SPIKE, 1)
    world.set(NAN, *range(2, 20))
    for tick in range(1, 24):
        world.run(tick)
    assert [each.detail_type for each in world.event.sent] == [OPENED, "Incident Updated", CLOSED]
    assert [each.detail_type for each in world.message.sent] == [OPENED, CLOSED]
    assert world.event.sent[2].detail["close_reason"] == "data is back"
