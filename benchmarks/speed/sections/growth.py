"""How cost grows: with readings, trees, features, and models in one function."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.bucket import CONTEXTUAL_FOREST
from benchmarks.speed.contest import Times, medians
from benchmarks.speed.figures import BYTES, SECONDS, Curve, Figure, Growth, Row
from benchmarks.speed.process import Entry, started
from benchmarks.speed.sections.kernels import (
    BATCH,
    FEATURES,
    ROUNDING,
    TREES,
    forests,
)
from benchmarks.speed.sections.streams import GAUSSIAN, HALF_SPACE_TREES, entry
from benchmarks.speed.setting import OURS, PREDICT_EVENT, Setting
from benchmarks.speed.words import quantity

MANY = "ec2-cpu-{:04}"


def curves(measured: Sequence[Times]) -> tuple[Curve, ...]:
    """Return a curve for each contestant from what was measured at each size."""
    by_size = [medians(times) for times in measured]
    return tuple(Curve(each[0].who, each) for each in zip(*by_size, strict=True))


def package_entry(setting: Setting, factory: str, **arguments: Any) -> Entry:
    """Return this project's package, in this process."""
    installed = setting.installed()
    path: Path = installed.package(installed.architecture, has_bytecode=True)
    return Entry(
        OURS,
        f"handlers:{factory}",
        {"event": PREDICT_EVENT, **arguments},
        installed.python,
        [path],
        setting.bucket.environment,
    )


def readings(setting: Setting) -> list[Row | Growth]:
    """Measure a /detect over the length of its series."""
    sizes = setting.pick((100, 300, 1_000, 3_000, 10_000), (100, 1_000, 10_000))
    entries = [
        package_entry(setting, "series"),
        entry(setting, HALF_SPACE_TREES, "half_space_trees"),
        entry(setting, GAUSSIAN, "windowed_gaussian"),
    ]
    contest = setting.contest(rounds=5, budget=0.3, tolerance=None)
    return [
        Growth(
            "growth-readings",
            "/detect over the readings of its series",
            "a proxy event in, answer out, without a model; river: its loop alone, no request",
            *(SECONDS, "readings", sizes),
            curves(contest.grow(entries, [{"readings": size} for size in sizes], setting.tell)),
        )
    ]


def forest_sizes(setting: Setting) -> list[Row | Growth]:
    """Measure a batch of rows over the trees of a forest, and over its features."""
    usual = {"trees": TREES, "features": FEATURES}
    sizes = {
        "trees": setting.pick((10, 30, 100, 300, 1_000), (10, 100, 300)),
        "features": setting.pick((1, 4, 16, 64), (1, 4, 64)),
    }
    variants = [{**usual, axis: size} for axis in sizes for size in sizes[axis]]
    entries = forests(setting, "scores", (OURS, "scikit-learn"), rows=BATCH)
    contest = setting.contest(rounds=3, budget=0.2, tolerance=ROUNDING)
    measured = contest.grow(entries, variants, setting.tell)
    first, grown = 0, []
    for axis, other in (("trees", "features"), ("features", "trees")):
        of_axis = measured[first : first + len(sizes[axis])]
        first += len(of_axis)
        how = f"scores of {BATCH:,} rows at once, {usual[other]} {other}"
        what = f"Forest over its {axis}"
        grown.append(
            Growth(f"growth-{axis}", what, how, SECONDS, axis, sizes[axis], curves(of_axis))
        )
    return grown


def models(setting: Setting) -> list[Row | Growth]:
    """Measure a warm /predict over the number of models asked for, one at random each time."""
    sizes = setting.pick((1, 10, 100, 200, 500, 1_000), (1, 100, 250))
    artifact = setting.bucket.models.artifacts[CONTEXTUAL_FOREST]
    setting.tell(f"models: publishing {sizes[-1]:,}")
    setting.bucket.publish(map(MANY.format, range(sizes[-1])), artifact)
    costs, memory = [], []
    for size in sizes:
        setting.tell(f"models: {size:,} in one function")
        names = [MANY.format(number) for number in range(size)]
        entry_of_all = package_entry(setting, "many_models", models=names)
        with started(entry_of_all, setting.machine.pin) as one:
            one.make()
            one.answer()
            budget = setting.pick(1.0, 0.4)
            rounds = [statistics.mean(one.seconds(budget)) for _ in range(setting.pick(5, 3))]
            costs.append(Figure.of(OURS, rounds))
            memory.append(Figure.of(OURS, [float(one.memory())]))
    how = (
        f"one of so many contextual forests, {quantity(len(artifact), BYTES)} each, at random; mean"
    )
    note = (
        f"64 MiB of artifacts are kept, which is {64 * 2**20 // len(artifact)} such models; what "
        "is not kept is read from the bucket again. What a model was asked for once, it answers "
        "from tables beside its artifact"
    )
    return [
        Growth(
            *(name, what, how, unit, "models", sizes),
            (Curve(OURS, tuple(figures)),),
            note,
        )
        for name, what, unit, figures in (
            ("growth-models", "Warm /predict over models in use", SECONDS, costs),
            ("growth-memory", "Memory over models in use", BYTES, memory),
        )
    ]
