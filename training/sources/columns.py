"""Strict reading of a column of times, and of a column of values.

A column has one form, which is found from all of its cells before any is read: a cell of another
form is a fault, never a guess. What remains ambiguous is refused with the option that settles it.
That is why no library reads the cells here: `float` takes `1_000` and `infinity`, dateutil and
pandas guess the order of 03/04/2026 cell by cell, and none of them says what it took.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ops_anomaly.detection.timeline import epoch_unit
from ops_anomaly.detection.types import EPOCH_UNITS, FLOAT32_MAX
from training import SourceError

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

NUMBER_SINCE_1970 = re.compile(r"[0-9]{9,19}(?:\.[0-9]*)?")
DATE = re.compile(
    r"(?:(?P<year>[0-9]{4})([-/])(?P<month>[0-9]{1,2})\2(?P<day>[0-9]{1,2})"
    r"|(?P<first>[0-9]{1,2})([-/.])(?P<second>[0-9]{1,2})\6(?P<last>[0-9]{4}))"
    r"(?:(?:[Tt_]|,? )(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<seconds>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?"
    r"(?: ?(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)

POINT = re.compile(
    r"[+-]?(?:(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
)
"""A number with a decimal point, and perhaps commas between the thousands."""

COMMA = re.compile(
    r"[+-]?(?:(?:[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+)(?:,[0-9]*)?|,[0-9]+)(?:[eE][+-]?[0-9]+)?"
)
"""A number with a decimal comma, and perhaps points between the thousands."""

GAPS = frozenset({"", "-", "nan", "null", "none", "na", "n/a", "undefined"})
"""What is written where there is no value, in lower case."""


@dataclass(frozen=True)
class Times:
    """A column of n times.

    Attributes
    ----------
    milliseconds : (n,) int64
        Since 1970, rounded; 0 at faults.
    faults : dict of int to str
        What is wrong, by position.
    taken_as : str
        Zone or unit, as the line about what was read says it.
    """

    milliseconds: Integers
    faults: dict[int, str]
    taken_as: str


@dataclass(frozen=True)
class Values:
    """A column of n values; see `Times`.

    Attributes
    ----------
    numbers : (n,) float64
        NaN at gaps and faults.
    taken_as : str
        Empty for a decimal point and nothing else.
    """

    numbers: Floats
    faults: dict[int, str]
    taken_as: str


def is_time(cell: str) -> bool:
    """Return whether a cell has the form of a time.

    Examples
    --------
    >>> [is_time(cell) for cell in ("2026-03-04", "3/4/2026 1:05 PM", "1772625600", "95")]
    [True, True, True, False]
    """
    return bool(DATE.fullmatch(cell)) or unit_of(cell) is not None


def is_number(cell: str) -> bool:
    """Return whether a cell has the form of a number, with a decimal point or comma."""
    return bool(POINT.fullmatch(cell) or COMMA.fullmatch(cell))


def is_gap(cell: str) -> bool:
    """Return whether a cell stands for no value."""
    return cell.lower() in GAPS


def unit_of(cell: str) -> str | None:
    """Return in which unit a cell is a number since 1970."""
    return epoch_unit(float(cell)) if NUMBER_SINCE_1970.fullmatch(cell) else None


class Form(NamedTuple):
    """How a column of times is written."""

    unit: str | None = None
    is_year_first: bool = False
    has_zone: bool = False

    def __str__(self) -> str:
        return f"{self.unit} since 1970" if self.unit else "a time"


EXAMPLE_TIME = "a time such as 2026-03-04T12:00:00Z"
EXAMPLE_NUMBER = "a number such as 0.13"


def form_of(cell: str, date: re.Match[str] | None) -> Form | None:
    """Return how a time is written, given what `DATE` matches of it; None if it is none."""
    if date:
        return Form(None, date["year"] is not None, date["zone"] is not None)
    unit = unit_of(cell)
    return Form(unit) if unit else None


def parse_times(
    cells: Sequence[str], timezone_name: str | None = None, day_first: bool | None = None
) -> Times:
    """Read a column of times.

    Parameters
    ----------
    cells
        Numbers since 1970 in seconds, milliseconds, microseconds or nanoseconds, which their size
        tells apart; or dates, year first or last, with or without a time of day, of 12 or 24
        hours, with or without an offset.
    timezone_name
        Of times that name no zone, as the IANA has it; UTC by default.
    day_first
        Whether 03/04/2026 is 3 April; needed if no date of the column says so.

    Raises
    ------
    SourceError
        If an option is missing, or is of no use for this column.

    Examples
    --------
    >>> parse_times(["31/03/2026 12:00", "01/04/2026 12:00"]).taken_as
    'day first, UTC as no zone is named'
    """
    dates = [DATE.fullmatch(cell) for cell in cells]
    forms = [form_of(cell, date) for cell, date in zip(cells, dates, strict=True)]
    counts = Counter(form for form in forms if form)
    if not counts:
        faults = dict.fromkeys(range(len(cells)), f"expected {EXAMPLE_TIME}")
        return Times(np.zeros(len(cells), np.int64), faults, "")
    form = counts.most_common(1)[0][0]
    example = cells[forms.index(form)]
    message = f"expected {form} such as {example}"
    faults = {row: message for row, each in enumerate(forms) if each != form}
    if timezone_name and (form.unit or form.has_zone):
        raise SourceError(
            f"--timezone is for times that name no zone, and {example!r} needs none; leave it out"
        )
    if form.unit:
        times = {row: from_epoch(cells[row], form.unit) for row in kept(forms, form)}
        return Times(as_column(times, len(cells)), faults, str(form))
    found = {row: date for row in kept(forms, form) if (date := dates[row])}
    is_day_first = not form.is_year_first and dates_are_day_first(found.values(), day_first)
    moments, impossible = to_datetimes(found, is_day_first)
    if timezone_name:
        moments, unsettled = in_zone(moments, time_zone(timezone_name))
        impossible |= unsettled
    times = {row: round((moment - EPOCH) / MILLISECOND) for row, moment in moments.items()}
    order = "" if form.is_year_first else "day first, " if is_day_first else "month first, "
    zone = "UTC" if form.has_zone else timezone_name or "UTC as no zone is named"
    return Times(as_column(times, len(cells)), faults | impossible, order + zone)


def kept(forms: Sequence[Form | None], form: Form) -> Iterator[int]:
    """Yield the rows of the form that a column has."""
    return (row for row, each in enumerate(forms) if each == form)


def as_column(times: Mapping[int, int], length: int) -> Integers:
    """Return times by row as a column, with 0 in other rows."""
    column = np.zeros(length, np.int64)
    column[list(times)] = list(times.values())
    return column


def from_epoch(cell: str, unit: str) -> int:
    """Return a number since 1970 in milliseconds; exact before it is rounded."""
    return round(Decimal(cell) * 1_000 / EPOCH_UNITS[unit])


def dates_are_day_first(dates: Iterable[re.Match[str]], day_first: bool | None) -> bool:
    """Return whether dates such as 03/04/2026 have the day first, by the option or by themselves.

    Raises
    ------
    SourceError
        If neither says, or the dates contradict each other.
    """
    if day_first is not None:
        return day_first
    pairs = {date[0]: (int(date["first"]), int(date["second"])) for date in dates}
    with_day_first = [text for text, (first, second) in pairs.items() if second <= 12 < first]
    with_month_first = [text for text, (first, second) in pairs.items() if first <= 12 < second]
    if with_day_first and with_month_first:
        raise SourceError(
            f"{with_day_first[0]!r} has the day first, {with_month_first[0]!r} the month; write "
            "all dates like 2026-03-04"
        )
    unclear = [
        text
        for text, (first, second) in pairs.items()
        if first != second and max(first, second) <= 12
    ]
    if unclear and not with_day_first and not with_month_first:
        raise SourceError(
            f"{unclear[0]!r} may have the day first or the month; give --day-first or --month-first"
        )
    return bool(with_day_first)


def to_datetimes(
    dates: Mapping[int, re.Match[str]], is_day_first: bool
) -> tuple[dict[int, datetime], dict[int, str]]:
    """Return matched dates and times by row, in UTC if they name no zone; and what is wrong."""
    moments, faults = {}, {}
    for row, date in dates.items():
        try:
            moments[row] = to_datetime(date, is_day_first)
        except ValueError as error:
            faults[row] = f"no such date or time ({error})"
    return moments, faults


def to_datetime(date: re.Match[str], is_day_first: bool) -> datetime:
    """Return a matched date and time, in UTC if it names no zone.

    Raises
    ------
    ValueError
        If there is no such date or time.
    """
    day, month = date["day"] or date["second"], date["month"] or date["first"]
    if date["year"] is None and is_day_first:
        day, month = month, day
    return datetime(
        int(date["year"] or date["last"]),
        int(month),
        int(day),
        hour_of_day(int(date["hour"] or 0), date["half"]),
        int(date["minute"] or 0),
        int(date["seconds"] or 0),
        int((date["fraction"] or "").ljust(9, "0")) // 1_000,
        offset(date["zone"]) if date["zone"] else UTC,
    )


def hour_of_day(hour: int, half: str | None) -> int:
    """Return the hour of 24 of one with or without AM or PM.

    Examples
    --------
    >>> [hour_of_day(hour, half) for hour, half in ((12, "AM"), (12, "pm"), (1, "PM"), (13, None))]
    [0, 12, 13, 13]
    """
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(f"hour {hour} {half}")
    return hour % 12 + 12 * (half.lower() == "pm")


def offset(zone: str) -> tzinfo:
    """Return the zone of a name or offset as `DATE` matches it.

    Examples
    --------
    >>> offset("Z"), offset("-0330").utcoffset(None) / timedelta(hours=1)
    (datetime.timezone.utc, -3.5)
    """
    if zone[0] not in "+-":
        return UTC
    digits = zone[1:].replace(":", "").ljust(4, "0")
    if int(digits[2:]) > 59:
        raise ValueError(f"offset {zone}")
    distance = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-distance if zone[0] == "-" else distance)


def time_zone(name: str) -> tzinfo:
    """Return the zone of a name of the IANA.

    Raises
    ------
    SourceError
        If there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: "Europe" is a folder
        raise SourceError(
            f"--timezone {name}: no such zone; give a name such as Europe/Berlin or UTC"
        ) from error


