"""The fleet: what a watch file stands for, and the jobs of its shards, whose number only grows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidWatchFileError,
    ServiceUnavailableError,
)
from ops_anomaly.aws.objects import SHARDS_KEY, WATCH_KEY
from ops_anomaly.watcher.events import UnknownEventError, recognise
from ops_anomaly.watcher.fleet import (
    Planner,
    ShardJob,
    Watched,
    decode_shard_job,
    encode_shard_job,
    resolve,
    shard_count,
    shard_jobs,
)
from ops_anomaly.watcher.outbox import BusyError
from ops_anomaly.watcher.watch_file import Options, parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.shard_jobs import RacingStore
from tests.support.watcher import NOON, WallClock, machines

ORDERS = "shop Orders Stage=live Sum 300"


def selector(name: str = "cpu", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "*"},
        "statistic": "Average",
        "period": 300,
    } | more


def fleet(
    cloudwatch: FakeCloudWatch, *selectors: dict[str, Any], exact: str | None = None
) -> dict[str, list[str]]:
    """Return the metrics of each entry, as text."""
    entries = [{"name": "one", "metric": exact}] if exact else []
    content = {"version": 1, "metrics": entries, "selectors": list(selectors)}
    resolved = resolve(cloudwatch, parse_watch_file(content))
    return {watched.options.name: [str(m) for m in watched.metrics] for watched in resolved}


def listing(*lines: str) -> FakeCloudWatch:
    """Return a CloudWatch that knows these metrics."""
    cloudwatch = FakeCloudWatch()
    for line in lines:
        cloudwatch.put(Metric.parse(f"{line} Average 60"), NOON, [1.0])
    return cloudwatch


def test_exact_metrics_are_not_listed() -> None:
    cloudwatch = FakeCloudWatch()
    assert fleet(cloudwatch, exact=ORDERS) == {"one": [ORDERS]}
    assert not cloudwatch.listed


def test_a_metric_belongs_to_the_first_entry_that_names_it_and_exact_ones_come_first() -> None:
    machines = [f"AWS/EC2 CPUUtilization InstanceId={name}" for name in ("a", "b", "c")]
    named = fleet(
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
    named = fleet(cloudwatch, selector("fast", period=60), selector("slow"))
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
    assert fleet(cloudwatch, entry)["e"] == [f"f Errors Name={n} Average 300" for n in expected]


def test_the_name_of_a_metric_may_be_a_pattern() -> None:
    cloudwatch = listing("shop Orders", "shop OrdersPaid", "shop Visits")
    entry = selector("e", namespace="shop", metric="Orders*", dimensions={})
    assert fleet(cloudwatch, entry)["e"] == [
        "shop Orders Average 300",
        "shop OrdersPaid Average 300",
    ]


def test_a_metric_must_have_these_dimensions_and_no_others() -> None:
    cloudwatch = listing("n M", "n M A=1", "n M A=1 B=2", "n M B=2")
    named = {
        tuple(names): fleet(
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
    fleet(cloudwatch, selector(period=period))
    [request] = cloudwatch.listed
    assert request.get("RecentlyActive") == ("PT3H" if is_recent else None)


def test_cloudwatch_lists_only_what_can_match() -> None:
    cloudwatch = FakeCloudWatch()
    fleet(cloudwatch, selector(dimensions={"Stage": "live", "Name": "*"}))
    fleet(cloudwatch, selector(metric="CPU*"))
    one, other = cloudwatch.listed
    assert (one["Namespace"], one["MetricName"]) == ("AWS/EC2", "CPUUtilization")
    assert one["Dimensions"] == [{"Name": "Stage", "Value": "live"}, {"Name": "Name"}]
    assert "MetricName" not in other


def test_a_missing_permission_is_named() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("AccessDenied", "ListMetrics")]
    with pytest.raises(AccessDeniedError, match=r"metrics of cpu.*cloudwatch:ListMetrics"):
        fleet(cloudwatch, selector())


def test_throttling_is_not_a_missing_permission() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("Throttling", "ListMetrics")]
    with pytest.raises(ServiceUnavailableError):
        fleet(cloudwatch, selector())


# --- planning -----------------------------------------------------------------------------------

HOUR = 3_600
QUEUE_BYTES = 256 * 1024
SENT = (
    '{"of":4,"shard":3,"time":1795608000,"entries":[{"options":{"name":"cpu","model":null,'
    '"sensitivity":1.0,"history_days":14,"score_metric":false},"metrics":['
    '"AWS/EC2 CPUUtilization InstanceId=i-00000 Average 300"]}]}'
)


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
        """Let the fleet have so many machines."""
        self.cloudwatch.series = {metric: {NOON: 1.0} for metric in machines(count)}

    @property
    def shards(self) -> int:
        """Their number in the bucket."""
        return int(json.loads(self.store.objects[SHARDS_KEY].data)["of"])


@pytest.fixture
def world() -> World:
    return World()


def watched(jobs: list[ShardJob]) -> list[Metric]:
    return [metric for job in jobs for part in job.fleet for metric in part.metrics]


def test_without_a_watch_file_there_are_no_jobs(world: World) -> None:
    world.start(3)
    assert world.planner.plan() == []
    assert not world.cloudwatch.listed


def test_a_small_fleet_is_one_shard(world: World) -> None:
    world.start(3)
    world.publish(history_days=7)
    [job] = world.planner.plan()
    assert (job.of, job.shard, job.time) == (1, 0, NOON)
    [part] = job.fleet
    assert part.options == Options(name="cpu", history_days=7)
    assert part.metrics == machines(3)


def test_a_large_fleet_is_divided_into_shards(world: World) -> None:
    world.start(1_000)
    world.publish()
    jobs = world.planner.plan()
    assert [(job.of, job.shard) for job in jobs] == [(4, 0), (4, 1), (4, 2), (4, 3)]
    assert sorted(watched(jobs)) == machines(1_000)


def test_an_empty_shard_has_a_job_to_drop_its_last_metrics(world: World) -> None:
    world.start(0)
    world.publish()
    [job] = world.planner.plan()
    assert job.fleet == []


def test_metrics_are_listed_once_an_hour(world: World) -> None:
    world.start(1)
    world.publish()
    world.planner.plan()
    world.start(2)
    world.clock.seconds = NOON + HOUR - 1
    assert len(watched(world.planner.plan())) == 1
    world.clock.seconds = NOON + HOUR
    assert len(watched(world.planner.plan())) == 2
    assert len(world.cloudwatch.listed) == 2


def test_a_changed_watch_file_takes_effect_with_the_next_tick(world: World) -> None:
    world.start(1)
    world.publish("before")
    world.planner.plan()
    world.publish("after")
    [job] = world.planner.plan()
    assert job.entries[0].options.name == "after"


def test_removing_the_watch_file_stops_the_watcher(world: World) -> None:
    world.start(1)
    world.publish()
    world.planner.plan()
    del world.store.objects[WATCH_KEY]
    assert world.planner.plan() == []


def test_a_malformed_watch_file_is_an_error(world: World) -> None:
    world.publish(period=1)
    with pytest.raises(InvalidWatchFileError, match="period"):
        world.planner.plan()


def test_the_retry_lists_a_fleet_that_could_not_be_listed(world: World) -> None:
    world.start(2)
    world.publish()
    world.cloudwatch.failures = [client_error("Throttling", "ListMetrics")]
    with pytest.raises(ServiceUnavailableError):
        world.planner.plan()
    assert len(watched(world.planner.plan())) == 2


def test_the_number_of_shards_doubles_and_never_shrinks(world: World) -> None:
    grown = []
    for count in (10, 500, 100, 1_700, 10):
        world.start(count)
        world.publish(str(count))
        grown.append(len(world.planner.plan()))
    assert grown == [1, 2, 2, 8, 8]
    assert world.shards == 8


def test_a_cold_start_finds_the_number_of_shards(world: World) -> None:
    world.start(500)
    world.publish()
    world.planner.plan()
    world.start(1)
    assert len(world.new_planner().plan()) == 2


def test_two_planners_agree_on_the_number_of_shards(world: World) -> None:
    world.start(500)
    world.publish()
    others: list[ShardJob] = []

    def other() -> None:
        world.start(1_000)  # it has listed the fleet a little later
        others.extend(world.new_planner().plan())

    world.store.others = [other]
    mine = world.planner.plan()
    assert {job.of for job in [*mine, *others]} == {4}
    assert world.shards == 4
    assert sorted(watched(mine)) == machines(500)


def test_a_planner_that_always_loses_the_race_asks_for_a_retry(world: World) -> None:
    def conflict() -> None:
        raise ConflictError(SHARDS_KEY)

    world.publish()
    world.store.others = [conflict] * 100
    with pytest.raises(BusyError, match=SHARDS_KEY):
        world.planner.plan()


def test_a_shard_job_is_read_as_it_was_written() -> None:
    job = decode_shard_job(SENT)
    assert (job.of, job.shard, job.time) == (4, 3, NOON)
    assert job.fleet == [Watched(Options(name="cpu", sensitivity=1.0), machines(1))]
    assert encode_shard_job(job) == SENT


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
def test_a_malformed_shard_job_is_refused(body: object) -> None:
    event = {"Records": [{"eventSource": "aws:sqs", "body": body}]}
    with pytest.raises(UnknownEventError, match="malformed shard job"):
        recognise(event)


def test_the_jobs_of_a_large_fleet_with_long_names_fit_the_queue() -> None:
    long = [
        Metric(
            "AWS/ApplicationELB", "RequestCount", (("LoadBalancer", f"{n:05}" * 100),), "Sum", 60
        )
        for n in range(10_000)
    ]
    options = Options(name="n" * 63, model="m" * 63, sensitivity=0.123456789, history_days=60)
    jobs = shard_jobs([Watched(options, long)], shard_count(len(long)), NOON)
    sent = [encode_shard_job(job) for job in jobs]
    assert max(len(message.encode()) for message in sent) < QUEUE_BYTES
    received = [decode_shard_job(message) for message in sent]
    assert received == jobs
    texts = [text for job in received for entry in job.entries for text in entry.metrics]
    assert sorted(texts) == sorted(map(str, long))
