"""The fleet: what a watch file stands for, and the list of it that all instances share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import (
    AccessDeniedError,
    InvalidWatchFileError,
    ObjectNotFoundError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.aws.objects import FLEET_KEY, WATCH_KEY
from ops_anomaly.watcher.fleet import (
    SHARD_SIZE,
    Fleet,
    FleetList,
    Planner,
    Watched,
    listed_fleet,
    resolve,
)
from ops_anomaly.watcher.watch_file import Options, parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.shard_jobs import RacingStore
from tests.support.watcher import NOON, NOON_MS, WallClock, machines

ORDERS = "shop Orders Stage=live Sum 300"


# --- what entries stand for ---------------------------------------------------------------------


def selector(name: str = "cpu", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "*"},
        "statistic": "Average",
        "period": 300,
    } | more


def resolved(
    cloudwatch: FakeCloudWatch, *selectors: dict[str, Any], exact: str | None = None
) -> dict[str, list[str]]:
    """Return the metrics of each entry, as text."""
    entries = [{"name": "one", "metric": exact}] if exact else []
    content = {"version": 1, "metrics": entries, "selectors": list(selectors)}
    found = resolve(cloudwatch, parse_watch_file(content))
    return {watched.options.name: [str(m) for m in watched.metrics] for watched in found}


def listing(*lines: str) -> FakeCloudWatch:
    """Return a CloudWatch that knows these metrics."""
    cloudwatch = FakeCloudWatch()
    for line in lines:
        cloudwatch.put(Metric.parse(f"{line} Average 60"), NOON, [1.0])
    return cloudwatch


def test_exact_metrics_are_not_listed() -> None:
    cloudwatch = FakeCloudWatch()
    assert resolved(cloudwatch, exact=ORDERS) == {"one": [ORDERS]}
    assert not cloudwatch.listed


def test_a_metric_belongs_to_the_first_entry_that_names_it_and_exact_ones_come_first() -> None:
    machines = [f"AWS/EC2 CPUUtilization InstanceId={name}" for name in ("a", "b", "c")]
    named = resolved(
        listing(*machines),
        selector("some", dimensions={"InstanceId": "[ab]"}),
        selector("all"),
        exact=f"{machines[1]} Average 300",
    )
    assert named == {
        "one": [f"{machines[1]} Average 300"],
        "some": [f"{machines[0]} Average 300"],
        "all": [f"{machines[2]} Average 300"],
    }


def test_the_same_series_at_another_period_is_another_metric() -> None:
    cloudwatch = listing("AWS/EC2 CPUUtilization InstanceId=a")
    named = resolved(cloudwatch, selector("fast", period=60), selector("slow"))
    assert [len(metrics) for metrics in named.values()] == [1, 1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["prod-a", "prod-b", "test-a"]),
        ("prod-*", ["prod-a", "prod-b"]),
        ("????-a", ["prod-a", "test-a"]),
        ("prod-a", ["prod-a"]),
        ("PROD-*", []),
        ("prod", []),
    ],
)
def test_a_pattern_stands_for_what_matches_it(pattern: str, expected: list[str]) -> None:
    cloudwatch = listing(*(f"f Errors Name={name}" for name in ("test-a", "prod-b", "prod-a")))
    entry = selector("e", namespace="f", metric="Errors", dimensions={"Name": pattern})
    assert resolved(cloudwatch, entry)["e"] == [f"f Errors Name={n} Average 300" for n in expected]


def test_the_name_of_a_metric_may_be_a_pattern() -> None:
    cloudwatch = listing("shop Orders", "shop OrdersPaid", "shop Visits")
    entry = selector("e", namespace="shop", metric="Orders*", dimensions={})
    assert resolved(cloudwatch, entry)["e"] == [
        "shop Orders Average 300",
        "shop OrdersPaid Average 300",
    ]


def test_a_metric_must_have_these_dimensions_and_no_others() -> None:
    cloudwatch = listing("n M", "n M A=1", "n M A=1 B=2", "n M B=2")
    named = {
        tuple(names): resolved(
            cloudwatch, selector(namespace="n", metric="M", dimensions=dict.fromkeys(names, "*"))
        )["cpu"]
        for names in ([], ["A"], ["A", "B"], ["C"])
    }
    assert named == {
        (): ["n M Average 300"],
        ("A",): ["n M A=1 Average 300"],
        ("A", "B"): ["n M A=1 B=2 Average 300"],
        ("C",): [],
    }


@pytest.mark.parametrize(("period", "is_recent"), [(60, True), (3_600, True), (3_660, False)])
def test_periods_above_an_hour_are_listed_for_longer(period: int, is_recent: bool) -> None:
    cloudwatch = listing("AWS/EC2 CPUUtilization InstanceId=a")
    resolved(cloudwatch, selector(period=period))
    [request] = cloudwatch.listed
    assert request.get("RecentlyActive") == ("PT3H" if is_recent else None)


def test_cloudwatch_lists_only_what_can_match() -> None:
    cloudwatch = FakeCloudWatch()
    resolved(cloudwatch, selector(dimensions={"Stage": "live", "Name": "*"}))
    resolved(cloudwatch, selector(metric="CPU*"))
    one, other = cloudwatch.listed
    assert (one["Namespace"], one["MetricName"]) == ("AWS/EC2", "CPUUtilization")
    assert one["Dimensions"] == [{"Name": "Stage", "Value": "live"}, {"Name": "Name"}]
    assert "MetricName" not in other


def test_a_missing_permission_is_named() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("AccessDenied", "ListMetrics")]
    with pytest.raises(AccessDeniedError, match=r"metrics of cpu.*cloudwatch:ListMetrics"):
        resolved(cloudwatch, selector())


def test_throttling_is_not_a_missing_permission() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("Throttling", "ListMetrics")]
    with pytest.raises(ServiceUnavailableError):
        resolved(cloudwatch, selector())


# --- one list after the other -------------------------------------------------------------------

HOUR_MS = 3_600_000
SOME, ALL = selector("some", dimensions={"InstanceId": "i-0000[01]"}), selector("all")


def listed(
    metrics: Iterable[Metric],
    before: Fleet | None = None,
    hours: float = 0.0,
    *,
    selectors: Iterable[dict[str, Any]] = (ALL,),
    exact: Iterable[Metric] = (),
) -> Fleet:
    """Return the fleet after CloudWatch has listed these metrics, so many hours after noon."""
    cloudwatch = FakeCloudWatch()
    cloudwatch.series = {metric: {NOON: 1.0} for metric in metrics}
    entries = [{"name": f"exact-{n}", "metric": str(metric)} for n, metric in enumerate(exact)]
    watch_file = parse_watch_file({"version": 1, "metrics": entries, "selectors": [*selectors]})
    now = NOON_MS + round(hours * HOUR_MS)
    return listed_fleet(before, resolve(cloudwatch, watch_file), watch_file, "etag", now)


def shards(fleet: Fleet) -> dict[Metric, int]:
    """Return the shard of each metric."""
    return {Metric.parse(member.metric): member.shard for member in fleet.members}


def entries(fleet: Fleet) -> dict[Metric, str]:
    """Return the name of the entry of each metric."""
    return {Metric.parse(each.metric): fleet.entries[each.entry].name for each in fleet.members}


def test_a_fleet_fills_one_shard_after_the_other() -> None:
    fleet = listed(machines(1_000))
    assert fleet.shards == 3
    assert Counter(shards(fleet).values()) == {0: SHARD_SIZE, 1: SHARD_SIZE, 2: 200}
    of_each = [fleet.shard(number) for number in range(3)]
    assert sorted(metric for shard in of_each for metric in shard) == machines(1_000)
    assert {each.name for shard in of_each for each in shard.values()} == {"all"}


def test_an_empty_fleet_has_a_shard() -> None:
    assert listed([]).shards == 1


def test_a_metric_keeps_its_shard_whoever_joins_or_leaves() -> None:
    first = listed(machines(900)[200:])
    before, after = shards(first), shards(listed(machines(700), first, 25))
    kept = machines(700)[200:]
    assert {before[metric] for metric in kept} == {0, 1}
    assert [after[metric] for metric in kept] == [before[metric] for metric in kept]


def test_a_new_metric_gets_the_first_shard_with_a_place() -> None:
    without_some = [m for n, m in enumerate(machines(900)) if n not in (5, 500, 501)]
    shrunk = listed(without_some, listed(machines(900)), 25)
    joining = machines(904)[900:]
    after = shards(listed([*without_some, *joining], shrunk, 26))
    assert [after[metric] for metric in joining] == [0, 1, 1, 2]


def test_shards_are_never_fewer() -> None:
    """A job of its shard closes the incident of the last metric that leaves it."""
    fleet = listed([], listed(machines(900)), 25)
    assert (fleet.members, fleet.shards) == ([], 3)
    assert fleet.shard(2) == {}


@pytest.mark.parametrize(("hours", "is_there"), [(0.5, True), (23.99, True), (24, False)])
def test_a_metric_that_is_no_longer_listed_stays_for_a_day(hours: float, is_there: bool) -> None:
    one, other = machines(2)
    after = listed([other], listed([one, other]), hours)
    assert (one in shards(after)) is is_there
    assert other in shards(after)


def test_the_day_of_absence_begins_when_a_metric_was_listed_last() -> None:
    [machine] = machines(1)
    fleet = listed([machine], listed([], listed([machine]), 20), 23)
    for hours in (24, 35, 46.9):
        fleet = listed([], fleet, hours)
        assert [each.listed_at for each in fleet.members] == [NOON_MS + 23 * HOUR_MS]
    assert listed([], fleet, 47).members == []


@pytest.mark.parametrize(
    "other",
    [
        {"dimensions": {"InstanceId": "j-*"}},
        {"dimensions": {"InstanceId": "*", "Stage": "*"}},
        {"dimensions": {}},
        {"metric": "Disk*"},
        {"namespace": "CWAgent"},
        {"statistic": "Maximum"},
        {"period": 60},
    ],
    ids=str,
)
def test_a_metric_leaves_immediately_if_no_entry_stands_for_it(other: dict[str, Any]) -> None:
    after = listed([], listed(machines(2)), 0.1, selectors=[selector(**other)])
    assert after.members == []


def test_an_exact_metric_leaves_with_its_entry() -> None:
    one, other = machines(2)
    before = listed([], selectors=[], exact=[one, other])
    assert list(shards(listed([], before, 0.1, selectors=[], exact=[other]))) == [other]


def test_a_metric_belongs_to_the_first_entry_that_stands_for_it_listed_or_not() -> None:
    one, two, three = machines(3)
    before = listed([one, two, three])
    assert set(entries(before).values()) == {"all"}
    for found in ([one, two, three], []):
        after = listed(found, before, 0.1, selectors=[SOME, ALL], exact=[two])
        assert entries(after) == {one: "some", two: "exact-0", three: "all"}
        assert shards(after) == shards(before)


def test_the_options_of_an_entry_are_those_of_the_watch_file() -> None:
    before = listed(machines(1))
    after = listed([], before, 0.1, selectors=[selector("all", history_days=7)])
    assert after.shard(0) == {machines(1)[0]: Options(name="all", group="all", history_days=7)}


# --- the stored list ----------------------------------------------------------------------------


def fleet_of(count: int) -> Fleet:
    return listed(machines(count))


class Lists:
    """A bucket, and the list as two instances of the function have it."""

    def __init__(self) -> None:
        self.store, self.corrupt = RacingStore(), list[str]()
        self.mine, self.theirs = (FleetList(self.store, self.corrupt.append) for _ in range(2))


@pytest.fixture
def lists() -> Lists:
    return Lists()


def test_a_fleet_that_was_never_listed_is_none(lists: Lists) -> None:
    assert lists.mine.read() is None


def test_all_instances_read_what_one_has_written(lists: Lists) -> None:
    assert lists.mine.write(fleet_of(3)) == fleet_of(3)
    assert lists.theirs.read() == lists.mine.read() == fleet_of(3)
    assert lists.corrupt == []


def test_a_list_is_decoded_again_only_if_it_has_changed(lists: Lists) -> None:
    lists.mine.write(fleet_of(3))
    first = lists.theirs.read()
    assert lists.theirs.read() is first
    lists.mine.write(fleet_of(4))
    assert lists.theirs.read() == fleet_of(4)


def test_of_two_writes_the_first_one_counts_for_both_instances(lists: Lists) -> None:
    lists.mine.write(fleet_of(1))
    lists.theirs.read()
    lists.mine.write(fleet_of(2))
    assert lists.theirs.write(fleet_of(3)) == fleet_of(2)
    assert lists.theirs.write(fleet_of(3)) == fleet_of(3)
    assert lists.mine.read() == fleet_of(3)


def test_a_list_that_was_deleted_is_made_anew(lists: Lists) -> None:
    lists.mine.write(fleet_of(1))
    del lists.store.objects[FLEET_KEY]
    assert lists.mine.read() is None
    assert lists.mine.write(fleet_of(2)) == fleet_of(2)


def member_changed(**more: object) -> bytes:
    """Return a list whose last member was changed by hand."""
    plain = msgspec.to_builtins(fleet_of(2))
    plain["members"][-1] |= more
    return json.dumps(plain).encode()


def test_a_list_that_was_changed_by_hand_is_read(lists: Lists) -> None:
    lists.store.put(FLEET_KEY, member_changed(listed_at=7))
    assert lists.mine.read().members[-1].listed_at == 7


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"\xff", b"[" * 100_000),
        member_changed(entry=1),
        member_changed(entry=-1),
        member_changed(shard=1),
        member_changed(shard=-1),
        member_changed(metric="AWS/EC2 CPUUtilization Average"),
        member_changed(more=1),
    ],
)
def test_a_corrupt_list_is_reported_once_and_made_anew(lists: Lists, data: bytes) -> None:
    lists.store.put(FLEET_KEY, data)
    assert [lists.mine.read(), lists.mine.read()] == [None, None]
    assert lists.corrupt == [FLEET_KEY]
    assert lists.mine.write(fleet_of(2)) == fleet_of(2)
    assert lists.theirs.read() == fleet_of(2)


def test_a_list_in_a_bucket_that_does_not_respond_is_an_error(lists: Lists) -> None:
    lists.mine.write(fleet_of(1))
    lists.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        lists.mine.read()
    with pytest.raises(StoreUnavailableError):
        lists.mine.write(fleet_of(2))


# --- planning -----------------------------------------------------------------------------------

HOUR = 3_600


class World:
    """Planners of several instances over a bucket, a CloudWatch and a clock."""

    def __init__(self) -> None:
        self.store, self.cloudwatch, self.clock = RacingStore(), FakeCloudWatch(), WallClock()
        self.outdated: list[Exception] = []
        self.corrupt: list[str] = []
        self.planner = self.new_planner()

    def new_planner(self) -> Planner:
        """Return that of another instance, which has nothing in memory."""
        fleet = FleetList(self.store, self.corrupt.append)
        return Planner(self.cloudwatch, self.store, fleet, self.clock, self.outdated.append)

    def publish(self, name: str = "cpu", **more: Any) -> None:
        content = {"version": 1, "selectors": [selector(name, **more)]}
        self.store.put(WATCH_KEY, json.dumps(content).encode())

    def start(self, count: int) -> None:
        """Let the fleet have so many machines."""
        self.cloudwatch.series = {metric: {NOON: 1.0} for metric in machines(count)}

    def count(self, hours: float = 0.0, by: Planner | None = None) -> int | None:
        """Return how many metrics are watched, so many hours after noon."""
        self.clock.seconds = NOON + hours * HOUR
        fleet = (by or self.planner).fleet()
        return len(fleet.members) if fleet else None


@pytest.fixture
def world() -> World:
    return World()


def test_without_a_watch_file_there_is_no_fleet(world: World) -> None:
    world.start(3)
    assert world.planner.fleet() is None
    assert not world.cloudwatch.listed
    assert FLEET_KEY not in world.store.objects


def test_a_fleet_is_listed_and_stored(world: World) -> None:
    world.start(3)
    world.publish(history_days=7)
    fleet = world.planner.fleet()
    options = Options(name="cpu", group="cpu", history_days=7)
    assert fleet.shard(0) == dict.fromkeys(machines(3), options)
    assert (fleet.listed_at, fleet.watch_file) == (NOON_MS, world.store.objects[WATCH_KEY].etag)
    assert FleetList(world.store, world.corrupt.append).read() == fleet


def test_a_fleet_is_listed_once_an_hour_by_whoever_comes_first(world: World) -> None:
    mine, theirs = world.planner, world.new_planner()
    world.start(1)
    world.publish()
    assert world.count(0, mine) == 1
    world.start(2)
    assert [world.count(0.99, each) for each in (mine, theirs)] == [1, 1]
    assert len(world.cloudwatch.listed) == 1
    assert [world.count(1, each) for each in (theirs, mine)] == [2, 2]
    assert len(world.cloudwatch.listed) == 2


def test_instances_agree_at_every_tick_though_lists_lag(world: World) -> None:
    """What selectors stand for was cached per instance once: metrics came and went every tick."""
    planners = [world.planner, world.new_planner()]
    world.start(4)
    world.publish()
    found = []
    for tick in range(24 * 12):
        world.clock.seconds = NOON + 300 * tick
        world.cloudwatch.unlisted = set(machines(4)[tick % 5 - 1 : tick % 5])
        fleet = planners[tick % 2].fleet()
        found.append([(each.metric, each.entry, each.shard) for each in fleet.members])
    assert len(world.cloudwatch.listed) == 24
    assert [sorted(each) for each in found] == [[(str(m), 0, 0) for m in machines(4)]] * len(found)


def test_of_two_instances_that_list_at_the_same_time_one_list_is_used_by_both(
    world: World,
) -> None:
    theirs: list[Fleet | None] = []

    def other() -> None:
        world.cloudwatch.unlisted = set()  # it has listed the fleet a little later
        theirs.append(world.new_planner().fleet())

    world.start(900)
    world.publish()
    world.cloudwatch.unlisted = set(machines(3))
    world.store.others = [other]
    mine = world.planner.fleet()
    assert [mine] == theirs
    assert len(mine.members) == 900


def test_a_changed_watch_file_takes_effect_with_the_next_tick(world: World) -> None:
    world.start(1)
    world.publish("before")
    world.planner.fleet()
    world.publish("after")
    for planner in (world.planner, world.new_planner()):
        [options] = planner.fleet().shard(0).values()
        assert options.name == "after"
    assert len(world.cloudwatch.listed) == 2


def test_a_watch_file_that_is_gone_is_reported_and_the_last_list_is_used(world: World) -> None:
    """To S3 without the permission to list, one that may not be read is gone as well."""
    world.start(1)
    world.publish()
    assert world.count() == 1
    del world.store.objects[WATCH_KEY]
    assert world.count() == 1
    assert [type(each) for each in world.outdated] == [ObjectNotFoundError]


def test_a_metric_stays_with_the_first_entry_that_stands_for_it_whatever_lists_leave_out() -> None:
    selectors = [
        {
            "name": name,
            "namespace": "AWS/EC2",
            "metric": "CPUUtilization",
            "dimensions": {"InstanceId": instances},
            "statistic": "Average",
            "period": 300,
        }
        for name, instances in (("one", "i-00000"), ("rest", "*"))
    ]
    watch_file = parse_watch_file({"version": 1, "selectors": selectors})
    [metric] = machines(1)
    one, rest = Options(name="one"), Options(name="rest")
    first = listed_fleet(None, [Watched(one, [metric]), Watched(rest, [])], watch_file, "e", NOON)
    later = listed_fleet(first, [Watched(one, []), Watched(rest, [metric])], watch_file, "e", NOON)
    assert [each.entry for each in later.members] == [0]


def throttle(world: World) -> None:
    world.cloudwatch.failures = [client_error("Throttling", "ListMetrics")]


def publish_an_invalid_watch_file(world: World) -> None:
    world.publish(period=1)


def publish_something_else(world: World) -> None:
    world.store.put(WATCH_KEY, b"metrics:")


FAULTS = pytest.mark.parametrize(
    ("fault", "error"),
    [
        (throttle, ServiceUnavailableError),
        (publish_an_invalid_watch_file, InvalidWatchFileError),
        (publish_something_else, InvalidWatchFileError),
    ],
)


@FAULTS
def test_a_fleet_that_can_not_be_listed_is_watched_by_its_last_list(
    world: World, fault: Callable[[World], None], error: type[Exception]
) -> None:
    world.start(2)
    world.publish()
    before = world.planner.fleet()
    world.clock.seconds += HOUR
    fault(world)
    assert world.new_planner().fleet() == before
    assert [type(each) for each in world.outdated] == [error]
    world.start(3)
    world.publish()
    assert world.count(1.1) == 3
    assert len(world.outdated) == 1


@FAULTS
def test_the_first_list_that_can_not_be_made_is_an_error(
    world: World, fault: Callable[[World], None], error: type[Exception]
) -> None:
    world.start(2)
    world.publish()
    fault(world)
    with pytest.raises(error):
        world.planner.fleet()
    assert world.outdated == []
    world.publish()
    assert world.count() == 2, "the retry lists it"


def test_a_corrupt_list_is_reported_and_the_fleet_listed_again(world: World) -> None:
    world.start(2)
    world.publish()
    world.planner.fleet()
    world.store.put(FLEET_KEY, b"something else")
    world.start(3)
    assert world.count(0.1) == 3
    assert world.corrupt == [FLEET_KEY]


def test_a_bucket_that_does_not_respond_is_an_error(world: World) -> None:
    world.start(1)
    world.publish()
    world.planner.fleet()
    world.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        world.planner.fleet()
