"""The replay's page: one HTML file with the verdict first, then a chart for each incident."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import jinja2
import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.charts import Row, Span, chart, sparkline, stylesheet, timeline
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import counted
from ops_anomaly.watcher.feedback_file import mark_of
from replay.job import FleetReplay, replay_fleet
from replay.summary import (
    EntryRate,
    effect_of_feedback,
    end_of,
    ending_of,
    entry_rates,
    headline,
    incident_title,
    lasted,
    moment,
    notes,
    rate,
    scope,
    title,
    value_words,
)
from training.console import show_progress
from training.fleet import dollars

if TYPE_CHECKING:
    from rich.console import Console

    from ops_anomaly.watcher.anomalies import ReportedAnomaly
    from ops_anomaly.watcher.feedback import Feedback, Mark
    from ops_anomaly.watcher.incidents import Incident
    from replay.sources import Folders, Source
    from training.cost import Cost

TEMPLATE = Path(__file__).with_name("replay.html.j2")

MAX_ROWS = 20
"""Metrics on the timeline: those with the most incidents."""

MAX_CHARTS = 60
"""Incidents with a chart, the newest ones; of the others there is a table."""

MAX_MEMBERS = 8
"""Metrics that are listed of one incident."""

CHART_SIZE = 640, 190


@dataclass(frozen=True)
class Commands:
    """What to type next.

    Attributes
    ----------
    again : str
        The replay with feedback.
    publish : str or None
        What puts the watch file to work; None without one.
    """

    again: str
    publish: str | None


def replay_to_page(
    source: Source,
    feedback: Sequence[Feedback],
    folders: Folders,
    commands: Commands,
    now: int,
    console: Console,
) -> FleetReplay:
    """Replay metrics, show progress, and write the page.

    Parameters
    ----------
    now : int
        Milliseconds since 1970.
    """
    with show_progress(console) as on_progress:
        replay = replay_fleet(
            source.planned,
            source.history_of,
            feedback,
            folders.outcomes,
            lambda done, total: on_progress("Replaying, metrics", done, total),
        )
    write_page(folders.page, replay, source, feedback, commands)
    folders.outcomes.finish(now)
    return replay


def write_page(
    path: Path,
    replay: FleetReplay,
    source: Source,
    feedback: Sequence[Feedback],
    commands: Commands,
) -> None:
    """Write the page of a replay; it needs no other file and no network."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    newest = replay.notified.incidents[::-1]
    rates = entry_rates(replay)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        headline=headline(replay),
        scope=scope(replay),
        effect=effect_of_feedback(replay),
        styles=stylesheet(),
        tiles=list(_tiles(replay, source.cost)),
        timeline=_timeline(replay),
        timeline_note=_timeline_note(replay),
        incidents=[_shown(each, replay) for each in newest[:MAX_CHARTS]],
        others=[_shown(each, replay, is_drawn=False) for each in newest[MAX_CHARTS:]],
        entries=rates,
        without=_without_incidents(rates),
        levels=[
            (f"{level:g}", len(found.incidents), f"{rate(len(found.incidents), replay):.1f}")
            for level, found in sorted(replay.at.items())
        ],
        levels_in_use={f"{each.sensitivity:g}" for each in rates},
        notes=notes(replay, source.without_readings),
        commands=commands,
        marks=_for_script(_marks(newest)),
        given=_for_script([each for each in feedback if each.verdict != "snooze"]),
    )
    path.write_text(page, encoding="utf-8")


def _tiles(replay: FleetReplay, cost: Cost) -> Iterator[tuple[str, str]]:
    """Yield a figure and what it is."""
    incidents = replay.notified.incidents
    messages = replay.notified.messages.total()
    if incidents:
        delay = median(each.opened_at - each.first_seen for each in incidents)
        yield duration(delay), "from the first unusual reading to the message, typically"
    yield f"{rate(messages, replay):.1f}", "messages a week: one as each opens, one when it is over"
    metrics = counted(len(replay.planned), "metric")
    yield (
        dollars(cost.total),
        f"a month: {dollars(cost.stack)} for the stack, {dollars(cost.total - cost.stack)} for "
        f"{metrics}",
    )


