"""The pictures of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.candidates.names import NAMES
from training.comparison import Judged
from training.evaluation import Confusion
from training.job import Run
from training.report.backtest_picture import draw_backtest
from training.report.style import ALERT, FIT, INK, WINDOW
from training.sources.series import Series

KIND_MARKS = {
    "value-forest": ("v", "#c8102e"),
    "contextual-forest": ("D", "#1b7837"),
    "lstm-autoencoder": ("^", "#6a3d9a"),
}
DPI = 110
BACKTEST = "backtest.png"


def draw_pictures(run: Run, folder: Path) -> dict[str, str]:
    """Draw a run's pictures into `folder`; return file name -> caption, in reading order."""
    figures = {
        "series.png": (
            draw_series(run),
            "The series, its labelled anomalies, and where each alert begins.",
        )
    }
    for each in run.judged:
        kind, name = each.candidate.kind, NAMES[each.candidate.kind]
        figures[f"confusion-{kind}.png"] = (
            draw_confusions(run, each),
            f"{name}: readings by truth and decision.",
        )
        figures[f"scores-{kind}.png"] = (
            draw_scores(run.judged_part, each),
            f"{name}: scores over the judged part, with the bar that an anomaly must reach.",
        )
        if each.candidate.losses:
            figures[f"loss-{kind}.png"] = (
                draw_losses(each.candidate.losses),
                f"{name}: loss by epoch; the weights of the lowest validation loss are kept.",
            )
    figures[BACKTEST] = (
        draw_backtest(run),
        f"Backtest of the {NAMES[run.winner.candidate.kind]}: a fault of each kind, of its middle "
        "size, among the readings around it; an example of how most of them went.",
    )
    for name, (figure, _) in figures.items():
        # a fixed metadata block: the same run draws the same bytes
        figure.savefig(folder / name, dpi=DPI, metadata={"Software": None})
    return {name: caption for name, (_, caption) in figures.items()}


def draw_series(run: Run) -> Figure:
    """Draw values over time, windows, labels, and each candidate's flags."""
    series = run.series
    figure, axes = wide_figure()
    axes.axvspan(series.timestamps[0], run.judged_part.timestamps[0], color=FIT, label="fitted on")
    shade_windows(axes, series)
    axes.plot(series.timestamps, series.values, color=INK, linewidth=0.7)
    if series.labels is not None and len(series.labels):
        axes.plot(
            series.timestamps[series.is_label],
            series.values[series.is_label],
            "o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=INK,
            label="labelled anomaly",
        )
    for each in run.judged:
        marker, color = KIND_MARKS[each.candidate.kind]
        starts = [alert.start for alert in each.detection.alerts]
        axes.plot(
            run.judged_part.timestamps[starts],
            run.judged_part.values[starts],
            marker,
            color=color,
            markersize=6,
            label=f"alert of the {NAMES[each.candidate.kind]}",
        )
    axes.set_ylabel("value")
    axes.set_title(series.origin, loc="left")
    finish(figure, axes)
    return figure


def draw_scores(part: Series, each: Judged) -> Figure:
    """Draw a candidate's scores over the judged part, with threshold and windows."""
    figure, axes = wide_figure()
    shade_windows(axes, part)
    detection, flags = each.detection, each.detection.is_anomaly
    axes.plot(part.timestamps, detection.scores, color=INK, linewidth=0.7)
    axes.plot(part.timestamps, detection.bar, color=ALERT, linestyle="--", label="bar")
    axes.plot(part.timestamps[flags], detection.scores[flags], "o", color=ALERT, label="flagged")
    axes.set_ylabel("score (high is anomalous)")
    axes.set_title(NAMES[each.candidate.kind], loc="left")
    finish(figure, axes)
    return figure


def draw_losses(losses: dict[str, list[float]]) -> Figure:
    """Draw the loss of each epoch, training and validation."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    names = {"loss": ("training", INK), "val_loss": ("validation", ALERT)}
    for key, (label, color) in names.items():
        axes.plot(np.arange(1, len(losses[key]) + 1), losses[key], color=color, label=label)
    best = int(np.argmin(losses["val_loss"]))
    axes.axvline(best + 1, color="grey", linestyle=":", label=f"kept: epoch {best + 1}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error (scaled)")
    finish(figure, axes)
    return figure


def draw_confusions(run: Run, each: Judged) -> Figure:
    """Draw a candidate's confusion matrices: the honest one, and the seed's where it exists."""
    matrices = [("Honest: all readings of a window count", each.readings)]
    matrices += [
        ("Seed's experiment: labelled points, in-sample", row.confusion)
        for row in run.seed_rows
        if row.kind == each.candidate.kind
    ]
    figure = Figure(figsize=(5 * len(matrices), 4.2), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)
    for axes, (title, matrix) in zip(panels[0], matrices, strict=True):
        draw_confusion(axes, title, matrix)
    figure.suptitle(NAMES[each.candidate.kind])
    return figure


def draw_confusion(axes: Axes, title: str, matrix: Confusion) -> None:
    """Draw one confusion matrix; colour follows the share of the true class."""
    counts = np.array(
        [
            [matrix.true_negatives, matrix.false_positives],
            [matrix.false_negatives, matrix.true_positives],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column,
            row,
            f"{count:,}",
            ha="center",
            va="center",
            fontsize=14,
            color="white" if shares[row, column] > 0.5 else INK,
        )
    axes.set_xticks([0, 1], ["normal", "anomaly"])
    axes.set_yticks([0, 1], ["normal", "anomaly"], rotation=90, va="center")
    axes.set_xlabel("decided")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)


def wide_figure() -> tuple[Figure, Axes]:
    """Return an empty picture for something over time."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")  # without pyplot: needs no screen
    return figure, figure.subplots()


def shade_windows(axes: Axes, series: Series) -> None:
    """Shade the anomaly windows of a series."""
    for number, (first, last) in enumerate(series.windows):
        label = "anomaly window" if number == 0 else None
        axes.axvspan(first, last, color=WINDOW, alpha=0.35, label=label)


def finish(figure: Figure, axes: Axes) -> None:
    """Give a picture its legend and clear its frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
