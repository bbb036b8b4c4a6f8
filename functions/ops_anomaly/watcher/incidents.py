"""Incidents: anomalies of one or many metrics that belong together; people are notified of these.

Every shard reports the anomalies of its metrics. Those that begin within a few periods of each
other, and share a group or a selector of the watch file, or the value of a dimension, are one
incident: a dependency that takes down thirty metrics is one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.anomalies import CloseReason, ReportedAnomaly
from ops_anomaly.watcher.grouping import GROUP_PERIODS, Link, components, link_of
from ops_anomaly.watcher.mutes import muted_until
from ops_anomaly.watcher.outbox import MESSAGE, CorruptStateError

if TYPE_CHECKING:
    from ops_anomaly.watcher.feedback import Feedback
    from ops_anomaly.watcher.watch_file import Options


HOLD_MS = 30_000
"""How long an anomaly is held before people are notified, for others that belong to it: so long the
jobs of one tick may be apart. What comes later joins without another message."""

REPORTED_MS = 86_400_000
"""How long an anomaly that is over is still reported: whoever reads reports may fail for a day."""

KEPT_MS, MAX_KEPT = 7 * 86_400_000, 200
"""Incidents that are over, and are still shown."""

SPAN_MS = 3_600_000
"""How long after an incident began other metrics join it."""

LOST_MS = 3_600_000
"""How long after its last unusual reading an anomaly of which no shard knows is over: the state of
its shard was lost, or its report can't be read."""

MAX_CHARTS = 5
"""Members of an incident that are shown with a chart: the first ones."""


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
    topics : list of str
        Where its messages have gone: destinations as in `outbox.Notification.waiting`.
    """

    id: str
    opened_at: int
    members: list[ReportedAnomaly]
    closed_at: int | None = None
    close_reason: CloseReason | None = None
    snoozed_until: int | None = None
    topics: list[str] = msgspec.field(default_factory=list)

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
        Open anomalies of which nobody is notified, as they are muted, or their metric is snoozed.
    since : int
        When the board began, milliseconds: of what was over before people may know.
    passed : list of str
        Ids of anomalies that were over before a mute or a snooze was: of those nobody will be
        notified, whatever the watch file says later.
    """

    incidents: list[Incident]
    muted: list[ReportedAnomaly]
    since: int = 0
    passed: list[str] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class IncidentOpened:
    """People are to be notified of an incident."""

    incident: Incident


@dataclass(frozen=True)
class IncidentJoined:
    """Anomalies have joined an incident of which people know.

    Attributes
    ----------
    topics : list of str
        Where people do not know of it yet.
    """

    incident: Incident
    joined: Sequence[ReportedAnomaly]
    topics: Sequence[str] = ()


@dataclass(frozen=True)
class IncidentResumed:
    """A snooze is over, or "fine" was taken back, and the incident is not over."""

    incident: Incident


@dataclass(frozen=True)
class IncidentClosed:
    """An incident is over.

    Attributes
    ----------
    is_silent : bool
        Whether people get no message: it was snoozed or is muted, or they closed it.
    """

    incident: Incident
    is_silent: bool


Transition = IncidentOpened | IncidentJoined | IncidentResumed | IncidentClosed


