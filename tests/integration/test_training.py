"""The job: what it finds, writes and refuses, from the inside and by its command line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ops_anomaly.detection.artifact import digest, unpack
from tests.conftest import Bucket
from tests.support.command import command
from training.candidates.value_forest import fit_as_the_seed_did
from training.comparison import flags_of
from training.errors import RunError, SourceError
from training.evaluation import confusion
from training.job import Run, Settings, train
from training.run_folder import StoredRun, check_replaceable, read_run, write_run
from training.sources.series import Series


def test_the_seeds_table_comes_out_of_the_seeds_file(nab_series: Series) -> None:
    forest = fit_as_the_seed_did(nab_series)
    figures = confusion(nab_series.is_label, flags_of(forest, nab_series))
    assert (figures.precision, figures.recall) == (1.0, 0.5)
    assert figures.f1 == pytest.approx(2 / 3)
    assert [forest.predict(value) for value in (0.13, 2.0, 95.0)] == [False, True, True]


def test_on_the_seeds_file_both_candidates_find_something(nab_series: Series) -> None:
    run = train(nab_series, Settings("ec2-cpu"), lambda *_: None)
    for each in run.judged:
        assert each.figures.f1 > 0, each.candidate.kind
        assert each.figures.false_alarms <= 3
        data = run.artifacts[each.candidate.kind]
        detector, _ = unpack(data, digest(data))
        assert [detector.predict(value) for value in (0.13, 2.0, 95.0)] == [False, True, True]


def test_the_same_data_give_the_same_bytes(run: Run, simulated: Series) -> None:
    again = train(simulated, Settings("ec2-cpu"), lambda *_: None)
    assert again.artifacts == run.artifacts
    assert train(simulated, Settings("ec2-cpu", seed=7), lambda *_: None).artifacts != run.artifacts


def test_training_never_sees_the_judged_part(run: Run, simulated: Series) -> None:
    cut = len(simulated) // 2
    values = simulated.values.copy()
    values[cut:] = 50.0
    other = train(replace(simulated, values=values), Settings("ec2-cpu"), lambda *_: None)
    for one, two in zip(run.judged, other.judged, strict=True):
        assert one.candidate.detector.threshold == two.candidate.detector.threshold


def test_the_manifest_says_what_was_measured(run: Run, simulated: Series) -> None:
    for each in run.judged:
        data = run.artifacts[each.candidate.kind]
        _, manifest = unpack(data, digest(data))
        assert manifest.training_data["sha256"] == simulated.digest
        assert manifest.training_data["readings_fitted_on"] == len(simulated) // 2
        assert manifest.figures["f1"] == each.figures.f1
        backtest = run.backtests[each.candidate.kind]
        assert manifest.figures["backtest"]["share_found"] == backtest.mean_share
        assert manifest.libraries.keys() >= {"scikit-learn", "keras", "numpy"}


def test_the_run_folder_holds_report_and_artifacts(stored_run: StoredRun) -> None:
    names = {path.name for path in stored_run.folder.iterdir()}
    assert names == {
        "backtest.png",
        "confusion-contextual-forest.png",
        "confusion-lstm-autoencoder.png",
        "confusion-value-forest.png",
        "contextual-forest.joblib",
        "contextual-forest.safetensors",
        "loss-lstm-autoencoder.png",
        "lstm-autoencoder.keras",
        "lstm-autoencoder.safetensors",
        "metrics.json",
        "report.html",
        "scores-contextual-forest.png",
        "scores-lstm-autoencoder.png",
        "scores-value-forest.png",
        "series.png",
        "value-forest.joblib",
        "value-forest.safetensors",
    }
    page = (stored_run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 9
    assert not re.search(r'(src|href)="(?!data:)', page), "the page is not self-contained"
    record = json.loads((stored_run.folder / "metrics.json").read_text(encoding="utf-8"))
    kinds = [row["kind"] for row in record["honest"]]
    assert kinds == ["value-forest", "contextual-forest", "lstm-autoencoder"]
    assert len(record["seed_experiment"]) == 2
    assert [row["kind"] for row in record["backtest"]["candidates"]] == kinds
    assert len(record["backtest"]["candidates"][0]["faults"]) == 17
    assert len(record["backtest"]["sensitivities_of_the_winner"]) == 5


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


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds precious\.txt"):
        check_replaceable(tmp_path)
    with pytest.raises(RunError, match="is a file"):
        check_replaceable(tmp_path / "precious.txt")
    # somebody else's metrics.json makes no training run of a folder
    (tmp_path / "precious.txt").unlink()
    (tmp_path / "metrics.json").write_text('{"auc": 1}')
    with pytest.raises(RunError, match="no valid name"):
        check_replaceable(tmp_path)


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


def test_parts_too_short_are_refused_before_anything_is_fitted(simulated: Series) -> None:
    with pytest.raises(SourceError, match="100 to fit on and 300 to judge by"):
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
    assert "holds no model yet" in command("models", *where).stdout
    first = command("publish", str(stored_run.folder), *where)
    assert first.returncode == 0, first.stderr
    version = re.search(r"VersionId +(\S+)", first.stdout)[1]
    second = command("publish", str(stored_run.folder), "--candidate", "lstm-autoencoder", *where)
    assert "Live until now: " in second.stdout
    rolled = command("rollback", "ec2-cpu", "--to", version, *where)
    assert f"ec2-cpu is version {version} again" in rolled.stdout
    listed = command("models", *where).stdout
    assert len(re.findall(r"^ *\*", listed, re.MULTILINE)) == 1
    assert listed.count(version) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--csv", "missing.csv"), "missing.csv can't be read"),
        (("train", "--nab-root", "nowhere"), "not laid out as NAB"),
        (("train", "--simulated", "--name", "No Name"), "no model name"),
        (("publish", "nowhere", "--bucket", "b"), "holds no training run"),
        (("models", "--bucket", "b", "--endpoint-url", "http://127.0.0.1:9"), "listing bucket b"),
    ],
)
def test_what_goes_wrong_is_one_message(arguments: tuple[str, ...], message: str) -> None:
    done = command(*arguments, AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
