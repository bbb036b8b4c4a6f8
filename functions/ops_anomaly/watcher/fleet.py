"""The fleet: the metrics that a watch file stands for, divided into shards that run in parallel."""

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
from ops_anomaly.watcher.outbox import ATTEMPTS, BusyError
from ops_anomaly.watcher.watch_file import ExactEntry, Options, Selector, parse_watch_file

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.watch_file import WatchFile


TARGET_METRICS = 400
"""Metrics of a shard on average: by chance some are larger, and none much above 500."""

RECENT = "PT3H"
MAX_RECENT_PERIOD = 3_600
"""ListMetrics can leave out what had no data for three hours: a vanished instance leaves the fleet
then, where otherwise it would be listed for two weeks. Periods above an hour need the latter."""

PATTERN_CHARACTERS = frozenset("*?[")

LISTING_MS = 3_600_000
"""How long a listing of metrics is used: ListMetrics costs money, and fleets change slowly."""


@dataclass(frozen=True)
class Watched:
    """An entry of the watch file and the metrics that it stands for."""

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
        If ListMetrics is not allowed or does not respond.
    """
    taken: set[Metric] = set()
    fleet = []
    for entry in watch_file.entries:
        named = (
            {Metric.parse(entry.metric)}
            if isinstance(entry, ExactEntry)
            else set(_select(cloudwatch, entry))
        )
        options = Options(**{name: getattr(entry, name) for name in Options.__struct_fields__})
        fleet.append(Watched(options, sorted(named - taken)))
        taken |= named
    return fleet


def shard_count(metrics: int, at_least: int = 1) -> int:
    """Return into how many shards a fleet is divided: a power of two.

    It never shrinks, and doubles, so that a new shard's state is part of that of one before.

    Examples
    --------
    >>> shard_count(50), shard_count(401), shard_count(10_000), shard_count(50, at_least=8)
    (1, 2, 32, 8)
    """
    count = at_least
    while count * TARGET_METRICS < metrics:
        count *= 2
    return count


def shard_of(metric: Metric, of: int) -> int:
    """Return the shard that a metric belongs to; the same in every process."""
    return zlib.crc32(str(metric).encode()) % of


class ShardEntry(Contract, frozen=True):
    """An entry of the watch file, and those of its metrics that belong to the shard."""

    options: Options
    metrics: list[str]


class ShardJob(Contract, frozen=True):
    """One evaluation of one shard, as a message in the queue.

    Attributes
    ----------
    of, shard : int
        Into how many shards the fleet is divided, and which one this is.
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


def encode_shard_job(job: ShardJob) -> str:
    """Return the body of the message."""
    return msgspec.json.encode(job).decode()


def decode_shard_job(body: str) -> ShardJob:
    """Read the body of a message.

    Raises
    ------
    ValueError
        If it is anything but what `encode_shard_job` writes.
    """
    return msgspec.json.decode(body, type=ShardJob)


def shard_jobs(fleet: Sequence[Watched], of: int, time: int) -> list[ShardJob]:
    """Return a job for each shard, empty ones too: their last metrics may have left the fleet."""
    shards: list[list[ShardEntry]] = [[] for _ in range(of)]
    for watched in fleet:
        by_shard: dict[int, list[str]] = defaultdict(list)
        for metric in watched.metrics:
            by_shard[shard_of(metric, of)].append(str(metric))
        for shard, metrics in by_shard.items():
            shards[shard].append(ShardEntry(options=watched.options, metrics=metrics))
    return [
        ShardJob(of=of, shard=shard, time=time, entries=entries)
        for shard, entries in enumerate(shards)
    ]


@dataclass(frozen=True)
class Listing:
    """A watch file and the metrics that it stood for at a time, milliseconds."""

    etag: str
    watch_file: WatchFile
    fleet: list[Watched]
    at: int


class Planner:
    """Turns a tick of the schedule into shard jobs.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Milliseconds since 1970.
    """

    def __init__(
        self, cloudwatch: Callable[[], Any], store: ObjectStore, clock: Callable[[], int]
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._clock = clock
        self._listing: Listing | None = None

    def plan(self) -> list[ShardJob]:
        """Return a job for each shard; none while no watch file is published.

        Raises
        ------
        InvalidWatchFileError
            If the published file is not what publishing writes.
        ServiceError, StoreUnavailableError, BusyError
            If the fleet can't be listed.
        """
        fleet = self._fleet()
        if fleet is None:
            return []
        of = self._shards(sum(len(watched.metrics) for watched in fleet))
        return shard_jobs(fleet, of, self._clock() // 1000)

    def _fleet(self) -> list[Watched] | None:
        """Return the fleet, listed again if the watch file has changed or an hour has passed."""
        known, now = self._listing, self._clock()
        try:
            stored = self._store.read(WATCH_KEY, known.etag if known else None)
        except ObjectNotFoundError:
            return None
        if stored is not None:
            watch_file = parse_watch_file(_read_json(stored.data))
            known = Listing(stored.etag, watch_file, resolve(self._cloudwatch(), watch_file), now)
        elif known and now - known.at >= LISTING_MS:
            fleet = resolve(self._cloudwatch(), known.watch_file)
            known = Listing(known.etag, known.watch_file, fleet, now)
        self._listing = known
        return known.fleet if known else None

    def _shards(self, metrics: int) -> int:
        """Return into how many shards a fleet is divided, and store that number as it grows."""
        for _ in range(ATTEMPTS):
            try:
                stored = self._store.read(SHARDS_KEY)
            except ObjectNotFoundError:
                stored = None
            before = _stored_shards(stored.data) if stored else 1
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
        raise BusyError(f"{SHARDS_KEY} is being written by others")


def _select(cloudwatch: Any, selector: Selector) -> Iterator[Metric]:
    """Yield the metrics that a selector stands for."""
    request: dict[str, Any] = {"Namespace": selector.namespace}
    if _is_exact(selector.metric):
        request["MetricName"] = selector.metric
    request["Dimensions"] = [
        {"Name": name} | ({"Value": pattern} if _is_exact(pattern) else {})
        for name, pattern in selector.dimensions.items()
    ]
    if selector.period <= MAX_RECENT_PERIOD:
        request["RecentlyActive"] = RECENT
    with translate_aws_errors(f"listing the metrics of {selector.name}", "cloudwatch:ListMetrics"):
        for page in cloudwatch.get_paginator("list_metrics").paginate(**request):
            for found in page["Metrics"]:
                dimensions = {pair["Name"]: pair["Value"] for pair in found["Dimensions"]}
                if _matches(selector, found["MetricName"], dimensions):
                    yield Metric(
                        selector.namespace,
                        found["MetricName"],
                        tuple(dimensions.items()),
                        selector.statistic,
                        selector.period,
                    )


def _is_exact(pattern: str) -> bool:
    return not PATTERN_CHARACTERS & set(pattern)


def _matches(selector: Selector, name: str, dimensions: dict[str, str]) -> bool:
    return (
        fnmatchcase(name, selector.metric)
        and dimensions.keys() == selector.dimensions.keys()
        and all(fnmatchcase(dimensions[key], p) for key, p in selector.dimensions.items())
    )


def _read_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidWatchFileError(f"the published watch file is not JSON: {error}") from error


def _stored_shards(data: bytes) -> int:
    """Return the stored number of shards; 1 if it is malformed."""
    try:
        of = json.loads(data)["of"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 1
    return of if type(of) is int and of > 0 and of & (of - 1) == 0 else 1
