"""The state of a shard: what is due, what is fresh, what stays a gap, and how it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import StoreUnavailableError
from ops_anomaly.detection.types import Series, Stored
from ops_anomaly.watcher.outbox import CorruptStateError
from ops_anomaly.watcher.state import (
    FIRST_EVALUATION_PERIODS,
    LATE_PERIODS,
    SETTLE_MS,
    Checkpoint,
    CheckpointCache,
    CheckpointStore,
    MetricState,
    ShardState,
    decode_checkpoints,
    decode_shard_state,
    encode_checkpoints,
    encode_shard_state,
)
from tests.support.fakes import FakeStore, small_forest
from tests.support.watcher import NOON_MS

STEP = 300_000
PERIODS = 288
DAY_MS = 86_400_000
ORDERS = Metric("shop", "Orders", (), "Sum", 300)
UNUSUAL_NAMES = Metric("shop", "Orders", (("Page", "the 'front' page"),), "p99.9", 60)
VALUES = np.array([1.0, np.nan, -0.0, 3.4e38])


def readings(values: Mapping[int, float]) -> Series:
    """Return readings by how many periods after noon they began."""
    times = NOON_MS + STEP * np.array(sorted(values), np.int64)
    return Series(times, np.array([values[n] for n in sorted(values)], np.float64))


def with_readings(
    state: MetricState, values: Mapping[int, float], until: int, periods: int = PERIODS
) -> tuple[MetricState, list[int]]:
    """Add readings, read up to so many periods after noon; return the fresh ones too."""
    after, is_fresh = state.with_readings(readings(values), NOON_MS + until * STEP, periods)
    return after, ((after.series.times[is_fresh] - NOON_MS) // STEP).tolist()


@pytest.fixture
def known() -> MetricState:
    """The day up to noon, each value the number of its period."""
    day = {n: float(n) for n in range(-PERIODS, 0)}
    return with_readings(MetricState.empty(ORDERS), day, until=0)[0]


# --- what is due --------------------------------------------------------------------------------


def test_a_new_metric_is_read_from_the_beginning_of_its_history() -> None:
    due = MetricState.empty(ORDERS).due(NOON_MS + SETTLE_MS, PERIODS)
    assert due == (NOON_MS - DAY_MS, NOON_MS)


def test_a_period_is_due_once_it_has_settled(known: MetricState) -> None:
    end = NOON_MS + STEP
    assert known.due(end + SETTLE_MS - 1, PERIODS) is None
    assert known.due(end + SETTLE_MS, PERIODS) == (NOON_MS - LATE_PERIODS * STEP, end)


def test_nothing_is_due_within_a_period_or_by_an_earlier_clock(known: MetricState) -> None:
    assert known.due(NOON_MS + STEP, PERIODS) is None
    assert known.due(NOON_MS - DAY_MS, PERIODS) is None


def test_missed_periods_are_due_together_with_those_that_may_be_late(known: MetricState) -> None:
    due = known.due(NOON_MS + 20 * STEP + SETTLE_MS, PERIODS)
    assert due == (NOON_MS - LATE_PERIODS * STEP, NOON_MS + 20 * STEP)


def test_no_more_is_due_than_is_kept(known: MetricState) -> None:
    due = known.due(NOON_MS + 10 * DAY_MS + SETTLE_MS, PERIODS)
    assert due == (NOON_MS + 9 * DAY_MS, NOON_MS + 10 * DAY_MS)


def test_a_longer_history_is_read_from_its_beginning(known: MetricState) -> None:
    due = known.due(NOON_MS + STEP + SETTLE_MS, 7 * PERIODS)
    assert due == (NOON_MS + STEP - 7 * DAY_MS, NOON_MS + STEP)


# --- what is fresh ------------------------------------------------------------------------------


def test_the_last_periods_of_a_new_metric_are_fresh() -> None:
    day = dict.fromkeys(range(-50, 0), 1.0)
    state, fresh = with_readings(MetricState.empty(ORDERS), day, until=0)
    assert fresh == list(range(-FIRST_EVALUATION_PERIODS, 0))
    assert state.since == NOON_MS - FIRST_EVALUATION_PERIODS * STEP


def test_only_new_readings_of_a_longer_history_are_fresh(known: MetricState) -> None:
    week = {n: float(n) for n in range(-7 * PERIODS + 1, 1)}
    after, fresh = with_readings(known, week, until=1, periods=7 * PERIODS)
    assert fresh == [0]
    assert after.values.tolist() == sorted(week.values())


def test_a_shorter_history_drops_what_is_older(known: MetricState) -> None:
    after, fresh = with_readings(known, {0: 0.0}, until=1, periods=3)
    assert fresh == [0]
    assert after.values.tolist() == [-2.0, -1.0, 0.0]


def test_a_reading_is_fresh_once(known: MetricState) -> None:
    after, fresh = with_readings(known, {-1: -1.0, 0: 0.0}, until=1)
    assert fresh == [0]
    again, fresh = with_readings(after, {-1: -1.0, 0: 0.0}, until=1)
    assert fresh == []
    np.testing.assert_array_equal(again.values, after.values)


def test_a_gap_stays_a_gap_until_its_reading_comes(known: MetricState) -> None:
    after, fresh = with_readings(known, {2: 2.0}, until=3)
    assert fresh == [2]
    assert np.isnan(after.values[-3:]).tolist() == [True, True, False]
    filled, fresh = with_readings(after, {1: 1.0, 2: 2.0}, until=4)
    assert fresh == [1]
    assert np.isnan(filled.values[-4:]).tolist() == [True, False, False, True]


def test_a_reading_that_is_too_late_is_kept_but_not_fresh() -> None:
    state, _ = with_readings(MetricState.empty(ORDERS), {-20: 1.0}, until=0)
    state, fresh = with_readings(state, {-LATE_PERIODS - 1: 2.0, -LATE_PERIODS: 3.0}, until=1)
    assert fresh == [-LATE_PERIODS]
    assert state.series.values.tolist() == [1.0, 2.0, 3.0]


def test_a_corrected_reading_replaces_the_earlier_one(known: MetricState) -> None:
    after, fresh = with_readings(known, {-1: 99.0, 0: 0.0}, until=1)
    assert fresh == [0]
    assert after.values[-2:].tolist() == [99.0, 0.0]


def test_readings_outside_the_periods_are_left_out(known: MetricState) -> None:
    after, fresh = with_readings(known, {-PERIODS - 9: 1.0, 0: 0.0, 1: 1.0}, until=1)
    assert fresh == [0]
    assert len(after.series) == PERIODS


def test_the_incidents_of_a_metric_stay_with_it(known: MetricState) -> None:
    assert with_readings(known, {}, until=5)[0].incidents is known.incidents


# --- the stored state ---------------------------------------------------------------------------


def state_of(metric: Metric = UNUSUAL_NAMES, values: np.ndarray = VALUES) -> ShardState:
    return ShardState({str(metric): MetricState(metric, NOON_MS, values)})


def with_record(change: Any) -> bytes:
    """Return an object whose record was changed by hand."""
    tensors = load(encode_shard_state(state_of()))
    record = json.loads(tensors["record"].tobytes())
    change(record)
    tensors["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    return save(tensors)


def test_an_empty_state_is_stored() -> None:
    assert decode_shard_state(encode_shard_state(ShardState())) == ShardState()


def test_readings_and_gaps_are_stored_to_the_bit() -> None:
    [state] = decode_shard_state(encode_shard_state(state_of())).metrics.values()
    assert (state.metric, state.start) == (UNUSUAL_NAMES, NOON_MS)
    assert state.values.tobytes() == VALUES.tobytes()


def test_a_reading_takes_eight_bytes() -> None:
    few, many = (encode_shard_state(state_of(values=np.ones(n))) for n in (1_000, 9_000))
    assert len(many) - len(few) == 8 * 8_000


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x00" * 100, b"\xff" * 100, b"[" * 10_000, save({})]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(data)


@pytest.mark.parametrize("damage", [b"[" * 100_000, b"sh\xffp"])
def test_a_record_that_is_not_json_is_refused(damage: bytes) -> None:
    values = np.empty(0)
    with pytest.raises(CorruptStateError):
        decode_shard_state(save({"record": np.frombuffer(damage, np.uint8), "values": values}))


@pytest.mark.parametrize(
    "change", [{"metrics": None}, {"metrics": 1}, {"outbox": [{}]}, {"more": 1}], ids=str
)
def test_a_record_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(with_record(lambda record: record.update(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"periods": 3},
        {"periods": 5},
        {"periods": -4},
        {"periods": 4.0},
        {"periods": 10**30},
        {"start": NOON_MS + 1},
        {"start": NOON_MS + 1000},
        {"start": str(NOON_MS)},
        {"metric": "shop Orders"},
        {"metric": "shop Orders Sum 90"},
        {"incident": {}},
        {"relapse": {}},
        {"notified_until": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_malformed_metric_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(with_record(lambda record: record["metrics"][0].update(change)))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_a_reading_out_of_range_is_refused(value: float) -> None:
    data = encode_shard_state(state_of(values=np.array([value])))
    with pytest.raises(CorruptStateError, match="out of range"):
        decode_shard_state(data)


# --- checkpoints --------------------------------------------------------------------------------


class Detector:
    """A detector whose history is a number of bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def checkpoint(self) -> Any:
        return Stored({"history": np.zeros(self.size, np.uint8)}, {"size": float(self.size)})


