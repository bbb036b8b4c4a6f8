"""The comparison table, for the terminal and for the page.

The backtest in tables, for the terminal and for the page.

The report: one HTML file that holds its pictures.
"""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2

from ops_anomaly.detection.artifact import digest
from ops_anomaly.detection.formatting import number
from training.candidates.candidate import NAMES
from training.job import Run, library_versions
from training.report.pictures import BACKTEST, draw_pictures
from training.report.tables import (
    COLUMNS,
    SENSITIVITY_COLUMNS,
    SUMMARY_COLUMNS,
    backtest_note,
    fault_columns,
    fault_rows,
    sections,
    sensitivity_note,
    sensitivity_rows,
    sensitivity_title,
    summary_rows,
)

TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(run: Run, folder: Path) -> None:
    """Draw the pictures of a run into `folder` and write report.html beside them."""
    pictures = draw_pictures(run, folder)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    winner = run.winner.candidate.kind
    page = template.render(
        run=run,
        winner=NAMES[winner],
        digest=digest(run.artifacts[winner]),
        size=len(run.artifacts[winner]),
        rule=run.rule,
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


def encoded(path: Path) -> str:
    """Return a file in base64, as a page holds it."""
    return base64.b64encode(path.read_bytes()).decode()
