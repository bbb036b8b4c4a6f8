"""A shard job: what is new is evaluated, and whatever goes wrong, each anomaly is reported."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ops_anomaly.aws.errors import (
    AccessDeniedError,
    AwsError,
    ConflictError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.aws.models import write_index
from ops_anomaly.aws.objects import FLEET_KEY, INDEX_KEY, checkpoint_key
from ops_anomaly.watcher.anomalies import RECOVERY_PERIODS
from ops_anomaly.watcher.shard_job import RESERVE_MS
from ops_anomaly.watcher.state import ShardState
from ops_anomaly.watcher.telemetry import ShardReport
from ops_anomaly.watcher.watch_file import MIN_PERIODS, PER_METRIC, Options, model_of
from tests.support.fake_cloudwatch import client_error
from tests.support.fakes import small_artifact
from tests.support.shard_jobs import (
    CLOSED,
    DAY,
    NAN,
    OPENED,
    PERIOD,
    QUOTA,
    SPIKE,
    STATE,
    TIMEOUT_MS,
    World,
)
from tests.support.watcher import NOON, NOON_MS, machines

CHECKPOINTS = checkpoint_key(0)
NOTHING_NEW = ShardReport(watched=2)


@pytest.fixture
def world() -> World:
    return World()


# --- what is found ------------------------------------------------------------------------------


def test_normal_machines_cause_no_notification() -> None:
    world = World(20)
    reports = [world.run(tick) for tick in range(12)]
    assert reports == [ShardReport(watched=20)] * 12
    assert world.sent == []


def test_anomalies_before_the_first_evaluation_are_not_notified(world: World) -> None:
    world.set(SPIKE, -100, -50, -20)
    assert world.run(0).opened == 0
    assert len(world.state.metrics[str(world.metrics[0])].series) == 2 * DAY


def test_an_anomaly_during_the_first_evaluation_is_notified(world: World) -> None:
    world.set(SPIKE, -2, -1)
    world.run(0)
    assert world.sent == [("i-00000", OPENED)]


@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
def test_an_anomaly_before_the_first_evaluation_does_not_hide_the_next(is_cold: bool) -> None:
    world = World(1)
    world.set(SPIKE, -15)
    world.run(0)
    world.set(2 * SPIKE, 3)  # new metrics alert beyond the range that they have shown
    for tick in range(1, 8):
        if is_cold:
            world.store.objects.pop(CHECKPOINTS, None)
        world.run(tick, by=world.new_runner() if is_cold else None)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    assert world.event.sent[0].detail["first_seen"] == "2026-11-25T12:15:00Z"


@pytest.mark.parametrize(("period", "days"), [(1_800, 1), (3_600, 1), (21_600, 14), (86_400, 60)])
def test_long_periods_keep_enough_history_to_be_evaluated(period: int, days: int) -> None:
    world = World(0, history_days=days, sensitivity=0.5)
    [metric] = world.metrics = machines(1, period)
    noon = NOON // period * period
    values = 30.0 + np.random.default_rng(1).normal(0.0, 0.3, 2 * MIN_PERIODS)
    world.cloudwatch.put(metric, noon - len(values) * period, values)
    for tick, value in enumerate((30.0, 30_000.0)):
        world.cloudwatch.put(metric, noon + tick * period, [value])
        world.run_at(noon + (tick + 1) * period + 90)
    assert world.sent == [("i-00000", OPENED)]


def test_an_anomaly_of_one_machine_opens_one_incident_of_that_machine() -> None:
    world = World(8)
    world.run(0)
    world.set(SPIKE, 1, 2, 3, of=7)
    assert [world.run(tick).opened for tick in range(1, 6)] == [0, 1, 0, 0, 0]
    assert world.sent == [("i-00007", OPENED)]
    [sent] = world.event.sent
    [member] = sent.detail["members"]
    assert (member["value"], sent.detail["first_seen"]) == (SPIKE, "2026-11-25T12:05:00Z")
    assert member["entry"] == "cpu"
    assert sent.subject.startswith("CPUUtilization of i-00007: 95, expected 29.")
    first, *_ = sent.message.splitlines()
    assert re.fullmatch(
        r"CPUUtilization of i-00007: 95, expected 29\.\S+, since .* 12:05 UTC", first
    )
    assert member["reason"] in sent.message
    assert "(last 578 datapoints)" in sent.message


def test_an_incident_closes_after_the_recovery_periods(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1, 2)
    closed = [world.run(tick).closed for tick in range(1, 20)]
    assert closed.index(1) + 1 == 3 + RECOVERY_PERIODS
    assert sum(closed) == 1
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    first, last = world.event.sent
    assert first.detail["id"] == last.detail["id"]
    assert last.detail["close_reason"] == "recovered"
    [member] = last.detail["members"]
    assert (member["readings"], member["last_seen"]) == (2, "2026-11-25T12:10:00Z")
    assert last.subject == "Resolved: CPUUtilization of i-00000 after 10 min"


def test_missed_hours_are_notified_in_order(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 3, 4)
    assert world.run(100) == ShardReport(watched=2, opened=1, closed=1)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]


def test_a_late_reading_is_evaluated(world: World) -> None:
    world.set(NAN, 1)
    for tick in range(4):
        assert world.run(tick).late == 0
    world.set(SPIKE, 1)
    report = world.run(4)
    assert (report.late, report.opened) == (1, 1)
    assert world.event.sent[0].detail["first_seen"] == "2026-11-25T12:05:00Z"


def test_a_gap_is_not_an_anomaly_and_stays_a_gap(world: World) -> None:
    world.run(0)
    world.set(NAN, 1, 2)
    for tick in range(1, 20):
        world.run(tick)
    assert world.sent == []
    state = world.state.metrics[str(world.metrics[0])]
    assert np.flatnonzero(np.isnan(state.values[-19:])).tolist() == [1, 2]


def test_the_incident_of_a_machine_without_data_closes(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1)
    world.run(2)
    world.set(NAN, *range(2, 100))
    reports = [world.run(tick) for tick in (3, 4, 5)]
    assert [(each.missing, each.closed) for each in reports] == [(0, 0), (0, 0), (1, 1)]
    closed = world.event.sent[1]
    assert closed.detail["close_reason"] == "no data"
    assert closed.subject == "No more data: CPUUtilization of i-00000 after 5 min"


def test_the_incident_of_a_machine_that_leaves_the_fleet_closes(world: World) -> None:
    world.set(SPIKE, -1)
    world.run(0)
    world.metrics = world.metrics[1:]
    assert world.run(0).closed == 1  # though nothing is due
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    assert world.event.sent[1].detail["close_reason"] == "no longer watched"
    assert list(world.state.metrics) == [str(world.metrics[0])]


def test_the_state_of_a_machine_that_leaves_the_fleet_is_dropped(world: World) -> None:
    world.run(0)
    world.metrics = world.metrics[1:]
    world.run(0)
    assert list(world.state.metrics) == [str(world.metrics[0])]
    assert world.sent == []


def test_a_machine_that_joins_the_fleet_is_read_from_its_beginning(world: World) -> None:
    world.metrics, both = world.metrics[:1], world.metrics
    world.run(0)
    world.metrics = both
    world.set(SPIKE, -50, of=1)
    assert world.run(1) == NOTHING_NEW
    spans = [call["EndTime"] - call["StartTime"] for call in world.cloudwatch.calls]
    assert [span.total_seconds() // PERIOD for span in spans] == [3 * DAY, 13, 3 * DAY]


# --- values that settle -------------------------------------------------------------------------


def test_a_sum_that_is_low_is_no_alert_until_it_has_settled() -> None:
    world = World(1, "Sum")
    world.run(0)
    world.set(3.0, 1)  # nine tenths of it come in late
    assert world.run(2).opened == 0
    world.set(30.0, 1)
    for tick in range(3, 6):
        assert world.run(tick) == ShardReport(watched=1)
    assert world.sent == []


def test_a_sum_that_stays_low_is_an_alert_once_it_has_settled() -> None:
    world = World(1, "Sum")
    world.run(0)
    world.set(3.0, *range(1, 6))
    assert [world.run(tick).opened for tick in range(2, 6)] == [0, 0, 1, 0]
    assert world.event.sent[0].detail["first_seen"] == "2026-11-25T12:05:00Z"


def test_a_sum_that_is_high_is_an_alert_immediately() -> None:
    """It can only grow."""
    world = World(1, "Sum")
    world.run(0)
    world.set(SPIKE, 1, 2)
    assert [world.run(tick).opened for tick in range(2, 8)] == [1, 0, 0, 0, 0, 0]
    world.run(8)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    assert world.event.sent[1].detail["members"][0]["readings"] == 2


def test_an_entry_may_say_how_long_its_values_take_to_settle() -> None:
    quick, slow = World(1, "Sum", settle_seconds=60), World(1, settle_seconds=900)
    for world in (quick, slow):
        world.run(0)
        world.set(3.0, *range(1, 6))
    assert [quick.run(tick).opened for tick in range(2, 6)] == [1, 0, 0, 0]
    assert [slow.run(tick).opened for tick in range(2, 6)] == [0, 0, 0, 1]


@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
def test_an_incident_that_rested_on_a_corrected_reading_is_withdrawn(is_cold: bool) -> None:
    world = World(1)
    world.run(0)
    world.set(SPIKE, 1)
    world.run(2)
    world.set(29.0, 1)
    report = world.run(3, by=world.new_runner() if is_cold else None)
    assert (report.corrected, report.closed, report.withdrawn) == (1, 1, 1)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    opened, closed = world.event.sent
    assert closed.detail["id"] == opened.detail["id"]
    assert closed.detail["close_reason"] == "withdrawn"
    assert closed.subject.startswith("Withdrawn: CPUUtilization of i-00000")
    assert "CloudWatch has corrected the readings that it rested on" in closed.message
    for tick in range(4, 12):
        world.run(tick)
    assert len(world.sent) == 2


def test_an_incident_keeps_what_is_left_of_it_after_a_correction() -> None:
    world = World(1)
    world.run(0)
    world.set(SPIKE, 1)
    world.set(3 * SPIKE, 2)
    world.run(3)
    world.set(SPIKE + 1, 2)
    world.run(4)
    world.run(8)
    assert world.sent == [("i-00000", OPENED), ("i-00000", CLOSED)]
    [closed] = world.event.sent[1].detail["members"]
    assert (closed["readings"], closed["value"]) == (2, SPIKE + 1)


def test_an_incident_is_not_withdrawn_because_its_entry_lets_values_settle_for_longer() -> None:
    world = World(1)
    world.run(0)
    world.set(SPIKE, *range(5, 30))
    for tick in range(6, 10):
        world.run(tick)
    world.options = Options(name="cpu", history_days=3, settle_seconds=3_600)
    world.set(20.0, 3)  # and CloudWatch corrects a reading
    for tick in range(10, 25):
        world.run(tick)
    assert world.sent == [("i-00000", OPENED)]


def test_what_is_unusual_again_after_a_withdrawal_is_another_anomaly() -> None:
    world = World(1)
    world.run(0)
    for tick, value in ((2, SPIKE), (3, 29.0), (4, SPIKE)):
        world.set(value, 1)
        if tick == 4:
            world.set(SPIKE, *range(2, 12))
        world.run(tick)
    for tick in range(5, 10):
        world.run(tick)
    opened = [each.id for each in world.event.sent if each.detail_type == OPENED]
    assert len(opened) == len(set(opened)) == 2


def test_a_reading_that_becomes_unusual_by_a_correction_is_an_alert() -> None:
    world = World(1)
    world.run(3)
    world.set(SPIKE, 1)
    report = world.run(4)
    assert (report.corrected, report.opened) == (1, 1)


def test_small_changes_are_taken_and_not_evaluated_again(world: World) -> None:
    world.run(3)
    [value, _] = world.state.metrics[str(world.metrics[0])].values[-2:]
    world.set(1.009 * value, 1)
    assert world.run(4).corrected == 0
    assert world.state.metrics[str(world.metrics[0])].values[-3] == 1.009 * value


def test_an_hourly_reading_is_read_when_it_is_there_and_again_when_it_is_final() -> None:
    world = World(0)
    world.metrics = machines(1, 3_600)
    world.cloudwatch.put(world.metrics[0], NOON - 100 * 3_600, [30.0] * 110)
    read = []
    for seconds in range(60, 3 * 3_600, PERIOD):
        calls = len(world.cloudwatch.calls)
        world.run_at(NOON + seconds)
        if len(world.cloudwatch.calls) > calls:
            read.append(seconds // 60)
    assert read == [1, 11, 61, 71, 121, 131]


# --- models -------------------------------------------------------------------------------------


def test_a_metric_is_evaluated_by_the_model_of_its_entry() -> None:
    world = World(1, model="ec2-cpu")  # for which values above 1 are anomalies
    version = world.store.put_model("ec2-cpu", small_artifact())
    world.cloudwatch.series[world.metrics[0]].clear()
    world.set(0.5, *range(-DAY, 50))
    world.run(0)
    world.set(2.0, 1)
    world.run(2)
    assert world.sent == [("i-00000", OPENED)]
    assert world.event.sent[0].detail["members"][0]["model"] == {
        "name": "ec2-cpu",
        "version": version,
    }
    assert f"(model ec2-cpu, version {version})" in world.event.sent[0].message


def test_metrics_without_their_model_are_evaluated_by_their_own_history() -> None:
    world = World(20, model="gone")
    world.run(0)
    world.set(SPIKE, 1)
    world.run(2)
    assert world.telemetry.unavailable_models == ["gone", "gone"], "once a job"
    assert world.sent == [("i-00000", OPENED)]
    assert world.event.sent[0].detail["members"][0]["model"] is None


def test_each_metric_is_evaluated_by_its_own_model_and_a_new_one_by_its_history() -> None:
    world = World(2, model=PER_METRIC)
    first = str(model_of(world.options, world.metrics[0]))
    version = world.store.put_model(first, small_artifact())
    world.store.put(INDEX_KEY, write_index({first: version}))
    world.cloudwatch.series[world.metrics[0]].clear()
    world.set(0.5, *range(-DAY, 50))  # of which values above 1 are anomalies
    world.run(0)
    world.set(2.0, 1)
    world.set(SPIKE, 1, of=1)
    world.run(2)
    assert world.telemetry.unavailable_models == []
    members = [each for sent in world.event.sent for each in sent.detail["members"]]
    models = {each["metric"]["dimensions"]["InstanceId"]: each["model"] for each in members}
    assert models == {
        "i-00000": {"name": first, "version": version},
        "i-00001": None,
    }


def test_models_of_many_metrics_are_read_once_and_then_one_request_a_job() -> None:
    world = World(30, model=PER_METRIC)
    names = [str(model_of(world.options, metric)) for metric in world.metrics]
    versions = {name: world.store.put_model(name, small_artifact(name=name)) for name in names}
    world.store.put(INDEX_KEY, write_index(versions))
    world.run_quietly(0)
    known = len(world.store.keys_read)
    world.run_quietly(1)
    read = [key for key in world.store.keys_read[known:] if key.startswith("models/")]
    assert read == [INDEX_KEY]


def test_a_new_version_of_a_model_starts_over() -> None:
    world = World(1, model="ec2-cpu")
    world.store.put_model("ec2-cpu", small_artifact())
    world.cloudwatch.series[world.metrics[0]].clear()
    world.set(0.5, *range(-DAY, 50))
    world.run(0)
    version = world.store.put_model("ec2-cpu", small_artifact(threshold=0.5))
    world.set(-1.0, 1)  # scores 0.7: anomalous for the new version only
    world.run(2, by=world.new_runner())
    [sent] = world.event.sent
    assert sent.detail["members"][0]["model"]["version"] == version


def test_scores_are_published_only_if_the_entry_says_so() -> None:
    without, with_scores = World(), World(score_metric=True)
    assert without.run(0).scores == {}
    scores = with_scores.run(0).scores
    assert scores.keys() == set(with_scores.metrics)
    assert all(score >= 0 for score in scores.values())


# --- CloudWatch ---------------------------------------------------------------------------------


def test_a_metric_that_cloudwatch_refuses_does_not_stop_the_others() -> None:
    world = World(9)
    refused = world.metrics[4]
    world.run(0)
    world.cloudwatch.refused = {refused}
    world.set(SPIKE, 1, of=3)
    world.run(2)
    assert world.telemetry.refused_metrics == [refused]
    assert world.sent == [("i-00003", OPENED)]
    ends = {state.end for text, state in world.state.metrics.items() if text != str(refused)}
    assert ends == {NOON_MS + 2000 * PERIOD}


def test_a_metric_that_was_refused_for_a_while_catches_up(world: World) -> None:
    world.run(0)
    world.cloudwatch.refused = {world.metrics[0]}
    world.set(SPIKE, 2)
    world.run(3)
    assert world.sent == []
    world.cloudwatch.refused = set()
    world.run(4)
    assert world.sent == [("i-00000", OPENED)]


LONG = {"history_days": 28}
A_PAGE = 12
"""Metrics of 8,064 periods each that fit a page of 100,800 datapoints."""


def test_pages_are_committed_one_by_one_and_the_rest_is_left_to_the_next_job() -> None:
    world = World(30, **LONG)
    report = world.run(0, remaining_ms=lambda: 0 if world.state_written else TIMEOUT_MS)
    assert report.postponed == 30 - A_PAGE
    assert report.missing == 0, "what has not been read is not missing"
    assert len(world.state.metrics) == A_PAGE
    assert world.run(0).postponed == 0
    assert len(world.state.metrics) == 30
    assert [len(call["MetricDataQueries"]) for call in world.cloudwatch.calls] == [12, 12, 6]


def test_a_job_that_is_throttled_or_killed_keeps_what_it_has_committed() -> None:
    world = World(30, **LONG)
    world.cloudwatch.after(2, client_error("Throttling", "GetMetricData"))
    with pytest.raises(ServiceUnavailableError):
        world.run(0)
    assert len(world.state.metrics) == 2 * A_PAGE
    assert world.run(0).postponed == 0
    assert len(world.cloudwatch.calls) == 4, "two pages, a refused one, and the third"


def test_metrics_that_are_known_come_before_new_ones() -> None:
    world = World(30, **LONG)
    new, known = world.metrics[:20], world.metrics[20:]
    world.metrics = known
    world.run(0)
    world.metrics = [*new, *known]
    world.set(SPIKE, 0, of=25)
    report = world.run(1, remaining_ms=lambda: 0 if world.state.reported else TIMEOUT_MS)
    assert (report.opened, report.postponed) == (1, 8), "12 new ones fitted the first call"


def test_evaluation_stops_within_a_page_too(world: World) -> None:
    left = iter([TIMEOUT_MS, TIMEOUT_MS, 0])
    assert world.run(0, remaining_ms=lambda: next(left)).postponed == 1
    assert len(world.state.metrics) == 1


def test_reading_respects_this_instances_part_of_the_quota() -> None:
    world = World(30, **LONG)
    world.run(0)
    before_the_second_and_third = 2 * [A_PAGE * 28 * DAY / QUOTA]
    assert world.slept == pytest.approx(before_the_second_and_third, abs=1e-3)


def test_a_job_does_not_wait_for_the_quota_beyond_its_time() -> None:
    world = World(30, **LONG)
    report = world.run(0, remaining_ms=lambda: RESERVE_MS + 1_000)
    assert (report.postponed, world.slept) == (30 - A_PAGE, [])


@pytest.mark.parametrize("seconds", [35.0, 58.0, 200.0])
def test_a_job_that_takes_long_does_not_skip_a_period(world: World, seconds: float) -> None:
    world.run(0)
    read = world.cloudwatch.get_metric_data

    def slow(**request: object) -> object:
        world.clock.advance(seconds)
        return read(**request)

    world.cloudwatch.get_metric_data = slow
    world.run_at(NOON + PERIOD + 330)
    world.cloudwatch.get_metric_data = read
    world.run_at(NOON + 2 * PERIOD + 60)
    assert {each.end for each in world.state.metrics.values()} == {NOON_MS + 2_000 * PERIOD}


def test_a_job_before_the_fleet_is_listed_changes_nothing(world: World) -> None:
    world.set(SPIKE, -1)
    world.run(0)
    before = dict(world.store.objects)
    before.pop(FLEET_KEY)
    world.store.objects.pop(FLEET_KEY)
    assert world.runner.run(0, lambda: TIMEOUT_MS) is None
    assert world.store.objects == before
    assert world.sent == [("i-00000", OPENED)]


@pytest.mark.parametrize(
    ("code", "error"),
    [("Throttling", ServiceUnavailableError), ("AccessDenied", AccessDeniedError)],
)
def test_the_retry_does_all_if_cloudwatch_does_not_answer(
    world: World, code: str, error: type[AwsError]
) -> None:
    world.run(0)
    world.set(SPIKE, 1)
    before = world.store.objects[STATE]
    world.cloudwatch.failures = [client_error(code, "GetMetricData")]
    with pytest.raises(error):
        world.run(2)
    assert world.store.objects[STATE] == before
    assert world.run(2).opened == 1


# --- the bucket ---------------------------------------------------------------------------------


def test_the_retry_does_all_if_the_bucket_does_not_answer(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1)
    world.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        world.run(2)
    assert world.event.sent == []
    world.store.failure = None
    assert world.run(2).opened == 1


def test_nothing_is_sent_if_the_state_can_not_be_written(world: World) -> None:
    world.run(0)
    world.set(SPIKE, 1)

    def fail() -> None:
        raise StoreUnavailableError("throttled")

    world.store.others = [fail]
    with pytest.raises(StoreUnavailableError):
        world.run(2)
    assert world.event.sent == world.message.sent == []
    assert world.run(2).opened == 1


def test_a_state_that_can_not_be_read_is_rebuilt_and_reported(world: World) -> None:
    world.run(0)
    world.store.put(STATE, b"something else")
    assert world.run(1) == NOTHING_NEW
    assert world.telemetry.rebuilt == [STATE]
    world.set(SPIKE, 1)
    assert world.run(2).opened == 1


# --- checkpoints --------------------------------------------------------------------------------


def run_through(world: World, is_cold: bool) -> ShardState:
    """Run through spikes, a gap, a late reading and a backlog; return the state."""
    world.set(SPIKE, 2, 3)
    world.set(SPIKE + 5, *range(21, 40))
    world.set(NAN, 5, of=1)
    for tick in [*range(8), 20, 23, 24, 40, 80, 81]:
        if tick == 7:
            world.set(0.0, 5, of=1)
        if is_cold:
            world.store.objects.pop(CHECKPOINTS, None)
        world.run(tick, by=world.new_runner() if is_cold else None)
    return world.state


def test_warm_and_cold_instances_notify_the_same() -> None:
    warm, cold = World(), World()
    states = [run_through(world, is_cold=world is cold) for world in (warm, cold)]
    assert warm.event.sent == cold.event.sent
    assert len(warm.sent) > 4
    anomalies = [{key: each.anomalies for key, each in s.metrics.items()} for s in states]
    assert anomalies[0] == anomalies[1]


def test_another_instance_resumes_from_the_checkpoints_in_the_bucket() -> None:
    world, cold = World(), World()
    for each in (world, cold):
        each.set(SPIKE, 4)
        each.run(0)
    written = world.store.objects[CHECKPOINTS]
    for tick in range(1, 8):
        world.run(tick, by=world.new_runner())
        cold.store.objects.pop(CHECKPOINTS)
        cold.run(tick, by=cold.new_runner())
    assert world.event.sent == cold.event.sent
    assert world.sent == [("i-00000", OPENED)]
    assert world.store.objects[CHECKPOINTS] == written, "nothing was replayed"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"something else",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"until":1', b'"until":2'),
        lambda data: data.replace(b'"parameters":{', b'"parameters":{"more":1e999,'),
        lambda data: data.replace(b'"0/', b'"7/'),
        lambda data: data.replace(b'"0/', b'"x/'),
    ],
)
def test_damaged_checkpoints_are_done_without(world: World, damage: object) -> None:
    world.run(0)
    data = world.store.objects[CHECKPOINTS].data
    world.store.put(CHECKPOINTS, damage(data))
    assert world.store.objects[CHECKPOINTS].data != data
    world.set(SPIKE, 0)
    assert world.run(1, by=world.new_runner()).opened == 1


def test_checkpoints_that_can_not_be_written_are_done_without(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    overwrite = world.store.overwrite

    def fail(key: str, data: bytes) -> None:
        if key == CHECKPOINTS:
            raise StoreUnavailableError("throttled")
        overwrite(key, data)

    monkeypatch.setattr(world.store, "overwrite", fail)
    world.set(SPIKE, -1)
    assert world.run(0).opened == 1


# --- several instances --------------------------------------------------------------------------


def test_the_same_job_again_does_nothing(world: World) -> None:
    world.set(SPIKE, -1)
    world.run(0)
    writes, calls = world.store.writes, len(world.cloudwatch.calls)
    assert world.run(0) == NOTHING_NEW
    assert (world.store.writes, len(world.cloudwatch.calls)) == (writes, calls)
    assert world.run(0, by=world.new_runner()) == NOTHING_NEW
    assert world.store.writes == writes + 1, "another instance reports the anomalies once more"
    assert len(world.cloudwatch.calls) == calls
    assert len(world.sent) == 1


def test_an_older_job_changes_nothing(world: World) -> None:
    world.run(5)
    before = world.store.objects[STATE]
    world.run(2)
    assert world.store.objects[STATE] == before


@pytest.mark.parametrize("tick", [0, 2], ids=["the first evaluation", "a later one"])
def test_of_two_instances_at_the_same_time_the_slower_one_changes_nothing(
    world: World, tick: int
) -> None:
    """The queue prevents it; the conditional write is the fence if somebody runs a job by hand."""
    if tick:
        world.run(0)
    world.set(SPIKE, tick - 1)
    other: list[ShardReport | None] = []
    world.store.others = [lambda: other.append(world.run(tick, by=world.new_runner()))]
    with pytest.raises(ConflictError):
        world.run(tick)
    assert other == [ShardReport(watched=2, opened=1)]
    assert world.sent == [("i-00000", OPENED)]
