"""Options on how a file of readings is read, where the file leaves it open."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.sources.files import ReadOptions

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
OPPOSITES = {
    "day_first": ("--day-first", "--month-first"),
    "decimal_comma": ("--decimal-comma", "--decimal-point"),
}
DayFirst = Annotated[
    bool | None,
    typer.Option(
        "/".join(OPPOSITES["day_first"]),
        help="With --csv: whether 03/04/2026 is 3 April or 4 March.",
    ),
]
DecimalComma = Annotated[
    bool | None,
    typer.Option(
        "/".join(OPPOSITES["decimal_comma"]), help="With --csv: what the decimal mark of values is."
    ),
]


def option_words(reading: ReadOptions) -> list[str]:
    """Return the options of a command that read a file in the same way."""
    words = []
    for option in fields(reading):
        value = getattr(reading, option.name)
        if isinstance(value, bool):
            words.append(OPPOSITES[option.name][not value])
        elif value is not None:
            words += [f"--{option.name.replace('_', '-')}", value]
    return words
