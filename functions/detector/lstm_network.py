"""The network of the LSTM autoencoder, as a forward pass in numpy.

Keras trains it (`training`); here its exported weights are run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from detector.interface import Floats

Weights = npt.NDArray[np.float32]

SCALED_LIMIT = 1e6
"""Scaled values are clipped here, so that float32 arithmetic stays finite."""

BATCH = 1024
"""Windows run at once: bounds the memory of a long series."""


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


def foretell(weights: LstmWeights, scaled: Floats, length: int) -> Weights:
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
    foretold = np.empty(len(windows), np.float32)
    for start in range(0, len(windows), BATCH):
        part = windows[start : start + BATCH]
        foretold[start : start + BATCH] = reconstruct(weights, hide_last(part))[:, -1]
    return foretold


def last_errors(weights: LstmWeights, scaled: Floats, length: int) -> Floats:
    """Return how badly the last reading of each window is foretold; as `foretell`, and float64."""
    return errors_of(foretell(weights, scaled, length), scaled)


def errors_of(foretold: Weights, scaled: Floats) -> Floats:
    """Return how far m last readings of n scaled ones are from what was foretold: (m,) float64."""
    actual = scaled.astype(np.float32)[len(scaled) - len(foretold) :]
    errors: Floats = np.abs(foretold - actual).astype(np.float64)
    return errors
