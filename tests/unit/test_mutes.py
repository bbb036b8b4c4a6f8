"""Mutes: when nobody is notified, across midnight, the week's end and clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import DAY, HOUR, MINUTE
from ops_anomaly.watcher.mutes import WEEKDAYS, Mute, milliseconds, muted_until, not_learnt

BERLIN = "Europe/Berlin"
METRIC = Metric.parse("shop Orders Stage=live Region=eu Sum 300")


def mute(**fields: Any) -> Mute:
    """Return a mute as a watch file has it; Python reserves its words `from` and `for`."""
    names = {"begin": "from", "length": "for"}
    return msgspec.convert({names.get(name, name): value for name, value in fields.items()}, Mute)


def at(text: str, zone: str = "UTC") -> int:
    """Return a local time in milliseconds; with an offset where the clock shows it twice."""
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)


def shown(time: int | None, zone: str = "UTC") -> str | None:
    if time is None:
        return None
    return f"{datetime.fromtimestamp(time / 1000, ZoneInfo(zone)):%a %H:%M %Z}"


def until(mutes: list[Mute], text: str, zone: str = "UTC") -> str | None:
    """Return until when the metric is muted at a local time, in the same zone."""
    return shown(muted_until(mutes, METRIC, at(text, zone)), zone)


def windows(each: Mute, start: str, stop: str, zone: str) -> list[tuple[str | None, str | None]]:
    span = each.windows(at(start, zone), at(stop, zone))
    return [(shown(first, zone), shown(end, zone)) for first, end in span]


NIGHTLY = mute(begin="22:00", to="06:00", timezone=BERLIN)


@pytest.mark.parametrize(
    ("time", "end"),
    [
        ("2026-11-25T21:59", None),
        ("2026-11-25T22:00", "Thu 06:00 CET"),
        ("2026-11-26T00:00", "Thu 06:00 CET"),
        ("2026-11-26T05:59", "Thu 06:00 CET"),
        ("2026-11-26T06:00", None),
    ],
)
def test_a_window_across_midnight_ends_on_the_next_day(time: str, end: str | None) -> None:
    assert until([NIGHTLY], time, BERLIN) == end


@pytest.mark.parametrize(
    ("time", "end"),
    [
        ("2026-11-27T23:00", None),
        ("2026-11-28T23:00", "Sun 06:00 CET"),
        ("2026-11-29T23:00", "Mon 06:00 CET"),
        ("2026-11-30T05:00", "Mon 06:00 CET"),
        ("2026-11-30T23:00", None),
    ],
)
def test_the_days_are_those_on_which_a_weekly_window_begins(time: str, end: str | None) -> None:
    weekend = mute(days=["sat", "sun"], begin="22:00", to="06:00", timezone=BERLIN)
    assert until([weekend], time, BERLIN) == end


def test_whole_days_that_follow_each_other_are_one_window_across_the_end_of_the_week() -> None:
    weekend = mute(days=["sat", "sun", "mon"], begin="00:00", to="24:00")
    assert until([weekend], "2026-11-28T12:00") == "Tue 00:00 UTC"
    assert until([weekend], "2026-11-27T23:59") is None


def test_windows_that_overlap_or_touch_are_one() -> None:
    first = mute(begin="2026-11-25T10:00", to="2026-11-25T12:00")
    touching = mute(begin="12:00", to="13:00")
    overlapping = mute(cron="30 12 * * *", length="2h")
    later = mute(begin="2026-11-25T14:31", to="2026-11-25T16:00")
    assert until([later, overlapping, touching, first], "2026-11-25T10:00") == "Wed 14:30 UTC"


def test_once_the_times_may_have_an_offset_or_a_zone() -> None:
    local = mute(begin="2026-12-24T18:00", to="2026-12-27 06:00", timezone=BERLIN)
    offset = mute(begin="2026-12-24T18:00+01:00", to="2026-12-27T05:00Z")
    for each in (local, offset):
        assert until([each], "2026-12-24T17:00") == "Sun 05:00 UTC"
        assert until([each], "2026-12-24T16:59") is None
        assert until([each], "2026-12-27T05:00") is None


SPRING, AUTUMN = ("2026-03-28T12:00", "2026-03-29T12:00"), ("2026-10-24T12:00", "2026-10-25T12:00")


@pytest.mark.parametrize(
    ("fields", "spring", "autumn"),
    [
        (
            {"begin": "02:00", "to": "03:00"},
            ("Sun 03:00 CEST", "Sun 04:00 CEST"),
            ("Sun 02:00 CEST", "Sun 03:00 CET"),
        ),
        (
            {"begin": "02:30", "to": "02:45"},
            ("Sun 03:30 CEST", "Sun 03:45 CEST"),
            ("Sun 02:30 CEST", "Sun 02:45 CET"),
        ),
        (
            {"begin": "01:00", "to": "02:30"},
            ("Sun 01:00 CET", "Sun 03:30 CEST"),
            ("Sun 01:00 CEST", "Sun 02:30 CET"),
        ),
        (
            {"begin": "22:00", "to": "06:00"},
            ("Sat 22:00 CET", "Sun 06:00 CEST"),
            ("Sat 22:00 CEST", "Sun 06:00 CET"),
        ),
        (
            {"cron": "0 2 * * *", "length": "1h"},
            ("Sun 03:00 CEST", "Sun 04:00 CEST"),
            ("Sun 02:00 CEST", "Sun 02:00 CET"),
        ),
    ],
)
def test_clock_changes(fields: dict[str, str], spring: Any, autumn: Any) -> None:
    """In the skipped hour a window is an hour later; the repeated one is in it both times."""
    each = mute(timezone=BERLIN, **fields)
    assert windows(each, *SPRING, BERLIN) == [spring]
    assert windows(each, *AUTUMN, BERLIN) == [autumn]


def test_in_the_repeated_hour_a_nightly_window_is_not_interrupted() -> None:
    each = mute(begin="02:00", to="03:00", timezone=BERLIN)
    minutes = range(at("2026-10-25T00:00Z"), at("2026-10-25T02:00Z"), MINUTE)
    ends = {muted_until([each], METRIC, minute) for minute in minutes}
    assert ends == {at("2026-10-25T02:00Z")}


@pytest.mark.parametrize(
    ("dimensions", "is_muted"),
    [
        ({}, True),
        ({"Stage": "live"}, True),
        ({"Stage": "l*", "Region": "e?"}, True),
        ({"Stage": "L*"}, False),
        ({"Stage": "live", "Region": "us"}, False),
        ({"Cluster": "*"}, False),
    ],
)
def test_a_mute_may_be_of_some_dimensions_only(dimensions: Any, is_muted: bool) -> None:
    each = mute(begin="22:00", to="06:00", dimensions=dimensions)
    assert (until([each], "2026-11-25T23:00") is not None) == is_muted


def test_mutes_that_leave_no_gap_have_an_end_nevertheless() -> None:
    halves = [mute(begin="00:00", to="12:00"), mute(begin="12:00", to="24:00")]
    end = muted_until(halves, METRIC, at("2026-11-25T10:00"))
    assert end is not None
    assert 366 <= (end - at("2026-11-25T10:00")) / DAY < 368


def test_without_mutes_nothing_is_muted() -> None:
    assert muted_until([], METRIC, at("2026-11-25T10:00")) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give from and to, or cron and for"),
        ({"begin": "22:00"}, "give from and to"),
        ({"begin": "22:00", "to": "06:00", "length": "2h"}, "give from and to, or cron and for"),
        ({"begin": "22:00", "to": "2026-12-24T06:00"}, "Not a time of day: to: "),
        ({"begin": "22:00", "to": "24:30"}, "Not a time of day: to: "),
        ({"begin": "24:00", "to": "06:00"}, "Not a date and time: from: '24:00'"),
        ({"begin": "10pm", "to": "06:00"}, "Not a date and time: from: '10pm'; write 2026-12-24T"),
        ({"begin": "2026-12-24", "to": "2026-12-27T06:00"}, "Not a date and time: from"),
        ({"begin": "2026-12-24T18:00", "to": "06:00"}, "Not a date and time: to"),
        ({"begin": "2026-12-24T18:00", "to": "2026-12-24T18:00"}, "to must be after from"),
        ({"begin": "2026-01-01T00:00", "to": "2027-01-02T00:01"}, "by 366 days at most"),
        (
            {"begin": "2026-12-24T18:00", "to": "2026-12-27T06:00", "days": ["thu"]},
            "days go with times of day",
        ),
        ({"begin": "22:00", "to": "06:00", "days": []}, "Expected `array` of length >= 1"),
        ({"begin": "22:00", "to": "06:00", "days": ["saturday"]}, "Invalid enum value"),
        ({"begin": "00:00", "to": "24:00"}, "would never end"),
        ({"begin": "08:00", "to": "08:00", "days": list(WEEKDAYS)}, "would never end"),
        ({"begin": "22:00", "to": "06:00", "timezone": "Berlin"}, "Unknown time zone 'Berlin'"),
        ({"begin": "22:00", "to": "06:00", "timezone": "../Rome"}, "Unknown time zone"),
        ({"begin": "22:00", "to": "06:00", "timezone": ""}, "Unknown time zone ''"),
        ({"begin": "22:00", "to": "06:00", "timezone": "Europe"}, "Unknown time zone 'Europe'"),
        ({"cron": "0 2 * * *"}, "cron goes with for"),
        ({"cron": "0 2 * * *", "length": "1h", "to": "06:00"}, "cron goes with for"),
        ({"cron": "0 2 * *", "length": "1h"}, "Not a cron expression: '0 2 \\* \\*'; write minute"),
        ({"cron": "0 0 2 * * *", "length": "1h"}, "Not a cron expression"),
        ({"cron": "0 25 * * *", "length": "1h"}, "Bad hour; write minute, hour, day of month"),
        ({"cron": "0 0 31 2 *", "length": "1h"}, "Bad day-of-month"),
        ({"cron": "0 2 * * *", "length": "1d"}, "would never end"),
        ({"cron": "* * * * *", "length": "1m"}, "would never end"),
        ({"cron": "0 0 1 1 *", "length": "366d"}, "would never end"),
        ({"cron": "0 0 29 2 *", "length": "367d"}, "would never end"),
        ({"cron": "0 2 * * *", "length": "120"}, "matching regex"),
        ({"begin": "22:00", "to": "06:00", "every": "day"}, "contains unknown field `every`"),
    ],
)
def test_an_invalid_mute_is_refused_with_what_to_do(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        mute(**fields)


def test_windows_of_a_rare_cron_expression_are_found() -> None:
    leap_day = mute(cron="0 0 29 2 *", length="1d")
    assert until([leap_day], "2028-02-29T13:00") == "Wed 00:00 UTC"
    assert until([leap_day], "2027-03-01T00:00") is None


def test_readings_in_a_window_are_left_out_only_where_the_mute_says_so() -> None:
    times = at("2026-11-25T00:00") + HOUR * np.arange(24)
    learnt = mute(begin="02:00", to="04:00")
    left_out = mute(begin="22:00", to="01:00", learn=False)
    elsewhere = mute(begin="12:00", to="13:00", learn=False, dimensions={"Stage": "test"})
    assert np.flatnonzero(not_learnt([learnt, left_out, elsewhere], METRIC, times)).tolist() == [
        0,
        22,
        23,
    ]
    assert not not_learnt([learnt], METRIC, times).any()
    assert not_learnt([left_out], METRIC, times[:0]).tolist() == []


def test_durations() -> None:
    assert [milliseconds(text) for text in ("1m", "90m", "2h", "1d")] == [
        MINUTE,
        90 * MINUTE,
        2 * HOUR,
        DAY,
    ]
    for text in ("", "0m", "2", "h", "1.5h", "-1h", "2w", "2h\n", "1h30m"):
        with pytest.raises(ValueError, match=r"write 90m, 2h or 1d"):
            milliseconds(text)


CLOCK_TIMES = [f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 30)]
START = datetime(2026, 1, 5)  # a Monday; no clock changes in these zones until March
ZONES = ["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]
HALF_HOUR = timedelta(minutes=30)

weekly = st.builds(
    lambda begin, to, days, zone, learn: mute(
        begin=begin, to=to, days=days, timezone=zone, learn=learn
    ),
    st.sampled_from(CLOCK_TIMES),
    st.sampled_from(CLOCK_TIMES),
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=5, unique=True),
    st.sampled_from(ZONES),
    st.booleans(),
)
once = st.builds(
    lambda begin, length, zone, learn: mute(
        begin=(START + begin * HALF_HOUR).isoformat(),
        to=(START + (begin + length) * HALF_HOUR).isoformat(),
        timezone=zone,
        learn=learn,
    ),
    st.integers(-96, 480),
    st.integers(1, 240),
    st.sampled_from(ZONES),
    st.booleans(),
)
cron = st.builds(
    lambda minute, hour, day, hours, zone, learn: mute(
        cron=f"{minute} {hour} * * {day}", length=f"{30 * hours}m", timezone=zone, learn=learn
    ),
    st.sampled_from([0, 30]),
    st.integers(0, 23),
    st.sampled_from(WEEKDAYS),
    st.integers(1, 100),
    st.sampled_from(ZONES),
    st.booleans(),
)


def is_muted(each: Mute, time: datetime) -> bool:
    """Return whether a moment is within a window, by what the clock on the wall says of it."""
    local = time.astimezone(ZoneInfo(each.timezone)).replace(tzinfo=None)
    if each.cron is not None:
        minute, hour, *_, day = each.cron.split()
        begin = local.replace(hour=int(hour), minute=int(minute))
        begin -= timedelta(days=(begin.weekday() - WEEKDAYS.index(day)) % 7)
        begin -= timedelta(days=7) if begin > local else timedelta()
        return local < begin + timedelta(milliseconds=milliseconds(each.for_ or ""))
    if not each.is_weekly:
        return (
            datetime.fromisoformat(each.from_ or "")
            <= local
            < datetime.fromisoformat(each.to or "")
        )
    clock = f"{local:%H:%M}"
    today, yesterday = (
        WEEKDAYS[(local.weekday() - days) % 7] in (each.days or ()) for days in (0, 1)
    )
    if (each.from_ or "") < (each.to or ""):
        return today and (each.from_ or "") <= clock < (each.to or "")
    return (today and clock >= (each.from_ or "")) or (yesterday and clock < (each.to or ""))


def half_hours(count: int) -> list[datetime]:
    return [START.replace(tzinfo=UTC) + number * HALF_HOUR for number in range(count)]


any_mutes = st.lists(weekly | once | cron, max_size=3)


@settings(max_examples=60)
@given(any_mutes, st.integers(0, 7 * 48))
def test_muted_until_is_the_first_moment_that_is_in_no_window(
    mutes: list[Mute], number: int
) -> None:
    times = half_hours(number + 4 * 7 * 48)[number:]
    free = next((time for time in times if not any(is_muted(each, time) for each in mutes)), None)
    assume(free is not None)
    expected = None if free == times[0] else int(free.timestamp() * 1000)
    assert muted_until(mutes, METRIC, int(times[0].timestamp() * 1000)) == expected


@settings(max_examples=40)
@given(any_mutes)
def test_what_is_not_learnt_is_in_a_window_that_says_so(mutes: list[Mute]) -> None:
    times = half_hours(8 * 48)
    left_out = [each for each in mutes if not each.learn]
    expected = [any(is_muted(each, time) for each in left_out) for time in times]
    readings = np.array([int(time.timestamp() * 1000) for time in times])
    assert not_learnt(mutes, METRIC, readings).tolist() == expected
