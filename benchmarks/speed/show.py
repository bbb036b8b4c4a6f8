"""The results in the terminal, with what was to be reached."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.speed.figures import Results, Row
from benchmarks.speed.report import bend_of
from benchmarks.speed.words import quantity, rounded

COLORS = {"beyond": "bold green", "reached": "green", "below": "bold red"}


def show(results: Results, console: Console) -> None:
    """Print the table, where curves bend, and what was skipped."""
    table = Table(
        *("", "this project", "peer", "times", "to reach"),
        title="This project and its peers",
        caption="Medians; times: how many times as much the peer takes, and what was aimed at.",
        box=box.SIMPLE_HEAD,
    )
    for row in results.rows:
        table.add_row(row.what, quantity(row.ours.median, row.unit), *against(row))
    console.print(table)
    for growth in results.growths:
        console.print(f"[bold]{growth.what}[/bold]: {bend_of(growth)}", highlight=False)
    for name, reason in results.skipped.items():
        console.print(f"Skipped {name}: {reason}", style="yellow", highlight=False, markup=False)


def against(row: Row) -> tuple[str, ...]:
    """Return the cells about the first peer and the goal."""
    if not row.peers:
        return ()
    peer, reached = row.peers[0], row.ratios[0].median
    cells = (f"{peer.who}: {quantity(peer.median, row.unit)}", rounded(reached))
    if not row.goal:
        return cells
    verdict = row.goal.verdict(reached)
    asked = rounded(row.goal.reach) + (f", {rounded(row.goal.beyond)}" if row.goal.beyond else "")
    return (*cells, f"{asked} [{COLORS[verdict]}]{verdict}[/]")
