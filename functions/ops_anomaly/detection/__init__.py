"""Detectors, the artifact that stores them, and nothing that touches the world.

Everything here is pure: standard library, numpy and safetensors; no network, environment, clock
or logging. Training and serving import the same definitions from this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detector


def untrained() -> Detector:
    """Return the detector for a series without a model."""
    from ops_anomaly.detection.contextual import ContextualDetector

    return ContextualDetector.untrained()
