"""Reports of anomalies, as shards make them, and what becomes of them minute by minute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from ops_anomaly.detection.types import Detection
from ops_anomaly.watcher.anomalies import (
    Anomaly,
    CloseReason,
    Extremes,
    Peak,
    Provenance,
    ReportedAnomaly,
)
from ops_anomaly.watcher.feedback import Feedback
from ops_anomaly.watcher.incidents import (
    IncidentBoard,
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    IncidentResumed,
    Transition,
    fold,
)
from ops_anomaly.watcher.watch_file import Options
from tests.support.watcher import NOON_MS

MINUTE, PERIOD = 60_000, 300

KINDS = {
    IncidentOpened: "opened",
    IncidentJoined: "joined",
    IncidentResumed: "resumed",
    IncidentClosed: "closed",
}


def reported(
    metric: str,
    begin: int = 0,
    *,
    end: int | None = None,
    severity: float = 0.8,
    entry: str = "web",
    period: int = PERIOD,
    reason: CloseReason = "recovered",
    is_silent: bool = False,
) -> ReportedAnomaly:
    """The anomaly of a metric such as "Errors Page=cart" that was unusual from one minute on.

    It was found when its first period was over; and is over, if it is, by the minute `end`.
    """
    text = f"shop {metric} Sum {period}"
    first_seen = NOON_MS + begin * MINUTE
    opened_at = first_seen + period * 1000
    closed_at = None if end is None else NOON_MS + end * MINUTE
    peak = Peak(
        time=first_seen,
        value=None if is_silent else 95.0,
        expected=None if is_silent else 30.0,
        lower=None if is_silent else 25.0,
        upper=None if is_silent else 35.0,
        score=9.0,
        severity=severity,
        reason="no data for 30 min or more" if is_silent else "jumped by 65",
    )
    return ReportedAnomaly(
        metric=text,
        anomaly=Anomaly(
            id=hashlib.sha256(f"{text} since {first_seen}".encode()).hexdigest()[:16],
            first_seen=first_seen,
            last_seen=first_seen,
            readings=0 if is_silent else 1,
            member=None,
            peak=peak,
            provenance=Provenance(entry, None, None, 4_032, 0.97),
            extremes=None if is_silent else Extremes(95.0, 95.0, 0.0, 65.0),
        ),
        opened_at=opened_at,
        closed_at=closed_at,
        close_reason=None if closed_at is None else reason,
    )


def lasting(each: ReportedAnomaly, last: int) -> ReportedAnomaly:
    """The same anomaly, whose last unusual reading was in a minute."""
    last_seen = NOON_MS + last * MINUTE
    anomaly = msgspec.structs.replace(each.anomaly, last_seen=last_seen)
    return msgspec.structs.replace(each, anomaly=anomaly)


def over(each: ReportedAnomaly, end: int, reason: CloseReason = "recovered") -> ReportedAnomaly:
    """The same anomaly, which is over by a minute."""
    return msgspec.structs.replace(each, closed_at=NOON_MS + end * MINUTE, close_reason=reason)


class Folding:
    """The incident job without a bucket: folds what is reported, and keeps what it came to."""

    def __init__(self, hold: int = 0, **entries: Options) -> None:
        self.hold, self.entries = hold, {"web": Options(name="web")} | entries
        self.board = IncidentBoard([], [])
        self.feedback: list[Feedback] | None = []
        self.transitions: list[Transition] = []

    def fold(self, minute: float, reports: Iterable[ReportedAnomaly]) -> Sequence[Transition]:
        """Bring the board up to date, so many minutes after noon."""
        now = NOON_MS + round(minute * MINUTE)
        self.board, found = fold(
            self.board, reports, self.entries, self.feedback, now, hold=self.hold
        )
        self.transitions += found
        return found

    @property
    def changes(self) -> list[tuple[str, int]]:
        """What has happened to incidents, and how many members they had then."""
        return [(KINDS[type(each)], len(each.incident.members)) for each in self.transitions]


def expecting(expected: np.ndarray) -> Detection:
    """A detection that finds nothing, and of which it matters what was expected."""
    nothing, never = np.zeros(len(expected)), np.zeros(len(expected), bool)
    return Detection(nothing, nothing, never, never, expected, expected, expected, {}, [])
