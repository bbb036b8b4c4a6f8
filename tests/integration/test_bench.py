"""The benchmark's contestants, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.contest import Contest, medians
from benchmarks.speed.errors import WorkerError
from benchmarks.speed.process import Entry

DECISION = "forests:decision"
FUNCTIONS = Path(__file__).parents[2] / "functions"


def test_contestants_run_in_processes_of_their_own() -> None:
    entries = [
        Entry(library, DECISION, {"library": library, "trees": 10}, path=[FUNCTIONS])
        for library in ("this project's value forest", "scikit-learn")
    ]
    times = Contest([], rounds=2, budget=0.01).hold(entries, lambda _: None)
    assert {who: len(rounds) for who, rounds in times.items()} == {e.who: 2 for e in entries}
    ours, theirs = medians(times)
    assert 0 < ours.median < theirs.median


def test_a_contestant_that_fails_is_told_with_what_it_said() -> None:
    entry = Entry("nobody", DECISION, {"library": "nobody", "trees": 10})
    with pytest.raises(WorkerError, match="nobody ended with 1: "):
        Contest([], rounds=1, budget=0.01).hold([entry], lambda _: None)
