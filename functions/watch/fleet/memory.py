"""What the watcher remembers of a shard of the fleet, as one object in the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from detector.value_range import FLOAT32_MAX
from registry.contract import Contract
from registry.metric import Metric
from watch.errors import UnreadableMemoryError
from watch.fleet.grid import Grid
from watch.fleet.incident import Course, Incident
from watch.outbox import Notice

if TYPE_CHECKING:
    from detector.interface import Floats


@dataclass(frozen=True)
class Memory:
    """What is remembered between two looks.

    Attributes
    ----------
    grids : dict of str to Grid
        By the metric's text.
    outbox : tuple of Notice
        What has been decided to be told, and is not known to have arrived.
    """

    grids: Mapping[str, Grid] = field(default_factory=dict)
    outbox: tuple[Notice, ...] = ()


class _GridRecord(Contract, frozen=True):
    metric: str
    start: int
    slots: int
    since: int
    told_until: int
    incident: Incident | None


class _Record(Contract, frozen=True, kw_only=True):
    """All of it but the readings, which lie one metric after the other in one array."""

    version: Literal[1] = 1
    grids: list[_GridRecord]
    outbox: list[Notice]


def write_memory(memory: Memory) -> bytes:
    """Return the object."""
    grids = memory.grids.values()
    record = _Record(
        grids=[
            _GridRecord(
                metric=str(grid.metric),
                start=grid.start,
                slots=len(grid.values),
                since=grid.since,
                told_until=grid.course.told_until,
                incident=grid.course.incident,
            )
            for grid in grids
        ],
        outbox=list(memory.outbox),
    )
    return save(
        {
            "record": np.frombuffer(msgspec.json.encode(record), np.uint8),
            "values": np.concatenate([np.empty(0), *(grid.values for grid in grids)]),
        }
    )


def read_memory(data: bytes) -> Memory:
    """Read the object.

    Raises
    ------
    UnreadableMemoryError
        If it is anything but what `write_memory` writes.
    """
    try:
        tensors = {name: bytes(tensor["data"]) for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call] # its stub has no types
        record = msgspec.json.decode(tensors["record"], type=_Record)
        values = np.frombuffer(tensors["values"], "<f8")
        ends = np.cumsum([each.slots for each in record.grids], dtype=np.int64)
        if (np.abs(values) > FLOAT32_MAX).any() or len(values) != (ends[-1] if len(ends) else 0):
            raise UnreadableMemoryError("its readings are not whole")
        own = np.split(values, ends[:-1])
        grids = [_grid(each, own[number]) for number, each in enumerate(record.grids)]
    except (SafetensorError, KeyError, ValueError, OverflowError, RecursionError) as error:
        raise UnreadableMemoryError(f"not what the watcher remembers: {error}") from error
    return Memory({str(grid.metric): grid for grid in grids}, tuple(record.outbox))


def _grid(record: _GridRecord, values: Floats) -> Grid:
    metric = Metric.parse(record.metric)
    if len(values) != record.slots or record.start % metric.period:
        raise UnreadableMemoryError(f"the slots of {metric} are not whole")
    course = Course(record.incident, record.told_until)
    return Grid(metric, record.start, values, course, record.since)
