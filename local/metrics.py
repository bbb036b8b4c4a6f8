"""Metrics for the local CloudWatch: machines that work by day, and one that runs away."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from registry.metric import Metric

PERIOD = 300
BATCH = 1_000
"""What PutMetricData takes at once."""

READINGS = 2 * 288
RUNAWAY = 93.0
RUNAWAY_READINGS = 2


def put_fleet(cloudwatch: Any, until: int, machines: int) -> None:
    """Put two days of CPU utilisation of some machines; the last but one runs away at the end.

    Parameters
    ----------
    until : int
        Where the last period ends, in seconds since 1970.
    """
    for number in range(machines):
        instance = f"i-{number:017x}"
        metric = Metric.parse(f"AWS/EC2 CPUUtilization InstanceId={instance} Average {PERIOD}")
        runs_away = number == machines - 2
        put_series(cloudwatch, metric, until, machine(number, until, runs_away=runs_away))


def machine(seed: int, until: int, *, runs_away: bool) -> np.ndarray:
    """Return two days of a machine that works by day, in per cent."""
    random = np.random.default_rng(seed)
    times = until + PERIOD * np.arange(-READINGS, 0)
    by_day = np.sin(2 * np.pi * (times / 86_400 - 0.375))
    values = 24.0 + 2.0 * seed + 12.0 * by_day + random.normal(0.0, 1.2, READINGS)
    if runs_away:
        values[-RUNAWAY_READINGS:] = RUNAWAY
    return values.round(2)


def put_series(cloudwatch: Any, metric: Metric, until: int, values: Iterable[float]) -> None:
    """Put readings of a metric, the last of the period that ends at `until`."""
    dimensions = metric.query["Metric"]["Dimensions"]
    numbers = list(values)
    first = until - metric.period * len(numbers)
    data = [
        {
            "MetricName": metric.name,
            "Dimensions": dimensions,
            "Timestamp": datetime.fromtimestamp(first + metric.period * position, UTC),
            "Value": float(value),
        }
        for position, value in enumerate(numbers)
    ]
    for start in range(0, len(data), BATCH):
        cloudwatch.put_metric_data(
            Namespace=metric.namespace, MetricData=data[start : start + BATCH]
        )
