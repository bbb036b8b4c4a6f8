"""A replay in words: what a terminal, the page and --json say of it alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.formatting import duration, number
from ops_anomaly.detection.timeline import counted
from ops_anomaly.detection.types import DAY, HOUR
from ops_anomaly.watcher.formatting import iso
from ops_anomaly.watcher.notifications import title_of
from training.console import new_table, print_table
from training.fleet import dollars

if TYPE_CHECKING:
    from rich.console import Console

    from ops_anomaly.watcher.anomalies import ReportedAnomaly
    from ops_anomaly.watcher.incidents import Incident
    from replay.engine import MetricReplay
    from replay.fold import Notified
    from replay.job import FleetReplay
    from replay.sources import Source
    from training.cost import Cost

MAX_SHOWN = 20
"""Incidents that a terminal shows, the newest ones; the page and --json have all."""


ENDINGS = {
    "new normal": "it has stayed there: its new normal",
    "no data": "it ended without data",
    "no longer watched": "it is no longer watched",
    "marked as fine": "marked as fine",
    "withdrawn": "its readings were corrected",
}
"""How incidents end that do not recover."""


@dataclass(frozen=True)
class EntryRate:
    """What people would have been notified of by one entry of the watch file.

    Attributes
    ----------
    incidents : int
        In which it has a metric: one of several entries counts for each of them.
    messages : float
        About these, a week.
    """

    name: str
    metrics: int
    sensitivity: float
    incidents: int
    messages: float


def title(metric: str) -> str:
    """Return the short name of a metric.

    Examples
    --------
    >>> title("AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300")
    'CPUUtilization of i-0123'
    """
    return title_of(Metric.parse(metric))


def incident_title(incident: Incident) -> str:
    """Return what an incident is about: its first member, and how many more there are."""
    more = len(incident.members) - 1
    return title(incident.members[0].metric) + (f" and {more:,} more" if more else "")


def lasted(incident: Incident) -> int:
    """Return how long something was unusual, the last period included, milliseconds."""
    return max(end_of(each) for each in incident.members) - incident.first_seen


def end_of(member: ReportedAnomaly) -> int:
    """Return when the last unusual period of an anomaly ended, milliseconds."""
    period = 0 if member.anomaly.is_silence else 1_000 * Metric.parse(member.metric).period
    return member.anomaly.last_seen + period


def length(milliseconds: float) -> str:
    """Return how long something was replayed, in whole hours if it was for more than a few.

    Examples
    --------
    >>> length(172_500_000)
    '2 days'
    """
    return duration(HOUR * round(milliseconds / HOUR) if milliseconds > DAY / 4 else milliseconds)


def moment(time: int) -> str:
    """Return a time as a table has it.

    Examples
    --------
    >>> moment(1_795_608_000_000)
    'Wed 25 Nov 12:00'
    """
    at = datetime.fromtimestamp(time / 1_000, UTC)
    return f"{at:%a} {at.day} {at:%b %H:%M}"


def day(time: int) -> str:
    """Return the date of a time.

    Examples
    --------
    >>> day(1_795_608_000_000)
    '25 Nov 2026'
    """
    at = datetime.fromtimestamp(time / 1_000, UTC)
    return f"{at.day} {at:%b %Y}"


def rate(count: float, replay: FleetReplay) -> float:
    """Return how many a week so many are, if all metrics are watched: see `FleetReplay.weeks`."""
    return count / max(replay.weeks, 1 / 7)


def headline(replay: FleetReplay) -> str:
    """Return what came of it in one sentence."""
    incidents = replay.notified.incidents
    days = length(fmean(replay.watched))
    within = f"In {days} of each metric" if _differ(replay) else f"In these {days}"
    if not incidents:
        return f"{within} you would have been notified of nothing."
    return (
        f"{within} you would have been notified of {counted(len(incidents), 'incident')}: "
        f"{rate(len(incidents), replay):.1f} a week."
    )


def _differ(replay: FleetReplay) -> bool:
    """Return whether metrics were replayed at times, or for lengths, that differ by a day."""
    every = list(replay.metrics.values())
    times = [[each.start for each in every], [each.until for each in every]]
    return any(max(each) - min(each) > DAY for each in times)


def effect_of_feedback(replay: FleetReplay) -> str | None:
    """Return what feedback changes; None without any."""
    before = replay.without_feedback
    if before is None:
        return None
    now = len(replay.notified.incidents)
    return f"Without your feedback it would have been {len(before.incidents):,}, and is {now:,}."


def scope(replay: FleetReplay) -> str:
    """Return what was replayed."""
    entries = {each.options.name for each in replay.planned}
    readings = sum(each.readings for each in replay.metrics.values())
    return (
        f"{counted(len(replay.planned), 'metric')} of "
        f"{len(entries):,} {'entry' if len(entries) == 1 else 'entries'}, "
        f"{readings:,} readings, {day(replay.start)} to {day(replay.until)} (UTC){_sure(replay)}"
    )


def _sure(replay: FleetReplay) -> str:
    """Return from when on verdicts are sure, of those metrics of which they ever are."""
    waits = _waits(replay.metrics.values())
    if not waits:
        return "; no verdict is sure, as there is too little history"
    if max(waits) <= 0:
        return "; verdicts are sure from the start"
    return f"; verdicts are sure after {duration(max(waits))} of each metric"


def _waits(metrics: Iterable[MetricReplay]) -> list[int]:
    """Return how long it takes until verdicts are sure, milliseconds: each metric has its time."""
    return [each.sure_from - each.start for each in metrics if each.sure_from is not None]


def entry_rates(replay: FleetReplay) -> list[EntryRate]:
    """Return the entries with the most messages first."""
    metrics = Counter(each.options.name for each in replay.planned)
    options = {each.options.name: each.options for each in replay.planned}
    incidents = replay.notified.incidents
    opened, messages = Counter[str](), Counter[str]()
    for each in incidents:
        for entry in {member.anomaly.provenance.entry for member in each.members}:
            opened[entry] += 1
            messages[entry] += replay.notified.messages[each.id]
    rates = [
        EntryRate(
            name,
            count,
            options[name].sensitivity,
            opened[name],
            rate(messages[name], replay),
        )
        for name, count in metrics.items()
    ]
    return sorted(rates, key=lambda each: (-each.incidents, each.name))


def notes(replay: FleetReplay, missing: Sequence[Metric]) -> list[str]:
    """Return what has to be known of the replay's limits."""
    found = list(_limits(replay))
    unsure = [
        each
        for each in replay.metrics.values()
        if each.sure_from is None or each.sure_from > each.start + DAY
    ]
    if unsure:
        never = sum(each.sure_from is None for each in unsure)
        waits = _waits(unsure)
        sure = [f"after {duration(max(waits))} at the latest"] if waits else []
        sure += [f"never of {counted(never, 'metric')}"] if never else []
        found.append(
            f"{counted(len(unsure), 'metric')} had too little history at first: verdicts are sure "
            f"{', and '.join(sure)}."
        )
    if missing:
        names = ", ".join(title_of(each) for each in missing[:3])
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        found.append(f"No readings at all, so not replayed: {names}{more}.")
    if any(each.options.model for each in replay.planned):
        found.append(
            "Entries with a model are replayed by their own history: a model may have been trained "
            "on these very readings."
        )
    muted = len(replay.notified.muted)
    if muted:
        verb = "was" if muted == 1 else "were"
        found.append(
            f"{muted:,} {'anomaly' if muted == 1 else 'anomalies'} {verb} within a mute: nobody "
            "would have been notified."
        )
    return found


