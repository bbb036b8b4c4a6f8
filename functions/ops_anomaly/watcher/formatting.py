"""Names and times as messages and events write them; inside, times are milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

MAX_SUBJECT = 99
"""SNS documents "less than 100 characters"."""


def iso(time: int) -> str:
    """Return a time in ISO 8601, UTC, to the second.

    Examples
    --------
    >>> iso(1_795_608_000_000)
    '2026-11-25T12:00:00Z'
    """
    return f"{datetime.fromtimestamp(time // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def spoken(time: int) -> str:
    """Return a time as messages write it.

    Examples
    --------
    >>> spoken(1_795_608_000_000)
    'Wed 25 Nov, 12:00 UTC'
    """
    moment = datetime.fromtimestamp(time // 1000, UTC)
    return f"{moment:%a} {moment.day} {moment:%b, %H:%M} UTC"


def metric_title(name: str, dimensions: Sequence[str]) -> str:
    """Return the short name of a metric.

    Examples
    --------
    >>> metric_title("CPUUtilization", ["i-0123"])
    'CPUUtilization of i-0123'
    """
    return f"{name} of {', '.join(dimensions)}" if dimensions else name


def shortened(text: str, size: int) -> str:
    """Return a text of at most so many characters, and three dots where it was longer.

    Examples
    --------
    >>> shortened("CPUUtilization of i-0123", 17)
    'CPUUtilization...'
    """
    return text if len(text) <= size else f"{text[: max(size - 3, 0)].rstrip()}..."


def subject_line(text: str) -> str:
    r"""Return a subject that SNS takes: one line of ASCII that does not begin with a space.

    Examples
    --------
    >>> subject_line(" Größe\nof shop: 93")
    'Gr??e of shop: 93'
    """
    line = "".join(letter if " " <= letter <= "~" else "?" for letter in " ".join(text.split()))
    return shortened(line, MAX_SUBJECT) or "(no subject)"
