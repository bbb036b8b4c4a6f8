"""`python -m benchmarks fleet`: what a large fleet costs the watcher, and whether it gets it right.

Two parts. The processor time of a shard job of 400 metrics over fakes in memory: what AWS's clients
and networks cost is not included. And hours of a fleet in simulated time, on an AWS that is late,
throttles, lists incompletely, loses responses and ends functions: of each machine that runs away or
fails, people must be notified once, alone or with others, and once of its end; and of no other.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from local.stack import isolate_from_aws
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import FLEET_KEY, INCIDENTS_KEY, WATCH_KEY
from ops_anomaly.detection.artifact import pack
from ops_anomaly.watcher.fleet import SHARD_SIZE, Fleet
from ops_anomaly.watcher.incident_job import decode_incidents
from ops_anomaly.watcher.watch_file import Options, parse_watch_file, write_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeStore
from tests.support.simulated_lambda import DeadlineClock, FifoQueue, LossyStore, SimulatedLambda
from tests.support.unkind_clients import Fault, Recorder, unkind
from tests.support.unkind_cloudwatch import UnkindCloudWatch
from tests.support.watcher import (
    NOON,
    TIMEOUT_MS,
    WallClock,
    machines,
    make_watcher,
    shard_event,
    stored_fleet,
)
from training.candidates.contextual import fit_contextual
from training.console import new_table, show_progress
from training.sources import simulate_ec2_cpu

if TYPE_CHECKING:
    from ops_anomaly.watcher.incidents import IncidentBoard
    from ops_anomaly.watcher.service import Watcher


OnTick = Callable[[str, int, int], None]

MODEL = "ec2-cpu"
PERIOD = 300
TICKS = 6
HISTORY = 288


def fleet(
    machines: Annotated[
        int, typer.Option(min=1, help="Machines of the fleet in simulated time.")
    ] = 2_000,
    runaways: Annotated[int, typer.Option(min=0, help="How many of them have an incident.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is left to chance.")] = 1,
) -> None:
    """Measure a shard job of 400 metrics, then watch a fleet on an AWS that is unkind."""
    console = Console()
    isolate_from_aws()
    os.environ.update(POWERTOOLS_METRICS_DISABLED="true", POWERTOOLS_LOG_LEVEL="CRITICAL")
    console.print(processor_table(console))
    console.print(f"{machines:,} machines for five hours, {runaways} incidents ...")
    with show_progress(console) as on_progress:
        outcome = watch_fleet(machines, runaways, seed=seed, on_tick=on_progress)
    show_outcome(outcome, console)
    raise typer.Exit(not outcome.is_right)


def show_outcome(outcome: Outcome, console: Console) -> None:
    """Print how a fleet was watched."""
    missed = outcome.injected.keys() - outcome.opened.keys()
    others = outcome.opened.keys() - outcome.injected.keys()
    twice = [name for name, times in outcome.opened.items() if times > 1]
    console.print(
        f"{outcome.shards} shards, {outcome.invocations} invocations, {outcome.failures} failed, "
        f"{outcome.timeouts} ended by their timeout; {outcome.throttled} calls throttled, "
        f"{outcome.lost_responses} responses lost; {outcome.seconds:.0f} s.\n"
        f"Machines that people were notified of: {outcome.opened.total()} of "
        f"{outcome.injected.total()}, in {outcome.incidents} incidents and "
        f"{outcome.messages.total()} messages. "
        f"Missed: {len(missed)}. Twice: {len(twice)}. For nothing: {len(others)}. "
        f"Withdrawn: {outcome.withdrawn.total()}. Closed: {outcome.closed.total()}."
    )


def processor_table(console: Console) -> Table:
    """Measure a shard job of each kind of fleet, and return the processor times."""
    model = fit_contextual(simulate_ec2_cpu().part(0, 2_016), 42).detector
    artifact = pack(model, MODEL, libraries={}, training_data={"readings": 2_016}, figures={})
    table = new_table(
        f"Processor time of a shard job of {SHARD_SIZE} metrics",
        "OPENBLAS_NUM_THREADS=1 makes it the time of one core.",
        *("history of each metric", "model", "first job", "later jobs", "new instance"),
    )
    cases = [ShardCase(n, has_model=m) for n in (288, 4_032) for m in (False, True)]
    with show_progress(console) as on_progress:
        for number, case in enumerate(cases):
            on_progress("Shard jobs", number, len(cases))
            first, later, cold = case.processor_seconds(artifact)
            table.add_row(
                f"{case.readings:,} readings",
                "yes" if case.has_model else "no",
                f"{first:.2f} s",
                f"{statistics.median(later):.2f} s ({min(later):.2f} to {max(later):.2f})",
                f"{cold:.2f} s",
            )
    return table


@dataclass(frozen=True)
class ShardCase:
    """A shard in memory: how many readings each metric has, and whether a model evaluates it."""

    readings: int
    has_model: bool

    @property
    def options(self) -> Options:
        """The entry of the watch file."""
        days = max(round(self.readings * PERIOD / 86_400), 1)
        return Options(name="all", model=MODEL if self.has_model else None, history_days=days)

    def processor_seconds(self, artifact: bytes) -> tuple[float, list[float], float]:
        """Return the processor time of the first job, of later ones, and of a new instance's."""
        store, cloudwatch, clock = FakeStore(), FakeCloudWatch(), WallClock()
        store.put_model(MODEL, artifact)
        metrics = machines(SHARD_SIZE, PERIOD)
        store.objects[FLEET_KEY] = stored_fleet(metrics, self.options)
        random = np.random.default_rng(1)
        begin = NOON - self.readings * PERIOD
        by_day = 10.0 * np.sin(np.arange(self.readings + TICKS) * 2 * np.pi / 288)
        for metric in metrics:
            cloudwatch.put(metric, begin, 30.0 + by_day + random.normal(0.0, 1.0, len(by_day)))
        clients = {"cloudwatch": cloudwatch, "events": Recorder(), "sns": Recorder()}
        watcher = make_watcher(store, clients.__getitem__, clock)
        spent = []
        for tick in range(TICKS):
            if tick == TICKS - 1:  # another instance of the function, with nothing in memory
                watcher = make_watcher(store, clients.__getitem__, clock)
            clock.seconds = NOON + tick * PERIOD + 90.0
            event = shard_event(0, clock)
            began = time.process_time()
            watcher.dispatch(event, lambda: TIMEOUT_MS)
            spent.append(time.process_time() - began)
        return spent[0], spent[1:-1], spent[-1]


