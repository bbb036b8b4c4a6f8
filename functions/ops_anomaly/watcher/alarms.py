"""CloudWatch alarms as they change: evaluated once when they fire, and closed when they are OK."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from ops_anomaly.aws.objects import alarm_key
from ops_anomaly.watcher.alarm_evaluation import AlarmIncident, evaluate_alarm
from ops_anomaly.watcher.alarm_notifications import alarm_cleared, alarm_fired
from ops_anomaly.watcher.outbox import (
    CorruptStateError,
    Outbox,
    OutboxDocument,
    UndeliveredError,
)

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.events import AlarmChange
    from ops_anomaly.watcher.outbox import Channels, Notification
    from ops_anomaly.watcher.telemetry import Telemetry


DELIVERY_MS = 60_000
"""The function's timeout, and less than the queue waits before it retries: whoever made a
notification longer ago has delivered it, or has died."""


class BusyError(Exception):
    """Another instance is delivering what it made of the same alarm; a retry finds what is left."""


@dataclass(frozen=True)
class AlarmState:
    """The state of one alarm.

    Attributes
    ----------
    until : int
        Time of the last change, milliseconds: the same or an older one changes nothing.
    """

    until: int = 0
    incident: AlarmIncident | None = None
    outbox: Outbox = ()


def encode_alarm_state(state: AlarmState) -> bytes:
    """Return the object."""
    return msgspec.json.encode(state)


def decode_alarm_state(data: bytes) -> AlarmState:
    """Read the object.

    Raises
    ------
    CorruptStateError
        If it is anything but what `encode_alarm_state` writes.
    """
    try:
        return msgspec.json.decode(data, type=AlarmState)
    except (ValueError, RecursionError) as error:
        raise CorruptStateError(f"not the state of an alarm: {error}") from error


class AlarmEvaluator:
    """Evaluates alarms as they change.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Milliseconds since 1970.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        channels: Channels,
        telemetry: Telemetry,
        clock: Callable[[], int],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._channels = channels
        self._telemetry = telemetry
        self._clock = clock

    def handle(self, change: AlarmChange) -> list[Notification]:
        """Evaluate an alarm that fires, or close one that is OK; return what is notified.

        Raises
        ------
        ServiceUnavailableError, StoreUnavailableError, ConflictError, BusyError, UndeliveredError
            If a retry is needed: it does what is left to do.
        """
        document = OutboxDocument(
            self._store, alarm_key(change.arn), AlarmState(), decode_alarm_state, encode_alarm_state
        )
        snapshot, now = document.read(), self._clock()
        if snapshot.is_corrupt:
            self._telemetry.state_rebuilt(document.key)
        state = snapshot.state
        if any(now - each.made_at < DELIVERY_MS for each in state.outbox):
            raise BusyError(f"alarm {change.name} is being handled by another instance")
        notifications: list[Notification] = []
        if change.at > state.until:
            state, notifications = self._advance(state, change)
        elif not state.outbox:
            return []
        after = document.write_and_deliver(
            snapshot, state, self._channels, self._clock(), self._telemetry.expired
        )
        left = after.state.outbox
        if left:
            raise UndeliveredError(f"alarm {change.name}: {len(left)} not delivered")
        return notifications

    def _advance(
        self, state: AlarmState, change: AlarmChange
    ) -> tuple[AlarmState, list[Notification]]:
        """Return the state after a change, and the notifications of it.

        An alarm may go into ALARM again while its incident is open: after a lack of data, or when
        its actions were suppressed. Only if it was OK in between, which was missed, it is new.
        """
        state = replace(state, until=change.at)
        notifications: list[Notification] = []
        if state.incident and "OK" in (change.state, change.previous_state):
            ok = replace(change, state="OK")
            notifications.append(alarm_cleared(ok, state.incident, self._clock()))
            state = replace(state, incident=None)
        if change.state == "ALARM" and state.incident is None:
            verdicts = evaluate_alarm(self._cloudwatch(), change)
            incident, notification = alarm_fired(change, verdicts, self._clock())
            notifications.append(notification)
            state = replace(state, incident=incident)
        return replace(state, outbox=(*state.outbox, *notifications)), notifications
