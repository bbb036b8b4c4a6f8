"""Judging a posted series: in order of time, by a model or by itself, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic_core import to_json

from detector.blocks import HISTORY
from detector.contextual_forest import ContextualForest, usual_probation
from detector.timeline import confidence, put_in_order

if TYPE_CHECKING:
    from api.contracts import DetectRequest
    from detector.detection import Detection
    from detector.interface import Detector, Floats
    from detector.timeline import Timeline
    from registry.models import LoadedModel


@dataclass(frozen=True)
class Judged:
    """A judged series: the answer as JSON, and what there is to count."""

    body: str
    readings: int
    anomalies: int
    alerts: int


def judge(request: DetectRequest, model: LoadedModel | None) -> Judged:
    """Judge the posted readings.

    Raises
    ------
    FixedSensitivityError
        If the model has one threshold and another sensitivity is asked for.
    """
    moments = [reading.timestamp.replace(tzinfo=None) for reading in request.series]
    timestamps = np.array(moments, "datetime64[ms]")
    values = np.array([reading.value for reading in request.series], np.float64)
    if model:
        detector: Detector = model.detector
        timeline = put_in_order(timestamps, values, detector.until)
        readings = model.trained_on
        if detector.until is not None:  # it calibrates on what it sees, within its history
            readings = min(readings + len(timeline.values), HISTORY)
    else:
        timeline = put_in_order(timestamps, values, None)
        readings = min(len(timeline.values), HISTORY)
        detector = ContextualForest.untrained(probation=usual_probation(readings))
    threshold = None
    if request.sensitivity is not None:
        threshold = detector.threshold_for(request.sensitivity, timeline.readings_a_week)
    detection = detector.detect(timeline.timestamps, timeline.values, threshold)
    return Judged(
        body=to_json(answer(timeline, detection, model, readings)).decode(),
        readings=len(timeline.values),
        anomalies=int(detection.is_anomaly.sum()),
        alerts=len(detection.alerts),
    )


def answer(
    timeline: Timeline, detection: Detection, model: LoadedModel | None, readings: float
) -> dict[str, Any]:
    """Return what is answered, as `DetectResponse` describes it."""
    times = [f"{text}Z" for text in np.datetime_as_string(timeline.timestamps, "ms").tolist()]
    severities = detection.severity.round(4).tolist()
    columns = {
        "timestamp": times,
        "value": timeline.values.tolist(),
        "score": detection.scores.tolist(),
        "is_anomaly": detection.is_anomaly.tolist(),
        "severity": severities,
        "expected": nullable(detection.expected),
        "lower": nullable(detection.lower),
        "upper": nullable(detection.upper),
        "reason": [detection.reasons.get(position) for position in range(len(times))],
    }
    points = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    alerts = [
        {
            "start": times[alert.start],
            "end": times[alert.end],
            "peak": times[alert.peak],
            "severity": severities[alert.peak],
            "reason": detection.reasons[alert.start],
        }
        for alert in detection.alerts
    ]
    return {
        "model": model.manifest.name if model else None,
        "confidence": round(confidence(readings), 4),
        "notes": timeline.notes,
        "alerts": alerts,
        "points": points,
    }


def nullable(numbers: Floats) -> list[float | None]:
    """Return numbers as JSON has them: null for what is not known."""
    return [number if isfinite(number) else None for number in numbers.tolist()]
