"""The results as Markdown, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from benchmarks.speed.bend import bend
from benchmarks.speed.figures import Growth, Results, Row
from benchmarks.speed.words import quantity, spread, times

PICTURE = "bench.png"


def markdown(results: Results) -> str:
    """Return the page: where it was measured, the table, the curves, every figure."""
    return "\n".join(lines(results)) + "\n"


def lines(results: Results) -> Iterator[str]:
    """Yield the page's lines."""
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
    """Return where this project's curve bends, and what else there is to say of it."""
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
