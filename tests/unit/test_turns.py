"""A tick of the schedule: a turn a shard, and a number of shards that only grows."""

from __future__ import annotations

import json

import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import ConflictError, InvalidWatchFileError, ServiceUnavailableError
from ops_anomaly.aws.objects import SHARDS_KEY, WATCH_KEY
from ops_anomaly.watcher.documents import BusyError, UnknownEventError
from ops_anomaly.watcher.events import recognise
from ops_anomaly.watcher.fleet import (
    Planner,
    ShardJob,
    Watched,
    decode_shard_job,
    encode_shard_job,
    plan,
    shard_count,
)
from ops_anomaly.watcher.watch_file import Options
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.shard_jobs import RacingStore
from tests.support.watcher import NOON, WallClock, machines

HOUR = 3_600
QUEUE_BYTES = 256 * 1024
SENT = (
    '{"of":4,"shard":3,"time":1795608000,"entries":[{"options":{"name":"cpu","model":null,'
    '"sensitivity":1.0,"history_days":14,"score_metric":false},"metrics":['
    '"AWS/EC2 CPUUtilization InstanceId=i-00000 Average 300"]}]}'
)
"""As the first version of the watcher sent it: what may wait in a queue."""


class World:
    """A planner over a bucket, a CloudWatch and a clock."""

    def __init__(self) -> None:
        self.store, self.cloudwatch, self.clock = RacingStore(), FakeCloudWatch(), WallClock()
        self.planner = self.new_planner()

    def new_planner(self) -> Planner:
        return Planner(self.cloudwatch, self.store, self.clock)

    def publish(self, name: str = "cpu", **more: object) -> None:
        selector = {
            "name": name,
            "namespace": "AWS/EC2",
            "metric": "CPUUtilization",
            "dimensions": {"InstanceId": "*"},
            "statistic": "Average",
            "period": 300,
        }
        self.store.put(
            WATCH_KEY, json.dumps({"version": 1, "selectors": [selector | more]}).encode()
        )

    def start(self, count: int) -> None:
        """Let the fleet consist of so many machines."""
        self.cloudwatch.series = {metric: {NOON: 1.0} for metric in machines(count)}

    @property
    def shards(self) -> int:
        """What the bucket says of their number."""
        return int(json.loads(self.store.objects[SHARDS_KEY].data)["of"])


@pytest.fixture
def world() -> World:
    return World()


def watched(turns: list[ShardJob]) -> list[Metric]:
    return [metric for turn in turns for part in turn.fleet for metric in part.metrics]


def test_without_a_watch_file_there_are_no_turns(world: World) -> None:
    world.start(3)
    assert world.planner.turns() == []
    assert not world.cloudwatch.listed


def test_a_small_fleet_is_one_turn(world: World) -> None:
    world.start(3)
    world.publish(history_days=7)
    [turn] = world.planner.turns()
    assert (turn.of, turn.shard, turn.time) == (1, 0, NOON)
    [part] = turn.fleet
    assert part.options == Options(name="cpu", history_days=7)
    assert part.metrics == machines(3)


def test_a_large_fleet_is_cut(world: World) -> None:
    world.start(1_000)
    world.publish()
    turns = world.planner.turns()
    assert [(turn.of, turn.shard) for turn in turns] == [(4, 0), (4, 1), (4, 2), (4, 3)]
    assert sorted(watched(turns)) == machines(1_000)


def test_a_shard_without_metrics_gets_its_turn_to_forget_them(world: World) -> None:
    world.start(0)
    world.publish()
    [turn] = world.planner.turns()
    assert turn.fleet == []


def test_what_selectors_stand_for_is_looked_up_once_an_hour(world: World) -> None:
    world.start(1)
    world.publish()
    world.planner.turns()
    world.start(2)
    world.clock.seconds = NOON + HOUR - 1
    assert len(watched(world.planner.turns())) == 1
    world.clock.seconds = NOON + HOUR
    assert len(watched(world.planner.turns())) == 2
    assert len(world.cloudwatch.listed) == 2


def test_a_changed_watch_file_is_taken_at_once(world: World) -> None:
    world.start(1)
    world.publish("before")
    world.planner.turns()
    world.publish("after")
    [turn] = world.planner.turns()
    assert turn.entries[0].options.name == "after"


