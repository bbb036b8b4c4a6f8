"""Alarms as they fire: every sample event, by every route, with moto and a CloudWatch in memory.

moto lacks metric math and alarm actions: `FakeCloudWatch` has them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from local.stack import WatchStack, make_watch_stack
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import S3ObjectStore
from ops_anomaly.watcher.events import AlarmChange, AlarmChanges, DirectAlarms, recognise
from ops_anomaly.watcher.outbox import UndeliveredError
from ops_anomaly.watcher.service import AlarmSettings, AlarmWatcher
from tests.conftest import Bucket
from tests.support.alarms import by_topic
from tests.support.fake_cloudwatch import FakeCloudWatch, Series, client_error
from tests.support.forwarding import running
from tests.support.roles import EnforcedRole, names_of, role_of
from tests.support.watcher import WallClock, make_alarm_watcher

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "event.schema.json").read_text(encoding="utf-8"))
CPU = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300")
ROUTES = ("", "-action")
KINDS = ("metric", "math", "band", "composite", "suppressed")
READINGS = 3 * 288


def sample(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "events" / f"{name}.json").read_text(encoding="utf-8"))


def either(kind: str) -> list[str]:
    return [f"alarm-{kind}{route}" for route in ROUTES]


class Alarms:
    """An alarm watcher whose CloudWatch is in memory, and whose other services are moto's."""

    def __init__(self, bucket: Bucket) -> None:
        self.cloudwatch = FakeCloudWatch()
        self.stack: WatchStack = make_watch_stack(bucket.endpoint_url, f"a-{uuid.uuid4().hex[:12]}")
        self.settings = AlarmSettings(
            bucket=bucket.name,
            event_bus=self.stack.event_bus,
            alert_topic=self.stack.alert_topic,
            alarm_queue=self.stack.alarm_queue,
        )
        statements = role_of("AlarmFunction", names_of(bucket.name, self.stack), EventBus="Own")
        self.role = EnforcedRole(bucket.endpoint_url, statements)
        self.clock = WallClock()
        self.watcher = self.make_watcher(self.client)

    def make_watcher(self, client: Callable[[str], Any]) -> AlarmWatcher:
        store = S3ObjectStore(self.settings.bucket)
        return make_alarm_watcher(store, client, self.clock, self.settings)

    def client(self, service: str) -> Any:
        return self.cloudwatch if service == "cloudwatch" else self.role.client(service)

    def seed_metrics(self, event: dict[str, Any], *, at_the_end: float | None) -> None:
        """Give each metric of an alarm three normal days, and a last reading of its own."""
        change = change_of(event)
        self.clock.seconds = change.at / 1000 + 5
        end = change.at // 1000 // 300 * 300
        stats = [each["metricStat"] for each in change.metrics if "metricStat" in each]
        for stat in stats:
            self.put(event_metric(stat), end, at_the_end)
        for each in change.metrics:
            if "expression" in each:
                self.cloudwatch.expressions[each["expression"]] = first_series
        for arn in change.triggered_by:
            self.cloudwatch.alarms.append(described(arn.rpartition(":")[2]))
            self.put(CPU, end, at_the_end)

    def put(self, metric: Metric, end: int, at_the_end: float | None) -> None:
        values = 30.0 + np.random.default_rng(3).normal(0.0, 1.0, READINGS)
        if at_the_end is not None:
            values[-1] = at_the_end
        self.cloudwatch.put(metric, end - (READINGS - 1) * metric.period, values)

    def handle(self, event: Any) -> list[dict[str, Any]]:
        """Dispatch an event and what it queues; return what comes over the bus, as documented."""
        self.watcher.dispatch(event)
        self.run_queue()
        events = self.stack.drain_events()
        for sent in events:
            jsonschema.validate(sent, SCHEMA)
        return events

    def run_queue(self, watcher: AlarmWatcher | None = None) -> int:
        """Dispatch the messages of the queue; return how many there were."""
        watcher = watcher or self.watcher
        return self.stack.run_queued(
            self.stack.alarm_queue, lambda event, _: watcher.dispatch(event), None
        )


def change_of(event: Any) -> AlarmChange:
    known = recognise(event)
    assert isinstance(known, AlarmChanges | DirectAlarms)
    [change] = known.changes
    return change


