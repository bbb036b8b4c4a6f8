"""One evaluation of a shard of the fleet: read what is due, evaluate it, commit, deliver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.aws.cloudwatch import Span, read_history
from ops_anomaly.aws.errors import ConflictError, RequestRefusedError
from ops_anomaly.aws.objects import state_key
from ops_anomaly.watcher.fleet import shard_of
from ops_anomaly.watcher.incidents import Closed, Opened
from ops_anomaly.watcher.notifications import incident_notification
from ops_anomaly.watcher.outbox import ATTEMPTS, BusyError, VersionedDocument
from ops_anomaly.watcher.state import (
    MetricState,
    ShardState,
    decode_shard_state,
    encode_shard_state,
    periods_of,
)
from ops_anomaly.watcher.telemetry import ShardReport

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.detection.types import Series
    from ops_anomaly.watcher.evaluation import Evaluator, MetricEvaluation
    from ops_anomaly.watcher.fleet import Watched
    from ops_anomaly.watcher.outbox import Channel
    from ops_anomaly.watcher.state import Checkpoint, CheckpointCache, CheckpointStore
    from ops_anomaly.watcher.telemetry import Telemetry
    from ops_anomaly.watcher.watch_file import Options


MISSING_PERIODS = 3
"""A metric is missing if its last periods, so many, have no reading."""

MAX_EVALUATION_MS = 120_000
"""After so long no further metric is evaluated: the function's timeout is twice that."""

LEASE_MS = 270_000
"""More than the function may run, and less than it takes to the next tick."""

MANY_REPLAYED = 64
"""Replayed readings a metric beyond which the checkpoints in the bucket are out of date."""

OnRefused = Callable[["Metric", Exception], None]


class ShardRunner:
    """Evaluates shards of the fleet; several may run in parallel, even of the same shard.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Milliseconds since 1970.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        evaluator: Evaluator,
        cache: CheckpointCache,
        checkpoints: CheckpointStore,
        channels: Sequence[Channel],
        telemetry: Telemetry,
        clock: Callable[[], int],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._evaluator = evaluator
        self._cache = cache
        self._checkpoints = checkpoints
        self._channels = channels
        self._telemetry = telemetry
        self._clock = clock

    def run(self, of: int, shard: int, fleet: Sequence[Watched]) -> ShardReport:
        """Evaluate what is new of a shard's metrics, and notify of what opened or closed.

        Parameters
        ----------
        of, shard : int
            Into how many shards the fleet is divided, and which one this is.
        fleet
            The shard's metrics, by entry.

        Raises
        ------
        ServiceError, StoreUnavailableError, BusyError
            If it could not be done: a retry does what is left to do.
        """
        document = self._document(of, shard)
        for _ in range(ATTEMPTS):
            snapshot = document.snapshot()
            if snapshot.is_corrupt:
                self._telemetry.state_rebuilt(document.key)
            state = self._inherited(of, shard) if snapshot.is_new else snapshot.state
            self._load_checkpoints(of, shard, state)
            evaluation = evaluate_shard(
                state,
                fleet,
                self._cloudwatch,
                self._evaluator,
                self._clock,
                self._telemetry.refused,
            )
            if not evaluation.is_changed and not evaluation.state.outbox:
                return _report(evaluation, 0)  # nothing is due, as after a retry
            try:
                after = document.commit_and_deliver(
                    snapshot,
                    evaluation.state,
                    self._channels,
                    self._clock,
                    self._telemetry.expired,
                )
            except ConflictError:
                continue  # another instance has evaluated it: see what is left to do
            self._keep_checkpoints(of, shard, evaluation)
            return _report(evaluation, len(after.outbox))
        raise BusyError(f"{document.key} is being written by others")

    def _document(self, of: int, shard: int) -> VersionedDocument[ShardState]:
        return VersionedDocument(
            self._store,
            state_key(of, shard),
            ShardState(),
            decode_shard_state,
            encode_shard_state,
            LEASE_MS,
        )

    def _inherited(self, of: int, shard: int) -> ShardState:
        """Return a new shard's part of the state of the shard that it was split from."""
        half = of // 2
        while half:
            snapshot = self._document(half, shard % half).snapshot()
            if not snapshot.is_new:
                metrics = {
                    key: state
                    for key, state in snapshot.state.metrics.items()
                    if shard_of(state.metric, of) == shard
                }
                return ShardState(metrics, snapshot.state.outbox if shard < half else ())
            half //= 2
        return ShardState()

    def _load_checkpoints(self, of: int, shard: int, state: ShardState) -> None:
        """Take checkpoints from the bucket if this instance has few of the shard's metrics."""
        unknown = sum(metric not in self._cache for metric in state.metrics)
        if 2 * unknown > len(state.metrics):
            for metric, checkpoint in self._checkpoints.read(of, shard).items():
                if metric not in self._cache:
                    self._cache.put(metric, checkpoint)

    def _keep_checkpoints(self, of: int, shard: int, evaluation: ShardEvaluation) -> None:
        """Keep checkpoints for the next evaluation; if they took long, for other instances too."""
        checkpoints = evaluation.checkpoints
        for metric, checkpoint in checkpoints.items():
            self._cache.put(metric, checkpoint)
        if evaluation.replayed > MANY_REPLAYED * len(evaluation.state.metrics):
            self._checkpoints.write(of, shard, checkpoints)


