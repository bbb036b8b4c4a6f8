"""One evaluation of a shard of the fleet: read what is due, evaluate it, commit, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ops_anomaly.aws.cloudwatch import Span, calls_for, read_history
from ops_anomaly.aws.errors import AwsError, CorruptFeedbackError, RequestRefusedError
from ops_anomaly.aws.objects import FEEDBACK_KEY, CachedObject, anomalies_key, state_key
from ops_anomaly.watcher.anomalies import Closed, Opened, ReportedAnomaly
from ops_anomaly.watcher.evaluation import evaluate_metric, settle_seconds
from ops_anomaly.watcher.feedback import NO_FEEDBACK, by_metric
from ops_anomaly.watcher.feedback_file import decode_feedback
from ops_anomaly.watcher.incidents import REPORTED_MS, encode_reported
from ops_anomaly.watcher.outbox import VersionedDocument
from ops_anomaly.watcher.state import (
    CheckpointCache,
    MetricState,
    ShardState,
    decode_shard_state,
    encode_shard_state,
)
from ops_anomaly.watcher.telemetry import ShardReport
from ops_anomaly.watcher.watch_file import PER_METRIC, model_of, periods_of

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.aws.models import LoadedModel, ModelRegistry
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.detection.types import Series
    from ops_anomaly.watcher.evaluation import MetricEvaluation
    from ops_anomaly.watcher.feedback import MetricFeedback
    from ops_anomaly.watcher.fleet import FleetList
    from ops_anomaly.watcher.outbox import Snapshot
    from ops_anomaly.watcher.state import Checkpoint, CheckpointStore
    from ops_anomaly.watcher.telemetry import Telemetry
    from ops_anomaly.watcher.watch_file import Options


MISSING_PERIODS = 3
"""A metric is missing if its last periods, so many, have no reading."""

RESERVE_MS = 60_000
"""With less time left nothing more is read or evaluated: what has been is committed, delivered, and
its checkpoints are kept, each of which the bucket may delay."""

MANY_REPLAYED = 64
"""Replayed readings a metric beyond which the checkpoints in the bucket are out of date."""


@dataclass
class _Outcome:
    """What a job has come to so far."""

    evaluations: dict[Metric, MetricEvaluation] = field(default_factory=dict)
    transitions: list[Opened | Closed] = field(default_factory=list)

    @property
    def replayed(self) -> int:
        """Earlier readings that detectors had to be updated with first."""
        return sum(each.update.replayed for each in self.evaluations.values() if each.update)


class ShardRunner:
    """Evaluates shards of the fleet; each by one instance of the function at a time.

    What one call of GetMetricData returns is evaluated and committed before the next call: a job
    that runs out of time, or that CloudWatch throttles, leaves the rest to the next.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Milliseconds since 1970.
    datapoints_per_second : float
        This instance's part of CloudWatch's quota.
    sleep
        Waits for so many seconds.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        fleet: FleetList,
        models: ModelRegistry,
        checkpoints: CheckpointStore,
        telemetry: Telemetry,
        clock: Callable[[], int],
        datapoints_per_second: float,
        sleep: Callable[[float], None],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._fleet = fleet
        self._models = models
        self._cache = CheckpointCache()
        self._checkpoints = checkpoints
        self._feedback = CachedObject(store, FEEDBACK_KEY, decode_feedback)
        self._telemetry = telemetry
        self._clock = clock
        self._datapoints_per_second = datapoints_per_second
        self._last_reports: dict[int, list[ReportedAnomaly]] = {}
        self._sleep = sleep

    def run(self, shard: int, remaining_ms: Callable[[], int]) -> ShardReport | None:
        """Evaluate what is new of a shard's metrics, and report the anomalies that they have.

        Parameters
        ----------
        remaining_ms
            Returns how long the function may still run.

        Returns
        -------
        ShardReport or None
            None without a list of the fleet: the next tick makes one.

        Raises
        ------
        ServiceError, StoreUnavailableError, ConflictError
            If it could not be done, or not wholly: a retry does what is left to do.
        """
        fleet = self._fleet.read()
        if fleet is None:
            return None
        watched = fleet.shard(shard)
        document = VersionedDocument(
            self._store, state_key(shard), ShardState(), decode_shard_state, encode_shard_state
        )
        snapshot = document.read()
        if snapshot.is_corrupt:
            self._telemetry.state_rebuilt(document.key)
        if not snapshot.state.metrics:  # it was lost: what was reported is so no longer
            self._last_reports.pop(shard, None)
        self._load_checkpoints(shard, snapshot.state)
        # one time for the whole job: what is due, and what is noted as read
        outcome, now = _Outcome(), self._clock()
        due = _due(snapshot.state, watched, now)
        snapshot = self._close_unwatched(document, snapshot, watched, outcome)
        shared = self._load_shared_models(watched.values())
        feedback = self._read_feedback()
        next_call = now
        for spans in calls_for(due):
            wait_ms = max(next_call - self._clock(), 0)
            if remaining_ms() - wait_ms < RESERVE_MS:
                break
            if wait_ms:
                self._sleep(wait_ms / 1000)
            next_call = self._clock() + self._quota_ms(spans)
            readings = list(_read(self._cloudwatch(), spans, self._telemetry.refused))
            models = self._load_models(watched, [span.metric for span, _ in readings], shared)
            found = self._evaluate(
                snapshot.state, readings, now, watched, models, feedback, remaining_ms
            )
            snapshot = self._commit(document, snapshot, found)
            outcome.evaluations |= found
            outcome.transitions += [each for one in found.values() for each in one.transitions]
        self._report_anomalies(shard, snapshot.state)
        if outcome.replayed > MANY_REPLAYED * len(snapshot.state.metrics):
            self._checkpoints.write(shard, _checkpoints_of(outcome.evaluations))
        return _report(snapshot.state, watched, due, outcome)

    def _load_checkpoints(self, shard: int, state: ShardState) -> None:
        """Take checkpoints from the bucket if this instance has few of the shard's metrics."""
        unknown = sum(metric not in self._cache for metric in state.metrics)
        if 2 * unknown > len(state.metrics):
            for metric, checkpoint in self._checkpoints.read(shard).items():
                if metric not in self._cache:
                    self._cache.put(metric, checkpoint)

    def _load_shared_models(self, options: Iterable[Options]) -> dict[str, LoadedModel]:
        """Return the models that entries name, each asked for once."""
        models = {}
        for name in sorted({each.model for each in options if each.model} - {PER_METRIC}):
            try:
                models[name] = self._models.get(name)
            except AwsError as error:
                self._telemetry.model_unavailable(name, error)
        return models

    def _load_models(
        self,
        watched: Mapping[Metric, Options],
        metrics: Sequence[Metric],
        shared: Mapping[str, LoadedModel],
    ) -> dict[Metric, LoadedModel]:
        """Return the models of metrics: those of their own, or that their entries name.

        A metric that has no model of its own yet is evaluated by its own history.
        """
        names = {metric: str(model_of(watched[metric], metric)) for metric in metrics}
        own = [name for metric, name in names.items() if watched[metric].model == PER_METRIC]
        found = dict(shared)
        if own:
            found |= self._models.get_published(own, self._telemetry.model_unavailable)
        return {metric: found[name] for metric, name in names.items() if name in found}

    def _read_feedback(self) -> dict[str, MetricFeedback]:
        """Return what people have said of each metric; nothing if the file can't be read."""
        try:
            return by_metric(self._feedback.read() or [])
        except CorruptFeedbackError as error:
            self._telemetry.feedback_unreadable(error)
            return {}

    def _close_unwatched(
        self,
        document: VersionedDocument[ShardState],
        snapshot: Snapshot[ShardState],
        watched: Mapping[Metric, Options],
        outcome: _Outcome,
    ) -> Snapshot[ShardState]:
        """Forget metrics that have left the fleet."""
        state, now = snapshot.state, self._clock()
        left = [each for each in state.metrics.values() if each.metric not in watched]
        if not left:
            return snapshot
        closed = [
            (each, Closed(anomaly, "no longer watched"))
            for each in left
            for anomaly in (each.anomalies.anomaly, each.anomalies.silence)
            if anomaly
        ]
        outcome.transitions += [each for _, each in closed]
        kept = {key: each for key, each in state.metrics.items() if each.metric in watched}
        after = ShardState(kept, reported_after(state.reported, {}, closed, now))
        return document.write(snapshot, after)

    def _evaluate(
        self,
        state: ShardState,
        readings: Sequence[tuple[Span, Series]],
        now: int,
        watched: Mapping[Metric, Options],
        models: Mapping[Metric, LoadedModel],
        feedback: Mapping[str, MetricFeedback],
        remaining_ms: Callable[[], int],
    ) -> dict[Metric, MetricEvaluation]:
        """Evaluate one metric after the other, as long as there is time."""
        evaluations: dict[Metric, MetricEvaluation] = {}
        for span, series in readings:
            if remaining_ms() < RESERVE_MS:
                break
            metric, options = span.metric, watched[span.metric]
            evaluations[metric] = evaluate_metric(
                state.of(metric),
                series,
                1000 * span.end,
                now,
                options,
                models.get(metric),
                self._cache.get(str(metric)),
                feedback.get(str(metric), NO_FEEDBACK),
            )
        return evaluations

    def _commit(
        self,
        document: VersionedDocument[ShardState],
        snapshot: Snapshot[ShardState],
        found: Mapping[Metric, MetricEvaluation],
    ) -> Snapshot[ShardState]:
        """Store what metrics came to, and keep the detectors that led to it."""
        if not found:
            return snapshot
        state = snapshot.state
        metrics = {str(metric): each.state for metric, each in found.items()}
        transitions = [(one.state, each) for one in found.values() for each in one.transitions]
        reported = reported_after(state.reported, metrics, transitions, self._clock())
        snapshot = document.write(snapshot, ShardState({**state.metrics, **metrics}, reported))
        for metric, checkpoint in _checkpoints_of(found).items():
            self._cache.put(metric, checkpoint)
        return snapshot

    def _report_anomalies(self, shard: int, state: ShardState) -> None:
        """Leave the shard's anomalies for the incident job, if this instance has not yet.

        The report is derived from the state: what was lost of an earlier one is in this one.
        """
        reported = list(state.reported.values())
        if reported != self._last_reports.get(shard):
            self._store.overwrite(anomalies_key(shard), encode_reported(reported))
            self._last_reports[shard] = reported

    def _quota_ms(self, spans: Sequence[Span]) -> int:
        """Return how long after a call the next one is within CloudWatch's quota."""
        datapoints = sum(span.datapoints for span in spans)
        return round(1000 * datapoints / self._datapoints_per_second)


