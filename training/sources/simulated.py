"""A simulated EC2 CPU series with labelled incidents, for where NAB can't be had."""

from __future__ import annotations

import numpy as np

from training.sources.series import Floats, Series, Times, label_windows

STEP = np.timedelta64(300, "s")
DAY = 288
"""Readings in a day."""

DAYS = 14
QUANTUM = 0.066
"""CPU counters of small instances move in steps of about this many per cent."""

INCIDENTS = {
    # kind -> (day, reading of the day)
    "spike": (2, 200),
    "drop": (8, 104),
    "level shift": (9, 230),
    "job at the wrong time": (11, 88),
    "runaway": (12, 90),
}


def simulate_ec2_cpu(seed: int = 42) -> Series:
    """Return 14 days of CPU utilisation in per cent, every 5 minutes, with five incidents.

    The machine idles at a quantised base load, somewhat higher on weekdays, and runs a job each
    day at about 04:00 that takes 1.5 % for 10 minutes. The incidents: a spike, a drop to zero,
    a level shift, the job at the wrong time, a runaway process. The same seed gives the same
    series.
    """
    random = np.random.default_rng(seed)
    timestamps = np.datetime64("2014-02-14T14:30:00", "s") + STEP * np.arange(DAYS * DAY)
    values = base_load(timestamps, random)
    run_daily_job(values, random)
    starts = cause_incidents(values, random)
    labels = timestamps[np.array(sorted(starts))]
    return Series(
        name="simulated_ec2_cpu",
        origin=f"simulated EC2 CPU series, seed {seed}",
        timestamps=timestamps,
        values=values.round(3),
        labels=labels,
        windows=label_windows(labels, timestamps),
    )


def base_load(timestamps: Times, random: np.random.Generator) -> Floats:
    """Return an idle load of one or two quanta, two more often on weekdays."""
    weekday = (timestamps.astype("datetime64[D]").astype(int) + 3) % 7 < 5
    busy = random.random(len(timestamps)) < np.where(weekday, 0.75, 0.6)
    noise = random.choice([0.0, 0.002], len(timestamps))
    return QUANTUM * np.where(busy, 2.0, 1.0) + noise


def run_daily_job(values: Floats, random: np.random.Generator) -> None:
    """Add the job of each day, a few minutes early or late."""
    for day in range(DAYS):
        start = day * DAY + 160 + int(random.integers(-1, 2))
        values[start : start + 2] = 1.5 + random.normal(0.0, 0.03, 2)


def cause_incidents(values: Floats, random: np.random.Generator) -> list[int]:
    """Write the incidents into the values and return where each begins."""
    starts = {kind: day * DAY + reading for kind, (day, reading) in INCIDENTS.items()}
    at = starts["spike"]
    values[at] = 2.3
    at = starts["drop"]
    values[at : at + 24] = 0.0
    at = starts["level shift"]
    values[at : at + 48] += 0.6
    at = starts["job at the wrong time"]
    values[at : at + 2] = 1.5
    at = starts["runaway"]
    values[at : at + 12] = np.linspace(1.9, 4.0, 12) + random.normal(0.0, 0.05, 12)
    return list(starts.values())
