"""The numpy forward pass equals Keras; its scores never look ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.lstm_autoencoder import (
    LstmAutoencoder,
    LstmWeights,
    hide_last,
    predict_last,
    reconstruct,
)
from ops_anomaly.detection.types import CorruptArtifactError, ValueOutOfRangeError
from tests.support.series import raw, series_of
from training.candidates import Candidate
from training.candidates.lstm_autoencoder import build_network, export_weights
from training.run import Run

# Keras copies arrays in a way that NumPy 2 warns of
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WINDOW, UNITS = 30, 32


def candidate_of(run: Run) -> Candidate:
    return next(
        each.candidate for each in run.evaluations if each.candidate.kind == "lstm-autoencoder"
    )


@pytest.fixture(scope="module")
def lstm(run: Run) -> LstmAutoencoder:
    return cast("LstmAutoencoder", candidate_of(run).detector)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (np.tanh(x / 2) + 1) / 2


def written_plainly(weights: LstmWeights, windows: np.ndarray) -> np.ndarray:
    """Write windows back by the LSTM's equations as they are printed, gate by gate."""

    def step(inputs, kernel, recurrent, bias, hidden, cell):
        i, f, g, o = np.split(inputs @ kernel + hidden @ recurrent + bias, 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(cell), cell

    encoder = weights.encoder_kernel, weights.encoder_recurrent, weights.encoder_bias
    decoder = weights.decoder_kernel, weights.decoder_recurrent, weights.decoder_bias
    hidden = cell = np.zeros((len(windows), len(weights.dense_kernel)), np.float32)
    for reading in windows.T:
        hidden, cell = step(reading[:, np.newaxis], *encoder, hidden, cell)
    encoding, written = hidden, []
    hidden = cell = np.zeros_like(encoding)
    for _ in windows.T:
        hidden, cell = step(encoding, *decoder, hidden, cell)
        written.append(hidden @ weights.dense_kernel + weights.dense_bias)
    return np.hstack(written)


def drawn_weights(random: np.random.Generator, units: int) -> LstmWeights:
    gates = 4 * units
    shapes = [(1, gates), (units, gates), (gates,), (units, gates), (units, gates), (gates,)]
    return LstmWeights(
        *(random.normal(0, 0.3, shape).astype(np.float32) for shape in [*shapes, (units, 1), (1,)])
    )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 1.0, 10.0, 1e6]),
    count=st.integers(1, 40),
    length=st.integers(2, 40),
    units=st.integers(1, 40),
)
def test_it_equals_the_plain_equations(
    seed: int, spread: float, count: int, length: int, units: int
) -> None:
    random = np.random.default_rng(seed)
    weights = drawn_weights(random, units)
    windows = random.normal(0, spread, (count, length)).astype(np.float32)
    expected = written_plainly(weights, windows)
    np.testing.assert_allclose(reconstruct(weights, windows), expected, rtol=1e-5, atol=1e-5)


def test_of_a_long_series_each_last_reading_is_predicted_as_of_its_window() -> None:
    random = np.random.default_rng(0)
    weights, scaled = drawn_weights(random, UNITS), random.normal(size=2_000)
    windows = np.lib.stride_tricks.sliding_window_view(scaled.astype(np.float32), WINDOW)
    expected = written_plainly(weights, hide_last(windows))[:, -1]
    np.testing.assert_allclose(
        predict_last(weights, scaled, WINDOW), expected, rtol=1e-5, atol=1e-5
    )


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 10.0]))
def test_it_equals_keras(seed: int, spread: float) -> None:
    network = build_network(WINDOW, UNITS)
    random = np.random.default_rng(seed)
    weights = [random.normal(0, 0.3, each.shape) for each in network.get_weights()]
    network.set_weights(weights)
    windows = random.normal(0, spread, (8, WINDOW)).astype(np.float32)
    written = reconstruct(export_weights(network), windows)
    expected = network.predict(windows[..., np.newaxis], verbose=0)[..., 0]
    np.testing.assert_allclose(written, expected, rtol=1e-4, atol=1e-4)


def test_the_trained_network_equals_keras(run: Run, tmp_path) -> None:
    import keras

    candidate = candidate_of(run)
    candidate.save_estimator(tmp_path)
    network = keras.models.load_model(tmp_path / "lstm-autoencoder.keras")
    windows = np.lib.stride_tricks.sliding_window_view(
        run.series.values.astype(np.float32)[:600], WINDOW
    )
    seen = hide_last(windows)
    written = reconstruct(cast("LstmAutoencoder", candidate.detector).weights, seen)
    expected = network.predict(seen[..., np.newaxis], verbose=0)[..., 0]
    np.testing.assert_allclose(written, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=15)
