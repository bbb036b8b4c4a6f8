"""`ops-anomaly models` and `runs` in a bucket of moto's server: who trained what, and why not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from commands import models as command_module
from commands.__main__ import main
from ops_anomaly.aws.objects import CREATED_METADATA, DIGEST_METADATA, model_key
from ops_anomaly.detection.artifact import digest
from ops_anomaly.watcher.watch_file import PER_METRIC, Options, model_of
from tests.conftest import Bucket
from tests.support.fakes import CREATED, small_artifact
from tests.support.forwarding import running
from tests.support.retraining import load
from tests.support.retraining_reports import RUN, night, outcome
from tests.support.roles import EnforcedRole, actions, published_policy
from training.retraining.documents import RunPlan, Summary, key_of, outcome_key, summary_key
from training.retraining.guard import Cause
from training.retraining.page import run_page
from training.retraining.runs import list_runs, read_page, run_of, unpublished_since
from training.versions import RUN_METADATA, list_live, read_history, s3_client

MODEL = "web-9b13adae612bbe9d"
MANUAL = "2026-11-26T101500Z"
UNFINISHED = "2026-11-28T020000Z"


def put(bucket: Bucket, key: str, data: bytes) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=data)


def put_run(bucket: Bucket, run: str, execution: str | None, *, ended: bool = True) -> None:
    report = msgspec.structs.replace(night(), run=run, execution=execution)
    plan = RunPlan(run=run, until=report.started, execution=execution, metrics=9, batches=1)
    put(bucket, key_of(run, "plan.json"), msgspec.json.encode(plan))
    if ended:
        summary = msgspec.convert(report, Summary, from_attributes=True)
        put(bucket, report.page, run_page(report).encode())
        put(bucket, summary_key(run), msgspec.json.encode(summary))


def put_model(bucket: Bucket, name: str, run: str, threshold: float = 0.75) -> str:
    """Publish a model, and return its VersionId."""
    data = small_artifact(threshold)
    metadata = {DIGEST_METADATA: digest(data), CREATED_METADATA: CREATED, RUN_METADATA: run}
    response = bucket.s3.put_object(
        Bucket=bucket.name, Key=model_key(name), Body=data, Metadata=metadata
    )
    return str(response["VersionId"])


def put_outcome(bucket: Bucket, run: str, reason: str, cause: Cause) -> None:
    refused = msgspec.structs.replace(outcome(1, "refused", reason, cause=cause), model=MODEL)
    put(bucket, outcome_key(run, MODEL), msgspec.json.encode(refused))


@pytest.fixture
def printed(
    bucket: Bucket, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What a command prints in a terminal of 80 columns."""

    def run(*arguments: str) -> str:
        console = Console(width=80, color_system=None, soft_wrap=False)
        monkeypatch.setattr(command_module, "console", console)
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--bucket", bucket.name, "--endpoint-url", bucket.endpoint_url])
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def test_the_run_of_a_model_is_named_and_why_a_later_one_refused_it(
    bucket: Bucket, printed: Callable[..., str]
) -> None:
    put_run(bucket, RUN, "1c2d")
    put_model(bucket, MODEL, RUN)
    time.sleep(1 - time.time() % 1)  # S3 has times to the second
    reason = "It finds 61 % of the injected faults, and the live model 84 %"
    put_outcome(bucket, UNFINISHED, reason, "fewer faults")
    text = printed("models", MODEL)
    assert f"run {RUN} (stack)" in text
    assert f"by run {UNFINISHED}: It finds 61 %" in text
    assert f"ops-anomaly train --name {MODEL} --cloudwatch" in text
    record = json.loads(printed("models", MODEL, "--json"))
    assert record["models"][0]["not_published"]["run"] == UNFINISHED


def test_a_model_that_was_published_since_has_no_old_reason(
    bucket: Bucket, printed: Callable[..., str]
) -> None:
    put_outcome(bucket, RUN, "The metric has stopped", "stopped")
    put_model(bucket, MODEL, MANUAL)
    [model] = json.loads(printed("models", MODEL, "--json"))["models"]
    assert model["not_published"] is None


def test_a_metric_without_a_model_says_why_it_has_none(
    bucket: Bucket, printed: Callable[..., str]
) -> None:
    put_model(bucket, "another", MANUAL)
    put_outcome(bucket, RUN, "Too few readings: 30, and 600 are needed", "too few readings")
    text = printed("models", MODEL)
    assert "no model has been published yet" in text
    assert f"by run {RUN}: Too few readings: 30" in " ".join(text.split())
    assert "another" not in text
    [model] = json.loads(printed("models", MODEL, "--json"))["models"]
    assert (model["live"], model["versions"]) == (None, [])
    assert model["not_published"]["status"] == "refused"


def test_an_entry_with_a_long_name_has_its_models(
    bucket: Bucket, printed: Callable[..., str]
) -> None:
    entry = 60 * "x"
    own = str(model_of(Options(name=entry, model=PER_METRIC), load("a")))
    put_model(bucket, own, RUN)
    [model] = json.loads(printed("models", entry, "--json"))["models"]
    assert model["name"] == own


