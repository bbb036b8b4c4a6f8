"""Readings as they come: out of order, repeated, late, with gaps; and what is said of them."""

from __future__ import annotations

import numpy as np

from ops_anomaly.detection.timeline import confidence, put_in_order


def at(*minutes: float) -> np.ndarray:
    return np.datetime64("2026-01-01", "ms") + np.array(
        [np.timedelta64(int(minute * 60_000), "ms") for minute in minutes]
    )


def test_what_is_in_order_stays_and_is_not_worth_a_note() -> None:
    timeline = put_in_order(at(0, 5, 10, 15), np.arange(4.0), None)
    assert timeline.values.tolist() == [0, 1, 2, 3]
    assert timeline.notes == []
    assert timeline.readings_a_week == 2016


def test_readings_out_of_order_are_sorted() -> None:
    timeline = put_in_order(at(0, 10, 5, 15), np.arange(4.0), None)
    assert timeline.values.tolist() == [0, 2, 1, 3]
    assert timeline.notes == ["1 reading came out of order: all were sorted by their time."]


def test_of_repeated_times_the_first_reading_stays() -> None:
    timeline = put_in_order(at(0, 5, 5, 5, 10), np.arange(5.0), None)
    assert timeline.values.tolist() == [0, 1, 4]
    assert timeline.notes[0].startswith("2 readings repeated the time of another")


def test_what_is_not_later_than_the_history_is_left_out() -> None:
    timeline = put_in_order(at(0, 5, 10, 15), np.arange(4.0), np.datetime64("2026-01-01T00:05"))
    assert timeline.values.tolist() == [2, 3]
    assert timeline.notes == [
        "2 readings not later than the model's history, which ends at 2026-01-01T00:05:00Z: "
        "left out."
    ]


def test_gaps_are_counted_and_nothing_is_filled_in() -> None:
    timeline = put_in_order(at(*range(0, 100, 5), 200, *range(205, 300, 5)), np.zeros(40), None)
    assert len(timeline.values) == 40
    (note,) = timeline.notes
    assert note == "1 gap, the longest 1.8 h from 2026-01-01T01:35:00Z: nothing was filled in."


def test_irregular_steps_are_said() -> None:
    timeline = put_in_order(at(0, 5, 10, 16, 21, 25, 31), np.zeros(7), None)
    assert timeline.notes[0].startswith("Steps are irregular: 50% are not the usual 5 min")


def test_one_reading_and_none_are_timelines() -> None:
    assert put_in_order(at(0), np.zeros(1), None).readings_a_week == 2016
    assert put_in_order(at(0), np.zeros(1), np.datetime64("2027-01-01")).values.size == 0


def test_confidence_grows_with_the_readings() -> None:
    grown = [confidence(readings) for readings in (0, 1, 100, 10_000, 10**9)]
    assert grown[0] == 0
    assert grown == sorted(grown)
    assert grown[-1] < 1
