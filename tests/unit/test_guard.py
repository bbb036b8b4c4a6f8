"""The guard: what may replace a live model, and what may not, with the reason."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guard import DEFECTS, Ground, draw, retrain
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.feedback import Mark
from tests.support.retraining import (
    DAYS,
    PERIOD_MS,
    PLAN,
    UNTIL,
    changed,
    daily,
    load,
)
from training.candidates.contextual import fit_contextual
from training.retraining.batch import train_model
from training.retraining.documents import Task
from training.retraining.guard import (
    FEWER_FAULTS,
    MORE_ALERTS,
    Extent,
    Figures,
    LiveModel,
    Refusal,
    Verdict,
    data_fault,
    has_precedent,
    is_new_normal,
    less_data,
    rescaled,
    unmarked_incident,
    worse_in,
)
from training.retraining.guard import stuck as stuck_at
from training.sources.series import DAY_MS, LabelledSeries

HOUR_MS = DAY_MS // 24

METRIC = str(load("a"))
TASK = Task("web-a", METRIC, "web", periods=672, end=UNTIL)
YESTERDAY = UNTIL - DAY_MS
LAST_DAY = slice(-36, -24)
"""Six hours of the day that the live model has not seen."""


@pytest.fixture(scope="module")
def live() -> LiveModel:
    """A model that was trained a day earlier."""
    return trained_on(daily(METRIC, until=YESTERDAY))


def trained_on(series: LabelledSeries) -> LiveModel:
    task = msgspec.structs.replace(TASK, end=int(series.times[-1]) + PERIOD_MS)
    _, _, data = train_model(PLAN, task, series, None)
    assert data is not None
    return LiveModel(*unpack(data, digest(data)))


def verdict_on(series: LabelledSeries, live: LiveModel | None, task: Task = TASK) -> Verdict:
    return train_model(PLAN, task, series, live)[0]


def incident(values: np.ndarray) -> None:
    values[LAST_DAY] += 120.0


def hourly(values: np.ndarray) -> Series:
    return Series(UNTIL - HOUR_MS * np.arange(len(values), 0, -1), values)


def noisy() -> np.ndarray:
    return 50.0 + np.random.default_rng(1).normal(0.0, 2.0, 24 * DAYS)


def test_a_model_that_is_no_worse_may_replace_the_live_one(live: LiveModel) -> None:
    verdict = verdict_on(daily(METRIC), live)
    assert verdict.publish
    assert verdict.reason.startswith("No worse than the live model: ")
    assert verdict.new
    assert verdict.live
    assert verdict.new.faults_found == pytest.approx(verdict.live.faults_found, abs=FEWER_FAULTS)


def test_the_first_model_of_a_metric_has_none_to_compare_with() -> None:
    verdict = verdict_on(daily(METRIC), None)
    assert verdict.publish
    assert (verdict.reason, verdict.live) == ("The first model of this metric", None)


def test_a_detector_without_its_history_learns_the_same_again() -> None:
    ordinary = daily(METRIC)
    detector = fit_contextual(ordinary, seed=1).detector
    again = detector.without_history().update(ordinary.series)[1]
    assert detector.without_history().last_timestamp is None
    for name, tensor in detector.stored().tensors.items():
        np.testing.assert_array_equal(tensor, again.stored().tensors[name])
    assert detector.stored().parameters == again.stored().parameters


def test_both_are_compared_at_the_same_sensitivity(live: LiveModel) -> None:
    verdict = verdict_on(daily(METRIC), live)
    assert verdict.new
    assert verdict.live
    assert verdict.new.sensitivity == verdict.live.sensitivity


# --- incidents ----------------------------------------------------------------------------------


def test_what_looks_like_an_incident_is_not_learnt(live: LiveModel) -> None:
    verdict = verdict_on(changed(daily(METRIC), incident), live)
    assert not verdict.publish
    assert "looks like an incident" in verdict.reason
    assert "mark it as real or fine" in verdict.reason
    assert verdict.reason.endswith("too old to be trained on from 2026-06-11 on")


@pytest.mark.parametrize(("readings", "is_incident"), [(1, False), (3, True)])
def test_one_reading_alone_is_no_incident_however_long_its_period(
    readings: int, is_incident: bool
) -> None:
    values = noisy()
    values[-8 : -8 + readings] += 120.0
    series = LabelledSeries("x", "x", hourly(values))
    found = unmarked_incident(series, None, UNTIL - DAY_MS, ())
    assert (found is not None) == is_incident


def test_nor_by_the_first_model_of_a_metric() -> None:
    assert "looks like an incident" in verdict_on(changed(daily(METRIC), incident), None).reason


def test_a_real_incident_is_left_out_and_the_rest_learnt(live: LiveModel) -> None:
    series = changed(daily(METRIC), incident)
    first, last = series.times[LAST_DAY][[0, -1]]
    left_out = series.leaving_out(np.array([[first, last]]))
    verdict = verdict_on(left_out, live)
    assert verdict.publish, verdict.reason
    assert verdict.new
    assert verdict.new.alerts_a_week == 0.0


def test_what_was_fine_does_not_count(live: LiveModel) -> None:
    series = changed(daily(METRIC), incident)
    values = series.values[LAST_DAY]
    fine = Mark(
        anomaly="a",
        metric=METRIC,
        start=int(series.times[LAST_DAY][0]),
        stop=int(series.times[LAST_DAY][-1]),
        lowest=float(values.min()) - 30.0,
        highest=float(values.max()),
        below=120.0,
        above=150.0,
    )
    task = msgspec.structs.replace(TASK, fine=[fine])
    verdict = verdict_on(series, live, task)
    assert verdict.publish, verdict.reason
    assert verdict.live
    assert verdict.live.alerts_a_week == 0.0


def test_an_incident_that_the_live_model_has_learnt_is_no_reason_any_more() -> None:
    def before_yesterday(values: np.ndarray) -> None:
        values[-96:-84] += 120.0

    new = changed(daily(METRIC), before_yesterday)
    known = new.series[new.times < YESTERDAY]
    assert verdict_on(new, trained_on(LabelledSeries("x", "x", known))).publish


def test_a_change_that_has_lasted_for_a_day_is_the_new_normal() -> None:
    old = trained_on(daily(METRIC, until=UNTIL - 3 * DAY_MS))

    def other_level(values: np.ndarray) -> None:
        values[-120:] += 120.0  # 2.5 days

    assert verdict_on(changed(daily(METRIC), other_level), old).publish


@pytest.mark.parametrize(
    ("hours", "is_normal"),
    [(slice(-60, None), True), (slice(-60, -36), False), (slice(-60, -50), False)],
)
def test_what_is_over_is_no_new_normal(hours: slice, is_normal: bool) -> None:
    values = noisy()
    values[hours] += 50.0
    series = hourly(values)
    assert is_new_normal(series, series.times[hours][0]) == is_normal


def test_what_was_the_same_on_an_earlier_day_has_a_precedent() -> None:
    values = noisy()
    times = hourly(values).times
    values[200:203] += 50.0
    assert not has_precedent(hourly(values), times[200], times[202])
    values[32:35] += 50.0  # a week before
    assert has_precedent(hourly(values), times[200], times[202])


def test_what_began_less_than_a_day_ago_is_no_new_normal() -> None:
    values = noisy()
    values[-20:] += 50.0
    assert not is_new_normal(hourly(values), UNTIL - 20 * HOUR_MS)


# --- data ---------------------------------------------------------------------------------------


def part_of(which: np.ndarray | slice) -> LabelledSeries:
    series = daily(METRIC)
    return replace(series, series=series.series[which])


def stuck(values: np.ndarray) -> None:
    values[-96:] = values[-96]


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (part_of(slice(0, 400)), "Too few readings: 400, and 600 are needed"),
        (part_of(slice(0, 620)), "The metric has stopped: its last reading is of 2026-05-27"),
        (changed(daily(METRIC), stuck), "The metric was stuck: every reading from 2026-05-27"),
        (
            changed(daily(METRIC), lambda values: values.fill(7.0)),
            "The metric is constant: every reading is 7",
        ),
    ],
)
def test_data_that_is_no_good_is_refused_before_anything_is_trained(
    live: LiveModel, series: LabelledSeries, reason: str
) -> None:
    verdict, kind, data = train_model(PLAN, TASK, series, live)
    assert (verdict.publish, kind, data) == (False, None, None)
    assert verdict.reason.startswith(reason)


def test_a_metric_that_was_stuck_for_half_a_day() -> None:
    values = noisy()
    values[-40:-28] = values[-40]
    fault = stuck_at(hourly(values), UNTIL - 3 * DAY_MS)
    assert fault
    assert fault.reason.startswith(
        "The metric was stuck: every reading from 2026-05-27T08:00:00Z to "
    )
    assert stuck_at(hourly(values), UNTIL - DAY_MS) is None  # the live model has seen it


def test_a_job_that_runs_once_a_week_is_not_stuck_in_between() -> None:
    values = np.zeros(14 * 24)
    values[[60, 61, 228, 229]] = 40.0
    assert stuck_at(hourly(values), UNTIL - 7 * DAY_MS) is None


def test_a_metric_that_often_stands_still_is_not_stuck() -> None:
    values = np.repeat(noisy(), 8)  # eight hours each
    assert stuck_at(hourly(values), UNTIL - 7 * DAY_MS) is None


@pytest.mark.parametrize("factor", [1000.0, 1 / 1000])
@pytest.mark.parametrize(("days", "is_refused"), [(2, True), (6, True), (12, False)])
def test_another_unit_is_refused_for_a_week(factor: float, days: int, is_refused: bool) -> None:
    values = noisy()
    values[-24 * days :] *= factor
    fault = rescaled(hourly(values))
    assert (fault is not None) == is_refused
    if fault:
        assert "has the unit changed?" in fault.reason


def test_a_metric_that_is_idle_every_other_day_has_one_unit() -> None:
    values = noisy()
    values[np.arange(len(values)) // 36 % 2 == 0] /= 1000  # a day and a half each
    assert rescaled(hourly(values)) is None


def test_less_than_a_model_that_saw_none_of_these_readings_is_no_reason(
    minutely: LiveModel,
) -> None:
    times = UNTIL + 30 * DAY_MS - 300_000 * np.arange(DAYS * 288, 0, -1)
    kept = np.random.default_rng(0).random(len(times)) < 0.8
    values = np.random.default_rng(1).normal(size=len(times))
    series = LabelledSeries("x", "x", Series(times[kept], values[kept]))
    assert data_fault(series, 300_000, UNTIL + 30 * DAY_MS, minutely) is None


@pytest.fixture(scope="module")
def minutely(live: LiveModel) -> LiveModel:
    """The same model, of which the manifest says that it was trained on readings of 5 min."""
    data = dict(live.manifest.training_data)
    data["readings"] = 6 * data["readings"]
    return LiveModel(live.detector, replace(live.manifest, training_data=data))


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        (0.5, "Less data: 50 % of the readings are there, and 100 % were for the live model"),
        (0.95, None),
    ],
)
def test_less_data_than_before(minutely: LiveModel, share: float, reason: str | None) -> None:
    times = UNTIL - 300_000 * np.arange(DAYS * 288, 0, -1)
    values = np.random.default_rng(0).normal(size=len(times))
    kept = np.linspace(0, len(times) - 1, int(share * len(times))).astype(int)
    series = LabelledSeries("x", "x", Series(times[kept], values[kept]))
    fault = data_fault(series, 300_000, UNTIL, minutely)
    assert fault == (Refusal("less data", reason) if reason else None)


def test_a_shorter_time_than_before(minutely: LiveModel) -> None:
    times = UNTIL - 300_000 * np.arange(7 * 288, 0, -1)
    series = LabelledSeries("x", "x", Series(times, np.sin(times.astype(float))))
    fault = data_fault(series, 300_000, UNTIL, minutely)
    reason = "Less data: 7 days, and the live model was trained on 14"
    assert fault == Refusal("less data", reason)
    asked = 7 * DAY_MS  # as the entry's history_days has been made smaller
    assert data_fault(series, 300_000, UNTIL, minutely, asked=asked) is None


def test_the_first_model_needs_most_of_the_readings() -> None:
    times = UNTIL - 300_000 * np.arange(DAYS * 288, 0, -2)
    series = LabelledSeries("x", "x", Series(times, np.sin(times.astype(float))))
    reason = "Too many gaps: 50 % of the readings are there"
    assert data_fault(series, 300_000, UNTIL, None) == Refusal("gaps", reason)


def test_nothing_is_trained_in_an_incident(live: LiveModel) -> None:
    series = daily(METRIC)
    fault = data_fault(series, PERIOD_MS, UNTIL, live, in_incident=True)
    assert fault
    assert fault.cause == "in incident"


# --- margins ------------------------------------------------------------------------------------

SHARES = st.one_of(st.none(), st.floats(0, 1))
ALERTS = st.floats(0, 50)


def figures(found: float | None, alerts: float) -> Figures:
    return Figures("contextual", found, alerts, None)


@given(found=SHARES, alerts=ALERTS, before=SHARES, alerts_before=ALERTS)
def test_worse_is_what_is_beyond_a_margin(
    found: float | None, alerts: float, before: float | None, alerts_before: float
) -> None:
    refusal = worse_in(figures(found, alerts), figures(before, alerts_before))
    finds_less = None not in (found, before) and found < before - FEWER_FAULTS
    assert (refusal is not None) == (finds_less or alerts > alerts_before + MORE_ALERTS)
    if finds_less:
        assert refusal.cause == "fewer faults"


@given(found=SHARES, alerts=ALERTS)
def test_no_model_is_worse_than_itself(found: float | None, alerts: float) -> None:
    assert worse_in(figures(found, alerts), figures(found, alerts)) is None


@given(
    days=st.floats(0.1, 60),
    present=st.floats(0, 1),
    fewer=st.floats(0, 1),
    shorter=st.floats(0, 1),
)
def test_less_is_never_better(days: float, present: float, fewer: float, shorter: float) -> None:
    """What is refused stays so with fewer readings, or a shorter time; as much is never refused."""
    live = Extent(4_032, 14.0, 0.9)
    if less_data(Extent(1_000, days, present), live):
        assert less_data(Extent(1_000, days * shorter, present * fewer), live)
    assert less_data(live, live) is None


# --- the benchmark, in small --------------------------------------------------------------------


def test_simulated_retrainings() -> None:
    """Of the simulated retrainings most that are worse are refused, and most others are not."""
    grounds = [
        Ground("made", daily(name, until=UNTIL + 20 * DAY_MS, days=60), DAYS) for name in "abc"
    ]
    results = [retrain(draw(grounds, number, seed=1), PLAN) for number in range(7)]
    assert {each.defect for each in results} == {None, *DEFECTS}
    worse = [each.verdict.publish for each in results if each.defect]
    better = [each.verdict.publish for each in results if not each.defect]
    assert not any(worse)
    assert all(better)
