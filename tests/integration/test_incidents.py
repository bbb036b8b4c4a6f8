"""Rightly woken: what people are notified of, and what not, from readings to messages."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from local.stack import create_queue, local_client, queue_arn
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import FLEET_KEY, INCIDENTS_KEY, S3ObjectStore
from ops_anomaly.detection.periods import known
from ops_anomaly.watcher.console import give
from ops_anomaly.watcher.feedback_file import give_feedback, undo_feedback
from ops_anomaly.watcher.incident_job import decode_incidents
from ops_anomaly.watcher.incidents import Incident
from ops_anomaly.watcher.mutes import Mute
from ops_anomaly.watcher.service import Watcher
from ops_anomaly.watcher.watch_file import IgnoreBelow, Options
from tests.conftest import Bucket
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeStore
from tests.support.forwarding import running
from tests.support.shard_jobs import CLOSED, DAY, OPENED, PERIOD, SPIKE, World, normal_load
from tests.support.unkind_clients import Recorder
from tests.support.watched_fleet import WatchedFleet, machines_of
from tests.support.watcher import (
    NOON,
    TIMEOUT_MS,
    WallClock,
    make_watcher,
    shard_event,
    stored_fleet,
)

UPDATED = "Incident Updated"
FALL = 2.0


def kinds(world: World) -> list[str]:
    """What the bus got."""
    return [each.detail_type for each in world.event.sent]


def incidents(world: World) -> list[Incident]:
    return decode_incidents(world.store.objects[INCIDENTS_KEY].data).board.incidents


# --- the rules of an entry, each both ways ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "value", "periods", "is_notified"),
    [
        ({}, SPIKE, 1, True),
        ({}, FALL, 1, True),
        ({"alert_on": "rises"}, SPIKE, 1, True),
        ({"alert_on": "rises"}, FALL, 1, False),
        ({"alert_on": "falls"}, FALL, 1, True),
        ({"alert_on": "falls"}, SPIKE, 1, False),
        # 95 where 30 was expected: 65, or 217 %
        ({"ignore_below": IgnoreBelow(absolute=60.0)}, SPIKE, 1, True),
        ({"ignore_below": IgnoreBelow(absolute=70.0)}, SPIKE, 1, False),
        ({"ignore_below": IgnoreBelow(percent=200.0)}, SPIKE, 1, True),
        ({"ignore_below": IgnoreBelow(percent=230.0)}, SPIKE, 1, False),
        ({"ignore_below": IgnoreBelow(absolute=60.0, percent=230.0)}, SPIKE, 1, False),
        ({"sustained": 3}, SPIKE, 3, True),
        ({"sustained": 3}, SPIKE, 2, False),
        ({"min_severity": 0.6}, SPIKE, 1, True),
        ({"min_severity": 0.9}, SPIKE, 1, False),
    ],
)
def test_people_are_notified_of_what_counts_by_the_rules_of_its_entry(
    options: dict[str, Any], value: float, periods: int, is_notified: bool
) -> None:
    world = World(1, **options)
    world.run(0)
    world.set(value, *range(1, 1 + periods))
    for tick in range(1, periods + 8):
        world.run(tick)
    assert kinds(world) == ([OPENED, CLOSED] if is_notified else [])
    assert [each.detail_type for each in world.message.sent] == kinds(world)


# --- mutes --------------------------------------------------------------------------------------


class Night:
    """A machine around a time of day, muted every night from 22:00 to 06:00 in Berlin."""

    def __init__(self, begin: str) -> None:
        mute = {"from": "22:00", "to": "06:00", "timezone": "Europe/Berlin"}
        self.world = World(1, mute=[msgspec.convert(mute, Mute)])
        self.first = self.period(begin)
        [metric] = self.world.metrics
        self.world.cloudwatch.series[metric] = {}
        start = NOON + (self.first - 2 * DAY) * PERIOD
        self.world.cloudwatch.put(metric, start, normal_load(0))

    def period(self, time: str) -> int:
        """Return the number of the period that begins at a time."""
        return (int(datetime.fromisoformat(time).timestamp()) - NOON) // PERIOD

    def live(self, until: str) -> list[tuple[str, str]]:
        """Evaluate every period until a time; return what was notified, and when (UTC)."""
        for tick in range(self.first, self.period(until) + 1):
            self.world.run(tick)
        return [
            (each.detail_type, f"{datetime.fromtimestamp(each.made_at / 1000, UTC):%H:%M}")
            for each in self.world.message.sent
        ]


@pytest.mark.parametrize(
    ("begin", "unusual", "until", "is_notified"),
    [
        # across midnight: 22:50 and 00:10 in Berlin
        ("2026-11-24T21:00Z", "2026-11-24T20:50Z", "2026-11-24T23:00Z", True),
        ("2026-11-24T21:00Z", "2026-11-24T21:50Z", "2026-11-24T23:00Z", False),
        ("2026-11-24T21:00Z", "2026-11-24T23:10Z", "2026-11-25T00:00Z", False),
        # in autumn, 05:50 and 06:05 of a night of nine hours
        ("2026-10-25T04:00Z", "2026-10-25T04:50Z", "2026-10-25T06:00Z", False),
        ("2026-10-25T04:00Z", "2026-10-25T05:05Z", "2026-10-25T06:00Z", True),
        # in spring, 05:50 and 06:05 of a night of seven
        ("2026-03-29T03:00Z", "2026-03-29T03:50Z", "2026-03-29T05:00Z", False),
        ("2026-03-29T03:00Z", "2026-03-29T04:05Z", "2026-03-29T05:00Z", True),
    ],
)
def test_a_mute_lasts_over_midnight_and_as_long_as_the_clock_on_the_wall_says(
    begin: str, unusual: str, until: str, is_notified: bool
) -> None:
    night = Night(begin)
    night.first = min(night.first, night.period(unusual) - 2)
    night.world.set(SPIKE, night.period(unusual))
    assert [kind for kind, _ in night.live(until)][:1] == [OPENED] * is_notified


def test_an_incident_that_outlives_its_mute_is_notified_then() -> None:
    night = Night("2026-10-25T03:00Z")
    begin, end = (night.period(f"2026-10-25T{time}Z") for time in ("04:40", "05:15"))
    night.world.set(SPIKE, *range(begin, end))
    # with the reading of 05:00, which has settled seven minutes later
    assert night.live("2026-10-25T06:30Z") == [(OPENED, "05:07"), (CLOSED, "05:32")]
    [member] = night.world.event.sent[0].detail["members"]
    assert member["first_seen"] == "2026-10-25T04:40:00Z"


def test_readings_of_a_mute_that_is_not_learnt_from_are_left_out() -> None:
    window = {"from": "2026-11-25T12:00", "to": "2026-11-25T13:00"}
    learnt, left_out = (
        World(1, mute=[msgspec.convert(window | {"learn": learn}, Mute)]) for learn in (True, False)
    )
    for world in (learnt, left_out):
        world.set(SPIKE, *range(2, 10))
        for tick in range(20):
            world.run(tick)
        assert kinds(world) == []
    readings = [world.state.of(world.metrics[0]).series for world in (learnt, left_out)]
    is_inside = [
        ((each.times >= 1000 * NOON) & (each.times < 1000 * (NOON + 3_600))).sum()
        for each in readings
    ]
    assert is_inside == [12, 0]


HOUR = 3_600
ORDERS = Metric("shop", "Orders", (), "Sum", HOUR)


def with_outage() -> World:
    """A shop's orders by the hour, of which nine in ten fail to come for 30 hours from noon on."""
    world = World(0, history_days=28)
    world.metrics = [ORDERS]
    times = np.arange(NOON - 28 * 24 * HOUR, NOON + 72 * HOUR, HOUR)
    orders = 200.0 - 120.0 * np.cos(2 * np.pi * times / (24 * HOUR))
    orders *= np.random.default_rng(4).normal(1.0, 0.04, len(times))
    orders[(times >= NOON) & (times < NOON + 30 * HOUR)] *= 0.1
    world.cloudwatch.put(ORDERS, int(times[0]), orders.round())
    world.run_at(NOON + 90.0)
    run_hours(world, 32)
    return world


