"""The backtest: what counts as found, which places are kept free, and the price in alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ops_anomaly.detection import untrained
from ops_anomaly.detection.types import Detector, Series
from tests.support.fakes import small_forest
from training.backtest import (
    SENSITIVITIES,
    Backtest,
    Plan,
    plan_injections,
    run_backtest,
    spread_of,
    try_sensitivities,
)
from training.sources.series import LabelledSeries

DAY = 288
LENGTH = 6 * DAY
CUT = LENGTH // 2


def series(values: np.ndarray) -> LabelledSeries:
    times = 1_767_571_200_000 + 300_000 * np.arange(len(values))
    return LabelledSeries("test", "a test", Series(times, values))


@pytest.fixture
def busy() -> LabelledSeries:
    """Noise around 10: 1-99 % of a day of it span about 4.6."""
    return series(np.random.default_rng(1).normal(10.0, 1.0, LENGTH))


@pytest.fixture
def contextual(busy: LabelledSeries) -> Detector:
    return untrained().update(busy.series[:CUT])[1]


def test_a_spike_of_four_spreads_is_found_without_delay(
    busy: LabelledSeries, contextual: Detector
) -> None:
    plan = plan_injections(busy, CUT, seed=42)
    assert plan.spread == pytest.approx(4.6, abs=0.2)
    of_spikes = [each for each in plan.injections if each.kind.name == "spike"]
    spikes = run_backtest(contextual, replace(plan, injections=of_spikes)).of("spike", 4.0)
    assert len(spikes) == len(plan.places) == 12
    found = [trial.delay_minutes for trial in spikes if trial.is_found]
    assert len(found) >= 10  # the detector has a cooldown after an alert
    assert set(found) == {0.0}


def naive(detector: Detector, plan: Plan, sensitivity: float | None) -> list[float | None]:
    """Each fault in the whole test part, from its beginning."""
    series = plan.part.series
    usual = detector.detect(series, sensitivity)
    delays = []
    for each in plan.injections:
        faulty = series.values.copy()
        stop = each.start + len(each.values)
        faulty[each.start : stop] = each.values
        alerts = detector.detect(Series(series.times, faulty), sensitivity).alerts
        new = [
            alert.start
            for alert in alerts
            if each.start <= alert.start < stop + 6 and not usual.is_anomaly[alert.start]
        ]
        delays.append(5.0 * (new[0] - each.start) if new else None)
    return delays


@pytest.mark.parametrize("sensitivity", [None, 1.0])
def test_it_equals_a_detection_of_the_whole_test_part_for_every_fault(
    busy: LabelledSeries, contextual: Detector, sensitivity: float | None
) -> None:
    plan = plan_injections(busy, CUT, seed=7)
    plan = replace(plan, injections=plan.injections[::10])
    delays = [trial.delay_minutes for trial in run_backtest(contextual, plan, sensitivity).trials]
    assert delays == naive(contextual, plan, sensitivity)
    assert any(delay is not None for delay in delays)


def test_an_alert_that_is_raised_anyway_finds_nothing() -> None:
    always = series(np.full(LENGTH, 2.0))  # above 1, all of it is an anomaly to the small forest
    backtest = run_backtest(small_forest(), plan_injections(always, CUT, seed=42))
    assert backtest.alerts_a_week == pytest.approx(7 / 3)  # one event over three days
    assert not any(trial.is_found for trial in backtest.trials)


def test_in_a_flat_series_neither_a_flatline_nor_a_drop_is_a_fault() -> None:
    flat = series(np.zeros(LENGTH))
    plan = plan_injections(flat, CUT, seed=42)
    backtest = run_backtest(untrained(), plan)
    assert backtest.shares["flatline"] is backtest.shares["drop"] is None
    assert backtest.shares["spike"] is not None
    assert backtest.mean_share is not None


def test_a_short_series_has_no_place_for_a_fault() -> None:
    short = series(np.arange(150.0))
    backtest = run_backtest(small_forest(), plan_injections(short, 100, seed=42))
    assert backtest.trials == []
    assert backtest.mean_share is None


def test_faults_keep_away_from_excluded_incidents(busy: LabelledSeries) -> None:
    times = busy.times
    excluded = busy.leaving_out(np.array([[times[CUT], times[CUT + 400]]]))
    assert plan_injections(busy, CUT, 42).places.min() < 400
    assert plan_injections(excluded, CUT, 42).places.min() > 400


@pytest.mark.parametrize(
    ("make", "rows"),
    [(small_forest, 1), (untrained, len(SENSITIVITIES) + 1)],
    ids=["one threshold", "has a sensitivity"],
)
def test_sensitivities_are_tried_where_the_kind_has_one(
    busy: LabelledSeries, make: Callable[[], Detector], rows: int
) -> None:
    plan, usual = plan_injections(busy, CUT, 42, max_places=1), Backtest(None, 0.0, [])
    progress: list[tuple[int, int]] = []
    tried = try_sensitivities(make(), plan, usual, lambda *steps: progress.append(steps))
    assert progress == [(done, rows - 1) for done in range(rows - 1)]
    assert tried[-1] is usual
    assert [each.sensitivity for each in tried] == [*SENSITIVITIES[: rows - 1], None]
    alerts = [each.alerts_a_week for each in tried[:-1]]
    assert alerts == sorted(alerts)


def test_a_fault_on_an_idle_series_is_as_large_as_a_day_of_it() -> None:
    """Idle but for a job of half an hour every day: the 5-95 % range is one of its steps."""
    idle = np.where(np.arange(LENGTH) % 2, 0.066, 0.132)
    idle[np.arange(LENGTH) % DAY < 6] = 1.5
    plan = plan_injections(series(idle), CUT, seed=42)
    assert plan.spread == pytest.approx(1.5 - 0.066)


@pytest.mark.parametrize(
    ("values", "spread"),
    [([], 1.0), ([0.0] * 50, 1e-9), ([2.0] * 99 + [7.0], 1.0), ([-4.0] * 9, 0.2)],
    ids=["nothing", "zeros", "one outlier", "constant"],
)
def test_the_spread_is_positive(values: list[float], spread: float) -> None:
    assert spread_of(np.array(values), DAY) == pytest.approx(spread)
