"""Reasons in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.nearest import RUN

if TYPE_CHECKING:
    from detector.context import Context
    from detector.interface import Floats

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MINUTE_MS = 60_000
DAY_MINUTES = 1_440


def number(value: float) -> str:
    """Return a number as people write it, to four digits.

    Examples
    --------
    >>> number(0.602), number(13_430_000.0), number(-2.0)
    ('0.602', '13,430,000', '-2')
    """
    rounded = float(f"{value:.4g}")
    if rounded and not 1e-4 <= abs(rounded) < 1e12:
        return f"{rounded:g}"
    return f"{rounded:,.10f}".rstrip("0").rstrip(".")


def moment(time_ms: int) -> str:
    """Return weekday and time of day, in UTC.

    Examples
    --------
    >>> moment(1393521300000)
    'Thursday 17:15'
    """
    minutes = time_ms // MINUTE_MS
    day, minute = divmod(minutes, DAY_MINUTES)
    return f"{WEEKDAYS[(day + 3) % 7]} {minute // 60:02}:{minute % 60:02}"


def duration(milliseconds: float) -> str:
    """Return a length of time in the unit that suits it.

    Examples
    --------
    >>> duration(7_200_000), duration(90_000), duration(5_400_000), duration(604_800_000)
    ('2 h', '1.5 min', '1.5 h', '7 days')
    """
    for unit, length in (("days", 86_400_000), ("h", 3_600_000), ("min", MINUTE_MS)):
        if milliseconds >= (2 if unit == "days" else 1) * length:
            return f"{milliseconds / length:.2g} {unit}"
    return f"{milliseconds / 1000:.3g} s"


def reason(context: Context, position: int, causes: Floats) -> str:
    """Say why a reading is odd, by what its score is mostly made of.

    Parameters
    ----------
    position
        Of the reading among the new ones.
    causes : (5,) float64
        What each distance and the forest contribute to its score.
    """
    past, index = context.past, context.first + position
    value, expected = past.values[index], context.expected[position]
    match int(np.argmax(causes)):
        case 0:
            before = past.values[:index]
            nearest = before[np.abs(before - value).argmin()]
            return f"never seen before: {number(value)}, nearest {number(nearest)}"
        case 1:
            return (
                f"unusual for {moment(int(past.times[index]))}: {number(value)}, "
                f"expected {number(expected)}"
            )
        case 2 | 3:
            start = max(0, index - RUN)
            span = float(past.times[index] - past.times[start])
            return f"unusual shape over the last {duration(span)}"
        case _:
            return f"an unusual combination of value and shape at {number(value)}"
