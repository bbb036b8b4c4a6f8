"""A replay finds what the watcher would have, in each message, in a fraction of the time."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from commands.replay import OUT, again_command
from ops_anomaly.aws.cloudwatch import Metric, Span
from ops_anomaly.detection import untrained
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.types import DAY, Series
from ops_anomaly.watcher.anomalies import CloseReason
from ops_anomaly.watcher.evaluation import evaluate_metric, settle_seconds
from ops_anomaly.watcher.feedback import NO_FEEDBACK, Feedback, FeedbackFile, MetricFeedback
from ops_anomaly.watcher.feedback_file import mark_of
from ops_anomaly.watcher.incidents import IncidentBoard, fold
from ops_anomaly.watcher.mutes import Mute
from ops_anomaly.watcher.notifications import incident_notification
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.state import MetricState
from ops_anomaly.watcher.watch_file import Options, periods_of
from replay import ReplayError
from replay.engine import Report, between, evaluations, replay_metric, ticks
from replay.fold import folded, notified
from replay.job import FleetReplay, OnProgress, OutcomeFolder, replay_fleet
from replay.lookahead import LookaheadDetector
from replay.page import Commands, write_page
from replay.reading import (
    HistoryFolder,
    Planned,
    expense,
    plan,
    plan_file,
    read_missing,
    whole_periods,
)
from replay.sources import Source, read_feedback
from replay.summary import (
    cost_words,
    ending_of,
    entry_rates,
    headline,
    incident_record,
    notes,
    scope,
    show_incidents,
    show_replay,
)
from tests.support.command import ROOT, command
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.series import series_of
from tests.support.watcher import NOON_MS, machines
from training import SourceError
from training.cost import STACK, Cost, cost_by_fleet

START = NOON_MS - NOON_MS % DAY
MINUTE = 60_000


def busy(seed: int, period: int, days: int, *, share: float = 1.0) -> Series:
    """Return a metric with a daily rhythm, incidents, and a share of its readings; and gaps."""
    random = np.random.default_rng(seed)
    count = days * 86_400 // period
    times = START + 1_000 * period * np.arange(count)
    values = 30 + 2 * np.sin(2 * np.pi * times / DAY) + random.normal(0, 0.4, count)
    for first in np.linspace(0.55 * count, 0.97 * count, 6).astype(int):
        values[first : first + random.integers(1, 12)] += random.choice([-20, 25, 60])
    is_kept = random.random(count) < share
    if share < 1:
        gap = random.integers(count // 2, count - 40)
        is_kept[gap : gap + 30] = False
    return Series(times[is_kept], values[is_kept].round(3))


def tick_by_tick(
    metric: Metric,
    options: Options,
    history: Series,
    start: int,
    until: int,
    feedback: MetricFeedback = NO_FEEDBACK,
) -> Iterator[tuple[int, object]]:
    """Yield what the watcher finds, evaluated at each tick by the detector itself."""
    settle, periods = (
        settle_seconds(metric, options),
        periods_of(options.history_days, metric.period),
    )
    state, checkpoint = MetricState.empty(metric), None
    for now in ticks(start, until):
        due = state.due(now, settle, periods)
        if due is None:
            continue
        found = evaluate_metric(
            state, between(history, *due), due[1], now, options, None, checkpoint, feedback
        )
        yield from ((now, each) for each in found.transitions)
        state = found.state
        if found.update and found.update.checkpoint:
            checkpoint = found.update.checkpoint


MAINTENANCE = Mute(from_="10:00", to="14:00", learn=False)

RULES = {
    "plain": {},
    "silence": {"when_silent": "notify after 30m"},
    "zeros": {"when_silent": "zero"},
    "sustained": {"sustained": 3, "alert_on": "rises"},
    "maintenance": {"mute": [MAINTENANCE]},
}


@pytest.mark.parametrize(
    ("rules", "period", "share", "statistic"),
    [
        ("plain", 300, 1.0, "Average"),
        ("plain", 300, 0.9, "Sum"),
        ("plain", 60, 1.0, "Sum"),
        ("silence", 300, 0.9, "Average"),
        ("zeros", 300, 0.2, "Sum"),
        ("zeros", 3_600, 0.9, "Sum"),
        ("sustained", 300, 1.0, "Sum"),
        ("maintenance", 300, 1.0, "Average"),
        ("silence", 3_600, 0.9, "Sum"),
    ],
)
def test_a_replay_finds_what_the_watcher_does_tick_by_tick(
    rules: str, period: int, share: float, statistic: str
) -> None:
    days = 10 if period == 3_600 else 2
    metric = Metric("Shop", "Load", (("Host", "a"),), statistic, period)
    options = Options(name="shop", history_days=6 if period == 3_600 else 1, **RULES[rules])
    history = busy(period, period, days, share=share)
    start, until = START + options.history_days * DAY, START + days * DAY
    expected = list(tick_by_tick(metric, options, history, start, until))
    found = [
        (at, each)
        for at, evaluation in evaluations(metric, options, history, start, until)
        for each in evaluation.transitions
    ]
    assert expected, "nothing happened"
    assert found == expected


def test_a_metric_that_comes_later_is_found_as_it_comes() -> None:
    metric, options = machines(1)[0], Options(name="a", history_days=1)
    history = busy(1, 300, 4)
    history = history[history.times >= START + 3 * DAY]
    span = history, START + DAY, START + 4 * DAY
    visited = list(evaluations(metric, options, *span))
    expected = list(tick_by_tick(metric, options, *span))
    assert [(at, each) for at, found in visited for each in found.transitions] == expected
    assert expected
    assert visited[1].at > START + 3 * DAY, "the first tick finds nothing; then its first reading"


def test_ticks_at_which_nothing_can_happen_are_left_out() -> None:
    calm = series_of(30 + np.sin(np.arange(6 * 288)), START)
    visited = list(
        evaluations(machines(1)[0], Options(name="a"), calm, START + 3 * DAY, START + 6 * DAY)
    )
    assert len(visited) < 0.05 * len(ticks(START + 3 * DAY, START + 6 * DAY))


def test_real_incidents_are_kept_out_of_history_at_each_tick() -> None:
    metric, options = machines(1)[0], Options(name="a", history_days=1)
    span = busy(3, 300, 2), START + DAY, START + 2 * DAY
    reports = replay_metric(metric, options, *span).reports
    feedback = MetricFeedback(real=tuple(filter(None, [mark_of(reports[0].reported)])))
    assert feedback.real
    found = [
        (at, each)
        for at, evaluation in evaluations(metric, options, *span, feedback)
        for each in evaluation.transitions
    ]
    assert found == list(tick_by_tick(metric, options, *span, feedback))


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 700), max_size=12), seed=st.integers(0, 3))
def test_a_detector_that_has_seen_ahead_decides_as_it_would(cuts: list[int], seed: int) -> None:
    series = busy(seed, 300, 3)[:700]
    ahead, itself = LookaheadDetector.of(untrained(), series, 0.5), untrained()
    for first, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 700], strict=True):
        part = series[first:stop]
        if not len(part):
            continue
        found, ahead = ahead.update(part, 0.5)
        expected, itself = itself.update(part, 0.5)
        np.testing.assert_equal(vars(found), vars(expected))
        assert ahead.last_timestamp == itself.last_timestamp


def test_a_detector_that_has_seen_ahead_takes_other_readings_too() -> None:
    series = busy(0, 300, 2)
    _, ahead = LookaheadDetector.of(untrained(), series, 0.5).update(series[:300], 0.5)
    other = Series(series.times[300:310], series.values[300:310] + 50)
    expected = untrained().update(series[:300], 0.5)[1].detect(other, 0.5)
    np.testing.assert_equal(vars(ahead.detect(other, 0.5)), vars(expected))


ENTRIES = {
    "shop": Options(name="shop", group="shop", history_days=1),
    "batch": Options(name="batch", history_days=1, mute=[Mute(from_="06:30", to="09:07")]),
}


def fleet_reports() -> list[Report]:
    """Return what is reported of four metrics, of which two fail together, and one in a mute."""
    reports = []
    for number, metric in enumerate(machines(4)):
        noise = np.random.default_rng(number).normal(0, 0.4, 2 * 288)
        history = series_of(30 + noise, START)
        if number < 2:
            history.values[400 + number : 420] += 50.0  # from 9:20 and 9:25
        else:
            history.values[390:404] += 70.0  # from 8:30, before and after the end of a mute
        entry = ENTRIES["shop" if number < 2 else "batch"]
        reports += replay_metric(metric, entry, history, START + DAY, START + 2 * DAY).reports
    return reports


def every_minute(reports: list[Report], feedback: list[Feedback]) -> Iterator[Notification]:
    """Yield what the incident job sends, run at each minute of the day."""
    board, reported = IncidentBoard([], []), {}
    waiting = sorted(reports, key=lambda each: each.at)
    for now in range(START + DAY, START + 2 * DAY + MINUTE, MINUTE):
        while waiting and waiting[0].at + MINUTE <= now:
            each = waiting.pop(0).reported
            reported[each.anomaly.id] = each
        board, transitions = fold(board, reported.values(), ENTRIES, feedback, now)
        yield from (incident_notification(each, ENTRIES, None, now) for each in transitions)


def by_replay(reports: list[Report], feedback: list[Feedback]) -> list[Notification]:
    return [
        incident_notification(each, ENTRIES, None, run.now)
        for run in folded(reports, ENTRIES, feedback, START + 2 * DAY)
        for each in run.transitions
    ]


def test_messages_are_those_of_a_job_that_runs_every_minute() -> None:
    reports = fleet_reports()
    sent = by_replay(reports, [])
    assert sent == list(every_minute(reports, []))
    assert max(each.detail["member_count"] for each in sent) == 2, "one incident of two metrics"
    assert any(each.detail["opened"].endswith("T09:17:00Z") for each in sent), "after its mute"


def test_a_snooze_ends_within_a_replay() -> None:
    reports = fleet_reports()
    first = notified(reports, ENTRIES, [], START + 2 * DAY).incidents[0]
    until = first.opened_at + 10 * MINUTE
    metrics = [each.metric for each in first.members]
    snooze = Feedback(first.id, "snooze", "ann", first.opened_at + MINUTE, until, metrics=metrics)
    sent = by_replay(reports, [snooze])
    assert sent == list(every_minute(reports, [snooze]))
    assert "Incident Reminded" in {each.detail_type for each in sent}


# --- reading


METRIC = machines(1)[0]


def test_history_is_read_once_and_then_only_what_is_new(tmp_path: Path) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(METRIC, START // 1_000, range(600))
    first = Span(METRIC, START // 1_000, START // 1_000 + 100 * 300)
    now = 1_000 * first.end
    folder = HistoryFolder(tmp_path, "me", now)
    read_missing(cloudwatch, [first], folder, lambda *_: None)
    later = Span(METRIC, first.start + 300, first.end + 10 * 300)
    folder = HistoryFolder(tmp_path, "me", 1_000 * later.end)
    missing = folder.missing(later)
    # the last two were younger than ten minutes, and may have changed
    assert missing == Span(METRIC, first.end - 2 * 300, later.end)
    read_missing(cloudwatch, [missing], folder, lambda *_: None)
    assert folder.read(later).values.tolist() == list(range(1, 110))
    assert len(cloudwatch.calls) == 2


def test_what_was_read_before_an_interruption_is_kept(tmp_path: Path) -> None:
    cloudwatch = FakeCloudWatch()
    spans = [Span(each, 0, 500 * 86_400) for each in machines(3, period=60)]  # a call each
    for each in spans:
        cloudwatch.put(each.metric, 0, [1.0])
    cloudwatch.after(2, client_error("InternalServiceFault", "GetMetricData"))
    folder = HistoryFolder(tmp_path, "me", NOON_MS)
    with pytest.raises(SourceError, match="try again"):
        read_missing(cloudwatch, spans, folder, lambda *_: None)
    assert [folder.missing(each) for each in spans] == [None, None, spans[2]]


@pytest.mark.parametrize("change", ["account", "age", "earlier", "damage"])
def test_history_of_another_account_or_day_is_read_anew(tmp_path: Path, change: str) -> None:
    span = Span(METRIC, 3_000, 6_000)
    folder = HistoryFolder(tmp_path, "me", NOON_MS)
    folder.add(span, Series(np.array([3_000_000]), np.array([1.0])))
    assert folder.missing(span) is None
    if change == "account":
        folder = HistoryFolder(tmp_path, "you", NOON_MS)
    if change == "age":
        folder = HistoryFolder(tmp_path, "me", NOON_MS + DAY)
    if change == "earlier":
        span = Span(METRIC, 2_700, 6_000)
    if change == "damage":
        folder.path(METRIC).write_bytes(folder.path(METRIC).read_bytes()[:-40])
    assert folder.missing(span) == span


@pytest.mark.parametrize(
    ("period", "warm_up", "replayed"),
    [(300, 14, 30), (3_600, 14, 30), (60, 5.6, 15 - 5.6), (420, 7.5, 7.5)],
)
def test_less_is_replayed_where_cloudwatch_keeps_less(
    period: int, warm_up: float, replayed: float
) -> None:
    planned = plan(machines(1, period)[0], Options(name="a"), 30, NOON_MS)
    assert (planned.start - planned.read_from) / DAY == pytest.approx(warm_up, abs=0.05)
    assert (planned.until - planned.start) / DAY == pytest.approx(replayed, abs=0.05)
    assert ("CloudWatch keeps readings of" in planned.limit) == (replayed < 30)


def test_what_reading_takes_is_known_before() -> None:
    spans = [plan(each, Options(name="a"), 30, NOON_MS).span for each in machines(50)]
    needs = expense(spans)
    assert (needs.metrics, needs.datapoints, needs.calls) == (50, 50 * 44 * 288, 8)
    assert needs.dollars == pytest.approx(0.0005)


def test_several_readings_of_a_period_are_averaged_as_cloudwatch_does() -> None:
    series = Series(np.array([1_000, 200_000, 301_000, 900_000]), np.array([1.0, 3.0, 5.0, 7.0]))
    found = whole_periods(series, 300)
    assert found.times.tolist() == [0, 300_000, 900_000]
    assert found.values.tolist() == [2.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("count", "step", "problem"),
    [
        (10, 300_000, "10 readings; at least 128 are needed"),
        (500, 10_000, "a reading every 10 s; the watcher reads periods of whole minutes"),
        (500, 7 * DAY, "a reading every 7 days"),
        (500, 207_000, "a reading every 207 s; the watcher reads periods of whole minutes"),
    ],
)
def test_a_file_that_can_not_be_replayed_says_why(count: int, step: int, problem: str) -> None:
    series = Series(step * np.arange(count), np.arange(count, dtype=float))
    with pytest.raises(ReplayError, match=problem):
        plan_file("web", series, 30, 0.5)


def test_times_that_jitter_are_read_in_whole_periods() -> None:
    random = np.random.default_rng(0)
    times = START + np.cumsum(random.integers(285_000, 310_000, 500))  # 297.5 s in the middle
    planned, series = plan_file("web", Series(times, np.arange(500.0)), 30, 0.5)
    assert planned.metric.period == 300
    assert set(np.unique(series.times % 300_000)) == {0}


def test_half_of_a_short_file_is_compared_with() -> None:
    planned, series = plan_file("Web 1", series_of(np.arange(400.0), START), 30, 0.5)
    assert len(series) == 400
    assert planned.options.name == "web-1"
    assert planned.start - planned.read_from == pytest.approx(200 * 300_000, abs=300_000)
    assert "the file has 33.4 h, and the first 16.7 h are history" in planned.limit


# --- job, tables, page


def replayed(
    tmp_path: Path,
    count: int = 2,
    feedback: Sequence[Feedback] = (),
    on_progress: OnProgress = lambda *_: None,
) -> FleetReplay:
    metrics = machines(count)
    histories = {metric: busy(number, 300, 2) for number, metric in enumerate(metrics)}
    options = Options(name="web", history_days=1)
    planned = [Planned(each, options, START, START + DAY, START + 2 * DAY) for each in metrics]
    return replay_fleet(
        planned,
        lambda each: histories[each.metric],
        feedback,
        OutcomeFolder(tmp_path),
        on_progress,
    )


def source_of(replay: FleetReplay) -> Source:
    members = [(each.metric, each.options) for each in replay.planned]
    cost = Cost(**cost_by_fleet(members), listing=0.0, scores=0.0, stack=STACK)
    return Source(replay.planned, lambda _: busy(0, 300, 2), [], cost)


def test_what_was_evaluated_is_not_evaluated_again(tmp_path: Path) -> None:
    first = replayed(tmp_path)
    kept = sorted(tmp_path.glob("*.msgpack"))
    written = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 2
    assert replayed(tmp_path).notified == first.notified
    assert [path.stat().st_mtime_ns for path in kept] == written


def test_what_was_evaluated_before_an_interruption_is_kept(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replayed(tmp_path, on_progress=interrupt)
    (kept,) = tmp_path.glob("*.msgpack")
    written = kept.stat().st_mtime_ns
    replayed(tmp_path)
    assert kept.stat().st_mtime_ns == written


def test_a_replay_that_was_interrupted_continues_until_the_same_time(tmp_path: Path) -> None:
    folder = OutcomeFolder(tmp_path)
    assert folder.until("early.yaml", NOON_MS + 5 * MINUTE) == NOON_MS - 60 * MINUTE
    until = folder.until("watch.yaml", NOON_MS + 15 * MINUTE)
    assert until == NOON_MS
    assert folder.until("watch.yaml", NOON_MS + 23 * 60 * MINUTE) == NOON_MS
    assert folder.until("other.yaml", NOON_MS + 130 * MINUTE) == NOON_MS + 120 * MINUTE
    folder.finish(NOON_MS)
    assert folder.until("other.yaml", NOON_MS + 190 * MINUTE) == NOON_MS + 180 * MINUTE
    assert folder.until("other.yaml", NOON_MS + 30 * 60 * MINUTE) > NOON_MS + 28 * 60 * MINUTE


def test_tables_fit_80_columns(tmp_path: Path) -> None:
    replay = replayed(tmp_path)
    file = StringIO()
    show_replay(replay, source_of(replay), Console(width=80, file=file))
    text = file.getvalue()
    assert "you would have been notified of" in text
    assert max(map(len, text.splitlines())) <= 80


def replay_of(
    tmp_path: Path, histories: Sequence[Series], start: int, entries: Sequence[str] = ("web", "db")
) -> FleetReplay:
    """Replay two days at the end of each history, or less if it begins within them."""
    metrics = machines(len(histories))
    planned = [
        Planned(each, Options(name=entry, history_days=1, group="all"), first, begin, end)
        for each, entry, history in zip(metrics, entries, histories, strict=False)
        for end in [int(history.times[-1]) + 300_000]
        for begin in [end - 2 * DAY + start]
        for first in [begin - DAY]
    ]
    by_metric = dict(zip(metrics, histories, strict=True))
    return replay_fleet(
        planned, lambda each: by_metric[each.metric], [], OutcomeFolder(tmp_path), lambda *_: None
    )


def later(series: Series, days: int) -> Series:
    return Series(series.times + days * DAY, series.values)


def test_a_rate_is_of_the_time_in_which_metrics_were_watched(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, [busy(0, 300, 3), later(busy(1, 300, 3), 220)], 0)
    count = len(replay.notified.incidents)
    words = f"In 2 days of each metric you would have been notified of {count} incidents: "
    assert headline(replay) == f"{words}{count / 2 * 7:.1f} a week."
    (note,) = notes(replay, [])
    assert note == (
        "Metrics were replayed for 2 days each, not all at the same time: a week is one in which "
        "all of them are watched."
    )
    assert sum(each.messages for each in entry_rates(replay)) == pytest.approx(
        replay.notified.messages.total() / 2 * 7
    )


def test_days_before_a_metric_began_do_not_lower_its_rate(tmp_path: Path) -> None:
    replay = replay_of(tmp_path, [busy(0, 300, 3)], -28 * DAY)
    count = len(replay.notified.incidents)
    assert headline(replay).startswith("In these 3 days you")
    assert headline(replay).endswith(f"{count / 3 * 7:.1f} a week.")
    assert "1 metric had no readings at first: replayed from the first one on." in notes(replay, [])


def test_when_verdicts_are_sure_is_by_the_time_of_each_metric(tmp_path: Path) -> None:
    first, second = busy(0, 300, 2), later(busy(1, 300, 2), 220)
    replay = replay_of(tmp_path, [first, second], 0)
    waits = [each.sure_from - each.start for each in replay.metrics.values() if each.sure_from]
    assert len(waits) == 2
    assert f"sure after {duration(max(waits))} of each metric" in scope(replay)


def test_an_incident_counts_for_each_entry_that_is_in_it(tmp_path: Path) -> None:
    same = busy(0, 300, 3)
    replay = replay_of(tmp_path, [same, same], 0)
    incidents = replay.notified.incidents
    assert {len(each.members) for each in incidents} == {2}
    assert [(each.name, each.incidents) for each in entry_rates(replay)] == [
        ("db", len(incidents)),
        ("web", len(incidents)),
    ]


def test_a_metric_whose_topic_knows_nothing_yet_is_another_message() -> None:
    entries = {
        "shop": ENTRIES["shop"],
        "batch": Options(name="batch", history_days=1, group="shop", topic="arn:aws:sns:::batch"),
    }
    reports = []
    for number, (metric, entry) in enumerate(zip(machines(2), entries.values(), strict=True)):
        history = series_of(30 + np.random.default_rng(number).normal(0, 0.4, 2 * 288), START)
        history.values[400 + 5 * number : 430] += 50.0
        reports += replay_metric(metric, entry, history, START + DAY, START + 2 * DAY).reports
    found = notified(reports, entries, [], START + 2 * DAY)
    sent = {len(each.topics): found.messages[each.id] for each in found.incidents}
    assert sent == {1: 2, 2: 3}, "opened, closed; and joined, where another topic is notified"


@pytest.mark.parametrize(
    ("reason", "is_relapse", "words"),
    [
        ("recovered", False, ""),
        ("new normal", False, "it has stayed there: its new normal"),
        ("new normal", True, "it came and went; it has stayed there: its new normal"),
        (None, True, "it came and went"),
    ],
)
def test_how_an_incident_went_and_ended_is_shown(
    tmp_path: Path, reason: CloseReason | None, is_relapse: bool, words: str
) -> None:
    replay = replayed(tmp_path, 1)
    first, *others = replay.notified.incidents
    change = msgspec.structs.replace
    (member,) = first.members
    member = change(member, anomaly=change(member.anomaly, is_relapse=is_relapse))
    first = change(first, close_reason=reason, members=[member])
    assert ending_of(first) == words
    replay = dataclasses.replace(
        replay, notified=dataclasses.replace(replay.notified, incidents=[first, *others])
    )
    write_page(tmp_path / "a.html", replay, source_of(replay), [], Commands("again", None))
    file = StringIO()
    show_incidents(replay.notified, Console(width=200, file=file))
    assert words in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert words in file.getvalue()
    record = incident_record(first)
    assert record["close_reason"] == reason
    assert record["topics"] == first.topics
    assert record["members"][0]["is_relapse"] is is_relapse


def test_a_snooze_of_before_has_no_metrics(tmp_path: Path) -> None:
    path = tmp_path / "feedback.json"
    snooze = {"incident": "a", "verdict": "snooze", "by": "ann", "at": 1, "until": 2}
    path.write_text(json.dumps({"version": 1, "feedback": [snooze]}))
    assert read_feedback(path) == [Feedback("a", "snooze", "ann", 1, 2)]


def test_most_of_the_cost_is_of_the_stack(tmp_path: Path) -> None:
    replay = replayed(tmp_path, 1)
    cost = dataclasses.replace(source_of(replay).cost, stack=6.0)
    assert f"${cost.total - 6:.2f} for these" in cost_words(cost)
    assert "$6.00 for the stack, however many metrics it watches" in cost_words(cost)


def test_feedback_shows_what_it_changes(tmp_path: Path) -> None:
    before = replayed(tmp_path, 1)
    leader = before.notified.incidents[0]
    fine = Feedback(
        incident=leader.id,
        verdict="fine",
        by="ann",
        at=NOON_MS,
        marks=[mark for each in leader.members if (mark := mark_of(each))],
    )
    after = replayed(tmp_path, 1, [fine])
    assert leader.id not in {each.id for each in after.notified.incidents}
    assert after.without_feedback == before.notified


def written_page(tmp_path: Path, feedback: Sequence[Feedback] = ()) -> tuple[FleetReplay, str]:
    replay = replayed(tmp_path)
    path = tmp_path / "replay.html"
    write_page(path, replay, source_of(replay), feedback, Commands("again & again", None))
    return replay, path.read_text(encoding="utf-8")


def test_the_page_begins_with_the_verdict_and_draws_each_incident(tmp_path: Path) -> None:
    replay, page = written_page(tmp_path)
    count = len(replay.notified.incidents)
    assert f"you would have been notified of {count} incident" in page.split("<h1>")[1][:200]
    assert page.count('class="oa-chart"') == count + 1, "and the timeline"
    assert "again &amp; again" in page


def test_the_page_needs_no_network_and_no_other_file(tmp_path: Path) -> None:
    _, page = written_page(tmp_path)
    assert "default-src 'none'" in page
    assert re.findall(r"<(?:link|img|iframe|script src)|@import|url\(|https?:", page) == []


def test_marks_on_the_page_are_what_feedback_keeps(tmp_path: Path) -> None:
    replay, page = written_page(tmp_path)
    marks = json.loads(re.search(r"const MARKS = (.*);", page)[1])
    given = [
        {"incident": key, "verdict": "fine", "by": "replay", "at": 1, "until": None}
        | {"marks": each, "undone": None}
        for key, each in marks.items()
    ]
    file = msgspec.json.decode(json.dumps({"version": 1, "feedback": given}), type=FeedbackFile)
    expected = [mark_of(each) for one in replay.notified.incidents for each in one.members]
    assert sorted((m for each in file.feedback for m in each.marks), key=str) == sorted(
        expected, key=str
    )


def test_earlier_feedback_stays_in_the_file_that_is_saved(tmp_path: Path) -> None:
    earlier = Feedback(incident="</script>", verdict="fine", by="ann", at=1)
    snooze = Feedback(incident="other", verdict="snooze", by="ann", at=1, until=2)
    _, page = written_page(tmp_path, [earlier, snooze])
    given = re.search(r"const GIVEN = (.*);  //", page)
    assert given
    assert msgspec.json.decode(given[1], type=list[Feedback]) == [earlier]
    assert page.count("</script>") == 1


# --- the command


def test_the_policy_that_is_printed_is_the_one_in_the_docs() -> None:
    done = command("replay", "--permissions")
    assert json.loads(done.stdout) == json.loads((ROOT / "docs/policies/replay.json").read_text())


@pytest.mark.parametrize("arguments", [[], ["watch.yaml", "--csv", "x.csv"]])
def test_exactly_one_source_is_given(arguments: list[str]) -> None:
    done = command("replay", *arguments)
    assert done.returncode == 2
    assert "give a watch file, or --cloudwatch, or --csv" in done.stderr


def test_the_next_command_keeps_what_was_chosen() -> None:
    watch = Path("watch.yaml")
    assert again_command(watch, None, None, 30, None, OUT, []) == (
        "ops-anomaly replay watch.yaml --days 30 --feedback feedback.json"
    )
    assert again_command(watch, None, None, 3, 0.2, Path("my runs"), []) == (
        "ops-anomaly replay watch.yaml --days 3 --sensitivity 0.2 --out 'my runs' "
        "--feedback feedback.json"
    )


def test_a_missing_watch_file_is_named_before_cloudwatch_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "nope.yaml"
    done = command("replay", str(path), "--out", str(tmp_path), AWS_DEFAULT_REGION="")
    assert done.returncode == 1
    assert f"{path} can't be read" in done.stderr.replace("\n", "")
