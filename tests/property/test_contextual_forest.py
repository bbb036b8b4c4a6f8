"""The contextual forest: no look-ahead, no dependence on chunks, whole again from an artifact."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection.contextual_forest import (
    SETTLING,
    ContextualForest,
    contributions,
    extend,
)
from ops_anomaly.detection.history import Past
from ops_anomaly.detection.tails import Tail
from ops_anomaly.detection.types import FLOAT32_MAX, ValueOutOfRangeError
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources.series import Series

STEP = np.timedelta64(300_000, "ms")


@pytest.fixture(scope="module")
def trained(simulated: Series) -> ContextualForest:
    candidate = fit_contextual_forest(simulated.part(0, 700), seed=1)
    return cast("ContextualForest", candidate.detector)


def readings(seed: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Readings of a daily rhythm with gaps, jitter, plateaus and spikes."""
    random = np.random.default_rng(seed)
    steps = STEP * random.choice([1, 1, 1, 1, 7], length)
    times = np.datetime64("2026-01-01", "ms") + np.cumsum(steps)
    rhythm = np.sin(times.astype(int) / 86_400_000 * 2 * np.pi)
    spikes = random.choice([0.0, 5.0], length, p=[0.98, 0.02])
    return times, (rhythm + random.normal(0, 0.2, length) + spikes).round(1)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.data())
def test_the_future_never_changes_a_past_score(
    trained: ContextualForest, seed: int, data: st.DataObject
) -> None:
    times, values = readings(seed, 420)
    times = times - times[0] + trained.until + STEP
    cut = data.draw(st.integers(1, 419))
    other = values.copy()
    other[cut:] = data.draw(st.sampled_from([0.0, 1e6, -3.0]))
    for detector in (trained, ContextualForest.untrained()):
        one, two = detector.detect(times, values), detector.detect(times, other)
        np.testing.assert_array_equal(one.scores[:cut], two.scores[:cut])
        np.testing.assert_array_equal(one.is_anomaly[:cut], two.is_anomaly[:cut])
        assert [a.start for a in one.alerts if a.start < cut] == [
            a.start for a in two.alerts if a.start < cut
        ]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.data())
def test_in_chunks_it_judges_as_in_one(
    trained: ContextualForest, seed: int, data: st.DataObject
) -> None:
    times, values = readings(seed, 300)
    times = times - times[0] + trained.until + STEP
    cuts = sorted(data.draw(st.sets(st.integers(1, 299), max_size=6)))
    for judge in (trained, ContextualForest.untrained()):
        whole = judge.detect(times, values)
        detector, parts = judge, []
        for begin, stop in zip([0, *cuts], [*cuts, 300], strict=True):
            parts.append((begin, detector.detect(times[begin:stop], values[begin:stop])))
            detector = detector.advance(times[begin:stop], values[begin:stop])
        for name in ("scores", "bar", "is_anomaly", "expected", "lower", "upper"):
            joined = np.concatenate([getattr(part, name) for _, part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
        starts = [begin + alert.start for begin, part in parts for alert in part.alerts]
        assert starts == [alert.start for alert in whole.alerts]
        reasons = {begin + at: why for begin, part in parts for at, why in part.reasons.items()}
        assert reasons == whole.reasons


def test_point_by_point_it_judges_as_in_one_beyond_its_history(monkeypatch) -> None:
    monkeypatch.setattr("ops_anomaly.detection.history.HISTORY", 512)
    monkeypatch.setattr("ops_anomaly.detection.contextual_forest.HISTORY", 512)
    for module in ("nearest", "runs", "run_search"):
        monkeypatch.setattr(f"detector.{module}.LAGS", 300)
    times, values = readings(5, 900)
    detector = ContextualForest.untrained()
    whole = detector.detect(times, values)
    scores = []
    for t in range(900):
        scores.append(detector.detect(times[t : t + 1], values[t : t + 1]).scores[0])
        detector = detector.advance(times[t : t + 1], values[t : t + 1])
    np.testing.assert_array_equal(scores, whole.scores)
    assert len(detector.past.times) < 512 + 128


def test_reading_by_reading_a_trained_model_judges_as_in_one(
    trained: ContextualForest, simulated: Series
) -> None:
    times, values = simulated.times[700:1000], simulated.values[700:1000]
    whole, detector, scores, starts = trained.detect(times, values), trained, [], []
    for at in range(len(values)):
        now = slice(at, at + 1)
        part = detector.detect(times[now], values[now])
        scores.append(part.scores[0])
        starts += [at] * len(part.alerts)
        detector = detector.advance(times[now], values[now])
    np.testing.assert_array_equal(scores, whole.scores)
    assert starts == [alert.start for alert in whole.alerts]


def test_each_column_is_calibrated_on_what_came_before_its_block(simulated: Series) -> None:
    times = simulated.times[:700]
    context = extend(Past.nothing(), times, simulated.values[:700], None)
    got = contributions(context)
    for t in (64, 127, 128, 300, 699):
        begin = t - t % 128 if t >= 128 else 64
        for column in range(4):
            known = context.past.distances[30:begin, column]
            plain = Tail.of(known).surprise(context.past.distances[t : t + 1, column])[0]
            assert got[t, column] == max(plain - 2.0, 0.0)
    assert not got[:64].any(), "fewer than 30 distances calibrate nothing"
    assert not got[:, 4].any(), "without a forest it adds nothing"


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.data())
def test_what_a_past_carries_along_changes_nothing(
    trained: ContextualForest, seed: int, length: int, data: st.DataObject
) -> None:
    times, values = readings(seed, 320)
    times = times - times[0] + trained.until + STEP
    for begun in (trained, ContextualForest.untrained()):
        carrying = begun.advance(times[:length], values[:length])
        past = carrying.past.last(data.draw(st.sampled_from([128, 400, 10_000])))
        without = replace(carrying, past=replace(past))
        assert without.past.calibration is None
        for end in (length + 1, 320):
            one = replace(carrying, past=past).detect(times[length:end], values[length:end])
            two = without.detect(times[length:end], values[length:end])
            for name in ("scores", "bar", "expected", "lower", "upper"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
            assert one.reasons == two.reasons


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.5e38])
def test_what_is_no_reading_is_refused(trained: ContextualForest, value: float) -> None:
    with pytest.raises(ValueOutOfRangeError):
        trained.predict(value)


