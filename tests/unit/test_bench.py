"""The speed benchmark's own parts: what it computes, compares and shows."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.speed import DisagreementError, MissingError
from benchmarks.speed.harness import Comparison, Entry, is_same
from benchmarks.speed.installation import tutorial, tutorial_without_pandas
from benchmarks.speed.report import (
    BYTES,
    SECONDS,
    Curve,
    Figure,
    Goal,
    Growth,
    Results,
    Row,
    as_json,
    draw,
    markdown,
    show_results,
)
from benchmarks.speed.run import measure_sections

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


@pytest.mark.parametrize(
    ("goal", "reached", "verdict"),
    [
        (Goal(7, 12), 6.9, "below"),
        (Goal(7, 12), 7.0, "reached"),
        (Goal(7, 12), 12.0, "beyond"),
        (Goal(7), 1000.0, "reached"),
    ],
)
def test_a_ratio_is_compared_with_its_goal(goal: Goal, reached: float, verdict: str) -> None:
    assert goal.verdict(reached) == verdict


def test_the_table_has_wins_losses_and_skipped_sections() -> None:
    table = markdown(RESULTS)
    assert "| Cold start | 1.5 s | tutorial: 18 s | 12 (12 to 15) |" in table
    assert "| Something lost | 18 s | this project: 1.5 s | 0.083 (0.067 to 0.083) |" in table
    assert "- Skipped: load: no Python 3.13 was found here" in table
    assert "this project does not bend: cost grows as size^" in table


def test_json_keeps_every_round() -> None:
    cold, *_ = json.loads(as_json(RESULTS))["rows"]
    assert cold["ours"]["rounds"] == [1.0, 2.0, 1.5]
    assert (cold["ours"]["median"], cold["verdict"]) == (1.5, "beyond")


def test_the_terminal_shows_the_goals() -> None:
    output = StringIO()
    console = Console(file=output, width=120)
    show_results(RESULTS, console)
    shown = output.getvalue()
    assert "7.0, 12 beyond" in shown
    assert "1.0 below" in shown


def test_a_picture_is_drawn_of_whatever_was_measured(tmp_path: Path) -> None:
    for number, results in enumerate((RESULTS, Results())):
        draw(results, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, [True]], [1.0 + 1e-9, [True]], True),
        ([1.0], [1.1], False),
        ([1.0], [1.0, 2.0], False),
        (True, False, False),
    ],
)
def test_outputs_are_compared_up_to_rounding(one: object, other: object, expected: bool) -> None:
    assert is_same(one, other, 1e-6) is expected


def test_a_disagreement_ends_the_comparison() -> None:
    entries = [Entry("us", ""), Entry("them", "")]
    with pytest.raises(DisagreementError, match="them does not return what us does"):
        Comparison([], 1, 1.0)._compare(entries, [True, False])


def test_a_section_without_what_it_needs_is_skipped_with_the_reason() -> None:
    def missing(_: object) -> list[Row]:
        raise MissingError("the index can't be reached")

    sections = {"load": missing, "cold-start": lambda _: RESULTS.rows, "readings": lambda _: []}
    done: list[str] = []
    setting: Any = None
    results = measure_sections(sections, setting, lambda name, _: done.append(name))
    assert results.skipped == {"load": "the index can't be reached"}
    assert results.rows == RESULTS.rows
    assert done == list(sections)


def test_the_lean_tutorial_is_the_tutorial_without_pandas() -> None:
    (app, requirements), (lean, lean_requirements) = tutorial(), tutorial_without_pandas()
    assert ("pandas" in app, "\npandas==" in requirements) == (True, True)
    assert "pd." not in lean
    assert "import pandas" not in lean
    assert "model.predict([[value]])" in lean
    assert set(requirements.splitlines()) - set(lean_requirements.splitlines()) == {
        next(line for line in requirements.splitlines() if line.startswith("pandas=="))
    }