def _limits(replay: FleetReplay) -> Iterable[str]:
    """Yield why metrics were replayed for fewer days than were asked for, and what a week is."""
    if _differ(replay):
        shortest, longest = length(min(replay.watched)), length(max(replay.watched))
        each = longest if shortest == longest else f"{shortest} to {longest}"
        yield (
            f"Metrics were replayed for {each} each, not all at the same time: a week is one in "
            "which all of them are watched."
        )
    late = sum(replay.metrics[str(e.metric)].start > e.start + DAY for e in replay.planned)
    if late:
        yield f"{counted(late, 'metric')} had no readings at first: replayed from the first one on."
    for limit, count in Counter(each.limit for each in replay.planned if each.limit).most_common(3):
        days = duration(max(e.until - e.start for e in replay.planned if e.limit == limit))
        yield f"Only {days} of {counted(count, 'metric')} were replayed: {limit}."


def show_replay(replay: FleetReplay, source: Source, console: Console) -> None:
    """Print what people would have been notified of."""
    console.print(f"\n[bold]{headline(replay)}[/bold]", highlight=False)
    console.print(scope(replay), style="dim", highlight=False)
    if effect := effect_of_feedback(replay):
        console.print(effect, highlight=False)
    if replay.notified.incidents:
        show_incidents(replay.notified, console)
    print_table(entry_table(replay), console)
    print_table(sensitivity_table(replay), console)
    console.print(f"\nWatching them costs {cost_words(source.cost)}.", highlight=False)
    for note in notes(replay, source.without_readings):
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False)


