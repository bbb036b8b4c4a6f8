"""The state of a shard: what is due, what is new or corrected, and how it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import StoreUnavailableError
from ops_anomaly.detection.types import Detection, Series, Stored
from ops_anomaly.watcher.outbox import CorruptStateError
from ops_anomaly.watcher.settling import FINAL_SECONDS, LONG_PERIOD, READ_SECONDS
from ops_anomaly.watcher.state import (
    CHART_PERIODS,
    CORRECTION,
    FIRST_EVALUATION_PERIODS,
    LATE_PERIODS,
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
READ_MS = 1000 * READ_SECONDS
SETTLE = 600
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
    """Add readings, read up to so many periods after noon; return those that changed too."""
    end = NOON_MS + until * STEP
    after, is_changed = state.with_readings(readings(values), end, periods, end + READ_MS)
    return after, ((after.series.times[is_changed] - NOON_MS) // STEP).tolist()


@pytest.fixture
def known() -> MetricState:
    """The day up to noon, each value the number of its period."""
    day = {n: float(n) for n in range(-PERIODS, 0)}
    return with_readings(MetricState.empty(ORDERS), day, until=0)[0]


# --- what is due --------------------------------------------------------------------------------


def test_a_new_metric_is_read_from_the_beginning_of_its_history() -> None:
    due = MetricState.empty(ORDERS).due(NOON_MS + READ_MS, SETTLE, PERIODS)
    assert due == (NOON_MS - DAY_MS, NOON_MS)


def test_a_period_is_due_soon_after_its_end(known: MetricState) -> None:
    end = NOON_MS + STEP
    assert known.due(end + READ_MS - 1, SETTLE, PERIODS) is None
    assert known.due(end + READ_MS, SETTLE, PERIODS) == (NOON_MS - LATE_PERIODS * STEP, end)


def test_nothing_is_due_within_a_period_or_by_an_earlier_clock(known: MetricState) -> None:
    assert known.due(NOON_MS + STEP, SETTLE, PERIODS) is None
    assert known.due(NOON_MS - DAY_MS, SETTLE, PERIODS) is None


def minutes_due(period: int, settle: int) -> list[int]:
    """Return when a period is read after its end, with an evaluation every minute."""
    metric = Metric("shop", "Orders", (), "Sum", period)
    step = 1000 * period
    end = NOON_MS // step * step
    found = []
    state = MetricState(metric, end - 200 * step, np.ones(199), read_at=end - 1)
    for minute in range(period // 60):
        now = end + 60_000 * minute
        due = state.due(now, settle, 200)
        if due:
            found.append(minute)
            nothing = Series(np.empty(0, np.int64), np.empty(0))
            state, _ = state.with_readings(nothing, due[1], 200, now)
    return found


@pytest.mark.parametrize(
    ("settle", "minutes"), [(60, [1, 10]), (300, [1, 5, 10]), (600, [1, 10]), (900, [1, 10, 15])]
)
def test_a_long_period_is_read_soon_and_when_it_has_settled_and_is_final(
    settle: int, minutes: list[int]
) -> None:
    assert FINAL_SECONDS == 600
    assert minutes_due(3_600, settle) == minutes_due(86_400, settle) == minutes


@pytest.mark.parametrize("period", [300, LONG_PERIOD - 60])
def test_a_short_period_is_read_with_the_next_one_by_the_time_it_has_settled(period: int) -> None:
    assert minutes_due(period, 900) == [1]


def test_missed_periods_are_due_together_with_those_that_may_be_late(known: MetricState) -> None:
    due = known.due(NOON_MS + 20 * STEP + READ_MS, SETTLE, PERIODS)
    assert due == (NOON_MS - LATE_PERIODS * STEP, NOON_MS + 20 * STEP)


@pytest.mark.parametrize("settle", [60, 600, 900, 1_800, 3_600])
@pytest.mark.parametrize("tick", [60, 300])
def test_a_period_of_a_minute_is_read_once_more_when_it_has_settled(settle: int, tick: int) -> None:
    step = 60_000
    state = MetricState(UNUSUAL_NAMES, NOON_MS - 200 * step, np.ones(200), read_at=NOON_MS)
    start = NOON_MS + 7 * step  # of that period
    read_at = []
    for now in range(NOON_MS + READ_MS + 1000 * tick, NOON_MS + 2 * 3_600_000, 1000 * tick):
        due = state.due(now, settle, 200)
        assert due
        if due[0] <= start < due[1]:
            read_at.append(now)
        nothing = Series(np.empty(0, np.int64), np.empty(0))
        state, _ = state.with_readings(nothing, due[1], 200, now)
    assert read_at[-1] >= start + step + 1000 * settle


def test_no_more_is_due_than_is_kept(known: MetricState) -> None:
    due = known.due(NOON_MS + 10 * DAY_MS + READ_MS, SETTLE, PERIODS)
    assert due == (NOON_MS + 9 * DAY_MS, NOON_MS + 10 * DAY_MS)


def test_a_longer_history_is_read_from_its_beginning(known: MetricState) -> None:
    due = known.due(NOON_MS + STEP + READ_MS, SETTLE, 7 * PERIODS)
    assert due == (NOON_MS + STEP - 7 * DAY_MS, NOON_MS + STEP)


# --- what is new or corrected -------------------------------------------------------------------


def test_the_last_periods_of_a_new_metric_are_evaluated() -> None:
    day = dict.fromkeys(range(-50, 0), 1.0)
    state, changed = with_readings(MetricState.empty(ORDERS), day, until=0)
    first = NOON_MS - FIRST_EVALUATION_PERIODS * STEP
    assert changed == list(range(-FIRST_EVALUATION_PERIODS, 0))
    assert (state.since, state.anomalies.evaluated_until) == (first, first)


def test_a_state_has_the_time_when_it_was_read(known: MetricState) -> None:
    assert known.read_at == NOON_MS + READ_MS
    assert (known.start, known.end) == (NOON_MS - DAY_MS, NOON_MS)


def test_only_new_readings_of_a_longer_history_count(known: MetricState) -> None:
    week = {n: float(n) for n in range(-7 * PERIODS + 1, 1)}
    after, changed = with_readings(known, week, until=1, periods=7 * PERIODS)
    assert changed == [0]
    assert after.values.tolist() == sorted(week.values())


def test_a_shorter_history_drops_what_is_older(known: MetricState) -> None:
    after, changed = with_readings(known, {0: 0.0}, until=1, periods=3)
    assert changed == [0]
    assert after.values.tolist() == [-2.0, -1.0, 0.0]


def test_a_reading_is_new_once(known: MetricState) -> None:
    after, changed = with_readings(known, {-1: -1.0, 0: 0.0}, until=1)
    assert changed == [0]
    again, changed = with_readings(after, {-1: -1.0, 0: 0.0}, until=1)
    assert changed == []
    np.testing.assert_array_equal(again.values, after.values)


def test_a_gap_stays_a_gap_until_its_reading_comes(known: MetricState) -> None:
    after, changed = with_readings(known, {2: 2.0}, until=3)
    assert changed == [2]
    assert np.isnan(after.values[-3:]).tolist() == [True, True, False]
    filled, changed = with_readings(after, {1: 1.0, 2: 2.0}, until=4)
    assert changed == [1]
    assert np.isnan(filled.values[-4:]).tolist() == [True, False, False, True]


def test_a_reading_that_is_too_late_is_kept_but_not_evaluated() -> None:
    state, _ = with_readings(MetricState.empty(ORDERS), {-20: 1.0}, until=0)
    state, changed = with_readings(state, {-LATE_PERIODS - 1: 2.0, -LATE_PERIODS: 3.0}, until=1)
    assert changed == [-LATE_PERIODS]
    assert state.series.values.tolist() == [1.0, 2.0, 3.0]


def test_a_correction_that_is_too_late_is_kept_but_not_evaluated(known: MetricState) -> None:
    late = {-LATE_PERIODS - 1: 99.0, -LATE_PERIODS: 99.0}
    after, changed = with_readings(known, late, until=1)
    assert changed == [-LATE_PERIODS]
    assert (after.values == 99.0).sum() == 2


@pytest.mark.parametrize(
    ("before", "after", "is_material"),
    [
        (100.0, 100.0, False),
        (100.0, 100.0 * (1 + 0.99 * CORRECTION), False),
        (100.0, 100.0 * (1 + 1.02 * CORRECTION), True),
        (100.0, 100.0 * (1 - 1.02 * CORRECTION), True),
        (0.0, -0.0, False),
        (0.0, 1e-9, True),
        (1e-9, 0.0, True),
        (-1.0, 1.0, True),
        (-3.4e38, 3.4e38, True),
        (80.0, 100.0, True),
    ],
)
def test_a_correction_replaces_the_value_and_is_evaluated_if_it_is_material(
    before: float, after: float, is_material: bool
) -> None:
    state, _ = with_readings(MetricState.empty(ORDERS), {-1: before}, until=0)
    state, changed = with_readings(state, {-1: after}, until=1)
    assert changed == ([-1] if is_material else [])
    assert state.series.values.tolist() == [after]


def test_a_reading_that_cloudwatch_no_longer_returns_is_kept(known: MetricState) -> None:
    after, changed = with_readings(known, {0: 0.0}, until=1)
    assert changed == [0]
    np.testing.assert_array_equal(after.values[:-1], known.values[1:])


def test_readings_outside_the_periods_are_left_out(known: MetricState) -> None:
    after, changed = with_readings(known, {-PERIODS - 9: 1.0, 0: 0.0, 1: 1.0}, until=1)
    assert changed == [0]
    assert len(after.series) == PERIODS


def test_the_incidents_of_a_metric_stay_with_it(known: MetricState) -> None:
    assert with_readings(known, {}, until=5)[0].anomalies is known.anomalies


# --- the stored state ---------------------------------------------------------------------------


def expected(series: Series, value: np.ndarray) -> Detection:
    """Return what a detector says that expected these values, give or take one."""
    nothing = np.zeros(len(series))
    is_none = np.zeros(len(series), bool)
    return Detection(
        nothing, nothing, is_none, is_none, value, value - 1.0, value + 1.0, reasons={}, alerts=[]
    )


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
    few, many = (encode_shard_state(state_of(values=np.ones(n))) for n in (2_000, 9_000))
    assert len(many) - len(few) == 8 * 7_000


def test_what_was_expected_takes_twelve_bytes_in_each_of_the_last_periods() -> None:
    """A metric of 4,032 readings takes 33.6 KB: 32,256 bytes, 1,152 of bounds, and its record."""
    tensors = load(encode_shard_state(state_of(values=np.ones(4_032))))
    assert tensors["values"].nbytes == 32_256
    assert tensors["bounds"].nbytes == 12 * CHART_PERIODS == 1_152
    assert tensors["record"].nbytes < 400


def test_what_was_expected_is_stored_to_single_precision_and_moves_with_time(
    known: MetricState,
) -> None:
    state = known.with_bounds(known.series, expected(known.series, known.values + 0.1))
    stored = decode_shard_state(encode_shard_state(ShardState({str(ORDERS): state})))
    bounds = stored.of(ORDERS).bounds
    last = known.values[-CHART_PERIODS:] + 0.1
    np.testing.assert_array_equal(bounds, np.float32([last, last - 1.0, last + 1.0]))

    later, _ = with_readings(state, {}, until=3)
    np.testing.assert_array_equal(later.bounds[:, :-3], bounds[:, 3:])
    assert np.isnan(later.bounds[:, -3:]).all()
    gone, _ = with_readings(state, {}, until=2 * CHART_PERIODS)
    assert np.isnan(gone.bounds).all()


@pytest.mark.parametrize("periods", [CHART_PERIODS - 1, CHART_PERIODS + 1, 0])
def test_bounds_of_other_periods_are_refused(periods: int) -> None:
    tensors = load(encode_shard_state(state_of()))
    tensors["bounds"] = np.zeros((3, periods), np.float32)
    with pytest.raises(CorruptStateError):
        decode_shard_state(save(tensors))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x00" * 100, b"\xff" * 100, b"[" * 10_000, save({})]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_shard_state(data)


@pytest.mark.parametrize("damage", [b"[" * 100_000, b"sh\xffp"])
def test_a_record_that_is_not_json_is_refused(damage: bytes) -> None:
    tensors = load(encode_shard_state(state_of()))
    tensors["record"] = np.frombuffer(damage, np.uint8)
    with pytest.raises(CorruptStateError):
        decode_shard_state(save(tensors))


@pytest.mark.parametrize(
    "change",
    [{"metrics": None}, {"metrics": 1}, {"reported": [{}]}, {"reported": None}, {"more": 1}],
    ids=str,
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
        {"anomaly": {}},
        {"silence": {}},
        {"pending": {}},
        {"relapse": {}},
        {"notified_until": None},
        {"read_at": None},
        {"evaluated_until": 0.5},
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
    checkpoints.write(0, {"a": checkpoint()})
    assert checkpoints.read(0) == {}


def test_each_shard_has_its_own_checkpoints() -> None:
    store = FakeStore()
    CheckpointStore(store).write(3, {"a": checkpoint()})
    assert list(CheckpointStore(store).read(3)) == ["a"]
    assert CheckpointStore(store).read(0) == {}
