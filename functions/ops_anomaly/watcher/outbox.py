"""State in the bucket and the notifications that follow from it: a transactional outbox.

A notification is written in the same object, and by the same conditional PUT, as the decision that
it announces. Whoever wrote it delivers it, and then removes it. If that process dies in between,
the next one delivers: at least once, deduplicated by id. A document has one writer at a time: the
message group of a queue is a shard's lock (`docs/decisions/0012-fifo.md`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from ops_anomaly.aws.errors import (
    ObjectNotFoundError,
    RequestRefusedError,
    ServiceError,
    StoreUnavailableError,
    translate_aws_errors,
)

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore


EXPIRY_MS = 86_400_000
"""A notification that could not be delivered for a day is old news."""

MAX_BATCH = 10
"""Entries that PutEvents and PublishBatch take."""

SOURCE = "ops-anomaly"

EVENT, MESSAGE = "event", "message"
"""Destinations: the bus, and the alert topic. Others are topics by their ARN."""


class CorruptStateError(ValueError):
    """The state can't be read; it is rebuilt from CloudWatch."""


class UndeliveredError(Exception):
    """Notifications could not be delivered; they are kept for the retry."""


class Notification(msgspec.Struct, frozen=True):
    """An event for programs and a message for people.

    Attributes
    ----------
    id : str
        The same whoever delivers it, so that a receiver can drop duplicates.
    about : str
        The incident: its notifications are delivered in order.
    waiting : tuple of str
        The destinations that have not accepted it.
    made_at : int
        Milliseconds since 1970.
    """

    id: str
    about: str
    detail_type: str
    detail: dict[str, Any]
    subject: str
    message: str
    made_at: int
    waiting: tuple[str, ...] = (EVENT, MESSAGE)


Outbox = tuple[Notification, ...]


class Channel(Protocol):
    """What sends notifications to one destination."""

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        """Send notifications in order; return the ids of those that were not accepted."""
        ...


Channels = Callable[[str], Channel]
"""Returns the channel of a destination, as `Notification.waiting` names it."""


