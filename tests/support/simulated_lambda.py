"""The watch function as Lambda and SQS run it, in simulated time: instances, retries, timeouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ops_anomaly.aws.errors import StoreUnavailableError
from ops_anomaly.aws.objects import StoredObject
from ops_anomaly.watcher.service import Watcher
from tests.support.fakes import FakeStore
from tests.support.watcher import TIMEOUT_MS, WallClock

VISIBILITY_SECONDS = 270
RETENTION_SECONDS = 3_600
DEDUPLICATION_SECONDS = 300
MAX_RECEIVES = 3
RETRY_SECONDS = 60


class TimedOutError(BaseException):
    """Lambda has ended the process: nothing in it can prevent that."""


class DeadlineClock(WallClock):
    """Simulated time, which calls of AWS let pass; beyond the deadline the process ends."""

    deadline = float("inf")

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds > self.deadline:
            raise TimedOutError


class LossyStore(FakeStore):
    """A bucket that at times does not respond, or writes and loses the response.

    Attributes
    ----------
    failing_share, lost_share : float
        Of the requests that do nothing, and of the writes whose response is lost.
    lost : int
        How many responses were lost.
    """

    def __init__(self, clock: DeadlineClock, seed: int = 1) -> None:
        super().__init__()
        self.clock, self._random = clock, np.random.default_rng(seed)
        self.failing_share, self.lost_share, self.lost = 0.02, 0.05, 0

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        self._request()
        return super().read(key, unless_etag)

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        self._request()
        etag = super().write(key, data, if_etag)
        if self._random.random() < self.lost_share:
            self.lost += 1
            raise StoreUnavailableError("the response was lost")
        return etag

    def _request(self) -> None:
        self.clock.advance(0.05)
        if self._random.random() < self.failing_share:
            raise StoreUnavailableError("503")


@dataclass
class Message:
    """A message of the queue."""

    body: str
    group: str
    sent_at: float
    visible_at: float
    receives: int = 0


@dataclass
class FifoQueue:
    """A FIFO queue as SQS has it; its methods are those of boto3's client.

    Of each message group, one message is delivered at a time, and the next when it is deleted.
    """

    clock: WallClock
    messages: list[Message] = field(default_factory=list)
    dead_letters: list[Message] = field(default_factory=list)
    seed: int = 1

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._sent: dict[str, float] = {}

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        assert 0 < len(Entries) <= 10
        for entry in Entries:
            now, identity = self.clock.seconds, entry["MessageDeduplicationId"]
            if now - self._sent.get(identity, -np.inf) < DEDUPLICATION_SECONDS:
                continue
            self._sent[identity] = now
            self.messages.append(Message(entry["MessageBody"], entry["MessageGroupId"], now, now))
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def receive(self) -> Message | None:
        """Return a message that may be delivered now, of any group."""
        now = self.clock.seconds
        self.messages = [m for m in self.messages if now - m.sent_at < RETENTION_SECONDS]
        first_of_group: dict[str, Message] = {}
        for message in self.messages:
            first_of_group.setdefault(message.group, message)
        ready = [message for message in first_of_group.values() if message.visible_at <= now]
        if not ready:
            return None
        message = ready[int(self._random.integers(len(ready)))]
        if message.receives == MAX_RECEIVES:
            self.messages.remove(message)
            self.dead_letters.append(message)
            return self.receive()
        message.receives += 1
        message.visible_at = now + VISIBILITY_SECONDS
        return message

    def delete(self, message: Message) -> None:
        self.messages.remove(message)


@dataclass
class SimulatedLambda:
    """Several instances of the watch function: which one takes an event is chance.

    Attributes
    ----------
    new_instance
        Returns a watcher that has nothing in memory.
    replaced_share : float
        Of the invocations that a new instance takes the place of one.
    invocations, failures, timeouts : int
        How many there were.
    """

    clock: DeadlineClock
    queue: FifoQueue
    new_instance: Callable[[], Watcher]
    instances: int = 3
    replaced_share: float = 0.02
    timeout_ms: int = TIMEOUT_MS
    seed: int = 1
    invocations: int = 0
    failures: int = 0
    timeouts: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._warm = [self.new_instance() for _ in range(self.instances)]

    def tick(self, seconds: int) -> None:
        """Let the schedule tick, twice at times, and run the jobs that are in the queue."""
        self.clock.seconds = max(self.clock.seconds, float(seconds))
        event = {"watch": "fleet", "time": _iso(seconds)}
        for _ in range(2 if self._random.random() < 0.05 else 1):
            for attempt in range(3):  # as Lambda does with what invokes it without waiting
                if self._invoke(event):
                    break
                self.clock.seconds += RETRY_SECONDS * attempt
        self.run_jobs()

    def tick_of_incidents(self, seconds: int) -> None:
        """Let the schedule of every minute tick, which nobody retries; and run what is due."""
        self.clock.seconds = max(self.clock.seconds, float(seconds))
        self.run_jobs()
        self._invoke({"watch": "incidents"})

    def run_jobs(self) -> None:
        """Run the jobs that may be delivered."""
        while message := self.queue.receive():
            event = {"Records": [{"eventSource": "aws:sqs", "body": message.body}]}
            if self._invoke(event):
                self.queue.delete(message)

    def _invoke(self, event: dict[str, Any]) -> bool:
        """Let an instance handle an event; return whether it did."""
        self.invocations += 1
        number = int(self._random.integers(self.instances))
        if self._random.random() < self.replaced_share:
            self._warm[number] = self.new_instance()
        deadline = self.clock.seconds + self.timeout_ms / 1000
        self.clock.deadline = deadline
        try:
            self._warm[number].dispatch(
                event, lambda: round(1000 * (deadline - self.clock.seconds))
            )
        except TimedOutError:
            self.timeouts += 1
            self._warm[number] = self.new_instance()
            return False
        except Exception:
            self.failures += 1
            return False
        finally:
            self.clock.deadline = float("inf")
        return True


def _iso(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")) + "Z"