@settings(max_examples=20)
@given(st.lists(st.floats(-FLOAT32_MAX, FLOAT32_MAX), min_size=1, max_size=150))
def test_any_values_have_finite_scores(values: list[float]) -> None:
    times = np.datetime64("2026-01-01", "ms") + STEP * np.arange(len(values))
    detection = ContextualForest.untrained().detect(times, np.array(values))
    assert np.isfinite(detection.scores).all()
    assert ((detection.severity >= 0) & (detection.severity <= 1)).all()


def test_nothing_to_judge_is_no_fault(trained: ContextualForest) -> None:
    none = np.empty(0, "datetime64[ms]")
    assert trained.detect(none, np.empty(0)).alerts == []
    assert trained.advance(none, np.empty(0)) is trained


def test_a_series_without_a_model_learns_before_it_alerts(simulated: Series) -> None:
    times, values = simulated.times, simulated.values
    detector = ContextualForest.untrained(probation=600)
    detection = detector.detect(times, values)
    assert not detection.is_anomaly[:600].any()
    begun = times[[alert.start for alert in detection.alerts]]
    found = [((begun >= first) & (begun <= last)).any() for first, last in simulated.windows[1:]]
    assert sum(found) >= 2


def test_the_first_deviations_from_a_season_raise_no_alert() -> None:
    values = np.tile([0.1, 0.1, 0.2, 0.1], 90)
    values[288:] = np.roll(values[288:], 1)  # the second day runs a reading late
    times = np.datetime64("2026-01-01", "ms") + STEP * np.arange(360)
    flags = ContextualForest.untrained(probation=54).detect(times, values).is_anomaly
    assert not flags[288 - 2 : 288 - 2 + SETTLING].any()


def test_what_was_never_seen_raises_an_alert_even_as_the_season_settles() -> None:
    values = np.tile([0.1, 0.1, 0.2, 0.1], 90)
    values[300] = 5.0
    times = np.datetime64("2026-01-01", "ms") + STEP * np.arange(360)
    alerts = ContextualForest.untrained(probation=54).detect(times, values).alerts
    assert [alert.start for alert in alerts] == [300]


def test_a_lower_sensitivity_raises_fewer_alerts(simulated: Series) -> None:
    detector = replace(ContextualForest.untrained(), probation=600)
    counts = [
        len(
            detector.detect(
                simulated.times, simulated.values, detector.threshold_for(per_week, 2016)
            ).alerts
        )
        for per_week in (1.5, 0.5, 0.1)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
