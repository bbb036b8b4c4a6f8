"""The watcher's two functions: each event to its part, and what is logged and counted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics
from botocore.exceptions import EndpointConnectionError

from ops_anomaly.aws.errors import AccessDeniedError, ServiceUnavailableError, StoreUnavailableError
from ops_anomaly.aws.objects import FLEET_KEY, WATCH_KEY
from ops_anomaly.aws.settings import SettingsError
from ops_anomaly.watcher.events import ShardJob, decode_shard_job
from ops_anomaly.watcher.fleet import SHARD_SIZE
from ops_anomaly.watcher.outbox import UndeliveredError
from ops_anomaly.watcher.service import (
    AlarmSettings,
    ShardQueue,
    Watcher,
    WatchSettings,
    compose_alarm_watcher,
    compose_watcher,
)
from ops_anomaly.watcher.telemetry import Telemetry
from tests.support.alarms import alarm_data, by_action, by_queue, by_rule, by_topic, sns_message
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.fakes import FakeStore
from tests.support.shard_jobs import DAY, PERIOD, SPIKE, normal_load
from tests.support.watcher import (
    ALARMS_NOWHERE,
    NOON,
    TIMEOUT_MS,
    WATCH_NOWHERE,
    WallClock,
    machines,
    shard_event,
)

TICK = {"watch": "fleet", "time": "2026-11-25T12:00:00Z"}
INCIDENTS = {"watch": "incidents"}


class FakeQueue:
    """A queue as boto3 has it, in memory.

    Attributes
    ----------
    batches
        The entries of each call.
    refused
        Ids of entries that are refused, each on its own.
    failures
        Raised one by one by the next calls; None is none.
    """

    def __init__(self) -> None:
        self.batches: list[list[dict[str, str]]] = []
        self.refused: set[str] = set()
        self.failures: list[Exception | None] = []

    def __call__(self) -> FakeQueue:
        return self

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        assert QueueUrl == "none"
        self.batches.append(Entries)
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        failed = [
            {"Id": each["Id"], "Code": "InternalError", "SenderFault": False}
            for each in Entries
            if each["Id"] in self.refused
        ]
        return {"Successful": [], "Failed": failed}

    def send_message(self, QueueUrl: str, MessageBody: str) -> None:
        assert QueueUrl == "none"
        self.batches.append([{"MessageBody": MessageBody}])
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure

    @property
    def bodies(self) -> list[str]:
        return [entry["MessageBody"] for batch in self.batches for entry in batch]


# --- the queue of shard jobs --------------------------------------------------------------------


def jobs(count: int) -> list[ShardJob]:
    return [ShardJob(shard=shard, time=NOON) for shard in range(count)]


def test_jobs_are_sent_in_batches_of_ten() -> None:
    queue = FakeQueue()
    ShardQueue(queue, "none").send(jobs(25))
    assert [len(batch) for batch in queue.batches] == [10, 10, 5]
    assert [decode_shard_job(body) for body in queue.bodies] == jobs(25)
    for batch in queue.batches:
        assert len({entry["Id"] for entry in batch}) == len(batch)


def test_a_shard_is_a_message_group_and_a_job_is_sent_once_however_often_a_tick_is_tried() -> None:
    queue = FakeQueue()
    ShardQueue(queue, "none").send([ShardJob(shard=3, time=NOON)])
    [[entry]] = queue.batches
    assert entry == {
        "Id": "3",
        "MessageBody": f'{{"shard":3,"time":{NOON}}}',
        "MessageGroupId": "shard-3",
        "MessageDeduplicationId": f"3-{NOON}",
    }


def test_nothing_is_sent_without_jobs() -> None:
    queue = FakeQueue()
    ShardQueue(queue, "none").send([])
    assert queue.batches == []


def test_one_job_that_can_not_be_sent_does_not_end_the_tick() -> None:
    queue = FakeQueue()
    queue.refused = {"3", "12"}
    with pytest.raises(
        ServiceUnavailableError, match=r"2 of 25 shard jobs not sent: shard 3: InternalError"
    ):
        ShardQueue(queue, "none").send(jobs(25))
    assert len(queue.bodies) == 25, "all were tried"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (client_error("Throttling", "SendMessageBatch"), "Throttling"),
        (client_error("AccessDenied", "SendMessageBatch"), "the role needs sqs:SendMessage"),
        (EndpointConnectionError(endpoint_url="https://sqs"), "https://sqs"),
    ],
    ids=["throttling", "no permission", "no connection"],
)
def test_a_batch_that_fails_does_not_hold_up_the_next(failure: Exception, reason: str) -> None:
    queue = FakeQueue()
    queue.failures = [None, failure, None]
    with pytest.raises(ServiceUnavailableError, match=f"10 of 25 shard jobs not sent: .*{reason}"):
        ShardQueue(queue, "none").send(jobs(25))
    assert [len(batch) for batch in queue.batches] == [10, 10, 5]


# --- the function that watches the fleet --------------------------------------------------------


class Aws:
    """CloudWatch, SQS, EventBridge and SNS in memory: what boto3 would return clients of."""

    def __init__(self) -> None:
        self.cloudwatch, self.queue = FakeCloudWatch(), FakeQueue()
        self.events: list[str] = []
        self.messages: list[str] = []
        self.topics: list[str] = []
        self.topic_is_down = False

    def __call__(self, service: str) -> Any:
        return {"cloudwatch": self.cloudwatch, "sqs": self.queue}.get(service, self)

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.events += [entry["DetailType"] for entry in Entries]
        return {"Entries": [{"EventId": "1"} for _ in Entries]}

    def publish_batch(
        self, TopicArn: str, PublishBatchRequestEntries: list[dict[str, Any]]
    ) -> dict[str, Any]:
        if self.topic_is_down:
            raise client_error("InternalError", "PublishBatch")
        self.topics.append(TopicArn)
        self.messages += [entry["Subject"] for entry in PublishBatchRequestEntries]
        return {"Successful": [], "Failed": []}


class World:
    """Machines with a normal load, a bucket, and instances of the watch function."""

    def __init__(self, count: int = 2) -> None:
        self.aws, self.store, self.clock = Aws(), FakeStore(), WallClock()
        self.metrics = EphemeralMetrics(namespace="test", service="watch")
        self.telemetry = Telemetry(Logger(service="watch"), self.metrics)
        self.machines = machines(count)
        for number, metric in enumerate(self.machines):
            self.aws.cloudwatch.put(metric, NOON - 2 * DAY * PERIOD, normal_load(number))
        self.watcher = self.new_instance()
        self.alarms = compose_alarm_watcher(
            ALARMS_NOWHERE, self.store, self.aws, self.telemetry, self.clock
        )

    def new_instance(self) -> Watcher:
        """Return a watcher that has nothing in memory."""
        return compose_watcher(
            WATCH_NOWHERE, self.store, self.aws, self.telemetry, self.clock, sleep=lambda _: None
        )

    def publish_watch_file(self, history_days: int = 3, **more: str) -> None:
        selector = {
            "name": "cpu",
            "namespace": "AWS/EC2",
            "metric": "CPUUtilization",
            "dimensions": {"InstanceId": "*"},
            "statistic": "Average",
            "period": PERIOD,
            "history_days": history_days,
            **more,
        }
        self.store.put(WATCH_KEY, json.dumps({"version": 1, "selectors": [selector]}).encode())

    def dispatch(self, event: Any, by: Watcher | None = None) -> None:
        (by or self.watcher).dispatch(event, lambda: TIMEOUT_MS)

    def tick(self, planner: Watcher, runner: Watcher) -> None:
        """Let one instance plan, and another one run the jobs."""
        self.aws.queue.batches.clear()
        self.dispatch(TICK, planner)
        for body in self.aws.queue.bodies:
            self.dispatch(by_queue(body), runner)

    @property
    def counted(self) -> dict[str, float]:
        """The totals so far, by name."""
        return {name: sum(each["Value"]) for name, each in self.metrics.metric_set.items()}


@pytest.fixture
def world() -> World:
    return World()


def logged(caplog: pytest.LogCaptureFixture, message: str) -> dict[str, Any]:
    """Return the fields of the log line with this message."""
    [record] = [vars(each) for each in caplog.records if each.message == message]
    return record


def test_a_tick_sends_a_job_of_its_time_for_each_shard() -> None:
    world = World(SHARD_SIZE + 1)
    world.publish_watch_file()
    world.clock.seconds = NOON + 75
    world.dispatch(TICK)
    assert [decode_shard_job(body) for body in world.aws.queue.bodies] == jobs(2)
    assert world.counted["Ticks"] == 1


def test_a_tick_by_hand_has_the_time_of_its_minute(world: World) -> None:
    world.publish_watch_file()
    world.clock.seconds = NOON + 75
    world.dispatch({"watch": "fleet"})
    [body] = world.aws.queue.bodies
    assert decode_shard_job(body).time == NOON + 60


def test_a_tick_without_a_watch_file_is_logged_and_not_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.dispatch(TICK)
    assert world.aws.queue.bodies == []
    assert world.counted == {}, "or the heartbeat would beat without anything to watch"
    assert "nothing to watch: no watch file is published" in caplog.messages


def test_a_tick_that_can_not_send_its_jobs_is_not_counted(world: World) -> None:
    world.publish_watch_file()
    world.aws.queue.refused = {"0"}
    with pytest.raises(ServiceUnavailableError):
        world.dispatch(TICK)
    assert "Ticks" not in world.counted


def test_a_tick_that_can_not_list_the_fleet_goes_by_the_last_list(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish_watch_file()
    world.dispatch(TICK)
    world.clock.advance(3_600)
    world.aws.cloudwatch.failures = [client_error("AccessDenied", "ListMetrics")]
    world.dispatch(TICK)
    assert len(world.aws.queue.bodies) == 2
    assert world.counted["FleetListFailed"] == 1
    line = logged(caplog, "fleet not listed, the last list is used")
    assert "the role needs cloudwatch:ListMetrics" in line["reason"]


def test_a_first_tick_that_can_not_list_the_fleet_is_retried(world: World) -> None:
    world.publish_watch_file()
    world.aws.cloudwatch.failures = [client_error("AccessDenied", "ListMetrics")]
    with pytest.raises(AccessDeniedError):
        world.dispatch(TICK)
    world.dispatch(TICK)
    assert len(world.aws.queue.bodies) == 1


def test_a_shard_job_is_run(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish_watch_file()
    world.dispatch(TICK)
    world.aws.cloudwatch.series[world.machines[0]][NOON - PERIOD] = SPIKE
    world.clock.advance(90)
    world.dispatch(shard_event(0, world.clock))
    line = logged(caplog, "shard evaluated")
    assert (line["shard"], line["MetricsWatched"], line["Anomalies"]) == (0, 2, 1)
    assert (world.counted["MetricsWatched"], world.counted["Anomalies"]) == (2, 1)
    assert world.aws.events == world.aws.messages == [], "that is for the incident job"


def test_what_a_shard_job_has_found_is_notified_by_the_next_incident_job(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish_watch_file()
    world.dispatch(TICK)
    world.aws.cloudwatch.series[world.machines[0]][NOON - PERIOD] = SPIKE
    world.clock.advance(90)
    world.dispatch(shard_event(0, world.clock))
    world.clock.advance(60)
    world.dispatch(INCIDENTS)
    line = logged(caplog, "incidents updated")
    assert (line["Alerts"], line["open"], line["AlertsPending"]) == (1, 1, 0)
    assert (world.counted["Alerts"], world.counted["IncidentRuns"]) == (1, 1)
    assert world.aws.events == ["Incident Opened"]
    assert world.aws.messages[0].startswith("CPUUtilization of i-00000: 95, expected")


def test_an_incident_job_in_which_nothing_happens_is_counted_and_not_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish_watch_file()
    world.dispatch(TICK)
    world.dispatch(INCIDENTS)
    assert world.counted["IncidentRuns"] == 1, "or the heartbeat would not beat"
    assert "incidents updated" not in caplog.messages


def test_an_incident_job_without_a_fleet_is_not_counted(world: World) -> None:
    world.dispatch(INCIDENTS)
    assert world.counted == {}


def test_messages_of_an_entry_go_to_its_own_topic(world: World) -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:payments"
    world.publish_watch_file(topic=topic)
    world.dispatch(TICK)
    world.aws.cloudwatch.series[world.machines[0]][NOON - PERIOD] = SPIKE
    world.clock.advance(90)
    world.dispatch(shard_event(0, world.clock))
    world.clock.advance(60)
    world.dispatch(INCIDENTS)
    assert world.aws.topics == [topic]
    assert world.aws.events == ["Incident Opened"]


def test_the_duration_of_a_job_is_counted(world: World) -> None:
    class SlowStore(FakeStore):
        def write(self, key: str, data: bytes, if_etag: str | None) -> str:
            world.clock.advance(2.5)
            return super().write(key, data, if_etag)

    world.store = SlowStore()
    world.watcher = world.new_instance()
    world.publish_watch_file()
    world.dispatch(TICK)
    world.dispatch(shard_event(0, world.clock))
    assert world.counted["EvaluationDuration"] == 2_500


def test_a_job_without_a_list_of_the_fleet_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.dispatch(shard_event(3, world.clock))
    assert logged(caplog, "no list of the fleet")["shard"] == 3
    assert (world.aws.cloudwatch.calls, world.store.objects) == ([], {})


def test_a_job_that_fails_is_raised_to_be_retried(world: World) -> None:
    world.publish_watch_file()
    world.dispatch(TICK)
    world.aws.cloudwatch.failures = [client_error("Throttling", "GetMetricData")]
    with pytest.raises(ServiceUnavailableError):
        world.dispatch(shard_event(0, world.clock))
    world.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        world.dispatch(shard_event(0, world.clock))


def test_a_list_that_is_corrupt_is_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.put(FLEET_KEY, b"[]")
    world.dispatch(shard_event(0, world.clock))
    assert world.counted["StateRebuilt"] == 1
    assert logged(caplog, "state unreadable, rebuilt from CloudWatch")["key"] == FLEET_KEY


def test_a_job_knows_how_long_its_function_may_still_run(world: World) -> None:
    world.publish_watch_file()
    world.dispatch(TICK)
    world.clock.advance(90)
    world.watcher.dispatch(shard_event(0, world.clock), lambda: 0)
    assert world.counted["MetricsPostponed"] == 2
    assert world.aws.cloudwatch.calls == []


def test_a_test_alert_goes_to_both_channels(world: World) -> None:
    world.dispatch({"watch": "test alert"})
    assert len(world.aws.events) == len(world.aws.messages) == 1
    assert world.store.objects == {}


def test_a_test_alert_that_is_not_accepted_is_an_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.aws.topic_is_down = True
    with pytest.raises(UndeliveredError, match="the test alert was not accepted"):
        world.dispatch({"watch": "test alert"})
    assert (
        "InternalError" in logged(caplog, "notification not delivered, will be retried")["reason"]
    )


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"watch": "birds"},
        by_queue("[["),
        by_rule(alarm_data()),
        by_queue(by_rule(alarm_data())),
    ],
    ids=["empty", "another", "malformed", "an alarm", "an alarm of the queue"],
)
def test_any_other_event_is_counted_and_ignored(
    world: World, event: object, caplog: pytest.LogCaptureFixture
) -> None:
    world.dispatch(event)
    assert world.counted == {"EventsUnknown": 1}
    assert "unknown event ignored" in caplog.messages
    assert (world.aws.events, world.aws.queue.bodies, world.store.objects) == ([], [], {})


def test_a_machine_that_burns_while_lists_lag_is_one_incident(world: World) -> None:
    """Two instances, each with a list of its own, closed it as no longer watched at every tick."""
    burning = world.machines[0]
    world.aws.cloudwatch.put(burning, NOON, SPIKE * np.arange(1, 31))
    world.publish_watch_file()
    instances = [world.new_instance(), world.new_instance()]
    for tick in range(31):
        world.clock.seconds = NOON + tick * PERIOD + 90
        world.aws.cloudwatch.unlisted = {burning} if tick % 5 else set()
        world.tick(planner=instances[tick % 2], runner=instances[tick // 2 % 2])
        world.clock.advance(60)
        world.dispatch(INCIDENTS, instances[tick % 2])
    assert world.aws.events == ["Incident Opened"]
    assert len(world.aws.cloudwatch.listed) == 3, "by whoever comes first in an hour"


# --- the function that evaluates alarms ---------------------------------------------------------

OK_ALARM = alarm_data("OK")


@pytest.mark.parametrize(
    "event",
    [by_rule(OK_ALARM), by_action(OK_ALARM), by_topic(sns_message("OK"))],
    ids=["rule", "action", "topic"],
)
def test_an_alarm_that_comes_directly_goes_into_the_queue_and_is_handled_from_there(
    world: World, event: object, caplog: pytest.LogCaptureFixture
) -> None:
    world.alarms.dispatch(event)
    [body] = world.aws.queue.bodies
    assert world.store.objects == {}, "it has not been evaluated yet"
    assert caplog.messages == []
    world.alarms.dispatch(by_queue(body))
    line = logged(caplog, "alarm handled")
    assert (line["alarm"], line["state"], line["notified"]) == ("cpu-high", "OK", [])
    assert len(world.aws.queue.bodies) == 1


def test_an_alarm_that_fires_is_evaluated_from_the_queue(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.alarms.dispatch(by_queue(by_rule(alarm_data())))
    assert world.aws.events == ["Alarm Evaluated"]
    assert len(logged(caplog, "alarm handled")["notified"]) == 1


def test_an_alarm_that_can_not_be_queued_is_an_error_that_names_the_permission(
    world: World,
) -> None:
    world.aws.queue.failures = [client_error("AccessDenied", "SendMessage")]
    with pytest.raises(AccessDeniedError, match="sqs:SendMessage"):
        world.alarms.dispatch(by_action(OK_ALARM))


def test_an_alarm_that_was_not_delivered_is_raised_to_be_retried(world: World) -> None:
    world.aws.topic_is_down = True
    with pytest.raises(UndeliveredError):
        world.alarms.dispatch(by_queue(by_rule(alarm_data())))


@pytest.mark.parametrize(
    "event",
    [{}, TICK, INCIDENTS, {"watch": "test alert"}, shard_event(0, WallClock()), by_queue("{}")],
    ids=str,
)
def test_the_function_of_alarms_ignores_what_is_none(
    world: World, event: object, caplog: pytest.LogCaptureFixture
) -> None:
    world.alarms.dispatch(event)
    assert world.counted == {"EventsUnknown": 1}
    assert "unknown event ignored" in caplog.messages
    assert (world.aws.queue.bodies, world.store.objects) == ([], {})


# --- settings -----------------------------------------------------------------------------------

BOTH = {"MODEL_BUCKET": "b", "EVENT_BUS_NAME": "bus", "ALERT_TOPIC_ARN": "topic"}
WATCH = BOTH | {"SHARD_QUEUE_URL": "queue"}
ALARMS = BOTH | {"ALARM_QUEUE_URL": "queue"}


def without_one(environment: dict[str, str]) -> Iterable[tuple[str, dict[str, str]]]:
    for missing in environment:
        yield missing, {name: text for name, text in environment.items() if name != missing}


@pytest.mark.parametrize(
    ("settings", "missing", "environment"),
    [
        *((WatchSettings, *each) for each in without_one(WATCH)),
        *((AlarmSettings, *each) for each in without_one(ALARMS)),
    ],
)
def test_a_missing_setting_is_named(
    settings: type[WatchSettings | AlarmSettings], missing: str, environment: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} is not set: "):
        settings.from_environment(environment)


def test_settings_are_read_from_the_environment() -> None:
    more = {"WATCH_CONCURRENCY": "4", "MODEL_TTL_SECONDS": "1.5", "MODEL_CACHE_BYTES": "10"}
    assert WatchSettings.from_environment(WATCH | more) == WatchSettings(
        bucket="b",
        event_bus="bus",
        alert_topic="topic",
        shard_queue="queue",
        concurrency=4,
        model_ttl_seconds=1.5,
        model_cache_bytes=10,
    )
    assert AlarmSettings.from_environment(ALARMS) == AlarmSettings(
        bucket="b", event_bus="bus", alert_topic="topic", alarm_queue="queue"
    )


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "ten", "nan", "inf"])
def test_the_concurrency_is_a_whole_number_of_at_least_one(text: str) -> None:
    with pytest.raises(SettingsError, match="WATCH_CONCURRENCY"):
        WatchSettings.from_environment(WATCH | {"WATCH_CONCURRENCY": text})


def test_instances_share_the_quota_of_cloudwatch() -> None:
    """By the concurrency: each waits for longer, the more there are."""

    def slept(concurrency: int) -> list[float]:
        world, slept = World(13), list[float]()  # of which 12 fit a call
        settings = WatchSettings(**vars(WATCH_NOWHERE) | {"concurrency": concurrency})
        watcher = compose_watcher(
            settings, world.store, world.aws, world.telemetry, world.clock, slept.append
        )
        world.publish_watch_file(history_days=28)
        world.dispatch(TICK, watcher)
        world.dispatch(shard_event(0, world.clock), watcher)
        return slept

    [one], [four] = slept(1), slept(4)
    assert four == pytest.approx(4 * one, rel=0.01)
