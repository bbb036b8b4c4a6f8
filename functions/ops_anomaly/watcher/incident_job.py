"""The job that notifies people: once a minute it brings the incidents up to date, and delivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ops_anomaly.aws.errors import CorruptFeedbackError
from ops_anomaly.aws.objects import (
    FEEDBACK_KEY,
    INCIDENTS_KEY,
    CachedObject,
    anomalies_key,
)
from ops_anomaly.watcher.anomalies import ReportedAnomaly
from ops_anomaly.watcher.feedback_file import decode_feedback
from ops_anomaly.watcher.incidents import (
    HOLD_MS,
    IncidentBoard,
    IncidentClosed,
    IncidentOpened,
    decode_reported,
    fold,
)
from ops_anomaly.watcher.notifications import incident_notification
from ops_anomaly.watcher.outbox import CorruptStateError, Notification, OutboxDocument
from ops_anomaly.watcher.telemetry import IncidentReport

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.feedback import Feedback
    from ops_anomaly.watcher.fleet import Fleet, FleetList
    from ops_anomaly.watcher.incidents import Transition
    from ops_anomaly.watcher.outbox import Channels
    from ops_anomaly.watcher.telemetry import Telemetry
    from ops_anomaly.watcher.watch_file import Options


@dataclass(frozen=True)
class IncidentState:
    """The incidents of the fleet, and what people and programs are still to be notified of."""

    board: IncidentBoard = field(default_factory=lambda: IncidentBoard([], []))
    outbox: tuple[Notification, ...] = ()


def encode_incidents(state: IncidentState) -> bytes:
    """Return the object."""
    return msgspec.json.encode(state)


def decode_incidents(data: bytes) -> IncidentState:
    """Read the object.

    Raises
    ------
    CorruptStateError
        If it is anything but what `encode_incidents` writes.
    """
    try:
        return msgspec.json.decode(data, type=IncidentState)
    except (ValueError, RecursionError) as error:
        raise CorruptStateError(f"not the incidents of a fleet: {error}") from error


class IncidentJob:
    """Folds what the shards report into incidents, by one instance of the function at a time.

    Two that run together do no harm: the second finds that the first has written.

    Parameters
    ----------
    page, bucket : str or None
        URL of the page of incidents, and the bucket's name, for messages.
    clock
        Milliseconds since 1970.
    """

    def __init__(
        self,
        store: ObjectStore,
        fleet: FleetList,
        channels: Channels,
        telemetry: Telemetry,
        page: str | None,
        bucket: str | None,
        clock: Callable[[], int],
    ) -> None:
        self._store, self._fleet, self._channels = store, fleet, channels
        self._telemetry, self._page, self._bucket = telemetry, page, bucket
        self._clock = clock
        self._document = OutboxDocument(
            store, INCIDENTS_KEY, IncidentState(), decode_incidents, encode_incidents
        )
        self._feedback = CachedObject(store, FEEDBACK_KEY, decode_feedback)
        self._shards: dict[int, CachedObject[list[ReportedAnomaly]]] = {}

    def run(self) -> IncidentReport | None:
        """Bring incidents up to date, and notify of what has opened, joined or closed.

        Returns
        -------
        IncidentReport or None
            None without a list of the fleet: there is nothing to report yet.

        Raises
        ------
        ConflictError, StoreUnavailableError
            If it could not be done: the next minute does it.
        """
        fleet = self._fleet.read()
        if fleet is None:
            return None
        now = self._clock()
        reported = [each for shard in range(fleet.shards) for each in self._reported(shard)]
        entries = _entries(fleet, reported)
        snapshot = self._document.read()
        state = snapshot.state
        if snapshot.is_corrupt:
            self._telemetry.state_rebuilt(INCIDENTS_KEY)
            state = IncidentState(IncidentBoard([], [], since=now))  # of what is over people know
        hold = HOLD_MS if fleet.shards > 1 else 0  # one job reports all that it finds together
        board, transitions = fold(state.board, reported, entries, self._given(), now, hold)
        made = self._notifications(transitions, entries, now)
        after = IncidentState(board, (*state.outbox, *made))
        if after != state or after.outbox:
            after = self._document.write_and_deliver(
                snapshot, after, self._channels, now, self._telemetry.expired
            ).state
        return _report(after, transitions)

    def _reported(self, shard: int) -> list[ReportedAnomaly]:
        """Return what a shard reports; nothing of a new one, or of an unreadable report."""
        key = anomalies_key(shard)
        report = self._shards.setdefault(shard, CachedObject(self._store, key, decode_reported))
        try:
            return report.read() or []
        except CorruptStateError:  # the next job of the shard writes another
            self._telemetry.state_rebuilt(key)
            return []

    def _given(self) -> list[Feedback] | None:
        """Return what people have said of incidents; None if the file can't be read."""
        try:
            return self._feedback.read() or []
        except CorruptFeedbackError as error:
            self._telemetry.feedback_unreadable(error)
            return None

    def _notifications(
        self, transitions: Sequence[Transition], entries: Mapping[str, Options], now: int
    ) -> list[Notification]:
        return [
            incident_notification(each, entries, self._page, now, self._bucket)
            for each in transitions
        ]


def _entries(fleet: Fleet, reported: Sequence[ReportedAnomaly]) -> dict[str, Options]:
    """Return the options of each entry by its name, and by the one that it had before."""
    entries = {each.name: each for each in fleet.entries}
    former = {each.anomaly.provenance.entry for each in reported} - entries.keys()
    if former:
        now = {member.metric: fleet.entries[member.entry] for member in fleet.members}
        for each in reported:
            name = each.anomaly.provenance.entry
            if name in former and each.metric in now:
                entries[name] = now[each.metric]
    return entries


def _report(state: IncidentState, transitions: Sequence[Transition]) -> IncidentReport:
    kinds = Counter(type(each) for each in transitions)
    closed = [each for each in transitions if isinstance(each, IncidentClosed)]
    return IncidentReport(
        open=sum(each.closed_at is None for each in state.board.incidents),
        muted=len(state.board.muted),
        opened=kinds[IncidentOpened],
        closed=len(closed),
        withdrawn=sum(each.incident.close_reason == "withdrawn" for each in closed),
        pending=len(state.outbox),
    )
