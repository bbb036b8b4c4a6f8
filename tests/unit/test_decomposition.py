"""Robust decomposition: periods, levels and scales of short and long series."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from ops_anomaly.detection.decomposition import (
    MIDDLE,
    MIN_POOL,
    OUTER,
    POOL_PRIOR,
    decompose,
    find_period,
    forecast,
    limit,
    moving_mean,
    phase_medians,
    phase_scales,
    record_lags,
    slope_of,
    spread,
)

WEEK = np.array([10.0, 12.0, 13.0, 12.5, 14.0, 4.0, 3.0])


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, n)


@pytest.mark.parametrize("n", [22, 29, 60, 365])
def test_a_weekly_pattern_is_found_in_noise(n: int) -> None:
    assert find_period(np.resize(WEEK, n) + noise(n)) == 7


def test_a_week_of_hours_is_a_longer_period_than_a_day_where_days_differ() -> None:
    day = np.sin(np.arange(24) * 2 * np.pi / 24)
    alike = np.resize(day, 168 * 4)
    assert find_period(alike + noise(len(alike))) == 24
    weekends = np.concatenate([np.tile(day, 5), np.tile(0.2 * day - 3, 2)])
    differing = np.resize(weekends, 168 * 4)
    assert find_period(differing + noise(len(differing))) == 168


@pytest.mark.parametrize("level", ["line", "shift", "wave"])
def test_a_period_is_found_on_any_level(level: str) -> None:
    n = 105
    levels = {
        "line": np.linspace(0, 40, n),
        "shift": np.where(np.arange(n) < 50, 0.0, 30.0),
        "wave": 10 * np.sin(np.arange(n) / 15),
    }
    assert find_period(np.resize(WEEK, n) + levels[level] + noise(n)) == 7


def test_noise_lines_and_constants_have_no_period() -> None:
    assert sum(find_period(noise(n, seed)) > 0 for n in (30, 100, 500) for seed in range(10)) <= 2
    assert find_period(np.arange(50.0)) == 0
    assert find_period(np.full(50, 3.0)) == 0
    assert find_period(np.where(np.arange(50) == 20, 9.0, 3.0)) == 0


def test_a_quarter_of_anomalies_moves_neither_level_nor_scale() -> None:
    values = 5.0 + noise(100)
    clean = decompose(values, 0)
    values[70:95] += 50.0
    found = decompose(values, 0)
    assert np.abs(found.expected - 5.0).max() < 0.3
    assert found.scale < 2 * clean.scale


def test_one_anomaly_does_not_come_back_in_the_season() -> None:
    values = np.resize(WEEK, 28) + noise(28)
    values[10] += 30.0
    found = decompose(values, 7)
    deviations = np.abs(values - found.expected)
    assert deviations[10] > 25.0
    assert np.delete(deviations, 10).max() < 1.0


def test_the_scale_is_the_standard_deviation_of_normal_noise() -> None:
    for n, period in ((60, 7), (365, 7), (1000, 0)):
        values = np.resize(WEEK if period else WEEK[:1], n) + noise(n)
        assert decompose(values, period).scale == pytest.approx(0.2, rel=0.3)


def test_a_forecast_continues_level_and_season() -> None:
    n = 29
    values = np.resize(WEEK, n) + noise(n)
    assert forecast(values, 7).expected == pytest.approx(WEEK[n % 7], abs=0.4)
    line = 2.0 * np.arange(n) + noise(n)
    assert forecast(line, 0).expected == pytest.approx(2.0 * n, abs=0.5)


def test_a_forecast_does_not_take_a_new_level_for_granted() -> None:
    values = 5.0 + noise(29)
    values[-5:] += 10.0
    next_one = forecast(values, 0)
    assert next_one.expected == pytest.approx(5.0, abs=0.3)
    assert limit(29) * next_one.scale < 5.0


def test_mostly_constant_series_have_a_scale_where_something_happens_now_and_then() -> None:
    once = np.where(np.arange(60) == 30, 5.0, 0.0)
    assert decompose(once, 0).scale == 0.0
    often = np.where(np.arange(60) % 6 == 0, 1.0, 0.0)
    assert decompose(often, 0).scale > 0.3


def test_shares_of_the_deviations_make_the_scale() -> None:
    normal = np.random.default_rng(1).normal(0, 3, 20_000)
    assert spread(normal) == pytest.approx(3, rel=0.03)
    assert spread(np.zeros(20)) == 0.0


def test_fast_parts_equal_their_slow_twins() -> None:
    values = np.random.default_rng(2).normal(size=50)
    slow = [np.median(values[phase::7]) for phase in range(7)]
    assert phase_medians(values, 7) == pytest.approx(slow)
    means = moving_mean(values, 5)
    assert means[2:-2] == pytest.approx([values[i - 2 : i + 3].mean() for i in range(2, 48)])
    assert (len(means), means[0], means[-1]) == (50, means[2], means[-3])
    slopes = [(values[j] - values[i]) / (j - i) for j in range(50) for i in range(j)]
    assert slope_of(values) == pytest.approx(np.median(slopes))


def test_lags_are_those_of_a_naive_autocorrelation() -> None:
    values = np.resize(WEEK, 80) + noise(80)
    centred = values - values.mean()
    heights = [centred[: 80 - lag] @ centred[lag:] / (80 - lag) for lag in range(42)]
    best, lags = 0.0, []
    for lag in range(2, 41):
        if heights[lag] >= max(heights[lag - 1], heights[lag + 1], 1e-300) and heights[lag] > best:
            best = heights[lag]
            lags.append(lag)
    assert record_lags(values) == lags
    assert 7 in lags


def test_noise_that_depends_on_the_step_of_the_period_has_a_scale_there() -> None:
    step = np.arange(24 * 28) % 24
    random = np.random.default_rng(3)
    values = 10.0 * (step >= 12) + np.where(step >= 12, 4.0, 0.5) * random.normal(size=len(step))
    scales = decompose(values, 24).scales
    assert scales[(step > 14) & (step < 22)] == pytest.approx(4.0, rel=0.4)
    assert (scales[(step > 2) & (step < 10)] < 1.5).all()


def test_scales_of_steps_equal_their_slow_twin() -> None:
    n, period, half = 240, 24, 2  # of 10 periods, 5 steps have the 50 deviations that are needed
    sizes = np.abs(noise(n))
    sizes[:5] = np.inf
    slow = []
    for phase in range(period):
        near = [(phase + offset) % period for offset in range(-half, half + 1)]
        pool = np.sort([each for i, each in enumerate(sizes) if i % period in near])
        pool = pool[np.isfinite(pool)]
        own = max(
            pool[int(share * (len(pool) - 1))] / NormalDist().inv_cdf(0.5 + 0.5 * share)
            for share in (MIDDLE, OUTER)
        )
        slow.append(np.sqrt((MIN_POOL * own**2 + POOL_PRIOR * 0.3**2) / (MIN_POOL + POOL_PRIOR)))
    assert phase_scales(sizes, period, 0.3) == pytest.approx(slow)
    assert phase_scales(sizes, 1, 0.3).tolist() == [0.3]
    assert phase_scales(sizes[:24], 12, 0.3).tolist() == [0.3] * 12  # too few for any step's own
