"""Four weeks of a small shop as CSV files, which the demo replays: six metrics, five incidents."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.timeline import utc

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers

STEP_MS = 600_000
DAYS, REPLAYED_DAYS = 28, 14
A_DAY = 144
"""Readings in a day."""

END = 1_000 * int(datetime(2026, 11, 23, tzinfo=UTC).timestamp())
"""A Monday: the files are the same whenever the demo runs."""


def write_shop(folder: Path) -> None:
    """Write a file for each metric of the shop."""
    folder.mkdir(parents=True, exist_ok=True)
    times = END + STEP_MS * np.arange(-DAYS * A_DAY, 0)
    for name, values in simulate_shop(times).items():
        rows = [
            f"{utc(time)},{value:g}" for time, value in zip(times.tolist(), values, strict=True)
        ]
        path = folder / f"{name}.csv"
        path.write_text("\n".join(["timestamp,value", *rows, ""]), encoding="utf-8")


def simulate_shop(times: Integers, seed: int = 7) -> dict[str, Floats]:
    """Return the values of each metric, by its name: (n,) each.

    Customers come by day, and fewer at weekends. In the last two weeks there are four incidents:
    a database that slows everything down, a queue that fills up, a machine that runs away, and
    customers who can't order for an hour; and a campaign, which is none.
    """
    random = np.random.default_rng(seed)
    day = times / 86_400_000
    by_day = 0.55 - 0.45 * np.cos(2 * np.pi * (day - 0.08))
    is_weekend = (np.floor(day) + 3) % 7 >= 5
    visits = by_day * np.where(is_weekend, 0.7, 1.0)

    def noise(size: float) -> Floats:
        return random.normal(0.0, size, len(times))

    orders = random.poisson(12 + 160 * visits).astype(float)
    latency = 120 + 60 * visits + noise(4)
    search = 45 + 25 * visits + noise(2)
    cpu = {number: 14 + 38 * visits + noise(1.2) for number in (1, 2)}
    queue = random.poisson(3 + 5 * visits).astype(float)

    database = incident(days_before_end=10, clock="13:40", minutes=70)
    latency[database] += 340 + noise(20)[database]
    search[database] += 90 + noise(8)[database]
    orders[database] *= 0.35
    orders[incident(days_before_end=4, clock="18:20", minutes=60)] *= 0.05
    cpu[2][incident(days_before_end=7, clock="03:10", minutes=150)] = 97 + noise(0.5)[:15]
    filling = incident(days_before_end=2, clock="10:00", minutes=240)
    queue[filling] += np.linspace(5, 90, len(queue[filling]))
    orders[incident(days_before_end=12, clock="20:00", minutes=90)] *= 2.1
    return {
        "orders": orders.round(),
        "checkout-latency": latency.round(1),
        "search-latency": search.round(1),
        "web-1-cpu": cpu[1].round(2),
        "web-2-cpu": cpu[2].round(2),
        "mail-queue": queue.round(),
    }


def incident(days_before_end: int, clock: str, minutes: int) -> slice:
    """Return the readings of an incident that begins at a time of a day."""
    hour, minute = map(int, clock.split(":"))
    first = (DAYS - days_before_end) * A_DAY + (60 * hour + minute) // 10
    return slice(first, first + minutes // 10)
