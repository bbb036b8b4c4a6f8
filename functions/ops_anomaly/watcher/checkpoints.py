"""Where detectors have got to: kept in memory, so that a look need not follow two weeks again.

Where the detectors of a shard have got to, as an object in the bucket: a cache, and no more.

Following two weeks of a metric costs fifty times what its next reading does. In a large fleet any
shard may come to any instance of the function, and most of them find nothing warm. So what one
instance followed is left in the bucket now and then, for others to go on from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ops_anomaly.aws.errors import ObjectNotFoundError, StoreUnavailableError
from ops_anomaly.aws.objects import checkpoint_key
from ops_anomaly.detection.alerting import AlertState
from ops_anomaly.detection.contextual_forest import MAX_NATS
from ops_anomaly.detection.history import PAST_LAYOUT, Past
from ops_anomaly.detection.tensors import NUMPY_DTYPES
from ops_anomaly.validation import Contract

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.detection.history import Past


WARM_BYTES = 384 * 2**20
"""Bound on what a function keeps: of 500 metrics with four weeks of 5 minutes each."""


@dataclass(frozen=True)
class WarmDetector:
    """How far a contextual forest has followed a metric.

    Attributes
    ----------
    version : str or None
        Of the model; None where the metric is judged by its own history.
    threshold : float or None
        Which it followed with; None is the model's own.
    until : int
        Time of the last reading, in seconds since 1970.
    """

    version: str | None
    threshold: float | None
    until: int
    past: Past
    alert_state: AlertState

    def goes_on(self, version: str | None, threshold: float | None, time: int) -> bool:
        """Tell whether a detector of this version and threshold can go on here at that time."""
        return (self.version, self.threshold) == (version, threshold) and self.until < time


class CheckpointCache:
    """Where detectors have got to, by metric; the least recently used go first.

    A detector that follows reading by reading decides, to the bit, as one that is given all of
    them at once: what is kept here saves time. One that begins anew may differ a little, as it
    knows what CloudWatch has corrected since, and not what came before its grid.
    """

    def __init__(self, most_bytes: int = WARM_BYTES) -> None:
        self._most_bytes = most_bytes
        self._places: OrderedDict[str, WarmDetector] = OrderedDict()
        self._bytes = 0

    def __contains__(self, metric: str) -> bool:
        return metric in self._places

    def get(self, metric: str) -> WarmDetector | None:
        """Return where the metric's detector has got to, if that is known here."""
        return self._places.get(metric)

    def keep(self, metric: str, warm: WarmDetector) -> None:
        """Let the metric's next look begin here: what was followed has been noted."""
        self.forget(metric)
        self._places[metric] = warm
        self._bytes += warm.past.nbytes
        while self._bytes > self._most_bytes:
            self.forget(next(iter(self._places)))

    def forget(self, metric: str) -> None:
        """Drop what is kept of a metric."""
        dropped = self._places.pop(metric, None)
        self._bytes -= dropped.past.nbytes if dropped else 0


class _Place(Contract, frozen=True):
    metric: str
    version: str | None
    threshold: float | None
    until: int
    readings: Annotated[int, Meta(gt=0)]
    offset: Annotated[int, Meta(ge=0, lt=2**53)]
    onset: Annotated[int, Meta(ge=-1, lt=2**53)]
    boost: Annotated[float, Meta(ge=0, le=MAX_NATS)]
    last_alert: Annotated[int, Meta(ge=-1, lt=2**53)]
    is_notified: bool


class CheckpointStore:
    """The shelves of all shards. What can't be read or written is done without."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take(self, of: int, number: int) -> dict[str, WarmDetector]:
        """Return what was left there, by metric."""
        try:
            stored = self._store.read(checkpoint_key(of, number))
            return unpacked(stored.data) if stored else {}
        except (ObjectNotFoundError, StoreUnavailableError, ValueError, KeyError, SafetensorError):
            return {}

    def leave(self, of: int, number: int, places: Mapping[str, WarmDetector]) -> None:
        """Leave where the detectors have got to, for others."""
        try:
            self._store.overwrite(checkpoint_key(of, number), packed(places))
        except StoreUnavailableError:
            return  # the next look leaves its own


def packed(places: Mapping[str, WarmDetector]) -> bytes:
    """Return the object: the pasts of all metrics, one after the other, column by column."""
    pasts = [warm.past for warm in places.values()]
    nothing = Past.nothing()
    record = [
        _Place(
            metric=metric,
            version=warm.version,
            threshold=warm.threshold,
            until=warm.until,
            readings=len(warm.past.times),
            offset=warm.past.offset,
            onset=warm.past.onset,
            boost=warm.alert_state.boost,
            last_alert=warm.alert_state.last_alert,
            is_notified=warm.alert_state.is_notified,
        )
        for metric, warm in places.items()
    ]
    columns = {
        name: np.concatenate([getattr(past, name) for past in (nothing, *pasts)])
        for name in PAST_LAYOUT
    }
    return save({"record": np.frombuffer(msgspec.json.encode(record), np.uint8), **columns})


def unpacked(data: bytes) -> dict[str, WarmDetector]:
    """Read the object.

    Raises
    ------
    SafetensorError, ValueError, KeyError
        If it is anything but what `packed` writes.
    """
    tensors = {name: tensor["data"] for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call] # its stub has no types
    columns = {
        name: np.frombuffer(tensors[name], NUMPY_DTYPES[dtype]).reshape(-1, *shape[1:])
        for name, (dtype, shape) in PAST_LAYOUT.items()
    }
    places, begin = {}, 0
    for each in msgspec.json.decode(tensors["record"], type=list[_Place]):
        own = slice(begin, begin + each.readings)
        past = Past(each.offset, each.onset, **{name: c[own] for name, c in columns.items()})
        past.check()
        if len(past.times) != each.readings or each.last_alert >= past.count:
            raise ValueError(f"the past of {each.metric} is not whole")
        alert_state = AlertState(each.boost, each.last_alert, each.is_notified)
        places[each.metric] = WarmDetector(
            each.version, each.threshold, each.until, past, alert_state
        )
        begin = own.stop
    return places