def reported_after(
    before: Mapping[str, ReportedAnomaly],
    metrics: Mapping[str, MetricState],
    transitions: Sequence[tuple[MetricState, Opened | Closed]],
    now: int,
) -> dict[str, ReportedAnomaly]:
    """Return what is reported after evaluations: open anomalies as they are now, and closed ones.

    Parameters
    ----------
    metrics
        The states of the metrics that were evaluated.
    transitions
        Of these, each with the metric's state.
    """
    after = {
        key: each
        for key, each in before.items()
        if each.closed_at is None or each.closed_at > now - REPORTED_MS
    }
    for state, transition in transitions:
        anomaly = transition.anomaly
        known = after.get(anomaly.id) or ReportedAnomaly(str(state.metric), anomaly, now)
        over = (now, transition.reason) if isinstance(transition, Closed) else (None, None)
        after[anomaly.id] = msgspec.structs.replace(
            known,
            anomaly=anomaly,
            closed_at=over[0],
            close_reason=over[1],
            chart=state.chart(anomaly),
        )
    for state in metrics.values():
        for current in (state.anomalies.anomaly, state.anomalies.silence):
            if current and current.id in after:
                after[current.id] = msgspec.structs.replace(
                    after[current.id], anomaly=current, chart=state.chart(current)
                )
    return after


