"""The report of a retraining: what it counts, the page, the event, and what it says to do."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any, get_args

import msgspec
import pytest

from ops_anomaly.watcher.outbox import UndeliveredError
from tests.support.fakes import FakeStore
from tests.support.retraining import PLAN, UNTIL, MemoryModels, fleet_of, read_daily
from tests.support.retraining_reports import (
    OUTCOMES,
    compared,
    figures,
    largest,
    night,
    outcome,
    report_of,
)
from training.retraining.documents import (
    Outcome,
    Report,
    Services,
    Summary,
    outcomes_key,
    summary_key,
)
from training.retraining.guard import Cause
from training.retraining.page import MAX_ROWS, run_page
from training.retraining.plan import tasks_of, write_plan
from training.retraining.reasons import NOTHING, REASONS, command_for, grouped, reason_of
from training.retraining.report import announce, finish_run

FINISHED = UNTIL / 1000 + 95


def reported(*hosts: str, done: int, execution: str | None = None) -> tuple[Services, Report]:
    """Return the report of a run in which so many metrics of one batch have an outcome."""
    services = Services(FakeStore(), read_daily, MemoryModels(), lambda: FINISHED)
    tasks = tasks_of(fleet_of(*hosts), {}, (), UNTIL)
    write_plan(services.store, msgspec.structs.replace(PLAN, execution=execution), tasks)
    outcomes = [
        Outcome(each.model, each.metric, each.entry, "published", "The first", version="v1")
        for each in tasks[:done]
    ]
    if outcomes:
        key = outcomes_key(PLAN.run, 0)
        services.store.overwrite(key, msgspec.json.encode(outcomes))
    return services, finish_run(services, PLAN.run)


def test_metrics_that_were_not_reached_are_counted_with_their_entry() -> None:
    _, report = reported("a", "b", "c", done=1)
    assert (report.counts["published"], report.missing) == (1, 2)
    assert report.entries["web"]["published"] == 1
    assert report.entries["web"]["missing"] == 2
    assert reported("a", "b", done=0)[1].missing == 2


def test_a_report_says_where_when_and_for_how_much() -> None:
    _, report = reported("a", done=1, execution="1c2d")
    assert (report.bucket, report.execution) == ("my-models", "1c2d")
    assert report.finished - report.started == 95_000
    assert report.cost.compute > 0
    assert reported("a", done=1)[1].cost.compute == 0  # from a machine


def test_a_run_lasts_from_its_second_until_its_last_metric_was_reported() -> None:
    started = UNTIL + 59_000
    plan = msgspec.structs.replace(PLAN, started=started)
    store, ticks = FakeStore(), iter([FINISHED, FINISHED + 60, FINISHED + 86_400])
    services = Services(store, read_daily, MemoryModels(), lambda: next(ticks))
    tasks = tasks_of(fleet_of("a"), {}, (), UNTIL)
    write_plan(store, plan, tasks)
    assert finish_run(services, PLAN.run).missing == 1
    kept = Outcome(tasks[0].model, tasks[0].metric, "web", "kept", "")
    store.overwrite(outcomes_key(PLAN.run, 0), msgspec.json.encode([kept]))
    continued = finish_run(services, PLAN.run)
    assert (continued.missing, continued.started) == (0, started)
    assert continued.finished == 1000 * (FINISHED + 60)
    assert finish_run(services, PLAN.run) == continued, "a day later there was nothing left"


def test_page_and_summary_are_kept_beside_the_report() -> None:
    services, report = reported("a", "b", done=1)
    stored = services.store.read(summary_key(PLAN.run))
    assert stored
    summary = msgspec.json.decode(stored.data, type=Summary)
    assert (summary.counts, summary.missing) == (report.counts, 1)
    page = services.store.read(report.page)
    assert page
    assert page.data.decode() == run_page(report)


# --- why, and what to do ------------------------------------------------------------------------


@pytest.mark.parametrize("cause", get_args(Cause))
def test_there_is_something_to_say_of_each_cause_of_the_guard(cause: Cause) -> None:
    reason = reason_of(outcome(1, "refused", "because", cause=cause))
    assert reason is REASONS[cause]
    assert REASONS.keys() == set(get_args(Cause))


def test_what_an_incident_needs_is_a_command_to_copy() -> None:
    refused = outcome(1, "refused", "It looks like an incident", cause="unmarked incident")
    assert command_for(refused, "my-models") == ("ops-anomaly feedback ID real --bucket my-models")
    assert command_for(refused, None).endswith("--bucket BUCKET")


def test_an_hourly_metric_is_trained_by_hand_on_more_days_than_two_weeks() -> None:
    hourly = outcome(1, "refused", "It finds fewer faults", cause="fewer faults")
    hourly = msgspec.structs.replace(hourly, metric="Shop/Web Load Average 3600")
    assert command_for(hourly, None).endswith("--days 28")


def test_groups_begin_with_errors_and_end_with_what_needs_nothing() -> None:
    groups = grouped(OUTCOMES)
    assert groups[0].status == "failed"
    needs_nothing = [each.reason.to_do.startswith(NOTHING) for each in groups]
    assert needs_nothing == sorted(needs_nothing)
    assert sum(len(each.outcomes) for each in groups) == 4


def test_the_worst_of_a_group_comes_first() -> None:
    worse = [
        compared(n, figures(found, 0.0), figures(0.9, 0.0))
        for n, found in enumerate([0.7, 0.2, 0.5])
    ]
    [group] = grouped(worse)
    assert [each.new and each.new.faults_found for each in group.outcomes] == [0.2, 0.5, 0.7]


# --- the page -----------------------------------------------------------------------------------


def test_the_page_says_what_became_of_all_metrics_and_what_to_do() -> None:
    text = unescape(re.sub("<[^>]*>", " ", run_page(night())))
    for said in ("2  published", "2 not reached", "1.6 min", "--resume 2026-11-27T020000Z"):
        assert re.sub(r"\s+", " ", said) in re.sub(r"\s+", " ", text)
    assert all(each.metric in text for each in OUTCOMES if each.status in ("refused", "failed"))
    assert "84 % → 61 %" in text


def test_the_page_needs_no_network_and_runs_nothing() -> None:
    page = run_page(night())
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="', page)
    assert "<b>not</b>" not in page, "it is of an error's text"
    assert "&lt;b&gt;not&lt;/b&gt;" in page


def test_a_night_in_which_all_is_well_has_nothing_to_do() -> None:
    assert "What to do" not in run_page(report_of(OUTCOMES[:2]))


def test_models_without_one_before_have_no_comparison() -> None:
    first = [outcome(1, "published", "The first model of this metric", new=figures(0.9, 0.0))]
    assert "New and live models" in run_page(night())
    assert "New and live models" not in run_page(report_of(first))


def test_the_page_of_ten_thousand_metrics_is_small_and_says_how_many_it_leaves_out() -> None:
    page = run_page(largest())
    assert f"and {2_500 - MAX_ROWS:,} more, in the run's report.json" in page
    assert len(page) < 1_000_000
    assert len(run_page(report_of(1_400 * OUTCOMES))) < 500_000


# --- the event ----------------------------------------------------------------------------------


class Bus:
    """EventBridge, which refuses on demand."""

    def __init__(self, error: str | None = None) -> None:
        self.error = error
        self.details: list[dict[str, Any]] = []

    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, Any]:
        self.details += [json.loads(each["Detail"]) for each in Entries]
        return {"Entries": [{"ErrorCode": self.error} if self.error else {} for _ in Entries]}


def test_a_report_that_is_tried_again_sends_the_same_event() -> None:
    bus = Bus()
    services, report = reported("a", done=1)
    announce(report, bus, "bus")
    announce(finish_run(services, PLAN.run), bus, "bus")
    assert [each["notification"] for each in bus.details] == 2 * [f"{PLAN.run}/finished"]


def test_an_event_that_is_refused_is_an_error_so_that_it_is_tried_again() -> None:
    with pytest.raises(UndeliveredError, match="ThrottlingException"):
        announce(night(), Bus("ThrottlingException"), "bus")


@pytest.mark.parametrize(
    ("outcomes", "missing", "level"),
    [(OUTCOMES[:6], 0, "info"), (OUTCOMES, 0, "warning"), (OUTCOMES[:6], 1, "warning")],
)
def test_a_run_in_which_something_failed_is_a_warning(
    outcomes: list[Outcome], missing: int, level: str
) -> None:
    bus = Bus()
    announce(report_of(outcomes, missing), bus, "bus")
    assert bus.details[0]["level"] == level