@dataclass(frozen=True)
class Outcome:
    """How a fleet was watched.

    Attributes
    ----------
    injected : Counter of str
        The machines that run away, or whose requests fail to come.
    opened, closed, withdrawn : Counter of str
        How often people were notified of each machine, alone or with others.
    incidents : int
        How many incidents these are.
    messages : Counter of str
        How often each message came.
    lost_responses, throttled, failures, timeouts : int
        What went wrong on the way.
    """

    machines: int
    shards: int
    invocations: int
    seconds: float
    injected: Counter[str]
    opened: Counter[str]
    closed: Counter[str]
    withdrawn: Counter[str]
    incidents: int
    messages: Counter[str]
    lost_responses: int
    throttled: int
    failures: int
    timeouts: int
    dead_letters: int

    @property
    def is_right(self) -> bool:
        """Whether people were notified of each machine once, and once of its end, and no more."""
        is_once = set(self.messages.values()) <= {1}
        is_all = self.opened == self.closed == self.injected
        return is_all and is_once and self.messages.total() == 2 * self.incidents


def watch_fleet(
    machines: int,
    runaways: int,
    *,
    hours: int = 5,
    seed: int = 1,
    history_days: int = 1,
    timeout_ms: int = TIMEOUT_MS,
    on_tick: OnTick = lambda *_: None,
) -> Outcome:
    """Watch a fleet for some hours while everything around it is as unkind as AWS can be.

    Every other machine reports the mean of its CPU, the others the sum of their requests. Some run
    away for 40 minutes, and of some the requests fail to come. A tenth of the fleet joins later.
    """
    clock = DeadlineClock(NOON)
    cloudwatch, store = UnkindCloudWatch(clock, seed), LossyStore(clock, seed)
    queue, bus, topic = FifoQueue(clock, seed=seed), Recorder(), Recorder()
    injected = put_truth(cloudwatch, machines, runaways, hours, seed)
    selectors = [selector_of(statistic, history_days) for statistic in ("Average", "Sum")]
    watch_file = parse_watch_file({"version": 1, "selectors": selectors})
    store.put(WATCH_KEY, write_watch_file(watch_file))
    clients = {
        "cloudwatch": cloudwatch,
        "sqs": unkind(queue, chance(seed, 0.9, "refuse some", "throttle", "response is lost")),
        "events": unkind(bus, chance(seed, 0.8, "refuse some", "throttle", "response is lost")),
        # whom a message reaches whose response is lost gets it a second time
        "sns": unkind(topic, chance(seed, 0.8, "refuse some", "throttle")),
    }

    def new_instance() -> Watcher:
        return make_watcher(store, clients.__getitem__, clock, sleep=clock.advance)

    function = SimulatedLambda(clock, queue, new_instance, timeout_ms=timeout_ms, seed=seed)
    began = time.perf_counter()
    ticks = hours * 3_600 // PERIOD
    for tick in range(ticks):
        function.tick(NOON + tick * PERIOD + 60)
        for minute in range(PERIOD // 60):
            function.tick_of_incidents(NOON + tick * PERIOD + 60 * minute + 75)
        on_tick("Evaluations of the fleet", tick, ticks)
    notified = {kind: incidents_of(bus.taken, kind) for kind in ("Opened", "Closed")}
    board = decode_incidents(store.objects[INCIDENTS_KEY].data).board
    fleet = msgspec.json.decode(store.objects[FLEET_KEY].data, type=Fleet)
    return Outcome(
        machines=machines,
        shards=fleet.shards,
        invocations=function.invocations,
        seconds=time.perf_counter() - began,
        injected=injected,
        opened=machines_of(board, notified["Opened"]),
        closed=machines_of(board, notified["Closed"]),
        withdrawn=machines_of(board, notified["Closed"], "withdrawn"),
        incidents=len(notified["Opened"]),
        messages=Counter(each["Message"] for each in topic.taken),
        lost_responses=store.lost,
        throttled=cloudwatch.throttled,
        failures=function.failures,
        timeouts=function.timeouts,
        dead_letters=len(queue.dead_letters),
    )


def chance(seed: int, share_of_none: float, *faults: Fault) -> Iterator[Fault]:
    """Yield faults by chance, one for each call."""
    random = np.random.default_rng(seed)
    while True:
        is_none = random.random() < share_of_none
        yield "none" if is_none else faults[int(random.integers(len(faults)))]


def incidents_of(events: Iterable[Mapping[str, Any]], kind: str) -> set[str]:
    """Return the incidents that have opened or closed by the events; some events come twice."""
    of_kind = (each for each in events if each["DetailType"] == f"Incident {kind}")
    return {json.loads(each["Detail"])["id"] for each in of_kind}


def machines_of(
    board: IncidentBoard, incidents: Container[str], reason: str | None = None
) -> Counter[str]:
    """Return how many anomalies each machine had in these incidents, which ended for a reason."""
    return Counter(
        dict(Metric.parse(member.metric).dimensions)["InstanceId"]
        for incident in board.incidents
        if incident.id in incidents
        for member in incident.members
        if reason in (None, member.close_reason)
    )


def selector_of(statistic: str, history_days: int) -> dict[str, Any]:
    """Return the entry of the watch file for the machines with a statistic."""
    return {
        "name": statistic.lower(),
        "namespace": f"Fleet/{statistic}",
        "metric": "*",
        "dimensions": {"InstanceId": "*"},
        "statistic": statistic,
        "period": PERIOD,
        "history_days": history_days,
        "sensitivity": 0.02,
    }


def put_truth(
    cloudwatch: UnkindCloudWatch, machines: int, runaways: int, hours: int, seed: int
) -> Counter[str]:
    """Put what all periods come to in the end; return the machines with an incident."""
    random = np.random.default_rng(seed)
    after = hours * 3_600 // PERIOD
    chosen = set(random.choice(machines * 9 // 10, runaways, replace=False).tolist())
    injected: Counter[str] = Counter()
    for number in range(machines):
        instance = f"i-{number:05}"
        is_late = number >= machines * 9 // 10
        start = NOON + 3_600 if is_late else NOON - HISTORY * PERIOD
        periods = after + (-3_600 // PERIOD if is_late else HISTORY)
        statistic, level, noise = ("Sum", 900.0, 0.03) if number % 2 else ("Average", 30.0, 0.02)
        values = level * random.normal(1.0, noise, periods)
        if number in chosen:
            first = HISTORY + int(random.integers(12, after - 24))
            values[first : first + 8] = level * (0.05 if number % 4 == 1 else 3.2)
            injected[instance] += 1
        dimensions = (("InstanceId", instance),)
        metric = Metric(f"Fleet/{statistic}", "Load", dimensions, statistic, PERIOD)
        cloudwatch.truth[metric] = start, values
    return injected
