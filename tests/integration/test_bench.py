"""Contestants of the speed benchmark, in processes of their own."""

from __future__ import annotations

import pytest

from benchmarks.speed import WorkerError
from benchmarks.speed.harness import Comparison, Entry, medians
from benchmarks.speed.installation import ROOT

DECISION = "forest_decision"
FUNCTIONS = ROOT / "functions"


def test_contestants_run_in_processes_of_their_own() -> None:
    entries = [
        Entry(library, DECISION, {"library": library, "trees": 10}, path=[FUNCTIONS])
        for library in ("this project's value forest", "scikit-learn")
    ]
    times = Comparison([], rounds=2, budget=0.01).run(entries, lambda _: None)
    assert {who: len(rounds) for who, rounds in times.items()} == {e.who: 2 for e in entries}
    ours, theirs = medians(times)
    assert 0 < ours.median < theirs.median


def test_a_failed_contestant_is_reported_with_its_output() -> None:
    entry = Entry("nobody", DECISION, {"library": "nobody", "trees": 10})
    with pytest.raises(WorkerError, match="nobody ended with 1: "):
        Comparison([], rounds=1, budget=0.01).run([entry], lambda _: None)
