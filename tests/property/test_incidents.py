"""Incidents minute by minute over random anomalies: notified once, closed once, never split."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.anomalies import ReportedAnomaly
from ops_anomaly.watcher.feedback import Feedback
from ops_anomaly.watcher.feedback_file import mark_of
from ops_anomaly.watcher.grouping import GROUP_PERIODS, shared
from ops_anomaly.watcher.incidents import (
    HOLD_MS,
    SPAN_MS,
    Incident,
    IncidentBoard,
    IncidentClosed,
    IncidentJoined,
    IncidentOpened,
    fold,
)
from ops_anomaly.watcher.mutes import Mute, muted_until
from ops_anomaly.watcher.watch_file import Options
from tests.support.incidents import MINUTE, Folding, lasting, over, reported
from tests.support.watcher import NOON_MS

METRICS = [
    f"{name} {dimensions}"
    for name in ("Errors", "Time")
    for dimensions in ("Page=a", "Page=b", "Host=x", "Page=a Host=x", "Host=y")
]
ENTRIES = ("web", "shop", "batch")
GROUPS = {"web": None, "shop": "sales", "batch": "sales"}


class Happening(NamedTuple):
    """An anomaly, from one minute on until another; or for longer than a test lasts."""

    metric: str
    begin: int
    length: int | None
    severity: float
    entry: str
    period: int
    is_withdrawn: bool
    is_silent: bool

    def at(self, minute: int) -> ReportedAnomaly | None:
        """Return what its shard reports in a minute: nothing before it is found."""
        found = reported(
            self.metric,
            self.begin,
            severity=self.severity,
            entry=self.entry,
            period=self.period,
            is_silent=self.is_silent,
        )
        if found.opened_at > NOON_MS + minute * MINUTE:
            return None
        found_at = self.begin + self.period // 60
        end = None if self.length is None else found_at + self.length
        if end is None or end > minute:
            return lasting(found, max(minute - 1, self.begin))
        reason = "withdrawn" if self.is_withdrawn else "recovered"
        return over(lasting(found, max(end - 1, self.begin)), end, reason)


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        metric=st.sampled_from(METRICS),
        begin=st.integers(0, 24).map(lambda n: 5 * n),
        length=st.none() | st.integers(0, 60),
        severity=st.sampled_from([0.5, 0.71, 0.74, 0.9]),
        entry=st.sampled_from(ENTRIES),
        period=st.sampled_from([60, 300, 3_600]),
        is_withdrawn=st.booleans(),
        is_silent=st.booleans(),
    ),
    min_size=1,
    max_size=10,
    unique_by=lambda each: (each.metric, each.period, each.begin),
)
MINUTES = st.lists(st.integers(0, 240), min_size=1, max_size=25, unique=True).map(sorted)
HOLDS = st.sampled_from([0, HOLD_MS])
WINDOWS = st.none() | st.tuples(st.integers(0, 200), st.integers(1, 60))


def entries(window: tuple[int, int] | None) -> dict[str, Options]:
    """Return the entries of a watch file, of which one is muted for a while."""
    mute = []
    if window:
        first, end = (
            datetime.fromtimestamp(NOON_MS / 1000 + 60 * minute, UTC).isoformat()
            for minute in (window[0], sum(window))
        )
        mute = [msgspec.convert({"from": first, "to": end}, Mute)]
    return {
        name: Options(name=name, group=group, mute=mute if name == "web" else [])
        for name, group in GROUPS.items()
    }


def reports(happenings: Sequence[Happening], minute: int) -> list[ReportedAnomaly]:
    return [found for each in happenings if (found := each.at(minute))]


def notified_of(folding: Folding) -> Counter[str]:
    """Return how often people were notified of each anomaly, by its id."""
    found: Counter[str] = Counter()
    for each in folding.transitions:
        if isinstance(each, IncidentOpened):
            found.update(member.anomaly.id for member in each.incident.members)
        elif isinstance(each, IncidentJoined):
            found.update(member.anomaly.id for member in each.joined)
    return found


def lived_through(
    happenings: Sequence[Happening],
    minutes: Sequence[int],
    hold: int,
    window: tuple[int, int] | None,
    fine_at: int | None = None,
) -> Iterator[tuple[Folding, int, list[ReportedAnomaly]]]:
    """Yield what has been notified after each of the minutes, and what was reported in it.

    In one of them, somebody marks an incident as fine.
    """
    folding = Folding(hold, **entries(window))
    for minute in minutes:
        known = [each for each in folding.board.incidents if each.closed_at is None]
        if minute == fine_at and known:
            folding.feedback = [fine(known[0])]
        found = reports(happenings, minute)
        folding.fold(minute, found)
        yield folding, minute, found


def fine(incident: Incident) -> Feedback:
    marks = [mark for mark in map(mark_of, incident.members) if mark]
    return Feedback(incident.id, "fine", "me", NOON_MS, marks=marks)


@given(HAPPENINGS, MINUTES, HOLDS, WINDOWS, st.randoms(use_true_random=False))
def test_the_same_reports_change_nothing_a_second_time_in_whichever_order_they_come(
    happenings: list[Happening],
    minutes: list[int],
    hold: int,
    window: tuple[int, int] | None,
    chance: random.Random,
) -> None:
    before = IncidentBoard([], [])
    for folding, minute, found in lived_through(happenings, minutes, hold, window):
        now = NOON_MS + minute * MINUTE
        shuffled = chance.sample(found, len(found))
        board, transitions = fold(before, shuffled, folding.entries, [], now, hold)
        assert board == folding.board
        assert transitions == folding.transitions[len(folding.transitions) - len(transitions) :]
        assert fold(board, shuffled, folding.entries, [], now, hold) == (board, [])
        before = board


@given(HAPPENINGS, MINUTES, HOLDS, WINDOWS, st.data())
def test_people_are_notified_of_an_anomaly_once_and_of_its_end_once(
    happenings: list[Happening],
    minutes: list[int],
    hold: int,
    window: tuple[int, int] | None,
    data: st.DataObject,
) -> None:
    fine_at = data.draw(st.none() | st.sampled_from(minutes))
    before = 0
    for folding, _, _ in lived_through(happenings, minutes, hold, window, fine_at):
        fine = {each.incident for each in folding.feedback}
        joined = [each for each in folding.transitions[before:] if isinstance(each, IncidentJoined)]
        assert not any(each.incident.id in fine for each in joined), "it closes silently"
        before = len(folding.transitions)
        assert set(notified_of(folding).values()) <= {1}
        of_kind = [
            [each.incident.id for each in folding.transitions if isinstance(each, kind)]
            for kind in (IncidentOpened, IncidentClosed)
        ]
        opened, closed = map(Counter, of_kind)
        assert max(opened.values(), default=1) == 1
        assert max(closed.values(), default=1) == 1
        assert closed.keys() <= opened.keys()
        still_open = {each.id for each in folding.board.incidents if each.closed_at is None}
        assert still_open == opened.keys() - closed.keys()


@given(HAPPENINGS, MINUTES, HOLDS, WINDOWS, st.data())
def test_nobody_misses_what_is_not_muted_or_withdrawn_and_all_is_over_in_the_end(
    happenings: list[Happening],
    minutes: list[int],
    hold: int,
    window: tuple[int, int] | None,
    data: st.DataObject,
) -> None:
    fine_at = data.draw(st.none() | st.sampled_from(minutes))
    must, may = set(), set()
    last = None
    for folding, minute, found in lived_through(happenings, minutes, hold, window, fine_at):
        now = NOON_MS + minute * MINUTE
        for each in found:
            if each.close_reason == "withdrawn" or is_muted(each, folding, now):
                continue
            may.add(each.anomaly.id)
            if each.closed_at is not None or each.opened_at + hold <= now:
                must.add(each.anomaly.id)
        last = folding
        assert must <= notified_of(folding).keys() <= may
    assert last is not None
    if all(each.length is not None for each in happenings):
        last.fold(600, reports(happenings, 600))
        assert all(each.closed_at is not None for each in last.board.incidents)


def is_muted(each: ReportedAnomaly, folding: Folding, now: int) -> bool:
    mute = folding.entries[each.anomaly.provenance.entry].mute
    times = [each.anomaly.last_seen, each.closed_at or now, now]
    metric = Metric.parse(each.metric)
    return any(muted_until(mute, metric, time) is not None for time in times)


def is_early(member: ReportedAnomaly, incident: Incident) -> bool:
    """Return whether others may join by a member, or it came so late that only its metric does."""
    reach = GROUP_PERIODS * 1000 * Metric.parse(member.metric).period
    return member.anomaly.first_seen <= incident.first_seen + max(SPAN_MS, reach)


def has_recovered(member: ReportedAnomaly, now: int) -> bool:
    """Return whether a member was over so long ago that nothing joins by it."""
    reach = GROUP_PERIODS * 1000 * Metric.parse(member.metric).period
    return member.closed_at is not None and member.closed_at < now - max(SPAN_MS, reach)


def belong_together(one: ReportedAnomaly, other: ReportedAnomaly, folding: Folding) -> bool:
    """Return whether two anomalies belong together directly, as the documentation has it."""
    metrics = [Metric.parse(each.metric) for each in (one, other)]
    options = [folding.entries[each.anomaly.provenance.entry] for each in (one, other)]
    common = set.intersection(*map(shared, metrics, options))
    apart = abs(one.anomaly.first_seen - other.anomaly.first_seen)
    reach = max(GROUP_PERIODS * 1000 * metric.period for metric in metrics)
    return metrics[0] == metrics[1] or (bool(common) and apart <= reach)


def components(anomalies: list[ReportedAnomaly], folding: Folding) -> set[frozenset[str]]:
    """Return which anomalies belong together, by comparing every one with every other."""
    parts = [{each.anomaly.id} for each in anomalies]
    for one, other in combinations(anomalies, 2):
        if belong_together(one, other, folding):
            of_both = [part for part in parts if part & {one.anomaly.id, other.anomaly.id}]
            parts = [part for part in parts if part not in of_both] + [set().union(*of_both)]
    return {frozenset(part) for part in parts}


@given(HAPPENINGS)
def test_what_is_notified_together_is_grouped_as_by_comparing_every_two(
    happenings: list[Happening],
) -> None:
    folding = Folding(**entries(None))
    found = [each for each in reports(happenings, 600) if each.close_reason != "withdrawn"]
    folding.fold(600, found)
    incidents = {
        frozenset(member.anomaly.id for member in each.incident.members)
        for each in folding.transitions
        if isinstance(each, IncidentOpened)
    }
    assert incidents == components(found, folding)


@given(HAPPENINGS, MINUTES, HOLDS)
def test_nothing_opens_that_belongs_to_an_incident_that_is_open(
    happenings: list[Happening], minutes: list[int], hold: int
) -> None:
    open_ones: list[Incident] = []
    before = 0
    for folding, minute, _ in lived_through(happenings, minutes, hold, None):
        now = NOON_MS + minute * MINUTE
        latest = {each.anomaly.id: each for one in folding.board.incidents for each in one.members}
        known = [
            latest[member.anomaly.id]
            for each in open_ones
            for member in each.members
            if is_early(member, each) and not has_recovered(latest[member.anomaly.id], now)
        ]
        for each in folding.transitions[before:]:
            if isinstance(each, IncidentOpened):
                assert not any(
                    belong_together(member, other, folding)
                    for member in each.incident.members
                    for other in known
                )
        before = len(folding.transitions)
        open_ones = [each for each in folding.board.incidents if each.closed_at is None]
