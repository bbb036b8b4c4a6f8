"""The retraining of a fleet: plan, train a batch of metrics, decide, publish, report.

A run is a prefix of an object store, a bucket or a folder:

    runs/RUN/plan.json                    settings; written last of the plan
    runs/RUN/batches/NUMBER.json          the metrics of each batch
    runs/RUN/outcomes/NUMBER.json         what became of them; written after each metric
    runs/RUN/artifacts/MODEL.safetensors  models that were refused, or that nobody publishes
    runs/RUN/report.json                  all outcomes

Whoever trains a batch needs no more than the run's name and the batch's number: a process on this
machine, a worker of Dask, a function in the account. What was cut off continues after the last
outcome that was written. An outcome is written on the condition that nobody else has written one,
and a model on the condition that the live one is still the one it was compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec
import numpy as np

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import (
    ObjectNotFoundError,
    ServiceUnavailableError,
)
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.timeline import utc
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.validation import Contract
from ops_anomaly.watcher.feedback import NO_FEEDBACK, Mark, MetricFeedback
from ops_anomaly.watcher.watch_file import PER_METRIC, model_of
from training import PublishConflictError, RunError, SourceError
from training.backtest import plan_injections, run_backtest, split
from training.candidates import CANDIDATES, MAX_EPOCHS
from training.comparison import choose_winner, evaluate_candidate
from training.guard import Figures, LiveModel, Verdict, compare, data_fault
from training.run import artifact
from training.sources.series import LabelledSeries
from training.versions import PublishedArtifact

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.detection.types import Integers
    from ops_anomaly.watcher.fleet import Watched

BATCH = 25
"""Metrics of a batch: two weeks of so many, at 5 minutes, are one page of GetMetricData."""

KINDS = ("value-forest", "contextual")
"""What competes unless more is asked for: the LSTM takes 15 times as long as the rest."""

PLACES = 6
"""Where each fault of the backtest is tried, for the new model and for the live one."""

READERS = 16
"""Threads that read the outcomes of batches."""

Content = TypeVar("Content")

Status = Literal["published", "trained", "kept", "refused", "failed"]
"""Live now; no worse, but there is no bucket to publish to; no better than the live one could be,
which stays; refused by the guard; an error of this metric alone."""


class Task(Contract, frozen=True):
    """A metric to train a model for.

    Attributes
    ----------
    model : str
        The model's name.
    metric : str
        As `Metric.parse` reads it.
    entry : str
        Of the watch file.
    left_out : list of (int, int)
        First and last time, milliseconds, of what is kept out of training: incidents that were
        real, and windows that are not learnt from.
    fine : list of Mark
        Anomalies that people said were fine.
    in_incident : bool
        Whether it has an open incident.
    """

    model: str
    metric: str
    entry: str
    left_out: list[tuple[int, int]] = msgspec.field(default_factory=list)
    fine: list[Mark] = msgspec.field(default_factory=list)
    in_incident: bool = False


class RunPlan(Contract, frozen=True, kw_only=True):
    """What decides a run besides its metrics.

    Attributes
    ----------
    run : str
        Its name.
    until : int
        The end of the readings, milliseconds: the same for a batch that is tried again.
    days : int
        Of readings.
    metrics, batches : int
        How many there are.
    """

    run: str
    until: int
    days: int = 14
    train_share: float = 0.5
    seed: int = 42
    kinds: tuple[str, ...] = KINDS
    max_epochs: int = MAX_EPOCHS
    places: int = PLACES
    metrics: int = 0
    batches: int = 0

    @property
    def created(self) -> str:
        """When its models were trained, as their objects say it: ISO 8601."""
        return utc(self.until).replace("Z", "+00:00")


class Outcome(Contract, frozen=True):
    """What became of a metric.

    Attributes
    ----------
    reason : str
        In plain words.
    kind, sha256 : str or None
        Of the model that was trained; None where none was.
    version : str or None
        VersionId of the model that is live now, where it was published.
    new, live : Figures or None
        On the last days.
    """

    model: str
    metric: str
    entry: str
    status: Status
    reason: str
    kind: str | None = None
    sha256: str | None = None
    version: str | None = None
    new: Figures | None = None
    live: Figures | None = None


class Report(Contract, frozen=True):
    """All that a run came to.

    Attributes
    ----------
    missing : int
        Metrics without an outcome: their batches did not end.
    """

    run: str
    until: int
    counts: dict[Status, int]
    missing: int
    outcomes: list[Outcome]


class Models(Protocol):
    """Where models are published; `publishing.BucketModels` is the bucket."""

    def read(self, name: str) -> PublishedArtifact | None:
        """Return the live version; None where there is none."""
        ...

    def publish(
        self, name: str, data: bytes, *, run: str, created: str, replaces: str | None
    ) -> str:
        """Make an artifact live if the live one has the ETag `replaces`; return its VersionId.

        Raises
        ------
        PublishConflictError
            If another version is live.
        """
        ...

    def add_to_index(self, names: Collection[str]) -> None:
        """List models under these names."""
        ...


ReadSeries = Callable[[Sequence[Metric], RunPlan], Mapping[Metric, LabelledSeries]]
"""Reads the last days of metrics; without those that have fewer than two readings."""


@dataclass(frozen=True)
class Services:
    """What a run is handed.

    Attributes
    ----------
    models : Models or None
        None publishes nothing.
    """

    store: ObjectStore
    read: ReadSeries
    models: Models | None = None


def key_of(run: str, name: str) -> str:
    """Return the key of an object of a run."""
    return f"runs/{run}/{name}"


def batch_key(run: str, number: int) -> str:
    """Return the key of a batch's metrics."""
    return key_of(run, f"batches/{number:05}.json")


