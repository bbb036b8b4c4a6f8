"""State in the bucket and the notifications that follow from it: a transactional outbox.

A notification is written in the same object, and by the same conditional PUT, as the decision that
it announces. Whoever wrote it has claimed it, delivers it, and then removes it. If that process
dies in between, its claim expires, and the next one delivers: at least once, deduplicated by id.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec

from ops_anomaly.aws.errors import (
    ConflictError,
    ObjectNotFoundError,
    ServiceError,
    translate_aws_errors,
)

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore


ATTEMPTS = 5
"""Tries at a conditional write before giving up."""

EXPIRY_MS = 86_400_000
"""A notification that could not be delivered for a day is old news."""

MAX_BATCH = 10
"""Entries that PutEvents and PublishBatch take."""

SOURCE = "ops-anomaly"

ChannelName = Literal["event", "message"]


class CorruptStateError(ValueError):
    """The state can't be read; it is rebuilt from CloudWatch."""


class BusyError(Exception):
    """Other processes kept writing the same object; a retry starts from what they wrote."""


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
        The channels that have not accepted it.
    made_at, claimed_at : int
        Milliseconds since 1970; 0 if it is not claimed.
    """

    id: str
    about: str
    detail_type: str
    detail: dict[str, Any]
    subject: str
    message: str
    made_at: int
    claimed_at: int = 0
    waiting: tuple[ChannelName, ...] = ("event", "message")


Outbox = tuple[Notification, ...]


class Channel(Protocol):
    """A destination of notifications."""

    @property
    def name(self) -> ChannelName:
        """Its name in `Notification.waiting`."""
        ...

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        """Send notifications in order; return the ids of those that were not accepted."""
        ...


class HasOutbox(Protocol):
    """A frozen dataclass with an outbox."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def outbox(self) -> Outbox:
        """Decided, and not known to be delivered."""
        ...


State = TypeVar("State", bound=HasOutbox)


@dataclass(frozen=True)
class Snapshot(Generic[State]):
    """One version of a document.

    Attributes
    ----------
    etag : str or None
        What a commit must still find; None if there is no object.
    is_corrupt : bool
        Whether there is an object that can't be read.
    """

    state: State
    etag: str | None
    is_corrupt: bool = False

    @property
    def is_new(self) -> bool:
        """Whether there is no object yet."""
        return self.etag is None


@dataclass(frozen=True)
class VersionedDocument(Generic[State]):
    """An object in the bucket, changed by optimistic concurrency: a commit names the ETag it read.

    Attributes
    ----------
    empty
        The state where there is no object.
    lease_ms
        How long a claim on notifications holds: whoever has claimed them longer has died.
    decode, encode
        From bytes, raising `CorruptStateError`, and to bytes.
    """

    store: ObjectStore
    key: str
    empty: State
    decode: Callable[[bytes], State]
    encode: Callable[[State], bytes]
    lease_ms: int

    def snapshot(self) -> Snapshot[State]:
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

    def commit(self, snapshot: Snapshot[State], state: State) -> Snapshot[State]:
        """Write a new version, if the current one is still that of the snapshot.

        Raises
        ------
        ConflictError
            If somebody else wrote in between.
        StoreUnavailableError
            If the bucket does not respond.
        """
        return Snapshot(state, self.store.write(self.key, self.encode(state), snapshot.etag))

    def commit_and_deliver(
        self,
        snapshot: Snapshot[State],
        state: State,
        channels: Iterable[Channel],
        clock: Callable[[], int],
        on_expired: Callable[[Notification], None],
    ) -> State:
        """Write a new version, deliver its outbox, and remove what was delivered.

        Returns
        -------
        State
            With what could not be delivered still in its outbox.

        Raises
        ------
        ConflictError
            If somebody else wrote in between; nothing is delivered then.
        BusyError
            If others kept writing after the delivery: a retry delivers again, under the same ids.
        """
        outbox, mine = claim(state.outbox, clock(), self.lease_ms)
        snapshot = self.commit(snapshot, replace(state, outbox=outbox))
        if not mine:
            return snapshot.state
        waiting = deliver(mine, channels)
        for _ in range(ATTEMPTS):
            left = settle(snapshot.state.outbox, waiting, clock(), on_expired)
            try:
                return self.commit(snapshot, replace(snapshot.state, outbox=left)).state
            except ConflictError:
                snapshot = self.snapshot()
        raise BusyError(f"{self.key} is being written by others")


