"""The report: one HTML file that holds its pictures."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2

from detector.artifact import digest
from training.candidates.names import NAMES
from training.comparison import RULE
from training.job import Run, library_versions
from training.report.pictures import draw_pictures
from training.report.table import COLUMNS, sections

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
        rule=RULE,
        columns=COLUMNS,
        sections=sections(run),
        libraries=library_versions(),
        pictures=[
            (base64.b64encode((folder / name).read_bytes()).decode(), caption)
            for name, caption in pictures.items()
        ],
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
