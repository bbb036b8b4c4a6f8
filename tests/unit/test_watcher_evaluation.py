"""The evaluation of one metric: any detector, by its protocol alone."""

from __future__ import annotations

from collections.abc import Mapping
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
from ops_anomaly.watcher.evaluation import Evaluator, MetricEvaluation
from ops_anomaly.watcher.state import (
    FIRST_EVALUATION_PERIODS,
    MIN_PERIODS,
    CheckpointCache,
    MetricState,
    decode_checkpoints,
    encode_checkpoints,
)
from ops_anomaly.watcher.watch_file import Options
from tests.support.watcher import NOON_MS

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
    """A metric with one reading a day, its model, and its evaluator."""

    detector: RecordingDetector = field(default_factory=RecordingDetector)
    version: str = "v1"
    options: Options = field(default_factory=lambda: Options(name="orders", model="m"))
    state: MetricState = field(default_factory=lambda: MetricState.empty(METRIC))
    cache: CheckpointCache = field(default_factory=CheckpointCache)

    def get(self, name: str) -> Any:
        return SimpleNamespace(detector=self.detector, version=self.version, trained_on=1_000)

    def evaluate(self, until: int, *missing: int) -> MetricEvaluation:
        """Evaluate what CloudWatch has up to so many days after noon; keep the outcome."""
        periods = [n for n in range(until - MIN_PERIODS, until) if n not in missing]
        times = NOON_OF_DAYS + STEP * np.array(periods, np.int64)
        series, end = Series(times, np.ones(len(times))), NOON_OF_DAYS + until * STEP
        evaluator = Evaluator(self, self.cache, print)
        found = evaluator.evaluate_metric(self.state, series, end, self.options)
        self.state = found.state
        if found.update:
            self.cache.put(str(METRIC), found.update.checkpoint)
        return found

    def updates(self, found: MetricEvaluation) -> list[list[int]]:
        """Return what the detector was updated with, in the end."""
        assert found.update
        detector = found.update.checkpoint.history
        assert isinstance(detector, RecordingDetector)
        return [periods for periods, _ in detector.updates]


FIRST = -FIRST_EVALUATION_PERIODS
HISTORY = list(range(-MIN_PERIODS, FIRST))


def test_a_new_metric_replays_its_history_without_alerts() -> None:
    world = World()
    found = world.evaluate(0)
    assert world.updates(found) == [HISTORY, [-3, -2, -1]]
    assert found.update
    assert found.update.replayed == len(HISTORY)
    assert found.update.evaluation.fresh == [0, 1, 2]
    [checkpoint] = [found.update.checkpoint]
    assert checkpoint.until == NOON_OF_DAYS - STEP
    assert checkpoint.resume(RecordingDetector()).warm_up == len(HISTORY)  # type: ignore[attr-defined]


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


def test_a_model_trained_on_some_fresh_readings_evaluates_the_others() -> None:
    world = World(RecordingDetector(last_timestamp=NOON_OF_DAYS - 2 * STEP))
    found = world.evaluate(0)
    assert world.updates(found) == [[-1]]
    assert found.update
    assert found.update.evaluation.fresh == [0]


def test_a_model_trained_on_all_readings_has_nothing_to_evaluate() -> None:
    world = World(RecordingDetector(last_timestamp=NOON_OF_DAYS))
    assert world.evaluate(0).update is None


def test_a_late_reading_starts_over_from_the_model() -> None:
    world = World()
    world.evaluate(0, -2)
    found = world.evaluate(1)
    assert found.late == 1
    assert world.updates(found) == [list(range(-MIN_PERIODS + 1, -2)), [-2, -1, 0]]
    assert found.update
    assert found.update.evaluation.fresh == [0, 2]


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
    found = World(RecordingDetector(has_sensitivity=has_sensitivity)).evaluate(0)
    assert found.update
    detector = found.update.checkpoint.history
    assert isinstance(detector, RecordingDetector)
    assert {sensitivity for _, sensitivity in detector.updates} == {passed}


@pytest.mark.parametrize(("updates", "is_resumed"), [(2.0, True), (1e9, False)])
def test_a_stored_checkpoint_is_resumed_or_done_without(updates: float, is_resumed: bool) -> None:
    world = World()
    world.evaluate(0)
    checkpoint = world.cache.get(str(METRIC))
    assert checkpoint
    [stored] = decode_checkpoints(encode_checkpoints({"m": checkpoint})).values()
    stored.history.parameters["updates"] = updates
    world.cache.put(str(METRIC), stored)
    found = world.evaluate(1)
    assert len(world.updates(found)) == (1 if is_resumed else 2)


def test_a_checkpoint_that_ends_at_another_time_is_done_without() -> None:
    world = World()
    world.evaluate(0)
    checkpoint = world.cache.get(str(METRIC))
    assert checkpoint
    [stored] = decode_checkpoints(encode_checkpoints({"m": checkpoint})).values()
    world.cache.put(str(METRIC), stored)
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
