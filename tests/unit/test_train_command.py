"""`ops-anomaly train` over a fleet: which options go together, and what it says when a run ends."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir
from dataclasses import replace
from io import StringIO
from pathlib import Path

import msgspec
import pytest
import typer
from botocore.exceptions import ClientError
from rich.console import Console

from commands import CommandError
from commands.train import FleetOptions, train_run_of_fleet
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import ConflictError, StoreUnavailableError
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import Options
from tests.support.command import command
from tests.support.fakes import FakeStore
from tests.support.retraining import PLAN, UNTIL, fleet_of, load, read_daily
from training import PublishError, SourceError
from training.fleet import metrics_by_model
from training.retraining.documents import (
    Outcome,
    Services,
    batch_key,
    outcomes_key,
    read_plan,
    read_tasks,
)
from training.retraining.local_run import Problem, Result, Workers, begin_run, train_with
from training.retraining.plan import plan_run
from training.retraining.services import Connect, FolderStore, explained
from training.versions import publish_errors

RUN = PLAN.run
HELD = "web-9b13adae612bbe9d"


def message(*arguments: str, cwd: Path, status: int = 1) -> str:
    done = command("train", *arguments, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["", "../x", "nope", f"{RUN}/", "2026-05-29T000000z"])
def test_what_is_not_the_name_of_a_run_is_said_to_be_none(run: str, tmp_path: Path) -> None:
    assert "is not the name of a run, such as" in message("--resume", run, cwd=tmp_path)


@pytest.mark.parametrize(
    "option",
    [
        ("--days", "3"),
        ("--candidate", "contextual"),
        ("--seed", "1"),
        ("--train-share", "0.4"),
        ("--feedback", "marks.json"),
        ("--name", "web"),
    ],
)
def test_options_that_do_nothing_with_a_run_that_is_continued_are_refused(
    option: Sequence[str], tmp_path: Path
) -> None:
    text = message("--resume", RUN, *option, cwd=tmp_path, status=2)
    assert f"leave out {option[0]}" in text


def test_a_name_does_nothing_with_a_watch_file(tmp_path: Path) -> None:
    assert "leave out --name" in message(
        "--watch", "watch.yaml", "--name", "web", cwd=tmp_path, status=2
    )


def test_a_bucket_of_the_environment_does_not_keep_a_series_from_being_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_BUCKET", "my-models")
    assert "can't be read" in message("--csv", "none.csv", cwd=tmp_path)


@pytest.mark.parametrize("arguments", [("--name", "per-metric"), ("--csv", "per-metric.csv")])
def test_what_a_watch_file_means_something_else_by_is_no_name(
    arguments: Sequence[str], tmp_path: Path
) -> None:
    assert "in a watch file it means a model a metric" in message(*arguments, cwd=tmp_path)


def test_without_dask_nothing_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    plan_run(FolderStore(tmp_path), fleet_of("a"), PLAN)
    text = message("--resume", RUN, "--dask", "tcp://127.0.0.1:1", cwd=tmp_path)
    assert "pip install '.[dask]'" in text
    assert "To continue" not in text


# --- runs ---------------------------------------------------------------------------------------


def test_runs_that_begin_within_the_same_second_have_names_of_their_own() -> None:
    store, settings = FakeStore(), msgspec.structs.replace(PLAN, run="", started=UNTIL + 400)
    plans = [begin_run(store, fleet_of(host), settings, 1) for host in ("a", "b")]
    assert [plan.run for plan in plans] == [RUN, "2026-05-29T000001Z"]
    for plan, host in zip(plans, ("a", "b"), strict=True):
        assert [each.metric for each in read_tasks(store, plan.run, 0)] == [str(load(host))]
        assert read_plan(store, plan.run).started == UNTIL + 400


def test_a_run_that_is_not_in_the_folder_may_be_in_a_bucket(tmp_path: Path) -> None:
    text = message("--resume", RUN, cwd=tmp_path)
    assert f"there is no run {RUN}" in text
    assert "if it is in a bucket, give --bucket" in text


def test_a_folder_that_cannot_be_written_says_how_to_continue(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    plan_run(store, fleet_of("a"), PLAN)
    outcome = Outcome(read_tasks(store, RUN, 0)[0].model, str(load("a")), "web", "kept", "")
    store.overwrite(outcomes_key(RUN, 0), msgspec.json.encode([outcome]))
    (tmp_path / f"plans/{RUN}/report.json").mkdir()
    text = message("--resume", RUN, cwd=tmp_path)
    assert f"plans/{RUN}/report.json: Is a directory" in text
    assert f"To continue: ops-anomaly train --resume {RUN}" in text


def test_a_folder_that_holds_something_else_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file, where a folder is needed")
    text = message("--resume", RUN, cwd=tmp_path)
    assert text.endswith(f"plans/{RUN}/plan.json: Not a directory")


def test_a_permission_that_is_missing_is_said_with_where_those_needed_are() -> None:
    denied = ClientError(
        {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "Get"
    )
    with pytest.raises(PublishError) as raised, publish_errors("bucket b can't be used"):
        raise denied
    assert "docs/policies/train.json and publish.json" in explained(raised.value)
    assert explained(StoreUnavailableError("b: timed out")) == "b: timed out"


@pytest.mark.parametrize("damaged", [b"[{", None])
def test_a_run_without_one_of_its_batches_cannot_be_continued(
    damaged: bytes | None, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path)
    plan_run(store, fleet_of("a"), PLAN)
    path = tmp_path / batch_key(RUN, 0)
    path.write_bytes(damaged) if damaged else path.unlink()
    text = message("--resume", RUN, cwd=tmp_path)
    assert "all 0 0 0 0 0 1" in text
    assert "begin a new run" in text
    assert "This run can't be continued" in text
    assert "--resume" not in text


def test_the_command_that_continues_a_run_has_all_that_it_needs() -> None:
    options = FleetOptions("my-models", "http://127.0.0.1:5000", 4, None)
    assert shlex.split(options.again(RUN)) == [
        *("ops-anomaly", "train", "--resume", RUN, "--bucket", "my-models"),
        *("--endpoint-url", "http://127.0.0.1:5000", "--jobs", "4"),
    ]
    on_dask = replace(options, endpoint_url=None, jobs=1, dask="tcp://10.0.0.5:8786")
    assert on_dask.again(RUN).endswith("--dask tcp://10.0.0.5:8786")


class Dying(Workers):
    """Workers that end before they have trained anything."""

    def run(self, connect: Connect, run: str, numbers: Sequence[int]) -> Iterator[Result]:
        raise {1: KeyboardInterrupt, 2: BrokenProcessPool}[self.jobs]


@pytest.mark.parametrize(
    ("jobs", "ended", "reason"),
    [(1, typer.Exit, "Interrupted"), (2, CommandError, "use fewer --jobs")],
)
def test_a_run_that_is_cut_off_says_how_to_continue_it(
    jobs: int, ended: type[Exception], reason: str, tmp_path: Path
) -> None:
    plan_run(FolderStore(tmp_path), fleet_of("a"), PLAN)
    options, printed = FleetOptions(None, None, jobs, None), StringIO()
    with chdir(tmp_path), pytest.raises(ended) as raised:
        train_run_of_fleet(RUN, Dying(jobs), options, Console(file=printed))
    text = printed.getvalue() + str(raised.value)
    assert reason in text
    assert f"To continue:\n  {options.again(RUN)}" in text


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ConflictError("changed"), Problem("batch 0: another process is training it")),
        (StoreUnavailableError("b: timed out"), Problem("b: timed out")),
    ],
)
def test_a_batch_that_did_not_end_says_why(error: Exception, problem: Problem) -> None:
    store = FakeStore()
    store.failure = error
    assert train_with(Services(store, read_daily), RUN, 0) == problem


# --- models that are held -----------------------------------------------------------------------


def watched(model: str | None, metric: Metric) -> Watched:
    return Watched(Options(name="an-entry", model=model), [metric])


def test_a_model_of_one_metric_that_an_entry_names_is_held_and_not_trained() -> None:
    fleet = [watched(HELD, load("a")), watched("fleet-load", load("b")), *fleet_of("c")]
    assert metrics_by_model(fleet) == {"fleet-load": [load("b")]}
    with pytest.raises(SourceError, match="held"):
        metrics_by_model([watched(HELD, load("a"))])
    with pytest.raises(SourceError, match="no entry of the watch file names a model"):
        metrics_by_model([watched(None, load("a"))])
