"""The page of incidents: a document for a browser, and a widget for a dashboard of CloudWatch.

Both show the same. What differs is the buttons: forms of HTML here, `cwdb-action` there, which
invokes the function of the widget as the person who views it. Neither needs a script.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.charts import Theme, chart, sparkline
from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.pages import (
    LEGEND,
    document,
    reading,
    severity_label,
    stylesheet,
    time_of_day,
)
from ops_anomaly.watcher.incidents import KEPT_MS
from ops_anomaly.watcher.mutes import milliseconds, muted_until
from ops_anomaly.watcher.notifications import SNOOZE, basis, percent, title_of

if TYPE_CHECKING:
    from ops_anomaly.watcher.anomalies import Peak, ReportedAnomaly
    from ops_anomaly.watcher.feedback import Feedback
    from ops_anomaly.watcher.incidents import Incident, IncidentBoard
    from ops_anomaly.watcher.watch_file import Options

MAX_BYTES = 500_000
"""Of the incidents that are shown. AWS documents no limit of a widget; the one of a function's
response is 6 MB, in which each quotation mark counts twice. So much is drawn in 0.3 s."""

MAX_RANKED, MAX_NAMED, MAX_ENTRIES, MAX_FEEDBACK = 8, 50, 3, 5
"""Members with their figures, further ones with their names, entries, and lines of feedback."""

REFRESH_SECONDS = 60
"""Incidents change once a minute."""

DESCRIPTION = """
## Incidents

Open, recent and muted incidents of the anomaly watcher, each with a chart, the reason, and buttons:

* **Fine**: readings like these do not alert any more for these metrics.
* **Real**: these readings stay out of what is learnt as ordinary.
* **Snooze**: no messages about this incident for four hours.
* **Undo**: takes back what was said of this incident.

What a button does is confirmed first, and shown with the incident afterwards.

### Widget parameters