def show_incidents(found: Notified, console: Console) -> None:
    """Print the newest incidents, each with its reason below; it fits 80 columns."""
    heading = f"{'began (UTC)':<17} {'lasted':>8} {'severity':>8}  what, and why"
    console.print(f"\n[bold]Incidents[/bold]\n{heading}", highlight=False)
    for each in found.incidents[::-1][:MAX_SHOWN]:
        how_long = duration(lasted(each)) if each.closed_at else "open"
        row = f"{moment(each.first_seen):<17} {how_long:>8} {each.severity:>8.2f}  "
        console.print(row + incident_title(each), markup=False, highlight=False, soft_wrap=True)
        reason = each.members[0].anomaly.peak.reason
        text = f"{reason}; {ending}" if (ending := ending_of(each)) else reason
        console.print(f"    {text}", style="dim", markup=False, highlight=False)
    earlier = len(found.incidents) - MAX_SHOWN
    if earlier > 0:
        console.print(f"{counted(earlier, 'earlier one')}: see the page, or --json")


def entry_table(replay: FleetReplay) -> Table:
    """Return what each entry of the watch file would have sent."""
    columns = ("entry", "metrics", "sensitivity", "incidents", "messages/wk")
    note = "An incident of several entries, and its messages, count for each of them."
    table = new_table("By entry", note, *columns)
    for each in entry_rates(replay):
        table.add_row(
            each.name,
            f"{each.metrics:,}",
            f"{each.sensitivity:g}",
            f"{each.incidents:,}",
            f"{each.messages:.1f}",
        )
    return table


def sensitivity_table(replay: FleetReplay) -> Table:
    """Return how many incidents there would have been at other sensitivities."""
    levels = sorted(replay.at)
    note = "Sensitivity: false alerts a week and metric that you accept, set for each entry."
    table = new_table("At other sensitivities", note, "sensitivity", *(f"{x:g}" for x in levels))
    counts = [len(replay.at[level].incidents) for level in levels]
    table.add_row("incidents", *(f"{count:,}" for count in counts))
    table.add_row("a week", *(f"{rate(count, replay):.1f}" for count in counts))
    return table


def as_record(replay: FleetReplay, source: Source) -> dict[str, Any]:
    """Return all of it, for programs."""
    return {
        "start": iso(replay.start),
        "end": iso(replay.until),
        "metrics": len(replay.planned),
        "days_of_each_metric": round(fmean(replay.watched) / DAY, 3),
        "incidents_a_week": round(rate(len(replay.notified.incidents), replay), 3),
        "messages_a_week": round(rate(replay.notified.messages.total(), replay), 3),
        "dollars_a_month": round(source.cost.total, 2),
        "incidents": [incident_record(each) for each in replay.notified.incidents],
        "entries": [
            {
                "name": each.name,
                "metrics": each.metrics,
                "sensitivity": each.sensitivity,
                "incidents": each.incidents,
                "messages_a_week": round(each.messages, 3),
            }
            for each in entry_rates(replay)
        ],
        "incidents_at_sensitivity": {
            f"{level:g}": len(replay.at[level].incidents) for level in sorted(replay.at)
        },
        "without_readings": [str(each) for each in source.without_readings],
        "notes": notes(replay, source.without_readings),
    }


def incident_record(incident: Incident) -> dict[str, Any]:
    """Return an incident, for programs."""
    return {
        "id": incident.id,
        "first_seen": iso(incident.first_seen),
        "lasted_seconds": lasted(incident) // 1_000,
        "opened": iso(incident.opened_at),
        "closed": None if incident.closed_at is None else iso(incident.closed_at),
        "close_reason": incident.close_reason,
        "topics": incident.topics,
        "severity": incident.severity,
        "members": [
            {
                "metric": each.metric,
                "entry": each.anomaly.provenance.entry,
                "first_seen": iso(each.anomaly.first_seen),
                "last_seen": iso(each.anomaly.last_seen),
                "close_reason": each.close_reason,
                "is_relapse": each.anomaly.is_relapse,
                "readings": each.anomaly.readings,
                "value": each.anomaly.peak.value,
                "expected": each.anomaly.peak.expected,
                "severity": each.anomaly.peak.severity,
                "reason": each.anomaly.peak.reason,
            }
            for each in incident.members
        ],
    }


def ending_of(incident: Incident) -> str:
    """Return what is worth knowing of how an incident went, and ended; of most nothing is."""
    ended = ENDINGS.get(incident.close_reason or "", "")
    comes = "it came and went" if any(e.anomaly.is_relapse for e in incident.members) else ""
    return "; ".join(filter(None, [comes, ended]))


def cost_words(cost: Cost) -> str:
    """Return what watching costs, and how little of it is of the metrics."""
    return (
        f"{dollars(cost.total)} a month: {dollars(cost.stack)} for the stack, however many "
        f"metrics it watches, and {dollars(cost.total - cost.stack)} for these"
    )


def value_words(member: ReportedAnomaly) -> str:
    """Return the worst reading of an anomaly, and what was expected instead."""
    peak = member.anomaly.peak
    if peak.value is None:
        return "no data"
    expected = "" if peak.expected is None else f", expected {number(peak.expected)}"
    return f"{number(peak.value)}{expected}"
