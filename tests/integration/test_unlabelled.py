"""A series of one's own without labels: the backtest decides, past incidents are excluded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops_anomaly.detection.timeline import utc
from tests.support.command import command
from training.comparison import BACKTEST_RULE
from training.sources.series import LabelledSeries

INCIDENT = ("2014-02-17T07:00:00Z", "2014-02-17T07:30:00Z")
EARLIER = ("2014-02-15T00:00:00Z", "2014-02-15T01:00:00Z")


@pytest.fixture
def csv(tmp_path: Path, simulated: LabelledSeries) -> Path:
    """Four days of the simulated series, with the spike on the third."""
    lines = [
        f"{utc(time)},{value}"
        for time, value in zip(
            simulated.times[:1152].tolist(), simulated.values[:1152], strict=True
        )
    ]
    path = tmp_path / "cpu.csv"
    path.write_text("\n".join(["timestamp,value", *lines]) + "\n")
    return path


def test_the_winner_is_chosen_by_the_backtest(csv: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("--csv", str(csv), "--out", str(folder), "--train-share", "0.7", "--epochs", "2")
    done = command("train", *options, "--exclude", *INCIDENT, "--exclude", *EARLIER)
    assert done.returncode == 0, done.stderr
    assert f"by {BACKTEST_RULE}." in " ".join(done.stdout.split())
    assert "Fitting the LSTM autoencoder ..." in done.stdout  # a log shows what is going on
    assert "Sensitivity of the" in done.stdout
    for figures in ("Out of sample", "Baseline experiment", "0 of 0"):  # they are of labels
        assert figures not in done.stdout
    assert not list(folder.glob("confusion-*"))
    assert INCIDENT[0][:13] not in done.stdout  # a known incident is not proposed again
    record = json.loads((folder / "metrics.json").read_text())
    assert record["name"] == "cpu"  # of cpu.csv
    assert record["rule"] == BACKTEST_RULE
    assert record["data"]["left_out"] == [list(INCIDENT), list(EARLIER)]
    page = (folder / "report.html").read_text()
    assert BACKTEST_RULE in page
    assert f"ops-anomaly publish {folder} --bucket BUCKET" in page


def test_a_range_takes_two_times(csv: Path) -> None:
    assert "--exclude" in (listed := command("train", "--help").stdout)
    assert "FROM TO" in listed
    done = command("train", "--csv", str(csv), "--exclude", "2014-02-17")
    assert done.returncode == 2
    assert "requires 2 arguments" in done.stderr
    done = command("train", "--csv", str(csv), "--exclude", *reversed(INCIDENT))
    assert done.returncode == 1
    assert "ends before it begins" in done.stderr
