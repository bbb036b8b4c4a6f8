"""The contextual detector: chunks, checkpoints, members against slow oracles, damage, stories."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection import members as m
from ops_anomaly.detection.contextual import ContextualDetector, bounds
from ops_anomaly.detection.periods import KEPT_DAYS, MEAN
from ops_anomaly.detection.scoring import Evaluations, evaluate
from ops_anomaly.detection.seasons import LIKE, Usual, is_weekend
from ops_anomaly.detection.state import State
from ops_anomaly.detection.thresholds import PARTS_KEPT, fit
from ops_anomaly.detection.types import (
    DAY,
    HOUR,
    MINUTE,
    CorruptArtifactError,
    Detection,
    RawTensor,
    Series,
    Stored,
)
from tests.support.series import raw

MONDAY = 1_700_438_400_000
FIVE = 5 * MINUTE
A_DAY = DAY // FIVE
OUTAGE = 14 * A_DAY + 140
"""The index at which stories begin, after two weeks, shortly before noon."""


def metric(days: float, period: int = FIVE, seed: int = 0, weekend: float = 1.0) -> Series:
    """Return daily traffic of about 100 with a noise of 4 %."""
    times = MONDAY + np.arange(int(days * DAY / period), dtype=np.int64) * period
    noise = np.random.default_rng(seed).standard_normal(len(times))
    curve = 1 - 0.6 * np.cos(2 * np.pi * (times % DAY) / DAY)
    curve *= np.where(is_weekend(times // DAY), weekend, 1.0)
    return Series(times, 100 * curve * (1 + 0.04 * noise) + 10)


def changed(series: Series, start: int, stop: int, values: float | np.ndarray) -> Series:
    """Return the series with other values from start to stop."""
    copy = series.values.copy()
    copy[start:stop] = values
    return Series(series.times, copy)


def detect(series: Series) -> Detection:
    return ContextualDetector.untrained().detect(series)


def fitted(series: Series) -> ContextualDetector:
    return ContextualDetector.untrained().update(series)[1]


def evaluations_of(series: Series) -> Evaluations:
    return evaluate(State(), series.times, series.values)


def assert_same(one: Stored, other: Stored) -> None:
    assert one.parameters == other.parameters
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, other.tensors[name], err_msg=name)


ARRAYS = [each.name for each in fields(Detection) if each.name not in {"reasons", "alerts"}]


@given(
    period=st.sampled_from([10_000, MINUTE, FIVE, HOUR]),
    seed=st.integers(0, 99),
    cuts=st.lists(st.integers(0, 500), max_size=6),
)
@settings(max_examples=25, deadline=None)
def test_in_any_chunks_it_is_the_same_to_the_bit(period: int, seed: int, cuts: list[int]) -> None:
    """With gaps, jitter and incidents."""
    rng = np.random.default_rng(seed)
    series = metric(500 * period / DAY, period, seed)
    times = series.times + rng.integers(0, period // 3, 500)
    times[rng.integers(100, 400) :] += int(rng.integers(0, 3 * DAY))
    series = changed(Series(times, series.values), 300, 320, rng.choice([0.0, 300.0]))
    whole, after = ContextualDetector.untrained().update(series)
    detector, parts = ContextualDetector.untrained(), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 500], strict=True):
        part, detector = detector.update(series[start:stop])
        parts.append(part)
    for name in ARRAYS:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    assert_same(detector.checkpoint(), after.checkpoint())


def test_so_it_is_where_a_gap_makes_a_day_of_half_a_day_of_readings() -> None:
    """Several readings share a period, and the day after is compared with the one of the first."""
    random, series = np.random.default_rng(33), metric(7.0, 20 * MINUTE, seed=33)
    is_kept = random.random(len(series)) < 0.9
    is_kept[351 : 351 + 48] = False
    series = series[is_kept]
    whole, detector, scores = detect(series), ContextualDetector.untrained(), []
    for i in range(len(series)):
        part, detector = detector.update(series[i : i + 1])
        scores += part.scores.tolist()
    np.testing.assert_array_equal(scores, whole.scores)


def test_reading_by_reading_over_weeks_it_is_the_same_to_the_bit() -> None:
    """Over blocks, seasons and a new normal."""
    series = changed(metric(20, HOUR, 3, weekend=0.5), 380, 480, 20.0)
    whole, after = ContextualDetector.untrained().update(series)
    detector, reasons, alerts = ContextualDetector.untrained(), {}, []
    for i in range(480):
        part, detector = detector.update(series[i : i + 1])
        if part.reasons:
            reasons[i] = part.reasons[0]
        alerts += [(i, alert.member) for alert in part.alerts]
    assert reasons == whole.reasons
    assert alerts == [(alert.start, alert.member) for alert in whole.alerts]
    assert_same(detector.checkpoint(), after.checkpoint())


@given(at=st.integers(1, 1_727), value=st.sampled_from([0.0, 5.0, 1e6, -1e6]))
@settings(max_examples=8, deadline=None)
def test_no_score_depends_on_later_readings(at: int, value: float) -> None:
    series = metric(6)
    one, two = detect(series), detect(changed(series, at, len(series), value))
    for name in ARRAYS:
        np.testing.assert_array_equal(
            getattr(one, name)[:at], getattr(two, name)[:at], err_msg=name
        )


@given(at=st.integers(0, 2_880))
@settings(max_examples=8, deadline=None)
def test_resumed_from_raw_tensors_it_continues_to_the_bit(at: int) -> None:
    series = changed(metric(10), 1990, 2010, 0.0)
    detector = fitted(series[:at])
    stored = detector.checkpoint()
    assert all(np.isfinite(number) for number in stored.parameters.values())
    resumed = ContextualDetector.untrained().resume(raw(stored), stored.parameters)
    restored = ContextualDetector.restore(raw(detector.stored()), stored.parameters, 1.0)
    found, after = detector.update(series[at:])
    for other in (resumed, restored):
        again, after_other = other.update(series[at:])
        np.testing.assert_array_equal(again.scores, found.scores)
        assert (again.reasons, again.alerts) == (found.reasons, found.alerts)
        assert_same(after_other.checkpoint(), after.checkpoint())


def test_nothing_changes_a_detector() -> None:
    series = metric(5)
    detector = fitted(series[:1000])
    before = detector.checkpoint()
    before = Stored({k: v.copy() for k, v in before.tensors.items()}, before.parameters)
    detector.update(series[1000:], 3.0)
    detector.predict(1e9)
    detector.with_warm_up(10)
    detector.marked(MONDAY, MONDAY + DAY, is_ordinary=False)
    assert_same(detector.checkpoint(), before)


def test_the_prediction_is_the_detection_of_the_next_reading() -> None:
    series = metric(10)
    detector = fitted(series[:2000])
    for value in (0.0, 20.0, float(series.values[2000]), 200.0, 400.0):
        following = detector.detect(changed(series, 2000, 2001, value)[2000:2001])
        assert detector.predict(value) == following.is_anomaly[0]


def test_the_state_is_bounded() -> None:
    state = fitted(metric(60, HOUR)).state
    assert len(state.counts) <= (KEPT_DAYS + 1) * 24
    assert len(state.maxima) <= PARTS_KEPT


@pytest.fixture(scope="module")
def weekends() -> Series:
    return metric(20, HOUR, 1, weekend=0.4)


def test_usual_is_the_median_of_like_days(weekends: Series) -> None:
    """Day by day, where the detector takes medians of padded arrays."""
    state = fitted(weekends).state
    periods = np.arange(state.frozen, state.frozen + 10)
    usual = Usual(state, periods).values
    for row, period in enumerate(periods.tolist()):
        for season in (1, 2, 3):
            back = LIKE[period // 24 % 7, season - 1]
            at = [period - d * 24 - state.base for d in back if period - d * 24 >= state.base]
            known = [state.values[MEAN, a] for a in at if state.is_history[a]]
            assert usual[row, season] == pytest.approx(np.median(known))


def test_like_days_are_weekdays_or_weekends_or_the_same_day() -> None:
    monday = MONDAY // DAY % 7
    assert LIKE[monday, 1].tolist() == [3, 4, 5, 6, 7, 10, 11]
    assert LIKE[monday, 2, :4].tolist() == [7, 14, 21, 28]


def test_the_threshold_of_exponential_scores_is_their_quantile() -> None:
    scores = np.random.default_rng(0).exponential(2.0, 5000)
    tail = fit(scores, 0.0, 1.0)
    threshold = tail.start + tail.mean * tail.reach(0.001)
    assert threshold == pytest.approx(2 * np.log(1000), rel=0.25)


def test_members_score_as_slow_oracles_do() -> None:
    """One-step errors on both sides, time without a change, and distance beyond the range."""
    series = changed(metric(4, seed=4), 700, 712, 77.0)
    found = evaluations_of(series)
    values = series.values
    last_change = 0
    for i in range(1, len(values)):
        if values[i] != values[i - 1]:
            last_change = i
        assert np.expm1(found.scores[i, m.STUCK]) == pytest.approx(i - last_change, abs=1e-9)
        error = (values[i] - found.forecast[i]) / found.scale[i]
        assert found.scores[i, [m.RISE, m.FALL]] == pytest.approx([error, -error], abs=1e-9)
        above = values[i] - found.highest[i], found.lowest[i] - values[i]
        assert found.scores[i, [m.NEW_HIGH, m.NEW_LOW]] == pytest.approx(above, abs=1e-9)


@pytest.mark.parametrize(("high", "hours"), [(m.HOUR_HIGH, 1), (m.SIX_HIGH, 6)])
def test_means_score_as_a_slow_oracle_does(high: int, hours: int) -> None:
    """The deviation from usual and from the last two days, exponentially weighted."""
    series = metric(2, seed=6)
    found = evaluations_of(series)
    assert (found.season == 0).all()
    assert not (found.best >= 1).any()
    weight = 1 - np.exp(-FIVE / (hours * HOUR))
    mean = found.scores[400, high]
    for i in range(401, 420):
        mean += weight * (series.values[i] - found.usual[i] - found.slow[i] - mean)
        if found.usual[i] != found.usual[i - 1]:
            mean = found.scores[i, high]  # the median was renewed
        assert found.scores[i, [high, high + 1]] == pytest.approx([mean, -mean], abs=1e-9)


def test_the_score_for_the_time_is_the_distance_to_like_days() -> None:
    series = metric(8, HOUR, 2)
    found = evaluations_of(series)
    at = len(series) - 1
    near = [at - 24 * d + s for d in range(1, 8) for s in (-1, 0, 1)]
    near = [i for i in near if found.best[i] < 1.0]
    value = series.values[at] - found.slow[at]
    high = max(series.values[near].max(), found.usual[at])
    assert found.scores[at, m.TIME_HIGH] == pytest.approx(value - high)


def test_alerts_by_value_leave_the_bounds() -> None:
    series = metric(20, seed=5)
    for start, value in ((4100, 0.0), (4500, 400.0), (5000, 60.0)):
        series = changed(series, start, start + 20, value)
    found = evaluations_of(series)
    lower, upper = bounds(series.values, found)
    by_value = np.isin(found.members, m.VALUE)
    assert by_value.sum() > 20
    values = series.values[by_value]
    assert ((values < lower[by_value]) | (values > upper[by_value])).all()
    assert not (upper <= lower).any()


def test_bounds_of_a_metric_that_is_never_negative_are_not_either() -> None:
    series = metric(5)
    series = Series(series.times, np.maximum(series.values - 60, 0.0))
    lower = detect(series).lower
    assert (lower[np.isfinite(lower)] >= 0).all()


@pytest.mark.parametrize("minutes", [15, 30, 60, 240])
def test_an_outage_is_one_alert_and_over_when_it_is_over(minutes: int) -> None:
    stop = OUTAGE + minutes // 5
    detection = detect(changed(metric(16), OUTAGE, stop, 0.5))
    [alert] = [each for each in detection.alerts if each.start >= OUTAGE]
    assert alert.start - OUTAGE <= 1
    assert not detection.is_anomaly[stop + 6 :].any()


@pytest.mark.parametrize("days", [1, 3, 6])
def test_the_same_outage_is_found_again(days: int) -> None:
    again = OUTAGE + days * A_DAY
    series = changed(metric(22), OUTAGE, OUTAGE + 12, 0.5)
    starts = {alert.start for alert in detect(changed(series, again, again + 12, 0.5)).alerts}
    assert {OUTAGE, again} <= starts


def test_a_new_level_is_one_alert_and_then_normal() -> None:
    later = OUTAGE + 7 * A_DAY
    series = metric(24)
    series = changed(series, OUTAGE, len(series), series.values[OUTAGE:] + 150)
    series = changed(series, later, later + 12, 0.0)
    starts = [alert.start for alert in detect(series).alerts if alert.start >= OUTAGE]
    assert starts[:2] == [OUTAGE, later]


def test_what_is_stuck_is_named() -> None:
    series = metric(15)
    detection = detect(changed(series, 4100, 4180, series.values[4099]))
    assert any("stuck at" in reason for reason in detection.reasons.values())
    assert "stuck" in {alert.member for alert in detection.alerts}
    assert not detection.is_anomaly[4186:].any()


@pytest.mark.parametrize("size", [0.0, 1e-16])
def test_a_constant_raises_no_alert(size: float) -> None:
    noise = np.random.default_rng(0).standard_normal(4000) * size
    assert not detect(Series(metric(14).times[:4000], 0.1 + noise)).alerts


def test_two_dozen_readings_are_enough_for_a_gross_deviation() -> None:
    noise = np.random.default_rng(1).standard_normal(23)
    detection = detect(Series(metric(1, HOUR).times, np.r_[50 + noise, 70.0]))
    assert detection.is_anomaly.tolist() == [False] * 23 + [True]
    assert not detection.can_evaluate[:12].any()
    assert detection.can_evaluate[-1]


def test_nothing_to_evaluate_is_an_empty_detection() -> None:
    detection, after = fitted(metric(2)).update(metric(0))
    assert all(len(getattr(detection, name)) == 0 for name in ARRAYS)
    assert_same(after.checkpoint(), fitted(metric(2)).checkpoint())


def test_a_larger_deviation_is_more_severe() -> None:
    def severity(value: float) -> float:
        values = np.zeros(4000)
        values[[1000, 2000]] = 1.0
        values[-1] = value
        return float(detect(Series(metric(14).times[:4000], values)).severity[-1])

    assert severity(1.0) < severity(500.0)


def test_a_higher_sensitivity_lowers_every_threshold() -> None:
    series = metric(8, seed=2)
    low, high = (
        ContextualDetector.untrained().update(series, sensitivity)[1].state.thresholds
        for sensitivity in (0.1, 10.0)
    )
    known = np.isfinite(low)
    assert known.sum() >= 12
    assert (high[known] <= low[known]).all()
    assert (high[known] < low[known]).any()


def test_a_warm_up_raises_no_alert_but_for_an_incident_that_outlasts_it() -> None:
    series = changed(metric(15), 4100, 4120, 0.0)
    detector = fitted(series[:4100])
    assert not detector.with_warm_up(20).detect(series[4100:]).alerts
    [alert] = detector.with_warm_up(5).detect(series[4100:4120]).alerts
    assert alert.start == 5


def test_feedback_makes_an_incident_ordinary() -> None:
    series = changed(metric(15), OUTAGE, OUTAGE + 6, 0.5)
    detector = fitted(series)
    span = int(series.times[OUTAGE]), int(series.times[OUTAGE + 5])
    part = slice(OUTAGE, OUTAGE + 6)
    assert not detector.state.is_history[part].any()
    assert detector.marked(*span, is_ordinary=True).state.is_history[part].all()
    assert not detector.marked(*span, is_ordinary=False).state.is_history[part].any()


STORED = fitted(changed(metric(4), 1100, 1152, 0.0)).stored()
DAMAGE = st.sampled_from(
    [0.0, -1.0, 0.5, 3.0, 1e9, -1e9, 1e300, -1e300, float(2**53), np.inf, -np.inf, np.nan]
)


def is_refused_or_harmless(tensors: dict[str, RawTensor], parameters: dict[str, float]) -> bool:
    """Return whether it is refused, or scores what follows without an error of Python's."""
    try:
        detector = ContextualDetector.restore(tensors, parameters, 1.0)
    except CorruptArtifactError:
        return True
    following = metric(5)[1152:]
    with np.errstate(all="ignore"):
        detection, after = detector.update(following)
        detector.predict(100.0)
        after.stored()
    return len(detection.scores) == len(following)


