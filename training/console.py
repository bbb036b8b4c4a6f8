"""What commands print alike: tables, and progress in a terminal or a log.

rich is imported by what prints: the retraining of a fleet runs where it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NOTHING = "-"
"""Stands in a table where there is no figure."""

TENTHS = 10

MAX_WIDTH = 10_000
"""Of a table that nobody sees in a terminal."""

OnProgress = Callable[[str, int, int], None]
"""Called with a stage, such as "Training the LSTM autoencoder", steps done, and steps in all."""


def new_table(title: str, note: str | None, *columns: str, names: Container[str] = ()) -> Table:
    """Return an empty table: names on the left, figures on the right.

    In a terminal that is too narrow names are folded; figures are never cut.

    Parameters
    ----------
    names
        Those of the other columns that hold names too.
    """
    from rich import box
    from rich.table import Table

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
        is_name = number == 0 or column in names
        table.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=not is_name,
            overflow="fold" if is_name else "ellipsis",
        )
    return table


def print_table(table: Table, console: Console) -> None:
    """Print a table; in a pipe plain, and as wide as it is.

    Its title and note are not wrapped at the width of the table, which may be narrow.
    """
    title, note = table.title, table.caption
    table.title = table.caption = None
    if title:
        console.print()
        console.print(title)
    print_rows(table, console)
    if note:
        console.print(note, style="dim", highlight=False)


def print_rows(table: Table, console: Console) -> None:
    """Print a table without title and note."""
    from rich.console import Console

    if console.is_terminal:
        console.print(table)
        return
    table.box = None
    wide = Console(file=StringIO(), width=MAX_WIDTH)
    with wide.capture() as printed:
        wide.print(table)
    for line in printed.get().splitlines():
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def age(time: datetime, now: datetime | None = None) -> str:
    """Return how long ago something was, to its largest unit.

    Examples
    --------
    >>> now = datetime(2026, 11, 27, tzinfo=UTC)
    >>> age(datetime(2026, 3, 20, tzinfo=UTC), now), age(datetime(2026, 11, 26, tzinfo=UTC), now)
    ('8 months', '1 day')
    """
    minutes = int(((now or datetime.now(UTC)) - time).total_seconds() // 60)
    for unit, length in (("year", 525_960), ("month", 43_830), ("day", 1_440), ("hour", 60)):
        if minutes >= (2 if unit in ("year", "month") else 1) * length:
            return counted(minutes // length, unit)
    return counted(minutes, "minute") if minutes >= 1 else "seconds"


def counted(count: int, unit: str) -> str:
    """Return a count with its unit, in the singular or plural."""
    return f"{count:,} {unit}" + ("" if count == 1 else "s")


@contextmanager
def show_progress(console: Console) -> Iterator[OnProgress]:
    """Show stages as they go: as one bar in a terminal, elsewhere line by line."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not console.is_terminal:
        yield progress_lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", total=None)
        yield lambda stage, done, total: progress.update(
            bar, description=stage, completed=done, total=total
        )


def progress_lines(console: Console) -> OnProgress:
    """Return what prints a line as a stage begins, and one at each tenth of its steps.

    Examples
    --------
    >>> from rich.console import Console
    >>> on_progress = progress_lines(Console())
    >>> for done in (0, 10, 40, 50):
    ...     on_progress("Training", done, 400)
    Training ...
    Training: 40 of 400
    """
    latest = ("", 0)

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal latest
        reached = (stage, TENTHS * done // total if total else 0)
        if reached == latest:
            return
        is_new = stage != latest[0]
        latest = reached
        text = f"{stage} ..." if is_new else f"{stage}: {done:,} of {total:,}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    return on_progress
