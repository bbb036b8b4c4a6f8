"""Times as people and other services read them; inside, they are seconds since 1970.

How messages name things.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def iso(seconds: float) -> str:
    """Return a time of ISO 8601, in UTC.

    Examples
    --------
    >>> iso(1_795_608_000)
    '2026-11-25T12:00:00Z'
    """
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def spoken(seconds: float) -> str:
    """Return a time as a message says it.

    Examples
    --------
    >>> spoken(1_795_608_000)
    'Wednesday 25 November, 12:00 UTC'
    """
    moment = datetime.fromtimestamp(int(seconds), UTC)
    return f"{moment:%A} {moment.day} {moment:%B, %H:%M} UTC"


def parse_time(text: object) -> float | None:
    """Return the seconds of an ISO 8601 time with an offset, or None for anything else.

    Examples
    --------
    >>> parse_time("2026-11-25T12:00:00.000+0000"), parse_time("noon")
    (1795608000.0, None)
    """
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return moment.timestamp() if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def floor_to(seconds: float, period: int) -> int:
    """Return the last multiple of a period that is not after a time.

    Examples
    --------
    >>> floor_to(1_795_608_299.5, 300)
    1795608000
    """
    return int(seconds // period) * period


SUBJECT_LENGTH = 100
"""What SNS takes, in ASCII."""


def called(name: str, dimensions: Sequence[str]) -> str:
    """Return a metric as people call it.

    Examples
    --------
    >>> called("CPUUtilization", ["i-0123"])
    'CPUUtilization of i-0123'
    """
    return f"{name} of {', '.join(dimensions)}" if dimensions else name


def subject_line(text: str) -> str:
    """Return a subject that SNS takes: one line of printable ASCII."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return (
        printable if len(printable) <= SUBJECT_LENGTH else f"{printable[: SUBJECT_LENGTH - 3]}..."
    )
