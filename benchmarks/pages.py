"""`python -m benchmarks pages`: how often a fleet would wake people, by what the watch file says.

Two weeks of 200 simulated metrics of a shop, with what operations are made of: nightly jobs,
deployments, weekends, a clock change, sparse errors; and six incidents that somebody should be
woken for, one of them a dependency that takes down thirty metrics. The watcher's own code runs
through them, tick by tick, first without and then with rules, mutes, grouping and feedback.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
import typer
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import DAY, HOUR, MINUTE, Series
from ops_anomaly.watcher.feedback import NO_FEEDBACK, Feedback, Mark, by_metric
from ops_anomaly.watcher.feedback_file import mark_of
from ops_anomaly.watcher.incidents import Incident
from ops_anomaly.watcher.watch_file import Options, parse_watch_file
from replay.engine import MetricReplay, replay_metric
from replay.fold import Notified, notified
from training.console import new_table, show_progress

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats
    from ops_anomaly.watcher.anomalies import Anomaly

PERIOD = 300
STEP = 1000 * PERIOD
ZONE = ZoneInfo("Europe/Berlin")
BEGIN = 1000 * int(datetime(2026, 10, 5, tzinfo=UTC).timestamp())
"""A Monday. Two weeks of history, and then those that count; clocks change on the last Sunday."""

START = BEGIN + 14 * DAY
MIDDLE, STOP = START + 7 * DAY, START + 14 * DAY
TIMES = np.arange(BEGIN, STOP, STEP)
LOCAL = [datetime.fromtimestamp(time / 1000, ZONE) for time in TIMES.tolist()]
HOURS = np.array([each.hour + each.minute / 60 for each in LOCAL])
WEEKDAYS = np.array([each.weekday() for each in LOCAL])

SERVICES = ("cart", "catalogue", "checkout", "login", "orders", "search")
NIGHT_MUTE = {"cron": "30 1 * * *", "for": "3h", "timezone": "Europe/Berlin", "reason": "batch"}
DEPLOYMENTS = {
    "days": ["mon", "tue", "wed", "thu"],
    "from": "10:00",
    "to": "10:45",
    "timezone": "Europe/Berlin",
    "reason": "deployments",
}


@dataclass(frozen=True)
class Kind:
    """Metrics of one kind, which are one entry of the watch file.

    Attributes
    ----------
    dimensions
        Of each metric.
    rules, mute
        What an operator would write into the entry.
    simulate
        Returns the values of all times, given a random generator and the dimensions: (n,).
    """

    name: str
    metric: str
    statistic: str
    dimensions: Sequence[Mapping[str, str]]
    simulate: Callable[[np.random.Generator, Mapping[str, str]], Floats]
    rules: Mapping[str, Any] = field(default_factory=dict)
    mute: Sequence[Mapping[str, Any]] = ()

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the entry."""
        return [
            Metric("Shop", self.metric, tuple(sorted(each.items())), self.statistic, PERIOD)
            for each in self.dimensions
        ]

    def options(self, *, has_rules: bool, has_mutes: bool, is_grouped: bool) -> Options:
        """Return the entry, with or without what an operator would write into it."""
        entry: dict[str, Any] = {"name": self.name, "metric": str(self.metrics[0])}
        entry |= dict(self.rules) if has_rules else {}
        entry |= {"mute": [dict(each) for each in self.mute]} if has_mutes and self.mute else {}
        entry |= {"group": self.name} if is_grouped else {}  # as those of a selector are
        [parsed] = parse_watch_file({"version": 1, "metrics": [entry]}).metrics
        return Options(**{name: getattr(parsed, name) for name in Options.__struct_fields__})


@dataclass(frozen=True)
class Happening:
    """Something that somebody should be woken for.

    Attributes
    ----------
    start, stop : int
        Milliseconds.
    affects
        Returns what becomes of the values in it, of a metric it is about; None of all others.
    """

    name: str
    start: int
    stop: int
    affects: Callable[[Metric], Callable[[Floats], Floats] | None]

    def is_about(self, incident: Incident) -> bool:
        """Return whether an incident is of this."""
        is_then = incident.first_seen < self.stop + HOUR and incident.last_seen >= self.start - STEP
        return is_then and any(self.affects(Metric.parse(each.metric)) for each in incident.members)


