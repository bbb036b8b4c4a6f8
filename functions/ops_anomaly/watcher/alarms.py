"""Alarms as they change: one verdict when one fires, and one notice when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops_anomaly.aws.errors import ConflictError
from ops_anomaly.aws.objects import alarm_key
from ops_anomaly.watcher.alarm_queries import from_event, queries_of_composite
from ops_anomaly.watcher.alarm_verdicts import (
    AlarmState,
    Verdict,
    decode_alarm_state,
    encode_alarm_state,
    evaluate_alarm_query,
)
from ops_anomaly.watcher.documents import (
    ATTEMPTS,
    BusyError,
    UndeliveredError,
    VersionedDocument,
)
from ops_anomaly.watcher.notifications import cleared, fired

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.events import AlarmChange
    from ops_anomaly.watcher.outbox import Channel, Notification
    from ops_anomaly.watcher.telemetry import Telemetry


LEASE_SECONDS = 50
"""More than it takes to tell, and less than AWS waits before it tries an event again."""


class AlarmEvaluator:
    """Takes alarms as they change.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        channels: Sequence[Channel],
        reporter: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._channels = channels
        self._reporter = reporter
        self._clock = clock

    def take(self, change: AlarmChange) -> list[Notification]:
        """Judge an alarm that fires, or close the one that is over; return what is told.

        Raises
        ------
        ServiceUnavailableError, StoreUnavailableError, BusyError, UndeliveredError
            If a retry is needed: it does what is left to do.
        """
        key = alarm_key(change.arn)
        notebook = VersionedDocument(
            self._store, key, AlarmState(), decode_alarm_state, encode_alarm_state, LEASE_SECONDS
        )
        for _ in range(ATTEMPTS):
            page = notebook.open()
            if page.is_unreadable:
                self._reporter.state_rebuilt(key)
            memory = page.state
            notices: list[Notification] = []
            if change.at > memory.until:
                memory, notices = self._after(memory, change)
            elif not memory.outbox:
                return []
            try:
                left = notebook.commit_and_deliver(
                    page, memory, self._channels, self._clock, self._reporter.given_up
                )
            except ConflictError:
                continue
            if any(not waiting.claimed_at for waiting in left.outbox):  # it was tried, and refused
                raise UndeliveredError(f"alarm {change.name}: {len(left.outbox)} notices wait")
            return notices
        raise BusyError(f"{key}: others keep writing it")

    def _after(
        self, memory: AlarmState, change: AlarmChange
    ) -> tuple[AlarmState, list[Notification]]:
        """Return what is remembered after a change, and what is told of it.

        An alarm may say ALARM again while it is on: after a lack of data, or when its actions were
        suppressed for a while. Only where it was OK in between, which was missed, it is new.
        """
        memory = replace(memory, until=change.at)
        notices: list[Notification] = []
        if memory.incident and "OK" in (change.state, change.before):
            notices.append(cleared(replace(change, state="OK"), memory.incident, self._clock()))
            memory = replace(memory, incident=None)
        if change.state == "ALARM" and memory.incident is None:
            incident, notice = fired(change, self._verdicts(change), self._clock())
            notices.append(notice)
            memory = replace(memory, incident=incident)
        return replace(memory, outbox=(*memory.outbox, *notices)), notices

    def _verdicts(self, change: AlarmChange) -> list[Verdict]:
        cloudwatch = self._cloudwatch()
        questions = (
            [from_event(change.name, change.metrics)]
            if change.metrics
            else queries_of_composite(cloudwatch, change)
        )
        return [
            evaluate_alarm_query(cloudwatch, each, change.at, change.evaluated_from)
            for each in questions
        ]
