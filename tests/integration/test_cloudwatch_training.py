"""From CloudWatch to runs, and the watch file into the bucket, by command, over moto's server."""

from __future__ import annotations

import json
import time
from pathlib import Path

import boto3
import msgspec
import pytest

from local.events import put_series
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import WATCH_KEY, model_key
from ops_anomaly.watcher.feedback import Feedback, FeedbackFile, Mark
from ops_anomaly.watcher.watch_file import parse_watch_file
from tests.conftest import Bucket
from tests.support.command import ROOT, command
from tests.support.fakes import small_artifact
from training.sources.series import LabelledSeries

READINGS = 700

WATCH_FILE = """
version: 1
metrics:
  - name: first
    metric: Shop/Training Load Host=a Average 300
    model: shop-a
selectors:
  - name: rest
    namespace: Shop/Training
    metric: Load
    dimensions: { Host: "*" }
    statistic: Average
    period: 300
    model: shop-rest
    sensitivity: 0.3
"""


def load(host: str) -> Metric:
    return Metric.parse(f"Shop/Training Load Host={host} Average 300")


@pytest.fixture(scope="module")
def shop(s3_url: str, simulated: LabelledSeries) -> str:
    """Three hosts in moto's CloudWatch, one of them not there for long."""
    cloudwatch = boto3.client("cloudwatch", endpoint_url=s3_url)
    until = int(time.time() - 60) // 300 * 300
    for host, count in {"a": READINGS, "b": 30, "c": READINGS}.items():
        put_series(cloudwatch, load(host), until, simulated.values[:count])
    return s3_url


@pytest.fixture
def watch_file(tmp_path: Path) -> Path:
    path = tmp_path / "watch.yaml"
    path.write_text(WATCH_FILE)
    return path


def test_a_model_is_trained_on_a_metric(shop: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = command(
        *("train", "--cloudwatch", str(load("a")), "--days", "3", "--epochs", "2"),
        *("--name", "shop"),
        *("--out", str(folder)),
        AWS_ENDPOINT_URL=shop,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "metrics.json").read_text())
    assert record["data"]["origin"] == "CloudWatch Shop/Training Load Host=a Average 300, 3 days"
    assert "largest share of injected faults" in record["rule"]
    assert f"{READINGS} readings" in done.stdout


def test_every_model_of_a_watch_file_is_trained_without_real_incidents(
    shop: str, watch_file: Path, tmp_path: Path
) -> None:
    yesterday = int(time.time() - 86_400) // 300 * 300_000
    mark = Mark("id", str(load("a")), yesterday, yesterday + 600_000, 1.0, 2.0, 0.0, 1.0)
    feedback = FeedbackFile(feedback=[Feedback("incident", "real", "page", 0, marks=[mark])])
    (tmp_path / "feedback.json").write_bytes(msgspec.json.encode(feedback))
    done = command(
        *("train", "--watch", str(watch_file), "--feedback", "feedback.json", "--days", "3"),
        *("--candidate", "contextual", "--json"),
        cwd=tmp_path,
        AWS_ENDPOINT_URL=shop,
    )
    assert done.returncode == 0, done.stderr
    assert f"Of 2 metrics, the one with the most readings: {load('c')}" in done.stderr
    for record, (model, host) in zip(
        json.loads(done.stdout)["runs"], {"shop-a": "a", "shop-rest": "c"}.items(), strict=True
    ):
        assert (record["name"], record["folder"]) == (model, f"runs/{model}")
        assert record["data"]["origin"] == f"CloudWatch {load(host)}, 3 days"
        assert len(record["data"]["left_out"]) == (host == "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cloudwatch", "Shop/Training Lod Average 300"), "no readings of the last 2 days"),
        (("--cloudwatch", str(load("b"))), "has 30 readings"),
        (("--cloudwatch", "Load"), "NAMESPACE METRIC"),
        (("--cloudwatch", str(load("a")), "--simulated"), "exclude each other"),
        (("--watch", "watch.yaml", "--simulated"), "leave out --simulated"),
    ],
)
def test_a_metric_that_cannot_be_trained_on_is_one_message(
    shop: str, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = command("train", *arguments, "--days", "2", cwd=tmp_path, AWS_ENDPOINT_URL=shop)
    assert done.returncode in {1, 2}
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_watch_file_is_shown_checked_and_published(
    shop: str, watch_file: Path, bucket: Bucket
) -> None:
    shown = command("watch", str(watch_file), AWS_ENDPOINT_URL=shop)
    assert shown.returncode == 0, shown.stderr
    assert "3 metrics of 2 entries; expect 1.1 false alerts a week" in shown.stdout
    assert "Models were not read" in shown.stdout
    assert "Not published" in shown.stdout

    publishing = ("watch", str(watch_file), "--bucket", bucket.name)
    refused = command(*publishing, AWS_ENDPOINT_URL=shop)
    assert refused.returncode == 1
    assert "shop-a (of entry first), shop-rest (of entry rest)" in refused.stderr

    for name in ("shop-a", "shop-rest"):
        bucket.s3.put_object(Bucket=bucket.name, Key=model_key(name), Body=small_artifact())
    done = command(*publishing, AWS_ENDPOINT_URL=shop)
    assert done.returncode == 0, done.stderr
    assert f"Published s3://{bucket.name}/{WATCH_KEY}" in done.stdout
    assert "rest: sensitivity has no effect: its model shop-rest is a value forest" in done.stdout
    assert "expect 0.0 false alerts a week" in done.stdout
    live = bucket.s3.get_object(Bucket=bucket.name, Key=WATCH_KEY)
    assert live["VersionId"] in done.stdout
    entries = parse_watch_file(json.loads(live["Body"].read())).entries
    assert [entry.model for entry in entries] == ["shop-a", "shop-rest"]
    assert "already live" in command(*publishing, AWS_ENDPOINT_URL=shop).stdout


def test_the_example_beside_the_readme_is_a_watch_file(shop: str) -> None:
    done = command("watch", str(ROOT / "watch.yaml"), AWS_ENDPOINT_URL=shop)
    assert done.returncode == 0, done.stderr
