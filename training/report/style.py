"""What pictures and tables have in common."""

from __future__ import annotations

from rich import box
from rich.table import Table

INK, WINDOW, FIT, ALERT = "#1f3b57", "#f4b942", "#eceff3", "#c8102e"
PALE = "#9fb3c8"


def new_table(title: str, note: str, *columns: str) -> Table:
    """Return an empty table: names on the left, figures on the right."""
    table = Table(
        title=f"[bold]{title}[/bold]",
        title_justify="left",
        title_style="",
        caption=note,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