def test_a_watch_file_that_is_taken_away_stops_the_watch(world: World) -> None:
    world.start(1)
    world.publish()
    world.planner.turns()
    del world.store.objects[WATCH_KEY]
    assert world.planner.turns() == []


def test_a_watch_file_that_is_malformed_is_told(world: World) -> None:
    world.publish(period=1)
    with pytest.raises(InvalidWatchFileError, match="period"):
        world.planner.turns()


def test_a_fleet_that_could_not_be_looked_up_is_looked_up_by_the_retry(world: World) -> None:
    world.start(2)
    world.publish()
    world.cloudwatch.failures = [client_error("Throttling", "ListMetrics")]
    with pytest.raises(ServiceUnavailableError):
        world.planner.turns()
    assert len(watched(world.planner.turns())) == 2


def test_the_number_of_shards_grows_by_doubling_and_never_shrinks(world: World) -> None:
    grown = []
    for count in (10, 500, 100, 1_700, 10):
        world.start(count)
        world.publish(str(count))
        grown.append(len(world.planner.turns()))
    assert grown == [1, 2, 2, 8, 8]
    assert world.shards == 8


def test_a_cold_start_finds_the_number_of_shards(world: World) -> None:
    world.start(500)
    world.publish()
    world.planner.turns()
    world.start(1)
    assert len(world.new_planner().turns()) == 2


def test_of_two_planners_both_cut_as_the_one_that_wrote_first(world: World) -> None:
    world.start(500)
    world.publish()
    others: list[ShardJob] = []

    def other() -> None:
        world.start(1_000)  # it has looked the fleet up a little later
        others.extend(world.new_planner().turns())

    world.store.others = [other]
    mine = world.planner.turns()
    assert {turn.of for turn in [*mine, *others]} == {4}
    assert world.shards == 4
    assert sorted(watched(mine)) == machines(500)


def test_a_planner_that_never_comes_first_asks_for_a_retry(world: World) -> None:
    def conflict() -> None:
        raise ConflictError(SHARDS_KEY)

    world.publish()
    world.store.others = [conflict] * 100
    with pytest.raises(BusyError, match=SHARDS_KEY):
        world.planner.turns()


def test_a_message_that_an_earlier_version_sent_is_read_and_written_as_it_was() -> None:
    turn = decode_shard_job(SENT)
    assert (turn.of, turn.shard, turn.time) == (4, 3, NOON)
    assert turn.fleet == [Watched(Options(name="cpu", sensitivity=1.0), machines(1))]
    assert encode_shard_job(turn) == SENT


@pytest.mark.parametrize(
    "body",
    [
        *(None, 7, [], "", "[]", "[[[", '"\ud800"'),
        SENT.replace('"of":4', '"of":0'),
        SENT.replace('"of":4', '"of":"4"'),
        SENT.replace('"shard":3', '"shard":3.0'),
        SENT.replace('"shard":3', '"shard":-1'),
        SENT.replace('"time"', '"more":1,"time"'),
        SENT.replace('"name"', '"more":1,"name"'),
        SENT.replace('"cpu"', '"cpu\\n"'),
        SENT.replace("Average 300", "Average 90"),
    ],
)
def test_what_is_no_turn_is_refused(body: object) -> None:
    event = {"Records": [{"eventSource": "aws:sqs", "body": body}]}
    with pytest.raises(UnknownEventError, match="no shard's turn"):
        recognise(event)


def test_the_messages_of_a_large_fleet_with_long_names_fit_the_queue() -> None:
    long = [
        Metric(
            "AWS/ApplicationELB", "RequestCount", (("LoadBalancer", f"{n:05}" * 100),), "Sum", 60
        )
        for n in range(10_000)
    ]
    options = Options(name="n" * 63, model="m" * 63, sensitivity=0.123456789, history_days=60)
    turns = plan([Watched(options, long)], shard_count(len(long)), NOON)
    sent = [encode_shard_job(turn) for turn in turns]
    assert max(len(message.encode()) for message in sent) < QUEUE_BYTES
    received = [decode_shard_job(message) for message in sent]
    assert received == turns
    texts = [text for turn in received for entry in turn.entries for text in entry.metrics]
    assert sorted(texts) == sorted(map(str, long))
