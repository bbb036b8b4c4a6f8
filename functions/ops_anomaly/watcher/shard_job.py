"""One look at metrics: what is new of them is read and judged, and incidents begin and end.

Shards of the fleet, each looked at by one watcher at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.aws.cloudwatch import Span, read_history
from ops_anomaly.aws.errors import ConflictError, RequestRefusedError
from ops_anomaly.aws.objects import state_key
from ops_anomaly.watcher.documents import ATTEMPTS, BusyError, VersionedDocument
from ops_anomaly.watcher.evaluation import periods_of
from ops_anomaly.watcher.fleet import shard_of
from ops_anomaly.watcher.incidents import Closed, Opened, advance_incident, close_reason
from ops_anomaly.watcher.notifications import notice_of
from ops_anomaly.watcher.state import (
    MetricState,
    ShardState,
    decode_shard_state,
    encode_shard_state,
)

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric, Readings
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.checkpoints import CheckpointCache, CheckpointStore, WarmDetector
    from ops_anomaly.watcher.evaluation import Evaluation, Evaluator
    from ops_anomaly.watcher.fleet import Watched
    from ops_anomaly.watcher.outbox import Channel
    from ops_anomaly.watcher.telemetry import Telemetry
    from ops_anomaly.watcher.watch_file import Options


MISSING = 3
"""A metric is missing if the last periods, so many, have no reading."""

MAX_SECONDS = 120.0
"""After so long judging ends, well before the function's time does."""

OnRefused = Callable[["Metric", Exception], None]


@dataclass(frozen=True)
class Seen:
    """What is new of one metric.

    Attributes
    ----------
    late : int
        Readings that came after their period had been asked for.
    """

    grid: MetricState
    judgement: Evaluation | None
    steps: Sequence[Opened | Closed]
    late: int


@dataclass(frozen=True)
class ShardEvaluation:
    """What a look found, before it is noted.

    Attributes
    ----------
    is_changed : bool
        Whether there is anything to note.
    steps : list of Opened or Closed
        Of all metrics, those that have left the fleet among them.
    scores : dict of Metric to float
        The last score of each metric that publishes it.
    missing : int
        Metrics without a reading in the last periods.
    postponed : int
        Metrics that are left for the next look, as time ran out.
    """

    memory: ShardState
    is_changed: bool
    seen: Mapping[Metric, Seen]
    steps: Sequence[Opened | Closed]
    scores: Mapping[Metric, float]
    missing: int
    postponed: int

    @property
    def late(self) -> int:
        """Readings that came after their period had been asked for."""
        return sum(each.late for each in self.seen.values())

    @property
    def followed(self) -> int:
        """How many readings detectors had to follow before the fresh ones."""
        return sum(each.judgement.followed for each in self.seen.values() if each.judgement)

    @property
    def places(self) -> dict[str, WarmDetector]:
        """Where the detectors have got to, by metric."""
        return {
            str(metric): each.judgement.place
            for metric, each in self.seen.items()
            if each.judgement and each.judgement.place
        }


def look(
    memory: ShardState,
    fleet: Sequence[Watched],
    cloudwatch: Callable[[], Any],
    judge: Evaluator,
    clock: Callable[[], float],
    on_refused: OnRefused,
) -> ShardEvaluation:
    """Look at the metrics of a fleet.

    Parameters
    ----------
    memory
        What was known of them.
    cloudwatch
        Returns a client of boto3; called if something is due.
    clock
        Seconds since 1970.
    on_refused
        Called with a metric that CloudWatch refuses, and its error; the others are looked at.

    Raises
    ------
    ServiceError
        If CloudWatch does not answer.
    """
    now = clock()
    options = {metric: watched.options for watched in fleet for metric in watched.metrics}
    grids = {
        metric: memory.grids.get(str(metric)) or MetricState.nothing(metric) for metric in options
    }
    spans = [
        Span(metric, *due)
        for metric, grid in grids.items()
        if (due := grid.span(now, periods_of(options[metric].history_days, metric.period)))
    ]
    # what is new to the watcher takes longest: it comes last, and what is left of it, next time
    spans.sort(key=lambda span: len(grids[span.metric].values) == 0)
    seen: dict[Metric, Seen] = {}
    postponed = 0
    read = list(read_each(cloudwatch, spans, on_refused))
    began = clock()
    for span, readings in read:
        if clock() - began > MAX_SECONDS:
            postponed += 1
            continue
        own = options[span.metric]
        seen[span.metric] = look_at(grids[span.metric], readings, span.end, own, judge)
    grids |= {metric: each.grid for metric, each in seen.items()}
    left = [grid for grid in memory.grids.values() if grid.metric not in options]
    steps = [(metric, step) for metric, each in seen.items() for step in each.steps]
    steps += [
        (grid.metric, Closed(grid.course.incident, "no longer watched"))
        for grid in left
        if grid.course.incident
    ]
    return ShardEvaluation(
        memory=ShardState(
            {str(metric): grid for metric, grid in grids.items() if len(grid.values)},
            (*memory.outbox, *(notice_of(step, metric, now) for metric, step in steps)),
        ),
        is_changed=bool(seen or left),
        seen=seen,
        steps=[step for _, step in steps],
        scores={
            metric: float(each.judgement.detection.scores[-1])
            for metric, each in seen.items()
            if each.judgement and options[metric].score_metric
        },
        missing=sum(bool(np.isnan(grid.values[-MISSING:]).all()) for grid in grids.values()),
        postponed=postponed,
    )


