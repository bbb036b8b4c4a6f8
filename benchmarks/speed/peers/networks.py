"""The same LSTM autoencoder, one window, by Keras, PyTorch, and by this project in numpy.

The weights are drawn at random, the same for each: what they are changes no time.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.speed.peers.contestant import Contestant
from ops_anomaly.detection.lstm_autoencoder import LstmWeights, reconstruct

WINDOW, UNITS = 30, 32
os.environ.setdefault("KERAS_BACKEND", "jax")

Weights = npt.NDArray[np.float32]


def weights() -> LstmWeights:
    """Return weights in Keras's order and layout."""
    gates = 4 * UNITS
    shapes = [(1, gates), (UNITS, gates), (gates,), (UNITS, gates), (UNITS, gates), (gates,)]
    random = np.random.default_rng(42)
    return LstmWeights(
        *(random.normal(0, 0.3, shape).astype(np.float32) for shape in [*shapes, (UNITS, 1), (1,)])
    )


def window() -> Weights:
    """Return one window, (1, WINDOW)."""
    return np.sin(np.arange(WINDOW, dtype=np.float32))[np.newaxis]


def contestant(run: Callable[[], Weights]) -> Contestant:
    """Return what writes the window, and answers it as numbers."""

    def answer() -> list[float]:
        return run().ravel().tolist()

    return Contestant(run, answer)


def this_project() -> Contestant:
    drawn, asked = weights(), window()
    return contestant(lambda: reconstruct(drawn, asked))


def keras(method: str) -> Contestant:
    """Return Keras's own, by `predict_on_batch` (compiled, no more) or `predict`."""
    from training.candidates.lstm_autoencoder import build_network

    network = build_network(WINDOW, UNITS)
    network.set_weights(list(vars(weights()).values()))
    asked = window()[..., np.newaxis]
    if method == "predict":
        return contestant(lambda: network.predict(asked, verbose=0))
    return contestant(lambda: np.asarray(network.predict_on_batch(asked)))


def torch() -> Contestant:
    """Return PyTorch's own LSTM layers, in inference mode, on one thread."""
    import torch

    torch.set_num_threads(1)
    drawn = weights()
    encoder = torch.nn.LSTM(1, UNITS, batch_first=True)
    decoder = torch.nn.LSTM(UNITS, UNITS, batch_first=True)
    dense = torch.nn.Linear(UNITS, 1)

    def fill(parameter: torch.nn.Parameter, values: Weights) -> None:
        parameter.data = torch.tensor(np.ascontiguousarray(values.T))

    for layer, kernel, recurrent, bias in (
        (encoder, drawn.encoder_kernel, drawn.encoder_recurrent, drawn.encoder_bias),
        (decoder, drawn.decoder_kernel, drawn.decoder_recurrent, drawn.decoder_bias),
    ):
        fill(layer.weight_ih_l0, kernel)
        fill(layer.weight_hh_l0, recurrent)
        fill(layer.bias_ih_l0, bias)
        fill(layer.bias_hh_l0, np.zeros_like(bias))
    fill(dense.weight, drawn.dense_kernel)
    fill(dense.bias, drawn.dense_bias)
    asked = torch.tensor(window())[..., np.newaxis]

    @torch.inference_mode()
    def run() -> Weights:
        encoding = encoder(asked)[1][0][-1]
        repeated = encoding[:, np.newaxis].expand(-1, WINDOW, -1)
        return dense(decoder(repeated)[0]).numpy()

    return contestant(run)
