"""What is remembered comes back as it was; of damaged bytes, nothing else is raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.documents import CorruptStateError
from ops_anomaly.watcher.incidents import Incident, IncidentState, Peak, Provenance
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.state import (
    MetricState,
    ShardState,
    decode_shard_state,
    encode_shard_state,
)

TIMES = st.integers(0, 2**33)
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
    value=NUMBERS,
    expected=UNKNOWN,
    lower=UNKNOWN,
    upper=UNKNOWN,
    score=NUMBERS,
    severity=SHARES,
    reason=TEXTS,
)
JUDGED_BY = st.builds(
    Provenance,
    entry=TEXTS,
    model=st.none() | TEXTS,
    version=st.none() | TEXTS,
    readings=st.integers(0),
    confidence=SHARES,
)
INCIDENTS = st.builds(
    Incident,
    id=TEXTS,
    first_seen=TIMES,
    last_seen=TIMES,
    readings=st.integers(1),
    peak=PEAKS,
    provenance=JUDGED_BY,
)
DETAILS = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS)
NOTICES = st.builds(
    Notification,
    id=TEXTS,
    about=TEXTS,
    detail_type=TEXTS,
    detail=DETAILS,
    subject=TEXTS,
    message=TEXTS,
    made_at=NUMBERS,
    claimed_at=NUMBERS,
    waiting=st.sampled_from([("event", "message"), ("event",), ("message",), ()]),
)
READINGS = st.lists(st.just(np.nan) | st.floats(width=32, allow_infinity=False, allow_nan=False))


@st.composite
def grids(draw: st.DrawFn) -> MetricState:
    metric = draw(METRICS)
    start = metric.period * draw(st.integers(0, 2**22))
    course = IncidentState(draw(st.none() | INCIDENTS), draw(TIMES))
    return MetricState(metric, start, np.array(draw(READINGS), np.float64), course)


MEMORIES = st.builds(
    ShardState,
    grids=st.lists(grids(), max_size=4).map(lambda some: {str(grid.metric): grid for grid in some}),
    outbox=st.lists(NOTICES, max_size=3).map(tuple),
)


def plain(grids: Mapping[str, MetricState]) -> list[tuple[Any, ...]]:
    return [
        (text, grid.metric, grid.start, grid.values.tobytes(), grid.course)
        for text, grid in grids.items()
    ]


@given(MEMORIES)
def test_what_is_remembered_comes_back_as_it_was(memory: ShardState) -> None:
    again = decode_shard_state(encode_shard_state(memory))
    assert plain(again.grids) == plain(memory.grids)
    assert again.outbox == memory.outbox


@given(MEMORIES)
def test_the_same_memory_is_written_as_the_same_bytes(memory: ShardState) -> None:
    data = encode_shard_state(memory)
    assert encode_shard_state(decode_shard_state(data)) == data


@given(MEMORIES, st.data())
def test_what_is_cut_off_is_refused(memory: ShardState, data: Any) -> None:
    written = encode_shard_state(memory)
    length = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(CorruptStateError):
        decode_shard_state(written[:length])


@given(MEMORIES, st.data())
def test_flipped_bytes_are_refused_or_read_as_a_memory(memory: ShardState, data: Any) -> None:
    written = bytearray(encode_shard_state(memory))
    places = st.integers(0, len(written) - 1)
    flips = st.dictionaries(places, st.integers(1, 255), min_size=1, max_size=5)
    for place, flip in data.draw(flips).items():
        written[place] ^= flip
    try:
        other = decode_shard_state(bytes(written))
    except CorruptStateError:
        return
    for text, grid in other.grids.items():
        assert str(grid.metric) == text
        assert not np.isinf(grid.values).any()
        assert grid.start % grid.metric.period == 0
    assert plain(decode_shard_state(encode_shard_state(other)).grids) == plain(other.grids)