None.
"""
"""What CloudWatch shows of the widget when somebody adds it to a dashboard."""

STYLES = """
.oa-closed{border-left-color:var(--oa-rule);padding:10px 18px}
.oa-closed[open]{padding-bottom:16px}
.oa-closed>summary{cursor:pointer}
.oa-closed>summary .oa-head{display:inline-flex;width:calc(100% - 24px);vertical-align:top}
.oa-undone{text-decoration:line-through}
.oa-buttons{display:flex;flex-wrap:wrap;gap:8px;margin-top:14px;align-items:flex-start}
.oa-confirm{position:relative}
.oa-confirm>summary,.oa-confirm button{font:inherit;font-size:13px;line-height:28px;padding:0 14px;
border:1px solid var(--oa-expected);border-radius:6px;background:var(--oa-surface);
color:var(--oa-ink);cursor:pointer;list-style:none}
.oa-confirm>summary::-webkit-details-marker{display:none}
.oa-confirm>summary:hover,.oa-confirm[open]>summary{border-color:var(--oa-ink)}
.oa-confirm form{position:absolute;z-index:1;top:36px;left:0;width:min(320px,80vw);padding:14px;
border:1px solid var(--oa-expected);border-radius:8px;background:var(--oa-surface);
box-shadow:0 6px 20px #0003}
.oa-confirm form p{margin-bottom:12px}
.oa-confirm button{background:var(--oa-reading);border-color:var(--oa-reading);
color:var(--oa-surface);font-weight:600}
.oa cwdb-action{display:none}
@container oa (max-width:600px){.oa-confirm{position:static}.oa-buttons{position:relative}
.oa-confirm form{top:40px;right:0;width:auto}}
"""

EMPTY = """
<div class="oa-empty"><h3>No open incidents</h3>
<p>No metric that could be evaluated has unusual readings that count. An incident opens here, and
in a message, within a minute of the evaluation that finds some; what is watched, what counts, and
what is muted is in the watch file.</p></div>
"""

MUTED = "<h2>Muted: nobody is notified</h2>"

CLOSED = {
    "recovered": "back to normal",
    "new normal": "the new normal: it has stayed there",
    "no data": "no more data",
    "no longer watched": "no longer watched",
    "withdrawn": "withdrawn: its readings were corrected",
    "data is back": "data is back",
    "marked as fine": "marked as fine",
}


class Choice(NamedTuple):
    """What a button says of an incident.

    Attributes
    ----------
    fields : dict of str to str
        What is sent: `incident`, `verdict` (fine, real, snooze or undo), and the `duration` of a
        snooze.
    confirmation : str
        What the button does, in words.
    """

    label: str
    fields: dict[str, str]
    confirmation: str


@dataclass(frozen=True)
class View:
    """What is shown, to whom, and how its buttons are written.

    Attributes
    ----------
    now : int
        Milliseconds since 1970.
    entries
        Options of each entry of the watch file, by its name.
    zone
        Of all times that are shown.
    """

    board: IncidentBoard
    now: int
    entries: Mapping[str, Options]
    feedback: Sequence[Feedback]
    zone: tzinfo
    button: Callable[[Choice], str]

    def when(self, time: int) -> str:
        """Return a time as people write it."""
        return time_of_day(time, self.zone)

    def said_of(self, incident: Incident) -> list[Feedback]:
        """Return the feedback on an incident, oldest first."""
        return [each for each in self.feedback if each.incident == incident.id]


def page(
    board: IncidentBoard,
    *,
    now: int,
    entries: Mapping[str, Options],
    feedback: Sequence[Feedback] = (),
    zone: tzinfo = UTC,
    action: str = "/console/feedback",
) -> str:
    """Return the page of incidents as a document of HTML.

    Parameters
    ----------
    now : int
        Milliseconds since 1970.
    entries
        Options of each entry of the watch file, by its name.
    feedback
        All of it, oldest first.
    action
        URL to which the buttons post a form with the fields of a `Choice`.
    """
    view = View(board, now, entries, feedback, zone, lambda choice: form_button(choice, action))
    count = len(open_incidents(board))
    return document(
        f"({count}) Incidents" if count else "Incidents",
        f"<h1>Incidents</h1>{content(view)}",
        styles=STYLES,
        refresh_seconds=REFRESH_SECONDS,
    )


def widget(
    board: IncidentBoard,
    *,
    now: int,
    entries: Mapping[str, Options],
    feedback: Sequence[Feedback] = (),
    zone: tzinfo = UTC,
    theme: Theme | None = None,
    endpoint: str,
) -> str:
    """Return the page of incidents as a custom widget of a CloudWatch dashboard.

    Parameters
    ----------
    theme
        Of the console, which does not follow the reader's system: `widgetContext.theme`.
    endpoint
        ARN of the function that the buttons invoke with the fields of a `Choice`, and whose
        response takes the place of this one.
    """
    view = View(board, now, entries, feedback, zone, lambda choice: action_button(choice, endpoint))
    return f'<style>{stylesheet(theme)}{STYLES}</style><div class="oa">{content(view)}</div>'


def form_button(choice: Choice, action: str) -> str:
    """Return a button that opens its confirmation, which posts a form."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in choice.fields.items()
    )
    return (
        f'<details class="oa-confirm" name="confirm"><summary>{escape(choice.label)}</summary>'
        f'<form method="post" action="{escape(action)}"><p>{escape(choice.confirmation)}</p>'
        f"{fields}<button>{escape(choice.label)}</button></form></details>"
    )


def action_button(choice: Choice, endpoint: str) -> str:
    """Return a button of CloudWatch, which asks for a confirmation and invokes a function."""
    return (
        f'<a class="btn">{escape(choice.label)}</a><cwdb-action action="call" '
        f'confirmation="{escape(choice.confirmation)}" endpoint="{escape(endpoint)}">'
        f"{escape(json.dumps(choice.fields), quote=False)}</cwdb-action>"
    )


