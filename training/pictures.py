"""The pictures of a run: charts of the page in SVG, and larger ones in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ops_anomaly.charts import Chart, chart
from ops_anomaly.detection.formatting import duration
from training.alerts import RaisedAlert, most_severe
from training.backtest import FAULT_KINDS, Trial
from training.candidates import TITLES
from training.comparison import Confusion, Evaluation
from training.run import Run
from training.sources.series import MINUTE_MS, LabelledSeries

if TYPE_CHECKING:
    import numpy.typing as npt

    from ops_anomaly.detection.types import Detection, Floats, Integers

MAX_PERIODS = 100_000
"""Of a chart; readings that are denser than that share one."""

BEFORE, AFTER = 36, 24
"""Readings shown around an alert."""

INK, WINDOW, FIT, ALERT = "#1f3b57", "#f4b942", "#eceff3", "#c8102e"
PALE = "#9fb3c8"
MARKS = (("v", "#c8102e"), ("D", "#1b7837"), ("^", "#6a3d9a"), ("s", "#b35806"), ("P", "#01665e"))
"""Of the candidates' alerts, one after the other."""

DPI = 110
BACKTEST = "backtest.png"

AROUND = 48
"""Readings shown before and after a fault."""


def series_chart(run: Run, width: int, height: int) -> str:
    """Return the test part as SVG, with what the winner expected; the worst alert is shaded."""
    everything = slice(0, len(run.test_part))
    spans = [(each.first, round(each.first + each.lasted)) for each in most_severe(run.alerts, 1)]
    return chart(
        chart_of(run.test_part, run.winner.detection, everything, everything),
        width=width,
        height=height,
        title=f"{run.series.name}, the readings after those that models were fitted on",
        span=spans[0] if spans else None,
    )


def alert_chart(run: Run, alert: RaisedAlert, width: int, height: int) -> str:
    """Return the readings around an alert as SVG, with what the winner expected of them."""
    start, stop = alert.positions.start, alert.positions.end + 1
    shown = slice(max(start - BEFORE, 0), stop + AFTER)
    return chart(
        chart_of(run.test_part, run.winner.detection, shown, slice(start, stop)),
        width=width,
        height=height,
        title=alert.reason,
        span=(alert.first, round(alert.first + alert.lasted)),
    )


def chart_of(part: LabelledSeries, detection: Detection, shown: slice, marked: slice) -> Chart:
    """Return what is drawn of a series: a period for each reading, and for each that is missing.

    Parameters
    ----------
    shown, marked
        Positions of the readings that are drawn, and of those that are marked where unusual.
    """
    times, is_marked = part.times[shown], np.zeros(len(part), bool)
    is_marked[marked] = detection.is_anomaly[marked]
    step = max(part.series.step, int(times[-1] - times[0]) / MAX_PERIODS)
    periods = np.rint((times - times[0]) / step).astype(np.int64)

    def in_periods(values: Floats) -> list[float | None]:
        row: list[float | None] = [None] * (int(periods[-1]) + 1)
        for period, value in zip(periods.tolist(), values[shown].tolist(), strict=True):
            row[period] = None if np.isnan(value) else value
        return row

    return Chart(
        start=int(times[0]),
        step=round(step),
        values=in_periods(part.values),
        expected=in_periods(detection.expected),
        lower=in_periods(detection.lower),
        upper=in_periods(detection.upper),
        unusual=periods[is_marked[shown]].tolist(),
    )


