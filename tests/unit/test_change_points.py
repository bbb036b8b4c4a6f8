"""Change points by moving sums: what is one, what is none, and how sure that is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops_anomaly.detection.change_points import (
    change_points,
    correlation_factor,
    peaks,
    standardised_differences,
    without_spikes,
)


def found(values: np.ndarray, window: int = 24, threshold: float = 0.9) -> list[int]:
    return np.flatnonzero(change_points(values, window, threshold)[0]).tolist()


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def test_each_new_level_is_one_change_point_at_its_first_reading() -> None:
    levels = np.repeat([0.0, 6.0, -3.0], 100)
    assert found(levels) == [100, 200]
    assert found(levels + 0.5 * noise(300)) == [100, 200]


def test_constants_spikes_and_trends_are_none() -> None:
    assert found(np.full(100, 7.0)) == []
    assert found(noise(200) + 30.0 * (np.arange(200) == 100)) == []
    assert found(noise(200) + 0.2 * np.arange(200)) == []


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_noise_passes_the_threshold_in_about_one_series_of_ten(correlation: float) -> None:
    alarms = 0
    for seed in range(40):
        values = noise(400, seed)
        for i in range(1, 400):
            values[i] += correlation * values[i - 1]
        alarms += bool(found(values))
    assert alarms <= 8


def test_a_lower_threshold_finds_no_less() -> None:
    values = noise(300, 3) + np.where(np.arange(300) < 150, 0.0, 1.0)
    counts = [len(found(values, threshold=each)) for each in (0.99, 0.9, 0.5, 0.01)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_confidence_is_a_probability_and_0_at_the_ends() -> None:
    confidence = change_points(noise(100) * 1e100, 10, 0.9)[1]
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert not confidence[:10].any()
    assert not confidence[91:].any()
    assert change_points(np.repeat([0.0, 1.0], 50), 10, 0.9)[1][50] == pytest.approx(1.0)


def test_the_confidence_is_that_of_the_limit_distribution() -> None:
    n, window = 300, 20
    values = noise(n)
    differences = standardised_differences(without_spikes(values), window)
    i = int(differences.argmax())
    logarithm = math.log(n / window)
    a, b = math.sqrt(2 * logarithm), 2 * logarithm + math.log(logarithm) / 2 + math.log(1.5)
    b -= math.log(math.pi) / 2
    expected = math.exp(-2 * math.exp(b - a * differences[i]))
    assert change_points(values, window, 0.9)[1][window + i] == pytest.approx(expected)


def test_differences_equal_their_slow_twin() -> None:
    values, g = noise(60) + np.linspace(0, 3, 60), 7
    pairs = [(values[i - g : i], values[i : i + g]) for i in range(g, 60 - g + 1)]
    signed = np.array([after.mean() - before.mean() for before, after in pairs])
    pooled = [np.sqrt((a.var() + b.var()) * g / (2 * g - 2)) for a, b in pairs]
    deviation = float(np.median(pooled))
    low, high = np.quantile(signed, [0.25, 0.75])
    error = deviation * correlation_factor(values, deviation) * math.sqrt(2 / g)
    slow = np.abs(signed - min(max(low, 0.0), high)) / error
    assert standardised_differences(values, g) == pytest.approx(slow)


def test_spikes_are_cut_and_steps_are_not() -> None:
    step = np.repeat([0.0, 9.0], 10)
    assert without_spikes(step).tolist() == step.tolist()
    spiked = np.where(np.isin(np.arange(20), [4, 14, 15, 19]), 99.0, step)
    assert without_spikes(spiked).tolist() == step.tolist()


def test_a_peak_is_the_first_of_the_highest_nearby() -> None:
    heights = np.array([0.0, 1.0, 3.0, 3.0, 2.0, 0.0, 0.0, 5.0])
    assert np.flatnonzero(peaks(heights, 2)).tolist() == [2, 7]
