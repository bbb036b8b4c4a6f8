"""What people say of incidents: that they were fine, or real, or that they are to be snoozed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from ops_anomaly.validation import Contract

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Mask, Series


Verdict = Literal["fine", "real", "snooze"]

LIKENESS = 0.25
"""By how much of their deviation readings may go beyond those that were fine, and be like them.

On 61 labelled series (NAB's first half and a cloud's metrics), with every false alert marked as
fine: of 297 false alerts 45 were like an earlier one at 0, 86 at 0.1, 115 at 0.25, 149 at 0.5; of
123 incidents that were found 1, 2, 4 and 8 were, and would have been missed.
"""


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
    metrics : list of str
        Of a snooze: those of which nobody is notified until then.
    """

    incident: str
    verdict: Verdict
    by: str
    at: int
    until: int | None = None
    marks: list[Mark] = msgspec.field(default_factory=list)
    metrics: list[str] = msgspec.field(default_factory=list)
    undone: Undo | None = None


class FeedbackFile(Contract, frozen=True):
    """All feedback, oldest first."""

    version: Annotated[int, Meta(ge=1, le=1)] = 1
    feedback: list[Feedback] = msgspec.field(default_factory=list)


class MetricFeedback(NamedTuple):
    """What people have said of a metric's anomalies, and has not been undone."""

    fine: tuple[Mark, ...] = ()
    real: tuple[Mark, ...] = ()


NO_FEEDBACK = MetricFeedback()


def by_metric(feedback: Sequence[Feedback]) -> dict[str, MetricFeedback]:
    """Return what holds of each metric, by its text."""
    found: dict[str, MetricFeedback] = {}
    for each in feedback:
        if each.undone or each.verdict == "snooze":
            continue
        for mark in each.marks:
            before = found.get(mark.metric, NO_FEEDBACK)
            marks = (*getattr(before, each.verdict), mark)
            found[mark.metric] = before._replace(**{each.verdict: marks})
    return found


def is_like(series: Series, detection: Detection, fine: Sequence[Mark]) -> Mask:
    """Return which readings are like those of anomalies that were fine: (n,).

    A reading is like them if its value is among theirs, and its deviation from what was expected is
    on the same side and no larger; both with a quarter of their deviation to spare.

    Parameters
    ----------
    series, detection
        Of the same n readings.
    """
    found = np.zeros(len(series), bool)
    deviation = series.values - detection.expected
    for mark in fine:
        spare = LIKENESS * max(mark.below, mark.above)
        is_near = (series.values >= mark.lowest - spare) & (series.values <= mark.highest + spare)
        is_far = (deviation > mark.above + spare * (mark.above > 0)) | (
            -deviation > mark.below + spare * (mark.below > 0)
        )
        found |= is_near & ~is_far
    return found
