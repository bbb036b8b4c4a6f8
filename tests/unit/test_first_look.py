"""A metric that is new to the watcher: what came before teaches, and little of it is enough."""

from __future__ import annotations

import numpy as np
import pytest

from ops_anomaly.aws.objects import checkpoint_key
from ops_anomaly.watcher.evaluation import MIN_SLOTS
from ops_anomaly.watcher.fleet import Watched
from tests.support.shard_jobs import OPENED, SPIKE, World
from tests.support.watcher import NOON, machines


@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
def test_an_anomaly_before_the_first_look_silences_none_after_it(is_cold: bool) -> None:
    world = World(1)
    world.set(SPIKE, -15)
    world.look(0)
    world.set(SPIKE + 20, 3)
    for tick in range(1, 8):
        if is_cold:
            world.store.objects.pop(checkpoint_key(1, 0), None)
        world.look(tick, by=world.new_watcher() if is_cold else None)
    assert world.told == [("i-00000", OPENED)]
    assert world.event.told[0].detail["first_seen"] == "2026-11-25T12:15:00Z"


@pytest.mark.parametrize(("period", "days"), [(1_800, 1), (3_600, 1), (21_600, 14), (86_400, 60)])
def test_however_long_the_period_there_is_enough_to_judge_by(period: int, days: int) -> None:
    world = World(0, history_days=days, sensitivity=0.5)
    [metric] = world.metrics = machines(1, period)
    noon = NOON // period * period
    values = 30.0 + np.random.default_rng(1).normal(0.0, 0.3, 2 * MIN_SLOTS)
    world.cloudwatch.put(metric, noon - len(values) * period, values)
    for tick, value in enumerate((30.0, 30_000.0)):
        world.cloudwatch.put(metric, noon + tick * period, [value])
        world.clock.seconds = noon + (tick + 1) * period + 90
        world.watcher.look(1, 0, [Watched(world.options, [metric])])
    assert world.told == [("i-00000", OPENED)]
