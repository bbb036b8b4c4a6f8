"""Scoring: forests, networks and detectors of streams beside the libraries that have the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.speed.harness import OURS, Entry, Setting, curves, medians
from benchmarks.speed.installation import ROOT
from benchmarks.speed.report import SECONDS, Figure, Goal, Growth, Row

FUNCTIONS = ROOT / "functions"

VALUE_FOREST = f"{OURS}'s value forest"
TREES = 100
FEATURES = 4
BATCH = 10_000
ROUNDING = 1e-6
"""onnxruntime and treelite compute in float32."""

PEERS = ("scikit-learn", "onnxruntime", "treelite")
FAST_TO_MAKE = ("scikit-learn", "treelite")
"""It takes seconds to convert a forest for onnxruntime."""

READINGS = 4_032
SLOW_READINGS = 500
"""Readings that the slowest peer is given: its cost a reading is the same."""

HALF_SPACE_TREES, GAUSSIAN = "river HalfSpaceTrees", "river GaussianScorer"
WITH_MODEL = f"{OURS}, with a model"
ONE_BY_ONE = f"{OURS}, one reading at a time"
AS_PUBLISHED = "HalfSpaceTrees, 25 trees of height 15"

SINGLE_ROUNDING = 1e-4
"""float32, sixty steps."""

XLA_ON_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def one_value(setting: Setting) -> Sequence[Row | Growth]:
    """Measure the decision on one value."""
    who = (VALUE_FOREST, *setting.pick(PEERS, FAST_TO_MAKE))
    entries = forests(setting, "forest_decision", who, trees=TREES)
    times = setting.comparison(rounds=9, budget=0.3).run(entries, setting.progress)
    how = (
        f"decision on one float by a forest of {TREES} trees, its conversion into each library's "
        "input included"
    )
    return [forest_row("one-value", "One value, kernel", how, medians(times), Goal(10_000))]


def million_values(setting: Setting) -> Sequence[Row | Growth]:
    """Measure the scores of a million values."""
    who = (VALUE_FOREST, "scikit-learn")  # the others take a minute, as the smaller batch shows
    entries = forests(setting, "forest_scores", who, trees=TREES, features=1, rows=1_000_000)
    times = setting.comparison(rounds=3, budget=0.3, tolerance=ROUNDING).run(
        entries, setting.progress
    )
    how = f"scores of 10^6 values in one call by a forest of {TREES} trees"
    return [forest_row("million-values", "A million values", how, medians(times), Goal(40, 100))]


def many_features(setting: Setting) -> Sequence[Row | Growth]:
    """Measure a forest of several features: the contextual detector's, in numpy."""
    who = (OURS, *setting.pick(PEERS, FAST_TO_MAKE))
    entries = forests(setting, "forest_scores", who, trees=TREES, features=FEATURES)
    comparison = setting.comparison(rounds=6, budget=0.3, tolerance=ROUNDING)
    one, batch = comparison.over_sizes(entries, [{"rows": 1}, {"rows": BATCH}], setting.progress)
    how = f"scores of rows in one call, by {TREES} trees"
    what = f"Forest of {FEATURES} features"
    return [
        forest_row("forest-one-row", f"{what}, one row", how, medians(one)),
        forest_row("forest-batch", f"{what}, {BATCH:,} rows", how, medians(batch)),
    ]


def forest_sizes(setting: Setting) -> Sequence[Row | Growth]:
    """Measure a batch of rows over the trees of a forest, and over its features."""
    usual = {"trees": TREES, "features": FEATURES}
    sizes = {
        "trees": setting.pick((10, 30, 100, 300, 1_000), (10, 100, 300)),
        "features": setting.pick((1, 4, 16, 64), (1, 4, 64)),
    }
    variants = [{**usual, axis: size} for axis in sizes for size in sizes[axis]]
    entries = forests(setting, "forest_scores", (OURS, "scikit-learn"), rows=BATCH)
    comparison = setting.comparison(rounds=3, budget=0.2, tolerance=ROUNDING)
    measured = comparison.over_sizes(entries, variants, setting.progress)
    first, grown = 0, []
    for axis, other in (("trees", "features"), ("features", "trees")):
        of_axis = measured[first : first + len(sizes[axis])]
        first += len(of_axis)
        how = f"scores of {BATCH:,} rows in one call, {usual[other]} {other}"
        what = f"Forest over its {axis}"
        grown.append(
            Growth(f"growth-{axis}", what, how, SECONDS, axis, sizes[axis], curves(of_axis))
        )
    return grown