def _checkpoints_of(evaluations: Mapping[Metric, MetricEvaluation]) -> dict[str, Checkpoint]:
    """Return the detectors' checkpoints, by metric."""
    updates = ((str(metric), each.update) for metric, each in evaluations.items())
    return {metric: update.checkpoint for metric, update in updates if update and update.checkpoint}


def _due(state: ShardState, watched: Mapping[Metric, Options], now: int) -> list[Span]:
    """Return what to read of each metric, in seconds as CloudWatch has it; new metrics last.

    Those take longest, and may be left for the next evaluation.
    """
    spans = []
    for metric, options in watched.items():
        periods = periods_of(options.history_days, metric.period)
        due = state.of(metric).due(now, settle_seconds(metric, options), periods)
        if due:
            start, end = due
            spans.append(Span(metric, start // 1000, end // 1000))
    return sorted(spans, key=lambda span: len(state.of(span.metric).values) == 0)


def _read(
    cloudwatch: Any, spans: Sequence[Span], on_refused: Callable[[Metric, Exception], None]
) -> Iterator[tuple[Span, Series]]:
    """Read metrics; if CloudWatch refuses a call, find the metric that it is about."""
    try:
        yield from list(read_history(cloudwatch, spans))
    except RequestRefusedError as error:
        if len(spans) == 1:
            on_refused(spans[0].metric, error)
            return
        middle = len(spans) // 2
        yield from _read(cloudwatch, spans[:middle], on_refused)
        yield from _read(cloudwatch, spans[middle:], on_refused)


def _report(
    state: ShardState, watched: Mapping[Metric, Options], due: Sequence[Span], outcome: _Outcome
) -> ShardReport:
    evaluations, transitions = outcome.evaluations, outcome.transitions
    postponed = {span.metric for span in due} - evaluations.keys()
    up_to_date = [state.of(metric) for metric in watched if metric not in postponed]
    opened = sum(isinstance(each, Opened) for each in transitions)
    reasons = [each.reason for each in transitions if isinstance(each, Closed)]
    return ShardReport(
        watched=len(watched),
        opened=opened,
        closed=len(reasons),
        withdrawn=reasons.count("withdrawn"),
        late=sum(each.late for each in evaluations.values()),
        corrected=sum(each.corrected for each in evaluations.values()),
        missing=sum(_is_missing(each) for each in up_to_date),
        postponed=len(postponed),
        scores={
            metric: float(each.update.evaluation.detection.scores[-1])
            for metric, each in evaluations.items()
            if each.update and watched[metric].score_metric
        },
    )


def _is_missing(state: MetricState) -> bool:
    return bool(np.isnan(state.values[-MISSING_PERIODS:]).all())
