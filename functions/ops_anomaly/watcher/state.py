"""What the watcher keeps of a shard between evaluations: readings, anomalies, and checkpoints.

The shard's state is one object in the bucket. Checkpoints of its detectors are a cache: updating a
detector with two weeks of readings costs fifty times as much as with one, so an instance keeps its
detectors in memory, and now and then leaves them in the bucket for others to resume from.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import ObjectNotFoundError, StoreUnavailableError
from ops_anomaly.aws.objects import checkpoint_key
from ops_anomaly.charts import Chart
from ops_anomaly.detection.types import FLOAT32_MAX, CorruptArtifactError, RawTensor, Series
from ops_anomaly.validation import Contract
from ops_anomaly.watcher.anomalies import Anomaly, AnomalyState, ReportedAnomaly
from ops_anomaly.watcher.outbox import CorruptStateError
from ops_anomaly.watcher.settling import READ_SECONDS, read_delays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.detection.types import Detection, Detector, Floats, Mask

    Bounds = NDArray[np.float32]


LATE_PERIODS = 12
"""Periods that are read again each time: a reading that comes or changes this late is evaluated."""

CORRECTION = 0.01
"""A value that changes by less than this share is not evaluated again."""

FIRST_EVALUATION_PERIODS = 3
"""Of a new metric the last periods are evaluated; those before only warm the detector up."""

CHART_PERIODS = 96
"""The last periods, of which is kept what was expected: eight hours of 5 minutes, for a chart."""

CACHE_BYTES = 384 * 2**20
"""Bound on the detectors an instance keeps: of 500 metrics with four weeks of 5 minutes each."""


@dataclass(frozen=True)
class MetricState:
    """The last readings of a metric, and its anomaly.

    Attributes
    ----------
    start : int
        When the first period begins, milliseconds: a multiple of the period.
    values : (n,) float64
        One a period up to where CloudWatch has been read; NaN where it had none.
    since : int
        Time of the first reading that is evaluated; those before only warm the detector up.
    read_at : int
        When CloudWatch was read last.
    bounds : (3, CHART_PERIODS) float32
        What was expected in the last periods, and its lower and upper bounds; NaN where unknown.
    """

    metric: Metric
    start: int
    values: Floats
    anomalies: AnomalyState = field(default_factory=AnomalyState)
    since: int = 0
    read_at: int = 0
    bounds: Bounds = field(default_factory=lambda: unknown_bounds(CHART_PERIODS))

    @classmethod
    def empty(cls, metric: Metric) -> Self:
        """Return the state of a metric that has not been read yet."""
        return cls(metric, 0, np.empty(0))

    @property
    def step(self) -> int:
        """The metric's period in milliseconds."""
        return 1000 * self.metric.period

    @property
    def end(self) -> int:
        """Up to where CloudWatch has been read, milliseconds."""
        return self.start + len(self.values) * self.step

    @property
    def series(self) -> Series:
        """The readings."""
        positions = np.flatnonzero(~np.isnan(self.values))
        return Series(self.start + positions * self.step, self.values[positions])

    def due(self, now: int, settle: int, periods: int) -> tuple[int, int] | None:
        """Return from where to where CloudWatch is to be read now, or None if nothing is due.

        Periods are read at `settling.read_delays`.

        Parameters
        ----------
        now : int
            Milliseconds since 1970.
        settle : int
            How long after a period's end its value is complete, in seconds.
        periods : int
            How many periods are kept.
        """
        delays = [1000 * each for each in read_delays(self.metric.period, settle)]
        if all((now - each) // self.step <= (self.read_at - each) // self.step for each in delays):
            return None
        end = (now - 1000 * READ_SECONDS) // self.step * self.step
        unread = (end - self.end) // self.step
        unsettled = -(-settle // self.metric.period)
        again = max(unsettled, LATE_PERIODS)
        wanted = periods if len(self.values) < periods else min(unread + again, periods)
        return end - wanted * self.step, end

    def with_readings(
        self, readings: Series, end: int, periods: int, now: int
    ) -> tuple[MetricState, Mask]:
        """Add readings of CloudWatch; one that it has corrected replaces the earlier value.

        Parameters
        ----------
        end : int
            Up to where CloudWatch was read.
        periods : int
            How many periods are kept.
        now : int
            When it was read.

        Returns
        -------
        MetricState
        (m,) bool
            Which of its readings are new, or have been corrected materially; none of those that
            came too late to be evaluated.
        """
        if len(self.values):
            evaluate_from, anomalies = self.end - LATE_PERIODS * self.step, self.anomalies
        else:
            evaluate_from = end - FIRST_EVALUATION_PERIODS * self.step
            anomalies = AnomalyState(evaluated_until=evaluate_from)
        known, received = (self._on_grid(each, end, periods) for each in (self.series, readings))
        values = np.where(np.isnan(received), known, received)
        after = replace(
            self,
            start=end - periods * self.step,
            values=values,
            anomalies=anomalies,
            since=self.since or evaluate_from,
            read_at=now,
            bounds=self._bounds_until(end),
        )
        # NaN, which is no reading before, is not close to anything
        is_close = np.abs(values - known) <= CORRECTION * np.maximum(np.abs(values), np.abs(known))
        is_changed = ~is_close[~np.isnan(values)]
        return after, is_changed & (after.series.times >= evaluate_from)

    def with_bounds(self, series: Series, detection: Detection) -> MetricState:
        """Keep what was expected of readings."""
        positions = (series.times - self.end) // self.step + CHART_PERIODS
        is_kept = positions >= 0
        bounds = self.bounds.copy()
        expected = np.stack([detection.expected, detection.lower, detection.upper])
        bounds[:, positions[is_kept]] = expected[:, is_kept]
        return replace(self, bounds=bounds)

    def chart(self, anomaly: Anomaly) -> Chart:
        """Return what is drawn of an anomaly: the last periods."""
        values = self.values[-CHART_PERIODS:]
        start = self.end - len(values) * self.step
        times = start + self.step * np.arange(len(values))
        expected, lower, upper = self.bounds[:, CHART_PERIODS - len(values) :].astype(float)
        is_inside = (times >= anomaly.first_seen) & (times <= anomaly.last_seen)
        is_beyond = ~((values >= lower) & (values <= upper)) & ~np.isnan(values)
        return Chart(
            start=start,
            step=self.step,
            values=_written(values),
            expected=_written(expected),
            lower=_written(lower),
            upper=_written(upper),
            unusual=np.flatnonzero(is_inside & is_beyond).tolist(),
        )

    def _bounds_until(self, end: int) -> Bounds:
        """Return the bounds of the last periods up to `end`."""
        passed = min((end - self.end) // self.step, CHART_PERIODS) if len(self.values) else 0
        return np.concatenate([self.bounds[:, passed:], unknown_bounds(passed)], axis=1)

    def _on_grid(self, series: Series, end: int, periods: int) -> Floats:
        """Return the values of the last periods up to `end`; NaN where there is none."""
        values = np.full(periods, np.nan)
        positions = (series.times - end) // self.step + periods
        is_kept = (positions >= 0) & (positions < periods)
        values[positions[is_kept]] = series.values[is_kept]
        return values


def unknown_bounds(periods: int) -> Bounds:
    """Return the bounds of periods of which nothing was expected: (3, periods)."""
    return np.full((3, periods), np.nan, np.float32)


def _written(values: Floats) -> list[float | None]:
    """Return values as charts have them: NaN is None; digits that nobody sees are left out."""
    return [None if math.isnan(each) else float(f"{each:.5g}") for each in values.tolist()]


@dataclass(frozen=True)
class ShardState:
    """The state of a shard of the fleet.

    Attributes
    ----------
    metrics : dict of str to MetricState
        By the metric's text.
    reported : dict of str to ReportedAnomaly
        What is open, and what closed within a day, by the anomaly's id.
    """

    metrics: Mapping[str, MetricState] = field(default_factory=dict)
    reported: Mapping[str, ReportedAnomaly] = field(default_factory=dict)

    def of(self, metric: Metric) -> MetricState:
        """Return the state of a metric; empty if it is new."""
        return self.metrics.get(str(metric)) or MetricState.empty(metric)


class _MetricRecord(Contract, frozen=True):
    metric: str
    start: int
    periods: int
    since: int
    read_at: int
    notified_until: int
    evaluated_until: int
    anomaly: Anomaly | None
    silence: Anomaly | None
    pending: Anomaly | None
    relapse: Anomaly | None


class _ShardRecord(Contract, frozen=True):
    """All of it but the readings, which are one array, one metric after the other."""

    metrics: list[_MetricRecord]
    reported: list[ReportedAnomaly]


def encode_shard_state(state: ShardState) -> bytes:
    """Return the object."""
    metrics = state.metrics.values()
    record = _ShardRecord(
        metrics=[
            _MetricRecord(
                metric=str(each.metric),
                start=each.start,
                periods=len(each.values),
                since=each.since,
                read_at=each.read_at,
                notified_until=each.anomalies.notified_until,
                evaluated_until=each.anomalies.evaluated_until,
                anomaly=each.anomalies.anomaly,
                silence=each.anomalies.silence,
                pending=each.anomalies.pending,
                relapse=each.anomalies.relapse,
            )
            for each in metrics
        ],
        reported=list(state.reported.values()),
    )
    values = np.concatenate([np.empty(0), *(each.values for each in metrics)])
    bounds = np.concatenate([unknown_bounds(0), *(each.bounds for each in metrics)], axis=1)
    return save({"record": _json_tensor(record), "values": values, "bounds": bounds})


def decode_shard_state(data: bytes) -> ShardState:
    """Read the object.

    Raises
    ------
    CorruptStateError
        If it is anything but what `encode_shard_state` writes.
    """
    try:
        tensors = _tensors(data)
        record = msgspec.json.decode(tensors["record"].data, type=_ShardRecord)
        values = np.frombuffer(tensors["values"].data, "<f8")
        ends = np.cumsum([each.periods for each in record.metrics], dtype=np.int64)
        if len(values) != (ends[-1] if len(ends) else 0):
            raise CorruptStateError(f"{len(values)} readings are not those of its metrics")
        if (np.abs(values) > FLOAT32_MAX).any():
            raise CorruptStateError("a reading is out of range")
        bounds = np.frombuffer(tensors["bounds"].data, "<f4").reshape(3, -1, CHART_PERIODS)
        if bounds.shape[1] != len(record.metrics):
            raise CorruptStateError("its bounds are not those of its metrics")
        parts = np.split(values, ends[:-1])
        metrics = [
            _metric_state(each, part, bounds[:, position])
            for position, (each, part) in enumerate(zip(record.metrics, parts, strict=False))
        ]
    except (SafetensorError, KeyError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptStateError(f"not the state of a shard: {error}") from error
    return ShardState(
        {str(each.metric): each for each in metrics},
        {each.anomaly.id: each for each in record.reported},
    )


def _metric_state(record: _MetricRecord, values: Floats, bounds: Bounds) -> MetricState:
    metric = Metric.parse(record.metric)
    anomalies = AnomalyState(
        anomaly=record.anomaly,
        silence=record.silence,
        pending=record.pending,
        relapse=record.relapse,
        notified_until=record.notified_until,
        evaluated_until=record.evaluated_until,
    )
    state = MetricState(
        metric, record.start, values, anomalies, record.since, record.read_at, bounds
    )
    if len(values) != record.periods or record.start % state.step:
        raise CorruptStateError(f"the readings of {metric} are malformed")
    return state


class StoredHistory(NamedTuple):
    """A detector's checkpoint as it was read from the bucket."""

    tensors: dict[str, RawTensor]
    parameters: dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """How far a metric's detector has been updated.

    Attributes
    ----------
    version : str or None
        Of the model; None for a metric without one.
    sensitivity : float or None
        With which it was updated; None for the detector's own threshold.
    until : int
        Time of the last reading, milliseconds.
    history : Detector or StoredHistory
        The detector at that point; or, of another instance, its stored history.
    left_out : frozenset of str
        Ids of the anomalies that people have kept out of its history.
    """

    version: str | None
    sensitivity: float | None
    until: int
    history: Detector | StoredHistory
    left_out: frozenset[str] = frozenset()

    def fits(
        self,
        version: str | None,
        sensitivity: float | None,
        before: int,
        left_out: frozenset[str] = frozenset(),
    ) -> bool:
        """Return whether a detector of this kind can resume here for readings from a time on.

        What was left out can't be put back, as after feedback that was undone.
        """
        is_same = (self.version, self.sensitivity) == (version, sensitivity)
        return is_same and self.until < before and self.left_out <= left_out

    def resume(self, model: Detector) -> Detector:
        """Return the detector as it was.

        Parameters
        ----------
        model
            The detector of the same version, with any history.

        Raises
        ------
        ArtifactError
            If the stored history is not one of this detector.
        """
        if not isinstance(self.history, StoredHistory):
            return self.history
        detector = model.resume(*self.history)
        if detector.last_timestamp not in (None, self.until):
            raise CorruptArtifactError("the checkpoint ends at another time than its record says")
        return detector

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        if isinstance(self.history, StoredHistory):
            return sum(len(tensor.data) for tensor in self.history.tensors.values())
        return sum(array.nbytes for array in self.history.checkpoint().tensors.values())


class CheckpointCache:
    """The checkpoints that an instance keeps, by metric; the least recently used go first.

    A detector that is updated reading by reading decides, to the bit, as one that is given all of
    them together: what is kept here saves time. One that starts over may differ a little, as it
    knows what CloudWatch has corrected since, and not what came before the periods that are kept.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[Checkpoint, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, metric: str) -> bool:
        return metric in self._entries

    def get(self, metric: str) -> Checkpoint | None:
        """Return the checkpoint of a metric, if there is one."""
        entry = self._entries.get(metric)
        return entry[0] if entry else None

    def put(self, metric: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint: the state that it belongs to has been committed."""
        self._drop(metric)
        self._entries[metric] = checkpoint, checkpoint.size
        self._bytes += checkpoint.size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, metric: str) -> None:
        _, size = self._entries.pop(metric, (None, 0))
        self._bytes -= size


class _CheckpointRecord(Contract, frozen=True):
    metric: str
    version: str | None
    sensitivity: float | None
    until: int
    left_out: list[str]
    parameters: dict[str, float]


class CheckpointStore:
    """The checkpoints of each shard, as an object in the bucket.

    A cache: what can't be read or written is done without.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, shard: int) -> dict[str, Checkpoint]:
        """Return the checkpoints of a shard, by metric."""
        try:
            stored = self._store.read(checkpoint_key(shard))
            return decode_checkpoints(stored.data) if stored else {}
        except (ObjectNotFoundError, StoreUnavailableError, CorruptStateError):
            return {}

    def write(self, shard: int, checkpoints: Mapping[str, Checkpoint]) -> None:
        """Leave checkpoints for other instances."""
        try:
            self._store.overwrite(checkpoint_key(shard), encode_checkpoints(checkpoints))
        except StoreUnavailableError:
            return  # they start over, and leave theirs


def encode_checkpoints(checkpoints: Mapping[str, Checkpoint]) -> bytes:
    """Return the object: the arrays of all detectors, named by position and name."""
    records: list[_CheckpointRecord] = []
    tensors: dict[str, Any] = {}
    for metric, each in checkpoints.items():
        if isinstance(each.history, StoredHistory):
            continue  # it comes from there
        stored = each.history.checkpoint()
        records.append(
            _CheckpointRecord(
                metric=metric,
                version=each.version,
                sensitivity=each.sensitivity,
                until=each.until,
                left_out=sorted(each.left_out),
                parameters=stored.parameters,
            )
        )
        position = len(records) - 1
        tensors |= {f"{position}/{name}": array for name, array in stored.tensors.items()}
    return save({"record": _json_tensor(records), **tensors})


def decode_checkpoints(data: bytes) -> dict[str, Checkpoint]:
    """Read the object.

    Raises
    ------
    CorruptStateError
        If it is not of the form that `encode_checkpoints` writes. What a detector makes of its
        arrays shows when it resumes.
    """
    try:
        tensors = _tensors(data)
        records = msgspec.json.decode(tensors.pop("record").data, type=list[_CheckpointRecord])
        histories: list[dict[str, RawTensor]] = [{} for _ in records]
        for key, tensor in tensors.items():
            position, _, name = key.partition("/")
            histories[int(position)][name] = tensor
    except (SafetensorError, KeyError, IndexError, ValueError, RecursionError) as error:
        raise CorruptStateError(f"not the checkpoints of a shard: {error}") from error
    return {
        each.metric: Checkpoint(
            version=each.version,
            sensitivity=each.sensitivity,
            until=each.until,
            history=StoredHistory(history, each.parameters),
            left_out=frozenset(each.left_out),
        )
        for each, history in zip(records, histories, strict=True)
    }


def _json_tensor(record: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(msgspec.json.encode(record), np.uint8)


def _tensors(data: bytes) -> dict[str, RawTensor]:
    return {
        name: RawTensor(tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for name, tensor in deserialize(data)  # type: ignore[no-untyped-call] # its stub has no types
    }
