"""What the environment says, read once.

The watcher: each event to the part that takes it.

How the watcher's parts are put together, over whatever clients and clock they are handed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.settings import BucketSettings, required
from ops_anomaly.watcher.alarms import AlarmEvaluator
from ops_anomaly.watcher.checkpoints import CheckpointCache, CheckpointStore
from ops_anomaly.watcher.documents import UnknownEventError
from ops_anomaly.watcher.evaluation import Evaluator
from ops_anomaly.watcher.events import AlarmChange, ShardJobs, Tick, recognise
from ops_anomaly.watcher.fleet import Planner, encode_shard_job
from ops_anomaly.watcher.outbox import EventChannel, MessageChannel
from ops_anomaly.watcher.shard_job import ShardRunner

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.fleet import ShardJob
    from ops_anomaly.watcher.telemetry import Telemetry


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


SUPERSEDED_SECONDS = 3_600
"""A turn that is older is left: newer ones have been given since."""


@dataclass(frozen=True)
class Watcher:
    """Takes every event of the function.

    Attributes
    ----------
    send
        Gives a shard its turn: in an invocation of its own, in parallel with the others.
    clock
        Seconds since 1970.
    """

    planner: Planner
    shards: ShardRunner
    alarms: AlarmEvaluator
    reporter: Telemetry
    send: Callable[[str], None]
    clock: Callable[[], float]

    def take(self, event: Any) -> None:
        """Do what an event asks for; one that is not known is logged and left.

        Raises
        ------
        AwsError, WatchError
            If it could not be done; AWS tries again, then keeps the event in the dead-letter
            queue.
        """
        try:
            known = recognise(event)
        except UnknownEventError as error:
            self.reporter.unknown(error)
            return
        match known:
            case Tick():
                turns = self.planner.turns()
                for turn in turns:
                    self.send(encode_shard_job(turn))
                self.reporter.planned(len(turns))
            case ShardJobs(messages=messages):
                for message in messages:
                    self._look(message)
            case AlarmChange() as change:
                told = self.alarms.take(change)
                self.reporter.alarm_taken(change.name, change.state, told)

    def _look(self, message: ShardJob) -> None:
        shard, began = f"{message.shard} of {message.of}", self.clock()
        if began - message.time > SUPERSEDED_SECONDS:
            self.reporter.superseded(shard, began - message.time)
            return
        tally = self.shards.look(message.of, message.shard, message.fleet)
        self.reporter.looked(tally, shard, self.clock() - began)


def compose(
    settings: Settings,
    store: ObjectStore,
    client: Callable[[str], Any],
    reporter: Telemetry,
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
    places = CheckpointCache()
    judge = Evaluator(models, places, reporter.model_unavailable)
    return Watcher(
        planner=Planner(cloudwatch, store, clock),
        shards=ShardRunner(
            cloudwatch, store, judge, places, CheckpointStore(store), channels, reporter, clock
        ),
        alarms=AlarmEvaluator(cloudwatch, store, channels, reporter, clock),
        reporter=reporter,
        send=send,
        clock=clock,
    )
