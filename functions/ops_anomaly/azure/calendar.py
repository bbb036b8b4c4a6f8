"""Timestamps on a calendar: which step of the granularity each of them is."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.azure.errors import bad_argument, invalid_series
from ops_anomaly.detection.types import DAY, HOUR, MINUTE, WEEK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_anomaly.detection.types import Integers


STEP_MS = {
    "weekly": WEEK,
    "daily": DAY,
    "hourly": HOUR,
    "minutely": MINUTE,
    "secondly": 1_000,
    "microsecond": 1,  # a millisecond, in spite of its name
}
"""Length of a step, for the granularities that are not of the calendar."""

MALFORMED = "'timestamp' or 'value' is malformed in 'series' Field."


def parse_timestamp(text: object) -> datetime:
    """Return a timestamp of ISO 8601, as UTC without a zone; one without an offset is UTC.

    Raises
    ------
    AzureError
        If it is something else.

    Examples
    --------
    >>> parse_timestamp("1962-01-01 02:00:00.1234567+02:00")
    datetime.datetime(1962, 1, 1, 0, 0, 0, 123456)
    """
    if not isinstance(text, str):
        raise bad_argument(MALFORMED)
    try:
        moment = datetime.fromisoformat(text.strip().upper())
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError) as error:
        raise bad_argument(MALFORMED) from error


def check_order(moments: Sequence[datetime]) -> None:
    """Raise at the first timestamp that is not later than the one before.

    Raises
    ------
    AzureError
        If they don't ascend, or one is there twice.
    """
    for earlier, later in pairwise(moments):
        if earlier > later:
            raise invalid_series(
                "The 'series' field must be sorted by timestamp in ascending order."
            )
        if earlier == later:
            raise invalid_series("The 'series' field cannot have duplicated timestamp.")


def calendar_steps(moments: Sequence[datetime], granularity: str, interval: int) -> Integers:
    """Return how many steps each timestamp is after the first: (n,), from 0, increasing.

    Parameters
    ----------
    moments
        Ascending, at least one.
    granularity : str
        Anything but `none`.
    interval : int
        So many granularities are a step.

    Raises
    ------
    AzureError
        If one is not a whole number of steps after the first; it names the first such one.

    Examples
    --------
    >>> month_ends = [datetime(2024, 1, 31), datetime(2024, 2, 29), datetime(2024, 4, 30)]
    >>> calendar_steps(month_ends, "monthly", 1).tolist()
    [0, 1, 3]
    """
    if granularity in STEP_MS:
        milliseconds = np.array(moments, "datetime64[ms]").astype(np.int64)
        passed, step = milliseconds - milliseconds[0], STEP_MS[granularity] * interval
        # an interval of any length is valid, and one beyond all dates leaves the first alone
        is_whole = passed % step == 0 if step < 2**62 else passed == 0
        steps = passed // step if step < 2**62 else passed
    else:
        months = np.array([12 * each.year + each.month for each in moments])
        passed, step = months - months[0], (12 if granularity == "yearly" else 1) * interval
        same_day = np.array([is_same_day_of_month(moments[0], each) for each in moments])
        is_whole = same_day & (np.array(passed % min(step, 2**31)) == 0)
        steps = passed // min(step, 2**31)
    if not is_whole.all():
        raise invalid_series(
            f"The 'timestamp' at index {int(np.argmin(is_whole))} is invalid in {granularity} "
            f"granularity with {interval} gran as interval."
        )
    if (np.diff(steps) <= 0).any():  # two days that both stand for the same month
        raise invalid_series("The 'series' field cannot have duplicated timestamp.")
    return np.asarray(steps, np.int64)


def is_same_day_of_month(first: datetime, other: datetime) -> bool:
    """Return whether two days are a whole number of months apart; months' ends are.

    Examples
    --------
    >>> is_same_day_of_month(datetime(2023, 1, 30), datetime(2023, 2, 28))
    True
    >>> is_same_day_of_month(datetime(2023, 1, 30), datetime(2023, 3, 31))
    False
    """
    if first.day == other.day:
        return True
    first_ends, other_ends = is_month_end(first), is_month_end(other)
    return (
        (first_ends and other_ends)
        or (other_ends and first.day > other.day)
        or (first_ends and other.day > first.day)
    )


def is_month_end(moment: datetime) -> bool:
    """Return whether it is the last day of its month."""
    return moment.day == monthrange(moment.year, moment.month)[1]