def run_hours(world: World, hours: int) -> None:
    """Evaluate what there is so many hours after noon, when it has settled."""
    world.run_at(NOON + hours * HOUR + 700.0)


def hours_in_history(world: World) -> int:
    """Return with how many hours of the day after noon the detector compares others."""
    checkpoint = world.runner._cache.get(str(ORDERS))
    assert checkpoint is not None
    state = checkpoint.history.state
    first = 1000 * NOON // state.period - state.base
    return int(known(state)[first : first + 24].sum())


def test_what_was_real_does_not_become_usual_and_if_that_is_undone_it_does() -> None:
    """What has lasted for a day is the new normal, unless somebody says that it was an outage."""
    unsaid, real, undone = (with_outage() for _ in range(3))
    assert hours_in_history(unsaid) == 24
    for world in (real, undone):
        [incident] = incidents(world)
        give_feedback(world.store, incident, "real", "me", world.clock(), None)
        run_hours(world, 34)
        assert hours_in_history(world) == 0
    undo_feedback(undone.store, incidents(undone)[0].id, "me", undone.clock())
    for world in (unsaid, real, undone):
        run_hours(world, 36)
    assert [hours_in_history(each) for each in (unsaid, real, undone)] == [24, 0, 24]


# --- one incident over many metrics -------------------------------------------------------------


