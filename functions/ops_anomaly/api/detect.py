"""POST /detect: the posted readings in order of time, evaluated, as the response."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.api.problems import InvalidRequestError
from ops_anomaly.api.requests import BODY
from ops_anomaly.api.schemas import Alert, DetectResponse, Point
from ops_anomaly.detection import untrained
from ops_anomaly.detection.timeline import confidence, evaluation_notes, put_in_order
from ops_anomaly.detection.types import Series
from ops_anomaly.validation import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_anomaly.api.schemas import DetectRequest, Reading
    from ops_anomaly.aws.models import LoadedModel
    from ops_anomaly.detection.timeline import Timeline
    from ops_anomaly.detection.types import Detection, Floats


def evaluate(request: DetectRequest, model: LoadedModel | None) -> DetectResponse:
    """Evaluate the posted readings, with a model or by themselves.

    Raises
    ------
    InvalidRequestError
        If a timestamp is not a valid date or time.
    FixedSensitivityError
        If a sensitivity is given and the model has one threshold.
    """
    posted = series_of(request.series)
    if model:
        timeline = put_in_order(posted, model.detector.last_timestamp)
        detector, readings = model.detector, model.trained_on
        if detector.last_timestamp is not None:  # it also calibrates on the posted readings
            readings += len(timeline.series)
    else:
        timeline = put_in_order(posted, None)
        readings = len(timeline.series)
        detector = untrained()
    detection = detector.detect(timeline.series, request.sensitivity)
    name = model.manifest.name if model else None
    return response_of(timeline, detection, name, confidence(readings))


def series_of(readings: Sequence[Reading]) -> Series:
    """Return the readings, in their order; times without an offset are UTC.

    Raises
    ------
    InvalidRequestError
        If a timestamp is not a valid date or time; it names all of them.
    """
    moments, invalid = [], []
    for number, reading in enumerate(readings):
        try:
            moment = datetime.fromisoformat(reading.timestamp.upper())
        except ValueError:
            invalid.append(number)
            continue
        moments.append(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment)
    if invalid:
        raise InvalidRequestError(
            Fault((BODY, "series", number, "timestamp"), "Not a valid date or time")
            for number in invalid
        )
    return Series(
        times=np.array(moments, "datetime64[ms]").astype(np.int64),
        values=np.array([reading.value for reading in readings], np.float64),
    )


def response_of(
    timeline: Timeline, detection: Detection, model: str | None, confidence: float
) -> DetectResponse:
    """Return a detection as the response has it."""
    series = timeline.series
    moments = np.datetime_as_string(series.times.astype("datetime64[ms]"), "ms")
    times = [f"{text}Z" for text in moments.tolist()]
    severities = detection.severity.round(4).tolist()
    columns = (
        times,
        series.values.tolist(),
        detection.scores.tolist(),
        detection.is_anomaly.tolist(),
        detection.can_evaluate.tolist(),
        severities,
        nullable(detection.expected),
        nullable(detection.lower),
        nullable(detection.upper),
        [detection.reasons.get(position) for position in range(len(series))],
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
        model=model,
        confidence=round(confidence, 4),
        notes=timeline.notes + evaluation_notes(detection),
        alerts=alerts,
        points=[Point(*row) for row in zip(*columns, strict=True)],
    )


def nullable(numbers: Floats) -> list[float | None]:
    """Return numbers as JSON has them: null where one is not known."""
    return [number if isfinite(number) else None for number in numbers.tolist()]
