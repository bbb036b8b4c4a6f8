"""A look at a fleet: what is new is judged, and what begins and ends is told once."""

from __future__ import annotations

import numpy as np
import pytest

from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.watcher.checkpoints import CheckpointCache
from ops_anomaly.watcher.evaluation import Evaluator
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.incidents import RECOVERY_PERIODS
from ops_anomaly.watcher.shard_job import MAX_SECONDS, ShardReport, look
from tests.support.fakes import small_artifact
from tests.support.shard_jobs import CLOSED, DAY, NAN, OPENED, PERIOD, SPIKE, World
from tests.support.watcher import NOON


@pytest.fixture
def world() -> World:
    return World()


def test_ordinary_machines_tell_nothing() -> None:
    world = World(20)
    tallies = [world.look(tick) for tick in range(12)]
    assert tallies == [ShardReport(20, 0, 0, 0, 0, 0, 0)] * 12
    assert world.told == []


def test_the_first_look_teaches_and_tells_nothing_of_the_past(world: World) -> None:
    world.set(SPIKE, -100, -50, -20)
    assert world.look(0).opened == 0
    assert len(world.memory.grids[str(world.metrics[0])].readings[0]) == 2 * DAY


def test_what_goes_on_at_the_first_look_is_told(world: World) -> None:
    world.set(SPIKE, -2, -1)
    world.look(0)
    assert world.told == [("i-00000", OPENED)]


def test_an_anomaly_in_one_of_many_machines_opens_one_incident_of_that_machine() -> None:
    world = World(20)
    world.look(0)
    world.set(SPIKE, 1, 2, 3, of=7)
    assert [world.look(tick).opened for tick in range(1, 6)] == [0, 1, 0, 0, 0]
    assert world.told == [("i-00007", OPENED)]
    [notice] = world.event.told
    assert (notice.detail["value"], notice.detail["first_seen"]) == (SPIKE, "2026-11-25T12:05:00Z")
    assert notice.detail["entry"] == "cpu"
    assert "CPUUtilization of i-00007: 95, expected 30" in notice.subject
    assert notice.detail["reason"] in notice.message


def test_an_incident_is_closed_once_all_is_quiet(world: World) -> None:
    world.look(0)
    world.set(SPIKE, 1, 2)
    closed = [world.look(tick).closed for tick in range(1, 20)]
    assert closed.index(1) + 1 == 3 + RECOVERY_PERIODS
    assert sum(closed) == 1
    assert world.told == [("i-00000", OPENED), ("i-00000", CLOSED)]
    opened, ended = world.event.told
    assert opened.detail["id"] == ended.detail["id"]
    assert (ended.detail["readings"], ended.detail["closed_because"]) == (2, "quiet")
    assert ended.detail["ended"] == "2026-11-25T12:10:00Z"


def test_hours_that_were_missed_are_told_in_order(world: World) -> None:
    world.look(0)
    world.set(SPIKE, 3, 4)
    assert world.look(100) == ShardReport(2, 1, 1, 0, 0, 0, 0)
    assert world.told == [("i-00000", OPENED), ("i-00000", CLOSED)]


def test_a_late_reading_that_holds_a_spike_is_told(world: World) -> None:
    world.set(NAN, 1)
    for tick in range(4):
        assert world.look(tick).late == 0
    world.set(SPIKE, 1)
    tally = world.look(4)
    assert (tally.late, tally.opened) == (1, 1)
    assert world.event.told[0].detail["first_seen"] == "2026-11-25T12:05:00Z"


def test_a_gap_is_no_anomaly_and_stays_a_gap(world: World) -> None:
    world.look(0)
    world.set(NAN, 1, 2)
    for tick in range(1, 20):
        world.look(tick)
    assert world.told == []
    grid = world.memory.grids[str(world.metrics[0])]
    assert np.flatnonzero(np.isnan(grid.values[-19:])).tolist() == [1, 2]


def test_a_machine_that_vanishes_is_counted_and_ends_its_incident(world: World) -> None:
    world.look(0)
    world.set(SPIKE, 1)
    world.look(2)
    world.set(NAN, *range(2, 100))
    assert [world.look(tick).missing for tick in (3, 4, 5)] == [0, 0, 1]
    assert world.look(14).closed == 1
    assert world.event.told[1].detail["closed_because"] == "no data"


