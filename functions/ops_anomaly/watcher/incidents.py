"""Incidents: anomalies of one or many metrics that belong together; people are notified of these.

Every shard reports the anomalies of its metrics. Those that begin within a few periods of each
other, and share a group or a selector of the watch file, or the value of a dimension, are one
incident: a dependency that takes down thirty metrics is one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.charts import Chart
from ops_anomaly.watcher.anomalies import Anomaly, CloseReason
from ops_anomaly.watcher.mutes import muted_until
from ops_anomaly.watcher.outbox import CorruptStateError

if TYPE_CHECKING:
    from ops_anomaly.watcher.feedback import Feedback
    from ops_anomaly.watcher.watch_file import Options


GROUP_PERIODS = 3
"""Anomalies that begin within so many periods of each other may be one incident; as many as it
takes a metric to have recovered."""

HOLD_MS = 30_000
"""How long an anomaly is held before people are notified, for others that belong to it: so long the
jobs of one tick may be apart. What comes later joins without another message."""

REPORTED_MS = 86_400_000
"""How long an anomaly that is over is still reported: whoever reads reports may fail for a day."""

KEPT_MS, MAX_KEPT = 7 * 86_400_000, 200
"""Incidents that are over, and are still shown."""

LOST_MS = 3_600_000
"""How long after its last unusual reading an anomaly of which no shard knows is over: the state of
its shard was lost, or its report can't be read."""

MAX_CHARTS = 5
"""Members of an incident that are shown with a chart: the first ones."""


ALWAYS = ("metric", "incident")
"""Kinds of what anomalies share that keep them together whenever they begin."""


class ReportedAnomaly(msgspec.Struct, frozen=True):
    """An anomaly of a metric, as the job of its shard reports it.

    Attributes
    ----------
    metric : str
        As `Metric.parse` reads it.
    opened_at : int
        When the job found it, milliseconds.
    closed_at : int or None
        When it was over, milliseconds; None while it is open.
    chart : Chart or None
        The metric around it.
    """

    metric: str
    anomaly: Anomaly
    opened_at: int
    closed_at: int | None = None
    close_reason: CloseReason | None = None
    chart: Chart | None = None


class Incident(msgspec.Struct, frozen=True):
    """Anomalies that began at about the same time, and share something.

    Attributes
    ----------
    id : str
        Of its first anomaly.
    opened_at : int
        When people were notified, milliseconds.
    members : list of ReportedAnomaly
        The most severe first, and of those alike the first.
    closed_at : int or None
        None while it is open.
    snoozed_until : int or None
        There are no messages about it before, milliseconds.
    """

    id: str
    opened_at: int
    members: list[ReportedAnomaly]
    closed_at: int | None = None
    close_reason: CloseReason | None = None
    snoozed_until: int | None = None

    @property
    def first_seen(self) -> int:
        """Time of its first unusual reading, milliseconds."""
        return min(each.anomaly.first_seen for each in self.members)

    @property
    def last_seen(self) -> int:
        """Time of its last unusual reading, milliseconds."""
        return max(each.anomaly.last_seen for each in self.members)

    @property
    def severity(self) -> float:
        """Of its most severe member, 0 to 1."""
        return max(each.anomaly.peak.severity for each in self.members)


class IncidentBoard(msgspec.Struct, frozen=True):
    """All incidents of the fleet.

    Attributes
    ----------
    incidents : list of Incident
        Those that are open, and those that closed lately; the newest first.
    muted : list of ReportedAnomaly
        Open anomalies of which nobody is notified, as they are muted.
    since : int
        When the board began, milliseconds: of what was over before people may know.
    """

    incidents: list[Incident]
    muted: list[ReportedAnomaly]
    since: int = 0


@dataclass(frozen=True)
class IncidentOpened:
    """People are to be notified of an incident."""

    incident: Incident


@dataclass(frozen=True)
class IncidentJoined:
    """Anomalies have joined an incident of which people know."""

    incident: Incident
    joined: Sequence[ReportedAnomaly]


@dataclass(frozen=True)
class IncidentResumed:
    """A snooze is over, and the incident is not."""

    incident: Incident


@dataclass(frozen=True)
class IncidentClosed:
    """An incident is over.

    Attributes
    ----------
    is_silent : bool
        Whether people get no message: it was snoozed, or they closed it.
    """

    incident: Incident
    is_silent: bool


Transition = IncidentOpened | IncidentJoined | IncidentResumed | IncidentClosed