@dataclass(frozen=True)
class ShardEvaluation:
    """An evaluation of a shard, before it is committed.

    Attributes
    ----------
    is_changed : bool
        Whether there is anything to commit.
    transitions : list of Opened or Closed
        Of all metrics, those that have left the fleet among them.
    scores : dict of Metric to float
        The last score of each metric that publishes it.
    missing : int
        Metrics without a reading in the last periods.
    postponed : int
        Metrics left for the next evaluation, as time ran out.
    """

    state: ShardState
    is_changed: bool
    metrics: Mapping[Metric, MetricEvaluation]
    transitions: Sequence[Opened | Closed]
    scores: Mapping[Metric, float]
    missing: int
    postponed: int

    @property
    def late(self) -> int:
        """Readings that came after their period had been read."""
        return sum(each.late for each in self.metrics.values())

    @property
    def replayed(self) -> int:
        """Earlier readings that detectors had to be updated with first."""
        return sum(each.update.replayed for each in self.metrics.values() if each.update)

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """The detectors' checkpoints, by metric."""
        return {
            str(metric): each.update.checkpoint
            for metric, each in self.metrics.items()
            if each.update
        }


def evaluate_shard(
    state: ShardState,
    fleet: Sequence[Watched],
    cloudwatch: Callable[[], Any],
    evaluator: Evaluator,
    clock: Callable[[], int],
    on_refused: OnRefused,
) -> ShardEvaluation:
    """Read what is due of a shard's metrics, and evaluate it.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3; called if something is due.
    clock
        Milliseconds since 1970.
    on_refused
        Called with a metric that CloudWatch refuses, and its error; the others are evaluated.

    Raises
    ------
    ServiceError
        If CloudWatch does not respond.
    """
    now = clock()
    options = {metric: watched.options for watched in fleet for metric in watched.metrics}
    before = {
        metric: state.metrics.get(str(metric)) or MetricState.empty(metric) for metric in options
    }
    readings = list(_read(cloudwatch, _due(before, options, now), on_refused))
    evaluations = _evaluate(readings, before, options, evaluator, clock)
    after = before | {metric: each.state for metric, each in evaluations.items()}
    unwatched = [each for each in state.metrics.values() if each.metric not in options]
    transitions = [
        *((metric, each) for metric, found in evaluations.items() for each in found.transitions),
        *(
            (each.metric, Closed(each.incidents.incident, "no longer watched"))
            for each in unwatched
            if each.incidents.incident
        ),
    ]
    notifications = [incident_notification(each, metric, now) for metric, each in transitions]
    return ShardEvaluation(
        state=ShardState(
            {str(metric): each for metric, each in after.items() if len(each.values)},
            (*state.outbox, *notifications),
        ),
        is_changed=bool(evaluations or unwatched),
        metrics=evaluations,
        transitions=[each for _, each in transitions],
        scores={
            metric: float(each.update.evaluation.detection.scores[-1])
            for metric, each in evaluations.items()
            if each.update and options[metric].score_metric
        },
        missing=sum(bool(np.isnan(s.values[-MISSING_PERIODS:]).all()) for s in after.values()),
        postponed=len(readings) - len(evaluations),
    )


def _evaluate(
    readings: Sequence[tuple[Span, Series]],
    before: Mapping[Metric, MetricState],
    options: Mapping[Metric, Options],
    evaluator: Evaluator,
    clock: Callable[[], int],
) -> dict[Metric, MetricEvaluation]:
    """Evaluate one metric after the other, as long as there is time."""
    evaluations: dict[Metric, MetricEvaluation] = {}
    began = clock()
    for span, series in readings:
        if clock() - began > MAX_EVALUATION_MS:
            break
        evaluations[span.metric] = evaluator.evaluate_metric(
            before[span.metric], series, 1000 * span.end, options[span.metric]
        )
    return evaluations


def _due(
    states: Mapping[Metric, MetricState], options: Mapping[Metric, Options], now: int
) -> list[Span]:
    """Return what to read of each metric, in seconds as CloudWatch has it; new metrics last.

    Those take longest, and may be left for the next evaluation.
    """
    spans = []
    for metric, state in states.items():
        due = state.due(now, periods_of(options[metric].history_days, metric.period))
        if due:
            start, end = due
            spans.append(Span(metric, start // 1000, end // 1000))
    return sorted(spans, key=lambda span: len(states[span.metric].values) == 0)


def _read(
    cloudwatch: Callable[[], Any], spans: Sequence[Span], on_refused: OnRefused
) -> Iterator[tuple[Span, Series]]:
    """Read metrics; if CloudWatch refuses a call, find the metric that it is about."""
    if not spans:
        return
    try:
        yield from list(read_history(cloudwatch(), spans))
    except RequestRefusedError as error:
        if len(spans) == 1:
            on_refused(spans[0].metric, error)
            return
        middle = len(spans) // 2
        yield from _read(cloudwatch, spans[:middle], on_refused)
        yield from _read(cloudwatch, spans[middle:], on_refused)


def _report(evaluation: ShardEvaluation, pending: int) -> ShardReport:
    opened = sum(isinstance(each, Opened) for each in evaluation.transitions)
    return ShardReport(
        watched=len(evaluation.state.metrics),
        opened=opened,
        closed=len(evaluation.transitions) - opened,
        late=evaluation.late,
        missing=evaluation.missing,
        postponed=evaluation.postponed,
        pending=pending,
        scores=dict(evaluation.scores),
    )
