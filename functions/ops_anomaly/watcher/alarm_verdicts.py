"""How unusual the series behind an alarm is, and what is stored of an alarm."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from ops_anomaly.aws.cloudwatch import read_queries
from ops_anomaly.aws.errors import AccessDeniedError, RequestRefusedError
from ops_anomaly.detection.contextual_forest import ContextualForest, usual_probation
from ops_anomaly.detection.formatting import number
from ops_anomaly.watcher.documents import (
    CorruptStateError,
)
from ops_anomaly.watcher.evaluation import periods_of
from ops_anomaly.watcher.formatting import floor_to, iso, parse_time, spoken
from ops_anomaly.watcher.outbox import Outbox

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Readings
    from ops_anomaly.watcher.alarm_queries import AlarmQuery


class AlarmIncident(msgspec.Struct, frozen=True):
    """An alarm that has fired and is not over; `detail` is that of the event that said so."""

    id: str
    since: float
    detail: dict[str, Any]


@dataclass(frozen=True)
class AlarmState:
    """What is remembered of an alarm.

    Attributes
    ----------
    until : float
        The last change that was taken, in seconds since 1970: the same or an older one changes
        nothing.
    """

    version: Literal[1] = 1
    until: float = 0.0
    incident: AlarmIncident | None = None
    outbox: Outbox = ()


def decode_alarm_state(data: bytes) -> AlarmState:
    """Read what is remembered of an alarm.

    Raises
    ------
    CorruptStateError
        If it is anything but what `encode_alarm_state` writes.
    """
    try:
        return msgspec.json.decode(data, type=AlarmState)
    except (ValueError, RecursionError) as error:
        raise CorruptStateError(f"not what is remembered of an alarm: {error}") from error


def encode_alarm_state(memory: AlarmState) -> bytes:
    """Return the object."""
    return msgspec.json.encode(memory)


HISTORY_DAYS = 14
RECENT_SECONDS = 3_600
RECENT_READINGS = 3
"""An alarm is judged by the readings that it evaluated; where it does not say which, by those of
the last hour, and by so many at least."""

MIN_READINGS = 30
"""Readings below which nothing can be said of what is usual."""


@dataclass(frozen=True)
class Verdict:
    """What is found of one series; `title` is what people call it."""

    title: str
    metric: str
    alarm: str
    value: float | None = None
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    score: float | None = None
    severity: float | None = None
    is_unusual: bool | None = None
    since: str | None = None
    reason: str | None = None
    compared_with: str | None = None
    cannot: str | None = None

    @property
    def detail(self) -> dict[str, Any]:
        """The verdict as events carry it: all but the title."""
        detail = asdict(self)
        del detail["title"]
        return detail

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        if self.cannot is not None or self.value is None or self.severity is None:
            return f"{self.title} could not be judged: {self.cannot}."
        if self.is_unusual:
            since = spoken(parse_time(self.since) or 0.0)
            return (
                f"{self.title} is unusual since {since}, severity {self.severity:.2f}: "
                f"{self.reason}. Compared with {self.compared_with}."
            )
        ordinary = ""
        if self.lower is not None and self.upper is not None:
            ordinary = f" ({number(self.lower)} to {number(self.upper)} is ordinary)"
        return (
            f"{self.title} is at {number(self.value)}, which is not unusual for it{ordinary}. "
            f"Compared with {self.compared_with}."
        )


def evaluate_alarm_query(
    cloudwatch: Any, question: AlarmQuery, at: float, evaluated_from: float | None
) -> Verdict:
    """Read the history of a series and judge its end; what can't be judged is said.

    Parameters
    ----------
    at : float
        When the alarm changed, in seconds since 1970.
    evaluated_from : float or None
        When the readings begin that it evaluated.

    Raises
    ------
    ServiceUnavailableError
        If CloudWatch does not answer: a retry may help.
    """
    verdict = Verdict(title=question.title, metric=question.series, alarm=question.alarm)
    if question.cannot is not None:
        return replace(verdict, cannot=question.cannot)
    period = question.period
    end = floor_to(at, period) + period  # the period that it evaluated last may go on
    start = end - periods_of(HISTORY_DAYS, period) * period
    queries = [{**q, "ReturnData": q["Id"] == question.answer} for q in question.queries]
    try:
        found = read_queries(cloudwatch, queries, start, end)
    except (RequestRefusedError, AccessDeniedError) as error:
        return replace(verdict, cannot=str(error))
    readings = found.get(question.answer)
    if readings is None or len(readings) < MIN_READINGS:
        has = len(readings) if readings else 0
        why = f"CloudWatch has {has} readings of it, and {MIN_READINGS} are needed"
        return replace(verdict, cannot=why)
    return judged(verdict, readings, at, evaluated_from)


def judged(
    verdict: Verdict, readings: Readings, at: float, evaluated_from: float | None
) -> Verdict:
    """Judge the last readings of a series by those before them."""
    count = len(readings)
    detector = ContextualForest.untrained(probation=usual_probation(count))
    detection = detector.detect(readings.timestamps, readings.values)
    times = readings.timestamps.astype(np.int64)
    recent_from = min(evaluated_from or math.inf, at - RECENT_SECONDS)
    first = min(int(np.searchsorted(times, recent_from)), count - RECENT_READINGS)
    severity = detection.severity
    flagged = first + np.flatnonzero(detection.is_anomaly[first:])
    if len(flagged):
        position = int(flagged[severity[flagged].argmax()])
        begins = [alert.start for alert in detection.alerts if alert.start <= position]
        since = int(times[begins[-1] if begins else flagged[0]])
    else:
        position, since = count - 1, None
    expected, lower, upper = (
        float(bound[position]) if math.isfinite(bound[position]) else None
        for bound in (detection.expected, detection.lower, detection.upper)
    )
    return replace(
        verdict,
        value=float(readings.values[position]),
        expected=expected,
        lower=lower,
        upper=upper,
        score=float(detection.scores[position]),
        severity=round(float(severity[position]), 4),
        is_unusual=since is not None,
        since=iso(since) if since is not None else None,
        reason=detection.reasons.get(position),
        compared_with=f"{count:,} readings since {spoken(int(times[0]))}",
    )
