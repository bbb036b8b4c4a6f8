"""A batch of a run: train the metrics, compare with the live models, publish or keep aside.

Whoever trains a batch needs no more than the run's name and the batch's number: a process on this
machine, a worker of Dask, a function in the account. What was cut off continues after the last
outcome that was written. An outcome is written on the condition that nobody else has written one
since, and a model on the condition that the live one is still the one it was compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from ops_anomaly.aws.cloudwatch import Metric, Span
from ops_anomaly.aws.errors import (
    ConflictError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.formatting import number
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.silence import filled_with_zeros
from training import PublishConflictError, PublishUnavailableError, SourceError
from training.backtest import plan_injections, run_backtest, split
from training.candidates import CANDIDATES
from training.comparison import choose_winner, evaluate_candidate
from training.retraining.documents import (
    NOT_PUBLISHED,
    Outcome,
    RunPlan,
    Services,
    Status,
    Task,
    artifact_key,
    outcome_key,
    outcomes_key,
    read_outcomes,
    read_plan,
    read_tasks,
)
from training.retraining.guard import Cause, LiveModel, Verdict, compare, data_fault
from training.run import artifact
from training.sources.series import DAY_MS

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.detection.types import Integers
    from training.retraining.documents import Models, ReadSeries
    from training.sources.series import LabelledSeries
    from training.versions import PublishedArtifact


Compared = TypeVar("Compared")

KEEP_ATTEMPTS = 5
"""Tries at adding an outcome, while another try of the same batch adds its own."""

WORSE: tuple[Cause, ...] = ("fewer faults", "more alerts")
"""Causes that are of one kind of model, and not of the readings."""


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
    SourceError, PublishUnavailableError, StoreUnavailableError, ConflictError
        If CloudWatch or the bucket does not respond, or another try of the batch keeps writing:
        it can be tried again.
    """
    plan = read_plan(services.store, run)
    tasks = read_tasks(services.store, run, number)
    outcomes, etag = outcomes_so_far(services.store, run, number, tasks)
    due = [task for task in tasks if task.model not in outcomes]
    read = read_series(services.read, [span_of(task) for task in due])
    for task, series in zip(due, read, strict=True):
        if task.model in outcomes:  # by now
            continue
        new = outcome_of(services, plan, task, series)
        if new.status in NOT_PUBLISHED:
            services.store.overwrite(outcome_key(run, task.model), msgspec.json.encode(new))
        outcomes, etag = kept_outcomes(services.store, run, number, tasks, new, outcomes, etag)
        if outcomes[task.model] is new:
            on_done(new)
    return list(outcomes.values())


def kept_outcomes(
    store: ObjectStore,
    run: str,
    number: int,
    tasks: Sequence[Task],
    new: Outcome,
    outcomes: dict[str, Outcome],
    etag: str | None,
) -> tuple[dict[str, Outcome], str | None]:
    """Add an outcome to those of a batch; return all of them, and their ETag.

    Another try of the batch may still run, and write too: of two outcomes of a metric the first one
    stays, unless the second one is that its model was published.

    Raises
    ------
    ConflictError
        If others keep writing.
    """
    for _ in range(KEEP_ATTEMPTS):
        known = outcomes.get(new.model)
        if known and (known.status == "published" or new.status != "published"):
            return outcomes, etag
        after = {**outcomes, new.model: new}
        try:
            data = msgspec.json.encode(list(after.values()))
            return after, store.write(outcomes_key(run, number), data, etag)
        except ConflictError:
            outcomes, etag = outcomes_so_far(store, run, number, tasks)
    raise ConflictError(f"{outcomes_key(run, number)}: others keep writing it")


def outcomes_so_far(
    store: ObjectStore, run: str, number: int, tasks: Sequence[Task]
) -> tuple[dict[str, Outcome], str | None]:
    """Return the outcomes of a batch's tasks so far by their models, and the ETag of these."""
    outcomes, etag = read_outcomes(store, run, number)
    models = {task.model for task in tasks}
    return {each.model: each for each in outcomes if each.model in models}, etag


def span_of(task: Task) -> Span:
    """Return the last periods of a metric."""
    metric, end = Metric.parse(task.metric), task.end // 1000
    return Span(metric, end - task.periods * metric.period, end)


