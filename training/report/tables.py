"""The run's tables, in the terminal and on the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from ops_anomaly.detection.formatting import duration, number
from training.backtest import (
    FAULT_KINDS,
    GRACE,
    Kind,
    Sensitivity,
    Trial,
    median_delay,
    share_found,
)
from training.candidates.candidate import NAMES, NOTHING
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


def backtest_note(run: Run) -> str:
    """Say how the faults were made and what counts as found."""
    plan = run.plan
    grace = duration(milliseconds(run, GRACE))
    return (
        f"Faults put into the judged part, each alone, at {len(plan.places)} places drawn with "
        f"seed {plan.seed}, at several sizes; the mean weighs each kind the same, but for one that "
        f"could hardly be tried ({NOTHING}). Found: an alert starts in the fault, or up to {grace} "
        "after it, where there is none without it. Alerts: on the judged part as it is, outside "
        "of known incidents."
    )


SUMMARY_COLUMNS = (
    "share found",
    *(kind.name.replace(" ", "\n") for kind in FAULT_KINDS),
    "mean",
    "alerts\na week",
)


def summary_rows(run: Run) -> list[tuple[str, ...]]:
    """Return which share of each kind of fault every candidate found."""
    return [
        (
            NAMES[kind] + (" *" if kind == run.winner.candidate.kind else ""),
            *map(percent, backtest.shares.values()),
            percent(backtest.mean_share),
            f"{backtest.alerts_a_week:.1f}",
        )
        for kind, backtest in run.backtests.items()
    ]


def summary_table(run: Run) -> Table:
    """Return the summary as the terminal shows it; it fits 80 columns."""
    table = new_table("Backtest", backtest_note(run), *SUMMARY_COLUMNS)
    for row in summary_rows(run):
        table.add_row(*row)
    return table


SENSITIVITY_COLUMNS = ("alerts a week asked for", "measured", "threshold", "faults found")


def sensitivity_title(run: Run) -> str:
    """Name the table of the winner's sensitivities."""
    return f"Sensitivity of the {NAMES[run.winner.candidate.kind]}"


def sensitivity_note(run: Run) -> str:
    """Say what the sensitivities rest on."""
    if len(run.sensitivities) == 1:
        return "This kind of model has one threshold only."
    return (
        f"Measured on {run.judged_part.days:.1f} days: one alert more or less is "
        f"{7 / run.judged_part.days:.1f} a week."
    )


def sensitivity_rows(run: Run) -> list[tuple[str, ...]]:
    """Return a row for each sensitivity."""
    return [
        (
            asked_for(each),
            f"{each.backtest.alerts_a_week:.1f}",
            number(each.backtest.threshold, 3),
            percent(each.backtest.mean_share),
        )
        for each in run.sensitivities
    ]


def asked_for(each: Sensitivity) -> str:
    """Name a row of the sensitivities."""
    return "the model's own threshold" if each.asked is None else f"{each.asked:g}"


def sensitivity_table(run: Run) -> Table:
    """Return what each sensitivity means, as the terminal shows it."""
    table = new_table(sensitivity_title(run), sensitivity_note(run), *SENSITIVITY_COLUMNS)
    for row in sensitivity_rows(run):
        table.add_row(*row)
    return table


def fault_columns(run: Run) -> tuple[str, ...]:
    """Return the columns of `fault_rows`."""
    return ("fault", "size", "tried", *(NAMES[kind] for kind in run.backtests))


def fault_rows(run: Run) -> list[tuple[str, ...]]:
    """Return share and median delay of each kind of fault at each size, for every candidate."""
    rows = []
    for kind in FAULT_KINDS:
        for size in kind.sizes:
            trials = [backtest.of(kind.name, size) for backtest in run.backtests.values()]
            cells = map(share_and_delay, trials)
            rows.append((kind.name, size_in_words(run, kind, size), str(len(trials[0])), *cells))
    return rows


def share_and_delay(trials: list[Trial]) -> str:
    """Return the share found and the median delay, as "75 %, 10 min"."""
    share, delay = percent(share_found(trials)), median_delay(trials)
    if delay is None:
        return share
    return f"{share}, {duration(60_000 * delay) if delay else 'at once'}"


def size_in_words(run: Run, kind: Kind, size: float) -> str:
    """Return a fault's size, and how long it lasts where that is its size."""
    if kind.length is None:
        return duration(milliseconds(run, kind.readings(size)))
    return f"{size:g} spread{'' if size == 1 else 's'}"


def milliseconds(run: Run, readings: int) -> float:
    """Return how long so many readings of the series take."""
    return float(readings * run.series.step / np.timedelta64(1, "ms"))


def percent(share: float | None) -> str:
    """Return a share as people write it."""
    return NOTHING if share is None else f"{share:.0%}"
