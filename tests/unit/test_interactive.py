"""`from ops_anomaly import detect, load_model`: what it accepts, returns and prints."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ops_anomaly
from ops_anomaly import SeriesDetection, detect, load_model
from ops_anomaly.detection.artifact import digest
from ops_anomaly.detection.types import (
    CorruptArtifactError,
    Detection,
    FixedSensitivityError,
    ValueOutOfRangeError,
)
from tests.support.fakes import small_artifact, small_forest

HOURS = np.arange("2026-01-01", "2026-01-15", dtype="datetime64[h]")
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Two weeks of a daily pattern, with one hour far beyond it."""
    number = np.arange(len(HOURS))
    noise = np.random.default_rng(0).normal(0, 0.5, len(HOURS))
    values = 20 + 5 * np.sin(2 * np.pi * number / 24) + noise
    values[300] = 90
    return values


@pytest.fixture(scope="module")
def detection(values: np.ndarray) -> SeriesDetection:
    return detect(HOURS, values)


def test_a_detection_has_alerts_scores_bounds_and_reasons(detection: SeriesDetection) -> None:
    assert isinstance(detection, Detection)
    assert 300 in [alert.start for alert in detection.alerts]
    assert detection.is_anomaly[300]
    assert detection.lower[300] <= detection.expected[300] <= detection.upper[300] < 90
    assert "90" in detection.reasons[300]
    assert len(detection.scores) == len(detection.series) == len(HOURS)


@pytest.mark.parametrize(
    "convert",
    [
        lambda hours: hours.tolist(),  # naive datetimes
        lambda hours: hours.astype(str).tolist(),
        lambda hours: [f"{hour}:00:00Z" for hour in hours.astype(str)],
        lambda hours: hours.astype("datetime64[ns]"),
        lambda hours: hours.astype("datetime64[s]").astype(np.int64),
        lambda hours: hours.astype("datetime64[s]").astype(float).tolist(),
        lambda hours: hours.astype("datetime64[ms]").astype(np.int64),
        lambda hours: tuple(hours.astype("datetime64[ms]").astype(np.int64).tolist()),
        lambda hours: hours.astype("datetime64[us]").astype(np.int64),
        lambda hours: hours.astype("datetime64[ns]").astype(np.int64),
        lambda hours: [each.replace(tzinfo=UTC) for each in hours.tolist()],
        lambda hours: [
            each.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=-5)))
            for each in hours.tolist()
        ],
    ],
    ids=[
        *("datetime", "text", "text with offset", "datetime64[ns]", "seconds", "float seconds"),
        *("milliseconds", "tuple of milliseconds", "microseconds", "nanoseconds"),
        *("UTC datetime", "datetime with offset"),
    ],
)
def test_every_form_of_timestamps_gives_the_same(
    convert: Any, values: np.ndarray, detection: SeriesDetection
) -> None:
    same = detect(convert(HOURS), values.tolist())
    assert same.series.times.tolist() == detection.series.times.tolist()
    assert same.scores.tolist() == detection.scores.tolist()
    assert same.alerts == detection.alerts


@pytest.mark.parametrize(
    "timestamps",
    [
        [1e8 - 1, 1e8],  # 1973, in seconds
        [1e10, 1e10],  # 2286, in seconds; or 1970, in milliseconds
        [1_767_225_600, 1_767_225_600_000],  # both units
        [1_767_225_600_000_000, 1_767_225_600_000],  # microseconds, then milliseconds
        [1e19, 1e19],  # 2286, in nanoseconds
        [0, 300],
        [-1, float("nan")],
        [1_767_225_600, float("nan")],
    ],
)
def test_ambiguous_numbers_are_refused(timestamps: list[float]) -> None:
    with pytest.raises(ValueError, match="Ambiguous timestamps: use seconds since 1970"):
        detect(timestamps, [1.0, 2.0])