def draw_pictures(run: Run, folder: Path) -> dict[str, str]:
    """Draw a run's pictures into `folder`; return file name -> caption, in reading order."""
    figures = {
        "series.png": (
            draw_series(run),
            "The series, its labelled anomalies, and where each alert begins.",
        )
    }
    for each in run.evaluations:
        kind, name = each.candidate.kind, TITLES[each.candidate.kind]
        matrices = confusion_matrices(run, each)
        if matrices:
            figures[f"confusion-{kind}.png"] = (
                draw_confusions(name, matrices),
                f"{name}: readings by truth and decision.",
            )
        figures[f"scores-{kind}.png"] = (
            draw_scores(run.test_part, each),
            f"{name}: scores over the test part, with the threshold that an anomaly must reach.",
        )
        if each.candidate.losses:
            figures[f"loss-{kind}.png"] = (
                draw_losses(each.candidate.losses),
                f"{name}: loss by epoch; the weights of the lowest validation loss are kept.",
            )
    figures[BACKTEST] = (
        draw_backtest(run),
        f"Backtest of the {TITLES[run.winner.candidate.kind]}: a fault of each kind, of its middle "
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
    times, test_times = dates(series.times), dates(run.test_part.times)
    axes.axvspan(times[0], test_times[0], color=FIT, label="training part")
    shade_windows(axes, series)
    axes.plot(times, series.values, color=INK, linewidth=0.7)
    if series.labels is not None and len(series.labels):
        axes.plot(
            times[series.is_label],
            series.values[series.is_label],
            "o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=INK,
            label="labelled anomaly",
        )
    for each, (marker, color) in zip(run.evaluations, MARKS, strict=False):
        starts = [alert.start for alert in each.detection.alerts]
        axes.plot(
            test_times[starts],
            run.test_part.values[starts],
            marker,
            color=color,
            markersize=6,
            label=f"alert of the {TITLES[each.candidate.kind]}",
        )
    axes.set_ylabel("value")
    axes.set_title(series.origin, loc="left")
    finish(figure, axes)
    return figure


def draw_scores(part: LabelledSeries, each: Evaluation) -> Figure:
    """Draw a candidate's scores over the test part, with threshold and windows."""
    figure, axes = wide_figure()
    shade_windows(axes, part)
    times = dates(part.times)
    detection, flags = each.detection, each.detection.is_anomaly
    axes.plot(times, detection.scores, color=INK, linewidth=0.7)
    axes.plot(times, detection.thresholds, color=ALERT, linestyle="--", label="threshold")
    axes.plot(times[flags], detection.scores[flags], "o", color=ALERT, label="flagged")
    axes.set_ylabel("score (high is anomalous)")
    axes.set_title(TITLES[each.candidate.kind], loc="left")
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


def confusion_matrices(run: Run, each: Evaluation) -> list[tuple[str, Confusion]]:
    """Return a candidate's confusion matrices with their titles; none where there are no labels."""
    matrices = []
    if len(run.test_part.windows):
        matrices.append(("Out of sample: all readings of a window count", each.readings))
    matrices += [
        ("Baseline experiment: labelled points, in-sample", row.confusion)
        for row in run.baseline
        if row.kind == each.candidate.kind
    ]
    return matrices


def draw_confusions(title: str, matrices: list[tuple[str, Confusion]]) -> Figure:
    """Draw the confusion matrices of a candidate side by side."""
    figure = Figure(figsize=(5 * len(matrices), 4.2), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)
    for axes, (caption, matrix) in zip(panels[0], matrices, strict=True):
        draw_confusion(axes, caption, matrix)
    figure.suptitle(title)
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


def dates(times: Integers) -> npt.NDArray[np.datetime64]:
    """Return times in milliseconds as matplotlib draws them."""
    return times.astype("datetime64[ms]")


def wide_figure() -> tuple[Figure, Axes]:
    """Return an empty picture for something over time."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")  # without pyplot: no display needed
    return figure, figure.subplots()


def shade_windows(axes: Axes, series: LabelledSeries) -> None:
    """Shade the anomaly windows of a series."""
    for number, (first, last) in enumerate(dates(series.windows)):
        label = "anomaly window" if number == 0 else None
        axes.axvspan(first, last, color=WINDOW, alpha=0.35, label=label)


def finish(figure: Figure, axes: Axes) -> None:
    """Give a picture its legend and clear its frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)


def draw_backtest(run: Run) -> Figure:
    """Draw a fault of each kind, of its middle size, as most of them went for the winner."""
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2, 3).flat)
    for axes, kind in zip(panels, FAULT_KINDS, strict=True):
        size = kind.sizes[len(kind.sizes) // 2]
        trials = run.backtests[run.winner.candidate.kind].of(kind.name, size)
        found = sum(trial.is_found for trial in trials)
        described = kind.describe(size, run.series.series.step)
        title = f"{kind.name}, {described}\n{found} of {len(trials)} found"
        if trials:
            trial = example(trials)
            draw_trial(axes, run.plan.part, trial)
            title += f"; this one {outcome(trial)}"
        else:
            axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=10)
    legends = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for known in legends for handle, label in zip(*known, strict=True)}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def draw_trial(axes: Axes, part: LabelledSeries, trial: Trial) -> None:
    """Draw a fault among the readings around it, and where the alert was raised."""
    injection = trial.injection
    start, stop = injection.start, injection.start + len(injection.values)
    shown = slice(max(start - AROUND, 0), stop + AROUND)
    times, values = dates(part.times), part.values.copy()
    half_step = np.timedelta64(int(part.series.step / 2), "ms")
    values[start:stop] = injection.values
    # from half a step before to half a step after, so that a single reading has a width
    axes.axvspan(
        times[start] - half_step,
        times[stop - 1] + half_step,
        color=WINDOW,
        alpha=0.35,
        label="the fault",
    )
    axes.plot(times[shown], part.values[shown], color=PALE, linewidth=1.2, label="as it was")
    axes.plot(times[shown], values[shown], color=INK, linewidth=0.9, label="with the fault")
    if trial.delay_minutes is not None:
        at = times[start] + np.timedelta64(round(MINUTE_MS * trial.delay_minutes), "ms")
        value = values[np.searchsorted(times, at)]
        axes.plot([at], [value], "D", color=ALERT, markersize=7, label="alert")
    # were 3 ticks needed, it would warn of ranges for which it has no interval
    locator = AutoDateLocator(minticks=2, maxticks=6)  # type: ignore[no-untyped-call] # no stub
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call] # no stub
    axes.xaxis.set_major_formatter(formatter)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)


def example(trials: list[Trial]) -> Trial:
    """Return the middle one of those found, or of those missed, whichever are more."""
    found = [trial for trial in trials if trial.is_found]
    missed = [trial for trial in trials if not trial.is_found]
    more = found if len(found) >= len(missed) else missed
    return more[len(more) // 2]


def outcome(trial: Trial) -> str:
    """Return whether a fault was found, and how fast."""
    if trial.delay_minutes is None:
        return "missed"
    return (
        f"after {duration(MINUTE_MS * trial.delay_minutes)}" if trial.delay_minutes else "no delay"
    )