def look_at(
    before: MetricState, readings: Readings, end: int, options: Options, judge: Evaluator
) -> Seen:
    """Put what is new of a metric into its grid, judge it, and say what began or ended.

    Parameters
    ----------
    readings
        What CloudWatch has up to `end`, in seconds since 1970.
    """
    slots = periods_of(options.history_days, before.metric.period)
    grid, is_fresh = before.noted(readings, end, slots)
    late = int((grid.readings[0][is_fresh] < before.end).sum()) if len(before.values) else 0
    judgement = judge.judge(grid, is_fresh, options)
    steps: list[Opened | Closed] = []
    if judgement:
        course, steps = advance_incident(grid.course, grid.metric, judgement)
        grid = replace(grid, course=course)
    grid, ended = ended_if_over(grid)
    return Seen(grid, judgement, [*steps, *ended], late)


def ended_if_over(grid: MetricState) -> tuple[MetricState, list[Closed]]:
    """End a metric's incident if nothing anomalous was read for a while."""
    incident = grid.course.incident
    if incident is None:
        return grid, []
    times, _ = grid.readings
    last_reading = int(times[-1]) if len(times) else 0
    because = close_reason(incident, grid.metric.period, grid.end, last_reading)
    if because is None:
        return grid, []
    return replace(grid, course=replace(grid.course, incident=None)), [Closed(incident, because)]


def read_each(
    cloudwatch: Callable[[], Any], spans: Sequence[Span], on_refused: OnRefused
) -> Iterator[tuple[Span, Readings]]:
    """Read series; where CloudWatch refuses a call, find the metric that it is about."""
    if not spans:
        return
    try:
        yield from list(read_history(cloudwatch(), spans))
    except RequestRefusedError as error:
        if len(spans) == 1:
            on_refused(spans[0].metric, error)
            return
        middle = len(spans) // 2
        yield from read_each(cloudwatch, spans[:middle], on_refused)
        yield from read_each(cloudwatch, spans[middle:], on_refused)


LEASE_SECONDS = 270
"""More than the function may run, and less than it takes to the next tick."""


MANY_UPDATED = 64
"""Readings a metric that had to be followed again, beyond which the shelf is out of date."""


@dataclass(frozen=True)
class ShardReport:
    """What a look has to report, in counts; the last score of each metric that publishes it."""

    watched: int
    opened: int
    closed: int
    late: int
    missing: int
    postponed: int
    pending: int
    scores: dict[Metric, float] = field(default_factory=dict)


class ShardRunner:
    """Looks at shards of the fleet.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        judge: Evaluator,
        places: CheckpointCache,
        shelf: CheckpointStore,
        channels: Sequence[Channel],
        reporter: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._judge = judge
        self._places = places
        self._shelf = shelf
        self._channels = channels
        self._reporter = reporter
        self._clock = clock

    def look(self, of: int, number: int, fleet: Sequence[Watched]) -> ShardReport:
        """Read what is new of the shard's metrics, judge it, and tell what began or ended.

        Parameters
        ----------
        of, number : int
            Into how many shards the fleet is cut, and which one this is.
        fleet
            The shard's metrics, by entry.

        Raises
        ------
        ServiceError, StoreUnavailableError, BusyError
            If it could not be done: a retry does what is left to do.
        """
        notebook = self._notebook(of, number)
        for _ in range(ATTEMPTS):
            page = notebook.open()
            if page.is_unreadable:
                self._reporter.state_rebuilt(notebook.key)
            known = self._inherited(of, number) if page.is_new else page.state
            self._warm_up(of, number, known)
            looked = look(
                known, fleet, self._cloudwatch, self._judge, self._clock, self._reporter.refused
            )
            if not looked.is_changed and not looked.memory.outbox:
                return tally(looked, 0)  # nothing is due, as after a retry
            try:
                after = notebook.commit_and_deliver(
                    page, looked.memory, self._channels, self._clock, self._reporter.given_up
                )
            except ConflictError:
                continue  # another watcher has looked: see what it has left to do
            self._keep(of, number, looked)
            return tally(looked, len(after.outbox))
        raise BusyError(f"{notebook.key}: others keep writing it")

    def _warm_up(self, of: int, number: int, known: ShardState) -> None:
        """Take from the shelf where the detectors have got to, if most of it is not known here."""
        cold = sum(metric not in self._places for metric in known.grids)
        if 2 * cold > len(known.grids):
            for metric, place in self._shelf.take(of, number).items():
                if metric not in self._places:
                    self._places.keep(metric, place)

    def _keep(self, of: int, number: int, looked: ShardEvaluation) -> None:
        """Keep where the detectors have got to; if that took long, let others go on from there."""
        for metric, place in looked.places.items():
            self._places.keep(metric, place)
        if looked.followed > MANY_UPDATED * len(looked.memory.grids):
            self._shelf.leave(of, number, looked.places)

    def _notebook(self, of: int, number: int) -> VersionedDocument[ShardState]:
        return VersionedDocument(
            self._store,
            state_key(of, number),
            ShardState(),
            decode_shard_state,
            encode_shard_state,
            LEASE_SECONDS,
        )

    def _inherited(self, of: int, number: int) -> ShardState:
        """Return what is known of a new shard's metrics by the one that it was cut from."""
        half = of // 2
        while half:
            page = self._notebook(half, number % half).open()
            if not page.is_new:
                own = {
                    key: grid
                    for key, grid in page.state.grids.items()
                    if shard_of(grid.metric, of) == number
                }
                return ShardState(own, page.state.outbox if number < half else ())
            half //= 2
        return ShardState()


def tally(looked: ShardEvaluation, pending: int) -> ShardReport:
    """Count what a look found, and what waits to be told."""
    opened = sum(isinstance(step, Opened) for step in looked.steps)
    return ShardReport(
        watched=len(looked.memory.grids),
        opened=opened,
        closed=len(looked.steps) - opened,
        late=looked.late,
        missing=looked.missing,
        postponed=looked.postponed,
        pending=pending,
        scores=dict(looked.scores),
    )
