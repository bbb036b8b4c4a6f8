"""The two ways to tell: an event on a bus for programs, a message on a topic for people."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from watch.outbox import ChannelName, Notice

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

    def send(self, notices: Sequence[Notice]) -> set[str]:
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
    def _send(self, batch: Sequence[Notice]) -> Mapping[int, str]:
        """Send up to `BATCH` notices; return the refused ones by position, and why."""


class EventChannel(BatchChannel):
    """Events on a bus of EventBridge."""

    name = "event"

    def _send(self, batch: Sequence[Notice]) -> Mapping[int, str]:
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

    def _send(self, batch: Sequence[Notice]) -> Mapping[int, str]:
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
