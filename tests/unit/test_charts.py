"""Charts: what is drawn of readings, whatever these are; labels, times, colours, words."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.charts import (
    PALETTES,
    Chart,
    Row,
    Span,
    chart,
    sparkline,
    stylesheet,
    timeline,
)

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOON = 1_795_608_000_000
"""Wednesday 25 November 2026, 12:00 UTC."""

BERLIN = ZoneInfo("Europe/Berlin")


def of(
    values: list[float | None],
    unusual: tuple[int, ...] = (),
    step: int = 5 * MINUTE,
    start: int = NOON,
    expected: float | None = None,
    within: float | None = None,
) -> Chart:
    """A chart of these values; what is expected is the same all the time."""
    count = len(values)
    lower, upper = (
        None if expected is None or within is None else expected + sign * within for sign in (-1, 1)
    )
    return Chart(
        start=start,
        step=step,
        values=values,
        expected=[expected] * count,
        lower=[lower] * count,
        upper=[upper] * count,
        unusual=list(unusual),
    )


def parts(svg: str, kind: str) -> list[ET.Element]:
    """The elements of a class."""
    return [each for each in ET.fromstring(svg).iter() if each.get("class") == kind]


def path(svg: str, kind: str) -> str:
    [element] = parts(svg, kind)
    return element.get("d", "")


def labels(svg: str) -> list[str]:
    """All texts that are drawn."""
    return [each.text or "" for each in ET.fromstring(svg).iter("text")]


def heights(drawn: str) -> list[int]:
    """The lines from the top that a path comes to; its moves are relative."""
    reached = []
    for at, moves in re.findall(r"M-?\d+ (-?\d+)l([-\d ]+)", drawn):
        line = int(at)
        reached.append(line)
        for down in moves.split()[1::2]:
            line += int(down)
            reached.append(line)
    return reached


def times(start: datetime, stop: datetime, zone: tzinfo = UTC) -> list[str]:
    """Labels of the times of a chart from one moment to another."""
    first, last = (int(each.timestamp() * 1000) for each in (start, stop))
    return labels(chart(of([None, None], step=last - first, start=first), zone=zone))[:-1]


def test_a_line_is_interrupted_where_values_are_missing() -> None:
    drawn = chart(of([1, 2, 3, None, None, 2, 1]))
    assert path(drawn, "oa-reading").count("M") == 2


def test_a_reading_without_neighbours_is_a_dot() -> None:
    drawn = chart(of([1, 2, None, 5, None, 2, 1]))
    assert path(drawn, "oa-reading").count("M") == 2
    assert path(drawn, "oa-alone").count("h0") == 1


def test_unusual_readings_are_dots_and_the_most_unusual_one_is_labelled() -> None:
    drawn = chart(of([20, 21, 95, 60, 20], unusual=(2, 3), expected=20))
    assert path(drawn, "oa-unusual").count("h0") == 2
    assert [each.text for each in parts(drawn, "oa-peak")] == ["95"]


def test_the_label_of_a_reading_that_is_too_low_stands_below_it_and_inside() -> None:
    drawn = chart(of([20, 21, 1, 20], unusual=(2,), expected=20), height=200)
    [label] = parts(drawn, "oa-peak")
    [dot] = heights(path(drawn, "oa-unusual").replace("h0", "l0 0"))[:1]
    assert 16 + dot / 2 < float(label.get("y", "")) < 200 - 34


def test_the_span_of_the_anomaly_is_shaded_half_a_period_around_its_readings() -> None:
    [shade] = parts(chart(of([1.0] * 11, unusual=(4, 5, 6)), width=1000), "oa-shade")
    left, width = int(shade.get("x", "")), int(shade.get("width", ""))
    [whole] = parts(chart(of([1.0] * 11), width=1000, span=(NOON, NOON + HOUR)), "oa-shade")
    assert left > int(whole.get("x", ""))
    assert width == pytest.approx(2000 * 0.98 * 3 / 10, rel=0.03)


def test_what_was_before_the_chart_or_after_it_is_not_shaded() -> None:
    drawn = of([1.0] * 11)
    for start in (NOON - DAY, NOON + DAY):
        assert not parts(chart(drawn, span=(start, start + HOUR)), "oa-shade")
    [shade] = parts(chart(drawn, span=(NOON - DAY, NOON + DAY), width=640), "oa-shade")
    assert (shade.get("x"), shade.get("width")) == ("0", "1280")


def test_the_normal_range_is_an_area_where_both_bounds_are_known() -> None:
    known = of([1.0, 2, 1, 2, 1, 2], expected=1.5, within=1)
    gaps = Chart(
        known.start, known.step, known.values, known.expected, known.lower,
        [*known.upper[:2], None, *known.upper[3:]], known.unusual,
    )  # fmt: skip
    assert path(chart(known), "oa-band").count("z") == 1
    assert path(chart(gaps), "oa-band").count("z") == 2
    assert not parts(chart(of([1.0, 2])), "oa-band")


def test_wide_bounds_do_not_flatten_the_readings() -> None:
    drawn = chart(of([10, 20, 10, 20], expected=15, within=1e6), height=250)
    reached = heights(path(drawn, "oa-reading"))
    assert max(reached) - min(reached) > 2 * 200 / 4


def test_bounds_that_no_drawing_could_hold_are_cut_off() -> None:
    [band] = parts(chart(of([1e-300, 2e-300], expected=1e-300, within=1e290)), "oa-band")
    assert set(heights(band.get("d", ""))) == {-2 * 150, 2 * 2 * 150}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([5.0] * 9, ["6", "5", "4"]),
        ([0.0] * 9, ["0", "0.5", "1"]),
        ([99.992, 99.996], ["99.992", "99.994", "99.996"]),
        ([1.7e9, 1.7e9 + 3], ["1,700,000,000", "1,700,000,001", "1,700,000,002", "1,700,000,003"]),
        ([-160, -100], ["-160", "-140", "-120", "-100"]),
        ([3e30, 9e30], ["0", "2.5e+30", "5e+30", "7.5e+30"]),
        ([3e-12, 9e-12], ["0", "2.5e-12", "5e-12", "7.5e-12"]),
        ([12.0], ["14", "12", "10"]),
    ],
    ids=["constant", "zeros", "close together", "far from zero", "negative", "huge", "tiny", "one"],
)
def test_values_have_round_labels_that_differ(values: list[float | None], shown: list[str]) -> None:
    drawn = labels(chart(of(values)))
    assert sorted(drawn[: len(shown)]) == sorted(shown)


@pytest.mark.parametrize("values", [[], [None] * 5, [math.nan, math.inf, 1e308]])
def test_without_readings_it_says_so(values: list[float | None]) -> None:
    drawn = chart(of(values))
    assert "No readings" in labels(drawn)
    assert ET.fromstring(drawn)[0].text == "No readings."
    ET.fromstring(sparkline(of(values)))


def test_times_are_round_and_the_date_is_below_the_first_and_at_midnight() -> None:
    drawn = times(
        datetime(2026, 11, 25, 17, 20, tzinfo=UTC), datetime(2026, 11, 26, 11, tzinfo=UTC)
    )
    assert drawn == ["18:00", "Wed 25 Nov", "00:00", "Thu 26 Nov", "06:00"]


def test_long_charts_have_dates_only() -> None:
    drawn = times(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
    assert drawn == ["1 Nov", "8 Nov", "15 Nov", "22 Nov"]


def test_times_are_those_of_the_zone_also_where_its_clocks_change() -> None:
    """25 October 2026, 03:00 in Berlin: the clock goes back to 02:00."""
    start = datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    drawn = times(start, datetime(2026, 10, 26, 0, tzinfo=BERLIN), BERLIN)
    assert drawn == ["12:00", "Sat 24 Oct", "00:00", "Sun 25 Oct", "12:00", "00:00", "Mon 26 Oct"]


def test_a_chart_says_in_words_what_it_shows() -> None:
    drawn = chart(of([20, 21, 95.5, 20], unusual=(2,), expected=20), title="CPU <&> of i-0123")
    title, described = list(ET.fromstring(drawn))[:2]
    assert title.text == "CPU <&> of i-0123"
    assert described.text == (
        "Readings from 20 to 95.5, 2026-11-25 12:00 to 2026-11-25 12:15 UTC; 1 unusual, up to 95.5."
    )


def test_a_spike_of_ten_thousand_readings_is_drawn_in_a_few_thousand_letters() -> None:
    values: list[float | None] = [float(number % 7) for number in range(10_000)]
    values[6_001] = 500.0
    drawn, small = chart(of(values, step=MINUTE)), sparkline(of(values, step=MINUTE))
    assert min(heights(path(drawn, "oa-reading"))) < 0.1 * 2 * 150
    assert len(drawn) < 12_000
    assert len(small) < 4_000


value = st.one_of(st.none(), st.floats(), st.floats(0, 100), st.just(7.0))


@st.composite
def any_chart(draw: st.DrawFn) -> Chart:
    count = draw(st.integers(0, 12))
    values, expected, lower, upper = (
        draw(st.lists(value, min_size=count, max_size=count)) for _ in range(4)
    )
    unusual = draw(st.lists(st.integers(0, max(count - 1, 0)), max_size=4)) if count else []
    start = draw(st.integers(0, 4_000_000_000_000))
    step = draw(st.sampled_from([MINUTE, 5 * MINUTE, DAY]))
    return Chart(start, step, values, expected, lower, upper, unusual)


@given(any_chart(), st.sampled_from([UTC, BERLIN]))
def test_whatever_the_readings_are_there_is_a_drawing_without_a_script(
    drawn: Chart, zone: tzinfo
) -> None:
    for svg in (chart(drawn, zone=zone, title="</title><script>"), sparkline(drawn)):
        ET.fromstring(svg)
        coordinates = re.sub(r"<(title|desc|text)[^>]*>[^<]*", "", svg)
        assert not re.search(r"nan|inf|script|on\w+=", coordinates)
        known = [each for each in drawn.values if each is not None and abs(each) <= 1e300]
        if known:
            assert parts(svg, "oa-reading") or parts(svg, "oa-alone")


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(100, 300))
def test_thinning_keeps_the_lowest_and_the_highest_reading(seed: int, width: int) -> None:
    values: list[float | None] = [*np.random.default_rng(seed).normal(0, 9, 1_200).tolist()]
    few, all_of_them = (chart(of(values), width=each) for each in (width, 3_000))
    extremes = [
        (min(reached), max(reached))
        for reached in (heights(path(svg, "oa-reading")) for svg in (few, all_of_them))
    ]
    assert extremes[0] == extremes[1]


def test_a_timeline_shows_incidents_where_they_were_the_severe_ones_stronger() -> None:
    rows = [
        Row("orders <b>", [Span(NOON, NOON + HOUR, 1.0, "12:00 & after")]),
        Row("billing", [Span(NOON - HOUR, NOON + 9 * HOUR, 0.0)]),
    ]
    drawn = timeline(rows, NOON, NOON + 4 * HOUR)
    severe, weak = parts(drawn, "oa-incident")
    assert [each.get("opacity") for each in (severe, weak)] == ["1.00", "0.25"]
    assert (severe.get("x"), severe.get("width")) == ("32.000%", "17.000%")
    assert (weak.get("x"), weak.get("width")) == ("32.000%", "68.000%")  # no further than the edges
    assert severe[0].text == "12:00 & after"
    assert weak[0].text == "billing"
    assert {"12:00", "Wed 25 Nov", "16:00"} <= set(labels(drawn))
    assert [each[0].text for each in parts(drawn, "oa-name")] == ["orders <b>", "billing"]


def luminance(colour: str) -> float:
    """Relative luminance, as the Web Content Accessibility Guidelines define it."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares
    ]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", ["ink", "muted", "alert", "reading", "good"])
def test_text_can_be_read_in_light_and_dark(theme: str, name: str) -> None:
    lights = sorted(luminance(PALETTES[theme][each]) for each in ("surface", name))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_a_theme_follows_the_system_unless_it_is_given() -> None:
    assert "prefers-color-scheme:dark" in stylesheet()
    for theme, palette in PALETTES.items():
        styles = stylesheet(theme)
        assert "prefers-color-scheme" not in styles
        assert palette["surface"] in styles
