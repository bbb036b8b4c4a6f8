"""The plan of a run: which metrics are trained, in which batches, and what is left out of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from ops_anomaly.aws.errors import ConflictError, ObjectNotFoundError
from ops_anomaly.aws.objects import FEEDBACK_KEY, INCIDENTS_KEY
from ops_anomaly.watcher.feedback import NO_FEEDBACK
from ops_anomaly.watcher.incident_job import decode_incidents
from ops_anomaly.watcher.outbox import CorruptStateError
from ops_anomaly.watcher.settling import FINAL_SECONDS, settling_seconds
from ops_anomaly.watcher.watch_file import (
    DAY_SECONDS,
    PER_METRIC,
    model_of,
    periods_of,
    retention_days,
)
from training import SourceError
from training.alerts import decode_marks
from training.backtest import MIN_LENGTH
from training.cost import METRICS_A_BATCH, batch_size
from training.retraining.documents import RunPlan, Task, batch_key, items_key, key_of

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.feedback import MetricFeedback
    from ops_anomaly.watcher.fleet import Watched
    from ops_anomaly.watcher.watch_file import Options

READINGS = 11 * 2 * MIN_LENGTH // 10
"""Of a metric, where CloudWatch keeps so many: a tenth more than a model needs, as some are missing
at times."""


def tasks_of(
    fleet: Sequence[Watched],
    said: Mapping[str, MetricFeedback],
    in_incident: Collection[str],
    until: int,
    days: int | None = None,
) -> list[Task]:
    """Return a task for each metric whose entry asks for a model of its own.

    Parameters
    ----------
    said
        Feedback, by the text of the metric.
    in_incident
        Texts of the metrics that are unusual at the moment.
    until : int
        When the run began, milliseconds.
    days : int or None
        Of readings, instead of the days of history that each entry has.
    """
    return [
        Task(
            model=str(model_of(watched.options, metric)),
            metric=str(metric),
            entry=watched.options.name,
            periods=periods,
            end=end,
            left_out=[
                *((mark.start, mark.stop) for mark in feedback.real),
                *not_learnt_from(watched, metric, end - 1000 * periods * metric.period, end),
            ],
            fine=list(feedback.fine),
            in_incident=str(metric) in in_incident,
            fills_zeros=watched.options.fills_zeros,
        )
        for watched in fleet
        if watched.options.model == PER_METRIC
        for metric in watched.metrics
        for feedback in [said.get(str(metric), NO_FEEDBACK)]
        for periods in [periods_to_read(days or watched.options.history_days, metric.period)]
        for end in [end_of_readings(watched.options, metric, until)]
    ]


def end_of_readings(options: Options, metric: Metric, until: int) -> int:
    """Return up to when the readings of a metric are final, milliseconds.

    The watcher evaluates later ones again, and keeps no detector that has seen them.
    """
    settle = settling_seconds(metric.statistic, options.settle_seconds)
    step = 1000 * metric.period
    return (until - 1000 * max(settle, FINAL_SECONDS)) // step * step


def periods_to_read(days: int, period: int) -> int:
    """Return how many periods of a metric a model is trained on.

    They are those that the watcher has of it, and no fewer than a model needs. One day less than
    CloudWatch keeps them: of a run that is continued later, the first would be gone.

    Examples
    --------
    >>> periods_to_read(14, 300), periods_to_read(14, 60), periods_to_read(14, 3_600)
    (4032, 8064, 660)
    >>> periods_to_read(14, 86_400)
    454
    """
    kept = (retention_days(period) - 1) * DAY_SECONDS // period
    return min(max(periods_of(days, period), READINGS), kept)


def not_learnt_from(
    watched: Watched, metric: Metric, start: int, until: int
) -> Iterator[tuple[int, int]]:
    """Yield first and last time of an entry's mutes that are not learnt from."""
    for mute in watched.options.mute:
        if not mute.learn and mute.is_of(metric):
            yield from ((first, end - 1) for first, end in mute.windows(start, until))


