"""Readings as they arrive: out of order, repeated, late, with gaps; and the notes on them."""

from __future__ import annotations

import numpy as np

from ops_anomaly.detection.timeline import Timeline, confidence, put_in_order
from ops_anomaly.detection.types import Series

START = 1_767_225_600_000  # 2026-01-01
MINUTE = 60_000


def ordered(*minutes: int, after: int | None = None) -> Timeline:
    times = START + MINUTE * np.array(minutes)
    return put_in_order(Series(times, np.arange(float(len(minutes)))), after)


def test_ordered_readings_need_no_note() -> None:
    timeline = ordered(0, 5, 10, 15)
    assert timeline.series.values.tolist() == [0, 1, 2, 3]
    assert timeline.notes == []
    assert timeline.series.step == 5 * MINUTE


def test_readings_out_of_order_are_sorted() -> None:
    timeline = ordered(0, 10, 5, 15)
    assert timeline.series.values.tolist() == [0, 2, 1, 3]
    assert timeline.notes == ["1 reading came out of order; all were sorted by time."]


def test_the_first_reading_of_a_repeated_time_is_kept() -> None:
    timeline = ordered(0, 5, 5, 5, 10)
    assert timeline.series.values.tolist() == [0, 1, 4]
    assert timeline.notes[0].startswith("2 readings repeated the time of another")


def test_readings_not_later_than_the_history_are_left_out() -> None:
    timeline = ordered(0, 5, 10, 15, after=START + 5 * MINUTE)
    assert timeline.series.values.tolist() == [2, 3]
    assert timeline.notes == [
        "2 readings not later than the model's history, which ends at 2026-01-01T00:05:00Z: "
        "left out."
    ]


def test_gaps_are_counted_and_left_open() -> None:
    timeline = ordered(*range(0, 100, 5), 200, *range(205, 300, 5))
    assert len(timeline.series) == 40
    (note,) = timeline.notes
    assert note == "1 gap, the longest 1.8 h from 2026-01-01T01:35:00Z: nothing was filled in."


def test_irregular_steps_are_noted() -> None:
    timeline = ordered(0, 5, 10, 16, 21, 25, 31)
    assert timeline.notes[0].startswith("Steps are irregular: 50% are not the usual 5 min")


def test_one_reading_and_none_are_timelines() -> None:
    assert ordered(0).series.step == 0
    assert len(ordered(0, after=START).series) == 0


def test_confidence_grows_with_the_readings() -> None:
    grown = [confidence(readings) for readings in (0, 1, 100, 10_000, 10**9)]
    assert grown[0] == 0
    assert grown == sorted(grown)
    assert grown[-1] < 1
