"""The console: what a dashboard gets, and what its buttons, events and commands may say."""

from __future__ import annotations

from typing import Any

import pytest

from ops_anomaly.aws.errors import CorruptFeedbackError, StoreUnavailableError
from ops_anomaly.aws.objects import FEEDBACK_KEY, INCIDENTS_KEY
from ops_anomaly.watcher.console import MAX_NAME, Console, InvalidFeedbackError, give
from ops_anomaly.watcher.feedback import Feedback
from ops_anomaly.watcher.feedback_file import decode_feedback
from ops_anomaly.watcher.fleet import FleetList
from ops_anomaly.watcher.incident_job import IncidentState, encode_incidents
from ops_anomaly.watcher.incidents import Incident, IncidentBoard
from tests.support import boards
from tests.support.fakes import FakeStore
from tests.support.shard_jobs import FakeTelemetry

ENDPOINT = boards.ENDPOINT
HOUR = 3_600_000


class Desk:
    """A console over a bucket in memory with a few incidents."""

    def __init__(self, *incidents: Incident) -> None:
        self.store, self.telemetry = FakeStore(), FakeTelemetry()
        state = IncidentState(IncidentBoard(list(incidents), []))
        self.store.put(INCIDENTS_KEY, encode_incidents(state))
        fleet = FleetList(self.store, self.telemetry.state_rebuilt)
        self.console = Console(self.store, fleet, self.telemetry, lambda: boards.NOW)

    def widget(self, **more: Any) -> str:
        """What the dashboard shows; `more` is what a button sends, or of the context."""
        context = {"dashboardName": "ops", "theme": more.pop("theme", "light")}
        if "timezone" in more:
            context["timezone"] = {"offsetISO": more.pop("timezone")}
        html = self.console.dispatch({"widgetContext": context, **more}, ENDPOINT)
        assert html is not None
        return html

    def event(self, source: str = "runbooks", **detail: Any) -> None:
        """Feedback as a program gives it."""
        event = {"detail-type": "Incident Feedback", "source": source, "detail": detail}
        assert self.console.dispatch(event, ENDPOINT) is None

    @property
    def given(self) -> list[Feedback]:
        if FEEDBACK_KEY not in self.store.objects:
            return []
        return decode_feedback(self.store.objects[FEEDBACK_KEY].data)


INCIDENT = boards.single()


@pytest.fixture
def desk() -> Desk:
    return Desk(INCIDENT)


# --- the widget ---------------------------------------------------------------------------------


def test_describes_itself_without_reading_anything(desk: Desk) -> None:
    text = desk.console.dispatch({"describe": True}, ENDPOINT)
    assert text is not None
    assert text.lstrip().startswith("## Incidents")
    assert desk.store.reads == 0


def test_shows_incidents_with_a_chart_and_buttons_that_invoke_the_function(desk: Desk) -> None:
    html = desk.widget()
    assert "i-0a1b2c3d4e5f67890" in html
    assert "<svg" in html
    assert ENDPOINT in html
    for verdict in ("fine", "real", "snooze"):
        assert f'"incident": "{INCIDENT.id}", "verdict": "{verdict}"' in html


def test_before_there_is_anything_it_says_so() -> None:
    desk = Desk()
    assert "No open incidents" in desk.widget()
    desk.store.objects.clear()
    assert "No open incidents" in desk.widget()


def test_has_the_colours_and_the_time_zone_of_its_dashboard(desk: Desk) -> None:
    assert desk.widget(theme="dark") != desk.widget(theme="light")
    assert "13:20" in desk.widget()
    assert "18:50" in desk.widget(timezone="+05:30")
    assert "13:20" in desk.widget(timezone="nonsense")


def test_a_button_is_kept_as_what_the_dashboard_said_and_can_be_undone(desk: Desk) -> None:
    html = desk.widget(incident=INCIDENT.id, verdict="fine")
    assert f'"incident": "{INCIDENT.id}", "verdict": "undo"' in html
    [given] = desk.given
    assert (given.verdict, given.by, given.at) == ("fine", "dashboard ops", boards.NOW)
    desk.widget(incident=INCIDENT.id, verdict="undo")
    [given] = desk.given
    assert given.undone is not None


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"incident": "nobody-knows", "verdict": "fine"}, "no incident"),
        ({"incident": "", "verdict": "fine"}, "no incident"),
        ({"verdict": "fine"}, "no incident"),
        ({"incident": INCIDENT.id, "verdict": "dull"}, "fine, real, snooze or undo"),
        ({"incident": INCIDENT.id, "verdict": "snooze"}, "needs a duration"),
        ({"incident": INCIDENT.id, "verdict": "snooze", "duration": "4 hours"}, "needs a duration"),
        ({"incident": INCIDENT.id, "verdict": "snooze", "duration": "31d"}, "30 days"),
    ],
)
def test_what_a_button_can_not_say_is_an_error_in_the_widget(
    desk: Desk, sent: dict[str, str], message: str
) -> None:
    html = desk.widget(**sent)
    assert html.startswith("<p>")
    assert message in html
    assert desk.given == []


