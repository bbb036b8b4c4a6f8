"""What the watcher remembers of a metric: its last readings, a slot a period, and its incidents.

What the watcher remembers of a shard of the fleet, as one object in the bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

import msgspec
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import FLOAT32_MAX
from ops_anomaly.validation import Contract
from ops_anomaly.watcher.documents import CorruptStateError
from ops_anomaly.watcher.formatting import floor_to
from ops_anomaly.watcher.incidents import Incident, IncidentState
from ops_anomaly.watcher.outbox import Notification

if TYPE_CHECKING:
    import numpy.typing as npt

    from ops_anomaly.aws.cloudwatch import Readings
    from ops_anomaly.detection.types import Floats, Integers


SETTLE_SECONDS = 60
"""A period is asked for when it has been over for so long: until then its value may change."""

LATE = 12
"""Periods that are asked for again each time: a reading that comes this late is still judged."""

FIRST_EVALUATION_PERIODS = 3
"""Of a metric that is new, so many of the last periods are judged; what came before teaches."""


@dataclass(frozen=True)
class MetricState:
    """The last readings of a metric.

    Attributes
    ----------
    start : int
        When the first slot begins, in seconds since 1970: a multiple of the metric's period.
    values : (n,) float64
        A slot a period up to where CloudWatch has been asked; NaN where it had nothing.
    course : IncidentState
        Its incidents.
    since : int
        From when on it is judged, in seconds since 1970; what came before the first look teaches.
    """

    metric: Metric
    start: int
    values: Floats
    course: IncidentState = field(default_factory=IncidentState)
    since: int = 0

    @classmethod
    def nothing(cls, metric: Metric) -> Self:
        """Return what is remembered of a metric that has not been asked for yet."""
        return cls(metric, 0, np.empty(0))

    @property
    def end(self) -> int:
        """Up to where CloudWatch has been asked, in seconds since 1970."""
        return self.start + len(self.values) * self.metric.period

    @property
    def readings(self) -> tuple[Integers, Floats]:
        """Times in seconds since 1970, and values: (m,) int64 and (m,) float64."""
        there = np.flatnonzero(~np.isnan(self.values))
        return self.start + there * self.metric.period, self.values[there]

    def span(self, now: float, slots: int) -> tuple[int, int] | None:
        """Return from where to where CloudWatch is to be asked now, or None if nothing is due.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        slots : int
            How many periods are to be remembered.
        """
        period = self.metric.period
        end = floor_to(now - SETTLE_SECONDS, period)
        if end <= self.end:
            return None
        behind = slots if len(self.values) < slots else (end - self.end) // period + LATE
        return end - min(behind, slots) * period, end

    def noted(
        self, readings: Readings, end: int, slots: int
    ) -> tuple[MetricState, npt.NDArray[np.bool_]]:
        """Put readings into their slots.

        Parameters
        ----------
        readings
            What CloudWatch gave.
        end : int
            Up to where it was asked.
        slots : int
            How many periods are remembered.

        Returns
        -------
        MetricState
            The grid with them; a reading that CloudWatch has corrected is replaced.
        (m,) bool
            Which of its readings are to be judged: those not there before, and not too late.
        """
        period = self.metric.period
        grid = replace(self, start=end - slots * period, values=np.full(slots, np.nan))
        for times, values in (
            self.readings,
            (readings.timestamps.astype(np.int64), readings.values),
        ):
            at = (times - grid.start) // period
            inside = (at >= 0) & (at < slots)
            grid.values[at[inside]] = values[inside]
        judged_from = (
            self.end - LATE * period
            if len(self.values)
            else end - FIRST_EVALUATION_PERIODS * period
        )
        grid = replace(grid, since=self.since or judged_from)
        times, _ = grid.readings
        return grid, (times >= judged_from) & ~np.isin(times, self.readings[0])


@dataclass(frozen=True)
class ShardState:
    """What is remembered between two looks.

    Attributes
    ----------
    grids : dict of str to MetricState
        By the metric's text.
    outbox : tuple of Notification
        What has been decided to be told, and is not known to have arrived.
    """

    grids: Mapping[str, MetricState] = field(default_factory=dict)
    outbox: tuple[Notification, ...] = ()


class _GridRecord(Contract, frozen=True):
    metric: str
    start: int
    slots: int
    since: int
    notified_until: int
    incident: Incident | None


class _Record(Contract, frozen=True, kw_only=True):
    """All of it but the readings, which lie one metric after the other in one array."""

    version: Literal[1] = 1
    grids: list[_GridRecord]
    outbox: list[Notification]


def encode_shard_state(memory: ShardState) -> bytes:
    """Return the object."""
    grids = memory.grids.values()
    record = _Record(
        grids=[
            _GridRecord(
                metric=str(grid.metric),
                start=grid.start,
                slots=len(grid.values),
                since=grid.since,
                notified_until=grid.course.notified_until,
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


def decode_shard_state(data: bytes) -> ShardState:
    """Read the object.

    Raises
    ------
    CorruptStateError
        If it is anything but what `encode_shard_state` writes.
    """
    try:
        tensors = {name: bytes(tensor["data"]) for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call] # its stub has no types
        record = msgspec.json.decode(tensors["record"], type=_Record)
        values = np.frombuffer(tensors["values"], "<f8")
        ends = np.cumsum([each.slots for each in record.grids], dtype=np.int64)
        if (np.abs(values) > FLOAT32_MAX).any() or len(values) != (ends[-1] if len(ends) else 0):
            raise CorruptStateError("its readings are not whole")
        own = np.split(values, ends[:-1])
        grids = [_grid(each, own[number]) for number, each in enumerate(record.grids)]
    except (SafetensorError, KeyError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptStateError(f"not what the watcher remembers: {error}") from error
    return ShardState({str(grid.metric): grid for grid in grids}, tuple(record.outbox))


def _grid(record: _GridRecord, values: Floats) -> MetricState:
    metric = Metric.parse(record.metric)
    if len(values) != record.slots or record.start % metric.period:
        raise CorruptStateError(f"the slots of {metric} are not whole")
    course = IncidentState(record.incident, record.notified_until)
    return MetricState(metric, record.start, values, course, record.since)
