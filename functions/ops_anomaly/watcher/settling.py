"""When readings have settled: CloudWatch keeps adding to a period for minutes after its end.

A count or a sum grows with what comes in late, so one that is young can only be too low: what is
unusually high is so already, what is unusually low may not be in the end. An average or a
percentile hardly changes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Mask, Series

CUMULATIVE_PATTERN = r"(?i)SampleCount|Sum|(tc|ts)(\d+(\.\d+)?|\(.*\))"
"""Counts and sums, trimmed ones included (TC, TS): statistics that grow with each sample."""

READ_SECONDS = 60
"""How long after its end a period is read for the first time."""

FINAL_SECONDS = 600
"""How long after its end a period's value may change in ordinary operation: detectors keep what is
older, and evaluate what is younger again each time."""

LONG_PERIOD = 1_800
"""Seconds from which on a period is read more than once: for shorter ones the next is near."""

CUMULATIVE_SECONDS = 600
"""Load balancers and Lambda add to their sums for minutes; CloudWatch's exporter for Prometheus
waits for as long by default (`delay_seconds`)."""

OTHER_SECONDS = 60


def is_cumulative(statistic: str) -> bool:
    """Return whether a statistic of CloudWatch grows with each sample of its period.

    Examples
    --------
    >>> is_cumulative("Sum"), is_cumulative("tc99"), is_cumulative("p99")
    (True, True, False)
    """
    return re.fullmatch(CUMULATIVE_PATTERN, statistic) is not None


def settling_seconds(statistic: str, given: int | None = None) -> int:
    """Return how long after its period's end a reading of a statistic may still change.

    Parameters
    ----------
    given : int or None
        What the entry of the watch file says, which comes first.
    """
    if given is not None:
        return given
    return CUMULATIVE_SECONDS if is_cumulative(statistic) else OTHER_SECONDS


def counts(series: Series, detection: Detection, settled_until_ms: int) -> Mask:
    """Return which readings of a cumulative statistic are what they will be, or worse: (n,).

    Parameters
    ----------
    detection
        Of these readings.
    settled_until_ms
        Readings of periods that begin before it have settled. Later ones count only if they are
        above what was expected, and not if it is unknown what was.
    """
    return (series.times < settled_until_ms) | (series.values > detection.expected)


def read_delays(period: int, settle: int) -> tuple[int, ...]:
    """Return how long after a period's end it is read: soon, and when it has settled and is final.

    All in seconds. The next period is read soon enough for both, unless periods are long.

    Examples
    --------
    >>> read_delays(300, 600), read_delays(3_600, 900)
    ((60,), (60, 900, 600))
    """
    return (READ_SECONDS, settle, FINAL_SECONDS) if period >= LONG_PERIOD else (READ_SECONDS,)


def readings_a_period(period: int, settle: int, tick: int) -> int:
    """Return how often each period is read, with evaluations so many seconds apart.

    They come `READ_SECONDS` after a period's end.

    Examples
    --------
    >>> readings_a_period(300, 600, 300), readings_a_period(3_600, 60, 300)
    (1, 2)
    """
    ticks = max(period // tick, 1)
    delays = read_delays(period, settle)
    return len({-(-(delay - READ_SECONDS) // tick) % ticks for delay in delays})