def read_series(read: ReadSeries, spans: Sequence[Span]) -> list[LabelledSeries | Exception | None]:
    """Return the series of metrics; None without readings, the error where there was one.

    They are read together. If that is refused, each is read alone, so that one that CloudWatch
    refuses does not keep it from the others.

    Raises
    ------
    SourceError
        If CloudWatch does not respond.
    """
    if not spans:
        return []
    try:
        found = read(spans)
        return [found.get(span.metric) for span in spans]
    except Exception as error:
        if isinstance(error.__cause__, ServiceUnavailableError):
            raise
        if len(spans) == 1:
            return [error]
    return [each for span in spans for each in read_series(read, [span])]


def outcome_of(
    services: Services, plan: RunPlan, task: Task, series: LabelledSeries | Exception | None
) -> Outcome:
    """Train, compare and publish the model of a metric; what is wrong with it is its outcome."""
    try:
        if isinstance(series, Exception):
            raise series
        return train_task(services, plan, task, series)
    except (PublishUnavailableError, StoreUnavailableError):
        raise  # it says nothing of the metric, and may have published
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
        return published_before(task, published)
    if series is None:
        span = span_of(task)
        days = number(1000 * (span.end - span.start) / DAY_MS, 3)
        return outcome(task, "refused", f"No readings in the last {days} days", cause="stopped")
    live = live_model(published)
    if task.fills_zeros:
        series = with_zeros(series, 1000 * Metric.parse(task.metric).period, task.end)
    series = series.leaving_out(reached(task.left_out, series))
    nothing_new = nothing_new_in(series, live) if live else None
    if nothing_new:
        return outcome(task, "kept", nothing_new)
    verdict, kind, data = train_model(plan, task, series, live)
    if data is None:
        return outcome(task, "refused", verdict.reason, cause=verdict.cause)
    found = {
        "cause": verdict.cause,
        "kind": kind,
        "sha256": digest(data),
        "new": verdict.new,
        "live": verdict.live,
    }
    if verdict.publish and services.models:
        return published_outcome(services.models, plan, task, verdict, data, published, found)
    services.store.overwrite(artifact_key(plan.run, task.model), data)
    return outcome(task, "trained" if verdict.publish else "refused", verdict.reason, **found)


def nothing_new_in(series: LabelledSeries, live: LiveModel) -> str | None:
    """Return why there is nothing to learn from a series that the live model does not know."""
    if live.manifest.training_data.get("sha256") == series.digest:
        return "The live model was trained on the same readings"
    if (live.trained_until or 0) > series.times[-1]:  # a former run is continued
        return "The live model was trained on later readings"
    return None


def with_zeros(series: LabelledSeries, step: int, until: int) -> LabelledSeries:
    """Return a series with a zero in each period without a reading, as the watcher has it."""
    filled = filled_with_zeros(series.series, series.series[:0], until, step)
    return replace(series, series=filled)


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
        live = models.read(task.model)
        if live and live.run == plan.run:  # by another try of this batch, which still runs
            return published_before(task, live)
        return outcome(task, "kept", "Somebody else has published in between", **found)
    return outcome(task, "published", verdict.reason, version=version, **found)


def published_before(task: Task, live: PublishedArtifact) -> Outcome:
    """Return the outcome of a task whose model another try of the batch has published."""
    version = {"sha256": live.digest, "version": live.version}
    return outcome(task, "published", "Published before the run was cut off", **version)


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
    fault = data_fault(
        series,
        period,
        task.end,
        live,
        in_incident=task.in_incident,
        asked=task.periods * period,
    )
    if fault:
        return Verdict(fault.reason, fault.cause), None, None
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
    chosen, verdict = no_worse_of(
        [winner, *(each for each in evaluations if each is not winner)],
        lambda each: compare(
            each, backtests[each.candidate.kind], live, series, injections, task.fine
        ),
    )
    kind = chosen.candidate.kind
    return (
        verdict,
        kind,
        artifact(chosen, backtests[kind], series, cut, task.model, plan.kinds),
    )


def no_worse_of(
    evaluations: Sequence[Compared], decide: Callable[[Compared], Verdict]
) -> tuple[Compared, Verdict]:
    """Return the first evaluation whose model is no worse than the live one; else the first of all.

    The winner is often, by a little, of another kind than the live model, and worse than that in
    one of the figures: then the next kind may do.
    """
    first, *others = evaluations
    verdict = decide(first)
    if verdict.cause in WORSE:
        for each in others:
            second = decide(each)
            if second.publish:
                return each, second
    return first, verdict
