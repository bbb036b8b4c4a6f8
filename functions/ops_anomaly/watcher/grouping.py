"""Which anomalies belong together: those that begin within a few periods, and share something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ops_anomaly.aws.cloudwatch import Metric

if TYPE_CHECKING:
    from ops_anomaly.watcher.anomalies import ReportedAnomaly
    from ops_anomaly.watcher.watch_file import Options


GROUP_PERIODS = 3
"""Anomalies that begin within so many periods of each other may be one incident; as many as it
takes a metric to have recovered."""

ALWAYS = ("metric", "incident")
"""Kinds of what anomalies share that keep them together whenever they begin."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """An anomaly, and what decides with which others it belongs together.

    Attributes
    ----------
    incident : str or None
        Id of the open one that it is in.
    shared : set of tuple of str
        What others can have in common with it; a kind comes first.
    begin, reach : int
        When it began, and how far from there others may, milliseconds.
    """

    reported: ReportedAnomaly
    incident: str | None
    shared: frozenset[Key]
    begin: int
    reach: int

    def of_its_metric(self) -> Link:
        """Return the link that has nothing in common with other metrics."""
        return self._of(*ALWAYS)

    def of_its_incident(self) -> Link:
        """Return the link that has something in common with other members only."""
        return self._of("incident")

    def _of(self, *kinds: str) -> Link:
        return replace(self, shared=frozenset(key for key in self.shared if key[0] in kinds))


def shared(metric: Metric, options: Options | None) -> set[Key]:
    """Return what other metrics can have in common with this one."""
    found: set[Key] = {("dimension", *pair) for pair in metric.dimensions}
    found.add(("metric", str(metric)))
    if options and options.group:
        found.add(("group", options.group))
    return found


def link_of(
    reported: ReportedAnomaly, options: Options | None, incident: str | None = None
) -> Link:
    """Return the link of an anomaly, by the options of its entry."""
    metric = Metric.parse(reported.metric)
    keys = shared(metric, options)
    if incident:
        keys.add(("incident", incident))
    reach = GROUP_PERIODS * 1000 * metric.period
    return Link(reported, incident, frozenset(keys), reported.anomaly.first_seen, reach)


def components(links: Sequence[Link]) -> list[list[Link]]:
    """Return which belong together, directly or by others; in the given order."""
    leaders = list(range(len(links)))

    def leader(position: int) -> int:
        while leaders[position] != position:
            leaders[position] = position = leaders[leaders[position]]
        return position

    by_key: dict[Key, list[int]] = {}
    for position, link in enumerate(links):
        for key in link.shared:
            by_key.setdefault(key, []).append(position)
    for key, positions in by_key.items():
        positions.sort(key=lambda position: links[position].begin)
        for one, other in _near(links, positions, is_always=key[0] in ALWAYS):
            leaders[leader(other)] = leader(one)
    found: dict[int, list[Link]] = {}
    for position, link in enumerate(links):
        found.setdefault(leader(position), []).append(link)
    return list(found.values())


def _near(
    links: Sequence[Link], positions: Sequence[int], *, is_always: bool
) -> Iterator[tuple[int, int]]:
    """Yield neighbours, by when they begin, that the reach of one of them or of another spans."""
    until, since = 0, links[positions[-1]].begin
    for one, other in pairwise(positions):
        until = max(until, links[one].begin + links[one].reach)
        if is_always or links[other].begin <= until:
            yield one, other
    for other, one in pairwise(reversed(positions)):
        since = min(since, links[other].begin - links[other].reach)
        if links[one].begin >= since:
            yield one, other
