"""Alarms as they change: told once when they fire, and once when they are over."""

from __future__ import annotations

import pytest

from ops_anomaly.aws.errors import ServiceUnavailableError
from ops_anomaly.aws.objects import alarm_key
from ops_anomaly.watcher.alarm_verdicts import LEASE_SECONDS, decode_alarm_state
from ops_anomaly.watcher.alarms import AlarmEvaluator
from ops_anomaly.watcher.documents import UndeliveredError
from ops_anomaly.watcher.events import AlarmChange
from ops_anomaly.watcher.outbox import Notification
from tests.support.alarms import PREFIX, by_action, by_rule, change, told
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.fakes import FakeChannel
from tests.support.shard_jobs import DAY, PERIOD, SPIKE, FakeReporter, RacingStore, ordinary
from tests.support.watcher import NOON, WallClock, machines

KEY = alarm_key(f"{PREFIX}cpu-high")
JUDGED, CLEARED = "Alarm Judged", "Alarm Cleared"
[MACHINE] = machines(1)


class World:
    """A machine that is ordinary until a spike just before noon, and who watches its alarm."""

    def __init__(self) -> None:
        self.store, self.cloudwatch, self.clock = RacingStore(), FakeCloudWatch(), WallClock()
        self.event, self.message = FakeChannel("event"), FakeChannel("message")
        self.reporter = FakeReporter()
        self.cloudwatch.put(MACHINE, NOON - 3 * DAY * PERIOD, ordinary(0))
        self.cloudwatch.put(MACHINE, NOON - PERIOD, [SPIKE])
        self.watcher = AlarmEvaluator(
            self.cloudwatch, self.store, [self.event, self.message], self.reporter, self.clock
        )

    def take(self, alarm: AlarmChange) -> list[str]:
        return [notice.detail_type for notice in self.watcher.take(alarm)]

    @property
    def told(self) -> list[str]:
        assert [n.id for n in self.event.told] == [n.id for n in self.message.told]
        return [notice.detail_type for notice in self.event.told]


@pytest.fixture
def world() -> World:
    return World()


def test_an_alarm_that_fires_is_judged_and_told(world: World) -> None:
    assert world.take(change()) == [JUDGED]
    [notice] = world.message.told
    detail = notice.detail
    assert (detail["is_unusual"], detail["first_seen"]) == (True, "2026-11-25T11:55:00Z")
    assert detail["alarm"] == {
        "name": "cpu-high",
        "arn": f"{PREFIX}cpu-high",
        "state": "ALARM",
        "at": "2026-11-25T12:00:00Z",
    }
    assert notice.subject == "Alarm cpu-high: unusual"
    assert detail["verdict"] in notice.message
    assert "CloudWatch says: Threshold Crossed" in notice.message


def test_an_alarm_that_is_nothing_unusual_says_so(world: World) -> None:
    world.cloudwatch.put(MACHINE, NOON - PERIOD, [30.0])
    world.take(change())
    [notice] = world.message.told
    assert notice.detail["is_unusual"] is False
    assert notice.subject == "Alarm cpu-high: not unusual"


def test_an_alarm_that_can_not_be_judged_is_told_all_the_same(world: World) -> None:
    world.cloudwatch.series.clear()
    world.take(change())
    [notice] = world.message.told
    assert (notice.detail["is_unusual"], notice.detail["severity"]) == (None, None)
    assert notice.subject == "Alarm cpu-high: could not be judged"


def test_an_alarm_without_metrics_and_children_is_told_all_the_same(world: World) -> None:
    world.take(change(rule="TRUE"))
    assert "it has no metrics" in world.message.told[0].message


def test_of_several_children_the_worst_counts(world: World) -> None:
    well = {"AlarmName": "well", "Period": 300, "Statistic": "Average"}
    well |= {"Namespace": "AWS/EC2", "MetricName": "Nothing"}
    odd = well | {"AlarmName": "odd", "MetricName": "CPUUtilization"}
    odd["Dimensions"] = [{"Name": "InstanceId", "Value": "i-00000"}]
    world.cloudwatch.alarms = [well, odd]
    world.take(change(rule="ALARM(well) OR ALARM(odd)"))
    detail = world.event.told[0].detail
    assert [each["alarm"] for each in detail["judged"]] == ["well", "odd"]
    assert detail["severity"] == detail["judged"][1]["severity"] > 0.5
    assert detail["is_unusual"] is True