def in_zone(
    moments: Mapping[int, datetime], zone: tzinfo
) -> tuple[dict[int, datetime], dict[int, str]]:
    """Return what clocks in a zone show as times, and what is wrong where that settles none.

    Of the hour that clocks show twice, a time that is there twice is settled by the order of a
    sorted file; one that is there once isn't.
    """
    settled, faults = {}, {}
    in_doubt: dict[datetime, list[int]] = {}
    for row, moment in moments.items():
        first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        change = first.utcoffset() - second.utcoffset()  # type: ignore[operator]
        if change < timedelta(0):
            faults[row] = f"no such time in {zone}, where clocks go forward"
        elif change:
            in_doubt.setdefault(moment, []).append(row)
        else:
            settled[row] = first
    is_newest_first = bool(moments) and moments[min(moments)] > moments[max(moments)]
    for moment, rows in in_doubt.items():
        for fold, row in enumerate(sorted(rows, reverse=is_newest_first)):
            settled[row] = moment.replace(tzinfo=zone, fold=fold)
    in_file = [settled[row].astimezone(UTC) for row in sorted(settled, reverse=is_newest_first)]
    is_sorted = all(earlier < later for earlier, later in pairwise(in_file))
    message = f"two such times in {zone}, where clocks go back; export with UTC or offsets"
    for rows in in_doubt.values():
        if len(rows) != 2 or not is_sorted:
            faults |= dict.fromkeys(rows, message)
    return settled, faults


