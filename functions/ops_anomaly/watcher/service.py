"""The watcher's two functions: their settings, how they are composed, and who handles an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ops_anomaly.aws.cloudwatch import DATAPOINTS_PER_SECOND
from ops_anomaly.aws.errors import ServiceError, ServiceUnavailableError, translate_aws_errors
from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.settings import BucketSettings, required, whole_number
from ops_anomaly.watcher.alarms import AlarmEvaluator
from ops_anomaly.watcher.events import (
    AlarmChanges,
    DeliveryTest,
    DirectAlarms,
    IncidentTick,
    ShardJob,
    ShardJobs,
    Tick,
    UnknownEventError,
    encode_shard_job,
    recognise,
)
from ops_anomaly.watcher.fleet import FleetList, Planner
from ops_anomaly.watcher.incident_job import IncidentJob
from ops_anomaly.watcher.notifications import delivery_test
from ops_anomaly.watcher.outbox import (
    EVENT,
    MAX_BATCH,
    MESSAGE,
    EventChannel,
    MessageChannel,
    UndeliveredError,
    deliver,
)
from ops_anomaly.watcher.shard_job import ShardRunner
from ops_anomaly.watcher.state import CheckpointStore

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.outbox import Channel, Channels
    from ops_anomaly.watcher.telemetry import Telemetry


@dataclass(frozen=True, kw_only=True)
class AlertSettings(BucketSettings):
    """What both functions need.

    Attributes
    ----------
    event_bus : str
        `EVENT_BUS_NAME`: receives alerts as events.
    alert_topic : str
        `ALERT_TOPIC_ARN`: receives alerts as messages for people.
    """

    event_bus: str
    alert_topic: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: Any) -> Self:
        """Read the settings; see `BucketSettings.from_environment`."""
        return super().from_environment(
            environ,
            event_bus=required(environ, "EVENT_BUS_NAME", "name the bus that receives alerts"),
            alert_topic=required(environ, "ALERT_TOPIC_ARN", "name the topic of the alerts"),
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class WatchSettings(AlertSettings):
    """The configuration of the function that watches the fleet.

    Attributes
    ----------
    shard_queue : str
        `SHARD_QUEUE_URL`: holds the shard jobs.
    concurrency : int
        `WATCH_CONCURRENCY`: how many jobs run in parallel, and share CloudWatch's quota.
    incident_page : str or None
        `INCIDENT_PAGE_URL`: what messages link to.
    """

    shard_queue: str
    concurrency: int = 10
    incident_page: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: Any) -> Self:
        """Read the settings; see `BucketSettings.from_environment`."""
        return super().from_environment(
            environ,
            shard_queue=required(environ, "SHARD_QUEUE_URL", "give the URL of the shards' queue"),
            concurrency=whole_number(environ, "WATCH_CONCURRENCY", cls.concurrency),
            incident_page=environ.get("INCIDENT_PAGE_URL") or None,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class AlarmSettings(AlertSettings):
    """The configuration of the function that evaluates alarms.

    Attributes
    ----------
    alarm_queue : str
        `ALARM_QUEUE_URL`: holds the changes of alarms.
    """

    alarm_queue: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: Any) -> Self:
        """Read the settings; see `BucketSettings.from_environment`."""
        return super().from_environment(
            environ,
            alarm_queue=required(environ, "ALARM_QUEUE_URL", "give the URL of the alarms' queue"),
            **more,
        )


class ShardQueue:
    """The FIFO queue of shard jobs: of each shard, one is delivered at a time.

    Parameters
    ----------
    client
        Returns a client of boto3.
    url
        Of the queue.
    """

    def __init__(self, client: Callable[[], Any], url: str) -> None:
        self._client, self._url = client, url

    def send(self, jobs: Sequence[ShardJob]) -> None:
        """Send jobs; one that was sent in the last minutes is dropped by the queue.

        Raises
        ------
        ServiceUnavailableError
            If some could not be sent; all others have been.
        """
        failed: list[str] = []
        for first in range(0, len(jobs), MAX_BATCH):
            failed += self._failed(jobs[first : first + MAX_BATCH])
        if failed:
            raise ServiceUnavailableError(
                f"{len(failed)} of {len(jobs)} shard jobs not sent: {failed[0]}"
            )

    def _failed(self, batch: Sequence[ShardJob]) -> list[str]:
        entries = [
            {
                "Id": str(job.shard),
                "MessageBody": encode_shard_job(job),
                "MessageGroupId": f"shard-{job.shard}",
                "MessageDeduplicationId": f"{job.shard}-{job.time}",
            }
            for job in batch
        ]
        try:
            with translate_aws_errors(f"sending {len(batch)} shard jobs", "sqs:SendMessage"):
                response = self._client().send_message_batch(QueueUrl=self._url, Entries=entries)
        except ServiceError as error:
            return [str(error)] * len(batch)
        return [
            f"shard {entry['Id']}: {entry['Code']} {entry.get('Message', '')}".strip()
            for entry in response.get("Failed", [])
        ]


@dataclass(frozen=True)
class Watcher:
    """Watches the fleet: handles ticks of the schedule and shard jobs.

    Attributes
    ----------
    clock
        Milliseconds since 1970.
    """

    planner: Planner
    queue: ShardQueue
    shards: ShardRunner
    incidents: IncidentJob
    channels: Channels
    telemetry: Telemetry
    clock: Callable[[], int]

    def dispatch(self, event: Any, remaining_ms: Callable[[], int]) -> None:
        """Handle an event; an unknown one is logged and ignored.

        Parameters
        ----------
        remaining_ms
            Returns how long the function may still run.

        Raises
        ------
        AwsError, UndeliveredError
            If it could not be handled: AWS retries, then keeps the event in a dead-letter queue.
        """
        try:
            known = recognise(event)
        except UnknownEventError as error:
            self.telemetry.unknown_event(error)
            return
        match known:
            case Tick(time=time):
                self._plan(self.clock() // 60_000 * 60 if time is None else time)
            case ShardJobs(jobs=jobs):
                for job in jobs:
                    self._run(job.shard, remaining_ms)
            case IncidentTick():
                self._update_incidents()
            case DeliveryTest():
                self._test()
            case _:
                self.telemetry.unknown_event(UnknownEventError("alarms have their own function"))

    def _plan(self, time: int) -> None:
        fleet = self.planner.fleet()
        jobs = [ShardJob(shard=shard, time=time) for shard in range(fleet.shards if fleet else 0)]
        self.queue.send(jobs)
        self.telemetry.planned(len(jobs))

    def _run(self, shard: int, remaining_ms: Callable[[], int]) -> None:
        began = self.clock()
        report = self.shards.run(shard, remaining_ms)
        if report:
            self.telemetry.evaluated(report, shard, self.clock() - began)
        else:
            self.telemetry.fleet_unknown(shard)

    def _update_incidents(self) -> None:
        report = self.incidents.run()
        if report:
            self.telemetry.incidents_updated(report)

    def _test(self) -> None:
        now = self.clock()
        if deliver((delivery_test(now),), self.channels, now, self.telemetry.expired):
            raise UndeliveredError("the test alert was not accepted: see the log line before")


@dataclass(frozen=True)
class AlarmWatcher:
    """Handles changes of CloudWatch alarms.

    What comes straight from an alarm or a topic goes into the queue, which bounds how many are
    evaluated in parallel: alarms come in storms.
    """

    alarms: AlarmEvaluator
    telemetry: Telemetry
    forward: Callable[[str], None]

    def dispatch(self, event: Any) -> None:
        """Handle an event; an unknown one is logged and ignored.

        Raises
        ------
        AwsError, BusyError, UndeliveredError
            If it could not be handled: AWS retries, then keeps the event in a dead-letter queue.
        """
        try:
            known = recognise(event)
        except UnknownEventError as error:
            self.telemetry.unknown_event(error)
            return
        match known:
            case DirectAlarms(messages=messages):
                for message in messages:
                    self.forward(message)
            case AlarmChanges(changes=changes):
                for change in changes:
                    notified = self.alarms.handle(change)
                    self.telemetry.alarm_handled(change.name, change.state, notified)
            case _:
                self.telemetry.unknown_event(UnknownEventError("this function handles alarms only"))


def compose_watcher(
    settings: WatchSettings,
    store: ObjectStore,
    client: Callable[[str], Any],
    telemetry: Telemetry,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
) -> Watcher:
    """Return what watches the fleet.

    Parameters
    ----------
    client
        Returns a client of boto3 for a service; called when it is first needed.
    clock
        Milliseconds since 1970.
    sleep
        Waits for so many seconds.
    """

    def cloudwatch() -> Any:
        return client("cloudwatch")

    fleet = FleetList(store, telemetry.state_rebuilt)
    channels = _channels(settings, client, telemetry)
    models = ModelRegistry(
        store,
        ttl_seconds=settings.model_ttl_seconds,
        cache_bytes=settings.model_cache_bytes,
        on_refresh_failed=telemetry.refresh_failed,
    )
    shards = ShardRunner(
        cloudwatch,
        store,
        fleet,
        models,
        CheckpointStore(store),
        telemetry,
        clock,
        DATAPOINTS_PER_SECOND / settings.concurrency,
        sleep,
    )
    return Watcher(
        planner=Planner(cloudwatch, store, fleet, clock, telemetry.fleet_outdated),
        queue=ShardQueue(lambda: client("sqs"), settings.shard_queue),
        shards=shards,
        incidents=IncidentJob(
            store, fleet, channels, telemetry, settings.incident_page, settings.bucket, clock
        ),
        channels=channels,
        telemetry=telemetry,
        clock=clock,
    )


def compose_alarm_watcher(
    settings: AlarmSettings,
    store: ObjectStore,
    client: Callable[[str], Any],
    telemetry: Telemetry,
    clock: Callable[[], int],
) -> AlarmWatcher:
    """Return what evaluates alarms; see `compose_watcher`."""

    def forward(body: str) -> None:
        with translate_aws_errors("queueing an alarm", "sqs:SendMessage"):
            client("sqs").send_message(QueueUrl=settings.alarm_queue, MessageBody=body)

    channels = _channels(settings, client, telemetry)
    return AlarmWatcher(
        alarms=AlarmEvaluator(lambda: client("cloudwatch"), store, channels, telemetry, clock),
        telemetry=telemetry,
        forward=forward,
    )


def _channels(
    settings: AlertSettings, client: Callable[[str], Any], telemetry: Telemetry
) -> Channels:
    """Return what makes the channel of a destination: the bus, the alert topic, another topic."""

    def channel(destination: str) -> Channel:
        if destination == EVENT:
            return EventChannel(lambda: client("events"), settings.event_bus, telemetry.undelivered)
        topic = settings.alert_topic if destination == MESSAGE else destination
        return MessageChannel(lambda: client("sns"), topic, telemetry.undelivered)

    return channel
