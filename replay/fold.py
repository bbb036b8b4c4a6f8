"""What people would have been notified of: the anomalies of all metrics, folded into incidents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import MINUTE
from ops_anomaly.watcher.anomalies import ReportedAnomaly
from ops_anomaly.watcher.incidents import (
    REPORTED_MS,
    Incident,
    IncidentBoard,
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    IncidentResumed,
    Transition,
    fold,
)
from ops_anomaly.watcher.mutes import muted_until

if TYPE_CHECKING:
    from ops_anomaly.watcher.feedback import Feedback
    from ops_anomaly.watcher.watch_file import Options
    from replay.engine import Report


class Folded(NamedTuple):
    """What one run of the incident job has come to."""

    now: int
    board: IncidentBoard
    transitions: list[Transition]


@dataclass(frozen=True)
class Notified:
    """What people would have been notified of.

    Attributes
    ----------
    incidents : list of Incident
        As they were in the end, oldest first.
    messages : Counter of str
        How many of each incident, by its id: when it opens, when a metric joins whose topic does
        not know of it, when a snooze ends, when it closes.
    muted : list of ReportedAnomaly
        Anomalies of which nobody was notified, as they were within a mute.
    """

    incidents: list[Incident] = field(default_factory=list)
    messages: Counter[str] = field(default_factory=Counter)
    muted: list[ReportedAnomaly] = field(default_factory=list)


def notified(
    reports: Iterable[Report],
    entries: Mapping[str, Options],
    feedback: Sequence[Feedback],
    until: int,
) -> Notified:
    """Return what people would have been notified of; see `folded`."""
    incidents: dict[str, Incident] = {}
    muted: dict[str, ReportedAnomaly] = {}
    messages: Counter[str] = Counter()
    for _, board, transitions in folded(reports, entries, feedback, until):
        incidents |= {each.id: each for each in board.incidents}
        muted |= {each.anomaly.id: each for each in board.muted}
        messages.update(each.incident.id for each in transitions if _is_message(each))
    members = {each.anomaly.id for one in incidents.values() for each in one.members}
    return Notified(
        incidents=sorted(incidents.values(), key=attrgetter("opened_at", "id")),
        messages=messages,
        muted=[each for key, each in muted.items() if key not in members],
    )


def _is_message(transition: Transition) -> bool:
    match transition:
        case IncidentClosed(is_silent=is_silent):
            return not is_silent
        case IncidentJoined(topics=topics):
            return bool(topics)
        case IncidentOpened() | IncidentResumed():
            return True


def folded(
    reports: Iterable[Report],
    entries: Mapping[str, Options],
    feedback: Sequence[Feedback],
    until: int,
) -> Iterator[Folded]:
    """Run the watcher's incident job at each minute at which it could find something.

    That is a minute after each tick that changed a report, and when a mute or a snooze ends.

    Parameters
    ----------
    reports
        Of all metrics.
    entries
        The options of each entry of the watch file, by its name.
    until : int
        The last minute, milliseconds.
    """
    job = _IncidentJob(entries, feedback)
    for tick, changed in groupby(sorted(reports, key=_at), key=_at):
        yield from job.run_until(tick + MINUTE)
        job.reported |= {each.reported.anomaly.id: each.reported for each in changed}
        yield job.run(tick + MINUTE)
    yield from job.run_until(until + MINUTE)


def _at(report: Report) -> int:
    return report.at


class _IncidentJob:
    """The watcher's job, without its bucket."""

    def __init__(self, entries: Mapping[str, Options], feedback: Sequence[Feedback]) -> None:
        self._entries, self._feedback = entries, feedback
        self._board = IncidentBoard([], [])
        self._now = 0
        self.reported: dict[str, ReportedAnomaly] = {}

    def run(self, now: int) -> Folded:
        """Fold what is reported now."""
        self.reported = {
            key: each
            for key, each in self.reported.items()
            if each.closed_at is None or each.closed_at > now - REPORTED_MS
        }
        self._board, transitions = fold(
            self._board, self.reported.values(), self._entries, self._feedback, now
        )
        self._now = now
        return Folded(now, self._board, transitions)

    def run_until(self, end: int) -> Iterator[Folded]:
        """Run whenever a mute or a snooze ends before a time."""
        while (due := self._next_end()) is not None and due < end:
            yield self.run(due)

    def _next_end(self) -> int | None:
        """Return the first minute at which no mute or snooze may hold any more."""
        ends = [each.until for each in self._feedback if each.until is not None]
        for each in self._board.muted:
            options = self._entries[each.anomaly.provenance.entry]
            ends.append(muted_until(options.mute, Metric.parse(each.metric), self._now) or 0)
        return min((-(-end // MINUTE) * MINUTE for end in ends if end > self._now), default=None)
