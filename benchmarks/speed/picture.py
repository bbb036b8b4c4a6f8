"""One picture: how many times as much the peers take, and how cost grows."""

from __future__ import annotations

from itertools import cycle, zip_longest
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.speed.figures import BYTES, Growth, Results, Row
from benchmarks.speed.words import quantity, rounded
from training.report.style import ALERT, INK, PALE, WINDOW

DPI = 110
PEER_COLORS = (ALERT, WINDOW, PALE)
PANELS = 3
"""Curves side by side."""


def draw(results: Results, path: Path) -> None:
    """Draw all that was compared into a PNG."""
    compared = [row for row in results.rows if row.peers]
    lines = -(-len(results.growths) // PANELS)
    heights = [0.24 * len(compared) + 1.0] * bool(compared) + [3.2 * lines] * bool(lines) or [1.0]
    figure = Figure(figsize=(12, sum(heights)), layout="constrained")
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)
    if compared:
        draw_ratios(parts.pop(0).subplots(), compared)
    if lines:
        panels = parts.pop(0).subplots(lines, PANELS, squeeze=False).flat
        for growth, axes in zip_longest(results.growths, panels):
            if growth:
                draw_growth(axes, growth)
            else:
                axes.set_axis_off()
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def draw_ratios(axes: Axes, rows: list[Row]) -> None:
    """Draw a bar a row, with its spread and what was to be reached."""
    for place, row in enumerate(reversed(rows)):
        ratio = row.ratios[0]
        axes.barh(place, ratio.median - 1, left=1, color=INK if ratio.median >= 1 else ALERT)
        axes.plot([ratio.low, ratio.high], [place, place], color=WINDOW, linewidth=2)
        if row.goal:
            axes.plot([row.goal.reach], [place], "|", color="black", markersize=13)
        label = f" {rounded(ratio.median)}"
        axes.annotate(label, (max(ratio.median, ratio.high, 1), place), va="center", fontsize=8)
    names = [f"{row.what}  ({row.peers[0].who})" for row in reversed(rows)]
    axes.set(xscale="log", ylim=(-0.6, len(rows) - 0.4))
    axes.margins(x=0.1)  # room for the last label
    axes.xaxis.set_major_formatter(lambda times, _: rounded(times))
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_title(
        "How many times as much the peer takes: median, single rounds (yellow), to be reached (|)",
        fontsize=10,
        loc="left",
    )
    axes.grid(axis="x", color=PALE, alpha=0.4)


def draw_growth(axes: Axes, growth: Growth) -> None:
    """Draw the curves of all contestants, this project's the thick one."""
    colors = cycle(PEER_COLORS)
    for number, curve in enumerate(growth.curves):
        color, width = (INK, 2.2) if number == 0 else (next(colors), 1.2)
        costs = [figure.median for figure in curve.figures]
        low, high = ([f(figure.rounds) for figure in curve.figures] for f in (min, max))
        axes.plot(
            growth.sizes, costs, "o-", color=color, linewidth=width, markersize=3, label=curve.who
        )
        axes.fill_between(growth.sizes, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_title(growth.what, fontsize=10, loc="left")
    axes.set_xscale("log")
    axes.set_xticks(growth.sizes, [f"{size:,}" for size in growth.sizes])
    axes.set_xlabel(growth.axis, fontsize=8)
    axes.xaxis.set_minor_formatter("")
    if growth.unit == BYTES:
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda cost, _: quantity(cost, growth.unit))
    axes.yaxis.set_minor_formatter("")
    axes.tick_params(labelsize=8)
    axes.grid(color=PALE, alpha=0.4)
    axes.legend(fontsize=7, frameon=False)