def forests(setting: Setting, factory: str, who: Sequence[str], **arguments: Any) -> list[Entry]:
    """Return the entries of these libraries."""
    python = setting.installed().python_of_peers()
    return [
        Entry(name, factory, {"library": name, **arguments}, python, [FUNCTIONS]) for name in who
    ]


def forest_row(
    name: str, what: str, how: str, figures: list[Figure], goal: Goal | None = None
) -> Row:
    """Return a row of which the first figure is this project's."""
    ours, *peers = figures
    return Row(name, what, how, SECONDS, Figure(OURS, ours.rounds), tuple(peers), goal)


def contextual(setting: Setting) -> Sequence[Row | Growth]:
    """Measure how long a series takes, a reading."""
    entries = [
        stream_entry(setting, OURS, "contextual", readings=READINGS, has_model=False),
        stream_entry(setting, WITH_MODEL, "contextual", readings=READINGS, has_model=True),
        stream_entry(setting, HALF_SPACE_TREES, "half_space_trees", readings=READINGS),
        stream_entry(setting, GAUSSIAN, "windowed_gaussian", readings=READINGS),
        stream_entry(setting, ONE_BY_ONE, "contextual_update"),
    ]
    if not setting.quick:  # half a million nodes are made first
        entries.append(
            stream_entry(
                setting, AS_PUBLISHED, "half_space_trees", readings=SLOW_READINGS, as_published=True
            )
        )
    times = setting.comparison(rounds=9, budget=0.4, tolerance=None).run(entries, setting.progress)
    counts = dict.fromkeys(times, READINGS) | {AS_PUBLISHED: SLOW_READINGS, ONE_BY_ONE: 1}
    figures = a_reading(medians(times), counts)
    peers = tuple(
        figures[who] for who in (HALF_SPACE_TREES, AS_PUBLISHED, GAUSSIAN) if who in figures
    )
    how = (
        f"a series of {READINGS:,} readings ({AS_PUBLISHED}: {SLOW_READINGS}); river one reading "
        "after another, scores alone; this project with expected values, bounds, reasons and alerts"
    )
    rows: list[Row] = []
    for name, what, who, goal in (
        ("contextual", "Contextual detector, a reading", WITH_MODEL, Goal(3, 10)),
        ("contextual-untrained", "The same without a model", OURS, None),
        ("contextual-update", "Contextual detector, one reading at a time", ONE_BY_ONE, None),
    ):
        ours = Figure(OURS, figures[who].rounds)
        rows.append(Row(name, what, how, SECONDS, ours, peers, goal))
    return rows


def stream_entry(setting: Setting, who: str, factory: str, **arguments: Any) -> Entry:
    """Return a detector of streams, in the peers' Python."""
    python = setting.installed().python_of_peers()
    return Entry(who, factory, arguments, python, [ROOT / "functions"])


def a_reading(figures: Sequence[Figure], readings: Mapping[str, int]) -> dict[str, Figure]:
    """Return seconds a reading, by contestant."""
    return {
        figure.who: Figure.of(figure.who, (each / readings[figure.who] for each in figure.rounds))
        for figure in figures
    }


def lstm(setting: Setting) -> Sequence[Row | Growth]:
    """Measure one window; these libraries are the project's own."""
    factories = {
        OURS: ("lstm_this_project", {}),
        "Keras (jax), predict_on_batch": ("lstm_keras", {"method": "predict_on_batch"}),
        "PyTorch": ("lstm_torch", {}),
        "Keras (jax), predict": ("lstm_keras", {"method": "predict"}),
    }
    has_torch = find_spec("torch") is not None
    if not has_torch:
        del factories["PyTorch"]
    if setting.quick:
        del factories["Keras (jax), predict"]
    entries = [
        Entry(
            *(who, factory, arguments, sys.executable, [ROOT / "functions"]),
            {"XLA_FLAGS": XLA_ON_ONE_THREAD, "KERAS_BACKEND": "jax"},
        )
        for who, (factory, arguments) in factories.items()
    ]
    times = setting.comparison(rounds=9, budget=0.3, tolerance=SINGLE_ROUNDING).run(
        entries, setting.progress
    )
    ours, *peers = medians(times)
    version = ".".join(map(str, sys.version_info[:2]))
    how = f"a window of 30 readings, two layers of 32 units, float32, Python {version}"
    how += "" if has_torch else "; PyTorch is not installed"
    return [
        Row(
            *("lstm", "LSTM autoencoder, one window", how, SECONDS),
            *(ours, tuple(peers), Goal(1, 2)),
        )
    ]
