"""A run shown: its tables in the terminal, and the HTML report with its pictures."""

from __future__ import annotations

import base64
import math
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from rich.console import Console
from rich.table import Table

from ops_anomaly.charts import stylesheet
from ops_anomaly.detection.artifact import digest
from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.detection.types import SENSITIVITY
from ops_anomaly.interactive import moment
from training.alerts import RaisedAlert, most_severe
from training.backtest import FAULT_KINDS, GRACE, Backtest, Trial, median_delay, share_found
from training.candidates import TITLES
from training.comparison import BUDGET, BaselineRow, Evaluation
from training.console import NOTHING, new_table, print_table
from training.pictures import BACKTEST, alert_chart, draw_pictures, series_chart
from training.run import Run, library_versions
from training.sources.series import MINUTE_MS

TEMPLATE = Path(__file__).with_name("report.html.j2")


SERIES_SIZE, ALERT_SIZE = (700, 200), (416, 116)
"""Width and height of charts, pixels; a page stretches them, and their labels must fit a phone."""


def write_report(run: Run, folder: Path, published: Path) -> None:
    """Draw the pictures of a run into `folder` and write report.html beside them.

    Parameters
    ----------
    published
        Where the folder will be, which the next command names.
    """
    pictures = draw_pictures(run, folder)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    winner = run.winner.candidate.kind
    shown = most_severe(run.alerts)
    others = [each for each in run.alerts if each not in shown]
    page = template.render(
        run=run,
        next_command=shlex.join(["ops-anomaly", "publish", str(published), "--bucket", "BUCKET"]),
        winner=TITLES[winner],
        verdict=verdict(run),
        chart_styles=stylesheet(),
        series_chart=series_chart(run, *SERIES_SIZE),
        has_range=bool(np.isfinite(run.winner.detection.upper).any()),
        alerts=[(alert_words(each), alert_chart(run, each, *ALERT_SIZE)) for each in shown],
        others=[alert_words(each) for each in others],
        digest=digest(run.artifacts[winner]),
        size=len(run.artifacts[winner]),
        columns=COLUMNS,
        sections=sections(run),
        spread=number(run.plan.spread, 3),
        backtest_note=backtest_note(run),
        fault_columns=fault_columns(run),
        fault_rows=fault_rows(run),
        summary_columns=SUMMARY_COLUMNS,
        summary_rows=summary_rows(run),
        sensitivity_title=sensitivity_title(run),
        sensitivity_note=sensitivity_note(run),
        sensitivity_columns=SENSITIVITY_COLUMNS,
        sensitivity_rows=sensitivity_rows(run),
        libraries=library_versions(),
        pictures=[
            (encoded(folder / name), caption)
            for name, caption in pictures.items()
            if name != BACKTEST
        ],
        backtest_picture=(encoded(folder / BACKTEST), pictures[BACKTEST]),
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def alert_words(alert: RaisedAlert) -> dict[str, Any]:
    """Return an alert as the page writes it."""
    return {
        "moment": moment(alert.first),
        "lasted": duration(alert.lasted),
        "value": number(alert.value),
        "expected": number_or_nothing(alert.expected),
        "severity": f"{alert.severity:.2f}",
        "reason": alert.reason,
        "is_known": alert.is_known,
    }


def encoded(path: Path) -> str:
    """Return a file in base64, as a page holds it."""
    return base64.b64encode(path.read_bytes()).decode()


def show_run(run: Run, console: Console) -> None:
    """Print the winner and its alerts, what to check, and the figures by which it won."""
    console.print(f"\nWinner: [bold green]{TITLES[run.winner.candidate.kind]}[/bold green]")
    for each in verdict(run):
        console.print(f"  {each.figure} {each.name}: {each.note}", highlight=False)
    if run.series.labels is not None and not len(run.test_part.windows):
        console.print(
            "  No labelled window is in the test part, so recall is not known; a smaller\n"
            "  --train-share may leave one.",
            style="yellow",
        )
    console.print()
    for line in [*alert_lines(run.alerts), "", *proposal_lines(run.proposals)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for table in result_tables(run):
        print_table(table, console)
    console.print()
    console.print(f"Chosen by {run.rule}.", style="dim")


SHORT_DAYS = 7
"""A test part that is shorter says little of a week."""


class Finding(NamedTuple):
    """A figure of the verdict: what it is, and what it rests on."""

    figure: str
    name: str
    note: str


def verdict(run: Run) -> list[Finding]:
    """Return what to expect of the winner."""
    figures, days = run.winner.figures, run.test_part.days
    found = [
        Finding(
            f"{run.alerts_a_week:.1f}",
            "alerts a week to expect",
            f"{len(run.alerts)} in the {days:.1f} days after training"
            + (f", each counts {7 / days:.1f}" if days < SHORT_DAYS else ""),
        )
    ]
    if figures.windows:
        share = f"{figures.windows_found} of {figures.windows}"
        found.append(Finding(share, "labelled incidents found", "in the same days"))
    mean_share = run.backtests[run.winner.candidate.kind].mean_share
    if mean_share is not None:
        kinds = "spikes, drops, shifts and the like"
        found.append(Finding(f"{mean_share:.0%}", "of injected faults found", kinds))
    if run.winner.sensitivity is not None:
        figure = f"{run.winner.sensitivity:g}"
        note = f"at {SENSITIVITY:g} it raises more than {BUDGET:g} alerts a week"
        found.append(Finding(figure, "as sensitivity in the watch file", note))
    return found


WIDTH = 80


def alert_lines(alerts: list[RaisedAlert]) -> list[str]:
    """Return the most severe alerts, two lines or more each: figures, then the reason."""
    if not alerts:
        return ["It would have raised no alert."]
    shown = most_severe(alerts)
    lines = [
        "The alerts it would have raised, most severe first:",
        f"  {'start (UTC)':16}  {'lasted':>8}  {'value':>12}  {'expected':>12}  severity",
    ]
    for alert in shown:
        lines.append(
            f"  {moment(alert.first)}  {duration(alert.lasted):>8}  {number(alert.value):>12}  "
            f"{number_or_nothing(alert.expected):>12}  {alert.severity:8.2f}"
            + ("  known" if alert.is_known else "")
        )
        indent = 4 * " "
        lines += textwrap.wrap(alert.reason, WIDTH, initial_indent=indent, subsequent_indent=indent)
    if len(alerts) > len(shown):
        lines.append(f"  and {len(alerts) - len(shown)} less severe ones: see report and --json")
    return lines


def number_or_nothing(value: float) -> str:
    """Return a number as people write it; a dash for NaN."""
    return NOTHING if math.isnan(value) else number(value)


def proposal_lines(proposals: list[RaisedAlert]) -> list[str]:
    """Return what looks like a past incident, as options to paste."""
    if not proposals:
        return []
    lines = [
        "Check these: unusual in the training part. An incident is better kept out of",
        "training, by adding its line to the command:",
    ]
    for each in proposals:
        lines.append(f"  {each.exclusion}")
        lines += textwrap.wrap(
            f"severity {each.severity:.2f}: {each.reason}",
            WIDTH,
            initial_indent=4 * " ",
            subsequent_indent=4 * " ",
        )
    return [*lines, ""]


def result_tables(run: Run) -> list[Table]:
    """Return all tables of a run, as the terminal shows them; each fits 80 columns."""
    return [
        *(filled(section.title, section.note, COLUMNS, section.rows) for section in sections(run)),
        filled("Backtest", backtest_note(run), SUMMARY_COLUMNS, summary_rows(run)),
        filled(
            sensitivity_title(run),
            sensitivity_note(run),
            SENSITIVITY_COLUMNS,
            sensitivity_rows(run),
        ),
    ]


def filled(title: str, note: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    """Return a table with its rows."""
    table = new_table(title, note, *columns)
    for row in rows:
        table.add_row(*row)
    return table


COLUMNS = ("candidate", "found", "recall", "prec.", "F1", "false/day", "delay")

BASELINE_TITLE = "Baseline experiment, reproduced"
BASELINE_NOTE = "In-sample: fitted and scored on the same labelled points, labels leaked."


@dataclass(frozen=True)
class Section:
    """Rows of the comparison that were measured alike."""

    title: str
    note: str
    rows: list[tuple[str, ...]]


def sections(run: Run) -> list[Section]:
    """Return the comparison: of the baseline experiment, and out of sample where there are labels.

    Without a labelled window in the test part there is nothing to be found or missed.
    """
    compared = []
    if run.baseline:
        rows = [baseline_row(row) for row in run.baseline]
        compared.append(Section(BASELINE_TITLE, BASELINE_NOTE, rows))
    if len(run.test_part.windows):
        note = (
            f"Fitted on the first {run.settings.train_share:.0%}, evaluated on the "
            f"{run.test_part.days:.1f} days after it, by anomaly windows; thresholds fixed "
            f"without labels; seed {run.settings.seed}. * is the winner."
        )
        rows = [evaluation_row(each, is_winner=each is run.winner) for each in run.evaluations]
        compared.append(Section("Out of sample", note, rows))
    return compared


def baseline_row(row: BaselineRow) -> tuple[str, ...]:
    """Return one row of the baseline experiment; it counts points, without days or delays."""
    c = row.confusion
    found = f"{c.true_positives} of {c.true_positives + c.false_negatives} points"
    shares = (f"{share:.2f}" for share in (c.recall, c.precision, c.f1))
    return TITLES[row.kind], found, *shares, *[NOTHING] * 2


def evaluation_row(each: Evaluation, *, is_winner: bool) -> tuple[str, ...]:
    """Return one row of the figures out of sample."""
    figures = each.figures
    delay = figures.mean_delay_minutes
    shares = (figures.window_recall, figures.precision, figures.f1)
    return (
        TITLES[each.candidate.kind] + (" *" if is_winner else ""),
        f"{figures.windows_found} of {figures.windows} windows",
        *(NOTHING if share is None else f"{share:.2f}" for share in shares),
        f"{figures.false_alarms_a_day:.2f}",
        NOTHING if delay is None else f"{delay:.0f} min",
    )


SUMMARY_COLUMNS = (
    "share found",
    *(kind.name.replace(" ", "\n").replace("flatline", "flat-\nline") for kind in FAULT_KINDS),
    "mean",
    "alerts\na week",
)


def backtest_note(run: Run) -> str:
    """Return how the faults were made and what counts as found."""
    plan = run.plan
    grace = duration(GRACE * run.series.series.step)
    return (
        f"Faults put into the test part, each alone, at {len(plan.places)} places drawn with "
        f"seed {plan.seed}, at several sizes; the mean weighs each kind the same, but for one that "
        f"could hardly be tried ({NOTHING}). Found: an alert starts in the fault, or up to {grace} "
        "after it, where there is none without it. Alerts: on the test part as it is, outside "
        "of known incidents." + lowered_note(run)
    )


def lowered_note(run: Run) -> str:
    """Name the candidates that raised more than the budget at their usual sensitivity."""
    return "".join(
        f" {TITLES[kind].capitalize()}: at sensitivity {backtest.sensitivity:g}, as it raises too "
        "many alerts at the usual one."
        for kind, backtest in run.backtests.items()
        if backtest.sensitivity is not None
    )


def summary_rows(run: Run) -> list[tuple[str, ...]]:
    """Return which share of each kind of fault every candidate found."""
    return [
        (
            TITLES[kind] + (" *" if kind == run.winner.candidate.kind else ""),
            *map(percent, backtest.shares.values()),
            percent(backtest.mean_share),
            f"{backtest.alerts_a_week:.1f}",
        )
        for kind, backtest in run.backtests.items()
    ]


SENSITIVITY_COLUMNS = ("sensitivity", "alerts a week measured", "faults found")


def sensitivity_title(run: Run) -> str:
    """Name the table of the winner's sensitivities."""
    return f"Sensitivity of the {TITLES[run.winner.candidate.kind]}"


def sensitivity_note(run: Run) -> str:
    """Return what the sensitivities rest on."""
    if len(run.sensitivities) == 1:
        return "This kind of model has one threshold only."
    return (
        f"Accepted false alerts a week. Measured on {run.test_part.days:.1f} days: one alert more "
        f"or less is {7 / run.test_part.days:.1f} a week."
    )


def sensitivity_rows(run: Run) -> list[tuple[str, ...]]:
    """Return a row for each sensitivity."""
    return [
        (sensitivity(each), f"{each.alerts_a_week:.1f}", percent(each.mean_share))
        for each in run.sensitivities
    ]


def sensitivity(each: Backtest) -> str:
    """Return the sensitivity of a backtest in words."""
    return "the model's own threshold" if each.sensitivity is None else f"{each.sensitivity:g}"


def fault_columns(run: Run) -> tuple[str, ...]:
    """Return the columns of `fault_rows`."""
    return ("fault", "size", "tried", *(TITLES[kind] for kind in run.backtests))


def fault_rows(run: Run) -> list[tuple[str, ...]]:
    """Return share and median delay of each kind of fault at each size, for every candidate."""
    rows = []
    for kind in FAULT_KINDS:
        for size in kind.sizes:
            trials = [backtest.of(kind.name, size) for backtest in run.backtests.values()]
            cells = map(share_and_delay, trials)
            described = kind.describe(size, run.series.series.step)
            rows.append((kind.name, described, str(len(trials[0])), *cells))
    return rows


def share_and_delay(trials: list[Trial]) -> str:
    """Return the share found and the median delay, as "75 %, 10 min"."""
    share, delay = percent(share_found(trials)), median_delay(trials)
    if delay is None:
        return share
    return f"{share}, {duration(MINUTE_MS * delay) if delay else 'no delay'}"


def percent(share: float | None) -> str:
    """Return a share as people write it."""
    return NOTHING if share is None else f"{share:.0%}"
