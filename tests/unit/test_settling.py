"""When readings have settled, by statistic; what counts before."""

from __future__ import annotations

import numpy as np
import pytest

from ops_anomaly.detection.types import Detection, Series
from ops_anomaly.watcher.settling import counts, is_cumulative, settling_seconds

NAN = float("nan")


@pytest.mark.parametrize(
    "statistic",
    ["Sum", "SampleCount", "tc99", "ts99.9", "TC(0.005:0.030)", "TS(80%:)", "TS(:10)", "sum"],
)
def test_counts_and_sums_settle_for_ten_minutes(statistic: str) -> None:
    assert is_cumulative(statistic)
    assert settling_seconds(statistic) == 600


@pytest.mark.parametrize(
    "statistic",
    [
        *("Average", "Minimum", "Maximum", "IQM", "p99", "p99.9", "p100"),
        *("tm99", "wm98", "TM(2%:98%)", "WM(1:9)", "PR(:300)", "Summary", ""),
    ],
)
def test_other_statistics_settle_for_a_minute(statistic: str) -> None:
    assert not is_cumulative(statistic)
    assert settling_seconds(statistic) == 60


def detection(expected: list[float]) -> Detection:
    count = len(expected)
    numbers, flags = np.zeros(count), np.zeros(count, bool)
    bounds = np.array(expected)
    return Detection(numbers, numbers, flags, flags, bounds, numbers, numbers, {}, [])


def test_a_reading_that_has_not_settled_counts_only_if_it_is_above_what_was_expected() -> None:
    values = [1.0, 9.0, 1.0, 9.0, 5.0, 9.0]
    expected = [5.0, NAN, 5.0, 5.0, 5.0, NAN]
    series = Series(60_000 * np.arange(6), np.array(values))
    mask = counts(series, detection(expected), settled_until_ms=120_000)
    assert mask.tolist() == [True, True, False, True, False, False]


def test_the_period_that_begins_when_the_settled_ones_end_has_not_settled() -> None:
    series = Series(np.array([0, 60_000]), np.zeros(2))
    assert counts(series, detection([5.0, 5.0]), 60_000).tolist() == [True, False]
