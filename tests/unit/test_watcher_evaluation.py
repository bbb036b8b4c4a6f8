"""The evaluation of one metric: any detector by its protocol alone, and in any portions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import (
    SENSITIVITY,
    CorruptArtifactError,
    Detection,
    Series,
    Stored,
)
from ops_anomaly.watcher.anomalies import Closed, Opened
from ops_anomaly.watcher.evaluation import MetricEvaluation, evaluate_metric, settle_seconds
from ops_anomaly.watcher.settling import CUMULATIVE_SECONDS, FINAL_SECONDS, READ_SECONDS
from ops_anomaly.watcher.state import (
    FIRST_EVALUATION_PERIODS,
    Checkpoint,
    MetricState,
    decode_checkpoints,
    encode_checkpoints,
)
from ops_anomaly.watcher.watch_file import MIN_PERIODS, Options, periods_of
from tests.support.shard_jobs import normal_load
from tests.support.watcher import NOON_MS, machines

NAN = float("nan")
DAY = 86_400
METRIC = Metric("shop", "Orders", (), "Sum", DAY)  # of a period of a day, 128 are kept
STEP = 1000 * DAY
NOON_OF_DAYS = NOON_MS // STEP * STEP


@dataclass(frozen=True)
class RecordingDetector:
    """A detector that finds nothing and records what it was given, in periods before noon."""

    has_sensitivity: bool = True
    last_timestamp: int | None = None
    warm_up: int = 0
    updates: tuple[tuple[list[int], float | None], ...] = ()

    def with_warm_up(self, readings: int) -> RecordingDetector:
        return replace(self, warm_up=readings)

    def update(
        self, series: Series, sensitivity: float | None = None
    ) -> tuple[Detection, RecordingDetector]:
        nothing = np.zeros(len(series))
        detection = Detection(
            scores=nothing,
            thresholds=nothing + 1,
            is_anomaly=nothing > 0,
            can_evaluate=nothing == 0,
            expected=nothing,
            lower=nothing,
            upper=nothing + 1e9,
            reasons={},
            alerts=[],
        )
        periods = ((series.times - NOON_OF_DAYS) // STEP).tolist()
        seen = int(series.times[-1]) if self.last_timestamp else None
        updates = (*self.updates, (periods, sensitivity))
        return detection, replace(self, last_timestamp=seen, updates=updates)

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        return self.update(series, sensitivity)[0]

    def checkpoint(self) -> Stored:
        return Stored({"warm_up": np.array([self.warm_up])}, {"updates": float(len(self.updates))})

    def resume(
        self, tensors: Mapping[str, Any], parameters: Mapping[str, float]
    ) -> RecordingDetector:
        if parameters["updates"] > 100:
            raise CorruptArtifactError("too many")
        return replace(self, warm_up=int(tensors["warm_up"].to_numpy()[0]))


@dataclass
class World:
    """A metric with one reading a day, its model, and the last checkpoint.

    Attributes
    ----------
    values : dict of int to float
        Readings that are not 1, by how many days after noon they began; NaN is none.
    """

    detector: RecordingDetector = field(default_factory=RecordingDetector)
    version: str = "v1"
    options: Options = field(default_factory=lambda: Options(name="orders", model="m"))
    state: MetricState = field(default_factory=lambda: MetricState.empty(METRIC))
    checkpoint: Checkpoint | None = None
    values: dict[int, float] = field(default_factory=dict)

    def evaluate(self, until: int, age: int = FINAL_SECONDS) -> MetricEvaluation:
        """Evaluate what CloudWatch has up to so many days after noon; keep the outcome.

        Parameters
        ----------
        age
            How many seconds ago the last period has ended.
        """
        values = {n: self.values.get(n, 1.0) for n in range(until - MIN_PERIODS, until)}
        known = {n: value for n, value in values.items() if not np.isnan(value)}
        times = NOON_OF_DAYS + STEP * np.array(list(known), np.int64)
        end = NOON_OF_DAYS + until * STEP
        model = SimpleNamespace(
            name="m", detector=self.detector, version=self.version, trained_on=1_000
        )
        found = evaluate_metric(
            self.state,
            Series(times, np.array(list(known.values()))),
            end,
            end + 1000 * age,
            self.options,
            model,
            self.checkpoint,
        )
        self.state = found.state
        if found.update:
            self.checkpoint = found.update.checkpoint
        return found

    def updates(self, found: MetricEvaluation) -> list[list[int]]:
        """Return what the detector was updated with, in the end."""
        assert found.update
        assert found.update.checkpoint
        detector = found.update.checkpoint.history
        assert isinstance(detector, RecordingDetector)
        return [periods for periods, _ in detector.updates]


def evaluated(found: MetricEvaluation) -> list[int]:
    """Return the periods that were evaluated."""
    assert found.update
    return ((found.update.evaluation.series.times - NOON_OF_DAYS) // STEP).tolist()


def read_again(found: MetricEvaluation) -> list[int]:
    """Return the periods that were evaluated although they had been before."""
    assert found.update
    is_changed = found.update.evaluation.is_changed
    return [n for n, flag in zip(evaluated(found), is_changed, strict=True) if flag]


def through_the_bucket(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """Return a checkpoint as another instance reads it."""
    if checkpoint is None:
        return None
    [stored] = decode_checkpoints(encode_checkpoints({"m": checkpoint})).values()
    return stored


FIRST = -FIRST_EVALUATION_PERIODS
HISTORY = list(range(-MIN_PERIODS, FIRST))


def test_a_new_metric_replays_its_history_without_alerts() -> None:
    world = World()
    found = world.evaluate(0)
    assert world.updates(found) == [HISTORY, [-3, -2, -1]]
    assert evaluated(found) == [-3, -2, -1]
    assert found.update
    assert found.update.replayed == len(HISTORY)
    assert world.checkpoint
    assert world.checkpoint.until == NOON_OF_DAYS - STEP
    assert world.checkpoint.resume(RecordingDetector()).warm_up == len(HISTORY)  # type: ignore[attr-defined]


def test_the_next_evaluation_resumes_where_the_last_one_ended() -> None:
    world = World()
    world.evaluate(0)
    found = world.evaluate(2)
    assert world.updates(found)[2:] == [[0, 1]]
    assert found.update
    assert found.update.replayed == 0


def test_a_model_resumes_from_the_end_of_its_own_history() -> None:
    world = World(RecordingDetector(last_timestamp=NOON_OF_DAYS - 10 * STEP))
    found = world.evaluate(0)
    assert world.updates(found) == [list(range(-9, FIRST)), [-3, -2, -1]]


def test_a_model_trained_on_some_readings_that_are_due_evaluates_the_others() -> None:
    world = World(RecordingDetector(last_timestamp=NOON_OF_DAYS - 2 * STEP))
    found = world.evaluate(0)
    assert world.updates(found) == [[-1]]
    assert evaluated(found) == [-1]


def test_a_model_trained_on_all_readings_has_nothing_to_evaluate() -> None:
    world = World(RecordingDetector(last_timestamp=NOON_OF_DAYS))
    assert world.evaluate(0).update is None


def test_a_late_reading_starts_over_from_the_model() -> None:
    world = World(values={-2: NAN})
    world.evaluate(0)
    world.values.clear()
    found = world.evaluate(1)
    assert (found.late, found.corrected) == (1, 0)
    assert world.updates(found) == [list(range(-MIN_PERIODS + 1, -2)), [-2, -1, 0]]
    assert (evaluated(found), read_again(found)) == ([-2, -1, 0], [-2])


def test_a_corrected_reading_starts_over_from_the_model() -> None:
    world = World(values={-2: 3.0})
    world.evaluate(0)
    world.values.clear()
    found = world.evaluate(1)
    assert (found.late, found.corrected) == (0, 1)
    assert world.updates(found) == [list(range(-MIN_PERIODS + 1, -2)), [-2, -1, 0]]
    assert (evaluated(found), read_again(found)) == ([-2, -1, 0], [-2])


def test_an_immaterial_correction_is_not_evaluated() -> None:
    world = World(values={-2: 1.005})
    world.evaluate(0)
    world.values.clear()
    found = world.evaluate(1)
    assert (found.late, found.corrected) == (0, 0)
    assert evaluated(found) == [0]


def test_the_same_readings_again_are_not_evaluated() -> None:
    world = World()
    world.evaluate(0)
    found = world.evaluate(0)
    assert (found.update, found.transitions) == (None, [])


# --- values that settle -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "of_entry", "seconds"),
    [("Sum", None, 600), ("Average", None, 60), ("Sum", 120, 120), ("Average", 3_600, 3_600)],
)
def test_the_entry_or_the_statistic_says_how_long_values_settle(
    statistic: str, of_entry: int | None, seconds: int
) -> None:
    metric = replace(METRIC, statistic=statistic)
    assert settle_seconds(metric, Options(name="orders", settle_seconds=of_entry)) == seconds


def test_the_detector_is_kept_where_values_are_final() -> None:
    world = World()
    world.evaluate(0)
    found = world.evaluate(1, age=FINAL_SECONDS - 1)
    assert evaluated(found) == [0]
    assert world.checkpoint
    assert world.checkpoint.until == NOON_OF_DAYS - STEP
    assert world.state.anomalies.evaluated_until == NOON_OF_DAYS
    found = world.evaluate(1)
    assert world.updates(found)[-1] == [0]
    assert world.checkpoint.until == NOON_OF_DAYS
    assert world.state.anomalies.evaluated_until == NOON_OF_DAYS + STEP


def test_a_value_that_changes_before_it_has_settled_is_no_correction() -> None:
    world = World()
    world.evaluate(0)
    world.values[0] = 0.8
    world.evaluate(1, age=READ_SECONDS)
    world.values[0] = 1.0
    found = world.evaluate(1)
    assert (found.late, found.corrected) == (0, 0)
    assert evaluated(found) == [0]
    assert found.update
    assert found.update.evaluation.series.values.tolist() == [1.0]


def test_a_detector_does_not_start_over_for_values_that_settle_late() -> None:
    """It was kept beyond what had settled, and replayed two weeks at every tick."""
    world = World(options=Options(name="orders", model="m", settle_seconds=3_600))
    world.evaluate(0, age=3_600)
    for until, age in [(1, READ_SECONDS), (1, FINAL_SECONDS), (1, 3_600), (2, READ_SECONDS)]:
        found = world.evaluate(until, age)
        assert found.update
        assert found.update.replayed == 0
        assert evaluated(found) == [until - 1]


# --- models and checkpoints ---------------------------------------------------------------------


@pytest.mark.parametrize("change", ["version", "sensitivity"])
def test_another_version_or_sensitivity_starts_over(change: str) -> None:
    world = World()
    world.evaluate(0)
    if change == "version":
        world.version = "v2"
    else:
        world.options = Options(name="orders", model="m", sensitivity=9.0)
    assert len(world.updates(world.evaluate(1))) == 2


@pytest.mark.parametrize(("has_sensitivity", "passed"), [(True, SENSITIVITY), (False, None)])
def test_the_sensitivity_of_the_entry_is_passed_if_the_kind_has_one(
    has_sensitivity: bool, passed: float | None
) -> None:
    world = World(RecordingDetector(has_sensitivity=has_sensitivity))
    world.evaluate(0)
    assert world.checkpoint
    detector = world.checkpoint.history
    assert isinstance(detector, RecordingDetector)
    assert {sensitivity for _, sensitivity in detector.updates} == {passed}


@pytest.mark.parametrize(("updates", "is_resumed"), [(2.0, True), (1e9, False)])
def test_a_stored_checkpoint_is_resumed_or_done_without(updates: float, is_resumed: bool) -> None:
    world = World()
    world.evaluate(0)
    stored = through_the_bucket(world.checkpoint)
    stored.history.parameters["updates"] = updates
    world.checkpoint = stored
    found = world.evaluate(1)
    assert len(world.updates(found)) == (1 if is_resumed else 2)


def test_a_checkpoint_that_ends_at_another_time_is_done_without() -> None:
    world = World()
    world.evaluate(0)
    stored = through_the_bucket(world.checkpoint)
    world.checkpoint = stored
    world.detector = RecordingDetector(last_timestamp=NOON_OF_DAYS - 5 * STEP)
    assert world.updates(world.evaluate(1)) == [[-4, -3, -2, -1], [0]]


def test_the_provenance_counts_what_a_model_was_trained_on() -> None:
    without_times = World().evaluate(0)
    with_times = World(RecordingDetector(last_timestamp=NOON_OF_DAYS - 10 * STEP)).evaluate(0)
    assert without_times.update
    assert with_times.update
    less, more = (
        each.update.evaluation.provenance for each in (without_times, with_times) if each.update
    )
    assert (less.readings, less.model, less.version) == (MIN_PERIODS, "m", "v1")
    assert less.confidence < more.confidence


# --- one reading after the other, or many -------------------------------------------------------

PERIOD_MS = 300_000
HISTORY_PERIODS, PERIODS = 288, 48
OPTIONS = Options(name="cpu", history_days=3)


@dataclass
class Burning:
    """A machine's load for a day until noon, and its outages after that.

    Parameters
    ----------
    share_at_first
        Of a value that is there when its period ends; the rest comes in within five minutes.
    """

    seed: int
    statistic: str
    share_at_first: float = 1.0

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        [self.metric] = machines(1, 300, self.statistic)
        self.values = normal_load(self.seed)[: HISTORY_PERIODS + PERIODS]
        for _ in range(4):
            first = HISTORY_PERIODS + int(random.integers(PERIODS))
            self.values[first : first + int(random.integers(1, 8))] = random.choice([2.0, 95.0])
        is_gap = random.random(len(self.values)) < 0.05
        self.values[is_gap] = NAN

    def read(self, start: int, end: int, now: int) -> Series:
        """Return what CloudWatch has of a span at a time."""
        periods = np.arange(HISTORY_PERIODS + (end - NOON_MS) // PERIOD_MS)
        times = NOON_MS + (periods - HISTORY_PERIODS) * PERIOD_MS
        values = self.values[periods]
        values = np.where(times + 2 * PERIOD_MS > now, self.share_at_first * values, values)
        return Series(times, values)[(times >= start) & ~np.isnan(values)]

    def run(
        self, ticks: list[int], pass_on: Callable[[Checkpoint | None], Checkpoint | None]
    ) -> tuple[list[Opened | Closed], MetricState]:
        """Evaluate when so many periods after noon are over; return what happened, and the state.

        Parameters
        ----------
        pass_on
            Returns the checkpoint that the next evaluation has, given that of the last one.
        """
        state, checkpoint = MetricState.empty(self.metric), None
        transitions: list[Opened | Closed] = []
        for tick in ticks:
            now = NOON_MS + tick * PERIOD_MS + 1000 * READ_SECONDS
            periods = periods_of(OPTIONS.history_days, self.metric.period)
            due = state.due(now, settle_seconds(self.metric, OPTIONS), periods)
            assert due
            readings = self.read(*due, now)
            found = evaluate_metric(state, readings, due[1], now, OPTIONS, None, checkpoint)
            state = found.state
            if found.update:
                checkpoint = pass_on(found.update.checkpoint)
            transitions += found.transitions
        return transitions, state


EVERY_TICK = list(range(PERIODS + 1))
KINDS = pytest.mark.parametrize(
    ("statistic", "share_at_first"),
    [("Average", 1.0), ("Sum", 1.0), ("Sum", 0.8)],
    ids=["averages", "sums", "sums that settle"],
)


def keep(checkpoint: Checkpoint | None) -> Checkpoint | None:
    return checkpoint


def lose(checkpoint: Checkpoint | None) -> None:
    return None


@KINDS
@pytest.mark.parametrize("seed", [0, 1])
def test_instances_that_resume_or_start_over_find_the_same(
    seed: int, statistic: str, share_at_first: float
) -> None:
    machine = Burning(seed, statistic, share_at_first)
    mine, kept = machine.run(EVERY_TICK, keep)
    assert {type(each) for each in mine} == {Opened, Closed}
    theirs, other = machine.run(EVERY_TICK, through_the_bucket)
    assert theirs == mine
    assert other.anomalies == kept.anomalies
    theirs, other = machine.run(EVERY_TICK, lose)
    assert list(map(found_in, theirs)) == list(map(found_in, mine))
    np.testing.assert_array_equal(other.values, kept.values)


def found_in(transition: Opened | Closed) -> tuple:
    """Return what is found whether or not the detector knew a correction from the beginning."""
    anomaly = transition.anomaly
    return type(transition), anomaly.id, anomaly.last_seen, anomaly.readings, anomaly.peak.value


@KINDS
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("pass_on", [keep, lose])
def test_a_backlog_is_the_incidents_that_every_tick_would_have_found(
    seed: int,
    statistic: str,
    share_at_first: float,
    pass_on: Callable[[Checkpoint | None], Checkpoint | None],
) -> None:
    machine = Burning(seed, statistic, share_at_first)
    expected = [each.anomaly.id for each in machine.run(EVERY_TICK, keep)[0]]
    for ticks in ([0, *range(5, PERIODS, 7), PERIODS], [0, PERIODS]):
        found, _ = machine.run(ticks, pass_on)
        assert [each.anomaly.id for each in found] == expected


class Corrected(Burning):
    """A machine with a normal load but for one outage, whose readings CloudWatch corrects.

    Parameters
    ----------
    outage
        Its periods after noon.
    """

    def __init__(self, statistic: str, outage: list[int]) -> None:
        super().__init__(0, statistic)
        self.values = normal_load(0)[: HISTORY_PERIODS + PERIODS]
        self.set(95.0, *outage)

    def set(self, value: float, *periods: int) -> None:
        self.values[[HISTORY_PERIODS + each for each in periods]] = value

    def correct(self, *periods: int, tick: int, is_warm: bool = True) -> MetricEvaluation:
        """Run up to a tick; return the next evaluation, after these periods were corrected."""
        kept: list[Checkpoint | None] = []

        def pass_on(checkpoint: Checkpoint | None) -> Checkpoint | None:
            kept.append(checkpoint)
            return checkpoint

        transitions, state = self.run(EVERY_TICK[: tick + 1], pass_on)
        assert [type(each) for each in transitions] == [Opened]
        self.set(29.0, *periods)
        end = NOON_MS + (tick + 1) * PERIOD_MS
        now = end + 1000 * READ_SECONDS
        checkpoint = kept[-1] if is_warm else None
        readings = self.read(NOON_MS, end, now)
        return evaluate_metric(state, readings, end, now, OPTIONS, None, checkpoint)


IS_WARM = pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])


@IS_WARM
def test_an_open_incident_is_reviewed_from_its_beginning(is_warm: bool) -> None:
    found = Corrected("Average", [4, 5, 6, 7, 8]).correct(5, tick=10, is_warm=is_warm)
    anomaly = found.state.anomalies.anomaly
    assert anomaly
    assert anomaly.first_seen == NOON_MS + 4 * PERIOD_MS
    assert (found.corrected, anomaly.readings) == (1, 4)


@IS_WARM
def test_an_incident_that_rested_on_what_was_corrected_is_withdrawn(is_warm: bool) -> None:
    found = Corrected("Average", [4, 5]).correct(4, 5, tick=7, is_warm=is_warm)
    [closed] = found.transitions
    assert isinstance(closed, Closed)
    assert (closed.reason, closed.anomaly.readings) == ("withdrawn", 2)
    assert found.state.anomalies.anomaly is None


def test_a_young_sum_that_was_high_and_is_corrected_is_withdrawn() -> None:
    """It counts before it has settled, and so it is reviewed before it has settled."""
    found = Corrected("Sum", [4]).correct(4, tick=5)
    assert found.state.read_at - (NOON_MS + 5 * PERIOD_MS) < 1000 * CUMULATIVE_SECONDS
    [closed] = found.transitions
    assert isinstance(closed, Closed)
    assert closed.reason == "withdrawn"


def test_a_correction_before_a_value_is_final_does_not_start_over() -> None:
    found = Corrected("Average", [4]).correct(4, tick=5)
    assert found.corrected == 1
    assert found.update
    assert found.update.replayed == 1, "the reading that has become final"
    assert len(found.update.evaluation.series) == 2