class HasOutbox(Protocol):
    """A frozen dataclass with an outbox."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def outbox(self) -> Outbox:
        """Decided, and not known to be delivered."""
        ...


State = TypeVar("State")
OutboxState = TypeVar("OutboxState", bound=HasOutbox)


@dataclass(frozen=True)
class Snapshot(Generic[State]):
    """One version of a document.

    Attributes
    ----------
    etag : str or None
        What a write must still find; None if there is no object.
    is_corrupt : bool
        Whether there is an object that can't be read.
    """

    state: State
    etag: str | None
    is_corrupt: bool = False


@dataclass(frozen=True)
class VersionedDocument(Generic[State]):
    """An object in the bucket, changed by optimistic concurrency: a write names the ETag it read.

    Attributes
    ----------
    empty
        The state where there is no object.
    decode, encode
        From bytes, raising `CorruptStateError`, and to bytes.
    """

    store: ObjectStore
    key: str
    empty: State
    decode: Callable[[bytes], State]
    encode: Callable[[State], bytes]

    def read(self) -> Snapshot[State]:
        """Read the current version.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not respond.
        """
        try:
            stored = self.store.read(self.key)
        except ObjectNotFoundError:
            stored = None
        if stored is None:
            return Snapshot(self.empty, None)
        try:
            return Snapshot(self.decode(stored.data), stored.etag)
        except CorruptStateError:
            return Snapshot(self.empty, stored.etag, is_corrupt=True)

    def write(self, snapshot: Snapshot[State], state: State) -> Snapshot[State]:
        """Write a new version, if the current one is still that of the snapshot.

        Raises
        ------
        ConflictError
            If somebody else wrote in between.
        StoreUnavailableError
            If the bucket does not respond.
        """
        return Snapshot(state, self.store.write(self.key, self.encode(state), snapshot.etag))


class OutboxDocument(VersionedDocument[OutboxState]):
    """A document with an outbox, which is delivered when it has been written."""

    def write_and_deliver(
        self,
        snapshot: Snapshot[OutboxState],
        state: OutboxState,
        channels: Channels,
        now: int,
        on_expired: Callable[[Notification], None],
    ) -> Snapshot[OutboxState]:
        """Write a new version, deliver its outbox, and remove what was delivered.

        Returns
        -------
        Snapshot
            With what could not be delivered still in its outbox.

        Raises
        ------
        ConflictError
            If somebody else wrote in between: nothing of this version is delivered if it was
            before, and a retry delivers once more, under the same ids, if it was after.
        StoreUnavailableError
            If the bucket does not respond.
        """
        snapshot = self.write(snapshot, state)
        left = deliver(state.outbox, channels, now, on_expired)
        if left == state.outbox:
            return snapshot
        after = replace(state, outbox=left)
        try:
            return self.write(snapshot, after)
        except StoreUnavailableError:  # once more, or all of it would be sent a second time
            current = self.read()
            was_written = current.etag != snapshot.etag
            return current if was_written else self.write(current, after)


def deliver(
    outbox: Outbox,
    channels: Channels,
    now: int,
    on_expired: Callable[[Notification], None],
) -> Outbox:
    """Send notifications, those of an incident in order; return what is left to be tried again."""
    waiting = {each.id: each.waiting for each in outbox}
    for destination in dict.fromkeys(name for each in outbox for name in each.waiting):
        due = [each for each in outbox if destination in each.waiting]
        for notification_id in _accepted(channels(destination), due):
            waiting[notification_id] = tuple(
                name for name in waiting[notification_id] if name != destination
            )
    left = []
    for each in outbox:
        if not waiting[each.id]:
            continue
        if now - each.made_at > EXPIRY_MS:
            on_expired(each)
        else:
            left.append(msgspec.structs.replace(each, waiting=waiting[each.id]))
    return tuple(left)


def _accepted(channel: Channel, due: Sequence[Notification]) -> set[str]:
    """Send a channel what is due; return the ids of what it has accepted."""
    accepted: set[str] = set()
    stuck: set[str] = set()
    while due:
        # the first of each incident: it must not close before it has opened
        first: dict[str, Notification] = {}
        for each in due:
            first.setdefault(each.about, each)
        batch = list(first.values())
        failed = channel.send(batch)
        stuck |= {each.about for each in batch if each.id in failed}
        accepted |= {each.id for each in batch} - failed
        tried = {each.id for each in batch}
        due = [each for each in due if each.id not in tried and each.about not in stuck]
    return accepted


class BatchChannel(ABC):
    """A channel that takes a few notifications a call, and refuses each on its own.

    Parameters
    ----------
    client
        Returns a client of boto3; called when there is something to send.
    target
        The bus, or the topic.
    on_failure
        Called with a notification's id and why it was not accepted.
    """

    permission: ClassVar[str]

    def __init__(
        self, client: Callable[[], Any], target: str, on_failure: Callable[[str, str], None]
    ) -> None:
        self._client, self._target, self._on_failure = client, target, on_failure

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        """Send notifications in order; see `Channel.send`."""
        failed: dict[str, str] = {}
        for first in range(0, len(notifications), MAX_BATCH):
            failed |= self._refused(notifications[first : first + MAX_BATCH])
        for notification_id, reason in failed.items():
            self._on_failure(notification_id, reason)
        return set(failed)

    def _refused(self, batch: Sequence[Notification]) -> dict[str, str]:
        """Send a batch; return why notifications were refused, by id."""
        try:
            with translate_aws_errors(f"sending {len(batch)} notifications", self.permission):
                refused = self._send(batch)
        except RequestRefusedError as error:
            if len(batch) == 1:
                return {batch[0].id: str(error)}
            # one that can't be sent does not hold up the others
            return {key: why for each in batch for key, why in self._refused([each]).items()}
        except ServiceError as error:
            return {each.id: str(error) for each in batch}
        return {batch[position].id: reason for position, reason in refused.items()}

    @abstractmethod
    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        """Send up to `MAX_BATCH` notifications; return why some were refused, by position."""


class EventChannel(BatchChannel):
    """Events on an EventBridge bus."""

    permission = "events:PutEvents"

    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        response = self._client().put_events(
            Entries=[
                {
                    "EventBusName": self._target,
                    "Source": SOURCE,
                    "DetailType": each.detail_type,
                    "Detail": msgspec.json.encode(each.detail).decode(),
                }
                for each in batch
            ]
        )
        return {
            position: f"{entry['ErrorCode']}: {entry.get('ErrorMessage', '')}"
            for position, entry in enumerate(response["Entries"])
            if entry.get("ErrorCode")
        }


class MessageChannel(BatchChannel):
    """Messages on an SNS topic; subscribers can filter by `detail_type` and `severity`."""

    permission = "sns:Publish"

    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        response = self._client().publish_batch(
            TopicArn=self._target,
            PublishBatchRequestEntries=[
                {
                    "Id": str(position),
                    "Subject": each.subject,
                    "Message": each.message,
                    "MessageAttributes": {
                        "detail_type": {"DataType": "String", "StringValue": each.detail_type},
                        "severity": {
                            "DataType": "Number",
                            "StringValue": str(each.detail.get("severity") or 0),
                        },
                    },
                }
                for position, each in enumerate(batch)
            ],
        )
        return {
            int(entry["Id"]): f"{entry['Code']}: {entry.get('Message', '')}"
            for entry in response.get("Failed", [])
        }