def outcomes_key(run: str, number: int) -> str:
    """Return the key of a batch's outcomes."""
    return key_of(run, f"outcomes/{number:05}.json")


# --- plan ---------------------------------------------------------------------------------------


def tasks_of(
    fleet: Sequence[Watched],
    said: Mapping[str, MetricFeedback],
    in_incident: Collection[str],
    start: int,
    until: int,
) -> list[Task]:
    """Return a task for each metric whose entry asks for a model of its own.

    Parameters
    ----------
    said
        Feedback, by the text of the metric.
    in_incident
        Texts of the metrics that have an open incident.
    start, until : int
        Of the readings, milliseconds: mutes that are not learnt from are left out of these.
    """
    return [
        Task(
            model=str(model_of(watched.options, metric)),
            metric=str(metric),
            entry=watched.options.name,
            left_out=[
                *((mark.start, mark.stop) for mark in feedback.real),
                *not_learnt_from(watched, metric, start, until),
            ],
            fine=list(feedback.fine),
            in_incident=str(metric) in in_incident,
        )
        for watched in fleet
        if watched.options.model == PER_METRIC
        for metric in watched.metrics
        for feedback in [said.get(str(metric), NO_FEEDBACK)]
    ]


def not_learnt_from(
    watched: Watched, metric: Metric, start: int, until: int
) -> Iterator[tuple[int, int]]:
    """Yield first and last time of an entry's mutes that are not learnt from."""
    for mute in watched.options.mute:
        if not mute.learn and mute.is_of(metric):
            yield from ((first, end - 1) for first, end in mute.windows(start, until))


def write_plan(
    store: ObjectStore, plan: RunPlan, tasks: Sequence[Task], batch: int = BATCH
) -> RunPlan:
    """Write a plan, and return it with its numbers.

    Raises
    ------
    ConflictError
        If there is a run of this name.
    """
    batches = [tasks[first : first + batch] for first in range(0, len(tasks), batch)]
    plan = msgspec.structs.replace(plan, metrics=len(tasks), batches=len(batches))
    for number, part in enumerate(batches):
        store.overwrite(batch_key(plan.run, number), msgspec.json.encode(part))
    store.write(key_of(plan.run, "plan.json"), msgspec.json.encode(plan), None)
    return plan


