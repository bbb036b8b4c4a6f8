"""The LSTM autoencoder, served by a forward pass in numpy.

Keras trains it (`training`); here its exported weights are run. An encoder reads the window into
one state, a decoder reconstructs the window from that state; what it reconstructs badly is unlike
what it was trained on. Malhotra et al., "LSTM-based encoder-decoder for multi-sensor
anomaly detection", 2016.

The reading that is scored is hidden from the encoder, which sees the one before it twice: a
network that sees a spike can reconstruct it, and would explain the anomaly away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ops_anomaly.detection.formatting import number
from ops_anomaly.detection.tails import Tail
from ops_anomaly.detection.types import (
    FLOAT32_MAX,
    WEEK,
    CorruptArtifactError,
    Detection,
    RawTensor,
    Stored,
    alerts_of_events,
    check_value,
    check_values,
    expect,
    within,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Series


Weights = npt.NDArray[np.float32]

SCALED_LIMIT = 1e6
"""Scaled values are clipped here, so that float32 arithmetic stays finite."""

STATES = 2**20
"""Numbers in the states of the windows of a batch: bounds the memory of a long series."""


@dataclass(frozen=True)
class LstmWeights:
    """The weights as Keras lays them out: gates in the order input, forget, cell, output.

    With u units: kernels (inputs, 4u), recurrent kernels (u, 4u), biases (4u,), dense (u, 1), (1,).
    """

    encoder_kernel: Weights
    encoder_recurrent: Weights
    encoder_bias: Weights
    decoder_kernel: Weights
    decoder_recurrent: Weights
    decoder_bias: Weights
    dense_kernel: Weights
    dense_bias: Weights

    @cached_property
    def encoder(self) -> Weights:
        """The encoder as `run` takes it, arranged once."""
        return arranged(self.encoder_kernel, self.encoder_recurrent, self.encoder_bias)

    @cached_property
    def decoder(self) -> Weights:
        """The decoder as `run` takes it, arranged once."""
        return arranged(self.decoder_kernel, self.decoder_recurrent, self.decoder_bias)


def arranged(kernel: Weights, recurrent: Weights, bias: Weights) -> Weights:
    """Return one matrix of a layer's weights, for `run`: (4u, u + inputs + 1).

    Its columns take the hidden state, the inputs and a constant 1, so that one product projects
    all of them. Its rows are the gates in the order output, input, forget, cell; the first three
    are negated.
    """
    i, f, g, o = np.split(np.vstack([recurrent, kernel, bias]), 4, axis=1)
    return np.hstack([-o, -i, -f, g]).T


def run(layer: Weights, steps: int, inputs: Weights) -> Weights:
    """Run an LSTM over n windows, from an empty state.

    Its equations are those of Gers, Schmidhuber and Cummins, "Learning to forget", 2000. A step is
    eight calls of numpy, most of whose time is the calling; each writes where the next one reads:

    - A gate multiplies by 1 / (1 + exp(-x)). Here it divides by 1 + exp(-x): the minus is in the
      weights. Where exp(-x) overflows, the gate is shut: what is divided by infinity is 0.
    - Gates and cell are one below the other, in the order output, input, forget, proposal, cell.
      So one division is proposal / input gate and cell / forget gate, whose sum is the new cell.
    - Windows are side by side, so that any neighbouring rows are one piece of memory.

    Parameters
    ----------
    layer : (4u, u + inputs + 1) float32
        Of `arranged`.
    steps : int
        How often the state is advanced.
    inputs : (steps, inputs, n) float32
        What is read at each step; (inputs, n) where it is always the same, as the encoding is.

    Returns
    -------
    (steps, u, n) float32
        The hidden state after each step.
    """
    units, count = len(layer) // 4, inputs.shape[-1]
    states = np.empty((steps + 1, layer.shape[1], count), np.float32)
    states[0, :units] = 0.0
    states[:-1, units:-1] = inputs
    states[:, -1] = 1.0
    work = np.zeros((5 * units, count), np.float32)
    output, admitted, kept, proposal, cell = work.reshape(5, units, count)
    gates, divisors = work[: 4 * units], work[: 3 * units]
    divided, divided_by = work[3 * units :], work[units : 3 * units]
    squashed = np.empty_like(cell)
    one = np.array(1.0, np.float32)  # a float would be converted at each step
    # names of its own: finding them in numpy at each step would take a tenth of the time
    project, exp, tanh, divide, add = layer.dot, np.exp, np.tanh, np.divide, np.add
    with np.errstate(over="ignore"):
        for state, hidden in zip(states[:-1], states[1:, :units], strict=True):
            project(state, gates)
            exp(divisors, divisors)
            divisors += one
            tanh(proposal, proposal)
            divide(divided, divided_by, divided_by)
            add(admitted, kept, cell)
            tanh(cell, squashed)
            divide(squashed, output, hidden)
    return states[1:, :units]


def decode(weights: LstmWeights, windows: Weights) -> Weights:
    """Return what the decoder makes of windows: (n, window) -> hidden states (window, u, n)."""
    length = windows.shape[1]
    encoding = run(weights.encoder, length, windows.T[:, np.newaxis])[-1]
    return run(weights.decoder, length, encoding)


def outputs(weights: LstmWeights, hidden: Weights) -> Weights:
    """Return the readings that hidden states stand for: (..., u, n) -> (..., n)."""
    readings: Weights = weights.dense_kernel.T @ hidden
    readings += weights.dense_bias
    return readings[..., 0, :]


def reconstruct(weights: LstmWeights, windows: Weights) -> Weights:
    """Write scaled windows back from their encoding: (n, window) -> (n, window) float32."""
    return outputs(weights, decode(weights, windows)).T


def to_scale(values: Floats, center: float, spread: float) -> Floats:
    """Scale values as the network was trained on them: (n,) -> (n,)."""
    return ((values - center) / spread).clip(-SCALED_LIMIT, SCALED_LIMIT)


def windows_of(scaled: Floats, length: int) -> Weights:
    """Return the windows of a scaled series: (n,) -> (n - length + 1, length) float32."""
    return np.lib.stride_tricks.sliding_window_view(scaled.astype(np.float32), length)


def hide_last(windows: Weights) -> Weights:
    """Return what the encoder sees: the windows with each last reading replaced by its former."""
    seen = windows.copy()
    seen[:, -1] = seen[:, -2]
    return seen


def predict_last(weights: LstmWeights, scaled: Floats, length: int) -> Weights:
    """Return what the network makes of the last reading of each window, without seeing it.

    Parameters
    ----------
    scaled : (n,) float64
        The scaled series.
    length : int
        Readings in a window, at least 2.

    Returns
    -------
    (n - length + 1,) float32
        Scaled; each belongs to the reading that ends the window.
    """
    windows = windows_of(scaled, length)
    predicted = np.empty(len(windows), np.float32)
    batch = max(1, STATES // (length * weights.decoder.shape[1]))
    for start in range(0, len(windows), batch):
        part = windows[start : start + batch]
        predicted[start : start + batch] = outputs(weights, decode(weights, hide_last(part))[-1])
    return predicted


def last_errors(weights: LstmWeights, scaled: Floats, length: int) -> Floats:
    """Return how badly the last reading of each window is predicted; as float64."""
    return errors_of(predict_last(weights, scaled, length), scaled)


def errors_of(predicted: Weights, scaled: Floats) -> Floats:
    """Return how far m last readings of n scaled ones are from what was predicted: (m,) float64."""
    actual = scaled.astype(np.float32)[len(scaled) - len(predicted) :]
    errors: Floats = np.abs(predicted - actual).astype(np.float64)
    return errors


MAX_WINDOW = 1_024
"""Readings of the longest window that can be served in time."""

MAX_NATS = 100.0
"""A threshold that nothing reaches: the tail would have to be e^100 times as rare."""


@dataclass(frozen=True)
class LstmAutoencoder:
    """Surprisal of how far a reading is from what the window before it predicts, in nats.

    Attributes
    ----------
    weights : LstmWeights
    center, spread : float
        A value v is scaled to (v - center) / spread; both from training values alone.
    tail : Tail
        Calibration of the error of a window's last reading.
    history : (window - 1,) float64
        The readings before the next one.
    threshold : float
        In nats.
    step : float
        Milliseconds between the readings that it was trained on.
    """

    kind: ClassVar[str] = "lstm-autoencoder"
    has_sensitivity: ClassVar[bool] = True

    weights: LstmWeights
    center: float
    spread: float
    tail: Tail
    history: Floats
    threshold: float
    step: float

    @property
    def last_timestamp(self) -> None:
        """None: the history is one of readings, not of times."""
        return None

    def score_samples(self, series: Series) -> Floats:
        """Score each value with the window that it ends; see `Detector.score_samples`."""
        return self._score(series.values)[0]

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        """Score each value with the window that it ends; see `Detector.detect`."""
        threshold = self.threshold if sensitivity is None else self._threshold_for(sensitivity)
        scores, predicted = self._score(series.values)
        flags = scores > threshold
        expected = self.center + self.spread * predicted
        margin = self.spread * self.tail.score_of(threshold)
        return Detection(
            scores=scores,
            thresholds=np.full(len(scores), threshold),
            is_anomaly=flags,
            can_evaluate=np.ones(len(scores), bool),
            expected=expected,
            lower=expected - margin,
            upper=expected + margin,
            reasons={
                position: "unlike what the readings before it predict: "
                f"{number(series.values[position])}, expected {number(expected[position])}"
                for position in np.flatnonzero(flags).tolist()
            },
            alerts=alerts_of_events(series.times, scores, flags),
        )

    def update(self, series: Series, sensitivity: float | None = None) -> tuple[Detection, Self]:
        """Score each value, and move on; see `Detector.update`."""
        history = np.concatenate([self.history, series.values])[-len(self.history) :]
        return self.detect(series, sensitivity), replace(self, history=history)

    def _threshold_for(self, sensitivity: float) -> float:
        """Return the surprisal, in nats, that so many readings a week are expected to reach."""
        return max(float(np.log(WEEK / self.step) - np.log(sensitivity)), 0.0)

    def _score(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the score of each value, and what was predicted, scaled: (n,) and (n,)."""
        check_values(values)
        if not len(values):
            return np.empty(0), np.empty(0)
        scaled = to_scale(np.concatenate([self.history, values]), self.center, self.spread)
        predicted = predict_last(self.weights, scaled, len(self.history) + 1)
        errors = errors_of(predicted, scaled)
        return self.tail.surprisal(errors), predicted.astype(np.float64)

    def predict(self, value: float) -> bool:
        """Return whether `value` is an anomaly after the history; see `Detector.predict`."""
        check_value(value)
        scaled = to_scale(np.array([value], np.float64), self.center, self.spread)
        score = self.tail.surprisal(errors_of(self._predicted, scaled))
        return bool(score[0] > self.threshold)

    @cached_property
    def _predicted(self) -> Weights:
        """What the history lets expect of the next reading, scaled: (1,), whatever it will be."""
        # the reading that ends a window is hidden from the network, so any stands for it
        readings = np.append(self.history, self.history[-1])
        return predict_last(
            self.weights, to_scale(readings, self.center, self.spread), len(readings)
        )

    def with_warm_up(self, readings: int) -> Self:
        """Return itself: its history is whole."""
        return self

    def marked(self, start: int, stop: int, *, is_ordinary: bool) -> Self:
        """Return itself: its history is the last readings, whatever they were."""
        return self

    def without_history(self) -> Self:
        """Return itself: its history is one window, which any readings replace."""
        return self

    def checkpoint(self) -> Stored:
        """Return the readings before the next one."""
        return Stored({"history": self.history}, {})

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return the same model after other readings; see `Detector.resume`."""
        expect(tensors, {"history": ("F64", (len(self.history),))})
        return replace(self, history=tensors["history"].to_numpy())

    def stored(self) -> Stored:
        """Return weights, the errors it was calibrated on, the history, the scaling."""
        weights = {field.name: getattr(self.weights, field.name) for field in fields(LstmWeights)}
        return Stored(
            weights | {"calibration": self.tail.history, "history": self.history},
            {"center": self.center, "spread": self.spread, "step": self.step},
        )

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild the model from an artifact; see `Detector.restore`."""
        dense = tensors.get("dense_kernel")
        units = max(dense.shape[0], 1) if dense and dense.shape else 1
        weights_layout = {
            "encoder_kernel": (1, 4 * units),
            "encoder_recurrent": (units, 4 * units),
            "encoder_bias": (4 * units,),
            "decoder_kernel": (units, 4 * units),
            "decoder_recurrent": (units, 4 * units),
            "decoder_bias": (4 * units,),
            "dense_kernel": (units, 1),
            "dense_bias": (1,),
        }
        expect(
            tensors,
            {name: ("F32", shape) for name, shape in weights_layout.items()}
            | {"calibration": ("F64", (None,)), "history": ("F64", (None,))},
        )
        arrays = {name: tensor.to_numpy() for name, tensor in tensors.items()}
        if not 1 <= len(arrays["history"]) < MAX_WINDOW:
            raise CorruptArtifactError(f"tensor history: a window has 2 to {MAX_WINDOW} readings")
        if not 0.0 <= threshold <= MAX_NATS:
            raise CorruptArtifactError(f"threshold {threshold} is not within 0 and {MAX_NATS}")
        spread = within(parameters, "spread", 0.0, FLOAT32_MAX)
        if not spread:
            raise CorruptArtifactError("parameter spread: it is 0")
        return cls(
            weights=LstmWeights(**{name: arrays[name] for name in weights_layout}),
            center=within(parameters, "center", -FLOAT32_MAX, FLOAT32_MAX),
            spread=spread,
            step=within(parameters, "step", 1.0, WEEK),
            tail=Tail.of(arrays["calibration"]),
            history=arrays["history"],
            threshold=threshold,
        )