def at(day: int, hour: float, hours: float) -> tuple[int, int]:
    """Return a span on a day of the two weeks, by UTC."""
    start = START + day * DAY + round(hour * HOUR)
    return start, start + round(hours * HOUR)


def of(name: str, **dimensions: str) -> Callable[[Metric], bool]:
    """Return whether a metric has this name and these dimensions."""
    wanted = dimensions.items()
    return lambda metric: metric.name == name and wanted <= dict(metric.dimensions).items()


def when(
    chosen: Callable[[Metric], bool], change: Callable[[Floats], Floats]
) -> Callable[[Metric], Callable[[Floats], Floats] | None]:
    """Return the change of chosen metrics."""
    return lambda metric: change if chosen(metric) else None


def gone(values: Floats) -> Floats:
    """Return no readings."""
    return np.full(len(values), np.nan)


DOWN = ("cart", "checkout", "orders")
"""Services that need the dependency which fails."""

FAILING: Mapping[str, Callable[[Floats], Floats]] = {
    "Latency": lambda values: values * 6.0,
    "Requests": lambda values: np.round(values * 0.3),
    "Errors": lambda values: values + 240.0,
    "Availability": lambda values: values - 9.0,
}


def dependency(metric: Metric) -> Callable[[Floats], Floats] | None:
    """Return what the failing dependency makes of a metric."""
    is_down = dict(metric.dimensions).get("Service") in DOWN
    return FAILING.get(metric.name) if is_down else None


HAPPENINGS = (
    Happening("a dependency fails, 30 metrics", *at(2, 13.0, 0.7), dependency),
    Happening(
        "an instance runs away",
        *at(3, 8.5, 1.0),
        when(of("CPU", Instance="search-4"), lambda values: np.minimum(values + 55.0, 99.0)),
    ),
    Happening(
        "a queue grows",
        *at(4, 15.0, 3.0),
        when(of("Depth", Queue="queue-3"), lambda values: values + 60.0 * np.arange(len(values))),
    ),
    Happening(
        "a route is slow",
        *at(8, 12.0, 1.0),
        when(of("Latency", Service="login", Route="/b"), lambda values: values * 3.0),
    ),
    Happening("a host is silent", *at(9, 3.0, 3.0), when(of("Heartbeat", Host="host-07"), gone)),
    Happening(
        "four hosts are deleted",
        *at(11, 11.0, 72.0),
        when(lambda metric: dict(metric.dimensions).get("Host", "") >= "host-20", gone),
    ),
)


def by_day(night: float, day: float) -> Floats:
    """Return a load that is low at night and at weekends, by local time."""
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * (HOURS - 3.5) / 24)
    weekend = np.where(WEEKDAYS >= 5, 0.6, 1.0)
    load: Floats = night + (day - night) * shape * weekend
    return load


def rounded(values: Any, digits: int) -> Floats:
    """Return values as CloudWatch would have them: with so many digits after the point."""
    result: Floats = np.round(np.asarray(values, float), digits)
    return result


def deployed(service: str) -> Floats:
    """Return in which periods a service is deployed: a quarter of an hour on some mornings."""
    random, is_then = np.random.default_rng(list(service.encode())), np.zeros(len(TIMES))
    for first in np.flatnonzero((HOURS == 10.0) & (WEEKDAYS < 4)):
        if random.random() < 0.4:
            is_then[first + 1 : first + 4] = 1.0
    return is_then


