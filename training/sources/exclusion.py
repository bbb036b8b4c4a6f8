"""Past incidents that are kept out of training, as ranges of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from training.errors import SourceError
from training.sources.csv_file import parse_time
from training.sources.series import Series

OPTION = "--exclude"


class TimeRange(NamedTuple):
    """First and last moment, naive UTC."""

    first: datetime
    last: datetime


def parse_range(texts: Sequence[str]) -> TimeRange:
    """Read a range from two times of ISO 8601; with an offset they are turned to UTC.

    Raises
    ------
    SourceError
        If one is no time, or they are reversed.

    Examples
    --------
    >>> parse_range(("2026-03-01T08:00", "2026-03-01T10:00+01:00")).last.hour
    9
    """
    first, last = (parse_time(text, OPTION) for text in texts)
    if first > last:
        raise SourceError(f"{OPTION} {' '.join(texts)}: it ends before it begins; swap the two")
    return TimeRange(first, last)


def exclude(series: Series, ranges: Sequence[TimeRange]) -> Series:
    """Return the series with the readings of some ranges left out.

    Raises
    ------
    SourceError
        If a range holds none of the readings.
    """
    if not ranges:
        return series
    times = series.timestamps
    left_out = np.array(ranges, "datetime64[s]")
    for first, last in left_out:
        if not ((times >= first) & (times <= last)).any():
            raise SourceError(
                f"{OPTION} {first} {last}: there is no reading in it; those of {series.name} run "
                f"from {times[0]} to {times[-1]}, and its times are taken as UTC"
            )
    return series.leaving_out(left_out)
