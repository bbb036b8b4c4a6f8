"""How the watcher's parts are put together, over whatever clients and clock they are handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from registry.models import ModelRegistry
from watch.alarms.watcher import AlarmWatcher
from watch.channels import EventChannel, MessageChannel
from watch.fleet.judge import Judge
from watch.fleet.planner import Planner
from watch.fleet.shard import ShardWatcher
from watch.fleet.shelf import Shelf
from watch.fleet.warm import WarmPlaces
from watch.watcher import Watcher

if TYPE_CHECKING:
    from registry.store import ObjectStore
    from watch.reporter import Reporter
    from watch.settings import Settings


def compose(
    settings: Settings,
    store: ObjectStore,
    client: Callable[[str], Any],
    reporter: Reporter,
    clock: Callable[[], float],
) -> Watcher:
    """Return the watcher.

    Parameters
    ----------
    client
        Returns a client of boto3 for a service; called when it is first needed.
    clock
        Seconds since 1970.
    """

    def cloudwatch() -> Any:
        return client("cloudwatch")

    def send(body: str) -> None:
        client("sqs").send_message(QueueUrl=settings.shard_queue, MessageBody=body)

    channels = (
        EventChannel(lambda: client("events"), settings.event_bus, reporter.undelivered),
        MessageChannel(lambda: client("sns"), settings.alert_topic, reporter.undelivered),
    )
    models = ModelRegistry(
        store,
        ttl_seconds=settings.model_ttl_seconds,
        cache_bytes=settings.model_cache_bytes,
        on_refresh_failed=reporter.refresh_failed,
    )
    places = WarmPlaces()
    judge = Judge(models, places, reporter.model_unavailable)
    return Watcher(
        planner=Planner(cloudwatch, store, clock),
        shards=ShardWatcher(
            cloudwatch, store, judge, places, Shelf(store), channels, reporter, clock
        ),
        alarms=AlarmWatcher(cloudwatch, store, channels, reporter, clock),
        reporter=reporter,
        send=send,
        clock=clock,
    )
