"""Which series a run takes: a file with its labels, NAB, the simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ops_anomaly.detection.timeline import utc
from tests.support.fakes import small_forest
from training import SourceError, sources
from training.backtest import false_alarms
from training.sources import INCIDENTS, SourceOptions, obtain_series, simulate_ec2_cpu
from training.sources.files import ReadOptions, read_labelled_file
from training.sources.nab import BASELINE_FILE, LABELS, WINDOWS, Nab
from training.sources.series import LabelledSeries, label_windows

START = datetime(2026, 1, 1)


def rows(count: int = 400) -> list[str]:
    return [f"{START + timedelta(minutes=5 * i)},{i % 7 / 10}" for i in range(count)]


def write(path: Path, lines: list[str], header: str = "timestamp,value") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_labels_are_times_or_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "cpu.csv", rows())
    labels = tmp_path / "labels.json"
    window = ["2026-01-02 00:00:00", "2026-01-02 02:00:00"]
    labels.write_text(json.dumps(["2026-01-01 10:00:00", window]))
    series = read_labelled_file(path, labels)
    labelled = ["2026-01-01T10:00:00Z", "2026-01-02T01:00:00Z"]
    assert [*map(utc, series.labels.tolist())] == labelled
    # a bare time gets NAB's window: 10 % of 400 readings, 20 to either side
    assert [*map(utc, series.windows[0].tolist())] == [
        "2026-01-01T08:20:00Z",
        "2026-01-01T11:40:00Z",
    ]
    assert series.in_window.sum() == 41 + 25
    labels.write_text(json.dumps({"mine/cpu.csv": [window]}))
    assert len(read_labelled_file(path, labels).windows) == 1


@pytest.mark.parametrize(
    "content", ["{", '{"other.csv": []}', "7", '["no time"]', '[["2026-01-01"]]', "[7]",
                '[["2026-01-02", "2026-01-01"]]'],
)  # fmt: skip
def test_labels_of_another_form_are_refused(tmp_path: Path, content: str) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(content)
    with pytest.raises(SourceError, match="labels"):
        read_labelled_file(write(tmp_path / "cpu.csv", rows()), labels)


@pytest.mark.parametrize("content", ["time: 10:00", "{}"])
def test_of_labels_in_another_form_the_expected_one_is_shown(tmp_path: Path, content: str) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(content)
    with pytest.raises(SourceError, match=r"expected a list of times .* such as \[\"2026-03-01T12"):
        read_labelled_file(write(tmp_path / "cpu.csv", rows()), labels)


def test_a_window_that_is_cut_is_anomalous_in_both_parts_and_to_be_found_in_neither(
    simulated: LabelledSeries,
) -> None:
    cut = int(np.searchsorted(simulated.times, simulated.labels[1]))  # within a window
    before, after = simulated.part(0, cut), simulated.part(cut, len(simulated))
    assert (len(before.windows), len(after.windows)) == (1, 3)
    in_either = np.concatenate([before.in_window, after.in_window])
    np.testing.assert_array_equal(in_either, simulated.in_window)
    in_cut_window = small_forest().detect(replace(after.series, values=np.eye(len(after))[0] * 2))
    assert len(in_cut_window.alerts) == 1
    assert false_alarms(after, in_cut_window) == 0


def test_labels_belong_to_the_nearest_reading_and_must_be_within_the_series(tmp_path: Path) -> None:
    path, labels = write(tmp_path / "cpu.csv", rows()), tmp_path / "labels.json"
    labels.write_text('["2026-01-01 10:02:29", ["2026-01-02 00:00:00", "2026-01-02 00:05:00"]]')
    series = read_labelled_file(path, labels)
    assert series.is_label.sum() == 2
    assert utc(int(series.labels[0])) == "2026-01-01T10:00:00Z"
    labels.write_text('["2027-01-01 10:00:00"]')
    with pytest.raises(SourceError, match="2027-01-01T10:00:00Z is not within the series"):
        read_labelled_file(path, labels)


def test_labels_of_local_times_are_in_the_zone_of_the_file(tmp_path: Path) -> None:
    path, labels = write(tmp_path / "cpu.csv", rows()), tmp_path / "labels.json"
    labels.write_text('["2026-01-01 10:00:00", "2026-01-01T10:00:00Z"]')
    series = read_labelled_file(path, labels, ReadOptions(timezone="Europe/Berlin"))
    assert [*map(utc, series.labels.tolist())] == ["2026-01-01T09:00:00Z", "2026-01-01T10:00:00Z"]


def test_windows_stay_within_the_series() -> None:
    times = 300_000 * np.arange(400)
    windows = label_windows(times[[0, -1]], times)
    assert windows[0, 0] == times[0]
    assert windows[1, 1] == times[-1]


def test_the_simulation_has_its_incidents_and_repeats_itself(simulated: LabelledSeries) -> None:
    assert simulate_ec2_cpu().digest == simulated.digest != simulate_ec2_cpu(seed=1).digest
    assert len(simulated.labels) == len(INCIDENTS) == len(simulated.windows)
    assert simulated.days == 14
    base = simulated.values[~simulated.in_window]
    assert np.median(base) == pytest.approx(0.132, abs=0.003)
    assert simulated.values[simulated.in_window].max() > 3.5
    assert simulated.values[simulated.in_window].min() == 0.0


def nab_folder(root: Path) -> Path:
    write_to = root / "data" / BASELINE_FILE
    write_to.parent.mkdir(parents=True)
    write(write_to, rows())
    (root / "labels").mkdir()
    window = ["2026-01-01 08:20:00.000000", "2026-01-01 11:40:00.000000"]
    (root / LABELS).write_text(json.dumps({BASELINE_FILE: ["2026-01-01 10:00:00"]}))
    (root / WINDOWS).write_text(json.dumps({BASELINE_FILE: [window]}))
    return root


def test_a_folder_laid_out_as_nab_is_read(tmp_path: Path) -> None:
    series = Nab(nab_folder(tmp_path)).series()
    assert series.origin == f"NAB {BASELINE_FILE}"
    assert (len(series.labels), len(series.windows)) == (1, 1)


def test_of_a_time_that_nab_repeats_the_first_reading_is_kept(tmp_path: Path) -> None:
    root = nab_folder(tmp_path)
    lines = rows()
    write(root / "data" / BASELINE_FILE, [*lines[:200], "2026-01-01 16:35:00,9", *lines[200:]])
    assert Nab(root).series().values.max() < 9


def test_a_folder_without_nabs_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="data is missing"):
        Nab(tmp_path)
    nab = Nab(nab_folder(tmp_path))
    with pytest.raises(SourceError, match=r"has no file nothing\.csv"):
        nab.series("nothing.csv")
    (tmp_path / LABELS).write_text("{}")
    with pytest.raises(SourceError, match="has no labels for"):
        nab.series()


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=200)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, and no way out."""

    def fail(*_: object) -> None:
        raise SourceError("out of reach")

    monkeypatch.setattr(sources, "cached_nab", lambda _: None)
    monkeypatch.setattr(sources, "download_nab", fail)


