"""What the environment says, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from registry.settings import BucketSettings, required


@dataclass(frozen=True, kw_only=True)
class Settings(BucketSettings):
    """The watcher's configuration.

    Attributes
    ----------
    event_bus : str
        `EVENT_BUS_NAME`: where alerts go as events.
    alert_topic : str
        `ALERT_TOPIC_ARN`: where alerts go as messages for people.
    shard_queue : str
        `SHARD_QUEUE_URL`: what the parts of the fleet wait in for their turn.
    """

    event_bus: str
    alert_topic: str
    shard_queue: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: str) -> Self:
        """Read the settings; see `BucketSettings.from_environment`."""
        return super().from_environment(
            environ,
            event_bus=required(environ, "EVENT_BUS_NAME", "name the bus that gets the alerts"),
            alert_topic=required(environ, "ALERT_TOPIC_ARN", "name the topic of the alerts"),
            shard_queue=required(environ, "SHARD_QUEUE_URL", "give the URL of the shards' queue"),
            **more,
        )
