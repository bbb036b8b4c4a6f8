"""Trains the LSTM autoencoder in Keras, and exports its weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("KERAS_BACKEND", "jax")  # read once, when keras is imported

import keras
import numpy as np
import numpy.typing as npt

from ops_anomaly.detection.lstm_autoencoder import (
    LstmAutoencoder,
    LstmWeights,
    hide_last,
    last_errors,
    to_scale,
    windows_of,
)
from ops_anomaly.detection.tails import Tail
from training import SourceError
from training.candidates import MAX_EPOCHS, Candidate, OnEpoch
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Mask

MIN_WINDOWS = 128
"""Windows without which training is not worth starting."""


@contextmanager
def without_copy_warning() -> Iterator[None]:
    """Silence Keras, which copies arrays in a way that NumPy 2 warns of; the values are right."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning
        )
        yield


@dataclass(frozen=True)
class LstmSettings:
    """How the network is built and trained."""

    window: int = 30
    units: int = 32
    patience: int = 8
    batch_size: int = 64
    learning_rate: float = 3e-3
    validation_share: float = 0.2


@without_copy_warning()
def fit_lstm_autoencoder(
    series: LabelledSeries,
    seed: int,
    on_epoch: OnEpoch = lambda *_: None,
    max_epochs: int = MAX_EPOCHS,
    settings: LstmSettings = LstmSettings(),
) -> Candidate:
    """Train on windows without labelled anomalies; calibrate on the same part of the series.

    The threshold needs no labels: an anomaly must be rarer than one reading a week, both by the
    tail's extrapolation and among the readings it was calibrated on.

    Raises
    ------
    SourceError
        If there are too few windows without a labelled anomaly to train on.
    """
    normal = series.normal.values
    center, spread = float(normal.mean()), float(normal.std()) or 1.0
    scaled = to_scale(series.values, center, spread)
    clean = windows_without(series.in_window, settings.window)
    if clean.sum() < MIN_WINDOWS:
        raise SourceError(
            f"{clean.sum()} windows of {settings.window} readings are without labelled anomalies; "
            f"training needs {MIN_WINDOWS}: give a longer series or a larger train share"
        )
    network, losses = train(
        windows_of(scaled, settings.window)[clean], seed, on_epoch, max_epochs, settings
    )
    weights = export_weights(network)

    errors = last_errors(weights, scaled, settings.window)[clean]
    tail = Tail.of(errors)
    once_a_week = 1 / series.readings_a_week
    threshold = max(
        -np.log(once_a_week), np.quantile(tail.surprisal(errors), max(0.0, 1 - once_a_week))
    )
    detector = LstmAutoencoder(
        weights=weights,
        center=center,
        spread=spread,
        tail=tail,
        history=series.values[-(settings.window - 1) :],
        threshold=float(threshold),
        step=series.series.step,
    )

    @without_copy_warning()
    def save_estimator(folder: Path) -> None:
        network.save(folder / "lstm-autoencoder.keras")

    return Candidate(detector, save_estimator, losses)


def windows_without(in_window: Mask, length: int) -> Mask:
    """Return which windows of `length` readings hold no anomaly: (n,) -> (n - length + 1,)."""
    windows = np.lib.stride_tricks.sliding_window_view(in_window, length)
    return np.asarray(~windows.any(axis=1))


def build_network(window: int, units: int) -> keras.Model:
    """Return the untrained network: LSTM encoder, LSTM decoder, one value a step."""
    return keras.Sequential(
        [
            keras.layers.Input((window, 1)),
            keras.layers.LSTM(units),
            keras.layers.RepeatVector(window),
            keras.layers.LSTM(units, return_sequences=True),
            keras.layers.Dense(1),
        ]
    )


def train(
    windows: npt.NDArray[np.float32],
    seed: int,
    on_epoch: OnEpoch,
    max_epochs: int,
    settings: LstmSettings,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train on scaled windows (n, window) until the validation loss stops falling."""
    keras.utils.set_random_seed(seed)
    network = build_network(settings.window, settings.units)
    network.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate, clipnorm=1.0), loss="mse"
    )
    cut = int((1 - settings.validation_share) * len(windows))
    seen, whole = hide_last(windows)[..., np.newaxis], windows[..., np.newaxis]
    network.fit(
        seen[:cut],
        whole[:cut],
        validation_data=(seen[cut:], whole[cut:]),
        epochs=max_epochs,
        batch_size=settings.batch_size,
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=settings.patience, restore_best_weights=True),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: on_epoch(
                    epoch + 1, max_epochs, float(logs["val_loss"])
                )
            ),
        ],
    )
    history = network.history.history
    return network, {name: [float(x) for x in history[name]] for name in ("loss", "val_loss")}


def export_weights(network: keras.Model) -> LstmWeights:
    """Return the weights of a trained network, in the order that Keras keeps them."""
    return LstmWeights(*(np.asarray(weight, np.float32) for weight in network.get_weights()))
