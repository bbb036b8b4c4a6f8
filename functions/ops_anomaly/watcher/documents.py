"""What can go wrong while watching; an error that leaves the handler is retried by AWS.

What is remembered, as an object in the bucket that changes only under its reader's eyes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from ops_anomaly.aws.errors import ConflictError, ObjectNotFoundError
from ops_anomaly.watcher.outbox import Outbox, claim, settled, tell

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.outbox import Channel, Notification


class WatchError(Exception):
    """Base of everything this room raises on purpose."""


class CorruptStateError(WatchError, ValueError):
    """What is remembered can't be read: it is built anew from CloudWatch."""


class UnknownEventError(WatchError, ValueError):
    """An event is of no kind that the watcher takes; it is logged and left."""


class BusyError(WatchError):
    """Others kept writing what is remembered; the retry will find what they left."""


class UndeliveredError(WatchError):
    """What was decided could not be told; it is kept, and told with the retry."""


ATTEMPTS = 5
"""Tries at a write that others keep coming before."""


class Remembered(Protocol):
    """What a notebook holds: a frozen dataclass with what is to be told."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def outbox(self) -> Outbox:
        """What has been decided to be told."""


State = TypeVar("State", bound=Remembered)


@dataclass(frozen=True)
class Snapshot(Generic[State]):
    """What was read, and the ETag that a write must still find; None where there was nothing."""

    state: State
    etag: str | None
    is_new: bool = False
    is_unreadable: bool = False


@dataclass(frozen=True)
class VersionedDocument(Generic[State]):
    """One object and its form.

    Attributes
    ----------
    nothing
        What is remembered before the first look.
    lease_seconds
        How long whoever has written may take to tell, before somebody else does.
    read, write
        From bytes, raising `CorruptStateError`, and to bytes.
    """

    store: ObjectStore
    key: str
    nothing: State
    read: Callable[[bytes], State]
    write: Callable[[State], bytes]
    lease_seconds: float

    def open(self) -> Snapshot[State]:
        """Read what is remembered.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not answer.
        """
        try:
            stored = self.store.read(self.key)
        except ObjectNotFoundError:
            return Snapshot(self.nothing, None, is_new=True)
        if stored is None:  # no ETag was sent, so there is nothing to be unchanged from
            return Snapshot(self.nothing, None, is_new=True)
        try:
            return Snapshot(self.read(stored.data), stored.etag)
        except CorruptStateError:
            return Snapshot(self.nothing, stored.etag, is_unreadable=True)

    def note(self, page: Snapshot[State], state: State) -> Snapshot[State]:
        """Replace what was read.

        Raises
        ------
        ConflictError
            If somebody else has done so in between.
        StoreUnavailableError
            If the bucket does not answer.
        """
        return Snapshot(state, self.store.write(self.key, self.write(state), page.etag))

    def commit_and_deliver(
        self,
        page: Snapshot[State],
        state: State,
        channels: Iterable[Channel],
        clock: Callable[[], float],
        on_given_up: Callable[[Notification], None],
    ) -> State:
        """Replace what was read, tell what its outbox holds, and cross that out.

        Returns
        -------
        State
            With what could not be told still in its outbox.

        Raises
        ------
        ConflictError
            If somebody else wrote in between; nothing is told then.
        BusyError
            If others kept writing after it was told: it may be told again, under the same ids.
        """
        outbox, mine = claim(state.outbox, clock(), self.lease_seconds)
        page = self.note(page, replace(state, outbox=outbox))
        if not mine:
            return page.state
        waiting = tell(mine, channels)
        for _ in range(ATTEMPTS):
            left = settled(page.state.outbox, waiting, clock(), on_given_up)
            try:
                return self.note(page, replace(page.state, outbox=left)).state
            except ConflictError:
                page = self.open()
        raise BusyError(f"{self.key}: others keep writing it")