def event_metric(stat: Mapping[str, Any]) -> Metric:
    metric = stat["metric"]
    dimensions = tuple(metric.get("dimensions", {}).items())
    return Metric(metric["namespace"], metric["name"], dimensions, stat["stat"], stat["period"])


def first_series(found: Mapping[str, Series]) -> Series:
    """Stand in for metric math: the first of the metrics it is about."""
    return next(iter(found.values()))


def described(name: str) -> dict[str, Any]:
    return {
        "AlarmName": name,
        "Namespace": CPU.namespace,
        "MetricName": CPU.name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in CPU.dimensions],
        "Period": CPU.period,
        "Statistic": CPU.statistic,
    }


@pytest.fixture
def alarms(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alarms]:
    found = Alarms(bucket)
    with running(found.role):
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.role.url)
        yield found


@pytest.mark.parametrize("name", [name for kind in KINDS for name in either(kind)])
def test_an_alarm_on_something_unusual_is_unusual(alarms: Alarms, name: str) -> None:
    event = sample(name)
    alarms.seed_metrics(event, at_the_end=95.0)
    [sent] = alarms.handle(event)
    detail = sent["detail"]
    assert sent["detail-type"] == "Alarm Evaluated"
    assert detail["is_unusual"] is True
    assert detail["severity"] > 0.8
    assert "95" in detail["verdict"]
    [message] = alarms.stack.drain_messages()
    assert "unusual" in message["Subject"]
    assert detail["verdict"] in message["Message"]


@pytest.mark.parametrize("name", either("metric"))
def test_an_alarm_on_something_normal_is_not_unusual(alarms: Alarms, name: str) -> None:
    event = sample(name)
    alarms.seed_metrics(event, at_the_end=None)
    [sent] = alarms.handle(event)
    assert sent["detail"]["is_unusual"] is False
    assert "not unusual" in sent["detail"]["verdict"]
    assert "864 datapoints" in sent["detail"]["series"][0]["compared_with"]


@pytest.mark.parametrize("kind", KINDS)
def test_both_routes_together_notify_once(alarms: Alarms, kind: str) -> None:
    alarms.seed_metrics(sample(f"alarm-{kind}"), at_the_end=95.0)
    sent = [alarms.handle(sample(name)) for name in (*either(kind), *either(kind))]
    assert [len(events) for events in sent] == [1, 0, 0, 0]


@pytest.mark.parametrize("route", ROUTES)
def test_ok_clears_the_alarm_once(alarms: Alarms, route: str) -> None:
    fired, over = sample(f"alarm-metric{route}"), sample(f"alarm-metric-ok{route}")
    alarms.seed_metrics(fired, at_the_end=95.0)
    [opened] = alarms.handle(fired)
    [closed] = alarms.handle(over)
    assert closed["detail-type"] == "Alarm Cleared"
    assert closed["detail"]["id"] == opened["detail"]["id"]
    assert closed["detail"]["lasted_seconds"] > 0
    assert alarms.handle(over) == []
    assert alarms.handle(fired) == [], "an older event changes nothing"


def test_ok_without_an_alarm_before_is_not_notified(alarms: Alarms) -> None:
    assert alarms.handle(sample("alarm-metric-ok")) == []


def test_a_lack_of_data_is_not_notified(alarms: Alarms) -> None:
    assert alarms.handle(sample("alarm-insufficient")) == []


@pytest.mark.parametrize("failure", ["AccessDenied", "ValidationError"])
def test_an_alarm_that_cannot_be_evaluated_has_a_reason(alarms: Alarms, failure: str) -> None:
    alarms.cloudwatch.failures = [client_error(failure, "GetMetricData", "because")]
    [sent] = alarms.handle(sample("alarm-metric"))
    assert sent["detail"]["is_unusual"] is None
    assert sent["detail"]["severity"] is None
    why = sent["detail"]["series"][0]["unavailable_because"]
    assert "because" in why
    assert ("cloudwatch:GetMetricData" in why) == (failure == "AccessDenied")


@pytest.mark.parametrize(
    "name", ["alarm-metric", "alarm-math", "alarm-composite", "alarm-insights"]
)
def test_an_alarm_without_data_is_neither_usual_nor_unusual(alarms: Alarms, name: str) -> None:
    [sent] = alarms.handle(sample(name))
    assert sent["detail"]["is_unusual"] is None
    assert all(each["unavailable_because"] for each in sent["detail"]["series"])


