"""Cutting the fleet into shards that are looked at in parallel."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from registry.fleet import Watched
from registry.metric import Metric
from registry.watch_file import Options

AIMED = 400
"""Metrics of a shard, on average: chance makes some larger, and none much over 500."""


class ShardEntry(BaseModel):
    """An entry of the watch file, and those of its metrics that belong to the shard."""

    model_config = ConfigDict(extra="forbid")

    options: Options
    metrics: list[str]


class ShardMessage(BaseModel):
    """What one shard's turn is: all that a watcher needs to know.

    Attributes
    ----------
    of, shard : int
        Into how many the fleet is cut, and which one this is.
    time : int
        When it was planned, in seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid")

    of: int = Field(ge=1)
    shard: int = Field(ge=0)
    time: int
    entries: list[ShardEntry]

    @property
    def fleet(self) -> list[Watched]:
        """The shard's metrics, by entry."""
        return [
            Watched(entry.options, [Metric.parse(text) for text in entry.metrics])
            for entry in self.entries
        ]


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
