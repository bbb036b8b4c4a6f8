"""The picture of the backtest: one fault of each kind on the series itself."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from detector.explanation import duration
from training.backtest.backtest import Trial
from training.backtest.faults import KINDS
from training.job import Run
from training.report.backtest_table import size_in_words
from training.report.style import ALERT, INK, PALE, WINDOW
from training.sources.series import Series

AROUND = 48
"""Readings shown before and after a fault."""


def draw_backtest(run: Run) -> Figure:
    """Draw a fault of each kind, of its middle size, as most of them went for the winner."""
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2, 3).flat)
    for axes, kind in zip(panels, KINDS, strict=True):
        size = kind.sizes[len(kind.sizes) // 2]
        trials = run.backtests[run.winner.candidate.kind].of(kind.name, size)
        found = sum(trial.is_found for trial in trials)
        title = f"{kind.name}, {size_in_words(run, kind, size)}\n{found} of {len(trials)} found"
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


def draw_trial(axes: Axes, part: Series, trial: Trial) -> None:
    """Draw a fault among the readings around it, and where the alert was raised."""
    injection = trial.injection
    start, stop = injection.start, injection.start + len(injection.values)
    shown = slice(max(start - AROUND, 0), stop + AROUND)
    times, values = part.timestamps, part.values.copy()
    values[start:stop] = injection.values
    # from half a step before to half a step after, so that a single reading has a width
    axes.axvspan(
        times[start] - part.step // 2,
        times[stop - 1] + part.step // 2,
        color=WINDOW,
        alpha=0.35,
        label="the fault",
    )
    axes.plot(times[shown], part.values[shown], color=PALE, linewidth=1.2, label="as it was")
    axes.plot(times[shown], values[shown], color=INK, linewidth=0.9, label="with the fault")
    if trial.delay_minutes is not None:
        at = times[start] + np.timedelta64(round(60 * trial.delay_minutes), "s")
        value = values[np.searchsorted(times, at)]
        axes.plot([at], [value], "D", color=ALERT, markersize=7, label="alert")
    locator = AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
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
    """Say what became of a fault."""
    if trial.delay_minutes is None:
        return "missed"
    return f"after {duration(60_000 * trial.delay_minutes)}" if trial.delay_minutes else "at once"
