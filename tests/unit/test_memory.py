"""What is remembered of a shard, and its shelf: objects that are whole, or are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import checkpoint_key
from ops_anomaly.detection.alerting import AlertState
from ops_anomaly.detection.history import PAST_LAYOUT
from ops_anomaly.watcher.checkpoints import CheckpointStore, WarmDetector, packed
from ops_anomaly.watcher.documents import CorruptStateError
from ops_anomaly.watcher.incidents import Incident, IncidentState, Peak, Provenance
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.state import (
    MetricState,
    ShardState,
    decode_shard_state,
    encode_shard_state,
)
from tests.support.fakes import FakeStore

START = 1_795_608_000
METRIC = Metric("shop", "Orders", (("Page", "the 'front' page"),), "p99.9", 60)
VALUES = np.array([1.0, np.nan, -0.0, 3.4e38])

RECORD = (
    '{"version":1,"grids":[{"metric":"shop Orders Snapshot=front p99.9 60","start":1795608000,'
    '"slots":2,"since":1795607820,"notified_until":1795608060,"incident":{"id":"0123456789abcdef",'
    '"first_seen":1795608000,"last_seen":1795608060,"readings":2,"peak":{"time":1795608060,'
    '"value":93.0,"expected":null,"lower":21.66,"upper":1e-7,"score":50.5,"severity":0.8912,'
    '"reason":"unusual: 93 µs"},"provenance":{"entry":"shop","model":"ec2-cpu","version":"v1",'
    '"readings":576,"confidence":0.72}}},{"metric":"AWS/EC2 CPUUtilization Average 300",'
    '"start":1795608000,"slots":1,"since":0,"notified_until":0,"incident":null}],"outbox":['
    '{"id":"0123456789abcdef/opened","about":"0123456789abcdef","detail_type":"Anomaly Opened",'
    '"detail":{"version":"1","severity":0.8912,"lower":null,"metric":{"period":60},'
    '"is_unusual":true},"subject":"s","message":"one\\n\\"two\\"","made_at":1795608090.5,'
    '"claimed_at":1795608090.5,"waiting":["message"]}]}'
)
SHELF = (
    '[{"metric":"shop Orders Sum 300","version":"v1","threshold":2.4,"until":1795608300,'
    '"readings":2,"offset":4096,"onset":4200,"boost":3.5,"last_alert":4097,"is_notified":true},'
    '{"metric":"shop Visits Sum 300","version":null,"threshold":null,"until":1795608000,'
    '"readings":1,"offset":0,"onset":-1,"boost":0.0,"last_alert":-1,"is_notified":false}]'
)
"""As the first version of the watcher wrote them: what lies in users' buckets."""


def known(**more: Any) -> ShardState:
    return ShardState({str(METRIC): MetricState(METRIC, START, VALUES, **more)})


def whole(record: str) -> bytes:
    """Return a memory of this record and three readings."""
    values = np.array([1.0, np.nan, 2.5])
    return save({"record": np.frombuffer(record.encode(), np.uint8), "values": values})


