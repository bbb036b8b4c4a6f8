"""Times as people and other services read them; inside, they are seconds since 1970."""

from __future__ import annotations

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