def test_a_machine_that_leaves_the_fleet_is_forgotten_and_ends_its_incident(world: World) -> None:
    world.set(SPIKE, -1)
    world.look(0)
    world.metrics = world.metrics[1:]
    assert world.look(0).closed == 1  # though nothing is to be read
    assert world.told == [("i-00000", OPENED), ("i-00000", CLOSED)]
    assert world.event.told[1].detail["closed_because"] == "no longer watched"
    assert list(world.memory.grids) == [str(world.metrics[0])]


def test_a_machine_that_leaves_the_fleet_is_forgotten_though_nothing_is_told(world: World) -> None:
    world.look(0)
    world.metrics = world.metrics[1:]
    world.look(0)
    assert list(world.memory.grids) == [str(world.metrics[0])]
    assert world.told == []


def test_a_machine_that_joins_the_fleet_is_taught_its_own_past(world: World) -> None:
    world.metrics, known = world.metrics[:1], world.metrics
    world.look(0)
    world.metrics = known
    world.set(SPIKE, -50, of=1)
    assert world.look(1) == ShardReport(2, 0, 0, 0, 0, 0, 0)
    spans = [call["EndTime"] - call["StartTime"] for call in world.cloudwatch.calls]
    assert [span.total_seconds() // PERIOD for span in spans] == [3 * DAY, 13, 3 * DAY]


def test_a_metric_that_cloudwatch_refuses_does_not_blind_the_others() -> None:
    world = World(9)
    refused = world.metrics[4]
    world.look(0)
    world.cloudwatch.refused = {refused}
    world.set(SPIKE, 1, of=3)
    world.look(2)
    assert world.reporter.refusals == [refused]
    assert world.told == [("i-00003", OPENED)]
    ends = {grid.end for text, grid in world.memory.grids.items() if text != str(refused)}
    assert ends == {NOON + 2 * PERIOD}


def test_what_was_refused_for_a_while_is_caught_up(world: World) -> None:
    world.look(0)
    world.cloudwatch.refused = {world.metrics[0]}
    world.set(SPIKE, 2)
    world.look(3)
    assert world.told == []
    world.cloudwatch.refused = set()
    world.look(4)
    assert world.told == [("i-00000", OPENED)]


def test_a_look_that_takes_too_long_leaves_what_is_new_to_it_to_the_next(world: World) -> None:
    new, known = world.metrics
    world.metrics = [known]
    world.look(0)
    # the look begins; CloudWatch has answered, after long; one metric is judged; and the other
    moments = iter([390.0, 390.0 + 2 * MAX_SECONDS, 391.0 + 2 * MAX_SECONDS])

    def slow() -> float:
        return NOON + next(moments, 391.0 + 4 * MAX_SECONDS)

    models = ModelRegistry(world.store, ttl_seconds=1, cache_bytes=1, on_refresh_failed=print)
    judge = Evaluator(models, CheckpointCache(), print)
    fleet = [Watched(world.options, [new, known])]
    looked = look(world.memory, fleet, world.cloudwatch, judge, slow, print)
    assert looked.postponed == 1
    assert {text: grid.end for text, grid in looked.memory.grids.items()} == {
        str(known): NOON + PERIOD
    }


def test_a_model_judges_the_metrics_that_ask_for_it() -> None:
    world = World(1, model="ec2-cpu")  # for which values above 1 are anomalies
    version = world.store.put_model("ec2-cpu", small_artifact())
    world.cloudwatch.series[world.metrics[0]].clear()
    world.set(0.5, *range(-DAY, 50))
    world.look(0)
    world.set(2.0, 1)
    world.look(2)
    assert world.told == [("i-00000", OPENED)]
    assert world.event.told[0].detail["model"] == {"name": "ec2-cpu", "version": version}
    assert f"judged by model ec2-cpu, version {version}" in world.event.told[0].message


def test_where_its_model_is_not_to_be_had_a_metric_is_judged_by_its_own_history() -> None:
    world = World(1, model="gone")
    world.look(0)
    world.set(SPIKE, 1)
    world.look(2)
    assert world.reporter.absent == ["gone", "gone"]
    assert world.told == [("i-00000", OPENED)]
    assert world.event.told[0].detail["model"] is None


def test_the_last_score_of_a_metric_is_published_only_where_asked() -> None:
    silent, asked = World(), World(score_metric=True)
    assert silent.look(0).scores == {}
    scores = asked.look(0).scores
    assert scores.keys() == set(asked.metrics)
    assert all(score >= 0 for score in scores.values())
