"""The results of the speed benchmark, and how they are shown: Markdown, JSON, terminal, picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, zip_longest
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator
from rich import box
from rich.console import Console
from rich.table import Table

from training.pictures import ALERT, INK, PALE, WINDOW

SECONDS, BYTES = "s", "B"
SCALES = {
    SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    BYTES: ((2.0**20, "MiB"), (2.0**10, "KiB")),
}
DIGITS = 2

MIN_BEND = 0.2
"""Difference of two exponents below which a curve is taken as straight."""

PICTURE = "bench.png"
DPI = 110
PEER_COLORS = (ALERT, WINDOW, PALE)
PANELS = 3
"""Curves side by side."""

VERDICT_STYLES = {"beyond": "bold green", "reached": "green", "below": "bold red"}


@dataclass(frozen=True)
class Figure:
    """The cost of one contestant.

    Attributes
    ----------
    rounds : tuple of float
        A figure a round; those of the same round were measured one after another.
    """

    who: str
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, who: str, rounds: Iterable[float]) -> Figure:
        """Return the figure of these rounds."""
        return cls(who, tuple(rounds))

    @property
    def median(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Ratio:
    """How many times as much a peer takes: of the medians, and in single rounds."""

    median: float
    low: float
    high: float


def ratio(ours: Figure, peer: Figure) -> Ratio:
    """Return how many times as much a peer takes.

    Where one was measured in more rounds, each round is compared with the other's median.

    Examples
    --------
    >>> ratio(Figure("us", (1.0, 2.0, 2.0)), Figure("them", (4.0, 4.0, 10.0)))
    Ratio(median=2.0, low=2.0, high=5.0)
    >>> ratio(Figure("us", (1.0, 2.0, 4.0)), Figure("them", (6.0,)))
    Ratio(median=3.0, low=1.5, high=6.0)
    """
    if len(ours.rounds) == len(peer.rounds):
        single = [theirs / own for own, theirs in zip(ours.rounds, peer.rounds, strict=True)]
    else:
        single = [peer.median / own for own in ours.rounds]
        single += [theirs / ours.median for theirs in peer.rounds]
    return Ratio(peer.median / ours.median, min(single), max(single))


@dataclass(frozen=True)
class Goal:
    """How many times as much the first peer should take at least, and what would be beyond."""

    reach: float
    beyond: float | None = None

    def verdict(self, reached: float) -> str:
        """Return what a ratio is by this goal, in a word."""
        if reached < self.reach:
            return "below"
        return "beyond" if self.beyond and reached >= self.beyond else "reached"


@dataclass(frozen=True)
class Row:
    """One measurement: of this project, then of its peers.

    Attributes
    ----------
    name : str
        In files.
    what, how : str
        In words: the measurement, and how it was made.
    unit : str
        `SECONDS` or `BYTES`: less is better.
    peers : tuple of Figure
        The goal is about the first one.
    """

    name: str
    what: str
    how: str
    unit: str
    ours: Figure
    peers: tuple[Figure, ...] = ()
    goal: Goal | None = None

    @property
    def ratios(self) -> list[Ratio]:
        """How many times as much each peer takes."""
        return [ratio(self.ours, peer) for peer in self.peers]


@dataclass(frozen=True)
class Curve:
    """The cost of one contestant at each size."""

    who: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Growth:
    """How cost grows with a size.

    Attributes
    ----------
    axis : str
        What the sizes count.
    curves : tuple of Curve
        This project's first.
    note : str
        A remark on it, besides where it bends.
    """

    name: str
    what: str
    how: str
    unit: str
    axis: str
    sizes: tuple[int, ...]
    curves: tuple[Curve, ...]
    note: str = ""


@dataclass
class Results:
    """All that was measured; what was skipped, and why."""

    rows: list[Row] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bend:
    """Cost grows as size to the power `before` up to size `at`, as to the power `after` behind it.

    Where the curve is straight, `at` is None and both powers are the same.
    """

    at: int | None
    before: float
    after: float

    def __str__(self) -> str:
        if self.at is None:
            return f"does not bend: cost grows as size^{self.before:.2f}"
        return (
            f"bends at {self.at:,}: cost grows as size^{self.before:.2f} up to there, as "
            f"size^{self.after:.2f} from there"
        )


def bend(sizes: Sequence[float], costs: Sequence[float]) -> Bend:
    """Return where a curve bends: the two lines that meet in one of its points and fit it best.

    Examples
    --------
    >>> str(bend([1, 10, 100, 1000, 10000], [2, 2, 2, 20, 200]))
    'bends at 100: cost grows as size^0.00 up to there, as size^1.00 from there'
    >>> str(bend([1, 10, 100], [3, 30, 300]))
    'does not bend: cost grows as size^1.00'
    """
    x, y = np.log(np.array(sizes, float)), np.log(np.array(costs, float))
    slope = float(np.polyfit(x, y, 1)[0])
    best, least = Bend(None, slope, slope), np.inf
    for knee in range(1, len(x) - 1):
        columns = [np.ones_like(x), np.minimum(x - x[knee], 0.0), np.maximum(x - x[knee], 0.0)]
        lines = np.column_stack(columns)
        fit = np.linalg.lstsq(lines, y, rcond=None)[0]
        error = float(((lines @ fit - y) ** 2).sum())
        if error < least:
            least, found = error, Bend(int(sizes[knee]), float(fit[1]), float(fit[2]))
            best = found if abs(found.after - found.before) >= MIN_BEND else best
    return best


def rounded(number: float) -> str:
    """Return a number by its first digits.

    Examples
    --------
    >>> [rounded(number) for number in (0.0234, 0.291, 4.82, 68.4, 310.4, 16_623.0)]
    ['0.023', '0.29', '4.8', '68', '310', '17,000']
    """
    if number == 0:
        return "0"
    places = DIGITS - 1 - floor(log10(abs(number)))
    return f"{round(number, places):,.{max(places, 0)}f}"


def scaled(number: float, unit: str) -> tuple[float, str]:
    """Return the size and the name of the unit that fits a number."""
    return next((s for s in SCALES[unit] if abs(number) >= s[0]), SCALES[unit][-1])


def quantity(number: float, unit: str) -> str:
    """Return a number with its unit.

    Examples
    --------
    >>> quantity(0.0123, "s"), quantity(56_000_000, "B")
    ('12 ms', '53 MiB')
    """
    scale, name = scaled(number, unit)
    return f"{rounded(number / scale)} {name}"


def spread(figure: Figure, unit: str) -> str:
    """Return a figure with the least and the most that was measured."""
    scale, name = scaled(figure.median, unit)
    low, high = (rounded(f(figure.rounds) / scale) for f in (min, max))
    middle = rounded(figure.median / scale)
    return f"{middle} {name}" + ("" if low == high else f" ({low} to {high})")


def times(ratio: Ratio) -> str:
    """Return a ratio with the least and the most of single rounds."""
    low, high = rounded(ratio.low), rounded(ratio.high)
    return rounded(ratio.median) + ("" if low == high else f" ({low} to {high})")


def markdown(results: Results) -> str:
    """Return the document: where it was measured, the table, the curves, every figure."""
    return "\n".join(document_lines(results)) + "\n"


def document_lines(results: Results) -> Iterator[str]:
    """Yield the document's lines."""
    yield "# This project and its peers"
    yield ""
    yield from (f"- {name}: {fact}" for name, fact in results.facts.items())
    yield from (f"- Skipped: {name}: {reason}" for name, reason in results.skipped.items())
    yield ""
    yield "Medians (least to most of all rounds). Contestants ran in turn, so ratios are of figures"
    yield "taken one after another: how many times as much the peer takes; below 1 it takes less."
    yield ""
    if results.rows:
        yield from table(results.rows)
    if results.growths:
        yield from ("", "## How cost grows", "", f"![Ratios, and cost over size]({PICTURE})", "")
        for growth in results.growths:
            yield from growth_lines(growth)
    if results.rows:
        yield from ("", "## Every figure", "")
        for row in results.rows:
            yield from row_lines(row)


