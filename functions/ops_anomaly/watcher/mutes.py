"""Mutes: windows of time in which nobody is notified of a metric; once, weekly, or by cron."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from ops_anomaly.detection.types import DAY, HOUR, MINUTE
from ops_anomaly.validation import Contract

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.detection.types import Integers, Mask

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

DURATION_PATTERN = r"[1-9][0-9]{0,5}[mhd]"
Duration = Annotated[str, Meta(pattern=rf"^{DURATION_PATTERN}\Z", examples=["90m", "2h", "1d"])]

CLOCK_PATTERN = r"([01]\d|2[0-3]):[0-5]\d"
UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}

MAX_WINDOW_MS = 366 * DAY
"""A year: what is not to be notified for longer is better not watched."""

CRON_FIELDS = 5
CHECKED_FROM = datetime(2024, 1, 1)
CHECKED_TIMES = 1_000
"""A cron expression is checked from a fixed day on, so that what was valid stays so. Windows that
follow each other so many times without a gap never end."""


class Mute(Contract, frozen=True, kw_only=True, omit_defaults=True):
    """Windows of time in which nobody is notified; metrics are evaluated all the same.

    Once: `from` and `to` are dates and times. Weekly: they are times of day, and `days` says on
    which days the window begins. By cron: `cron` says when it begins, and `for` how long it lasts.

    A window that would be in the hour that the clock skips in spring is an hour later; one that
    begins or ends in the hour that it repeats in autumn includes both.

    Attributes
    ----------
    from : str or None
        When the window begins: 2026-12-24T18:00, or 22:00 of each of the days.
    to : str or None
        When it ends: 2026-12-27T06:00, or 06:00; a time of day that is not after `from` is on the
        next day.
    days : list of str or None
        The days on which a weekly window begins: mon, tue, wed, thu, fri, sat, sun. Every day if
        left out.
    cron : str or None
        When windows begin: minute, hour, day of month, month, day of week.
    for : str or None
        How long a window of `cron` lasts: 90m, 2h, 1d.
    timezone : str
        Of all these times, as the IANA names it: Europe/Berlin.
    reason : str or None
        Why; `ops-anomaly watch` shows it.
    dimensions : dict of str to str
        Only metrics with these dimensions, whose values match these patterns of `*`, `?`, `[...]`.
    learn : bool
        False if readings within the window are no example of what is ordinary: they are left out.
    """

    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    days: Annotated[list[Weekday], Meta(min_length=1)] | None = None
    cron: str | None = None
    for_: Duration | None = msgspec.field(default=None, name="for")
    timezone: str = "UTC"
    reason: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    dimensions: dict[str, str] = msgspec.field(default_factory=dict)
    learn: bool = True

    def __post_init__(self) -> None:
        _zone(self.timezone)
        if self.cron is not None:
            _check_cron(self)
        elif self.from_ is None or self.to is None or self.for_ is not None:
            raise ValueError("give from and to, or cron and for")
        elif self.is_weekly:
            _check_weekly(self)
        else:
            _check_once(self)

    @property
    def is_weekly(self) -> bool:
        """Whether the window comes again on certain days, or every day."""
        return self.from_ is not None and re.fullmatch(CLOCK_PATTERN, self.from_) is not None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return _zone(self.timezone)

    def is_of(self, metric: Metric) -> bool:
        """Return whether a metric has the dimensions."""
        values = dict(metric.dimensions)
        return all(
            name in values and fnmatchcase(values[name], pattern)
            for name, pattern in self.dimensions.items()
        )

    def windows(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield first and end of the windows that overlap a time, in order; milliseconds.

        Parameters
        ----------
        start, stop : int
            Milliseconds; without `stop` itself.
        """
        if self.cron is not None:
            windows = _cron_windows(self, start, stop)
        elif self.is_weekly:
            windows = _weekly_windows(self, start, stop)
        else:
            windows = iter([_once(self)])
        return ((first, end) for first, end in windows if first < stop and end > start)


def milliseconds(duration: str) -> int:
    """Return how long a duration is.

    Raises
    ------
    ValueError
        If it is not a number of minutes, hours or days.

    Examples
    --------
    >>> milliseconds("90m"), milliseconds("1d")
    (5400000, 86400000)
    """
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"Not a duration: {duration!r}; write 90m, 2h or 1d")
    return int(duration[:-1]) * UNITS[duration[-1]]


def muted_until(mute: Sequence[Mute], metric: Metric, at: int) -> int | None:
    """Return the end of the window that a metric is muted in; None if it is not muted.

    Windows that touch or overlap are one. Where they follow each other for more than a year, it is
    some time after that.

    Parameters
    ----------
    at : int
        Milliseconds.
    """
    of_metric = [each for each in mute if each.is_of(metric)]
    until = at
    while until - at <= MAX_WINDOW_MS:
        ends = [end for each in of_metric for _, end in each.windows(until, until + 1)]
        if not ends:
            break
        until = max(ends)
    return until if until > at else None


def not_learnt(mute: Sequence[Mute], metric: Metric, times: Integers) -> Mask:
    """Return which readings are within a window that is not learnt from: (n,).

    Parameters
    ----------
    times : (n,) int64
        Milliseconds, increasing.
    """
    import numpy as np

    is_inside = np.zeros(len(times), dtype=bool)
    left_out = [each for each in mute if not each.learn and each.is_of(metric)]
    if left_out and len(times):
        span = int(times[0]), int(times[-1]) + 1
        for first, end in (window for each in left_out for window in each.windows(*span)):
            is_inside[slice(*np.searchsorted(times, [first, end]))] = True
    return is_inside


