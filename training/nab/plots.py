"""A picture a file: the series, its windows, the detections, the scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.errors import RunError
from training.nab.corpus import NabFile
from training.nab.judgement import Judgement
from training.nab.results import folder_name
from training.nab.run import Scored
from training.report.pictures import ALERT, DPI, FIT, INK, WINDOW
from training.sources.series import Floats


def draw_all(
    files: list[NabFile], scored: Scored, judgement: Judgement, out: Path
) -> Iterator[Path]:
    """Draw every file of a run into OUT/plots/RUN/CATEGORY, and yield each path."""
    for file, scores in zip(files, scored.scores, strict=True):
        path = (out / "plots" / folder_name(scored) / file.name).with_suffix(".png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_file(file, scores, judgement).savefig(path, dpi=DPI, metadata={"Software": None})
        except OSError as error:
            raise RunError(f"{path} can't be written: {error}") from error
        yield path


def draw_file(file: NabFile, scores: Floats, judgement: Judgement) -> Figure:
    """Draw one file: values above, scores below, windows and probation shaded."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    times = np.array(file.texts, "datetime64[s]")
    detected = np.flatnonzero(scores >= judgement.threshold)
    detected = detected[detected >= file.probation]
    hit = file.label[detected] == 1
    for axes in (above, below):
        axes.axvspan(times[0], times[file.probation], color=FIT)
        for first, last in file.windows:
            axes.axvspan(times[first], times[last], color=WINDOW, alpha=0.35)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    above.plot(times, file.values, color=INK, linewidth=0.7)
    for rows, marker, color, label in (
        (detected[hit], "o", "#1b7837", "detection in a window"),
        (detected[~hit], "X", ALERT, "false alarm"),
    ):
        above.plot(times[rows], file.values[rows], marker, color=color, markersize=7, label=label)
    below.vlines(times, 0, scores, color=INK, linewidth=0.8)
    below.axhline(judgement.threshold, color=ALERT, linestyle="--", linewidth=0.8)
    above.set_ylabel("value")
    below.set_ylabel("score")
    above.set_title(
        f"{file.name}: {judgement.detector}, {judgement.profile}, "
        f"threshold {judgement.threshold:.3g}",
        loc="left",
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
