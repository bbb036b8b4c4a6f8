"""The watcher as a whole: each event to its part, and what is logged and counted."""

from __future__ import annotations

from typing import Any

import pytest

from ops_anomaly.aws.settings import SettingsError
from ops_anomaly.watcher.fleet import decode_shard_job
from ops_anomaly.watcher.service import MAX_JOB_AGE_SECONDS, Settings, Watcher
from ops_anomaly.watcher.watch_file import Options, parse_watch_file, write_watch_file
from tests.support.alarms import by_rule
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeStore
from tests.support.watcher import NOON, WallClock, machines, make_watcher, shard_event

ENVIRONMENT = {
    "MODEL_BUCKET": "b",
    "EVENT_BUS_NAME": "bus",
    "ALERT_TOPIC_ARN": "topic",
    "SHARD_QUEUE_URL": "queue",
}


class Aws:
    """CloudWatch and the queue in memory; other services are not reached."""

    def __init__(self) -> None:
        self.cloudwatch = FakeCloudWatch()
        self.queue: list[str] = []

    def __call__(self, service: str) -> Any:
        return {"cloudwatch": self.cloudwatch, "sqs": self}[service]

    def send_message(self, QueueUrl: str, MessageBody: str) -> None:
        self.queue.append(MessageBody)


class World:
    def __init__(self) -> None:
        self.aws, self.store, self.clock = Aws(), FakeStore(), WallClock()
        self.watcher: Watcher = make_watcher(self.store, self.aws, self.clock)
        self.metrics = machines(3)
        for metric in self.metrics:
            self.aws.cloudwatch.put(metric, NOON - 300 * 300, [1.0] * 300)

    def publish_watch_file(self) -> None:
        entries = [{"name": f"m{n}", "metric": str(m)} for n, m in enumerate(self.metrics)]
        watch_file = parse_watch_file({"version": 1, "metrics": entries})
        self.store.put("watch/watch.json", write_watch_file(watch_file))


@pytest.fixture
def world() -> World:
    return World()


def test_a_tick_sends_a_job_for_each_shard(world: World) -> None:
    world.publish_watch_file()
    world.watcher.dispatch({"watch": "fleet"})
    [job] = map(decode_shard_job, world.aws.queue)
    assert [metric for part in job.fleet for metric in part.metrics] == world.metrics


def test_a_tick_without_a_watch_file_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.watcher.dispatch({"watch": "fleet"})
    assert world.aws.queue == []
    assert "nothing to watch: no watch file is published" in caplog.messages


def test_a_shard_job_is_run(world: World, caplog: pytest.LogCaptureFixture) -> None:
    event = shard_event(world.metrics, Options(name="cpu"), world.clock)
    world.clock.seconds += 90
    world.watcher.dispatch(event)
    [record] = [vars(each) for each in caplog.records if each.message == "shard evaluated"]
    assert (record["shard"], record["MetricsWatched"], record["Alerts"]) == ("0 of 1", 3, 0)


def test_a_superseded_job_is_dropped_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    event = shard_event(world.metrics, Options(name="cpu"), world.clock)
    world.clock.seconds += MAX_JOB_AGE_SECONDS + 1
    world.watcher.dispatch(event)
    [record] = map(vars, caplog.records)
    assert record["message"] == "shard job superseded"
    assert (record["shard"], record["age_seconds"]) == ("0 of 1", MAX_JOB_AGE_SECONDS + 1)
    assert (world.aws.cloudwatch.calls, world.store.objects) == ([], {})


def test_a_job_that_is_late_but_not_superseded_is_run(world: World) -> None:
    event = shard_event(world.metrics, Options(name="cpu"), world.clock)
    world.clock.seconds += MAX_JOB_AGE_SECONDS
    world.watcher.dispatch(event)
    assert world.aws.cloudwatch.calls


def test_an_alarm_is_handled(world: World, caplog: pytest.LogCaptureFixture) -> None:
    event = by_rule({"alarmName": "a", "state": {"value": "OK", "timestamp": "2026-11-25T12:00Z"}})
    world.watcher.dispatch(event)
    [record] = map(vars, caplog.records)
    assert (record["message"], record["alarm"], record["state"]) == ("alarm handled", "a", "OK")
    assert record["notified"] == []


@pytest.mark.parametrize("missing", ENVIRONMENT)
def test_a_missing_setting_is_named(missing: str) -> None:
    environment = {name: text for name, text in ENVIRONMENT.items() if name != missing}
    with pytest.raises(SettingsError, match=missing):
        Settings.from_environment(environment)


def test_settings_are_read_from_the_environment() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert (settings.bucket, settings.event_bus) == ("b", "bus")
    assert (settings.alert_topic, settings.shard_queue) == ("topic", "queue")