def fold(
    board: IncidentBoard,
    reported: Iterable[ReportedAnomaly],
    entries: Mapping[str, Options],
    feedback: Sequence[Feedback],
    now: int,
    hold: int = HOLD_MS,
) -> tuple[IncidentBoard, list[Transition]]:
    """Bring incidents up to date with what all shards report.

    The same reports change nothing a second time, in whichever order they come.

    Parameters
    ----------
    reported
        All anomalies that are open, and all that closed within a day.
    entries
        The options of each entry of the watch file, by its name.
    now : int
        Milliseconds since 1970.
    hold : int
        How long anomalies are held, milliseconds.

    Returns
    -------
    IncidentBoard
    list of Transition
        What has happened since.
    """
    by_id = {each.anomaly.id: each for each in reported}
    given = [each for each in feedback if not each.undone]
    incidents = {each.id: _refreshed(each, by_id, now) for each in board.incidents}
    known = {each.anomaly.id for one in board.incidents for each in one.members}
    known |= {mark.anomaly for each in given if each.verdict == "fine" for mark in each.marks}
    fine = {each.incident for each in given if each.verdict == "fine"}
    recent = {key for key, each in by_id.items() if _is_recent(each, now - REPORTED_MS)}
    new = sorted(
        (
            by_id[key]
            for key in recent - known
            if is_true(by_id[key]) and _is_recent(by_id[key], board.since)
        ),
        key=lambda each: (each.anomaly.first_seen, each.metric),
    )
    muted: list[ReportedAnomaly] = []
    unmuted: list[ReportedAnomaly] = []
    for each in new:
        (muted if _is_muted(each, entries, now) else unmuted).append(each)
    links = [
        _link(each, incident, entries)
        for incident in incidents.values()
        if incident.closed_at is None and incident.id not in fine  # which closes now
        for each in incident.members
    ]
    transitions: list[Transition] = []
    for component in _components([*links, *(_link(each, None, entries) for each in unmuted)]):
        found = _news_of(component, now, hold)
        if found:
            transitions.append(found)
            incidents[found.incident.id] = found.incident
    for key, incident in incidents.items():
        if incident.closed_at is None:
            incidents[key], more = _advanced(incident, given, now)
            transitions += more
    kept = _kept(incidents.values(), recent, now)
    muted = [each for each in muted if each.closed_at is None]
    return IncidentBoard(kept, muted, board.since), transitions


def encode_reported(reported: Sequence[ReportedAnomaly]) -> bytes:
    """Return the object in which a shard reports its anomalies."""
    return msgspec.json.encode(reported)


def decode_reported(data: bytes) -> list[ReportedAnomaly]:
    """Read the object.

    Raises
    ------
    CorruptStateError
        If it is anything but what `encode_reported` writes.
    """
    try:
        return msgspec.json.decode(data, type=list[ReportedAnomaly])
    except (ValueError, RecursionError) as error:
        raise CorruptStateError(f"not the anomalies of a shard: {error}") from error


def is_true(reported: ReportedAnomaly) -> bool:
    """Return whether an anomaly was one, as far as is known now."""
    return reported.close_reason != "withdrawn"


def _is_recent(reported: ReportedAnomaly, since: int) -> bool:
    return reported.closed_at is None or reported.closed_at > since


def shared(metric: Metric, options: Options | None) -> set[tuple[str, ...]]:
    """Return what other metrics can have in common with this one."""
    found: set[tuple[str, ...]] = {("dimension", *pair) for pair in metric.dimensions}
    found.add(("metric", str(metric)))
    if options and options.group:
        found.add(("group", options.group))
    return found


def _refreshed(incident: Incident, by_id: Mapping[str, ReportedAnomaly], now: int) -> Incident:
    """Return an open incident with what its shards report of its members now."""
    if incident.closed_at is not None:
        return incident
    return _with_members(incident, [_latest(each, by_id, now) for each in incident.members])


def _latest(
    member: ReportedAnomaly, by_id: Mapping[str, ReportedAnomaly], now: int
) -> ReportedAnomaly:
    """Return a member as it is reported now; one that no shard has known for long is over."""
    reported = by_id.get(member.anomaly.id)
    if reported or member.closed_at is not None:
        return reported or member
    grace = max(LOST_MS, GROUP_PERIODS * 1000 * Metric.parse(member.metric).period)
    if now < member.anomaly.last_seen + grace:
        return member
    return msgspec.structs.replace(member, closed_at=now, close_reason="no longer watched")


def _with_members(incident: Incident, members: Sequence[ReportedAnomaly]) -> Incident:
    """Return an incident with these members, ranked, of which only the first keep their charts."""
    ranked = sorted(members, key=_rank)
    bare = [msgspec.structs.replace(each, chart=None) for each in ranked[MAX_CHARTS:]]
    return msgspec.structs.replace(incident, members=ranked[:MAX_CHARTS] + bare)


def _rank(member: ReportedAnomaly) -> tuple[float, int, str]:
    anomaly = member.anomaly
    return -round(anomaly.peak.severity, 1), anomaly.first_seen, member.metric