def cpu(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the CPU of an instance, in per cent."""
    load = by_day(random.uniform(8, 15), random.uniform(35, 55))
    load += random.normal(0, 2.0, len(TIMES)) + 22.0 * deployed(dimensions["Service"])
    return rounded(np.clip(load, 1.0, 99.0), 2)


def latency(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the latency of a route, in milliseconds; it has short peaks, and improves at times."""
    level = random.uniform(60, 240)
    values = level * by_day(0.9, 1.2) * random.lognormal(0, 0.06, len(TIMES))
    values *= np.where(random.random(len(TIMES)) < 0.001, 2.2, 1.0)
    values *= np.where(random.random(len(TIMES)) < 0.0005, 0.5, 1.0)
    return rounded(values * (1.0 + 0.5 * deployed(dimensions["Service"])), 1)


def requests(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the requests of a route; now and then a campaign brings more of them."""
    expected = by_day(random.uniform(20, 60), random.uniform(400, 1_500))
    for first in random.integers(0, len(TIMES), 3):
        expected[first : first + 12] *= 1.5
    return random.poisson(expected).astype(float)


def errors(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the errors of a route: none, or one, or a few."""
    sparse = random.poisson(0.01, len(TIMES)) + np.where(
        random.random(len(TIMES)) < 0.001, random.integers(2, 9, len(TIMES)), 0
    )
    return rounded(sparse, 0)


def availability(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the availability of a service, in per cent."""
    dips = np.where(random.random(len(TIMES)) < 0.001, random.uniform(0.02, 0.2, len(TIMES)), 0)
    return rounded(99.995 - np.abs(random.normal(0, 0.002, len(TIMES))) - dips, 3)


def depth(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return how many messages a queue holds."""
    return random.poisson(by_day(2, 12) * random.lognormal(0, 0.4, len(TIMES))).astype(float)


def batch(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the CPU of a machine with a nightly job; some jobs are new in the second week."""
    values = random.normal(3.0, 0.4, len(TIMES))
    is_new = dimensions["Job"] in ("job-05", "job-11")
    for day in np.flatnonzero((HOURS == 2.0) & np.append(True, np.diff(HOURS) != 0)):
        if not is_new or TIMES[day] >= MIDDLE:
            first = day + int(random.integers(0, 4))
            values[first : first + int(random.integers(9, 14))] = random.normal(78, 3)
    return rounded(np.clip(values, 0.5, 99), 2)


def database(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the connections of a database; it is vacuumed on Sundays."""
    values = by_day(random.uniform(5, 15), random.uniform(60, 140))
    values *= random.lognormal(0, 0.05, len(TIMES))
    is_vacuumed = (WEEKDAYS == 6) & (HOURS >= 4) & (HOURS < 5)
    return rounded(values + 30.0 * is_vacuumed, 0)


def heartbeat(random: np.random.Generator, dimensions: Mapping[str, str]) -> Floats:
    """Return the heartbeats of a host: five a period."""
    return np.full(len(TIMES), 5.0)


ROUTES = [
    {"Service": service, "Route": route} for service in SERVICES for route in ("/a", "/b", "/c")
]

KINDS = (
    Kind(
        "cpu",
        "CPU",
        "Average",
        [{"Service": s, "Instance": f"{s}-{n}"} for s in SERVICES for n in range(10)],
        cpu,
        {"alert_on": "rises", "ignore_below": {"absolute": 20}, "sustained": 2},
        [DEPLOYMENTS],
    ),
    Kind(
        "latency",
        "Latency",
        "Average",
        ROUTES,
        latency,
        {"alert_on": "rises", "ignore_below": {"percent": 50}, "sustained": 2},
        [DEPLOYMENTS],
    ),
    Kind(
        "requests",
        "Requests",
        "Sum",
        ROUTES,
        requests,
        {"alert_on": "falls", "ignore_below": {"percent": 30, "absolute": 20}},
    ),
    Kind(
        "errors",
        "Errors",
        "Sum",
        ROUTES,
        errors,
        {"alert_on": "rises", "ignore_below": {"absolute": 20}},
    ),
    Kind(
        "availability",
        "Availability",
        "Average",
        [{"Service": service} for service in SERVICES],
        availability,
        {"alert_on": "falls", "ignore_below": {"absolute": 0.5}},
    ),
    Kind(
        "queues",
        "Depth",
        "Average",
        [{"Queue": f"queue-{n}"} for n in range(10)],
        depth,
        {"alert_on": "rises", "ignore_below": {"absolute": 100}},
    ),
    Kind(
        "batch",
        "CPU",
        "Average",
        [{"Job": f"job-{n:02}"} for n in range(20)],
        batch,
        {"alert_on": "rises", "ignore_below": {"absolute": 20}},
        [NIGHT_MUTE],
    ),
    Kind(
        "databases",
        "Connections",
        "Average",
        [{"Database": f"db-{n:02}"} for n in range(26)],
        database,
        {"alert_on": "rises", "ignore_below": {"percent": 40}, "sustained": 2},
    ),
    Kind(
        "hosts",
        "Heartbeat",
        "Sum",
        [{"Host": f"host-{n:02}"} for n in range(24)],
        heartbeat,
        {"when_silent": "notify after 15m"},
    ),
)


@dataclass(frozen=True)
class Setting:
    """What of the watch file's features is used; without grouping each metric is on its own."""

    name: str
    has_rules: bool
    has_mutes: bool
    is_grouped: bool
    has_feedback: bool = False


SETTINGS = (
    Setting("as it is", has_rules=False, has_mutes=False, is_grouped=False),
    Setting("+ rules", has_rules=True, has_mutes=False, is_grouped=False),
    Setting("+ mutes", has_rules=True, has_mutes=True, is_grouped=False),
    Setting("+ grouping", has_rules=True, has_mutes=True, is_grouped=True),
    Setting("+ feedback", has_rules=True, has_mutes=True, is_grouped=True, has_feedback=True),
)


@dataclass(frozen=True)
class Outcome:
    """What people were notified of in one setting.

    Attributes
    ----------
    entries
        Of the watch file, by name.
    """

    setting: Setting
    found: Notified
    entries: Mapping[str, Options]

    def counts(self, start: int, stop: int) -> tuple[int, int, int, int]:
        """Return messages, openings, openings for nothing, and happenings found, between times."""
        incidents = [each for each in self.found.incidents if start <= each.opened_at < stop]
        due = [each for each in HAPPENINGS if start <= each.start < stop]
        return (
            sum(self.found.messages[each.id] for each in incidents),
            len(incidents),
            sum(not is_of_a_happening(each) for each in incidents),
            sum(any(each.is_about(one) for one in incidents) for each in due),
        )

    @property
    def most_openings(self) -> int:
        """How many messages said that one and the same incident is open, at most."""
        closed = Counter(each.id for each in self.found.incidents if each.closed_at is not None)
        return max((self.found.messages - closed).values(), default=0)

    @property
    def below_least_deviation(self) -> int:
        """How many anomalies were notified that deviate by less than their entry asks for."""
        members = [each.anomaly for one in self.found.incidents for each in one.members]
        return sum(is_below(each, self.entries[each.provenance.entry]) for each in members)


def is_below(anomaly: Anomaly, options: Options) -> bool:
    """Return whether an anomaly's worst reading deviates by less than its entry asks for."""
    peak, least = anomaly.peak, options.ignore_below
    if least is None or peak.value is None or peak.expected is None:
        return False
    deviation = abs(peak.value - peak.expected)
    percent = (least.percent or 0.0) / 100 * abs(peak.expected)
    return deviation < max(least.absolute or 0.0, percent)


def is_of_a_happening(incident: Incident) -> bool:
    """Return whether somebody should have been woken for an incident."""
    return any(each.is_about(incident) for each in HAPPENINGS)


def pages(
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is left to chance.")] = 1,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Of each kind's metrics, to be quick.")
    ] = 1.0,
) -> None:
    """Replay two weeks of a shop, with and without what the watch file can say."""
    console = Console()
    series = simulate(seed, share)
    console.print(f"{len(series)} metrics, two weeks of history and two that count ...")
    with show_progress(console) as on_progress:
        outcomes: list[Outcome] = []
        for number, setting in enumerate(SETTINGS):
            on_progress("Settings", number, len(SETTINGS))
            outcomes.append(replayed(setting, series, outcomes[-1] if outcomes else None))
    console.print(table(outcomes))
    for each in HAPPENINGS:
        settings = [
            one.setting.name for one in outcomes if not any(map(each.is_about, one.found.incidents))
        ]
        if settings:
            console.print(f"Not found: {each.name} ({', '.join(settings)})")
    most = max(each.most_openings for each in outcomes)
    below = sum(each.below_least_deviation for each in outcomes)
    console.print(f"Messages that an incident is open: {most} at most.")
    console.print(f"Notified below the least deviation of its entry: {below}.")


def simulate(seed: int, share: float) -> dict[Metric, tuple[Kind, Series]]:
    """Return the readings of all metrics, with what happens."""
    series = {}
    for number, kind in enumerate(KINDS):
        for position, (metric, dimensions) in enumerate(
            zip(kind.metrics, kind.dimensions, strict=True)
        ):
            if position >= max(round(share * len(kind.metrics)), 1):
                continue
            random = np.random.default_rng([seed, number, position])
            values = kind.simulate(random, dimensions)
            series[metric] = kind, with_happenings(metric, values)
    return series


def with_happenings(metric: Metric, values: Floats) -> Series:
    """Return the readings of a metric after what happens to it."""
    for each in HAPPENINGS:
        change = each.affects(metric)
        if change:
            part = (each.start <= TIMES) & (each.stop > TIMES)
            values[part] = change(values[part])
    is_there = ~np.isnan(values)
    return Series(TIMES[is_there], values[is_there])


def replayed(
    setting: Setting, series: Mapping[Metric, tuple[Kind, Series]], before: Outcome | None
) -> Outcome:
    """Run the watcher through all metrics in one setting."""
    entries = {
        kind.name: kind.options(
            has_rules=setting.has_rules,
            has_mutes=setting.has_mutes,
            is_grouped=setting.is_grouped,
        )
        for kind in KINDS
    }
    given = list(complaints(before)) if setting.has_feedback and before else []
    marks = by_metric(given)
    tasks = (
        delayed(replay_metric)(
            metric, entries[kind.name], each, START, STOP, marks.get(str(metric), NO_FEEDBACK)
        )
        for metric, (kind, each) in series.items()
    )
    replays: list[MetricReplay] = Parallel(n_jobs=os.cpu_count())(tasks)
    if setting.is_grouped:
        reports = chain.from_iterable(each.reports for each in replays)
        return Outcome(setting, notified(reports, entries, given, STOP), entries)
    alone = [notified(each.reports, entries, (), STOP) for each in replays]
    return Outcome(
        setting,
        Notified(
            incidents=[one for each in alone for one in each.incidents],
            messages=sum((each.messages for each in alone), start=Counter()),
        ),
        entries,
    )


def complaints(before: Outcome) -> Iterator[Feedback]:
    """Yield that whatever was for nothing in the first week was fine."""
    for incident in before.found.incidents:
        if incident.opened_at < MIDDLE and not is_of_a_happening(incident):
            marks: list[Mark] = [mark for mark in map(mark_of, incident.members) if mark]
            at_ = incident.opened_at + 15 * MINUTE
            yield Feedback(incident.id, "fine", "an operator", at_, None, marks)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return what people were notified of in each setting, in the first and in the second week."""
    result = new_table(
        "Two weeks of a shop: what people were notified of in the first / in the second",
        f"Found: of the {len(HAPPENINGS)} happenings that somebody should be woken for. The "
        "feedback is of the first week.",
        *("watch file", "messages", "incidents", "for nothing", "found"),
    )
    for each in outcomes:
        weeks = [each.counts(*week) for week in ((START, MIDDLE), (MIDDLE, STOP))]
        cells = [f"{one} / {other}" for one, other in zip(*weeks, strict=True)]
        result.add_row(each.setting.name, *cells)
    return result
