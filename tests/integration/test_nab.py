"""NAB as the judge: its rules against the published scores and a plain reading of them."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection.nab_corpus import NabFile, read_corpus
from benchmarks.detection.nab_detectors import run_detectors
from benchmarks.detection.nab_report import published_here
from benchmarks.detection.nab_scoring import (
    PROFILES,
    best_threshold,
    file_score,
    judge_scores,
    normalised,
)
from training.candidates.contextual_forest import fit_contextual_forest
from training.comparison import judge_candidate
from training.errors import SourceError
from training.sources.nab import LABELS, WINDOWS
from training.sources.series import Series
from training.sources.simulated import simulate_ec2_cpu

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in NAB's layout: two simulated files, one of them with a repeated hour."""
    root = tmp_path_factory.mktemp("nab")
    labels, windows = {}, {}
    for name, seed, length in (("quiet/cpu_one.csv", 1, 4032), ("busy/cpu_two.csv", 2, 1500)):
        series = simulate_ec2_cpu(seed).part(0, length)
        rows = [
            (str(time).replace("T", " "), value)
            for time, value in zip(series.timestamps, series.values.tolist(), strict=True)
        ]
        if name.startswith("busy"):
            rows[1200:1200] = rows[1188:1200]  # as when daylight saving ends
        path = root / "data" / name
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("timestamp", "value"), *rows])
        labels[name] = [str(label).replace("T", " ") for label in series.labels]
        windows[name] = [
            [f"{str(moment).replace('T', ' ')}.000000" for moment in window]
            for window in series.windows
        ]
    (root / "labels").mkdir()
    (root / LABELS).write_text(json.dumps(labels))
    (root / WINDOWS).write_text(json.dumps(windows))
    return root


@pytest.fixture(scope="module")
def files(corpus_root: Path) -> list[NabFile]:
    return read_corpus(corpus_root)


def plain_score(file: NabFile, scores: np.ndarray, threshold: float, profile) -> float:
    """NAB's rules, row by row."""

    def sigmoid(x: float) -> float:
        return -1.0 if x > 3 else 2 / (1 + math.exp(5 * x)) - 1

    total, found, behind = 0.0, {}, None
    for row, score in enumerate(scores):
        inside = [n for n, (first, last) in enumerate(file.windows) if first <= row <= last]
        if score >= threshold and row >= file.probation:
            if inside:
                first, last = file.windows[inside[0]]
                worth = sigmoid(-(last - row + 1) / (last - first + 1)) / sigmoid(-1)
                found[inside[0]] = max(found.get(inside[0], -1.0), worth)
            elif behind is None:
                total -= profile.false_positive
            else:
                first, last = behind
                total += profile.false_positive * sigmoid((row - last) / (last - first))
        if inside and row == file.windows[inside[0]][1]:
            behind = file.windows[inside[0]]
    for number in range(len(file.windows)):
        hit = number in found
        total += profile.true_positive * found[number] if hit else -profile.false_negative
    return total


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("seed", range(5))
def test_a_file_is_scored_as_the_rules_say(files: list[NabFile], seed: int, profile) -> None:
    for file in files:
        scores = np.random.default_rng(seed).random(len(file.texts)).round(3)
        got = file_score(file, scores, 0.99, profile)
        assert got == pytest.approx(plain_score(file, scores, 0.99, profile), abs=1e-9)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_best_threshold_is_the_best_of_all(files: list[NabFile], profile) -> None:
    random = np.random.default_rng(7)
    scores = [random.random(len(file.texts)).round(2) + file.label * 0.2 for file in files]

    def total(threshold: float) -> float:
        pairs = zip(files, scores, strict=True)
        return sum(file_score(file, each, threshold, profile) for file, each in pairs)

    threshold, raw = best_threshold(files, scores, profile)
    assert raw == pytest.approx(total(threshold))
    assert raw == pytest.approx(max(map(total, np.arange(0, 1.3, 0.01).round(2))))


def test_the_scale_runs_from_nothing_to_perfect(files: list[NabFile]) -> None:
    windows = sum(len(file.windows) for file in files)
    for profile in PROFILES.values():
        silent = sum(file_score(file, np.zeros(len(file.texts)), 1.0, profile) for file in files)
        assert normalised(silent, windows, profile) == 0.0
        at_once = []
        for file in files:
            scores = np.zeros(len(file.texts))
            scores[[first for first, _ in file.windows]] = 1.0
            at_once.append(file_score(file, scores, 1.0, profile))
        late = sum(first < file.probation for file in files for first, _ in file.windows)
        assert normalised(sum(at_once), windows, profile) == pytest.approx(100.0) or late


def test_every_row_counts_and_a_repeated_time_scores_nothing(files: list[NabFile]) -> None:
    busy = next(file for file in files if file.category == "busy")
    assert len(busy.texts) == 1512
    assert len(busy.series) == 1500
    assert busy.on_rows(np.ones(1500)).sum() == 1500