class Cluster:
    """Thirty machines in four shards, which two instances of the function evaluate."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store, self.cloudwatch, self.clock = FakeStore(), FakeCloudWatch(), WallClock()
        self.bus, self.topic = Recorder(), Recorder()
        self.metrics = [
            Metric("shop", "Requests", (("Cluster", "eu"), ("Host", f"h{n:02}")), "Average", PERIOD)
            for n in range(30)
        ]
        for number, metric in enumerate(self.metrics):
            self.cloudwatch.put(metric, NOON - 2 * DAY * PERIOD, normal_load(number))
        options = Options(name="web", history_days=3, owner="shop team")
        self.store.objects[FLEET_KEY] = stored_fleet(self.metrics, options)
        clients = {"cloudwatch": self.cloudwatch, "events": self.bus, "sns": self.topic}
        self.instances: list[Watcher] = [
            make_watcher(self.store, clients.__getitem__, self.clock) for _ in range(2)
        ]

    def fall(self, number: int, *periods: int) -> None:
        """Let a machine's requests fall; the higher its number, the more."""
        for period in periods:
            time = NOON + period * PERIOD
            self.cloudwatch.series[self.metrics[number]][time] = 2.0 - number / 15

    def run(self, tick: int) -> None:
        """Run the shards' jobs in any order, by either instance, and between them the minute's."""
        self.clock.seconds = NOON + tick * PERIOD + 90.0
        jobs = [shard_event(shard, self.clock) for shard in range(4)]
        for job in self.random.sample([*jobs, {"watch": "incidents"}], 5):
            self.dispatch(job)
            self.clock.advance(3)
        for _ in range(3):
            self.clock.advance(60)
            self.dispatch({"watch": "incidents"})

    def dispatch(self, event: Any) -> None:
        self.random.choice(self.instances).dispatch(event, lambda: TIMEOUT_MS)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (each["DetailType"], msgspec.json.decode(each["Detail"])) for each in self.bus.taken
        ]


