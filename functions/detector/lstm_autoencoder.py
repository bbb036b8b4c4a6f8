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
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from detector.detection import Detection, alerts_of_events
from detector.errors import CorruptArtifactError
from detector.explanation import number
from detector.lstm_network import LstmWeights, Weights, errors_of, foretell, scale
from detector.tail import Tail
from detector.tensors import RawTensor, expect, within
from detector.value_range import FLOAT32_MAX, check_value, check_values

if TYPE_CHECKING:
    from detector.interface import Floats, Times


MOST_WINDOW = 1_024
"""Readings of the longest window that can be served in time."""

MOST_NATS = 100.0
"""A threshold that nothing reaches: the tail would have to be e^100 times as rare."""


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

    @property
    def until(self) -> None:
        """None: the history is one of readings, not of times."""
        return None

    def threshold_for(self, false_alerts_a_week: float, readings_a_week: float) -> float:
        """Return the surprise, in nats, that so many readings a week are expected to reach."""
        return max(float(np.log(readings_a_week) - np.log(false_alerts_a_week)), 0.0)

    def score_samples(self, timestamps: Times, values: Floats) -> Floats:
        """Score each value with the window that it ends; see `Detector.score_samples`."""
        return self._judge(values)[0]

    def detect(
        self, timestamps: Times, values: Floats, threshold: float | None = None
    ) -> Detection:
        """Judge each value with the window that it ends; see `Detector.detect`."""
        threshold = self.threshold if threshold is None else threshold
        scores, foretold = self._judge(values)
        flags = scores > threshold
        expected = self.center + self.spread * foretold
        margin = self.spread * self.tail.score_of(threshold)
        return Detection(
            scores=scores,
            bar=np.full(len(scores), threshold),
            is_anomaly=flags,
            expected=expected,
            lower=expected - margin,
            upper=expected + margin,
            reasons={
                position: "unlike what the readings before it foretell: "
                f"{number(values[position])}, expected {number(expected[position])}"
                for position in np.flatnonzero(flags).tolist()
            },
            alerts=alerts_of_events(timestamps, scores, flags),
        )

    def follow(
        self, timestamps: Times, values: Floats, threshold: float | None = None
    ) -> tuple[Detection, Self]:
        """Judge each value, and move on; see `Detector.follow`."""
        detection = self.detect(timestamps, values, threshold)
        return detection, self.advance(timestamps, values)

    def _judge(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the score of each value, and what was foretold, scaled: (n,) and (n,)."""
        check_values(values)
        scaled = scale(np.concatenate([self.history, values]), self.center, self.spread)
        foretold = foretell(self.weights, scaled, len(self.history) + 1)
        errors = errors_of(foretold, scaled)
        return self.tail.surprise(errors), foretold.astype(np.float64)

    def predict(self, value: float) -> bool:
        """Tell whether `value` is an anomaly after the history; see `Detector.predict`."""
        check_value(value)
        scaled = scale(np.array([value], np.float64), self.center, self.spread)
        score = self.tail.surprise(errors_of(self._foretold, scaled))
        return bool(score[0] > self.threshold)

    @cached_property
    def _foretold(self) -> Weights:
        """What the history lets expect of the next reading, scaled: (1,), whatever it will be."""
        # the reading that ends a window is hidden from the network, so any stands for it
        readings = np.append(self.history, self.history[-1])
        return foretell(self.weights, scale(readings, self.center, self.spread), len(readings))

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
        arrays = {name: tensor.to_numpy() for name, tensor in tensors.items()}
        if not 1 <= len(arrays["history"]) < MOST_WINDOW:
            raise CorruptArtifactError(f"tensor history: a window has 2 to {MOST_WINDOW} readings")
        if not 0.0 <= threshold <= MOST_NATS:
            raise CorruptArtifactError(f"threshold {threshold} is not within 0 and {MOST_NATS}")
        spread = within(parameters, "spread", 0.0, FLOAT32_MAX)
        if not spread:
            raise CorruptArtifactError("parameter spread: it is 0")
        return cls(
            weights=LstmWeights(**{name: arrays[name] for name in weights_layout}),
            center=within(parameters, "center", -FLOAT32_MAX, FLOAT32_MAX),
            spread=spread,
            tail=Tail.of(arrays["calibration"]),
            history=arrays["history"],
            threshold=threshold,
        )
