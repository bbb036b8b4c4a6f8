"""The benchmark's own parts: what it computes, says and draws of what was measured."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.performance import bench

from benchmarks.speed import contest
from benchmarks.speed.__main__ import measure_sections
from benchmarks.speed.errors import DisagreementError, MissingError
from benchmarks.speed.figures import (
    BYTES,
    SECONDS,
    Curve,
    Figure,
    Goal,
    Growth,
    Results,
    Row,
)
from benchmarks.speed.picture import draw
from benchmarks.speed.process import Entry
from benchmarks.speed.report import as_json, markdown
from benchmarks.speed.show import show

MODULES = [module.name for module in pkgutil.iter_modules(bench.__path__, f"{bench.__name__}.")]

OURS = Figure("this project", (1.0, 2.0, 1.5))
PEER = Figure("tutorial", (12.0, 30.0, 18.0))
RESULTS = Results(
    rows=[
        Row("cold", "Cold start", "as deployed", SECONDS, OURS, (PEER,), Goal(7, 12)),
        Row("slow", "Something lost", "alone", SECONDS, PEER, (OURS,), Goal(1)),
        Row("size", "Package", "unzipped", BYTES, Figure("this project", (2.0**20,))),
    ],
    growths=[
        Growth(
            *("readings", "Over readings", "alone", SECONDS, "readings", (10, 100, 1_000)),
            (Curve("this project", (OURS, OURS, OURS)), Curve("river", (PEER, PEER, PEER))),
        )
    ],
    skipped={"load": "no Python 3.13 was found here"},
    facts={"Machine": "a machine"},
)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    ("goal", "reached", "verdict"),
    [
        (Goal(7, 12), 6.9, "below"),
        (Goal(7, 12), 7.0, "reached"),
        (Goal(7, 12), 12.0, "beyond"),
        (Goal(7), 1000.0, "reached"),
    ],
)
def test_what_a_ratio_is_by_its_goal(goal: Goal, reached: float, verdict: str) -> None:
    assert goal.verdict(reached) == verdict


def test_the_page_tells_wins_losses_and_what_was_skipped() -> None:
    page = markdown(RESULTS)
    assert "| Cold start | 1.5 s | tutorial: 18 s | 12 (12 to 15) |" in page
    assert "| Something lost | 18 s | this project: 1.5 s | 0.083 (0.067 to 0.083) |" in page
    assert "- Skipped: load: no Python 3.13 was found here" in page
    assert "this project does not bend: cost grows as size^" in page


def test_every_round_is_kept() -> None:
    cold, *_ = json.loads(as_json(RESULTS))["rows"]
    assert cold["ours"]["rounds"] == [1.0, 2.0, 1.5]
    assert (cold["ours"]["median"], cold["verdict"]) == (1.5, "beyond")


def test_the_terminal_says_what_was_aimed_at() -> None:
    console = Console(file=StringIO(), width=120)
    show(RESULTS, console)
    told = console.file.getvalue()
    assert "7.0, 12 beyond" in told
    assert "1.0 below" in told


def test_a_picture_is_drawn_of_whatever_was_measured(tmp_path: Path) -> None:
    for number, results in enumerate((RESULTS, Results())):
        draw(results, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ([1.0, [True]], [1.0 + 1e-9, [True]], True),
        ([1.0], [1.1], False),
        ([1.0], [1.0, 2.0], False),
        (True, False, False),
    ],
)
def test_answers_are_compared_but_for_rounding(one: object, other: object, is_same: bool) -> None:
    assert contest.is_same(one, other, 1e-6) is is_same


def test_a_disagreement_is_no_comparison() -> None:
    entries = [Entry("us", ""), Entry("them", "")]
    with pytest.raises(DisagreementError, match="them does not answer what us does"):
        contest.Contest([], 1, 1.0)._compare(entries, [True, False])


def test_a_section_without_what_it_needs_is_skipped_with_the_reason() -> None:
    def missing(_: object) -> list[Row | Growth]:
        raise MissingError("the index can't be reached")

    sections = {"load": missing, "cold-start": lambda _: RESULTS.rows, "readings": lambda _: []}
    done: list[str] = []
    results = measure_sections(sections, None, lambda name, _: done.append(name))
    assert results.skipped == {"load": "the index can't be reached"}
    assert results.rows == RESULTS.rows
    assert done == list(sections)