def content(view: View) -> str:
    """Return the incidents: open ones first, then those that are over, then what is muted.

    What does not fit into `MAX_BYTES` is counted.
    """
    is_open = open_incidents(view.board)
    is_over = [each for each in view.board.incidents if each.closed_at is not None]
    sections = {
        "": [partial(open_card, each, view) for each in is_open],
        "<h2>Closed</h2>": [partial(closed_card, each, view) for each in is_over],
        MUTED: [partial(muted_card, each, view) for each in view.board.muted],
    }
    parts = [summary(view, len(is_open), len(is_over)), "" if is_open else EMPTY]
    left, hidden = MAX_BYTES, 0
    for title, cards in sections.items():
        shown = []
        for card in cards:
            text = card() if left > 0 else ""
            left -= len(text.encode())
            if left > 0:
                shown.append(text)
            else:
                hidden += 1
        parts += [title, *shown] if shown else []
    if hidden:
        more = "1 more is" if hidden == 1 else f"{hidden} more are"
        parts.append(f'<p class="oa-more">{more} not shown, as there are too many.</p>')
    return "".join(parts)


def open_incidents(board: IncidentBoard) -> list[Incident]:
    """Return the incidents that are open."""
    return [each for each in board.incidents if each.closed_at is None]


def summary(view: View, is_open: int, is_over: int) -> str:
    """Return how many incidents there are, when, and what the lines of a chart mean."""
    lately = f"closed in the last {duration(KEPT_MS)}"
    counted = f"{is_open} open, {is_over} {lately}, {len(view.board.muted)} muted"
    zone = datetime.fromtimestamp(view.now / 1000, view.zone).tzname()
    return (
        f'<div class="oa-top"><p class="oa-muted">{counted}</p>'
        f'<p class="oa-muted">{view.when(view.now)} {escape(zone or "")}</p></div>'
        f"{LEGEND}"
    )


def open_card(incident: Incident, view: View) -> str:
    """Return an open incident in full."""
    peak = incident.members[0].anomaly.peak
    what = reading(peak.value, peak.expected, peak.lower, peak.upper)
    lasted = duration(max(view.now - incident.first_seen, 0))
    since = f"since {view.when(incident.first_seen)} ({lasted})"
    snoozed = incident.snoozed_until or 0
    silent = f"; snoozed until {view.when(snoozed)}" if snoozed > view.now else ""
    return (
        f'<article class="oa-card" id="{escape(incident.id)}">'
        f'<div class="oa-head"><h3>{name_of(incident)}</h3>'
        f"{severity_label(incident.severity)}</div>"
        f'<p class="oa-what">{what}, {since}{silent}</p>'
        f"{details(incident, view)}</article>"
    )


def closed_card(incident: Incident, view: View) -> str:
    """Return an incident that is over: a line that opens."""
    period = 1000 * Metric.parse(incident.members[0].metric).period
    lasted = duration(incident.last_seen + period - incident.first_seen)
    ended = f"after {lasted}, {view.when(incident.closed_at or view.now)}"
    return (
        f'<details class="oa-card oa-closed" id="{escape(incident.id)}"><summary>'
        f'<div class="oa-head"><div><h3>{name_of(incident)}</h3>'
        f'<p class="oa-what oa-muted">{in_short(incident.members[0].anomaly.peak)}; '
        f"{escape(CLOSED.get(incident.close_reason or '', 'over'))} {ended}</p></div>"
        f'<div class="oa-aside">{small_chart(incident.members[0])}'
        f"{severity_label(incident.severity, is_over=True)}</div></div>"
        f"</summary>{details(incident, view)}</details>"
    )


def muted_card(reported: ReportedAnomaly, view: View) -> str:
    """Return an anomaly of which nobody is notified, in short."""
    anomaly = reported.anomaly
    metric = Metric.parse(reported.metric)
    options = view.entries.get(anomaly.provenance.entry)
    until = muted_until(options.mute, metric, view.now) if options else None
    muted = f"; muted until {view.when(until)}" if until else ""
    return (
        '<article class="oa-card oa-closed"><div class="oa-head"><div>'
        f"<h3>{escape(title_of(metric))}</h3>"
        f'<p class="oa-what oa-muted">{in_short(anomaly.peak)}, since '
        f"{view.when(anomaly.first_seen)}{muted}</p></div>"
        f'<div class="oa-aside">{small_chart(reported)}</div>'
        "</div></article>"
    )


