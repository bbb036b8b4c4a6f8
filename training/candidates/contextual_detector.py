"""Training the contextual detector: it learns what is normal for the metric."""

from __future__ import annotations

from pathlib import Path

from ops_anomaly.detection.contextual import ContextualDetector
from training.candidates import Candidate
from training import SourceError
from training.sources.series import LabelledSeries

MIN_READINGS = 60


def fit_contextual(series: LabelledSeries, seed: int) -> Candidate:
    """Return the detector after the ordinary readings of the series.

    Readings in anomaly windows are left out: an incident that was known should not make the next
    one look familiar.
    """
    ordinary = series.normal
    if len(ordinary) < MIN_READINGS:
        raise SourceError(f"{len(ordinary)} ordinary readings; {MIN_READINGS} are needed")
    return Candidate(ContextualDetector.untrained().update(ordinary)[1], lambda folder: None)
