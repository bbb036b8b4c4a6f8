"""The contextual forest against detectors of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.contest import medians
from benchmarks.speed.figures import SECONDS, Figure, Goal, Growth, Row
from benchmarks.speed.process import ROOT, Entry
from benchmarks.speed.setting import OURS, Setting

READINGS = 4_032
FEW = 500
"""Readings of the series that the slowest peer is given: its cost a reading is the same."""

AFTER = 2_016
"""Readings that came before the one that is judged by itself."""

HALF_SPACE_TREES, GAUSSIAN = "river HalfSpaceTrees", "river GaussianScorer"
WITH_FOREST = f"{OURS}, with its forest"
ONE_BY_ONE = f"{OURS}, one reading at a time"
AS_PUBLISHED = "HalfSpaceTrees, 25 trees of height 15"


def entry(setting: Setting, who: str, factory: str, **arguments: Any) -> Entry:
    """Return an entry of `peers/streams.py`."""
    python = setting.installed().python_of_peers()
    return Entry(who, f"streams:{factory}", arguments, python, [ROOT / "functions"])


def a_reading(figures: Sequence[Figure], readings: Mapping[str, int]) -> dict[str, Figure]:
    """Return seconds a reading, by contestant."""
    return {
        figure.who: Figure.of(figure.who, (each / readings[figure.who] for each in figure.rounds))
        for figure in figures
    }


def contextual_forest(setting: Setting) -> list[Row | Growth]:
    """Measure how long a series takes, a reading."""
    entries = [
        entry(setting, OURS, "contextual_forest", readings=READINGS, has_forest=False),
        entry(setting, WITH_FOREST, "contextual_forest", readings=READINGS, has_forest=True),
        entry(setting, HALF_SPACE_TREES, "half_space_trees", readings=READINGS),
        entry(setting, GAUSSIAN, "windowed_gaussian", readings=READINGS),
        entry(setting, ONE_BY_ONE, "contextual_forest_step", after=AFTER),
    ]
    if not setting.quick:  # half a million nodes are made first
        entries.append(
            entry(setting, AS_PUBLISHED, "half_space_trees", readings=FEW, as_published=True)
        )
    times = setting.contest(rounds=9, budget=0.4, tolerance=None).hold(entries, setting.tell)
    counts = dict.fromkeys(times, READINGS) | {AS_PUBLISHED: FEW, ONE_BY_ONE: 1}
    figures = a_reading(medians(times), counts)
    peers = tuple(
        figures[who] for who in (HALF_SPACE_TREES, AS_PUBLISHED, GAUSSIAN) if who in figures
    )
    how = (
        f"a series of {READINGS:,} readings ({AS_PUBLISHED}: {FEW}); river one reading after "
        "another, scores alone; this project with expected values, bounds, reasons and alerts"
    )
    rows: list[Row | Growth] = []
    for name, what, who, goal in (
        ("contextual", "Contextual forest, a reading", WITH_FOREST, Goal(3, 10)),
        ("contextual-untrained", "The same without a model", OURS, None),
        ("contextual-step", "Contextual forest, a reading by itself", ONE_BY_ONE, None),
    ):
        ours = Figure(OURS, figures[who].rounds)
        rows.append(Row(name, what, how, SECONDS, ours, peers, goal))
    return rows