def test_thousands_of_models_are_a_line_an_entry(
    bucket: Bucket, printed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_run(bucket, RUN, "1c2d")
    monkeypatch.setattr(command_module, "MAX_SHOWN", 3)
    names = [f"web-{number:016x}" for number in range(3)]
    for name in [*names, "ec2-cpu"]:
        put(bucket, model_key(name), b"never read")
    text = printed("models")
    assert "web-* 3 " in " ".join(text.split())
    assert "ec2-cpu 1 " in " ".join(text.split())
    assert "2 published, 1 kept, 3 refused, 1 failed, 2 not reached" in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines() if "--bucket" not in line)
    record = json.loads(printed("models", "--json"))
    assert [each["name"] for each in record["models"]] == sorted([*names, "ec2-cpu"])
    narrowed = json.loads(printed("models", "web-0000000000000002", "--json"))
    assert [each["name"] for each in narrowed["models"]] == ["web-0000000000000002"]
    assert json.loads(printed("models", "ec2", "--json"))["models"][0]["live"]


def test_runs_are_listed_newest_first_and_their_report_is_saved(
    bucket: Bucket, printed: Callable[..., str], tmp_path: Path
) -> None:
    assert "no runs yet" in printed("runs")
    for run, execution in ((MANUAL, None), (RUN, "1c2d")):
        put_run(bucket, run, execution)
    put_run(bucket, UNFINISHED, "2d3e", ended=False)
    text = printed("runs")
    found = [line.split()[:3] for line in text.splitlines() if line.startswith("2026")]
    assert found == [
        [UNFINISHED, "stack", "-"],
        [RUN, "stack", "2"],
        [MANUAL, "machine", "2"],
    ]
    assert all(len(line) <= 80 for line in text.splitlines() if "--bucket" not in line), text
    saved = tmp_path / "report.html"
    assert "2 not reached" in " ".join(printed("runs", RUN, "--out", str(saved)).split())
    assert RUN in saved.read_text()


def test_what_somebody_damaged_is_said_of_its_run_and_its_model_alone(
    bucket: Bucket, printed: Callable[..., str]
) -> None:
    for run in (RUN, MANUAL):
        put_run(bucket, run, None)
    assert "open" not in printed("runs")
    put(bucket, summary_key(RUN), b"{")
    rows = [line.split() for line in printed("runs").splitlines() if line.startswith("2026")]
    assert [(row[0], "damaged" in row) for row in rows] == [(RUN, True), (MANUAL, False)]
    assert [each["damage"] for each in json.loads(printed("runs", "--json"))["runs"]][1] is None
    put(bucket, outcome_key(RUN, MODEL), b"{")
    assert "not as a run writes it" in " ".join(printed("models", MODEL).split())


def test_a_report_that_cannot_be_saved_is_one_message(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_run(bucket, RUN, None)
    out = tmp_path / "missing" / "report.html"
    where = ("--bucket", bucket.name, "--endpoint-url", bucket.endpoint_url)
    assert main(["runs", RUN, "--out", str(out), *where]) == 1
    text = "".join(capsys.readouterr().err.split())
    assert "report.htmlcan'tbewritten:Nosuchfileordirectory;giveanother--out" in text


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("nope", "has no run nope"),
        (UNFINISHED, f"--resume {UNFINISHED}"),
        (MANUAL, "plan.json is not as a run writes it"),
    ],
)
def test_a_run_without_a_report_says_what_to_do(
    bucket: Bucket, run: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_run(bucket, UNFINISHED, "2d3e", ended=False)
    put(bucket, key_of(MANUAL, "plan.json"), b"{}")
    where = ("--bucket", bucket.name, "--endpoint-url", bucket.endpoint_url)
    assert main(["runs", run, *where]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_rollback_says_that_the_next_night_may_publish_again(
    bucket: Bucket, printed: Callable[..., str]
) -> None:
    first = put_model(bucket, MODEL, MANUAL)
    put_model(bucket, MODEL, RUN, threshold=0.5)
    text = " ".join(printed("rollback", MODEL, "--to", first).split())
    assert "next retraining publishes again" in text
    assert f"with model: {MODEL}" in text
    live = read_history(bucket.s3, bucket.name, MODEL).live
    assert live
    assert live.run == MANUAL


def test_the_policy_for_reading_is_all_that_listing_models_and_runs_needs(bucket: Bucket) -> None:
    put_run(bucket, RUN, "1c2d")
    put_model(bucket, MODEL, RUN)
    put_outcome(bucket, UNFINISHED, "The metric has stopped", "stopped")
    statements = published_policy("read", bucket.name)
    with running(EnforcedRole(bucket.endpoint_url, statements)) as role:
        s3 = s3_client(role.url)
        assert [each.name for each in list_live(s3, bucket.name)] == [MODEL]
        history = read_history(s3, bucket.name, MODEL)
        assert history.live
        before = history.live.published - timedelta(hours=1)
        assert run_of(s3, bucket.name, history.live) == f"{RUN} (stack)"
        assert unpublished_since(s3, bucket.name, MODEL, before)
        assert [each.run for each in list_runs(s3, bucket.name, 10)] == [RUN]
        assert read_page(s3, bucket.name, RUN)
    assert not role.denied
    assert role.used == actions(statements)
