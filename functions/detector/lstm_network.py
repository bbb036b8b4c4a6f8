"""The network of the LSTM autoencoder, as a forward pass in numpy.

Keras trains it (`training`); here its exported weights are run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from detector.interface import Floats

Weights = npt.NDArray[np.float32]

SCALED_LIMIT = 1e6
"""Scaled values are clipped here, so that float32 arithmetic stays finite."""

STATES = 2**20
"""Numbers in the states of the windows that are run at once: bounds the memory of a long series."""


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
    - Gates and cell lie one below the other, in the order output, input, forget, proposal, cell.
      So one division is proposal / input gate and cell / forget gate, whose sum is the new cell.
    - Windows lie side by side, so that any neighbouring rows are one piece of memory.

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


def written(weights: LstmWeights, hidden: Weights) -> Weights:
    """Return the readings that hidden states stand for: (..., u, n) -> (..., n)."""
    readings: Weights = weights.dense_kernel.T @ hidden
    readings += weights.dense_bias
    return readings[..., 0, :]


def reconstruct(weights: LstmWeights, windows: Weights) -> Weights:
    """Write scaled windows back from their encoding: (n, window) -> (n, window) float32."""
    return written(weights, decode(weights, windows)).T


def scale(values: Floats, center: float, spread: float) -> Floats:
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
    at_once = max(1, STATES // (length * weights.decoder.shape[1]))
    for start in range(0, len(windows), at_once):
        part = windows[start : start + at_once]
        foretold[start : start + at_once] = written(weights, decode(weights, hide_last(part))[-1])
    return foretold


def last_errors(weights: LstmWeights, scaled: Floats, length: int) -> Floats:
    """Return how badly the last reading of each window is foretold; as `foretell`, and float64."""
    return errors_of(foretell(weights, scaled, length), scaled)


def errors_of(foretold: Weights, scaled: Floats) -> Floats:
    """Return how far m last readings of n scaled ones are from what was foretold: (m,) float64."""
    actual = scaled.astype(np.float32)[len(scaled) - len(foretold) :]
    errors: Floats = np.abs(foretold - actual).astype(np.float64)
    return errors
