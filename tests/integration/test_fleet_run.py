"""A fleet retrained in processes, on Dask, and into a bucket of moto's server: the same models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from local.events import put_series
from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.objects import INDEX_KEY
from tests.conftest import Bucket
from tests.support.command import command
from tests.support.forwarding import running
from tests.support.retraining import PLAN, InFolder, daily, fleet_of, load, read_daily
from tests.support.roles import EnforcedRole, published_policy
from training.retraining.batch import train_batch
from training.retraining.documents import Report
from training.retraining.local_run import Workers, train_fleet
from training.retraining.plan import plan_run
from training.retraining.report import finish_run
from training.retraining.services import Account
from training.sources.series import LabelledSeries

ROOT = Path(__file__).parents[2]
HOSTS = ("a", "b", "c")


def trained(folder: Path, workers: Workers) -> tuple[Report, dict[str, bytes]]:
    """Return the report of a run over the hosts, and its artifacts."""
    connect = InFolder(folder)
    plan_run(connect().store, fleet_of(*HOSTS), PLAN, workers=2)
    report, problems = train_fleet(connect, PLAN.run, workers, lambda *_: None)
    assert problems == []
    artifacts = (folder / "runs").glob(f"*/{PLAN.run}/model.safetensors")
    return report, {path.parts[-3]: path.read_bytes() for path in artifacts}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[str, bytes]]:
    report, artifacts = trained(tmp_path_factory.mktemp("alone"), Workers())
    assert report.counts["trained"] == len(artifacts) == len(HOSTS)
    return report, artifacts


def test_processes_train_the_same_models_byte_for_byte(
    alone: tuple[Report, dict[str, bytes]], tmp_path: Path
) -> None:
    assert trained(tmp_path, Workers(jobs=2)) == alone


def test_a_cluster_of_dask_does_too(alone: tuple[Report, dict[str, bytes]], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="optional: the extra dask")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster:
        assert trained(tmp_path, Workers(dask=cluster.scheduler_address)) == alone


@pytest.fixture
def account(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account in which the policy to copy allows what it says, and no more."""
    role = EnforcedRole(bucket.endpoint_url, published_policy("publish", bucket.name))
    with running(role) as enforced:
        monkeypatch.setenv("AWS_ENDPOINT_URL", enforced.url)
        yield Account(bucket.name, enforced.url)


def test_models_are_published_into_the_bucket_and_can_be_served(
    account: Account, alone: tuple[Report, dict[str, bytes]]
) -> None:
    services = replace(account(), read=read_daily)
    plan = plan_run(services.store, fleet_of(*HOSTS), PLAN)
    for number in range(plan.batches):
        train_batch(services, plan.run, number)
    report = finish_run(services, plan.run)
    assert report.counts["published"] == len(HOSTS)
    assert {each.sha256 for each in report.outcomes} == {each.sha256 for each in alone[0].outcomes}
    registry = ModelRegistry(
        services.store, ttl_seconds=60, cache_bytes=2**20, on_refresh_failed=lambda *_: None
    )
    assert registry.names() == sorted(each.model for each in report.outcomes)
    for each in report.outcomes:
        assert registry.get(each.model).version == each.version


# --- the command --------------------------------------------------------------------------------

WATCH_FILE = """
version: 1
selectors:
  - name: web
    namespace: Shop/Nightly
    metric: Load
    dimensions: { Host: "*" }
    statistic: Average
    period: 300
    model: per-metric
"""

NAMED = """
metrics:
  - name: gone
    metric: Shop/Nightly Load Host=gone Average 300
    model: fleet-load
"""


@pytest.fixture
def shop(s3_url: str, simulated: LabelledSeries, tmp_path: Path) -> str:
    """Two hosts in moto's CloudWatch, of which one has hardly any readings."""
    (tmp_path / "watch.yaml").write_text(WATCH_FILE)
    (tmp_path / "gone.yaml").write_text(WATCH_FILE.replace("Nightly", "Closed"))
    (tmp_path / "both.yaml").write_text(WATCH_FILE.replace('"*"', '"new"') + NAMED)
    (tmp_path / "named.yaml").write_text(WATCH_FILE.replace("per-metric", "fleet-load"))
    cloudwatch = boto3.client("cloudwatch", endpoint_url=s3_url)
    until = int(time.time() - 60) // 300 * 300
    values = daily("x", days=21).values[:700]
    for host, count in {"full": 700, "new": 30}.items():
        metric = load(host)
        put_series(
            cloudwatch,
            type(metric)("Shop/Nightly", "Load", (("Host", host),), "Average", 300),
            until,
            values[:count],
        )
    return s3_url