def table(rows: list[Row]) -> Iterator[str]:
    """Yield one line a row, with its first peer."""
    yield "| | this project | peer | times |"
    yield "|---|---|---|---|"
    for row in rows:
        ours = quantity(row.ours.median, row.unit)
        if row.peers:
            peer = f"{row.peers[0].who}: {quantity(row.peers[0].median, row.unit)}"
            yield f"| {row.what} | {ours} | {peer} | {times(row.ratios[0])} |"
        else:
            yield f"| {row.what} | {ours} | | |"


def growth_lines(growth: Growth) -> Iterator[str]:
    """Yield the table of a curve, and where this project's bends."""
    yield f"**{growth.what}** ({growth.how})"
    yield ""
    yield f"| {growth.axis} | " + " | ".join(curve.who for curve in growth.curves) + " |"
    yield "|---" * (1 + len(growth.curves)) + "|"
    for number, size in enumerate(growth.sizes):
        figures = [spread(curve.figures[number], growth.unit) for curve in growth.curves]
        yield f"| {size:,} | " + " | ".join(figures) + " |"
    yield ""
    yield bend_of(growth)
    yield ""


def bend_of(growth: Growth) -> str:
    """Return where this project's curve bends, and the note on it."""
    costs = [figure.median for figure in growth.curves[0].figures]
    text = f"{growth.curves[0].who} {bend(growth.sizes, costs)}."
    return f"{text} {growth.note[:1].upper()}{growth.note[1:]}." if growth.note else text


