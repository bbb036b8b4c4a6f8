"""The console: shows the incidents as a page or a widget, and takes what people say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from html import escape
from typing import TYPE_CHECKING, Any

from ops_anomaly.aws.errors import AwsError
from ops_anomaly.aws.objects import FEEDBACK_KEY, INCIDENTS_KEY, CachedObject
from ops_anomaly.watcher.feedback_file import decode_feedback, give_feedback, undo_feedback
from ops_anomaly.watcher.incident_job import IncidentState, decode_incidents
from ops_anomaly.watcher.mutes import milliseconds
from ops_anomaly.watcher.outbox import CorruptStateError
from ops_anomaly.watcher.page import DESCRIPTION, page, widget

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.charts import Theme
    from ops_anomaly.watcher.feedback import Feedback, Verdict
    from ops_anomaly.watcher.fleet import FleetList
    from ops_anomaly.watcher.incidents import Incident
    from ops_anomaly.watcher.telemetry import Telemetry
    from ops_anomaly.watcher.watch_file import Options


DETAIL_TYPE = "Incident Feedback"
"""Of events by which programs give feedback; `docs/events.md` describes them."""

VERDICTS: Mapping[str, Verdict] = {"fine": "fine", "real": "real", "snooze": "snooze"}
UNDO = "undo"

MAX_SNOOZE_MS = 30 * 86_400_000
MAX_NAME = 100
"""Letters of who gives feedback."""


class InvalidFeedbackError(ValueError):
    """Feedback that names no incident, or does not say what of it; the message says what to do."""


class Console:
    """Shows incidents, and keeps feedback on them.

    Parameters
    ----------
    clock
        Milliseconds since 1970.
    """

    def __init__(
        self, store: ObjectStore, fleet: FleetList, telemetry: Telemetry, clock: Callable[[], int]
    ) -> None:
        self._store, self._fleet = store, fleet
        self._telemetry, self._clock = telemetry, clock
        self._incidents = CachedObject(store, INCIDENTS_KEY, decode_incidents)
        self._feedback = CachedObject(store, FEEDBACK_KEY, decode_feedback)

    def dispatch(self, event: Any, endpoint: str) -> str | None:
        """Handle what invokes the function: a dashboard's widget, or an event with feedback.

        Parameters
        ----------
        endpoint
            ARN of the function, which the widget's buttons invoke.

        Returns
        -------
        str or None
            HTML or Markdown for the dashboard; None for an event.

        Raises
        ------
        AwsError
            If feedback of an event could not be kept: EventBridge tries again.
        """
        match event:
            case {"describe": True}:
                return DESCRIPTION
            case {"widgetContext": dict(context)}:
                return self._widget(event, context, endpoint)
            case {"detail-type": kind, "detail": dict(detail)} if kind == DETAIL_TYPE:
                try:
                    self._give(detail, str(detail.get("by") or event.get("source") or "an event"))
                except InvalidFeedbackError as error:
                    self._telemetry.unknown_event(error)
                return None
        self._telemetry.unknown_event(InvalidFeedbackError("neither a widget nor feedback"))
        return None

    def page(self, action: str) -> str:
        """Return the page of incidents, whose buttons post to a URL."""
        return page(
            self._read_incidents().board,
            now=self._clock(),
            entries=self._read_entries(),
            feedback=self._read_feedback(),
            action=action,
        )

    def _widget(self, event: Mapping[str, Any], context: Mapping[str, Any], endpoint: str) -> str:
        """Return the widget, after the button that was pressed has done what it says."""
        theme: Theme = "dark" if context.get("theme") == "dark" else "light"
        try:
            if "verdict" in event:
                self._give(event, _viewer(context))
            return widget(
                self._read_incidents().board,
                now=self._clock(),
                entries=self._read_entries(),
                feedback=self._read_feedback(),
                zone=_zone(context.get("timezone")),
                theme=theme,
                endpoint=endpoint,
            )
        except (InvalidFeedbackError, CorruptStateError, AwsError) as error:
            return f"<p>{escape(str(error))}</p>"

    def _give(self, fields: Mapping[str, Any], by: str) -> None:
        give(self._store, fields, by, self._clock())

    def _read_incidents(self) -> IncidentState:
        return self._incidents.read() or IncidentState()

    def _read_entries(self) -> dict[str, Options]:
        fleet = self._fleet.read()
        return {each.name: each for each in fleet.entries} if fleet else {}

    def _read_feedback(self) -> list[Feedback]:
        return self._feedback.read() or []


def give(store: ObjectStore, fields: Mapping[str, Any], by: str, now: int) -> list[Feedback]:
    """Keep what somebody says of an incident, or take it back.

    Parameters
    ----------
    fields
        `incident`: its id, or how it begins; `verdict`: fine, real, snooze or undo; and `duration`,
        such as 4h, of a snooze.
    now : int
        Milliseconds since 1970.

    Returns
    -------
    list of Feedback
        What holds now; or what does not any more, which may be nothing.

    Raises
    ------
    InvalidFeedbackError
        Saying what is wrong with it.
    AwsError
        If it could not be kept.
    """
    incident, verdict = _find(store, str(fields.get("incident") or "")), fields.get("verdict")
    by = by[:MAX_NAME]
    if verdict == UNDO:
        return undo_feedback(store, incident.id, by, now)
    known = VERDICTS.get(str(verdict))
    if known is None:
        raise InvalidFeedbackError(
            f"verdict must be fine, real, snooze or undo, not {str(verdict)[:40]!r}"
        )
    if known == "snooze" and incident.closed_at is not None:
        raise InvalidFeedbackError(
            f"incident {incident.id} is closed, so there is nothing to snooze; if it was fine or "
            "real, say so"
        )
    until = now + _snooze_ms(fields.get("duration")) if known == "snooze" else None
    return [give_feedback(store, incident, known, by, now, until)]


def _find(store: ObjectStore, beginning: str) -> Incident:
    """Return the incident whose id begins so."""
    state = CachedObject(store, INCIDENTS_KEY, decode_incidents).read()
    if state is None:
        raise InvalidFeedbackError(
            f"no {INCIDENTS_KEY} in the bucket: there has been no incident yet, it is not the "
            "stack's bucket, or you may not read it"
        )
    found = [each for each in state.board.incidents if beginning and each.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidFeedbackError(
            f"{len(found)} incidents begin with {beginning}: give more of it"
        )
    raise InvalidFeedbackError(
        f"no incident {beginning[:40]!r}: messages and the page of incidents name them, for a week "
        "after they closed"
    )


def _snooze_ms(duration: Any) -> int:
    try:
        length = milliseconds(str(duration))
    except ValueError as error:
        raise InvalidFeedbackError(
            f"a snooze needs a duration such as 30m, 4h or 2d, not {str(duration)[:40]!r}"
        ) from error
    if not 0 < length <= MAX_SNOOZE_MS:
        raise InvalidFeedbackError("a snooze lasts from a minute to 30 days")
    return length


def _viewer(context: Mapping[str, Any]) -> str:
    """Return who presses a button: CloudWatch says on which dashboard, and CloudTrail knows who."""
    return f"dashboard {context.get('dashboardName') or 'of CloudWatch'}"


def _zone(timezone: Any) -> tzinfo:
    """Return the time zone that a dashboard is shown in."""
    try:
        return datetime.strptime(timezone["offsetISO"], "%z").tzinfo or UTC
    except (TypeError, KeyError, ValueError):
        return UTC
