"""The backtest: what counts as found, how places are kept, and the price in alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ops_anomaly.detection.contextual_forest import ContextualForest
from tests.support.fakes import small_forest
from training.backtest import (
    ASKED,
    Backtest,
    Plan,
    plan_injections,
    run_backtest,
    try_sensitivities,
)
from training.sources.series import Floats, Series

DAY = 288
LENGTH = 6 * DAY
CUT = LENGTH // 2


def series(values: Floats) -> Series:
    times = np.datetime64("2026-01-05", "s") + np.arange(len(values)) * np.timedelta64(300, "s")
    return Series("test", "a test", times, values, None, np.empty((0, 2), "datetime64[s]"))


@pytest.fixture
def busy() -> Series:
    """Noise around 10: 5-95 % of it span about 3.3."""
    return series(np.random.default_rng(1).normal(10.0, 1.0, LENGTH))


@pytest.fixture
def contextual(busy: Series) -> ContextualForest:
    return ContextualForest.untrained().advance(busy.timestamps[:CUT], busy.values[:CUT])


def test_a_spike_of_four_spreads_is_found_at_once(
    busy: Series, contextual: ContextualForest
) -> None:
    plan = plan_injections(busy, CUT, seed=42)
    assert plan.spread == pytest.approx(3.3, abs=0.2)
    backtest = run_backtest(contextual, plan)
    spikes = backtest.of("spike", 4.0)
    assert len(spikes) == len(plan.places) == 12
    found = [trial.delay_minutes for trial in spikes if trial.is_found]
    assert len(found) >= 10  # the detector pauses after an alert
    assert set(found) == {0.0}


def naive(detector: ContextualForest, plan: Plan, threshold: float | None) -> list[float | None]:
    """Each fault in the whole judged part, from its beginning."""
    times, values = plan.part.timestamps, plan.part.values
    usual = detector.detect(times, values, threshold)
    delays = []
    for each in plan.injections:
        faulty = values.copy()
        stop = each.start + len(each.values)
        faulty[each.start : stop] = each.values
        starts = [a.start for a in detector.detect(times, faulty, threshold).alerts]
        new = [s for s in starts if each.start <= s < stop + 6 and not usual.is_anomaly[s]]
        delays.append(5.0 * (new[0] - each.start) if new else None)
    return delays


@pytest.mark.parametrize("threshold", [None, 4.0])
def test_it_equals_a_detection_of_the_whole_part_for_every_fault(
    busy: Series, contextual: ContextualForest, threshold: float | None
) -> None:
    plan = plan_injections(busy, CUT, seed=7)
    plan = replace(plan, injections=plan.injections[::3])
    backtest = run_backtest(contextual, plan, threshold)
    assert [trial.delay_minutes for trial in backtest.trials] == naive(contextual, plan, threshold)


def test_an_alert_that_is_there_anyway_finds_nothing() -> None:
    always = series(np.full(LENGTH, 2.0))  # above 1, all of it is an anomaly to the small forest
    backtest = run_backtest(small_forest(), plan_injections(always, CUT, seed=42))
    assert backtest.alerts_a_week == pytest.approx(7 / 3)  # one event over three days
    assert not any(trial.is_found for trial in backtest.trials)


def test_a_series_that_is_flat_has_no_flatline_and_breaks_nothing() -> None:
    flat = series(np.zeros(LENGTH))
    plan = plan_injections(flat, CUT, seed=42)
    backtest = run_backtest(ContextualForest.untrained(), plan)
    assert backtest.shares["flatline"] is backtest.shares["drop"] is None
    assert backtest.shares["spike"] is not None
    assert backtest.mean_share is not None


def test_without_room_nothing_is_tried() -> None:
    short = series(np.arange(150.0))
    backtest = run_backtest(small_forest(), plan_injections(short, 100, seed=42))
    assert backtest.trials == []
    assert backtest.mean_share is None


def test_faults_keep_away_from_what_is_left_out(busy: Series) -> None:
    times = busy.timestamps
    excluded = busy.leaving_out(np.array([[times[CUT], times[CUT + 400]]]))
    assert plan_injections(busy, CUT, 42).places.min() < 400
    assert plan_injections(excluded, CUT, 42).places.min() > 400


@pytest.mark.parametrize(
    ("make", "rows"),
    [(small_forest, 1), (ContextualForest.untrained, len(ASKED) + 1)],
    ids=["one threshold only", "any"],
)
def test_sensitivities(busy: Series, make: Callable[[], ContextualForest], rows: int) -> None:
    plan, usual = plan_injections(busy, CUT, 42), Backtest(0.75, 0.0, [])
    tried = try_sensitivities(make(), plan, usual)
    assert len(tried) == rows
    assert tried[-1].backtest is usual
    thresholds = [each.backtest.threshold for each in tried[:-1]]
    assert thresholds == sorted(thresholds, reverse=True)
