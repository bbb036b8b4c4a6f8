"""Reports of retrainings: a night in which everything happens, and the largest that can be."""

from __future__ import annotations

import msgspec

from training.cost import run_cost
from training.retraining.documents import Outcome, Report, Status
from training.retraining.guard import Figures, no_worse, verdict_of, worse_in

RUN = "2026-11-27T020000Z"
STARTED = 1_795_744_800_000
BUCKET = "ops-anomaly-prod-models"


def metric(number: int) -> str:
    return f"AWS/EC2 CPUUtilization InstanceId=i-{number:017x} Average 300"


def figures(found: float, alerts: float) -> Figures:
    return Figures("contextual", found, alerts, 0.5)


def compared(number: int, new: Figures, live: Figures) -> Outcome:
    """Return what becomes of a metric by the figures of its models."""
    verdict = verdict_of(worse_in(new, live), no_worse(new, live), new, live)
    status: Status = "published" if verdict.publish else "refused"
    about = {"cause": verdict.cause, "kind": "contextual", "new": new, "live": live}
    return outcome(number, status, verdict.reason, **about)


def outcome(number: int, status: Status, reason: str, **more: object) -> Outcome:
    return Outcome(f"web-{number:016x}", metric(number), "web", status, reason, **more)


OUTCOMES = [
    compared(1, figures(0.86, 0.5), figures(0.84, 0.5)),
    compared(2, figures(0.91, 0.0), figures(0.93, 0.5)),
    compared(3, figures(0.61, 0.5), figures(0.84, 0.5)),
    compared(4, figures(0.84, 6.0), figures(0.84, 0.5)),
    outcome(5, "kept", "The live model was trained on the same readings"),
    outcome(6, "refused", "Less data: 50 % of the readings are there", cause="less data"),
    outcome(7, "failed", "ValueError: <b>not</b> a number"),
]


def report_of(outcomes: list[Outcome], missing: int = 0) -> Report:
    statuses: tuple[Status, ...] = ("published", "trained", "kept", "refused", "failed")
    counts = {status: sum(each.status == status for each in outcomes) for status in statuses}
    return Report(
        run=RUN,
        started=STARTED,
        finished=STARTED + 95_000,
        execution="1c2d3e4f",
        bucket=BUCKET,
        counts=counts,
        missing=missing,
        entries={"web": {**counts, "missing": missing}},
        cost=run_cost(len(outcomes) + missing, 1, 1.1 * len(outcomes)),
        outcomes=outcomes,
    )


def night() -> Report:
    """Return a report with metrics of every outcome."""
    return report_of(OUTCOMES, missing=2)


def largest() -> Report:
    """Return a report in which all metrics failed or were refused, for as long as can be."""
    dimensions = 30 * f" {255 * 'd'}={1_024 * 'v'}"
    text = f"{255 * 'n'} {255 * 'm'}{dimensions} Average 300"
    long = [msgspec.structs.replace(OUTCOMES[number], metric=text) for number in (2, 3, 5, 6)]
    wordy = [msgspec.structs.replace(each, reason=each.reason + 9_000 * "\x01") for each in long]
    return report_of(2_500 * wordy)