def read_plan(store: ObjectStore, run: str) -> RunPlan:
    """Read a plan.

    Raises
    ------
    RunError
        If there is no such run.
    """
    try:
        return read_json(store, key_of(run, "plan.json"), RunPlan)[0]
    except ObjectNotFoundError as error:
        raise RunError(f"there is no run {run}, or its plan was not finished: {error}") from error


def read_json(store: ObjectStore, key: str, kind: type[Content]) -> tuple[Content, str]:
    """Return an object's content and its ETag."""
    stored = store.read(key)
    if stored is None:  # not modified, although no ETag was sent
        raise ObjectNotFoundError(key)
    return msgspec.json.decode(stored.data, type=kind), stored.etag


# --- a batch ------------------------------------------------------------------------------------


def train_batch(
    services: Services,
    run: str,
    number: int,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Train the metrics of a batch that have no outcome yet; return the outcomes of all.

    A metric whose readings, or whose training, raise an error fails alone.

    Parameters
    ----------
    on_done
        Called with each outcome once it is written.

    Raises
    ------
    SourceError
        If CloudWatch does not respond: the batch can be tried again.
    ConflictError
        If another process is training the same batch.
    StoreUnavailableError
        If the store does not respond.
    """
    plan = read_plan(services.store, run)
    tasks, _ = read_json(services.store, batch_key(run, number), list[Task])
    outcomes, etag = read_outcomes(services.store, run, number)
    due = tasks[len(outcomes) :]
    found = read_series(services.read, [Metric.parse(task.metric) for task in due], plan)
    for task, series in zip(due, found, strict=True):
        outcomes.append(outcome_of(services, plan, task, series))
        etag = services.store.write(outcomes_key(run, number), msgspec.json.encode(outcomes), etag)
        on_done(outcomes[-1])
    return outcomes


def read_outcomes(store: ObjectStore, run: str, number: int) -> tuple[list[Outcome], str | None]:
    """Return the outcomes of a batch so far, in the order of its tasks, and their ETag."""
    try:
        return read_json(store, outcomes_key(run, number), list[Outcome])
    except ObjectNotFoundError:
        return [], None


def read_series(
    read: ReadSeries, metrics: Sequence[Metric], plan: RunPlan
) -> list[LabelledSeries | Exception | None]:
    """Return the series of metrics; None without readings, the error where there was one.

    They are read together. If that is refused, each is read alone, so that one that CloudWatch
    refuses does not keep it from the others.

    Raises
    ------
    SourceError
        If CloudWatch does not respond.
    """
    if not metrics:
        return []
    try:
        found = read(metrics, plan)
        return [found.get(metric) for metric in metrics]
    except Exception as error:
        if isinstance(error.__cause__, ServiceUnavailableError):
            raise
        if len(metrics) == 1:
            return [error]
    return [each for metric in metrics for each in read_series(read, [metric], plan)]


def outcome_of(
    services: Services, plan: RunPlan, task: Task, series: LabelledSeries | Exception | None
) -> Outcome:
    """Train, compare and publish the model of a metric; whatever goes wrong is its outcome."""
    try:
        if isinstance(series, Exception):
            raise series
        return train_task(services, plan, task, series)
    except Exception as error:  # of any kind: the other metrics are trained
        known = isinstance(error, SourceError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        return outcome(task, "failed", reason)


def train_task(
    services: Services, plan: RunPlan, task: Task, series: LabelledSeries | None
) -> Outcome:
    """Train the model of a metric, compare it with the live one, and publish it if it may be."""
    published = services.models.read(task.model) if services.models else None
    if published and published.run == plan.run:  # before it could be written down
        version = {"sha256": published.digest, "version": published.version}
        return outcome(task, "published", "Published before the run was cut off", **version)
    if series is None:
        return outcome(task, "refused", f"No readings in the last {plan.days} days")
    live = live_model(published)
    series = series.leaving_out(reached(task.left_out, series))
    if live and live.manifest.training_data.get("sha256") == series.digest:
        return outcome(task, "kept", "The live model was trained on the same readings")
    verdict, kind, data = train_model(plan, task, series, live)
    if data is None:
        return outcome(task, "refused", verdict.reason)
    found = {"kind": kind, "sha256": digest(data), "new": verdict.new, "live": verdict.live}
    if verdict.publish and services.models:
        return published_outcome(services.models, plan, task, verdict, data, published, found)
    services.store.overwrite(key_of(plan.run, f"artifacts/{task.model}.safetensors"), data)
    return outcome(task, "trained" if verdict.publish else "refused", verdict.reason, **found)


def published_outcome(
    models: Models,
    plan: RunPlan,
    task: Task,
    verdict: Verdict,
    data: bytes,
    live: PublishedArtifact | None,
    found: Mapping[str, Any],
) -> Outcome:
    """Publish a model in place of the one that it was compared with."""
    try:
        version = models.publish(
            task.model,
            data,
            run=plan.run,
            created=plan.created,
            replaces=live.etag if live else None,
        )
    except PublishConflictError:
        return outcome(task, "kept", "Somebody else has published in between", **found)
    return outcome(task, "published", verdict.reason, version=version, **found)


def outcome(task: Task, status: Status, reason: str, **more: Any) -> Outcome:
    """Return the outcome of a task."""
    return Outcome(task.model, task.metric, task.entry, status, reason, **more)


def live_model(published: PublishedArtifact | None) -> LiveModel | None:
    """Return the live model; None where there is none, or it could not be served either."""
    if published is None:
        return None
    try:
        return LiveModel(*unpack(published.data, published.digest))
    except ArtifactError:
        return None


def reached(ranges: Sequence[tuple[int, int]], series: LabelledSeries) -> Integers:
    """Return the ranges that hold readings of a series: (c, 2)."""
    bounds = np.array(ranges, np.int64).reshape(-1, 2)
    first = np.searchsorted(series.times, bounds[:, 0], "left")
    return bounds[np.searchsorted(series.times, bounds[:, 1], "right") > first]


def train_model(
    plan: RunPlan, task: Task, series: LabelledSeries, live: LiveModel | None
) -> tuple[Verdict, str | None, bytes | None]:
    """Fit the candidates, choose one, and compare it with the live model.

    The same readings and settings give the same bytes, wherever this runs.

    Returns
    -------
    verdict : Verdict
    kind : str or None
        Of the candidate that won; None where the data was refused, and nothing was trained.
    data : bytes or None
        Its artifact.
    """
    period = 1000 * Metric.parse(task.metric).period
    fault = data_fault(series, period, plan.until, live, in_incident=task.in_incident)
    if fault:
        return Verdict(False, fault), None, None
    cut = split(series, plan.train_share)
    injections = plan_injections(series, cut, plan.seed, plan.places)
    evaluations = [
        evaluate_candidate(
            row.fit(series.part(0, cut), plan.seed, lambda *_: None, plan.max_epochs),
            injections.part,
        )
        for row in CANDIDATES
        if row.kind in plan.kinds
    ]
    backtests = {
        each.candidate.kind: run_backtest(each.candidate.detector, injections, each.sensitivity)
        for each in evaluations
    }
    winner, _ = choose_winner(evaluations, backtests)
    kind = winner.candidate.kind
    verdict = compare(winner, backtests[kind], live, series, injections, task.fine)
    return (
        verdict,
        kind,
        artifact(winner, backtests[kind], series, cut, task.model, plan.kinds),
    )


# --- report -------------------------------------------------------------------------------------


def finish_run(services: Services, run: str) -> Report:
    """List what was published, write the report of a run, and return it.

    The index of models is written once a run, and not at all if it names every model already.
    """
    plan = read_plan(services.store, run)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda n: read_outcomes(services.store, run, n)[0], range(plan.batches))
        outcomes = [each for batch in read for each in batch]
    published = [each.model for each in outcomes if each.status == "published"]
    if services.models and published:
        services.models.add_to_index(published)
    report = Report(
        run=run,
        until=plan.until,
        counts={
            status: sum(each.status == status for each in outcomes)
            for status in ("published", "trained", "kept", "refused", "failed")
        },
        missing=plan.metrics - len(outcomes),
        outcomes=outcomes,
    )
    services.store.overwrite(key_of(run, "report.json"), msgspec.json.encode(report))
    return report
