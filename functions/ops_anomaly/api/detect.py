"""Judging a posted series: in order of time, by a model or by itself, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ops_anomaly.api.problems import InvalidRequestError
from ops_anomaly.api.requests import BODY
from ops_anomaly.api.schemas import Alert, DetectRequest, DetectResponse, Point
from ops_anomaly.detection.contextual_forest import ContextualForest, usual_probation
from ops_anomaly.detection.history import HISTORY
from ops_anomaly.detection.timeline import confidence, put_in_order
from ops_anomaly.validation import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_anomaly.api.schemas import Reading
    from ops_anomaly.aws.models import LoadedModel
    from ops_anomaly.detection.timeline import Timeline
    from ops_anomaly.detection.types import Detection, Detector, Floats, Times


DETECT = msgspec.json.Decoder(DetectRequest)


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
    InvalidRequestError
        If there is no such time.
    FixedSensitivityError
        If the model has one threshold and another sensitivity is asked for.
    """
    timestamps = times_of(request.series)
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
        body=msgspec.json.encode(answer(timeline, detection, model, readings)).decode(),
        readings=len(timeline.values),
        anomalies=int(detection.is_anomaly.sum()),
        alerts=len(detection.alerts),
    )


def times_of(series: Sequence[Reading]) -> Times:
    """Return the times of readings in UTC, (n,) datetime64[ms]; without an offset it is UTC's.

    Raises
    ------
    InvalidRequestError
        Naming those that no calendar or clock has.
    """
    moments, wrong = [], []
    for number, reading in enumerate(series):
        try:
            moment = datetime.fromisoformat(reading.timestamp.upper())
        except ValueError:
            wrong.append(number)
            continue
        moments.append(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment)
    if wrong:
        raise InvalidRequestError(
            Fault((BODY, "series", number, "timestamp"), "There is no such time")
            for number in wrong
        )
    return np.array(moments, "datetime64[ms]")


def answer(
    timeline: Timeline, detection: Detection, model: LoadedModel | None, readings: float
) -> DetectResponse:
    """Return what is answered."""
    times = [f"{text}Z" for text in np.datetime_as_string(timeline.timestamps, "ms").tolist()]
    severities = detection.severity.round(4).tolist()
    columns = (
        times,
        timeline.values.tolist(),
        detection.scores.tolist(),
        detection.is_anomaly.tolist(),
        severities,
        nullable(detection.expected),
        nullable(detection.lower),
        nullable(detection.upper),
        [detection.reasons.get(position) for position in range(len(times))],
    )
    alerts = [
        Alert(
            start=times[alert.start],
            end=times[alert.end],
            peak=times[alert.peak],
            severity=severities[alert.peak],
            reason=detection.reasons[alert.start],
        )
        for alert in detection.alerts
    ]
    return DetectResponse(
        model=model.manifest.name if model else None,
        confidence=round(confidence(readings), 4),
        notes=timeline.notes,
        alerts=alerts,
        points=[Point(*row) for row in zip(*columns, strict=True)],
    )


def nullable(numbers: Floats) -> list[float | None]:
    """Return numbers as JSON has them: null for what is not known."""
    return [number if isfinite(number) else None for number in numbers.tolist()]
