"""A fitted candidate: the detector that is served, and the estimator it came from.

What the candidates are called where people read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ops_anomaly.detection.types import Detector


@dataclass(frozen=True)
class Candidate:
    """One of the models that compete.

    Attributes
    ----------
    detector : Detector
        What is judged, exported and served.
    save_estimator : callable
        Writes the estimator of its library into a folder, for whoever wants to go on with it.
    losses : dict of str to list of float
        Loss by epoch, training and validation, where it was trained by epochs.
    """

    detector: Detector
    save_estimator: Callable[[Path], None]
    losses: dict[str, list[float]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The detector's kind, which names the candidate."""
        return self.detector.kind


NAMES = {
    "value-forest": "value forest",
    "contextual-forest": "contextual forest",
    "lstm-autoencoder": "LSTM autoencoder",
}

NOTHING = "-"
"""Stands where there is no figure."""
