"""What is remembered of a shard: one object that is whole, or is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from registry.metric import Metric
from watch.errors import UnreadableMemoryError
from watch.fleet.grid import Grid
from watch.fleet.memory import Memory, read_memory, write_memory

START = 1_795_608_000
METRIC = Metric("shop", "Orders", (("Page", "the 'front' page"),), "p99.9", 60)
VALUES = np.array([1.0, np.nan, -0.0, 3.4e38])


def known(**more: Any) -> Memory:
    return Memory({str(METRIC): Grid(METRIC, START, VALUES, **more)})


def rewritten(change: Any) -> bytes:
    """Return a memory whose record was changed by hand."""
    tensors = load(write_memory(known()))
    record = json.loads(tensors["record"].tobytes())
    change(record)
    tensors["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    return save(tensors)


def test_nothing_is_remembered_as_nothing() -> None:
    assert read_memory(write_memory(Memory())) == Memory()


def test_readings_and_gaps_are_remembered_to_the_bit() -> None:
    [grid] = read_memory(write_memory(known())).grids.values()
    assert (grid.metric, grid.start) == (METRIC, START)
    assert grid.values.tobytes() == VALUES.tobytes()


def test_readings_take_eight_bytes_each() -> None:
    none, many = (
        write_memory(Memory({str(METRIC): Grid(METRIC, START, np.ones(count))}))
        for count in (1_000, 9_000)
    )
    assert len(many) - len(none) == 8 * 8_000


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\x00" * 100, b"\xff" * 100, b"[" * 10_000, save({})]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableMemoryError):
        read_memory(data)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": "1"},
        {"grids": None},
        {"outbox": [{}]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableMemoryError):
        read_memory(rewritten(lambda record: record.update(change)))


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 3},
        {"slots": 5},
        {"slots": -4},
        {"start": START + 1},
        {"start": str(START)},
        {"metric": "shop Orders"},
        {"metric": "shop Orders Sum 90"},
        {"incident": {}},
        {"told_until": None},
    ],
    ids=str,
)
def test_a_metric_that_is_not_whole_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableMemoryError):
        read_memory(rewritten(lambda record: record["grids"][0].update(change)))


def test_a_boundless_reading_is_refused() -> None:
    data = write_memory(Memory({str(METRIC): Grid(METRIC, START, np.array([np.inf]))}))
    with pytest.raises(UnreadableMemoryError, match="not whole"):
        read_memory(data)
