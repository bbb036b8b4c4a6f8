"""Options on how a file of readings is read, where the file leaves it open."""

from __future__ import annotations

from typing import Annotated

import typer

TimeColumn = Annotated[
    str | None, typer.Option(help="With --csv: the column of times, where it is not clear.")
]
ValueColumn = Annotated[
    str | None, typer.Option(help="With --csv: the column of values, where there are several.")
]
SeriesName = Annotated[
    str | None,
    typer.Option("--series", help="With --csv: one of several series, by a part of its name."),
]
Timezone = Annotated[
    str | None,
    typer.Option(
        help="With --csv: the zone of times that name none, such as Europe/Berlin.  [default: UTC]",
        show_default=False,
    ),
]
DayFirst = Annotated[
    bool | None,
    typer.Option(
        "--day-first/--month-first", help="With --csv: whether 03/04/2026 is 3 April or 4 March."
    ),
]
DecimalComma = Annotated[
    bool | None,
    typer.Option(
        "--decimal-comma/--decimal-point", help="With --csv: what the decimal mark of values is."
    ),
]
