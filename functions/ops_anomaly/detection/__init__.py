"""Detectors, the artifact that stores them, and nothing that touches the world.

Everything here is pure: standard library, numpy and safetensors; no network, environment, clock
or logging. Training and serving import the same definitions from this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detector


def untrained(readings: int = 0) -> Detector:
    """Return the detector for a series without a model.

    Parameters
    ----------
    readings
        How many the series will hold: the first of them only warm the detector up.
    """
    from ops_anomaly.detection.contextual_forest import ContextualForest, usual_probation

    return ContextualForest.untrained(probation=usual_probation(readings))
