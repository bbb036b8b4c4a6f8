"""The members of the committee: what each sees, in which unit it scores, and its reason.

| member | score | unit |
|---|---|---|
| rise, fall | error of the one-step forecast | value |
| high, low for the time | distance beyond the range of the same time on like days | value |
| high, low for an hour (six hours) | mean deviation from usual over so long | value |
| restless, calm | mean square step of the last hour, and the inverse | log |
| stuck | time since the last change, in steps | log |
| new high, new low | distance beyond all that was ever seen | value |
| novel | surprisal of the novelty forest, in trained models | nats |
"""

from __future__ import annotations

from dataclasses import dataclass

from ops_anomaly.detection.formatting import WEEKDAYS, duration, number
from ops_anomaly.detection.types import MINUTE

RISE, FALL = 0, 1
TIME_HIGH, TIME_LOW = 2, 3
HOUR_HIGH, HOUR_LOW = 4, 5
SIX_HIGH, SIX_LOW = 6, 7
RESTLESS, CALM, STUCK = 8, 9, 10
NEW_HIGH, NEW_LOW, NOVEL = 11, 12, 13

NAMES = (
    "rise", "fall", "high for the time", "low for the time", "high for an hour",
    "low for an hour", "high for six hours", "low for six hours", "restless", "calm", "stuck",
    "new high", "new low", "novel",
)  # fmt: skip
COUNT = len(NAMES)

INSTANT = (RISE, FALL, TIME_HIGH, TIME_LOW, NEW_HIGH, NEW_LOW, NOVEL)
"""They score the reading itself, so they are silent as soon as it is back to normal."""

FORECASTS = (RISE, FALL)
"""They need not know what a weekend is like, and so score a first one."""

LASTING = (HOUR_HIGH, HOUR_LOW, SIX_HIGH, SIX_LOW)
"""They score a mean that ends with the reading."""

VALUE = (RISE, FALL, TIME_HIGH, TIME_LOW, NEW_HIGH, NEW_LOW, *LASTING)
"""They score in the unit of the values."""

SEASONAL = (TIME_HIGH, TIME_LOW, *LASTING)
"""Their scores depend on which season was chosen."""

UP = (RISE, TIME_HIGH, HOUR_HIGH, SIX_HIGH, NEW_HIGH)
DOWN = (FALL, TIME_LOW, HOUR_LOW, SIX_LOW, NEW_LOW)


@dataclass(frozen=True)
class Facts:
    """What is known of a flagged reading.

    Attributes
    ----------
    limit : float
        The member's threshold, in its unit.
    usual, low, high : float
        Usual at this time, and the range of like days.
    stood : float
        How long it has not changed, ms.
    step : float
        Usual distance of readings, ms.
    longest : float
        How long it may stand still, ms.
    """

    member: int
    season: int
    time: int
    value: float
    forecast: float
    limit: float
    usual: float
    low: float
    high: float
    stood: float
    step: float
    longest: float


def when(facts: Facts) -> str:
    """Return the time as far as it matters for the season."""
    minutes = facts.time // MINUTE
    clock = f"{minutes // 60 % 24:02}:{minutes % 60:02}"
    day = WEEKDAYS[(minutes // 1_440 + 3) % 7]
    return (
        "",
        f" at {clock}",
        f" at {clock} on {'weekends' if day[0] == 'S' else 'weekdays'}",
        f" on a {day} at {clock}",
    )[facts.season]


def share(value: float, usual: float) -> str:
    """Return how far a value is from what is usual, in per cent where that says something."""
    side = "below" if value < usual else "above"
    if usual > 0 and value >= 0 and abs(value - usual) < 9.95 * usual:
        return f"{abs(value / usual - 1):.0%} {side}".replace("%", " %")
    return f"{number(abs(value - usual))} {side}"


def reason(facts: Facts) -> str:
    """Say why a reading is an anomaly, as the member that raised it sees it."""
    match facts.member:
        case k if k in (RISE, FALL):
            return _jump(facts)
        case k if k in (TIME_HIGH, TIME_LOW, *LASTING):
            return _unusual_for_the_time(facts)
        case k if k in (RESTLESS, CALM, STUCK):
            return _movement(facts)
        case _:
            return _new_value(facts)


def _jump(facts: Facts) -> str:
    step = duration(facts.step) if facts.step else "one reading"
    verb = "jumped" if facts.member == RISE else "fell"
    return (
        f"{verb} by {number(abs(facts.value - facts.forecast))} within {step}, to "
        f"{number(facts.value)}: {number(facts.forecast)} was expected, give or take "
        f"{number(facts.limit)}"
    )


def _unusual_for_the_time(facts: Facts) -> str:
    if facts.member in LASTING:
        span = "1 h" if facts.member in (HOUR_HIGH, HOUR_LOW) else "6 h"
        return f"{share(facts.value, facts.usual)} what is usual{when(facts)}, for about {span}"
    side = "higher" if facts.member == TIME_HIGH else "lower"
    between = f"{number(facts.low)} to {number(facts.high)}"
    return f"{side} than ever{when(facts)}: {number(facts.value)}, usually {between}"


def _movement(facts: Facts) -> str:
    value = number(facts.value)
    if facts.member == STUCK:
        return (
            f"stuck at {value} for {duration(facts.stood)}; "
            f"it hardly ever stands still for longer than {duration(facts.longest)}"
        )
    word = "more" if facts.member == RESTLESS else "less"
    return f"has moved {word} for the last hour than in weeks, around {value}"


def _new_value(facts: Facts) -> str:
    value = number(facts.value)
    if facts.member == NOVEL:
        return f"unlike anything in up to four weeks: {value}, usually about {number(facts.usual)}"
    is_high = facts.member == NEW_HIGH
    edge, old = ("highest", facts.high) if is_high else ("lowest", facts.low)
    return f"the {edge} value in up to four weeks: {value}, before that {number(old)}"
