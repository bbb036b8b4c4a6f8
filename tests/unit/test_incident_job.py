"""The incident job: once a minute, whatever goes wrong, each incident is notified of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from ops_anomaly.aws.errors import ConflictError, StoreUnavailableError
from ops_anomaly.aws.objects import FEEDBACK_KEY, INCIDENTS_KEY, anomalies_key
from ops_anomaly.watcher.feedback_file import give_feedback, undo_feedback
from ops_anomaly.watcher.incident_job import decode_incidents
from ops_anomaly.watcher.incidents import KEPT_MS, LOST_MS, Incident, decode_reported
from ops_anomaly.watcher.mutes import Mute
from ops_anomaly.watcher.outbox import Notification
from tests.support.shard_jobs import CLOSED, DAY, OPENED, SPIKE, STATE, World

UNDELIVERED = "the incidents could not be notified"


@pytest.fixture
def world() -> World:
    return World()


def incidents(world: World) -> list[Incident]:
    return decode_incidents(world.store.objects[INCIDENTS_KEY].data).board.incidents


def test_what_one_shard_found_is_notified_immediately(world: World) -> None:
    world.set(SPIKE, -1)
    assert world.run_quietly(0).opened == 1
    assert world.incidents.run().opened == 1
    assert world.sent == [("i-00000", OPENED)]


def test_with_several_shards_it_is_held_for_half_a_minute(world: World) -> None:
    world.set(SPIKE, -1)
    world.shards = 2
    world.run_quietly(0)
    assert world.incidents.run().opened == 0
    world.clock.advance(30)
    assert world.incidents.run().opened == 1


def test_a_minute_in_which_nothing_happens_writes_nothing(world: World) -> None:
    world.set(SPIKE, -1)
    world.run(0)
    writes = world.store.writes
    world.incidents.run()
    assert world.new_incident_job().run().opened == 0
    assert world.store.writes == writes


def test_without_a_list_of_the_fleet_there_is_nothing_to_report(world: World) -> None:
    assert world.incidents.run() is None


# --- delivery -----------------------------------------------------------------------------------


def test_the_next_minute_delivers_for_an_instance_that_died(world: World) -> None:
    def die(notifications: Sequence[Notification]) -> set[str]:
        raise TimeoutError

    world.set(SPIKE, -1)
    world.event.send, send = die, world.event.send
    with pytest.raises(TimeoutError):
        world.run(0)
    world.event.send = send
    world.incidents = world.new_incident_job()
    world.notify()
    world.notify()
    assert world.sent == [("i-00000", OPENED)]


def test_what_was_not_delivered_is_pending_and_sent_the_next_minute(world: World) -> None:
    world.set(SPIKE, -1)
    world.event.is_down = world.message.is_down = True
    world.run(0)
    assert world.incidents.run().pending == 1
    world.event.is_down = world.message.is_down = False
    assert world.incidents.run().pending == 0
    assert world.sent == [("i-00000", OPENED)]


def test_notifications_expire_after_a_day(world: World) -> None:
    world.set(SPIKE, -1)
    world.event.is_down = True
    world.run(0)
    world.run(DAY + 1)
    assert [each.detail_type for each in world.telemetry.expired_notifications] == [OPENED]


def test_of_two_jobs_at_the_same_time_one_notifies(world: World) -> None:
    world.set(SPIKE, -1)
    world.run_quietly(0)
    world.clock.advance(60)
    other = world.new_incident_job()
    world.store.others = [other.run]
    with pytest.raises(ConflictError):
        world.incidents.run()
    world.incidents.run()
    assert world.sent == [("i-00000", OPENED)]


def test_what_was_delivered_and_could_not_be_removed_is_sent_again_under_the_same_id(
    world: World,
) -> None:
    def fail() -> None:
        raise StoreUnavailableError("throttled")

    world.set(SPIKE, -1)
    world.run_quietly(0)
    world.clock.advance(60)
    world.store.others = [lambda: None, fail, fail]
    with pytest.raises(StoreUnavailableError):
        world.incidents.run()
    world.incidents.run()
    assert [each.id for each in world.event.sent] == [world.event.sent[0].id] * 2


# --- what is lost or damaged --------------------------------------------------------------------


def test_incidents_that_can_not_be_read_are_notified_again_but_not_those_that_are_over() -> None:
    world = World()
    world.run(0)
    world.set(SPIKE, 1)
    world.run(2)
    world.run(6)
    world.set(SPIKE, 7, of=1)
    world.run(8)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED), ("i-00001", OPENED)]
    world.store.put(INCIDENTS_KEY, b"{}{}")
    world.run(9)
    world.run(10)
    assert world.sent[3:] == [("i-00001", OPENED)]
    assert world.telemetry.rebuilt == [INCIDENTS_KEY]


def test_an_unreadable_report_closes_nothing_until_the_shard_reports_again(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1, 2, 3)
    world.run(2)
    world.store.put(anomalies_key(0), b"[{}]")
    world.notify()
    assert anomalies_key(0) in world.telemetry.rebuilt
    assert world.sent == [("i-00000", OPENED)]
    world.run(3)
    world.run(8)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]


def test_an_anomaly_that_no_shard_knows_any_more_is_over_after_an_hour(world: World) -> None:
    world.set(SPIKE, -1)
    world.run(0)
    world.store.put(anomalies_key(0), b"[]")
    world.clock.advance((LOST_MS - 900_000) / 1000)
    world.notify()
    assert world.sent == [("i-00000", OPENED)]
    world.clock.advance(900)
    world.notify()
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    assert world.event.sent[1].detail["close_reason"] == "no longer watched"


@pytest.mark.parametrize("is_other_instance", [False, True])
def test_what_a_shard_has_reported_does_not_outlive_its_state(
    world: World, is_other_instance: bool
) -> None:
    world.run(0)
    world.set(SPIKE, 1)
    world.run(2)
    world.store.put(STATE, b"not a state")
    world.run(9, by=world.new_runner() if is_other_instance else None)
    assert decode_reported(world.store.objects[anomalies_key(0)].data) == []
    world.clock.advance(LOST_MS / 1000)
    world.notify()
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]


def test_unreadable_feedback_is_reported_and_never_written_over(world: World) -> None:
    world.store.put(FEEDBACK_KEY, b"fine")
    world.set(SPIKE, -1)
    world.run(0)
    assert world.sent == [("i-00000", OPENED)]
    assert FEEDBACK_KEY in world.telemetry.rebuilt
    assert world.store.objects[FEEDBACK_KEY].data == b"fine"


def test_incidents_that_are_over_are_shown_for_a_week(world: World) -> None:
    world.set(SPIKE, -1)
    world.run(0)
    world.run(5)
    assert len(incidents(world)) == 1
    world.clock.advance(KEPT_MS / 1000)
    world.notify()
    assert incidents(world) == []


def test_an_entry_that_is_renamed_keeps_its_rules_for_what_was_found_before() -> None:
    mute = msgspec.convert({"from": "2026-11-25T11:00", "to": "2026-11-26T00:00"}, Mute)
    world = World(name="before", mute=[mute])
    world.set(SPIKE, *range(-1, 9))
    world.run(0)
    world.options = msgspec.structs.replace(world.options, name="after")
    world.run(1)
    assert world.sent == []


# --- feedback -----------------------------------------------------------------------------------


def test_the_next_like_what_was_fine_does_not_alert_until_that_is_undone(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1, 2)
    world.run(2)
    [incident] = incidents(world)
    give_feedback(world.store, incident, "fine", "me", world.clock(), None)
    world.set(SPIKE + 2, 60)
    world.run(61)
    closed = world.event.sent[1]
    assert (closed.detail_type, closed.detail["close_reason"]) == (CLOSED, "marked as fine")
    assert len(world.event.sent) == 2
    assert len(world.message.sent) == 1, "who said that it is fine needs no message"

    undo_feedback(world.store, incident.id, "me", world.clock())
    world.set(SPIKE + 2, 120)
    world.run(121)
    assert [each.detail_type for each in world.event.sent[2:]] == [OPENED]


def test_what_is_worse_than_what_was_fine_alerts_while_that_lasts(world: World) -> None:
    world.run(0)
    world.set(60.0, *range(1, 12))
    world.run(3)
    [incident] = incidents(world)
    give_feedback(world.store, incident, "fine", "me", world.clock(), None)
    assert world.run(4).opened == 0
    world.set(SPIKE, 5)
    assert world.run(6).opened == 1
    assert [each.detail_type for each in world.event.sent] == [OPENED, CLOSED, OPENED]


def test_a_snoozed_incident_is_notified_again_if_it_outlasts_the_snooze(world: World) -> None:
    world.run(0)
    world.set(SPIKE, *range(1, 30))
    world.run(2)
    [incident] = incidents(world)
    until = world.clock() + 1_800_000
    give_feedback(world.store, incident, "snooze", "me", world.clock(), until)
    for tick in range(3, 12):
        world.run(tick)
    assert [each.detail_type for each in world.message.sent] == [OPENED, "Incident Reminded"]


def test_a_snoozed_incident_that_ends_meanwhile_is_closed_silently(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1)
    world.run(2)
    [incident] = incidents(world)
    until = world.clock() + 4 * 3_600_000
    give_feedback(world.store, incident, "snooze", "me", world.clock(), until)
    world.run(10)
    assert [each.detail_type for each in world.event.sent] == [OPENED, CLOSED]
    assert [each.detail_type for each in world.message.sent] == [OPENED]
