"""Days and nights of a fleet: the watcher evaluates by what the nights have trained.

Two machines, read every half hour. Each midnight their models are trained anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ops_anomaly.aws.models import parse_index, write_index
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    INCIDENTS_KEY,
    INDEX_KEY,
    model_key,
)
from ops_anomaly.detection.artifact import digest
from ops_anomaly.watcher.feedback_file import give_feedback
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.incident_job import decode_incidents
from ops_anomaly.watcher.incidents import Incident
from ops_anomaly.watcher.watch_file import PER_METRIC, model_of
from tests.support.retraining import load
from tests.support.shard_jobs import CLOSED, OPENED, World
from training.retraining.batch import train_batch
from training.retraining.documents import Outcome, RunPlan, Services
from training.retraining.plan import plan_run
from training.retraining.report import finish_run
from training.retraining.services import CloudWatchReader
from training.versions import RUN_METADATA, PublishedArtifact

PERIOD, HOUR, DAY = 1_800, 3_600, 86_400
MONDAY = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp())
HISTORY_DAYS = 14
A, B = load("a"), load("b")


@dataclass(frozen=True)
class StoredModels:
    """Models in the bucket of a world."""

    world: World
    bucket: str = "models"

    def read(self, name: str) -> PublishedArtifact | None:
        stored = self.world.store.objects.get(model_key(name))
        if stored is None:
            return None
        run = stored.metadata[RUN_METADATA]
        sha256 = stored.metadata[DIGEST_METADATA]
        return PublishedArtifact(stored.data, stored.etag, sha256, stored.version, run)

    def publish(
        self, name: str, data: bytes, *, run: str, created: str, replaces: str | None
    ) -> str:
        live = self.read(name)
        assert (live.etag if live else None) == replaces
        about = {DIGEST_METADATA: digest(data), CREATED_METADATA: created, RUN_METADATA: run}
        return self.world.store.put(model_key(name), data, **about)

    def update_index(self, names: Collection[str]) -> None:
        live = {name: model.version for name in names if (model := self.read(name))}
        self.world.store.put(INDEX_KEY, write_index({**self.index, **live}))

    @property
    def index(self) -> dict[str, str]:
        """The index of models."""
        stored = self.world.store.objects.get(INDEX_KEY)
        return parse_index(stored.data) if stored else {}


class Fleet:
    """Two machines, the watcher, and the nights.

    Attributes
    ----------
    now : int
        Seconds since Monday began.
    """

    def __init__(self) -> None:
        self.world = World(0, name="web", model=PER_METRIC, history_days=HISTORY_DAYS)
        self.world.metrics = [A, B]
        self.models = StoredModels(self.world)
        self.now, self.random = 0, np.random.default_rng(5)
        for metric in self.world.metrics:
            begin = MONDAY - HISTORY_DAYS * DAY
            times = np.arange(begin, MONDAY, PERIOD)
            self.world.cloudwatch.put(metric, begin, [self.ordinary(time) for time in times])

    def ordinary(self, time: int) -> float:
        return 50 + 20 * np.sin(2 * np.pi * time / DAY) + self.random.normal(0.0, 2.0)

    def live_until(self, day: int, hour: float, a: float | None = None) -> None:
        """Live until an hour of a day; machine A has this value until then, if one is given."""
        while self.now < day * DAY + hour * HOUR:
            time = MONDAY + self.now
            value = self.ordinary(time) if a is None else a
            self.world.cloudwatch.put(A, time, [value])
            self.world.cloudwatch.put(B, time, [self.ordinary(time)])
            self.now += PERIOD
            self.world.run_at(MONDAY + self.now + 90.0)

    def night(self) -> dict[str, Outcome]:
        """Train all models anew; return what became of them, by machine."""
        now = MONDAY + self.now
        plan = RunPlan(
            run=f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H%M%SZ}",
            until=1000 * now,
            kinds=("contextual",),
            places=1,
        )
        store = self.world.store
        services = Services(store, CloudWatchReader(self.world.cloudwatch), self.models)
        plan = plan_run(store, [Watched(self.world.options, self.world.metrics)], plan)
        for number in range(plan.batches):
            train_batch(services, plan.run, number)
        return {each.metric: each for each in finish_run(services, plan.run).outcomes}

    @property
    def incidents(self) -> list[Incident]:
        return decode_incidents(self.world.store.objects[INCIDENTS_KEY].data).board.incidents

    @property
    def sent(self) -> list[str]:
        """The detail types of the events, in order."""
        return [each.detail_type for each in self.world.event.sent]

    def model_of_next_anomaly(self) -> object:
        """Return the model by which the last notified anomaly was found."""
        return self.world.event.sent[-1].detail["members"][0]["model"]


def test_metrics_are_evaluated_by_the_models_of_the_night_before() -> None:
    fleet = Fleet()
    fleet.live_until(0, 10)
    assert fleet.models.index == {}
    fleet.live_until(1, 0)
    first = fleet.night()
    name = str(model_of(fleet.world.options, A))
    assert [each.status for each in first.values()] == ["published", "published"]
    assert fleet.models.index[name] == first[str(A)].version
    fleet.live_until(1, 10)
    assert fleet.sent == [], "another detector is no reason to notify anybody"
    fleet.live_until(1, 12, a=140.0)
    assert fleet.sent == [OPENED]
    assert fleet.model_of_next_anomaly() == {"name": name, "version": first[str(A)].version}


def test_an_incident_that_nobody_has_marked_does_not_become_ordinary() -> None:
    fleet = Fleet()
    fleet.live_until(1, 0)
    first = fleet.night()
    fleet.live_until(1, 10)
    fleet.live_until(1, 13, a=140.0)
    fleet.live_until(2, 0)
    assert fleet.sent == [OPENED, CLOSED]
    second = fleet.night()
    assert second[str(A)].status == "refused"
    assert "looks like an incident" in second[str(A)].reason
    assert second[str(B)].status == "published"
    assert fleet.models.index[first[str(A)].model] == first[str(A)].version
    [incident] = fleet.incidents
    give_feedback(
        fleet.world.store, incident, "real", "somebody", 1000 * (MONDAY + fleet.now), None
    )
    fleet.live_until(3, 0)
    third = fleet.night()
    assert third[str(A)].status == "published", third[str(A)].reason
    fleet.live_until(3, 10)
    fleet.live_until(3, 13, a=140.0)
    fleet.live_until(3, 20)
    assert fleet.sent == [OPENED, CLOSED] * 2, "the same again is no less of an incident"


def test_a_night_within_an_incident_leaves_the_model_and_the_incident_alone() -> None:
    fleet = Fleet()
    fleet.live_until(1, 0)
    fleet.night()
    fleet.live_until(1, 22.5)
    fleet.live_until(2, 0, a=140.0)
    second = fleet.night()
    assert second[str(A)].status == "refused"
    assert "in an incident" in second[str(A)].reason
    fleet.live_until(2, 3, a=140.0)
    fleet.live_until(2, 20)
    assert fleet.sent == [OPENED, CLOSED]


def test_a_model_that_is_published_within_an_incident_does_not_notify_again() -> None:
    fleet = Fleet()
    fleet.live_until(1, 0)
    first = fleet.night()[str(A)]
    fleet.live_until(1, 10)
    fleet.live_until(1, 11, a=140.0)
    live = fleet.models.read(first.model)
    assert live
    fleet.models.publish(
        first.model, live.data, run="by-hand", created="2026-11-24T11:00:00Z", replaces=live.etag
    )
    fleet.models.update_index([first.model])
    fleet.live_until(1, 13, a=140.0)
    fleet.live_until(1, 20)
    assert fleet.world.store.keys_read.count(model_key(first.model)) > 2
    assert fleet.sent == [OPENED, CLOSED]