def row_lines(row: Row) -> Iterator[str]:
    """Yield all that was measured of a row."""
    yield f"- **{row.what}**: {spread(row.ours, row.unit)}. {row.how[:1].upper()}{row.how[1:]}."
    for peer, ratio in zip(row.peers, row.ratios, strict=True):
        yield f"  - {peer.who}: {spread(peer, row.unit)}, {times(ratio)} times as much"


def as_json(results: Results) -> str:
    """Return everything, every round included."""
    return json.dumps(
        {
            "facts": results.facts,
            "skipped": results.skipped,
            "rows": [row_record(row) for row in results.rows],
            "growths": [asdict(growth) | {"bend": bend_of(growth)} for growth in results.growths],
        },
        indent=1,
        ensure_ascii=False,
    )


def row_record(row: Row) -> dict[str, Any]:
    """Return a row with its medians, its ratios, and what it is by its goal."""
    record = asdict(row) | {"ratios": [asdict(ratio) for ratio in row.ratios]}
    for figure, written in zip(
        (row.ours, *row.peers), (record["ours"], *record["peers"]), strict=True
    ):
        written["median"] = figure.median
    if row.goal:
        record["verdict"] = row.goal.verdict(row.ratios[0].median)
    return record


def show_results(results: Results, console: Console) -> None:
    """Print the table, where curves bend, and what was skipped."""
    table = Table(
        *("", "this project", "peer", "times", "to reach"),
        title="This project and its peers",
        caption="Medians; times: how many times as much the peer takes, and what was aimed at.",
        box=box.SIMPLE_HEAD,
    )
    for row in results.rows:
        table.add_row(row.what, quantity(row.ours.median, row.unit), *peer_cells(row))
    console.print(table)
    for growth in results.growths:
        console.print(f"[bold]{growth.what}[/bold]: {bend_of(growth)}", highlight=False)
    for name, reason in results.skipped.items():
        console.print(f"Skipped {name}: {reason}", style="yellow", highlight=False, markup=False)


def peer_cells(row: Row) -> tuple[str, ...]:
    """Return the cells about the first peer and the goal."""
    if not row.peers:
        return ()
    peer, reached = row.peers[0], row.ratios[0].median
    cells = (f"{peer.who}: {quantity(peer.median, row.unit)}", rounded(reached))
    if not row.goal:
        return cells
    verdict = row.goal.verdict(reached)
    goal = rounded(row.goal.reach) + (f", {rounded(row.goal.beyond)}" if row.goal.beyond else "")
    return (*cells, f"{goal} [{VERDICT_STYLES[verdict]}]{verdict}[/]")


def draw(results: Results, path: Path) -> None:
    """Draw all that was compared into a PNG."""
    compared = [row for row in results.rows if row.peers]
    lines = -(-len(results.growths) // PANELS)
    heights = [0.24 * len(compared) + 1.0] * bool(compared) + [3.2 * lines] * bool(lines) or [1.0]
    figure = Canvas(figsize=(12, sum(heights)), layout="constrained")
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
    axes.margins(x=0.1)  # space for the last label
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
