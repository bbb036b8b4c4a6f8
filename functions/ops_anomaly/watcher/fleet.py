"""The fleet: what the entries of a watch file stand for at the moment.

Cutting the fleet into shards that are looked at in parallel.

A tick of the schedule: the watch file, the fleet that it stands for, and a turn a shard.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import (
    ConflictError,
    InvalidWatchFileError,
    ObjectNotFoundError,
    translate_aws_errors,
)
from ops_anomaly.aws.objects import SHARDS_KEY, WATCH_KEY
from ops_anomaly.validation import Contract
from ops_anomaly.watcher.documents import ATTEMPTS, BusyError
from ops_anomaly.watcher.watch_file import (
    ExactEntry,
    Options,
    Selector,
    WatchFile,
    parse_watch_file,
)

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.watch_file import WatchFile


RECENT = "PT3H"
LONGEST_RECENT_PERIOD = 3_600
"""ListMetrics can leave out what had no data for three hours: a vanished instance leaves the fleet,
where otherwise it would be listed for two weeks. What is written less than hourly needs those."""

PATTERN_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Watched:
    """An entry and the metrics that it stands for."""

    options: Options
    metrics: Sequence[Metric]


def resolve(cloudwatch: Any, watch_file: WatchFile) -> list[Watched]:
    """Return every entry with its metrics; each metric once, with the first entry that names it.

    Parameters
    ----------
    cloudwatch
        A client of boto3.

    Raises
    ------
    ServiceError
        If ListMetrics is not allowed or does not answer.
    """
    taken: set[Metric] = set()
    fleet = []
    for entry in watch_file.entries:
        named = (
            {Metric.parse(entry.metric)}
            if isinstance(entry, ExactEntry)
            else set(select(cloudwatch, entry))
        )
        options = Options(**{name: getattr(entry, name) for name in Options.__struct_fields__})
        fleet.append(Watched(options, sorted(named - taken)))
        taken |= named
    return fleet


def select(cloudwatch: Any, selector: Selector) -> Iterator[Metric]:
    """Yield the metrics that a selector stands for."""
    request: dict[str, Any] = {"Namespace": selector.namespace}
    if is_exact(selector.metric):
        request["MetricName"] = selector.metric
    request["Dimensions"] = [
        {"Name": name} | ({"Value": pattern} if is_exact(pattern) else {})
        for name, pattern in selector.dimensions.items()
    ]
    if selector.period <= LONGEST_RECENT_PERIOD:
        request["RecentlyActive"] = RECENT
    with translate_aws_errors(f"listing the metrics of {selector.name}", "cloudwatch:ListMetrics"):
        for page in cloudwatch.get_paginator("list_metrics").paginate(**request):
            for found in page["Metrics"]:
                dimensions = {pair["Name"]: pair["Value"] for pair in found["Dimensions"]}
                if matches(selector, found["MetricName"], dimensions):
                    yield Metric(
                        selector.namespace,
                        found["MetricName"],
                        tuple(dimensions.items()),
                        selector.statistic,
                        selector.period,
                    )


def is_exact(pattern: str) -> bool:
    """Tell whether a pattern stands for itself alone."""
    return not PATTERN_CHARACTERS & set(pattern)


def matches(selector: Selector, name: str, dimensions: dict[str, str]) -> bool:
    """Tell whether a listed metric is one of the selector's."""
    return (
        fnmatchcase(name, selector.metric)
        and dimensions.keys() == selector.dimensions.keys()
        and all(fnmatchcase(dimensions[key], p) for key, p in selector.dimensions.items())
    )


AIMED = 400
"""Metrics of a shard, on average: chance makes some larger, and none much over 500."""


class ShardEntry(Contract, frozen=True):
    """An entry of the watch file, and those of its metrics that belong to the shard."""

    options: Options
    metrics: list[str]


class ShardJob(Contract, frozen=True):
    """What one shard's turn is: all that a watcher needs to know.

    Attributes
    ----------
    of, shard : int
        Into how many the fleet is cut, and which one this is.
    time : int
        When it was planned, in seconds since 1970.
    """

    of: Annotated[int, Meta(ge=1)]
    shard: Annotated[int, Meta(ge=0)]
    time: int
    entries: list[ShardEntry]

    @property
    def fleet(self) -> list[Watched]:
        """The shard's metrics, by entry."""
        return [
            Watched(entry.options, [Metric.parse(text) for text in entry.metrics])
            for entry in self.entries
        ]


def encode_shard_job(message: ShardJob) -> str:
    """Return the body of the message in the queue."""
    return msgspec.json.encode(message).decode()


def decode_shard_job(body: str) -> ShardJob:
    """Read a message's body.

    Raises
    ------
    ValueError
        If it is anything but what `encode_shard_job` writes.
    """
    return msgspec.json.decode(body, type=ShardJob)


def shard_count(metrics: int, at_least: int = 1) -> int:
    """Return into how many shards so many metrics are cut: a power of two.

    It never shrinks, and doubles, so that a shard's memory is always that of half of one before.

    Examples
    --------
    >>> shard_count(50), shard_count(401), shard_count(10_000), shard_count(50, at_least=8)
    (1, 2, 32, 8)
    """
    count = at_least
    while count * AIMED < metrics:
        count *= 2
    return count


def shard_of(metric: Metric, of: int) -> int:
    """Return the shard that a metric belongs to; the same in every process."""
    return zlib.crc32(str(metric).encode()) % of


def plan(fleet: Sequence[Watched], of: int, time: int) -> list[ShardJob]:
    """Return a message a shard, of empty ones too: their last metrics may have left the fleet."""
    shards: list[list[ShardEntry]] = [[] for _ in range(of)]
    for watched in fleet:
        own: dict[int, list[str]] = defaultdict(list)
        for metric in watched.metrics:
            own[shard_of(metric, of)].append(str(metric))
        for shard, metrics in own.items():
            shards[shard].append(ShardEntry(options=watched.options, metrics=metrics))
    return [
        ShardJob(of=of, shard=shard, time=time, entries=entries)
        for shard, entries in enumerate(shards)
    ]


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
    """ShardJobs a tick into turns.

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

    def turns(self) -> list[ShardJob]:
        """Return a turn a shard; none while no watch file is published.

        Raises
        ------
        InvalidWatchFileError
            If the published file is not what publishing writes.
        ServiceError, StoreUnavailableError
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
