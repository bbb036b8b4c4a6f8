"""The life of one metric, tick by tick through the watcher: when its operators are notified.

A shop's orders every five minutes: few at night, half as many at weekends, and an import at two in
the morning. It is first seen on a Wednesday at eight.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from tests.support.shard_jobs import CLOSED, OPENED, World
from tests.support.watcher import NOON

MINUTE, HOUR = 60, 3_600
PERIOD = 5 * MINUTE
DAY = 24 * HOUR
WEDNESDAY = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp())
SATURDAY, SUNDAY = 3, 4
ORDERS = Metric("shop", "Orders", (), "Sum", PERIOD)
OUTAGE = 5.0


class Life:
    """The orders, and the watcher that evaluates them every five minutes.

    Attributes
    ----------
    now : int
        Seconds since the first Wednesday began.
    level : float
        1 until the shop grows.
    has_import : bool
        Whether the import comes at night.
    """

    def __init__(self, seed: int) -> None:
        # orders are counted as they come
        self.world, self.random = World(0, settle_seconds=60), np.random.default_rng(seed)
        self.world.metrics = [ORDERS]
        self.now, self.level, self.has_import = 8 * HOUR, 1.0, True
        self.delivered = 0

    def live_until(self, day: int, clock: str, value: float | None = None) -> None:
        """Live until a time of a day; all readings until then have the value, if there is one."""
        hours, minutes = map(int, clock.split(":"))
        while self.now < day * DAY + hours * HOUR + minutes * MINUTE:
            reading = self.ordinary() if value is None else value
            self.world.cloudwatch.series[ORDERS] = {
                time: known
                for time, known in self.world.cloudwatch.series.get(ORDERS, {}).items()
                if time >= WEDNESDAY + self.now - 2 * HOUR  # no more is read again
            }
            self.world.cloudwatch.put(ORDERS, WEDNESDAY + self.now, [reading])
            self.now += PERIOD
            self.world.run_at(WEDNESDAY + self.now + 90.0)

    def ordinary(self) -> float:
        """Return an ordinary number of orders."""
        day, second = divmod(self.now, DAY)
        share = 0.5 if day % 7 in (SATURDAY, SUNDAY) else 1.0
        orders = share * (200.0 - 120.0 * np.cos(2 * np.pi * second / DAY))
        imported = 150.0 if self.has_import and 2 * HOUR <= second < 3 * HOUR else 0.0
        return float(round(self.level * (orders * self.random.normal(1.0, 0.04) + imported)))

    def notified(self) -> list[tuple[str, str]]:
        """Return what was notified since the last time: its type, and the reason."""
        sent = self.world.event.sent[self.delivered :]
        self.delivered += len(sent)
        return [(each.detail_type, each.detail["members"][0]["reason"]) for each in sent]


def kinds(world: World) -> list[str]:
    """Return the detail types of all that was notified."""
    return [each.detail_type for each in world.event.sent]


def assert_an_outage_is_notified(life: Life, day: int) -> None:
    """Half an hour from 14:00 on: opened with its first reading, closed within four of its end."""
    life.live_until(day, "14:05", OUTAGE)
    [(opened, reason)] = life.notified()
    assert opened == OPENED
    assert reason.startswith("lower than ever at 14:00 on weekdays: 5, usually ")
    life.live_until(day, "14:30", OUTAGE)
    life.live_until(day, "14:50")
    assert [kind for kind, _ in life.notified()] == [CLOSED]
    assert life.world.event.sent[-1].detail["members"][0]["readings"] == 6


def test_the_life_of_a_metric() -> None:
    life = Life(seed=1)

    # It is new: for three days, nobody knows what is usual, not even the first nightly import.
    life.live_until(SATURDAY, "08:00")
    assert life.notified() == []

    # The first weekend is half as busy, and on Monday it is as busy as before.
    life.live_until(8, "14:00")
    assert life.notified() == []

    # An outage on Thursday.
    assert_an_outage_is_notified(life, 8)
    life.live_until(9, "14:00")
    assert life.notified() == []

    # The same on Friday: an outage that was seen is not ordinary.
    assert_an_outage_is_notified(life, 9)

    # The second weekend is like the first.
    life.live_until(12, "09:00")
    assert life.notified() == []

    # On Monday the number stands still for six hours, at a value that is ordinary.
    life.live_until(12, "10:00", 281.0)
    [(opened, reason)] = life.notified()
    assert opened == OPENED
    assert reason.startswith("stuck at 281 for ")
    life.live_until(12, "15:00", 281.0)
    assert life.notified() == []
    life.live_until(12, "15:20")
    assert [kind for kind, _ in life.notified()] == [CLOSED]
    life.live_until(14, "02:00")
    assert life.notified() == []

    # On Wednesday the import does not come.
    life.has_import = False
    life.live_until(14, "02:30")
    [(opened, reason)] = life.notified()
    assert opened == OPENED
    assert reason.startswith("lower than ever at 02:")
    life.live_until(14, "03:20")
    assert [kind for kind, _ in life.notified()] == [CLOSED]
    life.has_import = True
    life.live_until(15, "10:00")
    assert life.notified() == []

    # From Thursday on, the shop has nearly twice the orders: notified once, then the new normal.
    life.level = 1.8
    life.live_until(15, "10:30")
    assert [kind for kind, _ in life.notified()] == [OPENED]
    life.live_until(17, "10:00")
    assert [kind for kind, _ in life.notified()] == [CLOSED]
    life.live_until(20, "14:00")
    assert life.notified() == []

    # And the watcher is as watchful as before.
    assert_an_outage_is_notified(life, 20)
    life.live_until(21, "14:00")
    assert life.notified() == []


@pytest.mark.parametrize("seed", [3])
def test_nothing_is_notified_at_the_second_weekend(seed: int) -> None:
    life = Life(seed)
    life.live_until(12, "09:00")
    assert life.notified() == []


@pytest.mark.parametrize(
    ("period", "minutes"),
    [(60, 15), (60, 60), (300, 15), (300, 60), (300, 240), (3_600, 240)],
)
@pytest.mark.parametrize("settle", [60, 600])
def test_an_outage_of_any_length_is_one_incident(period: int, minutes: int, settle: int) -> None:
    world, metric = (
        World(0, history_days=7, settle_seconds=settle),
        Metric("shop", "Orders", (), "Sum", period),
    )
    times = np.arange(NOON - 7 * DAY, NOON + DAY, period)
    orders = 200.0 - 120.0 * np.cos(2 * np.pi * times / DAY)
    values = (orders * np.random.default_rng(4).normal(1.0, 0.04, len(times))).round()
    values[(times >= NOON) & (times < NOON + MINUTE * minutes)] = OUTAGE
    world.metrics = [metric]
    world.cloudwatch.put(metric, int(times[0]), values)
    readings = MINUTE * minutes // period
    sent = []
    for tick in range(readings + 3 * HOUR // period + 9):
        world.run_at(NOON + tick * period + 90.0)
        sent += [(tick, kind) for kind in kinds(world)[len(sent) :]]
    [(began, opened), (ended, closed)] = sent
    assert (opened, closed) == (OPENED, CLOSED)
    settled = -(-(settle - 90) // period)  # ticks come 90 seconds after a period's end
    assert began == 1 + settled
    assert ended <= readings + 4 + settled