@given(st.data())
def test_later_readings_never_change_an_earlier_score(
    lstm: LstmAutoencoder, data: st.DataObject
) -> None:
    values = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=2, max_size=80)))
    cut = data.draw(st.integers(1, len(values) - 1))
    other = values.copy()
    other[cut:] = data.draw(st.floats(-1e30, 1e30))
    before = lstm.score_samples(series_of(values))[:cut]
    np.testing.assert_allclose(lstm.score_samples(series_of(other))[:cut], before, rtol=1e-5)


@settings(max_examples=15)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=80), st.data())
def test_in_chunks_it_scores_as_in_one(
    lstm: LstmAutoencoder, values: list[float], data: st.DataObject
) -> None:
    series = np.array(values)
    cut = data.draw(st.integers(1, len(series) - 1))
    later = lstm.update(series_of(series[:cut]))[1]
    chunks = [
        lstm.score_samples(series_of(series[:cut])),
        later.score_samples(series_of(series[cut:])),
    ]
    whole = lstm.score_samples(series_of(series))
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=1e-4, atol=1e-5)


@given(st.floats(-3.4e38, 3.4e38))
def test_any_value_has_a_finite_score(lstm: LstmAutoencoder, value: float) -> None:
    score = lstm.score_samples(series_of(np.array([value])))
    assert np.isfinite(score).all()
    assert lstm.predict(value) == (score[0] > lstm.threshold)


@settings(max_examples=30)
@given(st.floats(-3, 3), st.lists(st.floats(-3, 3), max_size=40))
def test_at_the_threshold_it_decides_by_the_score(
    lstm: LstmAutoencoder, value: float, readings: list[float]
) -> None:
    """Each example asks one model twice, after a history of its own."""
    assert lstm.predict(value) == (
        lstm.score_samples(series_of(np.array([value])))[0] > lstm.threshold
    )
    later = lstm.update(series_of(np.array(readings)))[1]
    score = later.score_samples(series_of(np.array([value])))[0]
    assert not replace(later, threshold=score).predict(value)
    strict = replace(later, threshold=np.nextafter(score, -np.inf))
    assert [strict.predict(value), strict.predict(value)] == [True, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.5e38, -3.5e38])
def test_a_value_out_of_range_is_refused(lstm: LstmAutoencoder, value: float) -> None:
    with pytest.raises(ValueOutOfRangeError):
        lstm.predict(value)


def test_it_comes_back_from_the_artifact_as_it_was(run: Run) -> None:
    data = run.artifacts["lstm-autoencoder"]
    restored, _ = unpack(data, digest(data))
    lstm = candidate_of(run).detector
    advanced = lstm.update(run.test_part.series)[1]
    values = np.linspace(-1, 3, 50)
    np.testing.assert_array_equal(
        restored.score_samples(series_of(values)), advanced.score_samples(series_of(values))
    )


@pytest.mark.parametrize("name", ["encoder_recurrent", "dense_kernel", "history", "calibration"])
def test_tensors_that_do_not_fit_are_refused(lstm: LstmAutoencoder, name: str) -> None:
    stored = lstm.stored()
    tensors, parameters = raw(stored), stored.parameters
    restored = LstmAutoencoder.restore(tensors, parameters, lstm.threshold)
    assert restored.predict(95.0) == lstm.predict(95.0)
    for broken in (
        {key: tensor for key, tensor in tensors.items() if key != name},
        tensors | {name: replace(tensors[name], dtype="I32")},
        tensors | {name: replace(tensors[name], shape=(*tensors[name].shape, 1))},
    ):
        with pytest.raises(CorruptArtifactError, match=name):
            LstmAutoencoder.restore(broken, parameters, lstm.threshold)
    with pytest.raises(CorruptArtifactError, match="spread"):
        LstmAutoencoder.restore(tensors, parameters | {"spread": 0.0}, lstm.threshold)


def test_a_checkpoint_resumes_where_it_was_taken(lstm: LstmAutoencoder) -> None:
    later = lstm.update(series_of(np.linspace(-1, 1, 50)))[1]
    stored = later.checkpoint()
    resumed = lstm.resume(raw(stored), stored.parameters)
    np.testing.assert_array_equal(resumed.history, later.history)


def test_a_lower_sensitivity_raises_the_threshold(lstm: LstmAutoencoder) -> None:
    values = series_of(np.linspace(-1, 1, 50))
    rare, often = (lstm.detect(values, sensitivity).thresholds[0] for sensitivity in (0.2, 3.0))
    assert rare == pytest.approx(often + np.log(15))
