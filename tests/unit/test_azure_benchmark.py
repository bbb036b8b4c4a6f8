"""Benchmark `azure`: how cases are read and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.azure import LENGTHS, case_files, compare, kinds, near, simulate
from benchmarks.speed import BenchmarkError


def case(folder: Path, **more: Any) -> Path:
    """Write a case whose last value is far above the others, and return its file."""
    values = [10.0, 10.2, 9.9, 10.1] * 5 + [30.0]
    fields = {"request": {"series": [{"value": value} for value in values]}} | more
    path = folder / "case.json"
    path.write_text(json.dumps({"expected": {}, "operation": "last"} | fields))
    return path


def test_a_flag_may_be_off_by_two_points() -> None:
    flags, others = np.zeros(10, bool), np.zeros(10, bool)
    flags[[2, 6]] = others[4] = True
    assert near(flags, others) == 1.0
    others[:] = False
    others[9] = True
    assert near(flags, others) == 0.0
    assert near(np.zeros(10, bool), others) == 1.0


def test_a_case_that_agrees(tmp_path: Path) -> None:
    expected = {"isAnomaly": True, "expectedValue": 10.1, "period": 4}
    compared = compare(case(tmp_path, expected=expected))
    assert (compared.status, compared.period, compared.values) == (200, True, True)
    assert (compared.size, compared.f1) == ("under 60", 1.0)


def test_a_case_that_does_not(tmp_path: Path) -> None:
    expected = {"isAnomaly": [True] + 20 * [False], "expectedValues": 21 * [99.0], "period": 7}
    compared = compare(case(tmp_path, operation="entire", expected=expected))
    assert (compared.period, compared.values) == (False, False)
    assert compared.recall == compared.precision == compared.f1 == 0.0


def test_a_case_that_is_refused(tmp_path: Path) -> None:
    compared = compare(case(tmp_path, request={"series": []}, expected={"isAnomaly": True}))
    assert (compared.status, compared.wanted.size) == (400, 0)


def test_what_is_no_case_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="expected one case a file"):
        case_files(tmp_path)
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(BenchmarkError, match=r"x\.json"):
        compare(tmp_path / "x.json")


def test_simulated_series_are_found_and_reproducible() -> None:
    assert all(list(kinds(n)) for n in LENGTHS)
    record = simulate(60, 7, "none", "normal", 1)
    assert record == simulate(60, 7, "none", "normal", 1)
    assert record["found"] == record["period"] == 1