def test_train_publishes_what_may_be_published_and_says_why_not(
    shop: str, bucket: Bucket, tmp_path: Path
) -> None:
    arguments = ("train", "--watch", "watch.yaml", "--days", "3", "--json")
    done = command(*arguments, cwd=tmp_path, AWS_ENDPOINT_URL=shop, MODEL_BUCKET=bucket.name)
    assert done.returncode == 0, done.stderr
    fleet = json.loads(done.stdout)["fleet"]
    by_host = {each["metric"].split("Host=")[1].split()[0]: each for each in fleet["outcomes"]}
    assert re.fullmatch(r"Too few readings: \d+, and 600 are needed", by_host["new"]["reason"])
    assert by_host["full"]["status"] == "published", by_host
    index = json.loads(bucket.s3.get_object(Bucket=bucket.name, Key=INDEX_KEY)["Body"].read())
    assert index == {"models": {by_host["full"]["model"]: by_host["full"]["version"]}}
    arguments = ("train", "--resume", fleet["run"], "--bucket", bucket.name)
    resumed = command(*arguments, cwd=tmp_path, AWS_ENDPOINT_URL=shop)
    assert resumed.returncode == 0, resumed.stderr
    lines = resumed.stdout.splitlines()
    assert any(line.split() == ["web", "1", "0", "0", "1", "0"] for line in lines)
    assert max(len(line) for line in lines if "ops-anomaly runs" not in line) <= 80
    assert f"Report: ops-anomaly runs {fleet['run']} --bucket {bucket.name}" in resumed.stdout
    assert "refused: Shop/Nightly Load Host=new Average 300" in resumed.stdout


def test_a_named_model_that_cannot_be_trained_keeps_no_metric_from_its_own(
    shop: str, tmp_path: Path
) -> None:
    arguments = ("train", "--watch", "both.yaml", "--days", "3", "--json")
    done = command(*arguments, cwd=tmp_path, AWS_ENDPOINT_URL=shop)
    assert done.returncode == 1
    [outcome] = json.loads(done.stdout)["fleet"]["outcomes"]
    assert "Host=new" in outcome["metric"]
    assert "Error: of the models that the watch file names: " in done.stderr
    assert "Host=gone" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jobs", "2"), "go with --watch"),
        (("--watch", "named.yaml", "--jobs", "2"), "model: per-metric"),
        (("--watch", "gone.yaml"), "no metric matches the entries of web"),
    ],
)
def test_what_cannot_be_run_is_one_message(
    shop: str, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = command("train", *arguments, cwd=tmp_path, AWS_ENDPOINT_URL=shop)
    assert done.returncode in {1, 2}
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_bucket_has_to_be_versioned(s3_url: str) -> None:
    boto3.client("s3", endpoint_url=s3_url).create_bucket(Bucket="plain")
    from training import PublishError

    with pytest.raises(PublishError, match="not versioned"):
        Account("plain", s3_url)()


LEAN = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            raise ImportError(f"{{name}} is not in the package")

sys.meta_path.insert(0, Refuse())
from tests.support.forwarding import running
from tests.support.retraining import PLAN, daily, load
from training.publishing import BucketModels
from training.retraining.batch import train_model
from training.retraining.documents import Task
from training.retraining.report import announce, finish_run
task = Task("m", str(load("a")), "web", 672, PLAN.until)
verdict, kind, data = train_model(PLAN, task, daily("a"), None)
assert verdict.publish and data, verdict
"""


def test_it_trains_where_neither_the_command_line_nor_keras_is_installed() -> None:
    forbidden = {
        *("rich", "typer", "click", "keras", "jax", "pandas", "matplotlib", "jinja2", "yaml"),
        *("pooch", "requests"),
    }
    done = subprocess.run(
        [sys.executable, "-c", LEAN.format(forbidden=forbidden)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
