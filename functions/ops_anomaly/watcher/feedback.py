"""What people say of incidents: that they were fine or real, or that they are to be silent a while."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ops_anomaly.validation import Contract

Verdict = Literal["fine", "real", "snooze"]


class Mark(Contract, frozen=True):
    """An anomaly that feedback is about.

    Attributes
    ----------
    anomaly : str
        Its id.
    metric : str
        As `Metric.parse` reads it.
    start, stop : int
        Times of its first and its last unusual reading, milliseconds.
    lowest, highest : float
        Its unusual readings.
    below, above : float
        How far they were below and above what was expected, at most; 0 if they never were.
    """

    anomaly: str
    metric: str
    start: int
    stop: int
    lowest: float
    highest: float
    below: float
    above: float


class Undo(Contract, frozen=True):
    """Who took feedback back, and when, milliseconds."""

    by: str
    at: int


class Feedback(Contract, frozen=True):
    """What somebody said of an incident.

    Attributes
    ----------
    incident : str
        Its id.
    by : str
        Who said so.
    at : int
        When, milliseconds.
    until : int or None
        Of a snooze: when it ends, milliseconds.
    """

    incident: str
    verdict: Verdict
    by: str
    at: int
    until: int | None = None
    marks: list[Mark] = msgspec.field(default_factory=list)
    undone: Undo | None = None


class FeedbackFile(Contract, frozen=True):
    """All feedback, oldest first."""

    version: Annotated[int, Meta(ge=1, le=1)] = 1
    feedback: list[Feedback] = msgspec.field(default_factory=list)
