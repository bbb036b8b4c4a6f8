"""Where the detectors of a shard have got to, as an object in the bucket: a cache, and no more.

Following two weeks of a metric costs fifty times what its next reading does. In a large fleet any
shard may come to any instance of the function, and most of them find nothing warm. So what one
instance followed is left in the bucket now and then, for others to go on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from detector.alerts import Vigilance
from detector.contextual_forest import MOST_NATS
from detector.past import PAST_LAYOUT, Past
from detector.tensors import NUMPY_DTYPES
from registry.contract import Contract
from registry.errors import ObjectNotFoundError, StoreUnavailableError
from registry.keys import shelf_key
from watch.fleet.warm import Warm

if TYPE_CHECKING:
    from registry.store import ObjectStore


class _Place(Contract, frozen=True):
    metric: str
    version: str | None
    threshold: float | None
    until: int
    readings: Annotated[int, Meta(gt=0)]
    offset: Annotated[int, Meta(ge=0, lt=2**53)]
    onset: Annotated[int, Meta(ge=-1, lt=2**53)]
    habituation: Annotated[float, Meta(ge=0, le=MOST_NATS)]
    last_alert: Annotated[int, Meta(ge=-1, lt=2**53)]
    is_told: bool


class Shelf:
    """The shelves of all shards. What can't be read or written is done without."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take(self, of: int, number: int) -> dict[str, Warm]:
        """Return what was left there, by metric."""
        try:
            stored = self._store.read(shelf_key(of, number))
            return unpacked(stored.data) if stored else {}
        except (ObjectNotFoundError, StoreUnavailableError, ValueError, KeyError, SafetensorError):
            return {}

    def leave(self, of: int, number: int, places: Mapping[str, Warm]) -> None:
        """Leave where the detectors have got to, for others."""
        try:
            self._store.overwrite(shelf_key(of, number), packed(places))
        except StoreUnavailableError:
            return  # the next look leaves its own


def packed(places: Mapping[str, Warm]) -> bytes:
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
            habituation=warm.vigilance.habituation,
            last_alert=warm.vigilance.last_alert,
            is_told=warm.vigilance.is_told,
        )
        for metric, warm in places.items()
    ]
    columns = {
        name: np.concatenate([getattr(past, name) for past in (nothing, *pasts)])
        for name in PAST_LAYOUT
    }
    return save({"record": np.frombuffer(msgspec.json.encode(record), np.uint8), **columns})


def unpacked(data: bytes) -> dict[str, Warm]:
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
        vigilance = Vigilance(each.habituation, each.last_alert, each.is_told)
        places[each.metric] = Warm(each.version, each.threshold, each.until, past, vigilance)
        begin = own.stop
    return places
