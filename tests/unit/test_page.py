"""The page of incidents, as a document and as a widget: what it says, its buttons, its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ops_anomaly.watcher.feedback import Feedback, Undo
from ops_anomaly.watcher.incidents import Incident, IncidentBoard
from ops_anomaly.watcher.page import DESCRIPTION, MAX_BYTES, page, widget
from tests.support import boards
from tests.support.boards import ENDPOINT, HOUR, NOW

LAMBDA_RESPONSE_BYTES = 6 * 1024 * 1024
VOID = {"meta", "input", "br"}


class Document(HTMLParser):
    """HTML as a browser reads it: text without tags, and the elements with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # what is opened last is closed first

    def handle_data(self, data: str) -> None:
        if not {"style", "desc", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown(
    incidents: Sequence[Incident] = (), feedback: Sequence[Feedback] = (), **more: Any
) -> Document:
    board = IncidentBoard(list(incidents), [])
    return Document(page(board, now=NOW, entries=boards.entries(), feedback=feedback, **more))


def as_widget(
    incidents: Sequence[Incident] = (), feedback: Sequence[Feedback] = (), **more: Any
) -> str:
    board = IncidentBoard(list(incidents), [])
    given = {"now": NOW, "entries": boards.entries(), "feedback": feedback, "endpoint": ENDPOINT}
    return widget(board, **given | more)


def buttons(html: str) -> dict[str, tuple[dict[str, str], str]]:
    """The buttons of a widget by label: what is sent, and what is confirmed before."""
    pattern = r'<a class="btn">([^<]*)</a><cwdb-action ([^>]*)>([^<]*)</cwdb-action>'
    found = {}
    for label, attributes, body in re.findall(pattern, html):
        [(_, action)] = Document(f"<cwdb-action {attributes}></cwdb-action>").elements
        assert action["action"] == "call"
        assert action["endpoint"] == ENDPOINT
        found[label] = (json.loads(body), action["confirmation"] or "")
    return found


def said(verdict: Any, **more: Any) -> Feedback:
    return Feedback(boards.single().id, verdict, "ann@example.com", NOW - HOUR, **more)


def test_an_incident_says_what_how_much_and_since_when() -> None:
    text = shown([boards.single()]).text
    assert (
        "CPUUtilization of i-0a1b2c3d4e5f67890 severity 0.71 51.48, expected 19.26 (normal range "
        "14.46 to 24.06), since Wed 25 Nov, 13:20 (1.2 h)"
    ) in text
    assert "higher than usual for Wednesday 13:00" in text
    assert "model ec2-cpu, version Vq3xN0aT; confidence 97 %" in text
    assert "web · owner platform team: platform" in text


def test_times_are_those_of_the_zone_and_it_is_named() -> None:
    text = shown([boards.single()], zone=ZoneInfo("Asia/Tokyo")).text
    assert "since Wed 25 Nov, 22:20" in text
    assert "Wed 25 Nov, 23:30 JST" in text


def test_a_silence_says_since_when_there_is_no_data_and_what_was_expected() -> None:
    text = shown([boards.silence()]).text
    assert "OrdersProcessed of billing" in text
    assert "No data, expected 118, since Wed 25 Nov, 13:35 (55 min)" in text


def test_an_incident_over_many_metrics_ranks_the_first_and_names_the_others() -> None:
    found = shown([boards.outage()])
    assert "TargetResponseTime of app/shop-01, checkout and 29 more" in found.text
    rows = found.text.partition("Metric Value")[2].partition("and 22 more metrics")
    assert rows[0].count("TargetResponseTime") == 3
    assert rows[0].index("first") < rows[0].index("+5 min")
    assert "RequestCountPerTarget of app/shop-10, checkout" in rows[2]
    charts = [each for each in found.all("svg") if each.get("class") == "oa-chart"]
    assert len(charts) == 1 + 5  # the first one large, and all that have a chart small


def test_runbook_and_tags_of_an_entry_are_shown_and_the_runbook_is_a_link() -> None:
    found = shown([boards.outage()])
    assert "load-balancers · owner shop on-call · runbook tier: 1 team: shop" in found.text
    assert found.all("a")[0]["href"] == "https://wiki.example.com/shop/load-balancers"


def test_an_entry_that_has_left_the_watch_file_is_named() -> None:
    board = IncidentBoard([boards.single()], [])
    assert "Entry web Fine" in Document(page(board, now=NOW, entries={})).text


def test_the_order_is_open_then_closed_then_muted() -> None:
    board = IncidentBoard([boards.closed(), boards.single()], [boards.muted()])
    text = Document(page(board, now=NOW, entries=boards.entries())).text
    places = [
        text.index(part)
        for part in (
            "1 open, 1 closed in the last 7 days, 1 muted",
            "CPUUtilization of i-0a1b2c3d4e5f67890",
            "Closed",
            "Duration of thumbnails",
            "back to normal after 1 h, Wed 25 Nov, 09:50",
            "Muted: nobody is notified",
            "CPUUtilization of i-0ba7c4000000000d0",
            "muted until Wed 25 Nov, 16:00",
        )
    ]
    assert places == sorted(places)


def test_a_page_without_incidents_explains_itself() -> None:
    found = shown()
    assert "No open incidents" in found.text
    assert "the watch file" in found.text
    assert "0 open, 0 closed" in found.text


def test_a_snoozed_incident_says_until_when() -> None:
    snoozed = boards.silence()
    assert "snoozed until Wed 25 Nov, 17:30" in shown([snoozed]).text
    over = msgspec.structs.replace(snoozed, snoozed_until=NOW - 1)
    assert "snoozed" not in shown([over]).text


def test_feedback_says_who_and_when_and_what_was_taken_back() -> None:
    undone = said("real", undone=Undo("ben@example.com", NOW))
    text = shown([boards.single()], [undone, said("fine")]).text
    assert (
        "real, by ann@example.com, Wed 25 Nov, 13:30; taken back by ben@example.com, "
        "Wed 25 Nov, 14:30"
    ) in text
    assert "fine, by ann@example.com, Wed 25 Nov, 13:30" in text


def test_feedback_on_another_incident_is_not_shown() -> None:
    text = shown([boards.closed()], [said("fine")]).text
    assert "ann@example.com" not in text


def test_a_confirmation_says_exactly_what_a_button_does() -> None:
    incident, cpu = boards.single(), "CPUUtilization of i-0a1b2c3d4e5f67890"
    assert buttons(as_widget([incident])) == {
        "Fine": (
            {"incident": incident.id, "verdict": "fine"},
            f"Readings like these will not alert any more for {cpu}.",
        ),
        "Real": (
            {"incident": incident.id, "verdict": "real"},
            f"These readings stay out of what is learnt as ordinary for {cpu}.",
        ),
        "Snooze 4 h": (
            {"incident": incident.id, "verdict": "snooze", "duration": "4h"},
            "No messages about this incident until Wed 25 Nov, 18:30. It stays open here.",
        ),
    }
    assert buttons(as_widget([incident], [said("fine")]))["Undo"] == (
        {"incident": incident.id, "verdict": "undo"},
        f"Takes back “fine” (ann@example.com) for {cpu}.",
    )
    many = buttons(as_widget([boards.outage()]))["Fine"][1]
    assert many.endswith("for TargetResponseTime of app/shop-01, checkout and 29 more metrics.")


@pytest.mark.parametrize(
    ("incident", "feedback", "offered"),
    [
        (boards.single(), [], ["Fine", "Real", "Snooze 4 h"]),
        (boards.single(), [said("fine")], ["Snooze 4 h", "Undo"]),
        (boards.single(), [said("real")], ["Snooze 4 h", "Undo"]),
        (boards.single(), [said("real", undone=Undo("ben", NOW))], ["Fine", "Real", "Snooze 4 h"]),
        (boards.single(), [said("snooze", until=NOW + 1)], ["Fine", "Real", "Undo"]),
        (boards.single(), [said("snooze", until=NOW)], ["Fine", "Real", "Snooze 4 h"]),
        (boards.closed(), [], ["Fine", "Real"]),
        (boards.silence(), [], ["Snooze 4 h"]),
    ],
    ids=["open", "fine", "real", "undone", "snoozed", "snooze over", "closed", "silence"],
)
def test_the_buttons_are_those_that_make_sense(
    incident: Incident, feedback: list[Feedback], offered: list[str]
) -> None:
    assert list(buttons(as_widget([incident], feedback))) == offered


def test_on_the_laptop_a_button_opens_its_confirmation_which_posts_a_form() -> None:
    incident = boards.single()
    found = shown([incident])
    assert [form["action"] for form in found.all("form")] == ["/console/feedback"] * 3
    assert all(form["method"] == "post" for form in found.all("form"))
    fields = [(field["name"], field["value"]) for field in found.all("input")]
    assert fields[-3:] == [("incident", incident.id), ("verdict", "snooze"), ("duration", "4h")]
    assert "Readings like these will not alert any more" in found.text


def hostile() -> Incident:
    """An incident all of whose words come from an attacker."""
    evil = "</article></cwdb-action><script>alert('1')</script>\"'&"
    metric = f"'{evil.replace(chr(39), '')}' Name 'Dim={evil.replace(chr(39), '')}' Sum 300"
    [member] = boards.single().members
    replace = msgspec.structs.replace
    provenance = replace(member.anomaly.provenance, entry=evil, model=evil, version=evil)
    peak = replace(member.anomaly.peak, reason=evil)
    anomaly = replace(member.anomaly, provenance=provenance, peak=peak)
    return Incident(evil, NOW, [replace(member, metric=metric, anomaly=anomaly)] * 12)


def test_what_comes_from_outside_is_escaped_and_there_is_no_script() -> None:
    incident = hostile()
    evil = Feedback(incident.id, "real", incident.id, NOW, undone=Undo(incident.id, NOW))
    for html in (
        page(IncidentBoard([incident], incident.members), now=NOW, entries={}, feedback=[evil]),
        widget(
            IncidentBoard([incident], incident.members),
            now=NOW,
            entries={},
            feedback=[evil],
            endpoint=incident.id,
        ),
    ):
        found = Document(html)  # every element is closed where it should be
        assert found.open == []
        assert not found.all("script")
        assert not [name for _, each in found.elements for name in each if name.startswith("on")]
        assert "alert('1')" in found.text


def test_a_widget_has_only_what_cloudwatch_keeps() -> None:
    html = as_widget([boards.outage(), boards.closed()])
    tags = {name for name, _ in Document(html).elements}
    assert not tags & {"script", "iframe", "use", "form", "input", "button", "html", "body", "meta"}


def test_a_widget_has_the_theme_of_the_console() -> None:
    assert "color-scheme:dark" in as_widget(theme="dark")
    assert "prefers-color-scheme" not in as_widget(theme="dark")
    assert "color-scheme:light" in as_widget(theme="light")


def test_however_many_incidents_there_are_a_widget_fits_into_a_response() -> None:
    board = IncidentBoard([boards.outage()] * 60, [boards.muted()] * 200)
    html = widget(board, now=NOW, entries=boards.entries(), feedback=(), endpoint=ENDPOINT)
    found = Document(html)
    cards = len([each for each in found.all("article") if each.get("class") == "oa-card"])
    assert 15 < cards < 60
    assert f"{60 - cards + 200} more are not shown" in found.text
    assert "60 open" in found.text
    assert len(html.encode()) < MAX_BYTES + 20_000
    assert len(json.dumps(html)) < LAMBDA_RESPONSE_BYTES


def test_the_description_explains_each_button() -> None:
    for label in ("Fine", "Real", "Snooze", "Undo"):
        assert f"* **{label}**: " in DESCRIPTION
