"""In-memory stand-ins for what the code is handed: a bucket, a clock, a channel; a small model."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from ops_anomaly.aws.errors import ConflictError, ObjectNotFoundError
from ops_anomaly.aws.objects import CREATED_METADATA, DIGEST_METADATA, StoredObject, model_key
from ops_anomaly.detection.artifact import digest, pack
from ops_anomaly.detection.value_forest import ValueForest
from ops_anomaly.watcher.outbox import Channels, Notification

CREATED = "2026-01-01T00:00:00+00:00"


def small_forest(threshold: float = 0.75) -> ValueForest:
    """A forest for which values above 1 are anomalies."""
    return ValueForest(array("d", [0.0, 1.0]), array("d", [0.7, 0.4, 0.8]), threshold)


def small_artifact(threshold: float = 0.75, name: str = "ec2-cpu") -> bytes:
    return pack(
        small_forest(threshold),
        name,
        libraries={"numpy": "2"},
        training_data={"origin": "a test", "readings": 3},
        figures={"f1": 0.5, "mean_delay_minutes": None},
    )


class FakeStore:
    """An object store in memory that counts reads and fails on demand."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.failure: Exception | None = None
        self.keys_read: list[str] = []
        self.writes = 0

    @property
    def reads(self) -> int:
        return len(self.keys_read)

    def put(self, key: str, data: bytes, **metadata: str) -> str:
        self.writes += 1
        version = f"v{self.writes}"
        self.objects[key] = StoredObject(data, f'"{digest(data)[:8]}"', version, metadata)
        return version

    def put_model(self, name: str, data: bytes, recorded_digest: str | None = None) -> str:
        metadata = {
            DIGEST_METADATA: recorded_digest or digest(data),
            CREATED_METADATA: CREATED,
        }
        return self.put(model_key(name), data, **metadata)

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        if self.failure:
            raise self.failure
        there = self.objects.get(key)
        if (there.etag if there else None) != if_etag:
            raise ConflictError(key)
        self.put(key, data)
        self.objects[key] = replace(self.objects[key], etag=f'"{self.writes}"')
        return self.objects[key].etag

    def overwrite(self, key: str, data: bytes) -> None:
        if self.failure:
            raise self.failure
        self.put(key, data)

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        self.keys_read.append(key)
        if self.failure:
            raise self.failure
        if key not in self.objects:
            raise ObjectNotFoundError(key)
        stored = self.objects[key]
        return None if stored.etag == unless_etag else stored


class FakeClock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class FakeChannel:
    """A channel that records what it accepts, and refuses on demand."""

    def __init__(self) -> None:
        self.sent: list[Notification] = []
        self.refuses: set[str] = set()
        self.is_down = False

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        failed = {n.id for n in notifications if self.is_down or n.about in self.refuses}
        self.sent += [each for each in notifications if each.id not in failed]
        return failed


def channels(**by_destination: FakeChannel) -> Channels:
    """Return the channels of these destinations."""
    return by_destination.__getitem__