def plan_run(
    store: ObjectStore,
    fleet: Sequence[Watched],
    plan: RunPlan,
    workers: int = 1,
    marks: Mapping[str, MetricFeedback] | None = None,
    days: int | None = None,
) -> RunPlan:
    """Plan a run over the metrics whose entries ask for a model each.

    Parameters
    ----------
    store
        Where the run is kept. In the bucket of a stack, it also has what people have said, and
        which metrics are unusual at the moment.
    workers
        How many there will be: each gets several batches.
    marks
        What people have said, by metric, instead of what the stack has.
    days
        Of readings, instead of the days of history that each entry has.

    Raises
    ------
    SourceError
        If no entry asks for models, or none of those that do has a metric at the moment; or the
        stack's feedback or incidents can't be read.
    ConflictError
        If another run has this name.
    """
    said = stored_marks(store) if marks is None else marks
    tasks = tasks_of(fleet, said, unusual_metrics(store), plan.until, days)
    if not tasks:
        raise SourceError(without_tasks(fleet))
    return write_plan(store, plan, tasks, batch_size(len(tasks), workers))


def without_tasks(fleet: Sequence[Watched]) -> str:
    """Return why no metric of a fleet is to have a model of its own."""
    see = "see what the watch file matches with: ops-anomaly watch FILE"
    asking = [each.options.name for each in fleet if each.options.model == PER_METRIC]
    if asking:
        return f"no metric matches the entries of {', '.join(asking)} at the moment; {see}"
    return (
        "no metric is to have a model of its own: give an entry of the watch file "
        f"`model: per-metric`, and {see}"
    )


def write_plan(
    store: ObjectStore, plan: RunPlan, tasks: Sequence[Task], batch: int = METRICS_A_BATCH
) -> RunPlan:
    """Write a plan, and return it with its numbers.

    Raises
    ------
    ConflictError
        If another run has this name.
    """
    claim_name(store, plan)
    batches = [tasks[first : first + batch] for first in range(0, len(tasks), batch)]
    plan = msgspec.structs.replace(plan, metrics=len(tasks), batches=len(batches))
    for number, part in enumerate(batches):
        store.overwrite(batch_key(plan.run, number), msgspec.json.encode(part))
    items = [{"run": plan.run, "batch": number} for number in range(len(batches))]
    store.overwrite(items_key(plan.run), msgspec.json.encode(items))
    store.write(key_of(plan.run, "plan.json"), msgspec.json.encode(plan), None)
    return plan


def claim_name(store: ObjectStore, plan: RunPlan) -> None:
    """Claim the name of a run before anything else of it is written.

    Of two that begin within the same second one gets it, and the other writes nothing. An execution
    of the state machine has it again when its plan is tried again.

    Raises
    ------
    ConflictError
        If another run has it.
    """
    key, claim = key_of(plan.run, "claim.json"), msgspec.json.encode({"by": plan.execution})
    try:
        store.write(key, claim, None)
    except ConflictError as error:
        stored = store.read(key)
        if plan.execution is None or stored is None or stored.data != claim:
            raise ConflictError(
                f"another run that began within the same second has the name {plan.run}: begin "
                "this one again"
            ) from error


def new_run(now: float) -> str:
    """Return a name for a run: when it began, to the second.

    Examples
    --------
    >>> new_run(0.0)
    '1970-01-01T000000Z'
    """
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H%M%SZ}"


def stored_marks(store: ObjectStore) -> dict[str, MetricFeedback]:
    """Return the feedback that a stack keeps, by metric; none where there is none."""
    try:
        stored = store.read(FEEDBACK_KEY)
    except ObjectNotFoundError:
        return {}
    try:
        return decode_marks(stored.data, FEEDBACK_KEY) if stored else {}
    except SourceError as error:
        raise SourceError(
            f"{error}; mend it by hand, or copy an older version of the object over it"
        ) from error


def unusual_metrics(store: ObjectStore) -> set[str]:
    """Return the metrics that are unusual at the moment, by a stack's incidents; muted or not."""
    try:
        stored = store.read(INCIDENTS_KEY)
    except ObjectNotFoundError:
        return set()
    try:
        board = decode_incidents(stored.data if stored else b"").board
    except CorruptStateError as error:
        raise SourceError(
            f"{INCIDENTS_KEY}: {error}; the next run of the incident job writes it anew"
        ) from error
    members = [each for incident in board.incidents for each in incident.members]
    return {each.metric for each in [*members, *board.muted] if each.closed_at is None}
