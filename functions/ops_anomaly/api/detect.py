"""POST /detect: the posted readings in order of time, evaluated, as the response."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.api.problems import InvalidRequestError
from ops_anomaly.api.requests import BODY
from ops_anomaly.api.schemas import Alert, DetectResponse, Point
from ops_anomaly.detection import untrained
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import (
    MIN_STEPS,
    confidence,
    epoch_milliseconds,
    epoch_unit,
    evaluation_notes,
    put_in_order,
    utc,
)
from ops_anomaly.detection.types import DAY, EPOCH_UNITS, Series
from ops_anomaly.validation import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_anomaly.api.schemas import DetectRequest, Reading
    from ops_anomaly.aws.models import LoadedModel
    from ops_anomaly.detection.types import Detection, Floats, Integers


OLD_MS = 90 * DAY
"""A model is old if what it was trained on ended so long before the readings."""


def evaluate(request: DetectRequest, model: LoadedModel | None) -> DetectResponse:
    """Evaluate the posted readings, with a model or by themselves.

    Raises
    ------
    InvalidRequestError
        If a timestamp is not a valid date or time.
    FixedSensitivityError
        If a sensitivity is given and the model has one threshold.
    """
    posted, notes = series_of(request.series)
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
    notes += timeline.notes + evaluation_notes(detection)
    if model:
        notes += model_notes(model, timeline.series)
    name = model.manifest.name if model else None
    return response_of(timeline.series, detection, name, confidence(readings), notes)


def model_notes(model: LoadedModel, series: Series) -> list[str]:
    """Return notes on where readings do not fit those that a model was trained on."""
    notes = []
    if model.step and len(series) > MIN_STEPS and abs(series.step - model.step) > 0.05 * model.step:
        notes.append(
            f"The model was trained on readings {duration(model.step)} apart, and these are "
            f"{duration(series.step)} apart: expected values and alerts may be wrong."
        )
    if model.trained_until is not None and len(series):
        age = int(series.times[0]) - model.trained_until
        if age > OLD_MS:
            notes.append(
                f"What the model was trained on ended {duration(age)} before these readings, on "
                f"{utc(model.trained_until)[:10]}: train it again."
            )
    return notes


def series_of(readings: Sequence[Reading]) -> tuple[Series, list[str]]:
    """Return the readings, in their order, and a note on what their timestamps were read as.

    Raises
    ------
    InvalidRequestError
        If a timestamp is not a valid date or time, or of another form than the first one; it names
        all of them.
    """
    stamps = [reading.timestamp for reading in readings]
    values = np.array([reading.value for reading in readings], np.float64)
    if isinstance(stamps[0], str):
        return Series(times_of_texts(stamps), values), []
    times, unit = times_of_numbers(stamps)
    return Series(times, values), [f"Timestamps were read as {unit} since 1970, UTC."]


def times_of_texts(stamps: Sequence[str | float]) -> Integers:
    """Return times of ISO 8601 in milliseconds; without an offset they are UTC."""
    moments, invalid = [], []
    for number, stamp in enumerate(stamps):
        if not isinstance(stamp, str):
            invalid.append(timestamp_fault(number, "Not text, as the first timestamp is"))
            continue
        try:
            moment = datetime.fromisoformat(stamp.upper())
        except ValueError:
            invalid.append(timestamp_fault(number, "Not a valid date or time"))
            continue
        moments.append(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment)
    if invalid:
        raise InvalidRequestError(invalid)
    return np.array(moments, "datetime64[ms]").astype(np.int64)


def times_of_numbers(stamps: Sequence[str | float]) -> tuple[Integers, str]:
    """Return numbers since 1970 in milliseconds, and their unit, which the first one says."""
    numbers = np.array([math.nan if isinstance(stamp, str) else stamp for stamp in stamps])
    unit = epoch_unit(float(numbers[0]))
    if unit is None:
        message = f"Not a time since 1970 in {', '.join(EPOCH_UNITS)}"
        raise InvalidRequestError([timestamp_fault(0, message)])
    times, is_unit = epoch_milliseconds(numbers, unit)
    if not is_unit.all():
        message = f"Not in {unit}, as the first timestamp is"
        others = np.flatnonzero(~is_unit).tolist()
        raise InvalidRequestError(timestamp_fault(number, message) for number in others)
    return times, unit


def timestamp_fault(number: int, message: str) -> Fault:
    """Return what is wrong with the timestamp of a reading, by its position."""
    return Fault((BODY, "series", number, "timestamp"), message)


def response_of(
    series: Series,
    detection: Detection,
    model: str | None,
    confidence: float,
    notes: list[str],
) -> DetectResponse:
    """Return a detection as the response has it."""
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
        notes=notes,
        alerts=alerts,
        points=[Point(*row) for row in zip(*columns, strict=True)],
    )


def nullable(numbers: Floats) -> list[float | None]:
    """Return numbers as JSON has them: null where one is not known."""
    return [number if math.isfinite(number) else None for number in numbers.tolist()]
