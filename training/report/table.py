"""The comparison table, for the terminal and for the page."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from training.candidates.names import NAMES, NOTHING
from training.comparison import Judged, SeedRow
from training.job import Run
from training.report.style import new_table

COLUMNS = ("candidate", "found", "recall", "prec.", "F1", "false/day", "delay")

SEED_TITLE = "The seed's experiment, reproduced"
SEED_NOTE = "In-sample: fitted and judged on the same labelled points, labels leaked."
HONEST_TITLE = "Honest"


@dataclass(frozen=True)
class Section:
    """Rows of the table that were measured alike."""

    title: str
    note: str
    rows: list[tuple[str, ...]]


def honest_note(run: Run) -> str:
    """Say how the honest rows were measured."""
    share = f"{run.settings.train_share:.0%}"
    return (
        f"Fitted on the first {share}, judged on the {run.judged_part.days:.1f} days after it, by "
        "anomaly windows; thresholds fixed without labels; seed "
        f"{run.settings.seed}. * is the winner."
    )


def sections(run: Run) -> list[Section]:
    """Return the table's sections: the seed's experiment where it can be made, the honest rows."""
    honest = Section(
        HONEST_TITLE,
        honest_note(run),
        [honest_row(each, is_winner=each is run.winner) for each in run.judged],
    )
    if not run.seed_rows:
        return [honest]
    return [Section(SEED_TITLE, SEED_NOTE, [seed_row(row) for row in run.seed_rows]), honest]


def seed_row(row: SeedRow) -> tuple[str, ...]:
    """Return one row of the seed's experiment; it knows points, no days and no delay."""
    c = row.confusion
    found = f"{c.true_positives} of {c.true_positives + c.false_negatives} points"
    shares = (f"{share:.2f}" for share in (c.recall, c.precision, c.f1))
    return NAMES[row.kind], found, *shares, *[NOTHING] * 2


def honest_row(each: Judged, *, is_winner: bool) -> tuple[str, ...]:
    """Return one honest row."""
    figures = each.figures
    delay = figures.mean_delay_minutes
    shares = (figures.window_recall, figures.precision, figures.f1)
    return (
        NAMES[each.candidate.kind] + (" *" if is_winner else ""),
        f"{figures.windows_found} of {figures.windows} windows",
        *(NOTHING if share is None else f"{share:.2f}" for share in shares),
        f"{figures.false_alarms_a_day:.2f}",
        NOTHING if delay is None else f"{delay:.0f} min",
    )


def comparison_tables(run: Run) -> list[Table]:
    """Return the table as the terminal shows it, a part a section."""
    return [section_table(section) for section in sections(run)]


def section_table(section: Section) -> Table:
    """Return one section; it fits 80 columns."""
    table = new_table(section.title, section.note, *COLUMNS)
    for row in section.rows:
        table.add_row(*row)
    return table
