"""An entry of a watch file in words: what is notified, what is not, and who is responsible."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.watcher.mutes import MAX_WINDOW_MS, Mute
from ops_anomaly.watcher.watch_file import (
    DAY_SECONDS,
    MAX_PERIODS,
    PER_METRIC,
    IgnoreBelow,
    Options,
    periods_of,
)

MODELS = "one a metric, as retraining publishes it; until the first, its own history"

DIRECTIONS = {"both": "rises and falls", "rises": "rises", "falls": "falls"}


def entry_rows(options: Options, periods: Collection[int], now: int) -> list[tuple[str, str]]:
    """Return what an entry says beyond the defaults: labels and texts.

    Parameters
    ----------
    periods
        Of its metrics, seconds.
    now : int
        Milliseconds, for the next windows of its mutes.
    """
    rows = [
        ("notifies of", _notified(options)),
        ("silence", _silence(options)),
        ("models", MODELS if options.model == PER_METRIC else ""),
        *(("muted", mute_in_words(mute, now)) for mute in options.mute),
        ("history", _history(options, periods)),
        ("owner", options.owner),
        ("runbook", options.runbook),
        ("tags", ", ".join(f"{name}={value}" for name, value in options.tags.items())),
        ("topic", options.topic),
        ("group", "" if options.group == options.name else options.group),  # a selector's own
    ]
    return [(label, text) for label, text in rows if text]


def _notified(options: Options) -> str:
    """Return what counts; nothing if all does."""
    parts = [DIRECTIONS[options.alert_on] + _least(options.ignore_below)]
    if options.min_severity:
        parts.append(f"with a severity of {number(options.min_severity)} or more")
    if options.sustained > 1:
        parts.append(f"after {options.sustained} unusual readings")
    text = ", ".join(parts)
    return "" if text == DIRECTIONS["both"] else text


def _least(limits: IgnoreBelow | None) -> str:
    if limits is None:
        return ""
    least = [] if limits.absolute is None else [number(limits.absolute)]
    least += [] if limits.percent is None else [f"{number(limits.percent)} %"]
    return " of " + " and ".join(f"at least {each}" for each in least)


def _silence(options: Options) -> str:
    if options.fills_zeros:
        return "a period without data is 0"
    after = options.silent_after
    return "" if after is None else f"notified after {duration(after)} without data"


def _history(options: Options, periods: Collection[int]) -> str:
    """Return how much less history is kept than the entry wants, of its shortest period."""
    period = min(periods, default=DAY_SECONDS)
    kept = periods_of(options.history_days, period)
    if kept * period >= options.history_days * DAY_SECONDS:
        return ""
    days = number(kept * period / DAY_SECONDS, 2)
    return f"{days} of {options.history_days} days: no more than {MAX_PERIODS:,} readings are kept"


def mute_in_words(mute: Mute, now: int) -> str:
    """Return when a mute is, and when the next time.

    Examples
    --------
    >>> mute = Mute(from_="22:00", to="06:00", days=["sat"], timezone="Europe/Berlin")
    >>> mute_in_words(mute, 1_795_608_000_000)  # 25 November 2026, 12:00 UTC
    'sat 22:00 to 06:00 Europe/Berlin; next Sat 28 Nov 22:00 to Sun 29 Nov 06:00 CET'
    """
    return "; ".join([" ".join(_mute_parts(mute)), *_mute_notes(mute), _next(mute, now)])


def _mute_parts(mute: Mute) -> Iterator[str]:
    if mute.cron is not None:
        yield f"{mute.cron!r} for {mute.for_}"
    else:
        if mute.is_weekly:
            yield ", ".join(mute.days or ["every day"])
        yield f"{mute.from_} to {mute.to}"
    yield mute.timezone


def _mute_notes(mute: Mute) -> Iterator[str]:
    if mute.dimensions:
        yield "only " + ", ".join(f"{name}={value}" for name, value in mute.dimensions.items())
    if not mute.learn:
        yield "not learnt from"
    if mute.reason:
        yield mute.reason


def _next(mute: Mute, now: int) -> str:
    """Return the present or the next window."""
    window = next(mute.windows(now, now + MAX_WINDOW_MS), None)
    if window is None:
        is_over = mute.cron is None and next(mute.windows(0, now), None) is not None
        return "over" if is_over else "not within a year"
    first, end = (datetime.fromtimestamp(time / 1000, mute.zone) for time in window)
    ends = f"{end:%H:%M %Z}" if end.date() == first.date() else f"{_moment(end)} {end:%Z}"
    return f"now, until {ends}" if window[0] <= now else f"next {_moment(first)} to {ends}"


def _moment(time: datetime) -> str:
    return f"{time:%a} {time.day} {time:%b %H:%M}"