def rewritten(change: Any) -> bytes:
    """Return a memory whose record was changed by hand."""
    tensors = load(encode_shard_state(known()))
    record = json.loads(tensors["record"].tobytes())
    change(record)
    tensors["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    return save(tensors)


def test_nothing_is_remembered_as_nothing() -> None:
    assert decode_shard_state(encode_shard_state(ShardState())) == ShardState()


def test_readings_and_gaps_are_remembered_to_the_bit() -> None:
    [grid] = decode_shard_state(encode_shard_state(known())).grids.values()
    assert (grid.metric, grid.start) == (METRIC, START)
    assert grid.values.tobytes() == VALUES.tobytes()


def test_readings_take_eight_bytes_each() -> None:
    none, many = (
        encode_shard_state(ShardState({str(METRIC): MetricState(METRIC, START, np.ones(count))}))
        for count in (1_000, 9_000)
    )
    assert len(many) - len(none) == 8 * 8_000


def test_what_earlier_versions_remembered_is_read_and_written_as_it_was() -> None:
    memory = decode_shard_state(whole(RECORD))
    orders, cpu = memory.grids.values()
    readings = {"value": 93.0, "expected": None, "lower": 21.66, "upper": 1e-7, "score": 50.5}
    incident = Incident(
        id="0123456789abcdef",
        first_seen=START,
        last_seen=START + 60,
        readings=2,
        peak=Peak(time=START + 60, severity=0.8912, reason="unusual: 93 µs", **readings),
        provenance=Provenance(
            entry="shop", model="ec2-cpu", version="v1", readings=576, confidence=0.72
        ),
    )
    assert str(orders.metric) == "shop Orders Snapshot=front p99.9 60"
    assert (orders.start, orders.since) == (START, START - 180)
    assert orders.course == IncidentState(incident, notified_until=START + 60)
    assert (str(cpu.metric), cpu.course) == ("AWS/EC2 CPUUtilization Average 300", IncidentState())
    assert (orders.values[0], np.isnan(orders.values[1]), cpu.values) == (1.0, True, [2.5])
    assert memory.outbox == (
        Notification(
            id="0123456789abcdef/opened",
            about="0123456789abcdef",
            detail_type="Anomaly Opened",
            detail={
                "version": "1",
                "severity": 0.8912,
                "lower": None,
                "metric": {"period": 60},
                "is_unusual": True,
            },
            subject="s",
            message='one\n"two"',
            made_at=START + 90.5,
            claimed_at=START + 90.5,
            waiting=("message",),
        ),
    )
    assert load(encode_shard_state(memory))["record"].tobytes().decode() == RECORD


def test_what_later_versions_add_to_a_notice_or_an_incident_is_passed_over() -> None:
    record = json.loads(RECORD)
    for part in (record["grids"][0]["incident"], record["outbox"][0]):
        part["more"] = {"deep": [1]}
    memory = decode_shard_state(whole(json.dumps(record)))
    assert load(encode_shard_state(memory))["record"].tobytes().decode() == RECORD


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x00" * 100, b"\xff" * 100, b"[" * 10_000, save({})]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(data)


def test_a_record_that_nests_too_deep_is_refused() -> None:
    deep = '"detail":' + "[" * 100_000
    with pytest.raises(CorruptStateError):
        decode_shard_state(whole(RECORD.replace('"detail":', deep)))


def test_a_record_that_is_no_text_is_refused() -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(whole(RECORD).replace(b'"shop"', b'"sh\xffp"'))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": "1"},
        {"grids": None},
        {"version": True},
        {"outbox": [{}]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(rewritten(lambda record: record.update(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 3},
        {"slots": 5},
        {"slots": -4},
        {"slots": 4.0},
        {"slots": 10**30},
        {"start": START + 1},
        {"start": str(START)},
        {"metric": "shop Orders"},
        {"metric": "shop Orders Sum 90"},
        {"incident": {}},
        {"notified_until": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_metric_that_is_not_whole_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(rewritten(lambda record: record["grids"][0].update(change)))


def test_a_boundless_reading_is_refused() -> None:
    data = encode_shard_state(
        ShardState({str(METRIC): MetricState(METRIC, START, np.array([np.inf]))})
    )
    with pytest.raises(CorruptStateError, match="not whole"):
        decode_shard_state(data)


def taken(record: str) -> dict[str, WarmDetector]:
    """Return what is taken from a shelf of this record and three readings."""
    store = FakeStore()
    columns = {name: np.zeros((3, *shape[1:])) for name, (_, shape) in PAST_LAYOUT.items()}
    columns["times"] = 1000 * np.array([START, START + 300, START])
    data = save({"record": np.frombuffer(record.encode(), np.uint8), **columns})
    store.put(checkpoint_key(1, 0), data)
    return CheckpointStore(store).take(1, 0)


def test_what_earlier_versions_left_on_the_shelf_is_taken_and_left_as_it_was() -> None:
    places = taken(SHELF)
    orders, visits = places["shop Orders Sum 300"], places["shop Visits Sum 300"]
    assert (orders.version, orders.threshold, orders.until) == ("v1", 2.4, START + 300)
    assert (orders.past.offset, orders.past.onset, len(orders.past.times)) == (4096, 4200, 2)
    assert orders.alert_state == AlertState(3.5, 4097, is_notified=True)
    assert (visits.version, visits.threshold, visits.until) == (None, None, START)
    assert (visits.past.offset, visits.past.onset, len(visits.past.times)) == (0, -1, 1)
    assert visits.alert_state == AlertState()
    assert load(packed(places))["record"].tobytes().decode() == SHELF


@pytest.mark.parametrize(
    "change",
    [
        *({"readings": 0}, {"readings": 4}, {"readings": 2.0}, {"until": None}, {"more": 1}),
        *({"offset": -1}, {"offset": 2**53}, {"onset": -2}, {"last_alert": 4098}),
        *({"boost": -0.1}, {"boost": 1e30}, {"is_notified": 1}, {"threshold": "2.4"}),
    ],
    ids=str,
)
def test_a_shelf_with_a_place_that_is_not_whole_is_done_without(change: dict[str, Any]) -> None:
    first, second = json.loads(SHELF)
    assert taken(json.dumps([first, second]))
    assert taken(json.dumps([first | change, second])) == {}