def test_no_detector_sees_a_label(files: list[NabFile]) -> None:
    names = ["contextual", "value-forest", "windowed-gaussian", "random", "null"]
    scored = run_detectors(files, names, 2, lambda: None)
    assert [(each.detector, each.seed) for each in scored[:3]] == [
        ("contextual", 0),
        ("contextual", 1),
        ("value-forest", 0),
    ]
    totals = {
        each.detector: judge_scores(files, each, PROFILES["standard"], None).total
        for each in scored
    }
    assert totals["null"] == 0.0
    assert totals["contextual"] > max(totals["random"], totals["value-forest"])


def run_nab(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "training", "nab", *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_writes_nabs_layout_and_says_what_comes_of_it(
    corpus_root: Path, files: list[NabFile], tmp_path: Path
) -> None:
    out = tmp_path / "results"
    names = ("--detector", "contextual", "--detector", "null")
    done = run_nab("--root", str(corpus_root), *names, "--out", str(out), "--plots")
    assert done.returncode == 0, done.stderr
    assert "2 files with" in done.stdout
    with (out / "contextual/busy/contextual_cpu_two.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["timestamp", "value", "anomaly_score", "label"]
    assert len(rows) == 1512
    record = json.loads((out / "scores.json").read_text())
    judged = record["judgements"][0]
    assert judged["detector"] == "contextual"
    by_name = {file.name: file for file in files}
    for entry in judged["files"]:
        file = by_name[entry["file"]]
        category, name = entry["file"].split("/")
        with (out / "contextual" / category / f"contextual_{name}").open() as results:
            scores = np.array([float(row["anomaly_score"]) for row in csv.DictReader(results)])
        got = file_score(file, scores, judged["threshold"], PROFILES["standard"])
        assert got == pytest.approx(entry["score"])
    assert len(list((out / "plots/contextual").rglob("*.png"))) == 2


def test_a_given_threshold_is_kept(corpus_root: Path, tmp_path: Path) -> None:
    options = ("--detector", "random", "--profile", "standard", "--threshold", "0.999")
    done = run_nab("--root", str(corpus_root), *options, "--out", str(tmp_path))
    assert "0.999, as given" in done.stdout
    judgements = json.loads((tmp_path / "scores.json").read_text())["judgements"]
    assert [each["threshold"] for each in judgements] == [0.999]


def test_what_is_no_nab_is_refused(tmp_path: Path, corpus_root: Path) -> None:
    said = run_nab("--root", str(tmp_path)).stderr
    assert "is not laid out as NAB is" in said.replace("\n", "")
    (tmp_path / "data/new").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    for part in (LABELS, WINDOWS):
        (tmp_path / part).write_bytes((corpus_root / part).read_bytes())
    with pytest.raises(SourceError, match="holds no files"):
        read_corpus(tmp_path)
    (tmp_path / "data/new/unknown.csv").write_text("timestamp,value\n")
    with pytest.raises(SourceError, match=r"no windows for new/unknown\.csv"):
        read_corpus(tmp_path)


@pytest.fixture(scope="module")
def nab_root() -> Path:
    root = os.environ.get("NAB_ROOT")
    if not root or not (Path(root) / "published/scores.csv").exists():
        pytest.skip("needs NAB_ROOT to point to NAB's files with published/ beside them")
    return Path(root)


def test_it_gives_the_published_scores_of_published_detectors(nab_root: Path) -> None:
    files = {file.name: file for file in read_corpus(nab_root)}
    with (nab_root / "published/scores.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["File"] in files]
    assert rows
    for row in rows:
        category, name = row["File"].split("/")
        path = nab_root / "published" / row["Detector"] / category / f"{row['Detector']}_{name}"
        with path.open() as results:
            scores = np.array([float(each["anomaly_score"]) for each in csv.DictReader(results)])
        threshold = float(row["Threshold"]) - 1e-9  # written with 12 digits
        got = file_score(files[row["File"]], scores, threshold, PROFILES[row["Profile"]])
        assert got == pytest.approx(float(row["Score"]), abs=1e-6), row


def test_published_totals_are_those_of_the_same_files(nab_root: Path) -> None:
    totals = published_here(nab_root, read_corpus(nab_root))
    assert totals["numenta"]["standard"] > totals["randomCutForest"]["standard"]


@pytest.mark.parametrize("seed", range(3))
def test_on_the_seeds_file_both_windows_are_found_without_a_false_alarm(
    nab_series: Series, seed: int
) -> None:
    half = len(nab_series) // 2
    candidate = fit_contextual_forest(nab_series.part(0, half), seed)
    figures = judge_candidate(candidate, nab_series.part(half, len(nab_series))).figures
    assert (figures.windows_found, figures.false_alarms) == (2, 0)