def claim(outbox: Outbox, now: int, lease_ms: int) -> tuple[Outbox, Outbox]:
    """Claim the notifications that nobody else is delivering; of each incident, in order.

    Returns
    -------
    Outbox
        With the claims, to be written before anything is delivered.
    Outbox
        What has been claimed.
    """
    mine: set[str] = set()
    busy: set[str] = set()  # incidents of which somebody else is delivering something earlier
    for each in outbox:
        if now - each.claimed_at < lease_ms:
            busy.add(each.about)
        elif each.about not in busy:
            mine.add(each.id)
    claimed = tuple(
        msgspec.structs.replace(each, claimed_at=now) if each.id in mine else each
        for each in outbox
    )
    return claimed, tuple(each for each in claimed if each.id in mine)


def deliver(
    notifications: Outbox, channels: Iterable[Channel]
) -> dict[str, tuple[ChannelName, ...]]:
    """Send what has been claimed; return by id the channels that have not accepted it."""
    waiting = {each.id: each.waiting for each in notifications}
    for channel in channels:
        due = [each for each in notifications if channel.name in each.waiting]
        stuck: set[str] = set()
        while due:
            # the first of each incident: it must not close before it has opened
            batch = list({each.about: each for each in reversed(due)}.values())[::-1]
            failed = channel.send(batch)
            for each in batch:
                if each.id in failed:
                    stuck.add(each.about)
                else:
                    waiting[each.id] = tuple(n for n in waiting[each.id] if n != channel.name)
            sent = {each.id for each in batch}
            due = [each for each in due if each.id not in sent and each.about not in stuck]
    return waiting


def settle(
    outbox: Outbox,
    waiting: dict[str, tuple[ChannelName, ...]],
    now: int,
    on_expired: Callable[[Notification], None],
) -> Outbox:
    """Return what is left after a delivery, unclaimed, for the next evaluation to try again."""
    left = []
    for each in outbox:
        if each.id not in waiting:
            left.append(each)
        elif not waiting[each.id]:
            continue
        elif now - each.made_at > EXPIRY_MS:
            on_expired(each)
        else:
            left.append(msgspec.structs.replace(each, waiting=waiting[each.id], claimed_at=0))
    return tuple(left)


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

    name: ClassVar[ChannelName]
    permission: ClassVar[str]

    def __init__(
        self, client: Callable[[], Any], target: str, on_failure: Callable[[str, str], None]
    ) -> None:
        self._client, self._target, self._on_failure = client, target, on_failure

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        """Send notifications in order; see `Channel.send`."""
        failed: dict[str, str] = {}
        for first in range(0, len(notifications), MAX_BATCH):
            batch = notifications[first : first + MAX_BATCH]
            try:
                with translate_aws_errors(f"sending {len(batch)} notifications", self.permission):
                    refused = self._send(batch)
            except ServiceError as error:
                refused = dict.fromkeys(range(len(batch)), str(error))
            failed |= {batch[position].id: reason for position, reason in refused.items()}
        for notification_id, reason in failed.items():
            self._on_failure(notification_id, reason)
        return set(failed)

    @abstractmethod
    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        """Send up to `MAX_BATCH` notifications; return why some were refused, by position."""


class EventChannel(BatchChannel):
    """Events on an EventBridge bus."""

    name = "event"
    permission = "events:PutEvents"

    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        response = self._client().put_events(
            Entries=[
                {
                    "EventBusName": self._target,
                    "Source": SOURCE,
                    "DetailType": each.detail_type,
                    "Detail": json.dumps(each.detail),
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

    name = "message"
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
                            "StringValue": str(each.detail["severity"] or 0),
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