def name_of(incident: Incident) -> str:
    """Return what an incident is called: its first member, and how many more there are."""
    others = len(incident.members) - 1
    more = f' <span class="oa-muted">and {others} more</span>' if others else ""
    return f"{escape(title_of(Metric.parse(incident.members[0].metric)))}{more}"


def in_short(peak: Peak) -> str:
    """Return what has happened, and by how much."""
    return reading(peak.value, peak.expected, None, None)


def details(incident: Incident, view: View) -> str:
    """Return why, a chart, the members, whom to ask, what was said, and the buttons."""
    leader = incident.members[0]
    drawn = ""
    if leader.chart:
        title = title_of(Metric.parse(leader.metric))
        picture = chart(leader.chart, title=title, span=span_of(leader, view), zone=view.zone)
        drawn = f'<div class="oa-figure">{picture}</div>'
    return (
        f'<p class="oa-why">{escape(leader.anomaly.peak.reason)}</p>{drawn}'
        f"{members(incident, view)}{facts(incident, view)}{buttons(incident, view)}"
    )


def span_of(reported: ReportedAnomaly, view: View) -> tuple[int, int]:
    """Return from when to when a metric has been unusual, or silent."""
    anomaly = reported.anomaly
    if anomaly.is_silence and reported.closed_at is None:
        return anomaly.first_seen, view.now
    return anomaly.first_seen, anomaly.last_seen + 1000 * Metric.parse(reported.metric).period


def members(incident: Incident, view: View) -> str:
    """Return the metrics of an incident, the most severe first; none if there is only one."""
    if len(incident.members) == 1:
        return ""
    ranked, others = incident.members[:MAX_RANKED], incident.members[MAX_RANKED:]
    rows = "".join(member_row(each, incident, view) for each in ranked)
    table = (
        '<table><tr><th>Metric</th><th class="oa-wide"></th><th class="oa-number">Value</th>'
        '<th class="oa-number oa-wide">Expected</th><th class="oa-number oa-wide">Since</th>'
        f'<th class="oa-number">Severity</th></tr>{rows}</table>'
    )
    if not others:
        return table
    names = [escape(title_of(Metric.parse(each.metric))) for each in others[:MAX_NAMED]]
    if len(others) > MAX_NAMED:
        names.append(f"{len(others) - MAX_NAMED} more")
    named = ", ".join(names)
    return (
        f'{table}<details class="oa-more"><summary>and {len(others)} more metrics</summary>'
        f"{named}</details>"
    )


