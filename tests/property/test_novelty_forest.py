"""The novelty forest: nothing later counts, chunks don't matter, the stored form is complete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.detection.nab_alerts import alert_scores
from ops_anomaly.detection import history, subsequences
from ops_anomaly.detection.history import History
from ops_anomaly.detection.novelty_forest import (
    SKIPPED,
    NoveltyForest,
    components,
    extend,
    scores_of,
)
from ops_anomaly.detection.tails import Tail
from ops_anomaly.detection.types import (
    FLOAT32_MAX,
    CorruptArtifactError,
    Series,
    Stored,
    ValueOutOfRangeError,
)
from tests.support.series import FIVE_MINUTES, raw, series_of
from training.candidates.contextual import fit_contextual
from training.sources import simulate_ec2_cpu
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.contextual import ContextualDetector

UNTRAINED = NoveltyForest.untrained()


@pytest.fixture(scope="module")
def trained(simulated: LabelledSeries) -> NoveltyForest:
    return cast(
        "ContextualDetector", fit_contextual(simulated.part(0, 700), seed=1).detector
    ).novelty


def after(model: NoveltyForest, series: Series) -> Series:
    """Return the series with times that follow a model's history."""
    return Series(series.times - series.times[:1] + model.history.next_time, series.values)


def daily(seed: int, length: int) -> Series:
    """Return readings with a daily season, gaps, jitter, plateaus and spikes."""
    random = np.random.default_rng(seed)
    times = 1_767_225_600_000 + np.cumsum(FIVE_MINUTES * random.choice([1, 1, 1, 1, 7], length))
    season = np.sin(times / 86_400_000 * 2 * np.pi)
    spikes = random.choice([0.0, 5.0], length, p=[0.98, 0.02])
    return Series(times, (season + random.normal(0, 0.2, length) + spikes).round(1))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 419), st.sampled_from([0.0, 1e6, -3.0]))
def test_later_readings_never_change_a_score(
    trained: NoveltyForest, seed: int, cut: int, later: float
) -> None:
    for model in (trained, UNTRAINED):
        series = after(model, daily(seed, 420))
        other = replace(series, values=np.where(np.arange(420) < cut, series.values, later))
        scores, others = model.score_samples(series), model.score_samples(other)
        np.testing.assert_array_equal(scores[:cut], others[:cut])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sets(st.integers(1, 299), max_size=6))
def test_in_chunks_it_scores_as_in_one_piece(
    trained: NoveltyForest, seed: int, cuts: set[int]
) -> None:
    for whole in (trained, UNTRAINED):
        series, model = after(whole, daily(seed, 300)), whole
        scores = []
        for begin, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 300], strict=True):
            part, model = model.update(series[begin:stop])
            scores.append(part)
        np.testing.assert_array_equal(np.concatenate(scores), whole.score_samples(series))
        assert_same_state(model, whole.update(series)[1])


def assert_same_state(one: NoveltyForest, other: NoveltyForest) -> None:
    assert one.checkpoint().parameters == other.checkpoint().parameters
    for name, array in one.checkpoint().tensors.items():
        np.testing.assert_array_equal(array, other.checkpoint().tensors[name], err_msg=name)


@pytest.mark.parametrize("is_trained", [True, False])
def test_reading_by_reading_it_scores_as_in_one_piece_beyond_its_history(
    trained: NoveltyForest, monkeypatch: pytest.MonkeyPatch, is_trained: bool
) -> None:
    monkeypatch.setattr(history, "MAX_HISTORY", 256)
    monkeypatch.setattr(subsequences, "MAX_LAG", 200)
    model = NoveltyForest.untrained(trained.forest if is_trained else None)
    series, scores = daily(5, 600), []
    whole = model.score_samples(series)
    for t in range(600):
        score, model = model.update(series[t : t + 1])
        scores.append(score[0])
    np.testing.assert_array_equal(scores, whole)
    assert len(model.history.times) < 256 + 128


def test_distances_are_calibrated_on_those_before_their_block(simulated: LabelledSeries) -> None:
    extended, surprisals = extend(History.empty(), simulated.series[:700], None)
    got = components(surprisals)
    for t in (256, 300, 383, 384, 699):
        begin = t - t % 128
        for column in range(3):
            tail = Tail.of(extended.distances[SKIPPED:begin, column])
            surprisal = tail.surprisal(extended.distances[t : t + 1, column])[0]
            assert got[t, column] == max(surprisal - 2.0, 0.0)
    assert not got[:256].any(), "fewer than 30 distances calibrate nothing"
    assert not got[:, 3].any(), "without an isolation forest it adds nothing"


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_a_stored_calibration_changes_no_score(
    trained: NoveltyForest, seed: int, length: int
) -> None:
    for begun in (trained, UNTRAINED):
        series = after(begun, daily(seed, 320))
        model = begun.update(series[:length])[1]
        without = replace(model, history=model.history.calibrated(None))
        assert model.history.calibration is not None
        for stop in (length + 1, 320):
            rest = series[length:stop]
            np.testing.assert_array_equal(model.score_samples(rest), without.score_samples(rest))


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.5e38])
def test_values_that_are_not_finite_in_float32_are_refused(value: float) -> None:
    with pytest.raises(ValueOutOfRangeError):
        UNTRAINED.score_next(value)
    with pytest.raises(ValueOutOfRangeError):
        UNTRAINED.update(series_of(np.array([value])))


@settings(max_examples=20)
@given(st.lists(st.floats(-FLOAT32_MAX, FLOAT32_MAX), min_size=1, max_size=150))
def test_any_values_have_finite_scores(values: list[float]) -> None:
    scores = UNTRAINED.score_samples(series_of(np.array(values)))
    assert np.isfinite(scores).all()
    assert (scores >= 0.0).all()


