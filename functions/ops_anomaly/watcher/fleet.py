"""The fleet: the metrics that a watch file stands for, each in a shard that is evaluated alone.

The list of them is one object in the bucket, so that all instances of the function decide by the
same: what one had listed half an hour ago and another had not would come and go at every tick.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import (
    ConflictError,
    InvalidWatchFileError,
    ObjectNotFoundError,
    ServiceError,
    translate_aws_errors,
)
from ops_anomaly.aws.objects import FLEET_KEY, WATCH_KEY
from ops_anomaly.validation import Contract
from ops_anomaly.watcher.watch_file import ExactEntry, Options, Selector, parse_watch_file

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.watch_file import WatchFile


SHARD_SIZE = 400
"""Metrics of a shard: few enough that its first evaluation fits one run of the function."""

RECENT = "PT3H"
MAX_RECENT_PERIOD = 3_600
"""ListMetrics can leave out what had no data for three hours: a vanished instance is no longer
listed then, where otherwise it would be for two weeks. Periods above an hour need the latter."""

PATTERN_CHARACTERS = frozenset("*?[")

LISTING_MS = 3_600_000
"""How long a list of metrics is used: ListMetrics costs money, and fleets change slowly."""

ABSENCE_MS = 86_400_000
"""A metric that is no longer listed is watched for another day: lists lag by up to 50 minutes, and
leave out what reports seldom."""


@dataclass(frozen=True)
class Watched:
    """An entry of the watch file and the metrics that it stands for.

    Attributes
    ----------
    taken : dict of Metric to str
        Metrics that it matches too, but an earlier entry has, with the name of that entry.
    """

    options: Options
    metrics: Sequence[Metric]
    taken: Mapping[Metric, str] = field(default_factory=dict)


class Member(Contract, frozen=True):
    """A metric of the fleet.

    Attributes
    ----------
    entry : int
        Position of its entry in `Fleet.entries`.
    listed_at : int
        When a list had it last, milliseconds.
    """

    metric: str
    entry: int
    shard: int
    listed_at: int


class Fleet(Contract, frozen=True):
    """The metrics that a watch file stands for.

    Attributes
    ----------
    watch_file : str
        ETag of the watch file.
    listed_at : int
        When its selectors were resolved, milliseconds.
    shards : int
        How many there are. Never fewer, as an incident of the last metric that leaves a shard is
        closed by a job of that shard.
    """

    watch_file: str
    listed_at: int
    shards: int
    entries: list[Options]
    members: list[Member]

    def __post_init__(self) -> None:
        for each in self.members:
            Metric.parse(each.metric)
            if not (0 <= each.entry < len(self.entries) and 0 <= each.shard < self.shards):
                raise ValueError(f"{each.metric} has no entry or no shard")

    def watched(self) -> list[Watched]:
        """Return every entry with its metrics."""
        metrics: list[list[Metric]] = [[] for _ in self.entries]
        for member in self.members:
            metrics[member.entry].append(Metric.parse(member.metric))
        return [Watched(*each) for each in zip(self.entries, metrics, strict=True)]

    def shard(self, number: int) -> dict[Metric, Options]:
        """Return the metrics of a shard."""
        return {
            Metric.parse(member.metric): self.entries[member.entry]
            for member in self.members
            if member.shard == number
        }


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
    owners: dict[Metric, str] = {}
    fleet = []
    for entry in watch_file.entries:
        named = (
            {Metric.parse(entry.metric)}
            if isinstance(entry, ExactEntry)
            else set(_select(cloudwatch, entry))
        )
        taken = {metric: owners[metric] for metric in sorted(named & owners.keys())}
        fleet.append(Watched(_options(entry), sorted(named - owners.keys()), taken))
        owners |= dict.fromkeys(named - owners.keys(), entry.name)
    return fleet


def listed_fleet(
    before: Fleet | None, listed: Sequence[Watched], watch_file: WatchFile, etag: str, now: int
) -> Fleet:
    """Return the fleet after its metrics have been listed again.

    A metric keeps its shard, and a new one is put into the first that is not full. One that is no
    longer listed stays for a day, unless no entry stands for it any more.

    Parameters
    ----------
    listed
        Of `resolve`.
    etag
        Of the watch file.
    now : int
        Milliseconds since 1970.
    """
    known = {member.metric: member for member in before.members} if before else {}
    seen = {text: member.listed_at for text, member in known.items()}
    seen |= {str(metric): now for watched in listed for metric in watched.metrics}
    entries = {}
    for text, listed_at in seen.items():
        # not the entry whose list had it: that of an earlier entry may have left it out
        entry = _entry_of(Metric.parse(text), watch_file)
        if entry is not None and now - listed_at < ABSENCE_MS:
            entries[text] = entry, listed_at
    sizes = Counter(known[text].shard for text in entries if text in known)
    members = []
    for text, (entry, listed_at) in entries.items():
        if text in known:
            shard = known[text].shard
        else:
            shard = next(number for number in count() if sizes[number] < SHARD_SIZE)
            sizes[shard] += 1
        members.append(Member(metric=text, entry=entry, shard=shard, listed_at=listed_at))
    return Fleet(
        watch_file=etag,
        listed_at=now,
        shards=max([before.shards if before else 1, *(each.shard + 1 for each in members)]),
        entries=[watched.options for watched in listed],
        members=members,
    )


def shard_count(metrics: int) -> int:
    """Return how many shards a fleet of so many metrics has.

    Examples
    --------
    >>> shard_count(50), shard_count(401), shard_count(10_000)
    (1, 2, 25)
    """
    return max(-(-metrics // SHARD_SIZE), 1)


class FleetList:
    """The stored list of the fleet: what this instance has read, until it changes.

    A cache of one object by its ETag: every `read` asks the bucket.

    Parameters
    ----------
    on_corrupt
        Called with the key of a list that can't be read; it is made anew.
    """

    def __init__(self, store: ObjectStore, on_corrupt: Callable[[str], None]) -> None:
        self._store = store
        self._on_corrupt = on_corrupt
        self._etag: str | None = None
        self._fleet: Fleet | None = None

    def read(self) -> Fleet | None:
        """Return the fleet; None if it has never been listed, or the list is corrupt.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not respond.
        """
        try:
            stored = self._store.read(FLEET_KEY, self._etag)
        except ObjectNotFoundError:
            self._etag = self._fleet = None
            return None
        if stored is not None:
            self._etag = stored.etag
            try:
                self._fleet = msgspec.json.decode(stored.data, type=Fleet)
            except (ValueError, RecursionError):
                self._fleet = None
                self._on_corrupt(FLEET_KEY)
        return self._fleet

    def write(self, fleet: Fleet) -> Fleet:
        """Store the fleet; return it, or the one that another instance has stored since `read`.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not respond.
        """
        try:
            self._etag = self._store.write(FLEET_KEY, msgspec.json.encode(fleet), self._etag)
            self._fleet = fleet
        except ConflictError:
            return self.read() or fleet
        return fleet


class Planner:
    """Keeps the list of the fleet up to date.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Milliseconds since 1970.
    on_outdated
        Called with the error if the fleet can't be listed again: the last list is used on.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        fleet: FleetList,
        clock: Callable[[], int],
        on_outdated: Callable[[Exception], None],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._list = fleet
        self._clock = clock
        self._on_outdated = on_outdated

    def fleet(self) -> Fleet | None:
        """Return the fleet, listed again if the watch file has changed or an hour has passed.

        None while no watch file has ever been published: one that is gone is watched on by the last
        list.

        Raises
        ------
        InvalidWatchFileError
            If the published file is not what publishing writes, and there is no list.
        ServiceError
            If the fleet can't be listed, and there is no list.
        StoreUnavailableError
            If the bucket does not respond.
        """
        known, now = self._list.read(), self._clock()
        is_recent = known is not None and now - known.listed_at < LISTING_MS
        try:
            stored = self._store.read(WATCH_KEY, known.watch_file if known and is_recent else None)
        except ObjectNotFoundError as error:
            if known:  # it has been deleted, or may no longer be read
                self._on_outdated(error)
            return known
        if stored is None:
            return known
        try:
            watch_file = parse_watch_file(_read_json(stored.data))
            listed = resolve(self._cloudwatch(), watch_file)
        except (InvalidWatchFileError, ServiceError) as error:
            if known is None:
                raise
            self._on_outdated(error)
            return known
        return self._list.write(listed_fleet(known, listed, watch_file, stored.etag, now))


def _options(entry: ExactEntry | Selector) -> Options:
    """Return how an entry's metrics are watched; those of a selector are a group, if no other."""
    options = {name: getattr(entry, name) for name in Options.__struct_fields__}
    if isinstance(entry, Selector) and not entry.group:
        options["group"] = entry.name
    return Options(**options)


def _entry_of(metric: Metric, watch_file: WatchFile) -> int | None:
    """Return the position of the first entry that stands for a metric."""
    for number, entry in enumerate(watch_file.entries):
        if isinstance(entry, ExactEntry):
            stands_for = Metric.parse(entry.metric) == metric
        else:
            kind = (metric.namespace, metric.statistic, metric.period)
            stands_for = kind == (entry.namespace, entry.statistic, entry.period) and _matches(
                entry, metric.name, dict(metric.dimensions)
            )
        if stands_for:
            return number
    return None


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
