"""The forests alone: one value, a million values, many features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.speed.contest import medians
from benchmarks.speed.figures import SECONDS, Figure, Goal, Growth, Row
from benchmarks.speed.process import ROOT, Entry
from benchmarks.speed.setting import OURS, Setting

FUNCTIONS = ROOT / "functions"
VALUE_FOREST = f"{OURS}'s value forest"
TREES = 100
FEATURES = 4
BATCH = 10_000
ROUNDING = 1e-6
"""onnxruntime and treelite compute in float32."""

FAST_TO_MAKE = ("scikit-learn", "treelite")
PEERS = ("scikit-learn", "onnxruntime", "treelite")
"""It takes seconds to convert a forest for onnxruntime."""


def forests(setting: Setting, factory: str, who: Sequence[str], **arguments: Any) -> list[Entry]:
    """Return the entries of these libraries."""
    python = setting.installed().python_of_peers()
    return [
        Entry(name, f"forests:{factory}", {"library": name, **arguments}, python, [FUNCTIONS])
        for name in who
    ]


def row(name: str, what: str, how: str, figures: list[Figure], goal: Goal | None = None) -> Row:
    """Return a row of which the first figure is this project's."""
    ours, *peers = figures
    return Row(name, what, how, SECONDS, Figure(OURS, ours.rounds), tuple(peers), goal)


def one_value(setting: Setting) -> list[Row | Growth]:
    """Measure the decision on one value."""
    who = (VALUE_FOREST, *setting.pick(PEERS, FAST_TO_MAKE))
    entries = forests(setting, "decision", who, trees=TREES)
    times = setting.contest(rounds=9, budget=0.3).hold(entries, setting.tell)
    how = f"decision on one float by a forest of {TREES} trees, what each library takes made of it"
    return [row("one-value", "One value, kernel", how, medians(times), Goal(10_000))]


def million_values(setting: Setting) -> list[Row | Growth]:
    """Measure the scores of a million values."""
    who = (VALUE_FOREST, "scikit-learn")  # the others take a minute, as the smaller batch shows
    entries = forests(setting, "scores", who, trees=TREES, features=1, rows=1_000_000)
    times = setting.contest(rounds=3, budget=0.3, tolerance=ROUNDING).hold(entries, setting.tell)
    how = f"scores of 10^6 values at once by a forest of {TREES} trees"
    return [row("million-values", "A million values", how, medians(times), Goal(40, 100))]


def many_features(setting: Setting) -> list[Row | Growth]:
    """Measure a forest of several features: the contextual forest's, which numpy walks."""
    who = (OURS, *setting.pick(PEERS, FAST_TO_MAKE))
    entries = forests(setting, "scores", who, trees=TREES, features=FEATURES)
    contest = setting.contest(rounds=6, budget=0.3, tolerance=ROUNDING)
    one, batch = contest.grow(entries, [{"rows": 1}, {"rows": BATCH}], setting.tell)
    how = f"scores of rows asked for at once, by {TREES} trees"
    what = f"Forest of {FEATURES} features"
    return [
        row("forest-one-row", f"{what}, one row", how, medians(one)),
        row("forest-batch", f"{what}, {BATCH:,} rows", how, medians(batch)),
    ]