def _without_incidents(rates: Sequence[EntryRate]) -> str:
    """Return how many entries have no incident, in words."""
    count = sum(not each.incidents for each in rates)
    return f"{count:,} {'entry' if count == 1 else 'entries'}" if count else ""


def _timeline(replay: FleetReplay) -> str:
    """Return the timeline of the metrics with the most incidents."""
    spans: dict[str, list[Span]] = {}
    for each in replay.notified.incidents:
        for member in each.members:
            begin, severity = member.anomaly.first_seen, member.anomaly.peak.severity
            label = f"{moment(begin)}: {member.anomaly.peak.reason}"
            spans.setdefault(member.metric, []).append(Span(begin, end_of(member), severity, label))
    most = sorted(spans, key=lambda metric: (-len(spans[metric]), metric))[:MAX_ROWS]
    rows = [Row(_row_name(metric), spans[metric]) for metric in most]
    return (
        timeline(rows, replay.start, replay.until, title="Incidents of the fleet") if rows else ""
    )


def _row_name(metric: str) -> str:
    """Return a metric with what identifies it first: on a narrow page the end is cut off."""
    parsed = Metric.parse(metric)
    return ", ".join([*(value for _, value in parsed.dimensions), parsed.name])


def _timeline_note(replay: FleetReplay) -> str:
    unusual = {member.metric for each in replay.notified.incidents for member in each.members}
    without = len(replay.planned) - len(unusual)
    note = "Each mark is an incident of a metric; the stronger, the more severe."
    if len(unusual) > MAX_ROWS:
        note += f" Shown are the {MAX_ROWS} metrics with the most, of {len(unusual):,}."
    return note + (f" {counted(without, 'metric')} had none." if without else "")


def _shown(incident: Incident, replay: FleetReplay, *, is_drawn: bool = True) -> dict[str, Any]:
    """Return an incident as the page writes it."""
    leader = incident.members[0]
    drawn = replay.metrics[leader.metric].charts.get(leader.anomaly.id) if is_drawn else None
    named = incident_title(incident)
    return {
        "id": incident.id,
        "title": named,
        "metric": leader.metric,
        "entry": leader.anomaly.provenance.entry,
        "began": moment(incident.first_seen),
        "delay": duration(incident.opened_at - incident.first_seen),
        "lasted": duration(lasted(incident)),
        "is_open": incident.closed_at is None,
        "severity": f"{incident.severity:.2f}",
        "percent": f"{100 * incident.severity:.0f}",
        "reason": leader.anomaly.peak.reason,
        "ending": ending_of(incident),
        "value": value_words(leader),
        "members": [_member(each, replay) for each in incident.members[:MAX_MEMBERS]],
        "more": len(incident.members) - MAX_MEMBERS,
        "can_mark": any(mark_of(each) for each in incident.members),
        "chart": chart(
            drawn,
            width=CHART_SIZE[0],
            height=CHART_SIZE[1],
            title=f"{named}, {moment(incident.first_seen)}",
            span=(leader.anomaly.first_seen, end_of(leader)),
        )
        if drawn
        else "",
    }


def _member(member: ReportedAnomaly, replay: FleetReplay) -> dict[str, str]:
    """Return a metric of an incident as the page writes it, with a small chart."""
    drawn = replay.metrics[member.metric].charts[member.anomaly.id]
    return {
        "title": title(member.metric),
        "began": moment(member.anomaly.first_seen),
        "value": value_words(member),
        "chart": sparkline(drawn, width=120, height=28, title=title(member.metric)),
    }


def _marks(incidents: Iterable[Incident]) -> dict[str, list[Mark]]:
    """Return what feedback keeps of each incident, by its id."""
    return {
        each.id: [mark for member in each.members if (mark := mark_of(member))]
        for each in incidents
    }


def _for_script(content: Any) -> str:
    """Return JSON for the page's script; a name may hold what would end its element."""
    return msgspec.json.encode(content).decode().replace("<", "\\u003c")
