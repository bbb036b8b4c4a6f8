"""How numbers, times and durations are written in reasons and messages."""

from __future__ import annotations

from decimal import Decimal

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MINUTE_MS = 60_000


def number(value: float, digits: int = 4) -> str:
    """Return a number as people write it, to so many digits.

    Examples
    --------
    >>> number(0.602), number(13_430_000.0), number(-2.0)
    ('0.602', '13,430,000', '-2')
    """
    rounded = f"{value:.{digits}g}"
    if float(rounded) and not 1e-4 <= abs(float(rounded)) < 1e12:
        return rounded
    return f"{Decimal(rounded):,f}"


def duration(milliseconds: float) -> str:
    """Return a length of time in the unit that suits it.

    Examples
    --------
    >>> duration(7_200_000), duration(90_000), duration(5_400_000), duration(604_800_000)
    ('2 h', '1.5 min', '1.5 h', '7 days')
    """
    for unit, length in (("days", 86_400_000), ("h", 3_600_000), ("min", MINUTE_MS)):
        if milliseconds >= (2 if unit == "days" else 1) * length:
            return f"{number(milliseconds / length, 2 if milliseconds < 10 * length else 3)} {unit}"
    return f"{number(milliseconds / 1000, 3)} s"
