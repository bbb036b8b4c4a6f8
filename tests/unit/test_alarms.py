"""Alarms as they change: one notification when they fire, and one when they are OK again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ops_anomaly.aws.errors import (
    ConflictError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.aws.objects import alarm_key
from ops_anomaly.watcher.alarms import (
    DELIVERY_MS,
    AlarmEvaluator,
    AlarmState,
    BusyError,
    decode_alarm_state,
)
from ops_anomaly.watcher.events import AlarmChange
from ops_anomaly.watcher.outbox import EXPIRY_MS, Notification, UndeliveredError
from tests.support.alarms import PREFIX, alarm_data, by_action, by_rule, change
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.fakes import FakeChannel, channels
from tests.support.shard_jobs import DAY, PERIOD, SPIKE, FakeTelemetry, RacingStore, normal_load
from tests.support.watcher import NOON, NOON_MS, WallClock, machines

KEY = alarm_key(f"{PREFIX}cpu-high")
EVALUATED, CLEARED = "Alarm Evaluated", "Alarm Cleared"
[MACHINE] = machines(1)


class World:
    """A machine with a normal load until a spike just before noon, and its alarm."""

    def __init__(self) -> None:
        self.store, self.cloudwatch, self.clock = RacingStore(), FakeCloudWatch(), WallClock()
        self.event, self.message = FakeChannel(), FakeChannel()
        self.telemetry = FakeTelemetry()
        self.cloudwatch.put(MACHINE, NOON - 3 * DAY * PERIOD, normal_load(0))
        self.cloudwatch.put(MACHINE, NOON - PERIOD, [SPIKE])
        to = channels(event=self.event, message=self.message)
        self.evaluator = AlarmEvaluator(self.cloudwatch, self.store, to, self.telemetry, self.clock)

    def handle(self, alarm: AlarmChange) -> list[str]:
        return [each.detail_type for each in self.evaluator.handle(alarm)]

    @property
    def state(self) -> AlarmState:
        return decode_alarm_state(self.store.objects[KEY].data)

    @property
    def sent(self) -> list[str]:
        assert [n.id for n in self.event.sent] == [n.id for n in self.message.sent]
        return [each.detail_type for each in self.event.sent]


@pytest.fixture
def world() -> World:
    return World()


def test_an_alarm_that_fires_is_evaluated(world: World) -> None:
    assert world.handle(change()) == [EVALUATED]
    [sent] = world.message.sent
    detail = sent.detail
    assert (detail["is_unusual"], detail["first_seen"]) == (True, "2026-11-25T11:55:00Z")
    assert detail["alarm"] == {
        "name": "cpu-high",
        "arn": f"{PREFIX}cpu-high",
        "state": "ALARM",
        "at": "2026-11-25T12:00:00Z",
    }
    assert sent.subject == "Alarm cpu-high: unusual"
    assert detail["verdict"] in sent.message
    assert "Reason      Threshold Crossed" in sent.message


def test_an_alarm_on_something_normal_is_not_unusual(world: World) -> None:
    world.cloudwatch.put(MACHINE, NOON - PERIOD, [30.0])
    world.handle(change())
    [sent] = world.message.sent
    assert sent.detail["is_unusual"] is False
    assert sent.subject == "Alarm cpu-high: not unusual"


def test_an_alarm_that_can_not_be_evaluated_is_notified_all_the_same(world: World) -> None:
    world.cloudwatch.series.clear()
    world.handle(change())
    [sent] = world.message.sent
    assert (sent.detail["is_unusual"], sent.detail["severity"]) == (None, None)
    assert sent.subject == "Alarm cpu-high: could not be evaluated"


def test_an_alarm_without_metrics_is_notified_all_the_same(world: World) -> None:
    world.handle(change(rule="TRUE"))
    assert "it has no metrics" in world.message.sent[0].message


def test_a_composite_alarm_is_as_severe_as_its_worst_series(world: World) -> None:
    well = {"AlarmName": "well", "Period": 300, "Statistic": "Average"}
    well |= {"Namespace": "AWS/EC2", "MetricName": "Nothing"}
    odd = well | {"AlarmName": "odd", "MetricName": "CPUUtilization"}
    odd["Dimensions"] = [{"Name": "InstanceId", "Value": "i-00000"}]
    world.cloudwatch.alarms = [well, odd]
    world.handle(change(rule="ALARM(well) OR ALARM(odd)"))
    detail = world.event.sent[0].detail
    assert [each["alarm"] for each in detail["series"]] == ["well", "odd"]
    assert detail["severity"] == detail["series"][1]["severity"] > 0.5
    assert detail["is_unusual"] is True


def test_the_same_event_again_changes_nothing(world: World) -> None:
    world.handle(change())
    before, calls = world.store.objects[KEY], len(world.cloudwatch.calls)
    assert world.handle(change()) == []
    assert (world.store.objects[KEY], len(world.cloudwatch.calls)) == (before, calls)
    assert world.sent == [EVALUATED]


def test_an_older_event_changes_nothing(world: World) -> None:
    world.handle(change("ALARM", NOON))
    before = world.store.objects[KEY]
    assert world.handle(change("OK", NOON - 1)) == []
    assert world.store.objects[KEY] == before


def test_an_alarm_that_comes_by_both_routes_is_notified_once(world: World) -> None:
    for event in (by_rule(alarm_data()), by_action(alarm_data())):
        world.handle(AlarmChange.from_event(event))
    assert world.sent == [EVALUATED]


def test_an_alarm_that_is_ok_again_is_resolved_with_its_duration(world: World) -> None:
    world.handle(change("ALARM", NOON))
    assert world.handle(change("OK", NOON + 2_700, previous="ALARM")) == [CLEARED]
    fired, over = world.message.sent
    assert over.detail["lasted_seconds"] == 2_700
    assert over.detail["id"] == fired.detail["id"]
    assert over.detail["alarm"]["state"] == "OK"
    assert over.detail["verdict"] == fired.detail["verdict"]
    assert over.subject == "Resolved: alarm cpu-high after 45 min"


def test_an_alarm_that_is_ok_and_never_fired_is_not_notified(world: World) -> None:
    assert world.handle(change("OK")) == []
    assert world.sent == []


def test_a_lack_of_data_neither_resolves_an_alarm_nor_makes_it_new(world: World) -> None:
    world.handle(change("ALARM", NOON))
    assert world.handle(change("INSUFFICIENT_DATA", NOON + 300, previous="ALARM")) == []
    assert world.handle(change("ALARM", NOON + 600, previous="INSUFFICIENT_DATA")) == []
    assert world.handle(change("OK", NOON + 900, previous="ALARM")) == [CLEARED]
    assert world.message.sent[1].detail["lasted_seconds"] == 900


def test_an_alarm_that_fires_again_after_a_missed_ok_is_new(world: World) -> None:
    world.handle(change("ALARM", NOON))
    assert world.handle(change("ALARM", NOON + 600, previous="OK")) == [CLEARED, EVALUATED]
    first, over, again = world.event.sent
    assert first.about == over.about != again.about


def test_alarms_are_distinguished_by_their_arn(world: World) -> None:
    world.handle(change(name="cpu-high"))
    world.handle(change(name="cpu-higher"))
    assert len({each.about for each in world.event.sent}) == 2


# --- several instances, and what they can not reach ---------------------------------------------


def die(notifications: Sequence[Notification]) -> set[str]:
    raise TimeoutError


def wait(world: World, milliseconds: int) -> None:
    world.clock.advance(milliseconds / 1000)


def test_of_two_instances_at_the_same_time_the_slower_one_sends_nothing(world: World) -> None:
    world.store.others = [lambda: world.handle(change())]
    with pytest.raises(ConflictError):
        world.handle(change())
    assert world.sent == [EVALUATED]
    assert world.handle(change()) == [], "the retry finds that it is done"
    assert world.sent == [EVALUATED]


def test_a_change_during_the_delivery_of_another_waits_for_a_retry(world: World) -> None:
    others: list[str] = []

    def handle_the_next() -> None:
        with pytest.raises(BusyError, match="cpu-high is being handled"):
            world.handle(change("OK", NOON + 60, previous="ALARM"))
        others.append("busy")

    world.store.others = [lambda: None, handle_the_next]
    assert world.handle(change()) == [EVALUATED]
    assert others == ["busy"]
    assert world.handle(change("OK", NOON + 60, previous="ALARM")) == [CLEARED]
    assert world.sent == [EVALUATED, CLEARED]


def test_a_retry_delivers_for_a_process_that_died_once_it_must_have_ended(world: World) -> None:
    world.event.send, send = die, world.event.send
    with pytest.raises(TimeoutError):
        world.handle(change())
    world.event.send = send
    wait(world, DELIVERY_MS - 1)
    with pytest.raises(BusyError):
        world.handle(change())
    assert world.sent == []
    wait(world, 1)
    world.handle(change())
    world.handle(change())
    assert world.sent == [EVALUATED]
    assert world.state.outbox == ()


def test_the_next_change_delivers_for_a_process_that_died_too(world: World) -> None:
    world.event.send, send = die, world.event.send
    with pytest.raises(TimeoutError):
        world.handle(change())
    world.event.send = send
    wait(world, DELIVERY_MS)
    world.handle(change("OK", NOON + 300, previous="ALARM"))
    assert world.sent == [EVALUATED, CLEARED]


@pytest.mark.parametrize("channel", ["event", "message"])
def test_an_undelivered_notification_is_raised_and_sent_once_by_the_retry(
    world: World, channel: str
) -> None:
    getattr(world, channel).is_down = True
    with pytest.raises(UndeliveredError, match="cpu-high: 1 not delivered"):
        world.handle(change())
    getattr(world, channel).is_down = False
    wait(world, DELIVERY_MS)
    calls = len(world.cloudwatch.calls)
    world.handle(change())
    world.handle(change())
    assert world.sent == [EVALUATED]
    assert len(world.cloudwatch.calls) == calls, "it is not evaluated again"


def test_retries_raise_until_a_notification_is_delivered_or_has_expired(world: World) -> None:
    world.event.is_down = True
    for hours in range(0, 24, 6):
        world.clock.seconds = NOON + 3_600 * hours
        with pytest.raises(UndeliveredError):
            world.handle(change())
    world.clock.seconds = NOON + EXPIRY_MS / 1000 + 1
    assert world.handle(change()) == []
    assert [each.detail_type for each in world.telemetry.expired_notifications] == [EVALUATED]
    assert world.state.outbox == ()


def test_the_retry_does_all_if_cloudwatch_does_not_answer(world: World) -> None:
    world.cloudwatch.failures = [client_error("Throttling", "GetMetricData")]
    with pytest.raises(ServiceUnavailableError):
        world.handle(change())
    assert KEY not in world.store.objects
    assert world.handle(change()) == [EVALUATED]


def test_nothing_is_sent_that_could_not_be_written(world: World) -> None:
    def fail() -> None:
        raise StoreUnavailableError("throttled")

    world.store.others = [fail]
    with pytest.raises(StoreUnavailableError):
        world.handle(change())
    assert world.sent == []
    assert world.handle(change()) == [EVALUATED]
    assert world.sent == [EVALUATED]


def test_a_state_that_can_not_be_read_is_rebuilt_and_reported(world: World) -> None:
    world.store.put(KEY, b"[]")
    assert world.handle(change()) == [EVALUATED]
    assert world.telemetry.rebuilt == [KEY]
    assert world.state.until == NOON_MS
