"""The LSTM autoencoder, served by a forward pass in numpy.

Keras trains it (`training`); here its exported weights are run. An encoder reads the window into
one state, a decoder writes the window back from that state; what it can't write back well is
unlike what it was trained on. Malhotra et al., "LSTM-based encoder-decoder for multi-sensor
anomaly detection", 2016.

The reading under judgement is hidden from the encoder, which sees the one before it twice: a
network that sees a spike can write it back, and would explain the anomaly away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from detector.errors import CorruptArtifactError
from detector.tail import Tail
from detector.tensors import RawTensor, expect, scalar
from detector.value_range import check_values

if TYPE_CHECKING:
    from detector.interface import Floats, Times

Weights = npt.NDArray[np.float32]

NUMPY_DTYPES = {"F32": "<f4", "F64": "<f8"}

SCALED_LIMIT = 1e6
"""Scaled values are clipped here, so that float32 arithmetic stays finite."""

BATCH = 1024
"""Windows scored at once: bounds the memory of a long series."""


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


def sigmoid(x: Weights) -> Weights:
    """Return the logistic function, by way of tanh, which can't overflow."""
    half = np.float32(0.5)
    squashed: Weights = half * np.tanh(half * x) + half
    return squashed


def affine(x: Weights, kernel: Weights, bias: Weights) -> Weights:
    """Return x @ kernel + bias, in float32."""
    product: Weights = x @ kernel
    product += bias
    return product


def step(
    projected: Weights, hidden: Weights, cell: Weights, recurrent: Weights
) -> tuple[Weights, Weights]:
    """Advance an LSTM by one reading: (n, 4u), (n, u), (n, u) -> hidden and cell, (n, u) each."""
    i, f, g, o = np.split(projected + hidden @ recurrent, 4, axis=1)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def reconstruct(weights: LstmWeights, windows: Weights) -> Weights:
    """Write scaled windows back from their encoding: (n, window) -> (n, window) float32."""
    count, length = windows.shape
    units = weights.encoder_recurrent.shape[0]
    nothing: Weights = np.zeros((count, units), np.float32)
    hidden, cell = nothing, nothing
    for t in range(length):
        projected = affine(windows[:, t : t + 1], weights.encoder_kernel, weights.encoder_bias)
        hidden, cell = step(projected, hidden, cell, weights.encoder_recurrent)
    # the decoder reads the same encoding at each step, so it is projected once
    projected = affine(hidden, weights.decoder_kernel, weights.decoder_bias)
    hidden, cell = nothing, nothing
    written = np.empty_like(windows)
    for t in range(length):
        hidden, cell = step(projected, hidden, cell, weights.decoder_recurrent)
        written[:, t : t + 1] = affine(hidden, weights.dense_kernel, weights.dense_bias)
    return written


@dataclass(frozen=True)
class LstmAutoencoder:
    """Surprise at how far a reading is from what the window before it lets expect, in nats.

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
    """

    kind: ClassVar[str] = "lstm-autoencoder"

    weights: LstmWeights
    center: float
    spread: float
    tail: Tail
    history: Floats
    threshold: float

    def score_samples(self, timestamps: Times, values: Floats) -> Floats:
        """Score each value with the window that it ends; see `Detector.score_samples`."""
        check_values(values)
        scaled = scale(np.concatenate([self.history, values]), self.center, self.spread)
        return self.tail.surprise(last_errors(self.weights, scaled, len(self.history) + 1))

    def predict(self, value: float) -> bool:
        """Tell whether `value` is an anomaly after the history; see `Detector.predict`."""
        score = self.score_samples(np.empty(0, "datetime64[s]"), np.array([value], np.float64))
        return bool(score[0] > self.threshold)

    def advance(self, timestamps: Times, values: Floats) -> Self:
        """Return the same model after these readings."""
        check_values(values)
        return replace(self, history=np.concatenate([self.history, values])[-len(self.history) :])

    def parameters(self) -> dict[str, float]:
        """Return the scaling."""
        return {"center": self.center, "spread": self.spread}

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return weights, the errors it was calibrated on, the readings before the next one."""
        return {
            **{field.name: getattr(self.weights, field.name) for field in fields(LstmWeights)},
            "calibration": self.tail.history,
            "history": self.history,
        }

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
        arrays = {
            name: np.frombuffer(tensor.data, NUMPY_DTYPES[tensor.dtype]).reshape(tensor.shape)
            for name, tensor in tensors.items()
        }
        if not len(arrays["history"]):
            raise CorruptArtifactError("tensor history: a window has at least one reading before")
        spread = scalar(parameters, "spread")
        if spread <= 0:
            raise CorruptArtifactError(f"parameter spread: {spread} is not positive")
        return cls(
            weights=LstmWeights(**{name: arrays[name] for name in weights_layout}),
            center=scalar(parameters, "center"),
            spread=spread,
            tail=Tail.of(arrays["calibration"]),
            history=arrays["history"],
            threshold=threshold,
        )


def scale(values: Floats, center: float, spread: float) -> Floats:
    """Scale values as the network was trained on them: (n,) -> (n,)."""
    return np.clip((values - center) / spread, -SCALED_LIMIT, SCALED_LIMIT)


def windows_of(scaled: Floats, length: int) -> Weights:
    """Return the windows of a scaled series: (n,) -> (n - length + 1, length) float32."""
    return np.lib.stride_tricks.sliding_window_view(scaled.astype(np.float32), length)


def hide_last(windows: Weights) -> Weights:
    """Return what the encoder sees: the windows with each last reading replaced by its former."""
    seen = windows.copy()
    seen[:, -1] = seen[:, -2]
    return seen


def last_errors(weights: LstmWeights, scaled: Floats, length: int) -> Floats:
    """Return how badly the last reading of each window is foretold.

    Parameters
    ----------
    scaled : (n,) float64
        The scaled series.
    length : int
        Readings in a window, at least 2.

    Returns
    -------
    (n - length + 1,) float64
        Absolute errors, in units of the spread; each belongs to the reading that ends the window.
    """
    windows = windows_of(scaled, length)
    errors = np.empty(len(windows))
    for start in range(0, len(windows), BATCH):
        part = windows[start : start + BATCH]
        written = reconstruct(weights, hide_last(part))
        errors[start : start + BATCH] = np.abs(written[:, -1] - part[:, -1])
    return errors