def _once(mute: Mute) -> tuple[int, int]:
    """Return the only window."""
    begin, end = (datetime.fromisoformat(str(text)) for text in (mute.from_, mute.to))
    return _first(begin, mute.zone), _last(end, mute.zone)


def _weekly_windows(mute: Mute, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the windows that begin from two days before a time to a day after it, for all zones."""
    day = _local(start, mute.zone).date() - timedelta(days=2)
    until = _local(stop, mute.zone).date() + timedelta(days=1)
    while day <= until:
        if mute.days is None or WEEKDAYS[day.weekday()] in mute.days:
            yield _weekly_window(mute, datetime(day.year, day.month, day.day))
        day += timedelta(days=1)


def _cron_windows(mute: Mute, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the windows that may overlap a time."""
    length = milliseconds(str(mute.for_))
    for time in _cron_times(str(mute.cron), _local(start - length, mute.zone)):
        first = int(time.timestamp()) * 1000
        if first >= stop:
            return
        yield first, first + length


def _cron_times(expression: str, after: datetime) -> Iterator[datetime]:
    """Yield the times of a cron expression after another, as Debian's cron has them."""
    from cronsim import CronSim  # only here: files without such a mute need not load it

    return CronSim(expression, after)


def _weekly_window(mute: Mute, midnight: datetime) -> tuple[int, int]:
    """Return the window that begins on a day."""
    first, end = (midnight + timedelta(minutes=minutes) for minutes in _minutes(mute))
    begin, until = _first(first, mute.zone), _last(end, mute.zone)
    if until <= begin:  # the clock skips all of it
        until = begin + (end - first) // timedelta(milliseconds=1)
    return begin, until


def _first(time: datetime, zone: ZoneInfo) -> int:
    """Return when the clock shows a time first, milliseconds; one that it skips is later."""
    return int((time if time.tzinfo else time.replace(tzinfo=zone)).timestamp() * 1000)


def _last(time: datetime, zone: ZoneInfo) -> int:
    """Return when the clock shows a time last, milliseconds; one that it skips is later."""
    return max(_first(time, zone), _first(time.replace(fold=1), zone))


def _local(time: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(time // 1000, UTC).astimezone(zone)


def _minutes(mute: Mute) -> tuple[int, int]:
    """Return when a weekly window begins and ends, in minutes since the midnight before it."""
    first, end = (60 * int(text[:2]) + int(text[3:]) for text in (str(mute.from_), str(mute.to)))
    return first, end if end > first else end + 1_440


@cache
def _zone(name: str) -> ZoneInfo:
    """Return a time zone; raises ValueError if there is none of this name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"Unknown time zone {name!r}: use a name such as Europe/Berlin") from error


def _check_weekly(mute: Mute) -> None:
    if not re.fullmatch(rf"{CLOCK_PATTERN}|24:00", str(mute.to)):
        raise ValueError(f"Not a time of day: to: {mute.to!r}; write 06:00, as from has it")
    first, end = _minutes(mute)
    if end - first == 1_440 and (mute.days is None or set(mute.days) == set(WEEKDAYS)):
        raise ValueError("It would never end: remove the entry if nobody is to be notified")


def _check_once(mute: Mute) -> None:
    if mute.days is not None:
        raise ValueError("days go with times of day: write from: 22:00 and to: 06:00")
    for name, text in (("from", mute.from_), ("to", mute.to)):
        try:
            is_time = len(str(text)) > len("2026-12-24") and datetime.fromisoformat(str(text))
        except ValueError:
            is_time = False
        if not is_time:
            raise ValueError(
                f"Not a date and time: {name}: {text!r}; write 2026-12-24T18:00, or 22:00 for "
                "a window that comes again"
            )
    first, end = _once(mute)
    if not 0 < end - first <= MAX_WINDOW_MS:
        raise ValueError("to must be after from, by 366 days at most")


def _check_cron(mute: Mute) -> None:
    if mute.for_ is None or (mute.from_, mute.to, mute.days) != (None, None, None):
        raise ValueError("cron goes with for, how long each window lasts, and not with from and to")
    _check_cron_windows(str(mute.cron), mute.for_)


@cache
def _check_cron_windows(expression: str, duration: str) -> None:
    """Raise ValueError if a cron expression is not valid, or its windows never end."""
    from cronsim import CronSimError

    example = "write minute, hour, day of month, month, day of week, such as '0 2 * * mon'"
    if len(expression.split()) != CRON_FIELDS:
        raise ValueError(f"Not a cron expression: {expression!r}; {example}")
    try:
        checked = pairwise(islice(_cron_times(expression, CHECKED_FROM), CHECKED_TIMES))
    except CronSimError as error:
        raise ValueError(f"Not a cron expression: {expression!r}: {error}; {example}") from error
    length = timedelta(milliseconds=milliseconds(duration))
    if milliseconds(duration) > MAX_WINDOW_MS or all(
        later - earlier <= length for earlier, later in checked
    ):
        raise ValueError("It would never end: for must be shorter than what is between two windows")