def fold(
    board: IncidentBoard,
    reported: Iterable[ReportedAnomaly],
    entries: Mapping[str, Options],
    feedback: Sequence[Feedback] | None,
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
    feedback
        None if it can't be read: what people have closed stays closed.
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
    given = [each for each in feedback or () if not each.undone]
    incidents = {each.id: _refreshed(each, by_id, now) for each in board.incidents}
    transitions: list[Transition] = []
    if feedback is not None:  # what people say comes first: nothing joins then
        for key, incident in incidents.items():
            incidents[key], found = _as_said(incident, given, now)
            transitions += found
    recent = {key for key, each in by_id.items() if _is_recent(each, now - REPORTED_MS)}
    known = {each.anomaly.id for one in board.incidents for each in one.members}
    known |= {mark.anomaly for each in given if each.verdict == "fine" for mark in each.marks}
    passed = recent & set(board.passed)
    muted: list[ReportedAnomaly] = []
    new: list[ReportedAnomaly] = []
    suppression = _Suppression(entries, given, now)
    for each in sorted(map(by_id.__getitem__, recent - known - passed), key=_begin):
        if not is_true(each) or not _is_recent(each, board.since):
            continue
        if suppression.has_passed(each):
            passed.add(each.anomaly.id)
        elif suppression.holds(each):
            muted.append(each)
        else:
            new.append(each)
    links = [*chain.from_iterable(_links(each, entries, now) for each in incidents.values())]
    links += [link_of(each, entries.get(each.anomaly.provenance.entry)) for each in new]
    for component in components(links):
        news = _news_of(component, incidents, entries, now, hold)
        if news:
            transitions.append(news)
            incidents[news.incident.id] = news.incident
    for key, incident in incidents.items():
        if incident.closed_at is None:
            incidents[key], found = _advanced(incident, given, suppression, now)
            transitions += found
    kept = _kept(incidents.values(), recent, now)
    open_ones = [each for each in muted if each.closed_at is None]
    return IncidentBoard(kept, open_ones, board.since, sorted(passed)), transitions


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


def _begin(reported: ReportedAnomaly) -> tuple[int, str]:
    return reported.anomaly.first_seen, reported.metric


def _is_recent(reported: ReportedAnomaly, since: int) -> bool:
    return reported.closed_at is None or reported.closed_at > since


def _refreshed(incident: Incident, by_id: Mapping[str, ReportedAnomaly], now: int) -> Incident:
    """Return an incident with what its shards report of its members now, unless it is over."""
    if incident.closed_at is not None and incident.close_reason != "marked as fine":
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


class _Suppression:
    """When nobody is notified of a metric: it is muted, or an incident of it is snoozed."""

    def __init__(self, entries: Mapping[str, Options], given: Sequence[Feedback], now: int) -> None:
        self._entries, self._now = entries, now
        self._snoozes: dict[str, list[tuple[int, int]]] = {}
        for each in given:
            if each.verdict == "snooze" and each.until is not None:
                for metric in each.metrics:
                    self._snoozes.setdefault(metric, []).append((each.at, each.until))

    def has_passed(self, reported: ReportedAnomaly) -> bool:
        """Return whether an anomaly is over that was, or that ended, in such a time."""
        if reported.closed_at is None:
            return False
        times = (reported.anomaly.last_seen, reported.closed_at)
        return any(self._is_suppressed(reported, time) for time in times)

    def holds(self, reported: ReportedAnomaly) -> bool:
        """Return whether it is such a time; or was, at the last unusual reading of an open one."""
        times = [self._now] + [reported.anomaly.last_seen] * (reported.closed_at is None)
        return any(self._is_suppressed(reported, time) for time in times)

    def is_muted(self, incident: Incident) -> bool:
        """Return whether all metrics of an incident are muted now."""
        return all(self._is_muted(each, self._now) for each in incident.members)

    def _is_suppressed(self, reported: ReportedAnomaly, time: int) -> bool:
        snoozes = self._snoozes.get(reported.metric, ())
        return any(at <= time < until for at, until in snoozes) or self._is_muted(reported, time)

    def _is_muted(self, reported: ReportedAnomaly, time: int) -> bool:
        options = self._entries.get(reported.anomaly.provenance.entry)
        if options is None:
            return False
        return muted_until(options.mute, Metric.parse(reported.metric), time) is not None


def _links(incident: Incident, entries: Mapping[str, Options], now: int) -> list[Link]:
    """Return the members of an open incident, and what others can have in common with them.

    Only the same metrics join an incident that is snoozed, or began long ago: where something is
    always wrong, it would last for ever. And not those that have long recovered in it.
    """
    if incident.closed_at is not None:
        return []
    is_snoozed = incident.snoozed_until is not None and incident.snoozed_until > now
    links = []
    for each in incident.members:
        link = link_of(each, entries.get(each.anomaly.provenance.entry), incident.id)
        span = max(SPAN_MS, link.reach)
        is_late = link.begin > incident.first_seen + span
        has_recovered = each.closed_at is not None and each.closed_at < now - span
        if has_recovered:
            link = link.of_its_incident()
        elif is_snoozed or is_late:
            link = link.of_its_metric()
        links.append(link)
    return links


def _news_of(
    links: Sequence[Link],
    incidents: Mapping[str, Incident],
    entries: Mapping[str, Options],
    now: int,
    hold: int,
) -> IncidentOpened | IncidentJoined | None:
    """Return what becomes of anomalies that belong together, some of which may be known."""
    new = [each.reported for each in links if each.incident is None]
    known = [incidents[each.incident] for each in links if each.incident]
    if not new:
        return None
    options = [entries.get(each.anomaly.provenance.entry) for each in new]
    topics = list(dict.fromkeys((each and each.topic) or MESSAGE for each in options))
    if known:
        incident = min(known, key=lambda each: (each.opened_at, each.id))
        others = [topic for topic in topics if topic not in incident.topics]
        incident = msgspec.structs.replace(incident, topics=[*incident.topics, *others])
        return IncidentJoined(_with_members(incident, [*incident.members, *new]), new, others)
    if all(each.closed_at is None and each.opened_at + hold > now for each in new):
        return None
    incident = Incident(new[0].anomaly.id, now, [], topics=topics)
    return IncidentOpened(_with_members(incident, new))


def _as_said(
    incident: Incident, given: Sequence[Feedback], now: int
) -> tuple[Incident, list[Transition]]:
    """Close an incident that is said to be fine; open it again if that was taken back too soon."""
    is_fine = any(each.incident == incident.id and each.verdict == "fine" for each in given)
    if incident.closed_at is None and is_fine:
        closed = _closed(incident, now, "marked as fine")
        return closed, [IncidentClosed(closed, is_silent=True)]
    is_open = any(each.closed_at is None for each in incident.members)
    if incident.close_reason == "marked as fine" and is_open and not is_fine:
        again = msgspec.structs.replace(incident, closed_at=None, close_reason=None)
        return again, [IncidentResumed(again)]
    return incident, []


def _advanced(
    incident: Incident, given: Sequence[Feedback], suppression: _Suppression, now: int
) -> tuple[Incident, list[Transition]]:
    """Close an open incident if it is over, or resume it after a snooze."""
    said = [each for each in given if each.incident == incident.id]
    snooze = max((each.until or 0 for each in said if each.verdict == "snooze"), default=0)
    is_snoozed, is_muted = snooze > now, suppression.is_muted(incident)
    if all(each.closed_at is not None for each in incident.members):
        closed = _closed(incident, now, _close_reason(incident))
        return closed, [IncidentClosed(closed, is_silent=is_snoozed or is_muted)]
    is_due = incident.snoozed_until is not None and snooze != 0
    if is_due and is_muted and not is_snoozed:
        return incident, []  # the reminder waits for the end of the mute
    after = msgspec.structs.replace(incident, snoozed_until=snooze if is_snoozed else None)
    return after, [IncidentResumed(after)] if is_due and not is_snoozed else []


def _closed(incident: Incident, now: int, reason: CloseReason) -> Incident:
    return msgspec.structs.replace(incident, closed_at=now, close_reason=reason, snoozed_until=None)


def _close_reason(incident: Incident) -> CloseReason:
    """Return the reason that says most of how the members have ended."""
    reasons = [each.close_reason for each in incident.members]
    order: tuple[CloseReason, ...] = (
        "new normal",
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
