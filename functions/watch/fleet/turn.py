"""Cutting the fleet into shards that are looked at in parallel."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from registry.contract import Contract
from registry.fleet import Watched
from registry.metric import Metric
from registry.watch_file import Options

AIMED = 400
"""Metrics of a shard, on average: chance makes some larger, and none much over 500."""


class ShardEntry(Contract, frozen=True):
    """An entry of the watch file, and those of its metrics that belong to the shard."""

    options: Options
    metrics: list[str]


class ShardMessage(Contract, frozen=True):
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


def write_turn(message: ShardMessage) -> str:
    """Return the body of the message in the queue."""
    return msgspec.json.encode(message).decode()


def read_turn(body: str) -> ShardMessage:
    """Read a message's body.

    Raises
    ------
    ValueError
        If it is anything but what `write_turn` writes.
    """
    return msgspec.json.decode(body, type=ShardMessage)


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


def plan(fleet: Sequence[Watched], of: int, time: int) -> list[ShardMessage]:
    """Return a message a shard, of empty ones too: their last metrics may have left the fleet."""
    shards: list[list[ShardEntry]] = [[] for _ in range(of)]
    for watched in fleet:
        own: dict[int, list[str]] = defaultdict(list)
        for metric in watched.metrics:
            own[shard_of(metric, of)].append(str(metric))
        for shard, metrics in own.items():
            shards[shard].append(ShardEntry(options=watched.options, metrics=metrics))
    return [
        ShardMessage(of=of, shard=shard, time=time, entries=entries)
        for shard, entries in enumerate(shards)
    ]