def test_the_same_event_again_changes_nothing(world: World) -> None:
    world.take(change())
    before, calls = world.store.objects[KEY], len(world.cloudwatch.calls)
    assert world.take(change()) == []
    assert (world.store.objects[KEY], len(world.cloudwatch.calls)) == (before, calls)
    assert world.told == [JUDGED]


def test_an_older_event_changes_nothing(world: World) -> None:
    world.take(change("ALARM", NOON))
    before = world.store.objects[KEY]
    assert world.take(change("OK", NOON - 1)) == []
    assert world.store.objects[KEY] == before


def test_an_event_that_comes_by_both_routes_is_told_once(world: World) -> None:
    for event in (by_rule(told()), by_action(told())):
        world.take(AlarmChange.from_event(event))
    assert world.told == [JUDGED]


def test_an_event_that_comes_by_both_routes_at_the_same_time_is_told_once(world: World) -> None:
    world.store.others = [lambda: world.take(change())]
    assert world.take(change()) == []
    assert world.told == [JUDGED]


def test_an_alarm_that_is_over_is_told_with_how_long_it_lasted(world: World) -> None:
    world.take(change("ALARM", NOON))
    assert world.take(change("OK", NOON + 2_700, before="ALARM")) == [CLEARED]
    fired, over = world.message.told
    assert over.detail["lasted_seconds"] == 2_700
    assert over.detail["id"] == fired.detail["id"]
    assert over.detail["alarm"]["state"] == "OK"
    assert over.detail["verdict"] == fired.detail["verdict"]
    assert over.subject == "Over: alarm cpu-high, after 45 min"


def test_an_alarm_that_is_ok_and_never_fired_tells_nothing(world: World) -> None:
    assert world.take(change("OK")) == []
    assert world.told == []


def test_a_lack_of_data_neither_ends_an_alarm_nor_begins_one_anew(world: World) -> None:
    world.take(change("ALARM", NOON))
    assert world.take(change("INSUFFICIENT_DATA", NOON + 300, before="ALARM")) == []
    assert world.take(change("ALARM", NOON + 600, before="INSUFFICIENT_DATA")) == []
    assert world.take(change("OK", NOON + 900, before="ALARM")) == [CLEARED]
    assert world.message.told[1].detail["lasted_seconds"] == 900


def test_an_alarm_that_fires_again_after_an_end_that_was_missed_is_new(world: World) -> None:
    world.take(change("ALARM", NOON))
    assert world.take(change("ALARM", NOON + 600, before="OK")) == [CLEARED, JUDGED]
    first, over, again = world.event.told
    assert first.about == over.about != again.about


def test_alarms_are_told_apart_by_their_arn(world: World) -> None:
    world.take(change(name="cpu-high"))
    world.take(change(name="cpu-higher"))
    assert len({notice.about for notice in world.event.told}) == 2


@pytest.mark.parametrize("channel", ["event", "message"])
def test_what_is_not_delivered_is_raised_and_told_once_by_the_retry(
    world: World, channel: str
) -> None:
    getattr(world, channel).is_down = True
    with pytest.raises(UndeliveredError, match="cpu-high: 1 notices wait"):
        world.take(change())
    getattr(world, channel).is_down = False
    calls = len(world.cloudwatch.calls)
    world.take(change())
    world.take(change())
    assert world.told == [JUDGED]
    assert len(world.cloudwatch.calls) == calls  # it is not judged again


def test_where_cloudwatch_does_not_answer_the_retry_does_it_all(world: World) -> None:
    world.cloudwatch.failures = [client_error("Throttling", "GetMetricData")]
    with pytest.raises(ServiceUnavailableError):
        world.take(change())
    assert KEY not in world.store.objects
    assert world.take(change()) == [JUDGED]


def test_what_a_watcher_that_died_did_not_tell_is_told_by_the_retry(world: World) -> None:
    def die(notices: list[Notification]) -> set[str]:
        raise TimeoutError

    world.event.send, send = die, world.event.send
    with pytest.raises(TimeoutError):
        world.take(change())
    world.event.send = send
    world.take(change())  # by the other route: the first one might still be at it
    assert world.told == []
    world.clock.seconds += LEASE_SECONDS
    world.take(change())
    assert world.told == [JUDGED]


def test_a_memory_that_can_not_be_read_is_begun_anew_and_reported(world: World) -> None:
    world.store.put(KEY, b"[]")
    assert world.take(change()) == [JUDGED]
    assert world.reporter.rebuilt == [KEY]
    assert decode_alarm_state(world.store.objects[KEY].data).until == NOON