def member_row(reported: ReportedAnomaly, incident: Incident, view: View) -> str:
    """Return the figures of one metric of an incident."""
    anomaly, peak = reported.anomaly, reported.anomaly.peak
    title = title_of(Metric.parse(reported.metric))
    later = anomaly.first_seen - incident.first_seen
    since = f"+{duration(later)}" if later else "first"
    is_over = " oa-muted" if reported.closed_at is not None and incident.closed_at is None else ""
    over = " (over)" if is_over else ""
    cells = [
        f'<td class="oa-name{is_over}">{escape(title)}{over}</td>',
        f'<td class="oa-wide">{small_chart(reported)}</td>',
        f'<td class="oa-number">{"no data" if peak.value is None else number(peak.value)}</td>',
        f'<td class="oa-number oa-wide">{"" if peak.expected is None else number(peak.expected)}',
        f'</td><td class="oa-number oa-wide">{since}</td>',
        f'<td class="oa-number">{peak.severity:.2f}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def small_chart(reported: ReportedAnomaly) -> str:
    """Return a metric in the height of a line; nothing where no chart is kept."""
    if reported.chart is None:
        return ""
    title = title_of(Metric.parse(reported.metric))
    return sparkline(reported.chart, title=title, width=140, height=28)


def facts(incident: Incident, view: View) -> str:
    """Return what the verdict rests on, who is responsible, and what people have said."""
    provenance = incident.members[0].anomaly.provenance
    kind = "own history: " if provenance.model is None else ""
    confidence = f"confidence {percent(provenance.confidence)}"
    lines = [("Basis", f"{escape(kind + basis(provenance))}; {confidence}")]
    names = list(dict.fromkeys(each.anomaly.provenance.entry for each in incident.members))
    lines += [("Entry", entry_line(name, view.entries.get(name))) for name in names[:MAX_ENTRIES]]
    if len(names) > MAX_ENTRIES:
        lines.append(("", f"and {len(names) - MAX_ENTRIES} more entries"))
    said = view.said_of(incident)[-MAX_FEEDBACK:]
    lines += [("Feedback", feedback_line(each, view)) for each in said]
    rows = "".join(f"<div><span>{name}</span><span>{line}</span></div>" for name, line in lines)
    return f'<div class="oa-facts">{rows}</div>'


def entry_line(name: str, options: Options | None) -> str:
    """Return an entry of the watch file: owner, runbook, tags."""
    parts = [escape(name)]
    if options and options.owner:
        parts.append(f"owner {escape(options.owner)}")
    if options and options.runbook:
        parts.append(f'<a class="oa-link" href="{escape(options.runbook)}">runbook</a>')
    tags = options.tags.items() if options else ()
    labels = "".join(
        f' <span class="oa-tag">{escape(key)}: {escape(value)}</span>' for key, value in tags
    )
    return " · ".join(parts) + labels


def feedback_line(given: Feedback, view: View) -> str:
    """Return what somebody said, and whether it was taken back."""
    until = f" until {view.when(given.until)}" if given.until is not None else ""
    said = f"<b>{given.verdict}</b>{until}, by {escape(given.by)}, {view.when(given.at)}"
    if given.undone is None:
        return said
    undone = f"taken back by {escape(given.undone.by)}, {view.when(given.undone.at)}"
    return f'<span class="oa-muted"><span class="oa-undone">{said}</span>; {undone}</span>'


def buttons(incident: Incident, view: View) -> str:
    """Return the buttons that make sense now."""
    row = "".join(view.button(choice) for choice in choices(incident, view))
    return f'<div class="oa-buttons">{row}</div>'


def choices(incident: Incident, view: View) -> Iterable[Choice]:
    """Yield what can be said of an incident."""
    holding = {
        each.verdict: each
        for each in view.said_of(incident)
        if each.undone is None and (each.until is None or each.until > view.now)
    }
    metrics = name_in_words(incident)
    is_known = "fine" in holding or "real" in holding
    has_readings = any(not each.anomaly.is_silence for each in incident.members)
    if has_readings and not is_known:
        yield choice_of(
            incident, "Fine", "fine", f"Readings like these will not alert any more for {metrics}."
        )
        yield choice_of(
            incident,
            "Real",
            "real",
            f"These readings stay out of what is learnt as ordinary for {metrics}.",
        )
    if incident.closed_at is None and "snooze" not in holding:
        until = view.when(view.now + milliseconds(SNOOZE))
        yield choice_of(
            incident,
            "Snooze 4 h",
            "snooze",
            f"No messages about this incident until {until}. It stays open here.",
            duration=SNOOZE,
        )
    if holding:
        said = " and ".join(f"“{verdict}” ({each.by})" for verdict, each in holding.items())
        yield choice_of(incident, "Undo", "undo", f"Takes back {said} for {metrics}.")


def choice_of(
    incident: Incident, label: str, verdict: str, confirmation: str, **more: str
) -> Choice:
    """Return a button's choice."""
    return Choice(label, {"incident": incident.id, "verdict": verdict, **more}, confirmation)


def name_in_words(incident: Incident) -> str:
    """Return the metrics of an incident as a sentence has them."""
    others = len(incident.members) - 1
    more = f" and {others} more metric{'' if others == 1 else 's'}" if others else ""
    return f"{title_of(Metric.parse(incident.members[0].metric))}{more}"
