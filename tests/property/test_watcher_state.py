"""The state of a shard: readings against a dictionary, and the stored forms against damage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.charts import Chart
from ops_anomaly.detection import untrained
from ops_anomaly.detection.types import ArtifactError, Series
from ops_anomaly.watcher.anomalies import (
    Anomaly,
    AnomalyState,
    CloseReason,
    Extremes,
    Peak,
    Provenance,
    ReportedAnomaly,
)
from ops_anomaly.watcher.outbox import CorruptStateError
from ops_anomaly.watcher.settling import READ_SECONDS, read_delays
from ops_anomaly.watcher.state import (
    CHART_PERIODS,
    CORRECTION,
    FIRST_EVALUATION_PERIODS,
    LATE_PERIODS,
    Checkpoint,
    MetricState,
    ShardState,
    decode_checkpoints,
    decode_shard_state,
    encode_checkpoints,
    encode_shard_state,
)

# --- readings -----------------------------------------------------------------------------------

SECONDS = st.sampled_from([60, 300, 3_600])
VALUES = st.floats(-1e6, 1e6)
READINGS = st.dictionaries(st.integers(0, 40), VALUES)
NOW = 7
"""When CloudWatch was read: it is stored, and no more."""


def metric(seconds: int) -> Metric:
    return Metric("shop", "Orders", (), "Sum", seconds)


def series(seconds: int, values: dict[int, float]) -> Series:
    times = 1000 * seconds * np.array(list(values), np.int64)
    return Series(times, np.array(list(values.values()), np.float64))


def kept(state: MetricState) -> dict[int, float]:
    times, values = state.series.times, state.series.values
    return dict(zip((times // state.step).tolist(), values.tolist(), strict=True))


@given(SECONDS, READINGS, st.integers(1, 50), st.data())
def test_readings_in_any_order_are_their_union(
    seconds: int, values: dict[int, float], periods: int, data: Any
) -> None:
    parts = data.draw(st.lists(st.sets(st.sampled_from(sorted(values))))) if values else []
    state = MetricState.empty(metric(seconds))
    for part in [*parts, values.keys()]:
        some = {number: values[number] for number in part}
        state, _ = state.with_readings(series(seconds, some), 41 * state.step, periods, NOW)
    assert kept(state) == {number: v for number, v in values.items() if number >= 41 - periods}
    assert len(state.values) == periods


@given(
    SECONDS,
    st.lists(st.tuples(st.integers(0, 25), READINGS), min_size=1, max_size=6),
    st.integers(1, 50),
)
def test_a_reading_is_evaluated_if_it_is_new_or_corrected_and_not_too_late(
    seconds: int, deliveries: list[tuple[int, dict[int, float]]], periods: int
) -> None:
    state, plain, until = MetricState.empty(metric(seconds)), dict[int, float](), 0
    for number, (further, values) in enumerate(deliveries):
        before, until = until, until + further
        evaluate_from = until - FIRST_EVALUATION_PERIODS if number == 0 else before - LATE_PERIODS
        old, plain = plain, plain | {n: v for n, v in values.items() if n < until}
        plain = {n: v for n, v in plain.items() if n >= until - periods}
        end = until * state.step
        state, is_changed = state.with_readings(series(seconds, values), end, periods, NOW)
        assert kept(state) == plain
        changed = (state.series.times[is_changed] // state.step).tolist()
        assert changed == sorted(
            n for n, v in plain.items() if n >= evaluate_from and differs(v, old.get(n))
        )
        assert (state.end, state.read_at) == (end, NOW)


def differs(value: float, before: float | None) -> bool:
    if before is None:
        return True
    return abs(value - before) > CORRECTION * max(abs(value), abs(before))


@given(SECONDS, READINGS, st.integers(1, 50), st.integers(1, 50), st.integers(0, 200))
def test_the_same_delivery_again_changes_nothing(
    seconds: int, values: dict[int, float], periods: int, before: int, further: int
) -> None:
    empty = MetricState.empty(metric(seconds))
    state, _ = empty.with_readings(series(seconds, {}), before * empty.step, periods, NOW)
    end = (before + further) * empty.step
    once, _ = state.with_readings(series(seconds, values), end, periods, NOW)
    twice, is_changed = once.with_readings(series(seconds, values), end, periods, NOW)
    assert not is_changed.any()
    assert twice.start == once.start
    np.testing.assert_array_equal(twice.values, once.values)


@given(
    SECONDS,
    st.integers(0, 100),
    st.integers(1, 100),
    st.integers(100, 180),
    st.sampled_from([60, 600, 3_600]),
    st.integers(0, 10**6),
    st.integers(-(10**6), 10**6) | st.integers(0, 10**9),
)
def test_what_is_due_reaches_from_what_may_change_to_what_has_ended(
    seconds: int,
    periods_before: int,
    periods: int,
    read_until: int,
    settle: int,
    waited: int,
    later: int,
) -> None:
    step = 1000 * seconds
    end = read_until * step
    start, read_at = end - periods_before * step, end + 1000 * READ_SECONDS + waited
    now = read_at + later
    state = MetricState(metric(seconds), start, np.zeros(periods_before), read_at=read_at)
    due = state.due(now, settle, periods)
    has_passed = [
        (now - 1000 * delay) // step > (read_at - 1000 * delay) // step
        for delay in read_delays(seconds, settle)
    ]
    assert (due is not None) is any(has_passed)
    if due is None:
        return
    first, last = due
    assert first % step == last % step == 0
    assert last <= now - 1000 * READ_SECONDS < last + step
    oldest = last - periods * step
    assert oldest <= first <= max(state.end - LATE_PERIODS * step, oldest)
    assert first <= max(state.end - 1000 * settle, oldest)


# --- the stored form ----------------------------------------------------------------------------

TIMES = st.integers(0, 2**43)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
UNKNOWN = st.none() | NUMBERS
TEXTS = st.text(max_size=20)
SHARES = st.floats(0, 1)
METRICS = st.builds(
    Metric,
    namespace=st.text(min_size=1, max_size=9),
    name=st.text(min_size=1, max_size=9),
    dimensions=st.just(()) | st.tuples(st.tuples(st.just("Name"), st.text(min_size=1))),
    statistic=st.sampled_from(["Sum", "p99.9"]),
    period=st.sampled_from([60, 300, 86_400]),
)
PEAKS = st.builds(
    Peak,
    time=TIMES,
    value=UNKNOWN,
    expected=UNKNOWN,
    lower=UNKNOWN,
    upper=UNKNOWN,
    score=NUMBERS,
    severity=SHARES,
    reason=TEXTS,
)
PROVENANCES = st.builds(
    Provenance,
    entry=TEXTS,
    model=st.none() | TEXTS,
    version=st.none() | TEXTS,
    readings=st.integers(0),
    confidence=SHARES,
)
EXTREMES = st.builds(Extremes, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
ANOMALIES = st.builds(
    Anomaly,
    id=TEXTS,
    first_seen=TIMES,
    last_seen=TIMES,
    readings=st.integers(0),
    member=st.none() | TEXTS,
    peak=PEAKS,
    provenance=PROVENANCES,
    extremes=st.none() | EXTREMES,
)
ANOMALY_STATES = st.builds(
    AnomalyState,
    anomaly=st.none() | ANOMALIES,
    silence=st.none() | ANOMALIES,
    pending=st.none() | ANOMALIES,
    relapse=st.none() | ANOMALIES,
    notified_until=TIMES,
    evaluated_until=TIMES,
)
LINES = st.lists(UNKNOWN, max_size=3)
CHARTS = st.builds(
    Chart,
    start=TIMES,
    step=st.integers(1),
    values=LINES,
    expected=LINES,
    lower=LINES,
    upper=LINES,
    unusual=st.lists(st.integers(0, 2), max_size=3),
)
REPORTED = st.builds(
    ReportedAnomaly,
    metric=METRICS.map(str),
    anomaly=ANOMALIES,
    opened_at=TIMES,
    closed_at=st.none() | TIMES,
    close_reason=st.none() | st.sampled_from(get_args(CloseReason)),
    chart=st.none() | CHARTS,
)
STORED_VALUES = st.lists(
    st.just(np.nan) | st.floats(width=32, allow_infinity=False, allow_nan=False)
)
BOUNDS = st.tuples(*[st.floats(width=32)] * 3)


@st.composite
def metric_states(draw: st.DrawFn) -> MetricState:
    metric = draw(METRICS)
    start = 1000 * metric.period * draw(st.integers(0, 2**22))
    values = np.array(draw(STORED_VALUES), np.float64)
    bounds = np.full((3, CHART_PERIODS), np.nan, np.float32)
    bounds[:, draw(st.integers(0, CHART_PERIODS - 1))] = draw(BOUNDS)
    anomalies, since, read_at = draw(ANOMALY_STATES), draw(TIMES), draw(TIMES)
    return MetricState(metric, start, values, anomalies, since, read_at, bounds)


STATES = st.builds(
    ShardState,
    metrics=st.lists(metric_states(), max_size=4).map(
        lambda some: {str(each.metric): each for each in some}
    ),
    reported=st.lists(REPORTED, max_size=3).map(
        lambda some: {each.anomaly.id: each for each in some}
    ),
)


def plain(metrics: Mapping[str, MetricState]) -> dict[str, dict[str, Any]]:
    """Return every field of the states, of their arrays the bytes."""
    return {
        text: {**vars(each), "values": each.values.tobytes(), "bounds": each.bounds.tobytes()}
        for text, each in metrics.items()
    }


@given(STATES)
def test_a_state_is_read_as_it_was_written(state: ShardState) -> None:
    again = decode_shard_state(encode_shard_state(state))
    assert plain(again.metrics) == plain(state.metrics)
    assert again.reported == state.reported


@given(STATES)
def test_the_same_state_is_written_as_the_same_bytes(state: ShardState) -> None:
    data = encode_shard_state(state)
    assert encode_shard_state(decode_shard_state(data)) == data


@given(STATES, st.data())
def test_a_truncated_state_is_refused(state: ShardState, data: Any) -> None:
    written = encode_shard_state(state)
    length = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(CorruptStateError):
        decode_shard_state(written[:length])


@given(STATES, st.data())
def test_flipped_bytes_are_refused_or_read_as_a_state(state: ShardState, data: Any) -> None:
    written = bytearray(encode_shard_state(state))
    places = st.integers(0, len(written) - 1)
    flips = st.dictionaries(places, st.integers(1, 255), min_size=1, max_size=5)
    for place, flip in data.draw(flips).items():
        written[place] ^= flip
    try:
        other = decode_shard_state(bytes(written))
    except CorruptStateError:
        return
    for text, each in other.metrics.items():
        assert str(each.metric) == text
        assert not np.isinf(each.values).any()
        assert each.start % each.step == 0
    assert plain(decode_shard_state(encode_shard_state(other)).metrics) == plain(other.metrics)


# --- checkpoints --------------------------------------------------------------------------------

UNTRAINED = untrained()
_, DETECTOR = UNTRAINED.update(Series(300_000 * np.arange(1, 41), np.sin(np.arange(40.0))))
LATER = Series(300_000 * np.arange(41, 61), np.cos(np.arange(20.0)))
CHECKPOINTS = encode_checkpoints(
    {"a": Checkpoint(None, None, 12_000_000, DETECTOR), "b": Checkpoint("v1", 0.2, 7, UNTRAINED)}
)


def test_a_stored_checkpoint_resumes_as_it_was() -> None:
    stored = decode_checkpoints(CHECKPOINTS)["a"]
    mine, theirs = DETECTOR.detect(LATER), stored.resume(UNTRAINED).detect(LATER)
    assert mine.scores.tobytes() == theirs.scores.tobytes()
    assert mine.alerts == theirs.alerts


@given(st.dictionaries(st.integers(0, len(CHECKPOINTS) - 1), st.integers(1, 255), max_size=5))
def test_damaged_checkpoints_are_refused_or_resumed(flips: dict[int, int]) -> None:
    written = bytearray(CHECKPOINTS)
    for position, flip in flips.items():
        written[position] ^= flip
    try:
        for each in decode_checkpoints(bytes(written)).values():
            each.resume(UNTRAINED).detect(LATER)
    except (CorruptStateError, ArtifactError):
        return


@given(st.integers(0, len(CHECKPOINTS) - 1))
def test_truncated_checkpoints_are_refused(length: int) -> None:
    with pytest.raises(CorruptStateError):
        decode_checkpoints(CHECKPOINTS[:length])
