"""The training job: what it finds, writes and refuses, by its functions and by command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.interactive import moment
from tests.conftest import SETTINGS, Bucket
from tests.support.command import ROOT, command
from training import RunError, SourceError
from training.candidates import CANDIDATES, KINDS, TITLES
from training.candidates.value_forest import fit_baseline_forest
from training.comparison import confusion, flags_of
from training.job import train
from training.report import show_run
from training.run import (
    Run,
    Settings,
    StoredRun,
    check_replaceable,
    check_target,
    read_run,
    write_run,
)
from training.sources.series import LabelledSeries


def test_the_baseline_experiment_is_reproduced(nab_series: LabelledSeries) -> None:
    forest = fit_baseline_forest(nab_series)
    figures = confusion(nab_series.is_label, flags_of(forest, nab_series))
    assert (figures.precision, figures.recall) == (1.0, 0.5)
    assert figures.f1 == pytest.approx(2 / 3)
    assert [forest.predict(value) for value in (0.13, 2.0, 95.0)] == [False, True, True]


def test_on_the_baseline_file_every_candidate_finds_something(nab_series: LabelledSeries) -> None:
    run = train(nab_series, Settings("ec2-cpu", max_places=1), lambda *_: None)
    assert len(run.baseline) == 2
    for each in run.evaluations:
        assert each.figures.f1 > 0, each.candidate.kind
        assert each.figures.false_alarms <= 3
        data = run.artifacts[each.candidate.kind]
        detector, _ = unpack(data, digest(data))
        assert [detector.predict(value) for value in (0.13, 2.0, 95.0)] == [False, True, True]


@pytest.mark.filterwarnings("error")  # libraries have nothing to say to who trains
def test_the_same_data_and_seed_give_the_same_bytes(run: Run, simulated: LabelledSeries) -> None:
    again = train(simulated, SETTINGS, lambda *_: None)
    assert again.artifacts == run.artifacts
    other = train(simulated, replace(SETTINGS, seed=7, kinds=KINDS[:1]), lambda *_: None)
    assert list(other.artifacts) == [KINDS[0]]
    assert other.artifacts[KINDS[0]] != run.artifacts[KINDS[0]]


def test_nothing_is_fitted_on_the_test_part(run: Run, simulated: LabelledSeries) -> None:
    cut = len(simulated) // 2
    values = simulated.values.copy()
    values[cut:] = 50.0
    changed = replace(simulated, series=replace(simulated.series, values=values))
    forests = tuple(row.kind for row in CANDIDATES if not row.has_epochs)
    other = train(changed, replace(SETTINGS, kinds=forests), lambda *_: None)
    for one, two in zip(run.evaluations, other.evaluations, strict=False):
        assert one.candidate.detector.threshold == two.candidate.detector.threshold


def test_each_stage_is_reported_as_it_begins(simulated: LabelledSeries) -> None:
    reported: list[str] = []
    settings = replace(SETTINGS, kinds=KINDS[:1])
    train(simulated, settings, lambda stage, *_: reported.append(stage))
    assert reported == [
        "Fitting the value forest",
        "Backtest of the value forest",
    ]


def test_the_manifest_holds_what_was_measured(run: Run, simulated: LabelledSeries) -> None:
    for each in run.evaluations:
        data = run.artifacts[each.candidate.kind]
        _, manifest = unpack(data, digest(data))
        assert manifest.training_data["sha256"] == simulated.digest
        assert manifest.training_data["readings_fitted_on"] == len(simulated) // 2
        assert manifest.figures["f1"] == each.figures.f1
        backtest = run.backtests[each.candidate.kind]
        assert manifest.figures["backtest"]["share_found"] == backtest.mean_share
        assert manifest.libraries.keys() >= {"scikit-learn", "keras", "numpy"}


def test_the_page_opens_with_the_winner_its_alerts_and_their_charts(
    run: Run, stored_run: StoredRun
) -> None:
    page = (stored_run.folder / "report.html").read_text(encoding="utf-8")
    opening, _, folded = page.partition("<details>")
    assert f"<strong>{TITLES[run.winner.candidate.kind]}</strong>" in opening
    assert f"<strong>{run.alerts_a_week:.1f}</strong> alerts a week to expect" in opening
    charts = 1 + min(len(run.alerts), 10)  # the series, and the worst alerts
    assert opening.count('<svg class="oa-chart"') == page.count('<svg class="oa-chart"') == charts
    assert opening.index(moment(max(run.alerts, key=lambda each: each.severity).first)) > 0
    assert opening.count("data:image/png") == 0
    assert "Backtest" in folded
    assert "<script" not in page


def test_the_run_folder_holds_report_and_artifacts(stored_run: StoredRun) -> None:
    names = {path.name for path in stored_run.folder.iterdir()}
    pictures = {f"{name}-{kind}.png" for kind in KINDS for name in ("confusion", "scores")}
    pictures |= {"backtest.png", "series.png", "loss-lstm-autoencoder.png"}
    estimators = {name for name in names if name.endswith((".joblib", ".keras"))}
    assert estimators >= {"value-forest.joblib", "lstm-autoencoder.keras"}
    artifacts = {f"{kind}.safetensors" for kind in KINDS}
    assert names - estimators == {"metrics.json", "report.html"} | pictures | artifacts
    page = (stored_run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page), "the page is not self-contained"
    record = json.loads((stored_run.folder / "metrics.json").read_text(encoding="utf-8"))
    kinds = [row["kind"] for row in record["out_of_sample"]]
    assert kinds == list(KINDS)
    assert record["baseline_experiment"] == []  # of other data it says nothing
    assert [row["kind"] for row in record["backtest"]["candidates"]] == kinds
    assert len(record["backtest"]["candidates"][0]["faults"]) == 17
    assert len(record["backtest"]["sensitivities_of_the_winner"]) == 5


@pytest.mark.filterwarnings("error")
def test_a_run_is_written_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    folder = tmp_path / "run"
    with pytest.raises(RunError, match="disk full"):
        write_run(run, folder, fail)
    assert not list(tmp_path.iterdir())
    earlier = write_run(run, folder, lambda *_: None)
    with pytest.raises(RunError, match="disk full"):
        write_run(run, folder, fail)
    assert read_run(folder).record == earlier.record


def test_a_folder_that_holds_anything_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds precious\.txt"):
        check_replaceable(tmp_path)
    with pytest.raises(RunError, match="is a file"):
        check_replaceable(tmp_path / "precious.txt")
    # a metrics.json of something else doesn't make the folder a run
    (tmp_path / "precious.txt").unlink()
    (tmp_path / "metrics.json").write_text('{"auc": 1}')
    with pytest.raises(RunError, match="no valid name"):
        check_replaceable(tmp_path)


def test_a_folder_that_can_not_hold_a_run_is_refused(tmp_path: Path) -> None:
    check_target(tmp_path / "new" / "run")
    assert list((tmp_path / "new").iterdir()) == []  # nothing is left of the check
    with pytest.raises(RunError, match=r"too little space: .* MB free, a run may take 1,0"):
        check_target(tmp_path / "run", needed=2**60)
    with pytest.raises(RunError, match=r"can't be written \(Not a directory\)"):
        check_target(Path("/dev/null/runs/run"))
    with pytest.raises(RunError, match="mount point, which a run can't replace; give a folder in"):
        check_target(Path("/"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "No Name"},
        {"name": 5},
        {"run": "../../models/evil"},
        {"created": "yesterday"},
        {"artifacts": None},
        {"artifacts": {"../../etc/passwd": ""}},
    ],
)
def test_a_record_edited_by_hand_is_refused(stored_run: StoredRun, tmp_path, change) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(stored_run.record | change))
    with pytest.raises(RunError, match=next(iter(change))):
        read_run(tmp_path)


def test_a_series_too_short_is_refused_before_anything_is_fitted(simulated: LabelledSeries) -> None:
    with pytest.raises(SourceError, match="100 to fit on and 300 to evaluate by"):
        train(simulated.part(0, 400), Settings("x", train_share=0.25), lambda *_: None)


def test_an_artifact_changed_after_the_run_is_not_published(run: Run, tmp_path: Path) -> None:
    stored = write_run(run, tmp_path / "run", lambda *_: None)
    with (stored.folder / "value-forest.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RunError, match="changed after the run"):
        stored.artifact("value-forest")
    with pytest.raises(RunError, match="no candidate 'oracle'"):
        stored.artifact("oracle")


def test_publish_models_and_rollback_by_command(bucket: Bucket, stored_run: StoredRun) -> None:
    where = ("--bucket", bucket.name, "--endpoint-url", bucket.endpoint_url)
    assert "has no models yet" in command("models", *where).stdout
    first = command("publish", str(stored_run.folder), *where)
    assert first.returncode == 0, first.stderr
    version = re.search(r"VersionId +(\S+)", first.stdout)[1]
    second = command("publish", str(stored_run.folder), "--candidate", "lstm-autoencoder", *where)
    assert "Live until now: " in second.stdout
    rolled = command("rollback", "ec2-cpu", "--to", version, *where)
    assert "Live again: contextual detector" in rolled.stdout
    listed = command("models", *where, COLUMNS="80", TERMINAL_WIDTH="80").stdout
    live = re.findall(r"^ *\* +([0-9a-f-]{36}) ", listed, re.MULTILINE)
    assert len(live) == 1
    assert live != [version]  # a copy of it: no version is lost
    assert listed.count(version) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--csv", "missing.csv"), "missing.csv: can't be read"),
        (("train", "--nab-root", "nowhere"), "not laid out as NAB"),
        (("train", "--simulated", "--name", "No Name"), "Invalid model name"),
        (("publish", "nowhere", "--bucket", "b"), "holds no training run"),
        (("models", "--bucket", "b", "--endpoint-url", "http://127.0.0.1:9"), "listing bucket b"),
    ],
)
def test_an_error_is_one_message(arguments, message: str, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path, AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_winner_and_its_alerts_come_before_the_figures_in_80_columns(run: Run) -> None:
    text = StringIO()
    show_run(run, Console(file=text, width=80))
    shown = text.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    parts = ("Winner: ", "alerts a week to expect: ", "The alerts it", "Out of sample", "Chosen by")
    assert sorted(parts, key=shown.index) == list(parts)
    first = run.alerts[0]
    assert moment(first.first) in shown
    assert first.reason in " ".join(shown.split())


def test_train_prints_json_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("--simulated", "--candidate", "value-forest", "--out", str(folder), "--json")
    done = command("train", *options)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == {"folder": str(folder), **read_run(folder).record}
    assert list(printed["artifacts"]) == ["value-forest"]
    alert = printed["alerts"][0]
    assert alert.keys() == {"first", "last", "value", "expected", "severity", "reason", "known"}
    assert "Fitting the value forest" in done.stderr


def test_the_module_runs_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "commands", "--help"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in done.stdout for name in ("train", "publish", "models", "rollback", "watch"))
