"""What has been decided to be told: kept with the decision, and told by one watcher alone.

A notice is written in the same object, and by the same conditional PUT, as the incident that it is
about. Whoever wrote it has claimed it, tells it, and then takes it out. If that watcher dies in
between, its claim runs out, and the next one tells it.

The two ways to tell: an event on a bus for programs, a message on a topic for people.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import msgspec

ChannelName = Literal["event", "message"]

VERSION = "1"
"""Of the events' detail; `docs/events.md` describes it."""

GIVEN_UP_SECONDS = 86_400
"""What could not be told for a day is old news."""


class Notification(msgspec.Struct, frozen=True):
    """One thing to tell, as an event for programs and as a message for people.

    Attributes
    ----------
    id : str
        The same whoever tells it: who receives it twice can tell.
    about : str
        The incident: its notices are told in order.
    waiting : tuple of str
        The channels that it has not gone through.
    made_at, claimed_at : float
        Seconds since 1970; 0 is not claimed.
    """

    id: str
    about: str
    detail_type: str
    detail: dict[str, Any]
    subject: str
    message: str
    made_at: float
    claimed_at: float = 0.0
    waiting: tuple[ChannelName, ...] = ("event", "message")


class Channel(Protocol):
    """A way to tell."""

    @property
    def name(self) -> ChannelName:
        """Which way it is."""

    def send(self, notices: Sequence[Notification]) -> set[str]:
        """Send notices in order; return the ids of those that did not arrive."""
        ...


Outbox = tuple[Notification, ...]


def claim(outbox: Outbox, now: float, lease_seconds: float) -> tuple[Outbox, Outbox]:
    """Claim what nobody has claimed, or whose claim has run out; of each incident, in order.

    Parameters
    ----------
    lease_seconds
        How long a claim holds: a watcher whose claim is older has died.

    Returns
    -------
    Outbox
        With the claims in it, to be written before anything is told.
    Outbox
        What has been claimed.
    """
    mine: set[str] = set()
    others: set[str] = set()  # of these incidents, somebody else is telling something earlier
    for each in outbox:
        if now - each.claimed_at < lease_seconds:
            others.add(each.about)
        elif each.about not in others:
            mine.add(each.id)
    claimed = tuple(
        msgspec.structs.replace(each, claimed_at=now) if each.id in mine else each
        for each in outbox
    )
    return claimed, tuple(each for each in claimed if each.id in mine)


def tell(notices: Outbox, channels: Iterable[Channel]) -> dict[str, tuple[ChannelName, ...]]:
    """Send what has been claimed; return for each notice the channels that it still waits for."""
    waiting = {notice.id: notice.waiting for notice in notices}
    for channel in channels:
        due = [notice for notice in notices if channel.name in notice.waiting]
        stuck: set[str] = set()
        while due:
            # of each incident the first: its end must not be told before its beginning
            batch = list({notice.about: notice for notice in reversed(due)}.values())[::-1]
            failed = channel.send(batch)
            for notice in batch:
                if notice.id in failed:
                    stuck.add(notice.about)
                else:
                    waiting[notice.id] = tuple(
                        name for name in waiting[notice.id] if name != channel.name
                    )
            sent = {notice.id for notice in batch}
            due = [n for n in due if n.id not in sent and n.about not in stuck]
    return waiting


def settled(
    outbox: Outbox,
    waiting: dict[str, tuple[ChannelName, ...]],
    now: float,
    on_given_up: Callable[[Notification], None],
) -> Outbox:
    """Return what is left after telling: unclaimed, so that the next look tries again."""
    left = []
    for notice in outbox:
        if notice.id not in waiting:
            left.append(notice)
        elif not waiting[notice.id]:
            continue
        elif now - notice.made_at > GIVEN_UP_SECONDS:
            on_given_up(notice)
        else:
            still = waiting[notice.id]
            left.append(msgspec.structs.replace(notice, waiting=still, claimed_at=0.0))
    return tuple(left)


SOURCE = "ops-anomaly"
BATCH = 10
"""What PutEvents and PublishBatch take at once."""


class BatchChannel(ABC):
    """A channel that takes a few notices at once, and refuses each on its own.

    Parameters
    ----------
    client
        Returns a client of boto3; called when there is something to send.
    target
        The bus, or the topic.
    on_failure
        Called with a notice's id and why it was refused.
    """

    name: ClassVar[ChannelName]

    def __init__(
        self, client: Callable[[], Any], target: str, on_failure: Callable[[str, str], None]
    ) -> None:
        self._client, self._target, self._on_failure = client, target, on_failure

    def send(self, notices: Sequence[Notification]) -> set[str]:
        """Send notices in order; see `Channel.send`."""
        from botocore.exceptions import BotoCoreError, ClientError

        failed: dict[str, str] = {}
        for first in range(0, len(notices), BATCH):
            batch = notices[first : first + BATCH]
            try:
                refused = self._send(batch)
            except (BotoCoreError, ClientError) as error:
                refused = dict.fromkeys(range(len(batch)), str(error))
            failed |= {batch[position].id: why for position, why in refused.items()}
        for notice_id, why in failed.items():
            self._on_failure(notice_id, why)
        return set(failed)

    @abstractmethod
    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        """Send up to `BATCH` notices; return the refused ones by position, and why."""


class EventChannel(BatchChannel):
    """Events on a bus of EventBridge."""

    name = "event"

    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        answer = self._client().put_events(
            Entries=[
                {
                    "EventBusName": self._target,
                    "Source": SOURCE,
                    "DetailType": notice.detail_type,
                    "Detail": json.dumps(notice.detail),
                }
                for notice in batch
            ]
        )
        return {
            position: f"{entry['ErrorCode']}: {entry.get('ErrorMessage', '')}"
            for position, entry in enumerate(answer["Entries"])
            if entry.get("ErrorCode")
        }


class MessageChannel(BatchChannel):
    """Messages on a topic of SNS; subscribers can filter by `detail_type` and `severity`."""

    name = "message"

    def _send(self, batch: Sequence[Notification]) -> Mapping[int, str]:
        answer = self._client().publish_batch(
            TopicArn=self._target,
            PublishBatchRequestEntries=[
                {
                    "Id": str(position),
                    "Subject": notice.subject,
                    "Message": notice.message,
                    "MessageAttributes": {
                        "detail_type": {"DataType": "String", "StringValue": notice.detail_type},
                        "severity": {
                            "DataType": "Number",
                            "StringValue": str(notice.detail["severity"] or 0),
                        },
                    },
                }
                for position, notice in enumerate(batch)
            ],
        )
        return {
            int(entry["Id"]): f"{entry['Code']}: {entry.get('Message', '')}"
            for entry in answer.get("Failed", [])
        }