def checkpoint(size: int = 10, until: int = NOON_MS) -> Checkpoint:
    return Checkpoint("v1", 0.2, until, Detector(size))


def test_a_checkpoint_fits_the_same_version_and_sensitivity_at_later_readings() -> None:
    assert checkpoint().fits("v1", 0.2, NOON_MS + 1)
    assert not checkpoint().fits("v2", 0.2, NOON_MS + 1)
    assert not checkpoint().fits("v1", 0.3, NOON_MS + 1)
    assert not checkpoint().fits("v1", None, NOON_MS + 1)
    assert not checkpoint().fits("v1", 0.2, NOON_MS)


def test_the_cache_drops_the_least_recently_used_checkpoints() -> None:
    cache = CheckpointCache(max_bytes=100)
    for name in "abc":
        cache.put(name, checkpoint(30))
    cache.put("a", checkpoint(40))
    assert all(name in cache for name in "abc")
    cache.put("d", checkpoint(1))
    assert [name in cache for name in "abcd"] == [True, False, True, True]


def test_the_cache_counts_a_replaced_checkpoint_once() -> None:
    cache = CheckpointCache(max_bytes=100)
    for size in (90, 80, 50):
        cache.put("a", checkpoint(size))
    cache.put("b", checkpoint(50))
    assert "a" in cache
    assert "b" in cache


def test_a_checkpoint_larger_than_the_cache_is_not_kept() -> None:
    cache = CheckpointCache(max_bytes=100)
    cache.put("a", checkpoint(101))
    assert cache.get("a") is None
    cache.put("b", checkpoint(100))
    assert "b" in cache


def test_checkpoints_are_stored_without_knowledge_of_the_detector() -> None:
    checkpoints = {"a": checkpoint(3), "b": Checkpoint(None, None, 7, small_forest())}
    found = decode_checkpoints(encode_checkpoints(checkpoints))
    first, second = found["a"], found["b"]
    assert (first.version, first.sensitivity, first.until) == ("v1", 0.2, NOON_MS)
    assert (second.version, second.sensitivity, second.until) == (None, None, 7)
    history = first.history
    assert (history.tensors["history"].data, history.parameters) == (b"\0" * 3, {"size": 3.0})
    assert first.size == 3
    assert second.resume(small_forest()) == small_forest()


def test_checkpoints_of_an_unreachable_bucket_are_done_without() -> None:
    store = FakeStore()
    store.failure = StoreUnavailableError("throttled")
    checkpoints = CheckpointStore(store)
    checkpoints.write(1, 0, {"a": checkpoint()})
    assert checkpoints.read(1, 0) == {}