@pytest.mark.parametrize("name", ["alarm-queue", "alarm-topic", "alarm-queue-topic"])
def test_an_alarm_by_queue_or_topic_is_evaluated(alarms: Alarms, name: str) -> None:
    alarms.seed_metrics(sample(name), at_the_end=95.0)
    [sent] = alarms.handle(sample(name))
    assert sent["detail"]["is_unusual"] is True
    assert "95" in sent["detail"]["verdict"]


@pytest.mark.parametrize("names", [("alarm-metric", "alarm-queue", "alarm-topic")])
def test_an_alarm_by_rule_queue_and_topic_notifies_once(
    alarms: Alarms, names: tuple[str, ...]
) -> None:
    alarms.seed_metrics(sample(names[0]), at_the_end=95.0)
    assert [len(alarms.handle(sample(name))) for name in names] == [1, 0, 0]


@pytest.mark.parametrize("name", ["alarm-metric", "alarm-metric-action", "alarm-topic"])
def test_an_alarm_that_comes_directly_goes_into_the_queue(alarms: Alarms, name: str) -> None:
    alarms.seed_metrics(sample(name), at_the_end=95.0)
    alarms.watcher.dispatch(sample(name))
    assert alarms.stack.drain_events() == []
    assert not alarms.cloudwatch.calls
    assert alarms.run_queue() == 1
    assert len(alarms.stack.drain_events()) == 1


def test_each_series_of_an_alarm_is_evaluated(alarms: Alarms) -> None:
    event = sample("alarm-insights")
    [query] = event["detail"]["configuration"]["metrics"]
    end = change_of(event).at // 1_000_000 * 1_000 // 300 * 300
    alarms.clock.seconds = change_of(event).at / 1000 + 5
    load = 30.0 + np.random.default_rng(3).normal(0.0, 1.0, (14, READINGS))
    load[[3, 8], -1] = 95.0
    alarms.cloudwatch.groups[query["expression"]] = {
        f"i-{number:05}": {end - 300 * (READINGS - k): value for k, value in enumerate(values)}
        for number, values in enumerate(load)
    }
    [sent] = alarms.handle(event)
    detail = sent["detail"]
    assert (detail["is_unusual"], detail["series_count"], len(detail["series"])) == (True, 14, 10)
    assert [each["is_unusual"] for each in detail["series"]] == [True, True, *[False] * 8]
    assert {each["metric"].rpartition(": ")[2] for each in detail["series"][:2]} == {
        *("i-00003", "i-00008"),
    }
    [message] = alarms.stack.drain_messages()
    assert "2 of 14 series are unusual. The 10 most unusual:" in message["Message"]


def test_a_message_that_is_not_an_alarm_is_logged_and_ignored(
    alarms: Alarms, caplog: pytest.LogCaptureFixture
) -> None:
    assert alarms.handle(by_topic({"text": "The build is red."})) == []
    assert "unknown event ignored" in caplog.messages


def test_an_undelivered_message_is_sent_by_the_retry(alarms: Alarms) -> None:
    alarms.seed_metrics(sample("alarm-metric"), at_the_end=95.0)
    topic = {"Name": alarms.stack.alert_topic.rpartition(":")[2]}
    alarms.stack.client("sns").delete_topic(TopicArn=alarms.stack.alert_topic)
    with pytest.raises(UndeliveredError):
        alarms.handle(sample("alarm-metric"))
    alarms.stack.client("sns").create_topic(**topic)
    alarms.clock.advance(90)
    assert alarms.run_queue() == 1
    assert len(alarms.stack.drain_events()) == 1, "the event had arrived, and no second"


@pytest.mark.parametrize("name", ["unknown", "env", "predict-normal"])
def test_an_unknown_event_is_logged_and_ignored(
    alarms: Alarms, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert alarms.handle(sample(name)) == []
    assert "unknown event ignored" in caplog.messages


def test_the_retry_delivers_after_a_crash(alarms: Alarms) -> None:
    event = sample("alarm-queue")
    alarms.seed_metrics(event, at_the_end=95.0)

    def crashing(service: str) -> Any:
        if service == "events":
            raise MemoryError
        return alarms.client(service)

    with pytest.raises(MemoryError):
        alarms.make_watcher(crashing).dispatch(event)
    alarms.clock.advance(90)
    assert [sent["detail-type"] for sent in alarms.handle(event)] == ["Alarm Evaluated"]
    assert alarms.handle(event) == []
