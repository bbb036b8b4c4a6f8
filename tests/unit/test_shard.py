"""The watcher of a shard: a turn that comes twice, at the same time as another, or to another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ops_anomaly.aws.errors import (
    AccessDeniedError,
    AwsError,
    ConflictError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.aws.objects import checkpoint_key
from ops_anomaly.watcher.documents import BusyError
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.shard_job import LEASE_SECONDS, ShardReport
from ops_anomaly.watcher.state import ShardState
from tests.support.fake_cloudwatch import client_error
from tests.support.shard_jobs import CLOSED, DAY, NAN, OPENED, PERIOD, SPIKE, STATE, World


@pytest.fixture
def world() -> World:
    return World()


def test_the_same_turn_again_does_nothing(world: World) -> None:
    world.set(SPIKE, -1)
    world.look(0)
    writes, calls = world.store.writes, len(world.cloudwatch.calls)
    assert world.look(0) == ShardReport(2, 0, 0, 0, 0, 0, 0)
    assert world.look(0, by=world.new_watcher()) == ShardReport(2, 0, 0, 0, 0, 0, 0)
    assert (world.store.writes, len(world.cloudwatch.calls)) == (writes, calls)
    assert len(world.told) == 1


def test_an_older_turn_changes_nothing(world: World) -> None:
    world.look(5)
    before = world.store.objects[STATE]
    world.look(2)
    assert world.store.objects[STATE] == before


@pytest.mark.parametrize(
    ("code", "error"),
    [("Throttling", ServiceUnavailableError), ("AccessDenied", AccessDeniedError)],
)
def test_where_cloudwatch_does_not_answer_the_retry_does_it_all(
    world: World, code: str, error: type[AwsError]
) -> None:
    world.look(0)
    world.set(SPIKE, 1)
    before = world.store.objects[STATE]
    world.cloudwatch.failures = [client_error(code, "GetMetricData")]
    with pytest.raises(error):
        world.look(2)
    assert world.store.objects[STATE] == before
    assert world.look(2).opened == 1


def test_where_the_bucket_does_not_answer_the_retry_does_it_all(world: World) -> None:
    world.look(0)
    world.set(SPIKE, 1)
    world.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        world.look(2)
    assert len(world.event.told) == 0
    world.store.failure = None
    assert world.look(2).opened == 1


def watch_through(world: World, is_cold: bool) -> ShardState:
    """Look on through spikes, a gap, a late reading and a backlog; return what is remembered."""
    world.set(SPIKE, 2, 3)
    world.set(60.0, *range(21, 40))
    world.set(NAN, 5, of=1)
    for tick in [*range(8), 20, 23, 24, 40, 80, 81]:
        if tick == 7:
            world.set(0.0, 5, of=1)
        if is_cold:
            world.store.objects.pop(checkpoint_key(1, 0), None)
        world.look(tick, by=world.new_watcher() if is_cold else None)
    return world.memory


def test_instances_that_remember_and_those_that_do_not_say_the_same() -> None:
    warm, cold = World(), World()
    seen = [watch_through(world, is_cold=world is cold) for world in (warm, cold)]
    assert warm.event.told == cold.event.told
    assert len(warm.told) > 4
    courses = [{key: grid.course for key, grid in memory.grids.items()} for memory in seen]
    assert courses[0] == courses[1]


def test_a_state_that_can_not_be_read_is_built_anew_and_reported(world: World) -> None:
    world.look(0)
    world.store.put(STATE, b"what is this")
    assert world.look(1) == ShardReport(2, 0, 0, 0, 0, 0, 0)
    assert world.reporter.rebuilt == [STATE]
    world.set(SPIKE, 1)
    assert world.look(2).opened == 1


def test_a_shelf_that_can_not_be_read_is_done_without(world: World) -> None:
    world.look(0)
    world.store.put(checkpoint_key(1, 0), b"what is this")
    world.set(SPIKE, 0)
    assert world.look(1, by=world.new_watcher()).opened == 1


@pytest.mark.parametrize("tick", [0, 2], ids=["the first look", "a later look"])
def test_of_two_watchers_that_look_at_the_same_time_one_tells(world: World, tick: int) -> None:
    if tick:
        world.look(0)
    world.set(SPIKE, tick - 1)
    other: list[ShardReport] = []
    world.store.others = [lambda: other.append(world.look(tick, by=world.new_watcher()))]
    assert world.look(tick) == ShardReport(2, 0, 0, 0, 0, 0, 0)
    assert other == [ShardReport(2, 1, 0, 0, 0, 0, 0)]
    assert world.told == [("i-00000", OPENED)]


def test_a_watcher_that_looks_while_another_tells_does_not_tell_again(world: World) -> None:
    world.set(SPIKE, -1)
    other = world.new_watcher()
    world.store.others = [lambda: None, lambda: world.look(0, by=other)]
    world.look(0)
    assert world.told == [("i-00000", OPENED)]
    assert world.memory.outbox == ()


def test_a_watcher_that_never_comes_first_asks_for_a_retry(world: World) -> None:
    def conflict() -> None:
        raise ConflictError(STATE)

    world.store.others = [conflict] * 100
    with pytest.raises(BusyError, match=STATE):
        world.look(0)
    assert world.told == []


def test_what_a_watcher_that_died_did_not_tell_is_told_by_the_next(world: World) -> None:
    def die(notices: Sequence[Notification]) -> set[str]:
        raise TimeoutError

    world.set(SPIKE, -1)
    world.event.send, send = die, world.event.send
    with pytest.raises(TimeoutError):
        world.look(0)
    world.event.send = send
    assert LEASE_SECONDS < PERIOD
    world.look(1, by=world.new_watcher())
    world.look(2)
    assert world.told == [("i-00000", OPENED)]


def test_what_is_refused_is_pending_and_told_by_the_next_look(world: World) -> None:
    world.set(SPIKE, -1)
    world.event.is_down = world.message.is_down = True
    assert world.look(0).pending == 1
    world.event.is_down = world.message.is_down = False
    assert world.look(0).pending == 0  # though nothing is to be read
    assert world.told == [("i-00000", OPENED)]


def test_what_could_not_be_told_for_a_day_is_reported(world: World) -> None:
    world.set(SPIKE, -1)
    world.event.is_down = True
    world.look(0)
    world.look(DAY + 1)
    assert [notice.detail_type for notice in world.reporter.gave_up] == [OPENED]


def test_shards_that_are_cut_in_two_go_on_with_what_the_whole_knew() -> None:
    world = World(8)
    for number in range(8):
        world.set(SPIKE, -2, -1, of=number)
    world.look(0)
    assert sorted(world.told) == [(f"i-{number:05}", OPENED) for number in range(8)]
    for number in range(8):
        world.set(NAN, *range(20), of=number)
    calls = len(world.cloudwatch.calls)
    for tick in range(1, 16):
        for shard in (0, 1):
            world.look(tick, of=2, shard=shard)
    spans = {call["EndTime"] - call["StartTime"] for call in world.cloudwatch.calls[calls:]}
    assert {span.total_seconds() // PERIOD for span in spans} == {13}  # nothing is read anew
    assert sorted(world.told[8:]) == [(f"i-{number:05}", CLOSED) for number in range(8)]


def test_what_the_whole_had_not_told_one_half_tells() -> None:
    world = World(8)
    for number in range(8):
        world.set(SPIKE, -1, of=number)
    world.event.is_down = world.message.is_down = True
    world.look(0)
    world.event.is_down = world.message.is_down = False
    for shard in (0, 1):
        world.look(1, of=2, shard=shard)
    assert sorted(world.told) == [(f"i-{number:05}", OPENED) for number in range(8)]
