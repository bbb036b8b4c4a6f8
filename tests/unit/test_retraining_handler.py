"""The functions of nightly retraining: what a plan needs, and what a retry of it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops_anomaly.aws.objects import FLEET_KEY, WATCH_KEY
from ops_anomaly.aws.settings import SettingsError
from ops_anomaly.watcher.fleet import ABSENCE_MS, Fleet, Member
from ops_anomaly.watcher.watch_file import Options, parse_watch_file, write_watch_file
from tests.support.retraining import PLAN, fleet_of, load, read_daily
from training import PublishError, SourceError
from training.retraining.documents import Outcome, RunPlan, Services
from training.retraining.handler import Retraining, RetrainingSettings, log_failure, planned
from training.retraining.plan import plan_run
from training.retraining.services import FolderStore

NEW = RunPlan(run=PLAN.run, until=PLAN.until, execution="nightly")


class FakeS3:
    """A bucket, of which nothing is asked but whether it is versioned."""

    def __init__(self, status: str = "Enabled") -> None:
        self.status = status

    def get_bucket_versioning(self, Bucket: str) -> dict[str, str]:
        return {"Status": self.status}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def retraining(store: FolderStore, s3: Any = None) -> Retraining:
    settings = RetrainingSettings(bucket="models", concurrency=2)
    return Retraining(settings, Services(store, read_daily), cloudwatch=None, s3=s3, events=None)


def publish(store: FolderStore, **options: Any) -> None:
    """Publish a watch file of one metric, which CloudWatch is not asked for."""
    entry = {"name": "web", "metric": str(load("a")), **options}
    content = write_watch_file(parse_watch_file({"version": 1, "metrics": [entry]}))
    store.overwrite(WATCH_KEY, content)


def test_a_run_is_planned_by_the_published_watch_file(store: FolderStore) -> None:
    publish(store, model="per-metric")
    plan = planned(retraining(store, FakeS3()), NEW)
    assert (plan.run, plan.execution, plan.metrics, plan.batches) == (PLAN.run, "nightly", 1, 1)


def listed(store: FolderStore, listed_at: int, *hosts: str) -> None:
    """Leave the watcher's list of the fleet, of the watch file that is published."""
    options = Options(name="web", model="per-metric")
    stored = store.read(WATCH_KEY)
    assert stored
    members = [Member(str(load(host)), 0, 0, listed_at) for host in hosts]
    fleet = Fleet(stored.etag, listed_at, 1, [options], members)
    store.overwrite(FLEET_KEY, msgspec.json.encode(fleet))


def test_the_metrics_are_those_that_the_watcher_evaluates(store: FolderStore) -> None:
    publish(store, model="per-metric")
    listed(store, NEW.until - 3_600_000, "a", "silent-at-night")
    assert planned(retraining(store, FakeS3()), NEW).metrics == 2


def test_a_list_of_another_watch_file_or_of_yesterday_is_not_gone_by(store: FolderStore) -> None:
    publish(store, model="per-metric")
    listed(store, NEW.until - ABSENCE_MS, "a", "gone")
    assert planned(retraining(store, FakeS3()), NEW).metrics == 1
    listed(store, NEW.until, "a", "gone")
    publish(store, model="per-metric", sensitivity=1.0)
    later = msgspec.structs.replace(NEW, run="later")
    assert planned(retraining(store, FakeS3()), later).metrics == 1


def test_a_plan_that_is_there_already_is_returned(store: FolderStore) -> None:
    before = plan_run(store, fleet_of("a", "b"), NEW)
    assert planned(retraining(store), NEW) == before  # neither S3 nor CloudWatch is asked


def test_without_a_watch_file_it_says_how_to_publish_one(store: FolderStore) -> None:
    with pytest.raises(SourceError, match=r"no watch file .* ops-anomaly watch FILE --bucket"):
        planned(retraining(store, FakeS3()), NEW)


def test_without_an_entry_that_asks_for_models_it_says_how_one_does(store: FolderStore) -> None:
    publish(store)
    with pytest.raises(SourceError, match="model: per-metric"):
        planned(retraining(store, FakeS3()), NEW)


def test_nothing_is_planned_that_could_not_be_rolled_back(store: FolderStore) -> None:
    publish(store, model="per-metric")
    with pytest.raises(PublishError, match="not versioned"):
        planned(retraining(store, FakeS3("Suspended")), NEW)


def test_settings_say_what_is_missing_or_malformed() -> None:
    with pytest.raises(SettingsError, match="MODEL_BUCKET is not set"):
        RetrainingSettings.from_environment({})
    with pytest.raises(SettingsError, match="RETRAIN_CONCURRENCY is 0"):
        RetrainingSettings.from_environment({"MODEL_BUCKET": "b", "RETRAIN_CONCURRENCY": "0"})


@pytest.mark.parametrize(("status", "lines"), [("failed", 1), ("published", 0), ("refused", 0)])
def test_the_log_says_which_metrics_failed(
    status: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    log_failure(Outcome("web-a", "Shop/Web Load", "web", status, "ValueError: what it says"))
    assert len(caplog.records) == lines
