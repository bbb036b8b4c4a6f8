"""Batches of which AWS takes some, none, or all without a response: all arrive in the end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.errors import ServiceUnavailableError
from ops_anomaly.watcher.events import ShardJob
from ops_anomaly.watcher.outbox import (
    EVENT,
    MESSAGE,
    EventChannel,
    MessageChannel,
    Notification,
    deliver,
)
from ops_anomaly.watcher.service import ShardQueue
from tests.support.unkind_clients import Fault, Recorder, unkind
from tests.support.watcher import NOON, NOON_MS

FAULTS: list[Fault] = ["none", "refuse some", "throttle", "response is lost"]
MAX_FAULTS = 12

any_faults = st.lists(st.sampled_from(FAULTS), max_size=MAX_FAULTS)


def notification(name: str) -> Notification:
    """Return a notification, named by its incident and its kind."""
    return Notification(
        id=name,
        about=name.partition("/")[0],
        detail_type="Incident Opened",
        detail={"id": name, "severity": 0.9},
        subject=name,
        message=name,
        made_at=NOON_MS,
    )


@given(incidents=st.integers(1, 25), event_faults=any_faults, message_faults=any_faults)
def test_every_notification_arrives_by_both_channels_and_in_order(
    incidents: int, event_faults: list[Fault], message_faults: list[Fault]
) -> None:
    bus, topic = Recorder(), Recorder()
    events, messages = unkind(bus, event_faults), unkind(topic, message_faults)
    failures: list[str] = []
    channels = {
        EVENT: EventChannel(lambda: events, "bus", lambda name, _: failures.append(name)),
        MESSAGE: MessageChannel(lambda: messages, "topic", lambda name, _: failures.append(name)),
    }
    names = [f"i{n}/{kind}" for n in range(incidents) for kind in ("opened", "closed")]
    outbox = tuple(map(notification, names))
    for _ in range(2 * MAX_FAULTS + 3):  # evaluations, at each of which a call may fail
        tried_in_vain = len(failures)
        outbox = deliver(outbox, channels.__getitem__, NOON_MS, pytest.fail)
        assert bool(outbox) == (len(failures) > tried_in_vain)
    assert not outbox
    for faults, arrived in [
        (event_faults, [json.loads(entry["Detail"])["id"] for entry in bus.taken]),
        (message_faults, [entry["Subject"] for entry in topic.taken]),
    ]:
        assert set(arrived) == set(names)
        assert len(arrived) == len(names) or "response is lost" in faults
        for n in range(incidents):
            assert arrived.index(f"i{n}/opened") < arrived.index(f"i{n}/closed")


@given(shards=st.integers(1, 45), faults=any_faults)
def test_every_shard_job_is_tried_and_a_repeated_one_is_known_by_its_id(
    shards: int, faults: list[Fault]
) -> None:
    fifo = Recorder()
    client = unkind(fifo, faults)
    queue = ShardQueue(lambda: client, "url")
    jobs = [ShardJob(shard=shard, time=NOON) for shard in range(shards)]
    for _ in range(MAX_FAULTS + 1):  # Lambda and the next tick try again
        try:
            queue.send(jobs)
            break
        except ServiceUnavailableError:
            continue
    sent = {entry["MessageDeduplicationId"] for entry in fifo.taken}
    assert sent == {f"{shard}-{NOON}" for shard in range(shards)}


def test_a_batch_that_is_throttled_does_not_keep_the_next_ones_from_being_sent() -> None:
    fifo = Recorder()
    client = unkind(fifo, ["throttle", "refuse some"])
    jobs = [ShardJob(shard=shard, time=NOON) for shard in range(25)]
    with pytest.raises(ServiceUnavailableError, match="15 of 25 shard jobs"):
        ShardQueue(lambda: client, "url").send(jobs)
    assert [entry["Id"] for entry in fifo.taken] == [
        "11",
        "13",
        "15",
        "17",
        "19",
        *map(str, range(20, 25)),
    ]
