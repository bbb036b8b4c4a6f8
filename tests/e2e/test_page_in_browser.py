"""Pages and widgets in a real browser: charts are drawn, nothing overflows, nothing is reported.

All of them are frames of one document, so that Chromium starts once; a script of that document
measures them. They have none themselves.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from ops_anomaly.api.alert_list import alert_list
from ops_anomaly.api.detect import evaluate
from ops_anomaly.api.schemas import DetectRequest, Reading
from ops_anomaly.charts import Row, Span, timeline
from ops_anomaly.pages import document
from ops_anomaly.watcher.incidents import IncidentBoard
from ops_anomaly.watcher.page import page, widget
from tests.support import boards

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine: apt-get install chromium"
)

MEASURE = """
const isShown = each => each.getClientRects().length > 0;
function measured(frame) {
  const page = frame.contentDocument, style = each => frame.contentWindow.getComputedStyle(each);
  for (const each of page.querySelectorAll("details")) {
    each.removeAttribute("name");  // of which only one can be open
    each.open = true;
  }
  const width = page.documentElement.clientWidth;
  const charts = [...page.querySelectorAll("svg.oa-chart")].filter(isShown);
  const outside = [...page.querySelectorAll("body *")].filter(isShown)
    .filter(each => !each.closest("svg svg"))
    .filter(each => each.getBoundingClientRect().right > width + 1
                 || each.getBoundingClientRect().left < -1);
  const readings = charts.flatMap(each => [...each.querySelectorAll(".oa-reading, .oa-incident")]);
  return {
    frame: frame.title,
    charts: charts.length,
    smallest: Math.min(...charts.map(each => each.getBoundingClientRect().width)),
    drawn: readings.filter(each => each.getBoundingClientRect().width > 0
        && (style(each).stroke.startsWith("rgb") || style(each).fill.startsWith("rgb"))).length,
    scrolls: page.documentElement.scrollWidth > width,
    outside: outside.map(each => `${each.tagName} ${each.textContent.slice(0, 40)}`),
    background: style(page.querySelector(".oa")).backgroundColor,
    letters: [...new Set([...page.querySelectorAll(".oa-chart text")].map(e => style(e).fontSize))],
  };
}
addEventListener("load", () => {
  const report = [...document.querySelectorAll("iframe")].map(measured);
  document.querySelector("pre").textContent = JSON.stringify(report);
});
"""


def frame(name: str, html: str, width: int) -> str:
    return (
        f'<iframe title="{name} {width}" srcdoc="{escape(html)}" '
        f'style="width:{width}px;height:3000px;border:0"></iframe>'
    )


def list_of_alerts() -> str:
    """What POST /detect responds to a browser."""
    values = [1 + number % 7 / 50 + 8 * (number == 220) for number in range(300)]
    readings = [
        Reading(f"2026-03-02T{number // 12 % 24:02}:{number % 12 * 5:02}:00Z", value)
        for number, value in enumerate(values[:288])
    ]
    return alert_list(evaluate(DetectRequest(series=readings), None))


def replayed() -> str:
    """A timeline of a fleet, as a page."""
    rows = [
        Row(f"CPUUtilization of i-{number:017}", [Span(boards.NOW - boards.HOUR, boards.NOW, 0.9)])
        for number in range(20)
    ]
    return document("Replay", timeline(rows, boards.NOW - 24 * boards.HOUR, boards.NOW))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What Chromium measured of each frame; and what it said on its console."""
    folder = tmp_path_factory.mktemp("browser")
    shown = {"now": boards.NOW, "entries": boards.entries(), "feedback": boards.feedback()}
    board, nothing = boards.board(), IncidentBoard([], [])
    dark = widget(board, **shown, endpoint=boards.ENDPOINT, theme="dark")
    frames = [
        *(frame("page", page(board, **shown), width) for width in (1280, 400)),
        *(frame("widget", dark, width) for width in (900, 320)),
        frame("empty", page(nothing, **shown), 400),
        *(frame("alerts", list_of_alerts(), width) for width in (1280, 400)),
        frame("replay", replayed(), 800),
        frame("too wide", document("", '<p style="width:2000px">wide</p>'), 400),
    ]
    file = folder / "frames.html"
    head = f"<!DOCTYPE html><meta charset='utf-8'><pre></pre><script>{MEASURE}</script>"
    file.write_text(head + "".join(frames), encoding="utf-8")
    done = run(file, folder)
    [report] = re.findall(r"<pre>(.+?)</pre>", done.stdout)
    found = {each["frame"]: each for each in json.loads(unescape(report))}
    found["console"] = {"lines": re.findall(r".*CONSOLE.*", done.stderr)}
    return found


def run(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Open a file in Chromium, and return the document after its scripts have run."""
    command = [
        BROWSER or "",
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--enable-logging=stderr", "--window-size=1400,3200", f"--user-data-dir={folder}"),
        *("--dump-dom", file.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize(
    ("name", "charts", "drawn"),
    [
        ("page 1280", 13, 13),
        ("page 400", 5, 5),
        ("widget 900", 13, 13),
        ("widget 320", 5, 5),
        ("empty 400", 0, 0),
        ("alerts 1280", 2, 2),
        ("alerts 400", 2, 2),
        ("replay 800", 1, 20),
    ],
)
def test_charts_are_drawn_and_nothing_is_outside(
    reports: dict[str, dict[str, Any]], name: str, charts: int, drawn: int
) -> None:
    report = reports[name]
    assert (report["charts"], report["drawn"]) == (charts, drawn)
    assert report["outside"] == []
    assert not report["scrolls"]
    assert charts == 0 or report["smallest"] >= 140


def test_letters_keep_their_size_however_narrow_the_page_is(
    reports: dict[str, dict[str, Any]],
) -> None:
    assert reports["page 1280"]["letters"] == reports["page 400"]["letters"] == ["11px"]


def test_the_theme_of_a_widget_is_the_consoles(reports: dict[str, dict[str, Any]]) -> None:
    assert reports["widget 900"]["background"] == "rgb(22, 29, 38)"
    assert reports["page 1280"]["background"] == "rgb(255, 255, 255)"


def test_the_browser_has_nothing_to_report(reports: dict[str, dict[str, Any]]) -> None:
    assert reports["console"]["lines"] == []


def test_what_is_too_wide_would_be_found(reports: dict[str, dict[str, Any]]) -> None:
    assert reports["too wide 400"]["scrolls"]
    assert reports["too wide 400"]["outside"] == ["P wide"]