def parse_values(cells: Sequence[str], locale_unknown: bool, decimal_comma: bool | None) -> Values:
    """Read a column of values.

    Parameters
    ----------
    cells
        Decimal numbers, with a point or a comma, with or without separators of thousands in groups
        of three, with or without an exponent; or one of `GAPS`.
    locale_unknown
        Whether 1.234 may be a thousand: not where a program or a comma-separated file wrote it.
    decimal_comma
        Whether the comma is the decimal mark; needed if no number of the column says so.

    Raises
    ------
    SourceError
        If the option is missing.

    Examples
    --------
    >>> parse_values(["0,5", "1.234,5"], True, None).numbers.tolist()
    [0.5, 1234.5]
    """
    written = {row: cell for row, cell in enumerate(cells) if not is_gap(cell)}
    has_comma = mark_is_comma(written.values(), locale_unknown, decimal_comma)
    mark, separator, pattern = (",", ".", COMMA) if has_comma else (".", ",", POINT)
    numbers, faults = np.full(len(cells), np.nan), {}
    has_separators = False
    for row, cell in written.items():
        if not pattern.fullmatch(cell):
            faults[row] = f"expected {EXAMPLE_NUMBER.replace('.', mark)}, or nothing for a gap"
            continue
        number = float(cell.replace(separator, "").replace(mark, "."))
        has_separators = has_separators or separator in cell
        if abs(number) <= FLOAT32_MAX:
            numbers[row] = number
        else:
            faults[row] = f"expected a number within ±{FLOAT32_MAX:.4g}"
    taken_as = "decimal commas" if has_comma else ""
    if has_separators:
        name = "points" if has_comma else "commas"
        taken_as = f"{taken_as}, " * bool(taken_as) + f"{name} between thousands"
    return Values(numbers, faults, taken_as)


def mark_is_comma(cells: Iterable[str], locale_unknown: bool, decimal_comma: bool | None) -> bool:
    """Return whether the decimal mark of a column is a comma; raises as `parse_values`."""
    if decimal_comma is not None:
        return decimal_comma
    marked = [cell for cell in cells if "," in cell or "." in cell]
    if not locale_unknown and not any("," in cell for cell in marked):
        return False
    as_point = [bool(POINT.fullmatch(cell)) for cell in marked]
    as_comma = [bool(COMMA.fullmatch(cell)) for cell in marked]
    if as_point == as_comma and any(as_point):
        example = marked[as_point.index(True)]
        raise SourceError(
            f"{example!r} may have a decimal mark or a separator of thousands; give "
            "--decimal-point or --decimal-comma"
        )
    return sum(as_comma) > sum(as_point)