def test_no_readings_have_no_scores(trained: NoveltyForest) -> None:
    none = series_of(np.empty(0))
    scores, model = trained.update(none)
    assert len(scores) == 0
    assert_same_state(model, trained)


def some_values(kind: str, times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    noise = random.normal(0, 1, len(times))
    return {
        "seasonal": (np.sin(times / 13_750_000) + 0.2 * noise).round(1),
        "constant": np.full(len(times), 0.1),
        "quantised": random.choice([0.132, 0.134], len(times)),
        "wide": np.exp(60 * noise).clip(0, 3e38) - 1e30,
    }[kind]


@settings(max_examples=60)
@given(
    st.sampled_from(["seasonal", "constant", "quantised", "wide"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 23, 46, 47, 48, 63, 64, 100, 127, 128, 300]),
    st.lists(st.floats(-FLOAT32_MAX, FLOAT32_MAX) | st.floats(-3, 3), max_size=5),
    st.booleans(),
)
def test_score_next_is_the_score_of_the_next_reading(
    trained: NoveltyForest,
    kind: str,
    seed: int,
    length: int,
    values: list[float],
    is_trained: bool,
) -> None:
    random, begun = np.random.default_rng(seed), trained if is_trained else UNTRAINED
    times = np.cumsum(FIVE_MINUTES * random.choice([1, 1, 1, 7], length))
    series = after(begun, Series(times, some_values(kind, times, random)))
    model = begun.update(series)[1]
    following = np.array([model.history.next_time])
    for value in [*series.values[-3:], *series.values[:1], *values, 0.5, 95.0]:
        expected = model.score_samples(Series(following, np.array([value])))
        assert model.score_next(float(value)) == expected[0]


def test_the_next_reading_is_due_one_usual_step_after_the_last() -> None:
    model = UNTRAINED.update(Series(np.array([0, 100, 200, 900]), np.zeros(4)))[1]
    assert model.history.next_time == 1_000
    assert UNTRAINED.history.next_time == 0


def test_a_value_is_new_only_once(trained: NoveltyForest) -> None:
    assert trained.score_next(95.0) > 10 * trained.score_next(0.13)
    moved = trained.update(after(trained, series_of(np.full(5, 95.0))))[1]
    assert moved.score_next(95.0) < trained.score_next(95.0)


def test_a_subsequence_that_still_holds_an_incident_does_not_count() -> None:
    found = np.array([[0.0, 0.5, 9.0, 1.0], [3.0, 3.0, 4.0, 0.0]])
    assert scores_of(found).tolist() == [0.5, 10.0]


def test_it_is_restored_as_it_was_stored(trained: NoveltyForest) -> None:
    for model in (trained, UNTRAINED):
        stored = model.stored()
        restored = NoveltyForest.restore(raw(stored), stored.parameters)
        series = after(model, simulate_ec2_cpu(3).series[:200])
        scores, others = model.score_samples(series), restored.score_samples(series)
        np.testing.assert_array_equal(scores, others)
        assert_same_state(restored, model)


def test_it_resumes_from_a_checkpoint(trained: NoveltyForest) -> None:
    series = after(trained, daily(1, 300))
    moved = trained.update(series[:200])[1]
    resumed = trained.resume(raw(moved.checkpoint()), moved.checkpoint().parameters)
    np.testing.assert_array_equal(
        resumed.score_samples(series[200:]), moved.score_samples(series[200:])
    )


def test_what_is_cached_for_the_next_score_is_not_stored(trained: NoveltyForest) -> None:
    fresh = replace(trained)
    fresh.score_next(0.13)
    assert_same_state(fresh, trained)
    assert fresh.stored().tensors.keys() == trained.stored().tensors.keys()


def test_the_stored_form_is_smaller_than_a_megabyte(trained: NoveltyForest) -> None:
    values = np.concatenate([simulate_ec2_cpu(seed).values for seed in range(3)])
    grown = trained.update(after(trained, series_of(values)))[1]
    assert grown.history.dropped > 0
    assert sum(array.nbytes for array in grown.stored().tensors.values()) < 1_000_000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("times", lambda a: a[::-1]),
        ("values", lambda a: a[1:]),
        ("values", lambda a: a * np.nan),
        ("values", lambda a: a * 1e300),
        ("times", lambda a: a * 2**20),
        ("isolation", lambda a: a + 1),
        ("distances", lambda a: a[:, :2]),
        ("isolation", lambda a: a[:, np.newaxis]),
    ],
)
def test_tensors_that_do_not_fit_are_refused(trained: NoveltyForest, name: str, change) -> None:
    tensors, parameters = trained.stored()
    tensors = tensors | {name: np.ascontiguousarray(change(tensors[name]))}
    with pytest.raises(CorruptArtifactError):
        NoveltyForest.restore(raw(Stored(tensors, parameters)), parameters)


@pytest.mark.parametrize(
    ("parameter", "number"),
    [
        ("dropped", 0.5),
        ("dropped", -1),
        ("dropped", 100),
        ("dropped", 1e19),
        ("first_seasonal", -2),
        ("expected_path", 0),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    trained: NoveltyForest, parameter: str, number: float
) -> None:
    stored = trained.stored()
    with pytest.raises(CorruptArtifactError):
        NoveltyForest.restore(raw(stored), stored.parameters | {parameter: number})


def test_nab_alerts_on_the_simulated_incidents(simulated: LabelledSeries) -> None:
    raised = simulated.times[alert_scores(simulated.series, 600, None) > 0.0]
    found = [((raised >= first) & (raised <= last)).any() for first, last in simulated.windows]
    assert sum(found[1:]) >= 2
    assert len(raised) < 20
