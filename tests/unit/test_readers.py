"""Files as people have them: each form is read right, or refused with the option that helps."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from commands.__main__ import command_line
from commands.reading import option_words
from ops_anomaly.detection.timeline import utc
from ops_anomaly.detection.types import FLOAT32_MAX
from training import SourceError
from training.sources.columns import COMMA, POINT, parse_times, parse_values
from training.sources.files import ReadOptions, read_file, read_folder

EXPORTS = Path(__file__).parents[1] / "data" / "exports"

# what every file in EXPORTS holds, beside other series and columns
START = datetime(2026, 3, 14, 22, tzinfo=UTC)
VALUES = [
    *(0.5, 0.382, 0.382, 132.0, 0.133, 1234.5, 132.001, 132.0, 66.0, 12.0, 132.0, 15.0),
    *(132.001, 0.316, 0.066, 132.0, 0.91, 2.751, 2.751, 0.316, 0.316, 1500.001, 15.001, 0.382),
    *(2.751, 0.661, 0.382, 1.75, 1500.001, 2.75, 15.25, 0.382, 1500.25, 3.0, 2.75, 2.75),
]
TIMES = [START + timedelta(minutes=5 * i) for i in range(len(VALUES))]

READ_AS = {
    "cloudwatch_console.csv": "CloudWatch console export: 36 readings of CPUUtilization, "
    "5 min apart, UTC as no zone is named",
    "cloudwatch_statistics.csv": "CloudWatch statistics in CSV: 36 readings of Average, "
    "5 min apart, UTC",
    "get_metric_statistics.json": "CloudWatch get-metric-statistics: 36 readings of Average, "
    "5 min apart, UTC; sorted by time",
    "get_metric_data.json --series m1": "CloudWatch get-metric-data: 36 readings of "
    "m1 web CPUUtilization, 5 min apart, UTC; newest first",
    "prometheus_query_range.json --series web-1": "Prometheus query_range: 36 readings of "
    'cpu{instance="web-1:9100", job="node"}, 5 min apart, seconds since 1970',
    "grafana_series_joined.csv --value-column web-1": "Grafana CSV export: 36 readings of "
    'cpu {instance="web-1"}, 5 min apart, UTC as no zone is named',
    "grafana_for_excel.csv": "Grafana CSV export: 36 readings of cpu, 5 min apart, "
    "milliseconds since 1970",
    "grafana_series_as_rows.csv --series web": "Grafana CSV export: 36 readings of web, "
    "5 min apart, UTC, commas between thousands",
    "excel_american.csv": "CSV: 36 readings of CPU, 5 min apart, month first, "
    "UTC as no zone is named, commas between thousands",
    "excel_german.csv": "CSV with semicolons: 36 readings of Größe, 5 min apart, day first, "
    "UTC as no zone is named, decimal commas, points between thousands; names in Windows-1252",
    "excel_unicode_text.txt": "CSV with tabs: 36 readings of cpu, 5 min apart, "
    "UTC as no zone is named",
    "influxdb.csv": "CSV: 36 readings of _value, 5 min apart, UTC",
    "pandas.csv": "CSV: 36 readings of cpu, 5 min apart, UTC",
}
"""File, and the option it needs -> what it is said to be read as."""


def options_of(words: list[str]) -> ReadOptions:
    return ReadOptions(**{words[0].strip("-").replace("-", "_"): words[1]} if words else {})


@pytest.mark.parametrize("command", READ_AS)
def test_an_export_is_read_right_and_it_is_said_what_as(command: str) -> None:
    file, *words = command.split(" ")
    series = read_file(EXPORTS / file, options_of(words))
    assert series.values.tolist() == VALUES
    assert series.times.tolist() == [round(1000 * time.timestamp()) for time in TIMES]
    assert series.read_as == f"Read as {READ_AS[command]}"
    assert (series.name, series.origin) == (file, f"file {file}")


@pytest.mark.parametrize("command", [command for command in READ_AS if "--" in command])
def test_of_several_series_one_must_be_chosen(command: str) -> None:
    file, option, _ = command.split(" ")
    with pytest.raises(SourceError, match=f"2 .*; choose one with {option}:\n  .*\n  "):
        read_file(EXPORTS / file)


def test_every_export_has_a_test() -> None:
    assert {path.name for path in EXPORTS.iterdir()} == {key.split(" ")[0] for key in READ_AS}


@pytest.fixture
def write(tmp_path: Path):
    def write_file(content: str | bytes, name: str = "cpu.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def rows(times: list[str], values: list[str] | None = None, mark: str = ",") -> str:
    values = values or [str(i / 2) for i in range(len(times))]
    return "".join(f"{time}{mark}{value}\n" for time, value in zip(times, values, strict=True))


def test_the_spelling_of_the_header_is_free(write) -> None:
    readings = rows(["2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"])
    for header in ("timestamp,value", "TimeStamp, Value", "date_time,cpu", '"Time","x"', "ts,v"):
        assert read_file(write(f"{header}\n{readings}")).values.tolist() == [0.0, 0.5]
    path = write("label,time,cpu\nweb,2026-03-14T22:00:00Z,1\nweb,2026-03-14T22:05:00Z,2\n")
    assert read_file(path).read_as == "Read as CSV: 2 readings of cpu, 5 min apart, UTC"
    series = read_file(write(readings))
    assert series.read_as == "Read as CSV: 2 readings of column 2, 5 min apart, UTC"
    assert series.values.tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("unit", "per_second"),
    [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)],
)
def test_numbers_since_1970_are_told_apart_by_their_size(write, unit: str, per_second: int) -> None:
    times = [f"{int(time.timestamp()) * per_second}" for time in TIMES]
    series = read_file(write("t,cpu\n" + rows(times)))
    assert series.times.tolist() == [round(1000 * time.timestamp()) for time in TIMES]
    assert series.read_as.endswith(f"36 readings of cpu, 5 min apart, {unit} since 1970")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom", "cp1252"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(write, encoding: str, end: str) -> None:
    text = f"Zeit,Größe\n{rows(['2026-03-14 22:00:00', '2026-03-14 22:05:00'])}"
    mark = "\ufeff" if encoding.endswith("bom") else ""
    data = (mark + text.replace("\n", end)).encode(encoding.removesuffix("-bom"))
    series = read_file(write(data))
    assert series.values.tolist() == [0.0, 0.5]
    assert "of Größe" in series.read_as


def test_empty_and_nan_values_are_gaps(write) -> None:
    times = [f"2026-03-14T22:{minute:02}:00Z" for minute in range(0, 40, 5)]
    gaps = ["", "NaN", "nan", "null", "N/A", "-"]
    series = read_file(write("time,cpu\n" + rows(times, ["1", *gaps, "2"])))
    assert series.values.tolist() == [1.0, 2.0]
    assert series.read_as.endswith("; 6 readings without a value left out")


def test_newest_first_and_unsorted_files_are_sorted(write) -> None:
    times = [f"2026-03-14T22:0{minute}:00Z" for minute in (4, 2, 0)]
    series = read_file(write("time,cpu\n" + rows(times)))
    assert series.values.tolist() == [1.0, 0.5, 0.0]
    assert series.read_as.endswith("; newest first")
    series = read_file(write("time,cpu\n" + rows([times[0], times[2], times[1]])))
    assert series.read_as.endswith("; sorted by time")


def test_a_reading_that_is_there_twice_is_kept_once_and_two_values_of_a_time_are_refused(
    write,
) -> None:
    times = [f"2026-03-14T22:0{minute}:00Z" for minute in (0, 1, 1, 2)]
    series = read_file(write("time,cpu\n" + rows(times, ["1", "2", "2.0", "3"])))
    assert series.values.tolist() == [1.0, 2.0, 3.0]
    assert series.read_as.endswith("; 1 repeated reading left out")
    with pytest.raises(
        SourceError, match=r"22:01:00Z has two values, 2\.0 \(line 3\) and 7\.0 \(line 4\)"
    ):
        read_file(write("time,cpu\n" + rows(times, ["1", "2", "7", "3"])))


# Times


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-03-14T22:05:00Z", "2026-03-14T22:05:00Z"),
        ("2026-03-14T22:05:00.000000+00:00", "2026-03-14T22:05:00Z"),
        ("2026-03-14 23:05:00 +0100", "2026-03-14T22:05:00Z"),
        ("2026-03-14 22:05:00 UTC", "2026-03-14T22:05:00Z"),
        ("2026-03-14 22:05", "2026-03-14T22:05:00Z"),
        ("2026/3/14 22:05:00", "2026-03-14T22:05:00Z"),
        ("2026-03-14", "2026-03-14T00:00:00Z"),
        ("14.03.2026 22:05:00", "2026-03-14T22:05:00Z"),
        ("3/14/2026, 10:05 PM", "2026-03-14T22:05:00Z"),
        ("3/14/2026 12:05:00 AM", "2026-03-14T00:05:00Z"),
    ],
)
def test_spellings_of_a_time(written: str, time: str) -> None:
    times = parse_times([written])
    assert (times.faults, utc(int(times.milliseconds[0]))) == ({}, time)


@pytest.mark.parametrize(
    "written",
    [
        *("yesterday", "", "22:05", "2026-03", "20260314", "1_773_525_900", "0x69b5d94c"),
        *("2026-02-30", "2026-03-14 25:00", "2026-03-14 24:00", "2026-03-14 13:05 PM", "14/3/26"),
        *("2026-03-14T22:05+01:75", "2026-03-14x22:05", "2026-W11-6", "1.77353E+12", "-1773525900"),
        *("99999999", "10000000000", "31/31/2026", "31/30/2026", "²⁰26-03-14", "٢٠٢٦-03-14"),
    ],
)
def test_what_is_no_time_is_a_fault(written: str) -> None:
    times = parse_times([written])
    assert list(times.faults) == [0]
    assert times.milliseconds.tolist() == [0]


def test_a_day_or_month_is_settled_by_another_date_of_the_file_or_by_an_option() -> None:
    def read(dates: list[str], day_first: bool | None = None) -> list[str]:
        times = parse_times(dates, day_first=day_first)
        assert not times.faults
        return [utc(time)[:10] for time in times.milliseconds.tolist()]

    assert read(["03/04/2026", "13/04/2026"]) == ["2026-04-03", "2026-04-13"]
    assert read(["03/04/2026", "03/14/2026"]) == ["2026-03-04", "2026-03-14"]
    assert read(["03/04/2026"], day_first=True) == ["2026-04-03"]
    assert read(["03.04.2026"], day_first=False) == ["2026-03-04"]
    assert read(["04/04/2026"]) == ["2026-04-04"]
    with pytest.raises(
        SourceError, match=r"'03/04/2026' may .*; give --day-first or --month-first"
    ):
        read(["03/04/2026", "05/04/2026"])
    with pytest.raises(SourceError, match="'13/04/2026' has the day first, '03/14/2026' the month"):
        read(["13/04/2026", "03/14/2026"])
    assert parse_times(["03/14/2026"], day_first=True).faults == {
        0: "no such date or time (month must be in 1..12)"
    }


def test_times_of_mixed_form_are_faults() -> None:
    zoned, naive, number = "2026-03-14T22:00:00Z", "2026-03-14T22:05:00", "1773526200"
    assert parse_times([zoned, zoned, naive, number, "14/03/2026"]).faults == dict.fromkeys(
        (2, 3, 4), "expected a time such as 2026-03-14T22:00:00Z"
    )
    assert parse_times([number, number, f"{number}000"]).faults == {
        2: "expected seconds since 1970 such as 1773526200"
    }


def test_times_without_a_zone_are_in_the_zone_of_the_option() -> None:
    times = parse_times(["2026-03-14 23:00", "2026-07-14 23:00"], "Europe/Berlin")
    assert [*map(utc, times.milliseconds.tolist())] == [
        "2026-03-14T22:00:00Z",
        "2026-07-14T21:00:00Z",
    ]
    assert times.taken_as == "Europe/Berlin"
    with pytest.raises(SourceError, match="--timezone is for times that name no zone"):
        parse_times(["2026-03-14T22:00:00Z"], "Europe/Berlin")
    with pytest.raises(SourceError, match="--timezone is for times that name no zone"):
        parse_times(["1773525600"], "Europe/Berlin")
    for name in ("CEST", "Mars/Olympus", "../etc/passwd", "Europe"):
        with pytest.raises(SourceError, match="no such zone; give a name such as Europe/Berlin"):
            parse_times(["2026-03-14 22:00"], name)


@pytest.mark.parametrize("step", [1, -1])
def test_the_hour_that_clocks_show_twice_is_settled_by_the_order(step: int) -> None:
    berlin = [f"2026-10-25 {clock}" for clock in ("01:30", "02:00", "02:30", "02:00", "02:30")]
    times = parse_times(berlin[::step], "Europe/Berlin")
    assert not times.faults
    assert [utc(time)[11:16] for time in times.milliseconds[::step].tolist()] == [
        *("23:30", "00:00", "00:30", "01:00", "01:30")
    ]


def test_of_a_file_in_no_order_that_hour_is_a_fault() -> None:
    berlin = [f"2026-10-25 {clock}" for clock in ("04:00", "02:30", "02:30", "01:30", "05:00")]
    assert list(parse_times(berlin, "Europe/Berlin").faults) == [1, 2]


def test_a_time_that_clocks_leave_out_or_show_twice_is_a_fault() -> None:
    times = parse_times(["2026-03-29 02:30", "2026-10-25 02:30"], "Europe/Berlin")
    assert times.faults == {
        0: "no such time in Europe/Berlin, where clocks go forward",
        1: "two such times in Europe/Berlin, where clocks go back; export with UTC or offsets",
    }


# Values


@pytest.mark.parametrize(
    "written",
    [
        *("1_000", "0x1f", "inf", "-Infinity", "1e39", "1,23,4", "1,2345", "12,345,67", "1.2.3"),
        *(
            "1 000",
            "1'000",
            "12 %",
            "1.2 GiB",
            "true",
            "abc",
            "1e",
            ".",
            ",",
            "١٢",
            "\u22121",
            "--1",
        ),
        *("01,234.5", "1,234e", "=1+1"),
    ],
)
def test_what_is_no_number_is_a_fault(written: str) -> None:
    values = parse_values([written, "0.25"], locale_unknown=True, decimal_comma=None)
    assert list(values.faults) == [0]
    assert math.isnan(values.numbers[0])


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1234.5", "-0.25", "+3", "1e-3", ".5", "2."], [1234.5, -0.25, 3.0, 0.001, 0.5, 2.0]),
        (["1,234.5", "1,234"], [1234.5, 1234.0]),
        (["1.234,5", "1.234"], [1234.5, 1234.0]),
        (["0,5", "1,234"], [0.5, 1.234]),
        (["0.5", "1.234"], [0.5, 1.234]),
        (["1,234,567"], [1234567.0]),
        (["0.066", "12.345"], [0.066, 12.345]),
    ],
)
def test_the_decimal_mark_is_settled_by_the_column(cells: list[str], numbers: list[float]) -> None:
    values = parse_values(cells, locale_unknown=True, decimal_comma=None)
    assert (values.numbers.tolist(), values.faults) == (numbers, {})


def test_a_mark_that_may_be_either_is_settled_by_an_option(write) -> None:
    times = ["2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"]
    path = write("time;cpu\n" + rows(times, ["1.234", "5"], ";"))
    with pytest.raises(
        SourceError, match=r"'1\.234' may have .*; give --decimal-point or --decimal-comma"
    ):
        read_file(path)
    assert read_file(path, ReadOptions(decimal_comma=True)).values.tolist() == [1234.0, 5.0]
    assert read_file(path, ReadOptions(decimal_comma=False)).values.tolist() == [1.234, 5.0]
    # where commas part the cells, the mark of a number without a comma is the point
    path = write("time,cpu\n" + rows(times, ["1.234", "5"]))
    assert read_file(path).values.tolist() == [1.234, 5.0]
    path = write("time,cpu\n" + rows(times, ['"1,234"', "5"]))
    with pytest.raises(SourceError, match="give --decimal-point or --decimal-comma"):
        read_file(path)


finite = (
    st.floats(-FLOAT32_MAX, FLOAT32_MAX)
    | st.floats(-1e7, 1e7)
    | st.integers(-(10**7), 10**7).map(float)
)


def points_between_thousands(number: float) -> str:
    return f"{int(number):,}".replace(",", ".")


FORMATS = [
    repr,
    "{:.3f}".format,
    "{:,.3f}".format,
    "{:,}".format,
    "{:.17e}".format,
    "{:+.1f}".format,
    lambda number: f"{number:,.2f}".translate(str.maketrans(",.", ".,")),
    lambda number: repr(number).replace(".", ","),
    points_between_thousands,
    lambda number: f"{int(number):_}",
    lambda number: f"{int(number):,}".replace(",", " "),
    lambda number: float(number).hex(),
]


@given(st.lists(finite, min_size=1, max_size=5), st.sampled_from(FORMATS), st.booleans())
@example([1234.0], FORMATS[8], True)
@example([1234.0, 5.0], FORMATS[2], True)
def test_a_value_is_read_as_it_was_written_or_refused(
    numbers: list[float], written, locale_unknown: bool
) -> None:
    assume(locale_unknown or written is not points_between_thousands)
    cells = [written(number) for number in numbers]
    try:
        values = parse_values(cells, locale_unknown, None)
    except SourceError:
        return
    for cell, number, read in zip(cells, numbers, values.numbers, strict=True):
        meant = {
            float(f"{number:.3f}"), float(f"{number:.2f}"), float(f"{number:.1f}"),
            float(int(number)), number, float(f"{number:.17e}"),
        }  # fmt: skip
        assert math.isnan(read) or read in meant, (cell, read)


@given(st.text(alphabet="0123456789.,eE+-_ x'inaf", max_size=8), st.booleans())
def test_any_text_is_read_as_the_number_that_it_is_or_refused(
    text: str, locale_unknown: bool
) -> None:
    assume(POINT.fullmatch(text) is None or COMMA.fullmatch(text) is None)
    try:
        [number] = parse_values([text], locale_unknown, None).numbers
    except SourceError:
        return
    if not math.isnan(number):
        is_point = POINT.fullmatch(text) is not None
        plain = text.replace(",", "") if is_point else text.replace(".", "").replace(",", ".")
        assert number == float(plain)
        assert "_" not in text


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(datetime(1973, 4, 1), datetime(2286, 1, 1), timezones=zones).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
TIME_FORMATS = [
    lambda t: t.isoformat(),
    lambda t: t.isoformat(" ", "milliseconds"),
    lambda t: t.strftime("%Y/%m/%d %H:%M:%S.%f%z"),
    lambda t: t.strftime("%m/%d/%Y %I:%M:%S.%f %p %z"),
    lambda t: t.strftime("%d.%m.%Y %H:%M:%S.%f%z"),
    lambda t: t.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    *(
        lambda t, per_ms=per_ms: str(round((t - EPOCH) / timedelta(milliseconds=1)) * per_ms)
        for per_ms in (1, 1_000, 1_000_000)
    ),
    lambda t: f"{round((t - EPOCH) / timedelta(milliseconds=1)) / 1000:.3f}",
]


@given(st.lists(moments, min_size=1, max_size=4), st.sampled_from(TIME_FORMATS))
def test_a_time_is_read_as_it_was_written_or_refused(times: list[datetime], written) -> None:
    cells = [written(time) for time in times]
    try:
        read = parse_times(cells)
    except SourceError:
        assert "/" in cells[0] or "." in cells[0]  # the only forms that may need an option
        return
    for row, time in enumerate(times):
        meant = round((time - EPOCH) / timedelta(milliseconds=1))
        assert row in read.faults or read.milliseconds[row] == meant, cells[row]


@given(st.text(alphabet="0123456789-/.:T Z+PMAp", max_size=20))
def test_any_text_is_a_time_that_fromisoformat_reads_alike_or_has_another_form(text: str) -> None:
    try:
        expected = datetime.fromisoformat(text)
    except ValueError:
        return
    try:
        times = parse_times([text])
    except SourceError:
        return
    if not times.faults and text[4:5] == "-":
        moment = expected if expected.tzinfo else expected.replace(tzinfo=UTC)
        assert times.milliseconds[0] == round((moment - EPOCH) / timedelta(milliseconds=1))


@pytest.mark.parametrize("command", ["train", "replay"])
def test_a_command_takes_the_options_as_they_are_written(command: str) -> None:
    words = option_words(ReadOptions("t", "v", "s", "UTC", day_first=True, decimal_comma=False))
    assert words == [
        *("--time-column", "t", "--value-column", "v", "--series", "s", "--timezone", "UTC"),
        *("--day-first", "--decimal-point"),
    ]
    parameters = command_line().commands[command].params
    known = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


# Both, in a file

whole_minutes = st.datetimes(
    datetime(1973, 4, 1), datetime(2199, 1, 1), timezones=st.just(UTC)
).map(lambda moment: moment.replace(second=0, microsecond=0))
CLEAR_TIMES = [
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"),
    lambda t: t.strftime("%Y/%m/%d %H:%M:%S"),
    lambda t: t.astimezone(timezone(timedelta(hours=-3))).isoformat(" "),
    *(lambda t, per_s=per_s: str(int(t.timestamp()) * per_s) for per_s in (1, 10**3, 10**6, 10**9)),
]
UNCLEAR_TIMES = [
    lambda t: t.strftime("%d.%m.%Y %H:%M"),
    lambda t: t.strftime("%m/%d/%Y %I:%M %p"),
]
CLEAR_VALUES = [lambda value: f"{value:.2f}", lambda value: f"{value:.2f}".replace(".", ",")]
UNCLEAR_VALUES = [
    lambda value: f"{value:,.2f}",
    lambda value: f"{value:,}",
    lambda value: f"{value:.3f}".replace(".", ","),
]


@given(
    st.lists(
        st.tuples(whole_minutes, st.integers(-(10**8), 10**8).map(lambda cents: cents / 100)),
        min_size=2, max_size=6, unique_by=lambda reading: reading[0],
    ),
    st.sampled_from([*CLEAR_TIMES, *UNCLEAR_TIMES]),
    st.sampled_from([*CLEAR_VALUES, *UNCLEAR_VALUES]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([["timestamp", "value"], ["when", "cpu"], None]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)  # fmt: skip
def test_a_file_is_read_as_it_was_written_or_refused(
    readings, of_time, of_value, delimiter: str, header, encoding: str, quoting
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting)
    writer.writerows([header] if header else [])
    writer.writerows((of_time(time), of_value(value)) for time, value in readings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cpu.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        try:
            series = read_file(path)
        except SourceError:
            assert of_time in UNCLEAR_TIMES or of_value in UNCLEAR_VALUES
            return
    expected = sorted((round(1000 * time.timestamp()), value) for time, value in readings)
    assert list(zip(series.times.tolist(), series.values.tolist(), strict=True)) == expected


# Columns and rows


def test_columns_are_chosen_by_options(write) -> None:
    header = "created,finished,reads,writes\n"
    readings = "".join(
        f"2026-03-14T22:0{i}:00Z,2026-03-14T23:0{i}:00Z,{i},{10 * i}\n" for i in range(3)
    )
    path = write(header + readings)
    with pytest.raises(SourceError, match="2 columns of times; choose one with --time-column"):
        read_file(path)
    with pytest.raises(SourceError, match="2 columns of values; choose one with --value-column"):
        read_file(path, ReadOptions(time_column="created"))
    series = read_file(path, ReadOptions("finished", "writes"))
    assert series.values.tolist() == [0.0, 10.0, 20.0]
    assert utc(int(series.times[0])) == "2026-03-14T23:00:00Z"
    with pytest.raises(SourceError, match="--value-column write: none of 3 columns:\n  created"):
        read_file(path, ReadOptions("finished", "write"))


@pytest.mark.parametrize(
    ("header", "option"),
    [
        ("time,value,value", "--value-column:\n  value\n  value (2)"),
        ("time,cpu,cpu", "--value-column:\n  cpu\n  cpu (2)"),
        ("time,time,value", "--time-column:\n  time\n  time (2)"),
    ],
)
def test_of_two_columns_of_one_name_an_option_chooses(write, header: str, option: str) -> None:
    third = "2026-03-14T22:05:00Z" if "time,time" in header else "7"
    path = write(f"{header}\n2026-03-14T22:00:00Z,{third},1\n2026-03-14T23:00:00Z,{third},2\n")
    with pytest.raises(SourceError, match=re.escape(f"choose one with {option}")):
        read_file(path)


def test_a_column_chosen_by_option_may_have_the_name_of_another(write) -> None:
    path = write("time,value,value\n2026-03-14T22:00:00Z,7,1\n2026-03-14T23:00:00Z,8,2\n")
    assert read_file(path, ReadOptions(value_column="value")).values.tolist() == [7.0, 8.0]
    assert read_file(path, ReadOptions(value_column="value (2)")).values.tolist() == [1.0, 2.0]


def test_values_that_look_like_times_are_no_times_beside_dates(write) -> None:
    times = ["2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"]
    path = write("time,bytes\n" + rows(times, ["1773525600", "1773525601"]))
    assert read_file(path).values.tolist() == [1773525600.0, 1773525601.0]
    path = write("when,bytes\n" + rows(times, ["1773525600", "1773525601"]))
    with pytest.raises(SourceError, match="choose one with --time-column:\n  when\n  bytes"):
        read_file(path)


def test_a_time_of_day_in_a_column_of_its_own_is_refused(write) -> None:
    path = write("date,time,cpu\n2026-03-14,22:00,1\n2026-03-15,22:00,2\n")
    with pytest.raises(SourceError, match="time of day is in a column of its own, time"):
        read_file(path)
    path = write("date,uptime,cpu\n2026-03-14 22:00,00:05,1\n2026-03-14 22:05,00:10,2\n")
    assert read_file(path).values.tolist() == [1.0, 2.0]


def test_columns_of_text_name_series_and_a_column_of_remarks_does_not(write) -> None:
    lines = [
        f"{host},2026-03-14T22:{minute:02}:00Z,{minute}\n"
        for minute in range(0, 60, 10)
        for host in ("i-1", "i-12")
    ]
    path = write("host,time,cpu\n" + "".join(lines))
    with pytest.raises(SourceError, match="2 series; choose one with --series:\n  i-1\n  i-12"):
        read_file(path)
    series = read_file(path, ReadOptions(series="i-12"))
    assert len(series) == 6
    assert "6 readings of i-12" in series.read_as
    with pytest.raises(SourceError, match="--series i-2: none of 2 series:\n  i-1\n  i-12"):
        read_file(path, ReadOptions(series="i-2"))
    for remarks in (("", "deployment"), ("request 1", "request 2")):
        readings = rows(["2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"], ["1", "2"]).split()
        lines = [f"{line},{remark}\n" for line, remark in zip(readings, remarks, strict=True)]
        path = write("time,cpu,remark\n" + "".join(lines))
        assert read_file(path).values.tolist() == [1.0, 2.0]


def test_an_index_of_pandas_is_no_value_and_another_column_without_a_header_is(write) -> None:
    path = write(",time,cpu\n0,2026-03-14T22:00:00Z,5\n1,2026-03-14T22:05:00Z,6\n")
    assert read_file(path).values.tolist() == [5.0, 6.0]
    # a separator of thousands that nobody quoted: the value is 1,234
    path = write("time,cpu,\n2026-03-14T22:00:00Z,1,234\n2026-03-14T22:05:00Z,1,235\n")
    with pytest.raises(SourceError, match="2 columns of values; choose one"):
        read_file(path)


def test_bad_rows_are_listed_with_line_and_what_was_expected(write) -> None:
    times = [f"2026-03-14T22:{minute:02}:00Z" for minute in range(40)]
    values = [str(i) for i in range(40)]
    times[3], times[5] = "yesterday", "2026-02-30T00:00:00Z"
    values[7], values[9] = "1_000", "7,7"
    with pytest.raises(SourceError) as caught:
        read_file(path := write("time,cpu\n" + rows(times, values) + "2026-03-14T23:00:00Z\n"))
    assert str(caught.value).splitlines() == [
        f"{path}: 5 of 41 rows can't be read; correct or delete them:",
        "  line 5: time 'yesterday': expected a time such as 2026-03-14T22:00:00Z",
        "  line 7: time '2026-02-30T00:00:00Z': no such date or time (day is out of range for "
        "month)",
        "  line 9: value '1_000': expected a number such as 0.13, or nothing for a gap",
        "  line 11: 3 cells, expected 2 as in the header",
        "  line 42: 1 cell, expected 2 as in the header",
    ]


def test_of_many_bad_rows_the_first_ten_are_listed(write) -> None:
    times = [f"2026-03-14T22:{minute:02}:00Z" for minute in range(60)]
    values = ["abc" if i % 4 == 0 else "1" for i in range(60)]
    with pytest.raises(SourceError) as caught:
        read_file(write("time,cpu\n" + rows(times, values)))
    lines = str(caught.value).splitlines()
    assert "15 of 60 rows can't be read" in lines[0]
    assert len(lines) == 12
    assert lines[-1] == "  and 5 more"


def test_a_bad_first_row_is_not_taken_for_the_header(write) -> None:
    readings = rows(["yesterday", "2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"])
    for header in ("timestamp,value\n", "when,cpu\n"):
        with pytest.raises(SourceError, match=r"1 of 3 rows can't be read.*\n  line 2: time 'yest"):
            read_file(write(header + readings))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"timestamp,value\n", "no readings in it; it was recognised as CSV"),
        (b"timestamp,value\n2026-03-14T22:00:00Z,1\n", "has 1 readings; at least 2"),
        (b"\x00\x01\x02\x03", "is not a text file; expected CSV, JSON or Parquet"),
        (b"a,b\n\x81\x8d", "is not text in UTF-8, UTF-16 or Windows-1252"),
        (b"one\ntwo\n", "no column has times such as 2026-03-04T12:00:00Z"),
        (b'time,cpu\n2026-03-14T22:00:00Z,"1', "is not CSV: line 2: unexpected end of data; close"),
        (b'time,cpu\n2026-03-14T22:00:00Z,1\n2026-03-14T22:05:00Z,"2"x\n', "CSV: line 3: ',' exp"),
        (
            b"time,cpu\n2026-03-14T22:00:00Z,NaN\n2026-03-14T22:05:00Z,\n",
            "cpu: none of its 2 values is a number, all are empty or NaN",
        ),
        (b"time,host\n2026-03-14T22:00:00Z,a\n", "expected a number such as 0.13"),
        (b"{", "is not JSON: .*expected the output of aws cloudwatch"),
        (b'{"a": 1}', "is JSON of another form; expected the output of aws cloudwatch"),
        (b"[1, 2]", "is JSON of another form; expected the output of aws cloudwatch"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"Datapoints": [1]}', "has 'Datapoints' in another form"),
        (b'{"MetricDataResults": []}', "no readings in it; .* CloudWatch get-metric-data"),
        (b'{"status": "error", "error": "timed out"}', "error of Prometheus: timed out"),
        (b'{"data": {"resultType": "vector", "result": []}}', "export a range with /api/v1/query_"),
        (b'{"data": {"resultType": "matrix", "result": [{"histograms": []}]}}', "of Prometheus"),
        (b'[{"time": "2026-03-14T22:00:00Z", "value": true}]', "reading 1: value 'true': expected"),
    ],
)
def test_a_file_that_is_none_is_refused(write, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_file(write(content))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    read_or_refuse(content)


@given(
    st.sampled_from(sorted(EXPORTS.iterdir())),
    st.lists(st.tuples(st.integers(0, 900), st.binary(max_size=3)), min_size=1, max_size=4),
)
def test_a_damaged_export_is_read_or_refused(path: Path, damages) -> None:
    content = bytearray(path.read_bytes())
    for at, damage in damages:
        content[at : at + len(damage) // 2] = damage
    read_or_refuse(bytes(content))


def read_or_refuse(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cpu"
        path.write_bytes(content)
        try:
            series = read_file(path)
        except SourceError:
            return
        assert np.all(np.diff(series.times) > 0)
        assert np.all(np.abs(series.values) <= FLOAT32_MAX)


def test_a_folder_is_refused_with_the_command_that_takes_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"is a folder.*: ops-anomaly replay --csv {tmp_path}"):
        read_file(tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing\.csv: can't be read: No such file"):
        read_file(tmp_path / "missing.csv")


# JSON


def test_numbers_of_json_are_read_as_they_stand(write) -> None:
    readings = [
        '{"timestamp": 1773525600.250, "value": 0.1}',
        '{"timestamp": 1773525601.250, "value": null}',
        '{"timestamp": 1773525602.250, "value": NaN}',
        '{"timestamp": 1773525603.250, "value": "12.5"}',
    ]
    for text in (f"[{', '.join(readings)}]", f'{{"series": [{", ".join(readings)}]}}'):
        series = read_file(write(text))
        assert series.values.tolist() == [0.1, 12.5]
        assert series.times.tolist() == [1773525600250, 1773525603250]


def test_an_incomplete_export_of_cloudwatch_is_said_to_be_so(write) -> None:
    content = json.loads((EXPORTS / "get_metric_data.json").read_text())
    content["MetricDataResults"][0]["StatusCode"] = "PartialData"
    content["NextToken"] = "more"
    series = read_file(write(json.dumps(content)), ReadOptions(series="m1"))
    assert series.read_as.endswith(
        "; m1 web CPUUtilization: PartialData; there are more pages (NextToken)"
    )


def test_percentiles_of_cloudwatch_are_columns(write) -> None:
    datapoints = [
        {"Timestamp": f"2026-03-14T22:0{i}:00Z", "Unit": "None", "ExtendedStatistics": {"p99": i}}
        for i in range(3)
    ]
    series = read_file(write(json.dumps({"Label": "Latency", "Datapoints": datapoints})))
    assert series.values.tolist() == [0.0, 1.0, 2.0]
    assert "3 readings of p99" in series.read_as


def test_infinite_samples_of_prometheus_are_refused_and_nan_is_a_gap(write) -> None:
    def content(*samples: str) -> str:
        values = [[1773525600 + 60 * i, sample] for i, sample in enumerate(samples)]
        result = [{"metric": {}, "values": values}]
        return json.dumps({"data": {"resultType": "matrix", "result": result}})

    assert read_file(write(content("1", "NaN", "2"))).values.tolist() == [1.0, 2.0]
    with pytest.raises(SourceError, match=r"sample 2: value '\+Inf': expected a number"):
        read_file(write(content("1", "+Inf", "2")))


# Parquet


def test_parquet_needs_pyarrow(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match="is Parquet; to read it: pip install pyarrow"):
        read_file(write(b"PAR1...PAR1", "cpu.parquet"))


def test_parquet_is_read_where_pyarrow_is_installed(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "cpu.parquet"
    for zone, taken_as in ((None, "UTC as no zone is named"), ("Europe/Berlin", "UTC")):
        times = np.array([time.replace(tzinfo=None) for time in TIMES], "datetime64[ns]")
        columns = {"at": pa.array(times).cast(pa.timestamp("ns", zone)), "cpu": pa.array(VALUES)}
        parquet.write_table(pa.table(columns), path)
        series = read_file(path)
        assert series.values.tolist() == VALUES
        assert series.times.tolist() == [round(1000 * time.timestamp()) for time in TIMES]
        assert series.read_as == f"Read as Parquet: 36 readings of cpu, 5 min apart, {taken_as}"


# Folders


def test_each_file_of_a_folder_is_a_series_by_its_name(tmp_path: Path) -> None:
    readings = rows(["2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"])
    (tmp_path / "web.csv").write_text(f"time,cpu\n{readings}")
    (tmp_path / "db.JSON").write_text((EXPORTS / "get_metric_statistics.json").read_text())
    (tmp_path / "README.md").write_text("about these files")
    found = read_folder(tmp_path)
    assert {name: len(series) for name, series in found.items()} == {"db": 36, "web": 2}


def test_all_bad_files_of_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no files \.csv, \.tsv, \.txt, \.json, \.parquet"):
        read_folder(tmp_path)
    with pytest.raises(SourceError, match="nowhere: can't be read"):
        read_folder(tmp_path / "nowhere")
    readings = rows(["2026-03-14T22:00:00Z", "2026-03-14T22:05:00Z"])
    (tmp_path / "a.csv").write_text(f"time,cpu\n{readings}")
    (tmp_path / "a.tsv").write_text(f"time,cpu\n{readings}")
    (tmp_path / "b.csv").write_text("")
    with pytest.raises(SourceError) as caught:
        read_folder(tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{tmp_path}: 2 of 3 files can't be read:"
    assert [line.split(": ")[1] for line in lines] == [
        "another file is named a too; rename one",
        "is empty",
    ]
