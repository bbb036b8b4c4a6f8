"""Clients of boto3 for EventBridge, SNS and SQS whose batches fail in part, late, or as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ReadTimeoutError

from tests.support.fake_cloudwatch import client_error

Fault = Literal["none", "refuse some", "throttle", "response is lost"]
"""`refuse some`: every other entry, the first one included. `response is lost`: all were taken."""

Entry = Mapping[str, Any]


@dataclass
class UnkindClient:
    """Hands batches on to a client, and fails as it is made to.

    Attributes
    ----------
    client
        A client of boto3, such as for moto's server, or `Recorder`.
    faults
        One a call; afterwards there are none.
    """

    client: Any
    faults: Iterator[Fault]

    def put_events(self, Entries: list[Entry]) -> dict[str, Any]:
        refused, response = self._send(
            Entries, lambda taken: self.client.put_events(Entries=taken), "PutEvents"
        )
        accepted = iter(response.get("Entries", []))
        error = {"ErrorCode": "InternalFailure", "ErrorMessage": "made up"}
        entries = [error if n in refused else next(accepted) for n in range(len(Entries))]
        return {"FailedEntryCount": len(refused), "Entries": entries}

    def publish_batch(
        self, TopicArn: str, PublishBatchRequestEntries: list[Entry]
    ) -> dict[str, Any]:
        return self._send_by_id(
            PublishBatchRequestEntries,
            lambda taken: self.client.publish_batch(
                TopicArn=TopicArn, PublishBatchRequestEntries=taken
            ),
            "PublishBatch",
        )

    def send_message_batch(self, QueueUrl: str, Entries: list[Entry]) -> dict[str, Any]:
        return self._send_by_id(
            Entries,
            lambda taken: self.client.send_message_batch(QueueUrl=QueueUrl, Entries=taken),
            "SendMessageBatch",
        )

    def _send_by_id(
        self, entries: list[Entry], send: Callable[[list[Entry]], Any], operation: str
    ) -> dict[str, Any]:
        refused, response = self._send(entries, send, operation)
        failed = [
            {"Id": entries[n]["Id"], "Code": "InternalError", "SenderFault": False} for n in refused
        ]
        return {"Successful": response.get("Successful", []), "Failed": failed}

    def _send(
        self, entries: Sequence[Entry], send: Callable[[list[Entry]], Any], operation: str
    ) -> tuple[Sequence[int], dict[str, Any]]:
        """Return the positions of refused entries, and the response to the others."""
        fault = next(self.faults, "none")
        if fault == "throttle":
            raise client_error("ThrottlingException", operation)
        refused = range(0, len(entries), 2) if fault == "refuse some" else range(0)
        taken = [entry for n, entry in enumerate(entries) if n not in refused]
        response = send(taken) if taken else {}
        if fault == "response is lost":
            raise ReadTimeoutError(endpoint_url="https://made.up")
        return refused, response


@dataclass
class Recorder:
    """Takes every batch, and keeps the entries."""

    taken: list[Entry] = field(default_factory=list)

    def put_events(self, Entries: list[Entry]) -> dict[str, Any]:
        self.taken += Entries
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in Entries]}

    def publish_batch(
        self, TopicArn: str, PublishBatchRequestEntries: list[Entry]
    ) -> dict[str, Any]:
        return self._take(PublishBatchRequestEntries)

    def send_message_batch(self, QueueUrl: str, Entries: list[Entry]) -> dict[str, Any]:
        return self._take(Entries)

    def _take(self, entries: list[Entry]) -> dict[str, Any]:
        self.taken += entries
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}


def unkind(client: Any, faults: Iterable[Fault]) -> UnkindClient:
    """Return a client whose next calls have these faults."""
    return UnkindClient(client, iter(faults))
