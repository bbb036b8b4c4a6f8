"""Fits the contextual detector: it learns what is usual for the metric."""

from __future__ import annotations

from pathlib import Path

from ops_anomaly.detection.contextual import ContextualDetector
from training import SourceError
from training.candidates import Candidate
from training.sources.series import LabelledSeries

MIN_READINGS = 60


def fit_contextual(series: LabelledSeries, seed: int) -> Candidate:
    """Return the detector after the readings outside of anomaly windows.

    A known incident should not make the next one seem ordinary.

    Raises
    ------
    SourceError
        If too few readings are outside of anomaly windows.
    """
    normal = series.normal
    if len(normal) < MIN_READINGS:
        raise SourceError(
            f"{len(normal)} readings of the training part are outside of anomaly windows; "
            f"{MIN_READINGS} are needed"
        )
    return Candidate(ContextualDetector.untrained().update(normal)[1], save_nothing)


def save_nothing(folder: Path) -> None:
    """Leave the folder as it is: no library made the detector."""