@pytest.mark.parametrize(
    "timestamps",
    [
        ["2026-01-01", "yesterday"],
        ["2026-01-01", "2026-02-30"],
        [datetime(2026, 1, 1), None],
        [datetime(2026, 1, 1), 1_767_225_600],
        [True, False],
        np.array(["2026-01-01", "NaT"], "datetime64[s]"),
        [b"2026-01-01", b"2026-01-02"],
    ],
)
def test_anything_else_is_not_a_valid_date_or_time(timestamps: Any) -> None:
    with pytest.raises(ValueError, match="Not a valid date or time"):
        detect(timestamps, [1.0, 2.0])


def test_both_columns_have_the_same_length() -> None:
    with pytest.raises(ValueError, match="2 timestamps, 1 value"):
        detect(["2026-01-01", "2026-01-02"], [1.0])


def test_timestamps_have_one_dimension() -> None:
    with pytest.raises(ValueError, match="one dimension, not 2"):
        detect([["2026-01-01"], ["2026-01-02"]], [1.0, 2.0])


def test_readings_are_sorted_and_those_without_a_value_left_out(values: np.ndarray) -> None:
    gaps = values.copy()
    gaps[[5, 7]] = np.nan
    backwards = detect(HOURS[::-1], gaps[::-1])
    assert len(backwards.series) == len(HOURS) - 2
    assert (np.diff(backwards.series.times) > 0).all()
    assert backwards.notes[0] == "2 readings without a value: left out."
    assert "out of order" in backwards.notes[1]


def test_an_infinite_value_is_refused() -> None:
    with pytest.raises(ValueOutOfRangeError):
        detect(["2026-01-01", "2026-01-02"], [1.0, float("inf")])


def test_an_empty_series_is_no_error() -> None:
    empty = detect([], [])
    assert (len(empty.series), empty.alerts, str(empty)) == (0, [], "0 alerts in 0 readings")


def test_a_model_continues_its_history() -> None:
    found = detect(["2026-01-01T00:00", "2026-01-01T00:05"], [0.5, 2.0], model=small_forest())
    assert found.is_anomaly.tolist() == [False, True]


def test_a_sensitivity_is_passed_on() -> None:
    with pytest.raises(FixedSensitivityError):
        detect(["2026-01-01"], [0.5], sensitivity=1.0, model=small_forest())


def test_a_detection_prints_its_alerts_within_80_columns(detection: SeriesDetection) -> None:
    lines = str(detection).splitlines()
    count = len(detection.alerts)
    assert lines[0] == (
        f"{count} alert{'s' if count > 1 else ''} in 336 readings, "
        "2026-01-01 00:00 to 2026-01-14 23:00 UTC"
    )
    assert lines[1].split() == ["start", "duration", "severity", "reason"]
    [line] = [line for line in lines if line.startswith("2026-01-13 12:00")]
    assert "1 h" in line
    assert f"{detection.severity[300]:.2f}" in line
    assert max(map(len, lines)) <= 80
    assert repr(detection) == str(detection)


def test_a_long_list_of_alerts_is_cut() -> None:
    days = np.arange("2026-01-01", "2026-03-01", dtype="datetime64[D]")
    found = detect(days, np.where(np.arange(len(days)) % 2, 2.0, 0.5), model=small_forest())
    lines = str(found).splitlines()
    assert len(found.alerts) == 29
    assert lines[0].startswith("29 alerts in 59 readings")
    assert "... and 9 more" in lines


def test_a_model_is_read_from_a_file_or_from_bytes(tmp_path: Path) -> None:
    data = small_artifact()
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    for source in (data, file, str(file)):
        assert load_model(source).predict(2.0)
    assert load_model(data, sha256=digest(data)).predict(2.0)


def test_a_model_with_another_digest_is_refused() -> None:
    with pytest.raises(CorruptArtifactError, match="SHA-256"):
        load_model(small_artifact(), sha256="0" * 64)


def test_an_unreadable_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError):
        load_model(b"not a model")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing")


def test_importing_the_package_imports_no_numpy() -> None:
    code = "import sys, ops_anomaly; print('numpy' in sys.modules, *ops_anomaly.__all__)"
    folder = Path(ops_anomaly.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", *ops_anomaly.__all__]


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = ops_anomaly.predict
