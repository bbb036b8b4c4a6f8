"""The replay's page in a real browser: it fits a phone, and marks become a file of feedback."""

from __future__ import annotations

import json
import shutil
import subprocess
from html import unescape
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from local.shop import REPLAYED_DAYS, write_shop
from ops_anomaly.watcher.feedback import Feedback, FeedbackFile
from replay.job import FleetReplay
from replay.page import Commands, replay_to_page
from replay.sources import Folders, source_of_files
from tests.support.watcher import NOON_MS
from training.sources.files import DEFAULTS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine: apt-get install chromium"
)

EARLIER = Feedback(incident="earlier", verdict="fine", by="ann", at=1)

SCRIPT = """
<script>
const buttons = [...document.querySelectorAll("[data-verdict]")];
const press = (incident, verdict) => buttons[2 * incident + (verdict === "fine")].click();
press(0, "real"); press(1, "fine"); press(1, "real"); press(2, "fine"); press(3, "fine");
press(3, "fine");  // a second time takes it back
const report = document.createElement("pre");
report.id = "report";
report.textContent = JSON.stringify({
  file: feedbackFile(),
  strip: document.querySelector("#feedback span").textContent,
  scrolls: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  pressed: buttons.filter(each => each.getAttribute("aria-pressed") === "true").length,
});
document.body.append(report);
</script></body>
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[FleetReplay, Path]:
    """The demo's replay, and its page."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "shop")
    for name in ("checkout-latency", "search-latency", "web-1-cpu"):  # the others are enough
        (folder / "shop" / f"{name}.csv").unlink()
    nowhere, folders = Console(file=StringIO()), Folders(folder)
    source = source_of_files(folder / "shop", DEFAULTS, REPLAYED_DAYS, None, nowhere)
    commands = Commands("ops-anomaly replay --feedback feedback.json", None)
    return replay_to_page(source, [EARLIER], folders, commands, NOON_MS, nowhere), folders.page


def in_browser(page: Path, width: int) -> dict[str, object]:
    """Return what the script reports of a page."""
    scripted = page.with_name(f"scripted-{width}.html")
    frame = page.with_name(f"frame-{width}.html")
    scripted.write_text(page.read_text(encoding="utf-8").replace("</body>", SCRIPT))
    frame.write_text(
        f'<iframe src="{scripted.name}" width="{width}" height="900"></iframe><script>'
        'addEventListener("load", () => document.body.append('
        'document.querySelector("iframe").contentDocument.querySelector("#report")))</script>'
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    done = subprocess.run(
        [BROWSER or "", *options, "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(unescape(done.stdout.split('<pre id="report">')[1].split("</pre>")[0]))


def test_marks_become_a_file_of_feedback_on_a_phone(shop: tuple[FleetReplay, Path]) -> None:
    replay, page = shop
    report = in_browser(page, width=400)
    newest = [each.id for each in reversed(replay.notified.incidents)]
    file = msgspec.json.decode(str(report["file"]), type=FeedbackFile)
    said = [(each.incident, each.verdict) for each in file.feedback]
    assert said == [
        ("earlier", "fine"),
        (newest[0], "real"),
        (newest[1], "real"),
        (newest[2], "fine"),
    ]
    assert report["strip"] == "2 real, 1 fine"
    assert report["pressed"] == 3
    assert not report["scrolls"]
