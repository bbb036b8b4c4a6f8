"""A tick of the schedule: the watch file, the fleet that it stands for, and a turn a shard."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import ConflictError, InvalidWatchFileError, ObjectNotFoundError
from registry.fleet import resolve
from registry.keys import SHARDS_KEY, WATCH_KEY
from registry.watch_file import WatchFile, parse_watch_file
from watch.errors import BusyError
from watch.fleet.turn import plan, shard_count
from watch.notebook import ATTEMPTS

if TYPE_CHECKING:
    from registry.fleet import Watched
    from registry.store import ObjectStore
    from watch.fleet.turn import ShardMessage

LISTED_SECONDS = 3_600
"""How long what selectors stand for is kept: ListMetrics costs money, and fleets change slowly."""


@dataclass(frozen=True)
class Resolved:
    """A watch file and what it stood for when it was last looked up."""

    etag: str
    watch_file: WatchFile
    fleet: list[Watched]
    at: float


class Planner:
    """Turns a tick into turns.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Seconds since 1970.
    """

    def __init__(
        self, cloudwatch: Callable[[], Any], store: ObjectStore, clock: Callable[[], float]
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._clock = clock
        self._resolved: Resolved | None = None

    def turns(self) -> list[ShardMessage]:
        """Return a turn a shard; none while no watch file is published.

        Raises
        ------
        InvalidWatchFileError
            If the published file is not what publishing writes.
        CloudWatchError, StoreUnavailableError
            If the fleet can't be looked up.
        """
        resolved = self._fleet()
        if resolved is None:
            return []
        of = self._cut(sum(len(watched.metrics) for watched in resolved.fleet))
        return plan(resolved.fleet, of, int(self._clock()))

    def _fleet(self) -> Resolved | None:
        known, now = self._resolved, self._clock()
        try:
            stored = self._store.read(WATCH_KEY, known.etag if known else None)
        except ObjectNotFoundError:
            return None
        if stored is not None:
            watch_file = parse_watch_file(read_json(stored.data))
            known = Resolved(stored.etag, watch_file, resolve(self._cloudwatch(), watch_file), now)
        elif known and now - known.at >= LISTED_SECONDS:
            fleet = resolve(self._cloudwatch(), known.watch_file)
            known = Resolved(known.etag, known.watch_file, fleet, now)
        self._resolved = known
        return known

    def _cut(self, metrics: int) -> int:
        """Return into how many shards so many metrics are cut, and remember it as it grows."""
        for _ in range(ATTEMPTS):
            try:
                stored = self._store.read(SHARDS_KEY)
            except ObjectNotFoundError:
                stored = None
            before = shards_known(stored.data) if stored else 1
            of = shard_count(metrics, at_least=before)
            if stored and of == before:
                return of
            try:
                self._store.write(
                    SHARDS_KEY, json.dumps({"of": of}).encode(), stored.etag if stored else None
                )
            except ConflictError:
                continue
            return of
        raise BusyError(f"{SHARDS_KEY}: others keep writing it")


def read_json(data: bytes) -> Any:
    """Return what the published watch file holds.

    Raises
    ------
    InvalidWatchFileError
        If it is no JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidWatchFileError(f"the published watch file is no JSON: {error}") from error


def shards_known(data: bytes) -> int:
    """Return into how many shards the fleet was cut; 1 where that can't be read."""
    try:
        of = json.loads(data)["of"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 1
    return of if type(of) is int and of > 0 and of & (of - 1) == 0 else 1
