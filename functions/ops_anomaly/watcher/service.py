"""The watcher: its settings, how it is composed, and which part handles which event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.settings import BucketSettings, required
from ops_anomaly.watcher.alarms import AlarmEvaluator
from ops_anomaly.watcher.evaluation import Evaluator
from ops_anomaly.watcher.events import AlarmChange, ShardJobs, Tick, UnknownEventError, recognise
from ops_anomaly.watcher.fleet import Planner, encode_shard_job
from ops_anomaly.watcher.outbox import EventChannel, MessageChannel
from ops_anomaly.watcher.shard_job import ShardRunner
from ops_anomaly.watcher.state import CheckpointCache, CheckpointStore

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.fleet import ShardJob
    from ops_anomaly.watcher.telemetry import Telemetry


MAX_JOB_AGE_SECONDS = 3_600
"""An older job is dropped: newer ones of the same shard have been sent since."""


@dataclass(frozen=True, kw_only=True)
class Settings(BucketSettings):
    """The watcher's configuration.

    Attributes
    ----------
    event_bus : str
        `EVENT_BUS_NAME`: receives alerts as events.
    alert_topic : str
        `ALERT_TOPIC_ARN`: receives alerts as messages for people.
    shard_queue : str
        `SHARD_QUEUE_URL`: holds the shard jobs.
    """

    event_bus: str
    alert_topic: str
    shard_queue: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: str) -> Self:
        """Read the settings; see `BucketSettings.from_environment`."""
        return super().from_environment(
            environ,
            event_bus=required(environ, "EVENT_BUS_NAME", "name the bus that receives alerts"),
            alert_topic=required(environ, "ALERT_TOPIC_ARN", "name the topic of the alerts"),
            shard_queue=required(environ, "SHARD_QUEUE_URL", "give the URL of the shards' queue"),
            **more,
        )


@dataclass(frozen=True)
class Watcher:
    """Handles every event of the function.

    Attributes
    ----------
    send
        Sends a shard job, to be run in an invocation of its own.
    clock
        Milliseconds since 1970.
    """

    planner: Planner
    shards: ShardRunner
    alarms: AlarmEvaluator
    telemetry: Telemetry
    send: Callable[[str], None]
    clock: Callable[[], int]

    def dispatch(self, event: Any) -> None:
        """Handle an event; an unknown one is logged and ignored.

        Raises
        ------
        AwsError, BusyError, UndeliveredError
            If it could not be handled: AWS retries, then keeps the event in the dead-letter queue.
        """
        try:
            known = recognise(event)
        except UnknownEventError as error:
            self.telemetry.unknown_event(error)
            return
        match known:
            case Tick():
                self._plan()
            case ShardJobs(jobs=jobs):
                for job in jobs:
                    self._run(job)
            case AlarmChange() as change:
                notified = self.alarms.handle(change)
                self.telemetry.alarm_handled(change.name, change.state, notified)

    def _plan(self) -> None:
        jobs = self.planner.plan()
        for job in jobs:
            self.send(encode_shard_job(job))
        self.telemetry.planned(len(jobs))

    def _run(self, job: ShardJob) -> None:
        shard, began = f"{job.shard} of {job.of}", self.clock()
        age = began // 1000 - job.time
        if age > MAX_JOB_AGE_SECONDS:
            self.telemetry.superseded(shard, age)
            return
        report = self.shards.run(job.of, job.shard, job.fleet)
        self.telemetry.evaluated(report, shard, self.clock() - began)


def compose(
    settings: Settings,
    store: ObjectStore,
    client: Callable[[str], Any],
    telemetry: Telemetry,
    clock: Callable[[], int],
) -> Watcher:
    """Return the watcher.

    Parameters
    ----------
    client
        Returns a client of boto3 for a service; called when it is first needed.
    clock
        Milliseconds since 1970.
    """

    def cloudwatch() -> Any:
        return client("cloudwatch")

    def send(body: str) -> None:
        client("sqs").send_message(QueueUrl=settings.shard_queue, MessageBody=body)

    channels = (
        EventChannel(lambda: client("events"), settings.event_bus, telemetry.undelivered),
        MessageChannel(lambda: client("sns"), settings.alert_topic, telemetry.undelivered),
    )
    models = ModelRegistry(
        store,
        ttl_seconds=settings.model_ttl_seconds,
        cache_bytes=settings.model_cache_bytes,
        on_refresh_failed=telemetry.refresh_failed,
    )
    cache = CheckpointCache()
    evaluator = Evaluator(models, cache, telemetry.model_unavailable)
    shards = ShardRunner(
        cloudwatch, store, evaluator, cache, CheckpointStore(store), channels, telemetry, clock
    )
    return Watcher(
        planner=Planner(cloudwatch, store, clock),
        shards=shards,
        alarms=AlarmEvaluator(cloudwatch, store, channels, telemetry, clock),
        telemetry=telemetry,
        send=send,
        clock=clock,
    )
