"""The report of a run: what became of each metric, as a document, a page and an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from ops_anomaly.aws.errors import ObjectNotFoundError
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import utc
from ops_anomaly.watcher.outbox import EventChannel, Notification, UndeliveredError
from training import RunError
from training.cost import TRAINING_SECONDS, run_cost
from training.fleet import dollars
from training.retraining.documents import (
    NOT_PUBLISHED,
    STATUSES,
    Outcome,
    Report,
    RunPlan,
    Services,
    Status,
    Summary,
    Task,
    key_of,
    read_json,
    read_outcomes,
    read_plan,
    read_tasks,
    summary_key,
)
from training.retraining.page import counts_in_words, run_page
from training.retraining.reasons import Group, grouped

READERS = 16
"""Threads that read the outcomes of batches."""

DETAIL_TYPE = "Retraining Finished"
VERSION = "1"
"""Of the event's detail; `docs/events.md` describes it."""

MAX_EXAMPLES, MAX_TEXT = 10, 1_000
"""Metrics that an event lists of those that failed, and of those that were refused; and characters
of a metric's text and of its reason: the event is smaller than the 256 KB that EventBridge takes,
whatever they are."""


def finish_run(services: Services, run: str) -> Report:
    """Write the report of a run and its page, list what is live, and return the report.

    The index of models is written last, once a run, and has every model of it, whatever became of
    it this time: what a run before could not list is listed now.
    """
    plan = read_plan(services.store, run)
    batches = read_batches(services, plan)
    outcomes = [each for batch in batches.values() for each in batch]
    counts = Counter(each.status for each in outcomes)
    started = plan.started or plan.until
    report = Report(
        run=run,
        started=started,
        finished=finished_at(services, run) or max(int(1000 * services.clock()), started),
        execution=plan.execution,
        bucket=services.models.bucket if services.models else None,
        counts={status: counts[status] for status in STATUSES},
        missing=plan.metrics - len(outcomes),
        entries=by_entry(services, plan, batches),
        cost=run_cost(
            plan.metrics,
            plan.batches,
            TRAINING_SECONDS * sum(each.kind is not None for each in outcomes),
            sum(counts[status] for status in NOT_PUBLISHED),
            in_account=plan.execution is not None,
        ),
        outcomes=outcomes,
    )
    summary = msgspec.convert(report, Summary, from_attributes=True)
    services.store.overwrite(key_of(run, "report.json"), msgspec.json.encode(report))
    services.store.overwrite(report.page, run_page(report).encode())
    services.store.overwrite(summary_key(run), msgspec.json.encode(summary))
    if services.models:
        services.models.update_index([each.model for each in outcomes])
    return report


def finished_at(services: Services, run: str) -> int | None:
    """Return when a run had an outcome of every metric; None where it had not yet.

    Whoever continues a run with nothing left, or reports it again, does not make it longer.
    """
    try:
        before = read_json(services.store, summary_key(run), Summary)
    except (ObjectNotFoundError, RunError):
        return None
    return None if before.missing else before.finished


def read_batches(services: Services, plan: RunPlan) -> dict[int, list[Outcome]]:
    """Return the outcomes of each batch, by its number."""
    numbers = range(plan.batches)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda number: read_outcomes(services.store, plan.run, number)[0], numbers)
        return dict(zip(numbers, read, strict=True))


def by_entry(
    services: Services, plan: RunPlan, batches: Mapping[int, list[Outcome]]
) -> dict[str, dict[str, int]]:
    """Return the counts of each entry; the metrics of batches are read only if some are missing."""
    counts: dict[str, Counter[str]] = {}
    for each in (each for batch in batches.values() for each in batch):
        counts.setdefault(each.entry, Counter())[each.status] += 1
    if plan.metrics > sum(map(len, batches.values())):
        for number, outcomes in batches.items():
            for task in left_of(services, plan.run, number, outcomes):
                counts.setdefault(task.entry, Counter())["missing"] += 1
    return {
        entry: {name: found[name] for name in (*STATUSES, "missing")}
        for entry, found in counts.items()
    }


def left_of(services: Services, run: str, number: int, outcomes: Sequence[Outcome]) -> list[Task]:
    """Return the tasks of a batch without an outcome; none where the batch can't be read."""
    try:
        tasks = read_tasks(services.store, run, number)
    except (RunError, ObjectNotFoundError):
        return []
    done = {each.model for each in outcomes}
    return [task for task in tasks if task.model not in done]


def announce(report: Report, events: Any, bus: str) -> None:
    """Send the event of a run; a retry sends it under the same id.

    Parameters
    ----------
    events
        A client of boto3.
    bus : str
        Name or ARN.

    Raises
    ------
    UndeliveredError
        If the bus did not accept it.
    """
    refused: dict[str, str] = {}
    channel = EventChannel(lambda: events, bus, refused.__setitem__)
    channel.send([run_notification(report)])
    if refused:
        raise UndeliveredError(f"the event of run {report.run}: {', '.join(refused.values())}")


def run_notification(report: Report) -> Notification:
    """Return the event of a run."""
    groups = grouped(report.outcomes)
    lasted = report.finished - report.started
    notification_id = f"{report.run}/finished"
    summary = f"Retraining {report.run}: {counts_in_words(report)}"
    text = "\n".join([summary, "", *text_lines(report, groups)])
    detail: dict[str, Any] = {
        "version": VERSION,
        "id": report.run,
        "level": "warning" if report.counts["failed"] or report.missing else "info",
        "severity": None,
        "notification": notification_id,
        "summary": summary,
        "text": text,
        "run": report.run,
        "execution": report.execution,
        "started": utc(report.started),
        "finished": utc(report.finished),
        "lasted_seconds": lasted // 1000,
        "dollars": round(report.cost.total, 4),
        "bucket": report.bucket,
        "page": report.page,
        "metric_count": sum(report.counts.values()) + report.missing,
        "counts": dict(report.counts) | {"missing": report.missing},
        "reasons": [
            {
                "status": each.status,
                "reason": each.reason.title,
                "metric_count": len(each.outcomes),
                "to_do": each.reason.to_do,
            }
            for each in groups
        ],
        "failed": examples(report, "failed"),
        "refused": examples(report, "refused"),
    }
    return Notification(
        id=notification_id,
        about=report.run,
        detail_type=DETAIL_TYPE,
        detail=detail,
        subject=summary,
        message=text,
        made_at=report.finished,
    )


def text_lines(report: Report, groups: list[Group]) -> list[str]:
    """Return what else there is to say: reasons, cost, and where the report is."""
    lines = [
        f"{each.status.capitalize():<11} {len(each.outcomes):,}: {each.reason.title}"
        for each in groups
    ]
    lines.append(
        f"{'Took':<11} {duration(report.finished - report.started)}, "
        f"cost {dollars(report.cost.total)}"
    )
    where = f" --bucket {report.bucket}" if report.bucket else ""
    return [*lines, f"{'Report':<11} ops-anomaly runs {report.run}{where}"]


def examples(report: Report, status: Status) -> list[dict[str, str]]:
    """Return the first metrics of a status, and why."""
    found = [each for each in report.outcomes if each.status == status]
    return [
        {
            "model": each.model,
            "entry": each.entry,
            "metric": each.metric[:MAX_TEXT],
            "reason": each.reason[:MAX_TEXT],
        }
        for each in found[:MAX_EXAMPLES]
    ]