def test_what_somebody_sends_is_no_markup(desk: Desk) -> None:
    html = desk.widget(incident="<script>alert(1)</script>", verdict="fine")
    assert "<script" not in html
    assert "&lt;script" in html


@pytest.mark.parametrize("key", [INCIDENTS_KEY, FEEDBACK_KEY])
def test_an_object_that_can_not_be_read_is_an_error_in_the_widget(desk: Desk, key: str) -> None:
    desk.store.put(key, b"{]")
    assert desk.widget().startswith("<p>")
    assert "<svg" not in desk.widget()


def test_a_bucket_that_does_not_respond_is_an_error_in_the_widget(desk: Desk) -> None:
    desk.store.failure = StoreUnavailableError("throttled")
    assert desk.widget() == "<p>throttled</p>"


# --- events -------------------------------------------------------------------------------------


def test_an_event_is_kept_under_the_name_that_it_gives(desk: Desk) -> None:
    desk.event(incident=INCIDENT.id, verdict="snooze", duration="4h", by="on-call")
    [given] = desk.given
    assert (given.verdict, given.by, given.until) == ("snooze", "on-call", boards.NOW + 4 * HOUR)


def test_an_event_without_a_name_is_of_its_source_and_no_name_is_long(desk: Desk) -> None:
    desk.event(incident=INCIDENT.id, verdict="fine")
    desk.event(incident=INCIDENT.id, verdict="real", by="x" * 1_000)
    assert [each.by for each in desk.given] == ["runbooks", "x" * MAX_NAME]


def test_an_event_about_nothing_is_counted_and_not_retried(desk: Desk) -> None:
    desk.event(incident="nobody-knows", verdict="fine")
    desk.event(incident=INCIDENT.id)
    assert desk.given == []
    assert len(desk.telemetry.unknown_events) == 2


def test_an_event_whose_feedback_can_not_be_kept_is_retried(desk: Desk) -> None:
    desk.store.put(FEEDBACK_KEY, b"{]")
    with pytest.raises(CorruptFeedbackError):
        desk.event(incident=INCIDENT.id, verdict="fine")
    assert desk.store.objects[FEEDBACK_KEY].data == b"{]"
    desk.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        desk.event(incident=INCIDENT.id, verdict="fine")


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {"detail-type": "Incident Feedback"},
        {"detail-type": "Other", "detail": {}},
        {"watch": "fleet"},
    ],
)
def test_other_events_are_counted_and_ignored(desk: Desk, event: Any) -> None:
    assert desk.console.dispatch(event, ENDPOINT) is None
    assert desk.telemetry.unknown_events == ["neither a widget nor feedback"]


# --- which incident -----------------------------------------------------------------------------


def test_an_incident_may_be_named_by_how_its_id_begins(desk: Desk) -> None:
    [given] = give(desk.store, {"incident": INCIDENT.id[:4], "verdict": "real"}, "me", boards.NOW)
    assert given.incident == INCIDENT.id


def test_a_beginning_that_two_incidents_have_is_refused() -> None:
    two = boards.single(), boards.outage()
    common = [Incident(f"abc{n}", each.opened_at, each.members) for n, each in enumerate(two)]
    desk = Desk(*common)
    with pytest.raises(InvalidFeedbackError, match="2 incidents begin with abc: give more of it"):
        give(desk.store, {"incident": "abc", "verdict": "fine"}, "me", boards.NOW)
    give(desk.store, {"incident": "abc1", "verdict": "fine"}, "me", boards.NOW)
    assert [each.incident for each in desk.given] == ["abc1"]


def test_a_snooze_may_last_thirty_days(desk: Desk) -> None:
    fields = {"incident": INCIDENT.id, "verdict": "snooze", "duration": "30d"}
    [given] = give(desk.store, fields, "me", boards.NOW)
    assert given.until == boards.NOW + 30 * 24 * HOUR


def test_a_closed_incident_is_not_snoozed_but_may_be_called_fine() -> None:
    closed = boards.closed()
    desk = Desk(closed)
    fields = {"incident": closed.id, "verdict": "snooze", "duration": "4h"}
    with pytest.raises(InvalidFeedbackError, match=f"incident {closed.id} is closed"):
        give(desk.store, fields, "me", boards.NOW)
    assert desk.given == []
    give(desk.store, fields | {"verdict": "fine"}, "me", boards.NOW)
    assert [each.verdict for each in desk.given] == ["fine"]


# --- the page -----------------------------------------------------------------------------------


def test_the_page_shows_what_has_been_said(desk: Desk) -> None:
    before = desk.console.page("/console/feedback")
    desk.event(incident=INCIDENT.id, verdict="fine", by="Ada")
    after = desk.console.page("/console/feedback")
    assert "Ada" not in before
    assert "Ada" in after
    assert "/console/feedback" in after