def _is_muted(reported: ReportedAnomaly, entries: Mapping[str, Options], now: int) -> bool:
    options = entries.get(reported.anomaly.provenance.entry)
    if options is None:
        return False
    # nobody is notified of one that ended in a mute: neither as it closes, nor while it waits to
    end = now if reported.closed_at is None else reported.closed_at
    times = [reported.anomaly.last_seen, end]
    metric = Metric.parse(reported.metric)
    return any(muted_until(options.mute, metric, time) is not None for time in times)


def _news_of(links: Sequence[_Link], now: int, hold: int) -> IncidentOpened | IncidentJoined | None:
    """Return what becomes of anomalies that belong together, some of which may be known."""
    new = [each.reported for each in links if each.incident is None]
    known = [each.incident for each in links if each.incident]
    if not new:
        return None
    if known:
        incident = min(known, key=lambda each: (each.opened_at, each.id))
        return IncidentJoined(_with_members(incident, [*incident.members, *new]), new)
    if all(each.closed_at is None and each.opened_at + hold > now for each in new):
        return None
    return IncidentOpened(_with_members(Incident(new[0].anomaly.id, now, []), new))


@dataclass(frozen=True)
class _Link:
    """An anomaly, and what decides with which others it belongs together.

    Attributes
    ----------
    incident : Incident or None
        The open one that it is in.
    """

    reported: ReportedAnomaly
    incident: Incident | None
    shared: set[tuple[str, ...]]
    begin: int
    reach: int


def _link(
    reported: ReportedAnomaly, incident: Incident | None, entries: Mapping[str, Options]
) -> _Link:
    metric = Metric.parse(reported.metric)
    options = entries.get(reported.anomaly.provenance.entry)
    reach = GROUP_PERIODS * 1000 * metric.period
    keys = shared(metric, options)
    if incident:
        keys.add(("incident", incident.id))
    return _Link(reported, incident, keys, reported.anomaly.first_seen, reach)


def _components(links: Sequence[_Link]) -> list[list[_Link]]:
    """Return which belong together, directly or by others; in the given order."""
    leaders = list(range(len(links)))

    def leader(position: int) -> int:
        while leaders[position] != position:
            leaders[position] = position = leaders[leaders[position]]
        return position

    by_key: dict[tuple[str, ...], list[int]] = {}
    for position, link in enumerate(links):
        for key in link.shared:
            by_key.setdefault(key, []).append(position)
    for key, positions in by_key.items():
        positions.sort(key=lambda position: links[position].begin)
        for one, other in _near(links, positions, is_always=key[0] in ALWAYS):
            leaders[leader(other)] = leader(one)
    found: dict[int, list[_Link]] = {}
    for position, link in enumerate(links):
        found.setdefault(leader(position), []).append(link)
    return list(found.values())


def _near(
    links: Sequence[_Link], positions: Sequence[int], *, is_always: bool
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


def _advanced(
    incident: Incident, given: Sequence[Feedback], now: int
) -> tuple[Incident, list[Transition]]:
    """Close an open incident if it is over, or resume it after a snooze."""
    said = [each for each in given if each.incident == incident.id]
    snooze = max((each.until or 0 for each in said if each.verdict == "snooze"), default=0)
    is_snoozed = snooze > now
    if any(each.verdict == "fine" for each in said):
        closed = _closed(incident, now, "marked as fine")
        return closed, [IncidentClosed(closed, is_silent=True)]
    if all(each.closed_at is not None for each in incident.members):
        closed = _closed(incident, now, _close_reason(incident))
        return closed, [IncidentClosed(closed, is_silent=is_snoozed)]
    was_snoozed = incident.snoozed_until is not None
    after = msgspec.structs.replace(incident, snoozed_until=snooze if is_snoozed else None)
    return after, [IncidentResumed(after)] if was_snoozed and snooze and not is_snoozed else []


def _closed(incident: Incident, now: int, reason: CloseReason) -> Incident:
    return msgspec.structs.replace(incident, closed_at=now, close_reason=reason, snoozed_until=None)


def _close_reason(incident: Incident) -> CloseReason:
    """Return the reason that says most of how the members have ended."""
    reasons = [each.close_reason for each in incident.members]
    order: tuple[CloseReason, ...] = (
        "recovered",
        "data is back",
        "no data",
        "marked as fine",
        "no longer watched",
        "withdrawn",
    )
    return next(reason for reason in order if reason in reasons)


def _kept(incidents: Iterable[Incident], reported: Set[str], now: int) -> list[Incident]:
    """Return the incidents that are still shown, the newest first.

    One of which a shard still reports an anomaly is among them, or people would be notified again.
    """
    newest = sorted(incidents, key=lambda each: (each.opened_at, each.id), reverse=True)
    late = [each for each in newest if each.closed_at and each.closed_at > now - KEPT_MS]
    shown = {each.id for each in late[:MAX_KEPT]}
    return [
        each
        for each in newest
        if each.closed_at is None
        or each.id in shown
        or any(member.anomaly.id in reported for member in each.members)
    ]