@given(name=st.sampled_from(sorted(STORED.parameters)), number=DAMAGE)
@settings(max_examples=120, deadline=None)
def test_any_changed_parameter_is_refused_or_harmless(name: str, number: float) -> None:
    assert is_refused_or_harmless(raw(STORED), STORED.parameters | {name: number})


@given(data=st.data(), number=DAMAGE)
@settings(max_examples=80, deadline=None)
def test_any_changed_number_of_a_tensor_is_refused_or_harmless(data, number: float) -> None:
    name = data.draw(st.sampled_from(sorted(STORED.tensors)))
    tensor = STORED.tensors[name].copy()
    at = data.draw(st.integers(0, tensor.size - 1))
    is_whole = tensor.dtype == np.uint8
    tensor.flat[at] = 1 - tensor.flat[at] if is_whole else number
    tensors = raw(Stored(STORED.tensors | {name: tensor}, {}))
    assert is_refused_or_harmless(tensors, STORED.parameters)


@pytest.mark.parametrize("name", sorted(STORED.tensors))
def test_a_missing_tensor_is_refused(name: str) -> None:
    tensors = raw(STORED)
    without = {other: tensor for other, tensor in tensors.items() if other != name}
    with pytest.raises(CorruptArtifactError):
        ContextualDetector.restore(without, STORED.parameters, 1.0)


@pytest.mark.parametrize("name", sorted(STORED.parameters))
def test_a_missing_parameter_is_refused(name: str) -> None:
    parameters = {other: n for other, n in STORED.parameters.items() if other != name}
    with pytest.raises(CorruptArtifactError):
        ContextualDetector.restore(raw(STORED), parameters, 1.0)