def test_without_nab_a_series_is_simulated_and_a_line_says_so(
    nowhere: None, console: Console
) -> None:
    series = obtain_series(SourceOptions(), console)
    assert series.name == "simulated_ec2_cpu"
    assert "No NAB: out of reach. Using a simulated EC2 CPU series" in console.export_text()


def test_a_source_that_was_named_is_never_replaced(nowhere: None, console: Console) -> None:
    with pytest.raises(SourceError):
        obtain_series(SourceOptions(nab_file="realTweets/other.csv"), console)
    with pytest.raises(SourceError, match="not laid out as NAB"):
        obtain_series(SourceOptions(nab_root=Path("/nowhere")), console)
    with pytest.raises(SourceError, match="--labels goes with --csv"):
        obtain_series(SourceOptions(labels=Path("labels.json")), console)
    with pytest.raises(
        SourceError, match="--timezone, --day-first and --decimal-comma go with --csv"
    ):
        obtain_series(SourceOptions(reading=ReadOptions(timezone="UTC")), console)


def test_of_a_file_it_is_said_what_it_was_read_as(tmp_path: Path, console: Console) -> None:
    path = write(tmp_path / "cpu.csv", rows())
    obtain_series(SourceOptions(csv=path), console)
    assert console.export_text().splitlines() == [
        "Read as CSV: 400 readings of value, 5 min apart, UTC as no zone is named",
        "Data: file cpu.csv — 400 readings, 1.4 days, no labels",
    ]