@pytest.mark.parametrize("seed", [1, 2])
def test_thirty_metrics_of_four_shards_that_fall_together_are_one_message_and_one_closing(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("tests.support.watcher.SHARD_SIZE", 8)
    cluster = Cluster(seed)
    cluster.run(0)
    assert cluster.bus.taken == []
    for number in range(30):
        # most of them at the same time, some a period later
        cluster.fall(number, *range(1 + (number % 5 == 4), 7))
    for tick in range(1, 14):
        cluster.run(tick)
    kinds = [kind for kind, _ in cluster.events]
    # the minute's run may be between two jobs of a tick
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == (OPENED, {UPDATED}, CLOSED)
    assert len({detail["id"] for _, detail in cluster.events}) == 1
    opened, *_, updated, closed = (detail for _, detail in cluster.events)
    assert [each["member_count"] for each in (opened, updated, closed)] == [24, 30, 30]
    severities = [round(each["severity"], 1) for each in closed["members"]]
    assert severities == sorted(severities, reverse=True)
    assert opened["first_seen"] == closed["first_seen"] == "2026-11-25T12:05:00Z"
    assert closed["close_reason"] == "recovered"

    first, last = cluster.topic.taken
    assert ", and 23 more (severity" in first["Subject"]
    assert "In common   Cluster=eu" in first["Message"]
    assert "Owner       shop team" in first["Message"]
    assert last["Subject"].startswith("Resolved: Requests of eu, h")


# --- in the deployed roles, over moto -----------------------------------------------------------


@contextmanager
def watched(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, machines: int, **more: str
) -> Iterator[WatchedFleet]:
    """Watch machines in the deployed role; they have been evaluated for the first time."""
    fleet = WatchedFleet(bucket, machines, **more)
    with running(fleet.role):
        monkeypatch.setenv("AWS_ENDPOINT_URL", fleet.role.url)
        yield fleet


def test_machines_that_run_away_together_are_one_incident_and_fine_closes_it(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(bucket, monkeypatch, 6) as fleet:
        fleet.publish_watch_file(when_silent="notify after 1h", runbook="https://wiki/cpu")
        fleet.put_history()
        fleet.tick()
        fleet.pass_period(m0=95.0, m1=97.0, m2=95.0)
        fleet.tick()
        fleet.pass_period(m0=95.0, m1=97.0, m2=95.0, m3=95.0)
        fleet.tick()
        opened, updated = fleet.stack.drain_events()
        assert (opened["detail-type"], sorted(machines_of(opened["detail"]))) == (
            OPENED,
            ["0000", "0001", "0002"],
        )
        assert (updated["detail-type"], updated["detail"]["member_count"]) == (UPDATED, 4)
        [message] = fleet.stack.drain_messages()
        assert "https://wiki/cpu" in message["Message"]

        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
        fields = {"incident": opened["detail"]["id"][:6], "verdict": "fine"}
        give(S3ObjectStore(bucket.name), fields, "me", fleet.clock())
        monkeypatch.setenv("AWS_ENDPOINT_URL", fleet.role.url)
        fleet.pass_period(m0=95.0, m1=97.0, m2=95.0, m3=95.0)
        fleet.tick()
        assert fleet.sent() == [(CLOSED, ", ".join(machines_of(updated["detail"])))]
        assert fleet.stack.drain_messages() == [], "who said so need not be notified"

        # a machine stops, and is back
        for _ in range(3):
            fleet.pass_period(silent=[fleet.machines[5]])
            fleet.tick()
        assert fleet.sent() == [(OPENED, "0005")]
        fleet.pass_period()
        fleet.tick()
        fleet.tick()
        assert fleet.sent() == [(CLOSED, "0005")]


def test_an_entry_with_a_topic_of_its_own_is_notified_there_and_only_there(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sns, sqs = (local_client(service, bucket.endpoint_url) for service in ("sns", "sqs"))
    topic = sns.create_topic(Name=f"team-{bucket.name[-12:]}")["TopicArn"]
    queue = create_queue(sqs, f"team-{bucket.name[-12:]}")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn(sqs, queue))
    with watched(bucket, monkeypatch, 1, EntryTopicArns=topic) as fleet:
        fleet.publish_watch_file(topic=topic)
        fleet.put_history()
        fleet.tick()
        fleet.pass_period(m0=95.0)
        fleet.tick()
        assert fleet.sent() == [(OPENED, "0000")]
        assert fleet.stack.drain_messages() == []
        [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
        body = msgspec.json.decode(message["Body"])
        assert body["Subject"].startswith(f"CPUUtilization of i-{fleet.tag}-0000: 95")
        assert not fleet.role.denied
