"""Why models of a run were not published, in groups, and what to do about each."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ops_anomaly.watcher.watch_file import DAY_SECONDS, retention_days
from training.fleet import READINGS
from training.retraining.documents import Outcome, Status
from training.retraining.guard import Cause

UNPUBLISHED: tuple[Status, ...] = ("failed", "refused")
"""Outcomes about which there is something to know; the worst first."""

BY_HAND = ("train", "--name", "{model}", "--cloudwatch", "{metric}", "--days", "{days}")
"""The same training on a machine, without the guard, and with a report of its own."""


DAYS = 14
"""Of history, where that is enough."""


class Reason(NamedTuple):
    """A kind of reason.

    Attributes
    ----------
    title : str
        In a few words, without figures.
    to_do : str
        What to do, if anything.
    command : tuple of str
        The words of a command that helps, with `model`, `metric` and `bucket` in braces; or none.
    """

    title: str
    to_do: str
    command: tuple[str, ...] = ()


NOTHING = "Nothing"
"""How it begins where there is nothing to do."""

WORSE = (
    f"{NOTHING}: the live model stays, and the metric is trained again in the next run. If it is "
    "refused every time, see what has changed in the metric, by a report of its own."
)

REASONS: dict[Cause, Reason] = {
    "unmarked incident": Reason(
        "Looks like an incident that nobody has marked",
        "Mark it as real, and it is left out of training; or as fine, and it is learnt. The ID is "
        "in the incident's message, and on the page of incidents. If there was no incident of it, "
        "keep the time out by a mute with learn: false in the watch file.",
        ("feedback", "ID", "real", "--bucket", "{bucket}"),
    ),
    "in incident": Reason(
        "In an incident",
        f"{NOTHING}: it is trained again in the first run after the incident.",
    ),
    "fewer faults": Reason(
        "Would find fewer faults than the live model",
        WORSE,
        BY_HAND,
    ),
    "more alerts": Reason(
        "Would raise more alerts than the live model",
        WORSE,
        BY_HAND,
    ),
    "less data": Reason(
        "Less data than the live model was trained on",
        "See why readings are missing. If the metric will stay so, it is accepted once the live "
        "model is older than the history; to have it sooner, train it by hand and publish that.",
        BY_HAND,
    ),
    "stopped": Reason(
        "No new readings",
        "If the metric is gone for good, remove it from the watch file; one that a selector has "
        "found is left out soon without that.",
    ),
    "stuck": Reason(
        "Repeats one value",
        "See what sends it. If that is mended, keep the time out by a mute with learn: false in "
        "the watch file. A metric that is to be constant needs no model: leave model out of its "
        "entry, and it is compared with its own history.",
    ),
    "rescaled": Reason(
        "The last day is of another size",
        "See what sends it: the unit may have changed. If that is meant, there is nothing to do.",
    ),
    "too few readings": Reason(
        "Not enough readings yet",
        f"{NOTHING}: until there are enough, it is compared with its own history.",
    ),
    "never enough": Reason(
        "Of such a period CloudWatch keeps too few readings",
        "Leave model out of its entry, or take a shorter period: without a model it is compared "
        "with its own history.",
    ),
    "gaps": Reason(
        "Too many gaps for a model",
        "Of a count that is missing where it is zero, say when_silent: zero in its entry. Else "
        "leave model out: without one it is compared with its own history.",
    ),
}

FAILED = Reason(
    "Errors",
    "They are tried again in the next run. If an error comes again, train the metric on a machine "
    "to see where it is from.",
    BY_HAND,
)
"""Of a failed outcome."""


@dataclass(frozen=True)
class Group:
    """Outcomes of one status for one kind of reason: n of them, the worst first."""

    status: Status
    reason: Reason
    outcomes: list[Outcome]


def reason_of(outcome: Outcome) -> Reason:
    """Return the kind of reason of an outcome."""
    return REASONS[outcome.cause] if outcome.cause else FAILED


def grouped(outcomes: Iterable[Outcome]) -> list[Group]:
    """Return what failed and what was refused, by reason: first where there is something to do."""
    groups: dict[tuple[Status, Reason], list[Outcome]] = {}
    for each in outcomes:
        if each.status in UNPUBLISHED:
            groups.setdefault((each.status, reason_of(each)), []).append(each)
    found = [Group(*key, sorted(value, key=by_harm)) for key, value in groups.items()]
    return sorted(
        found,
        key=lambda each: (
            UNPUBLISHED.index(each.status),
            each.reason.to_do.startswith(NOTHING),
            -len(each.outcomes),
        ),
    )


def by_harm(outcome: Outcome) -> float:
    """Return how many more faults the new model finds than the live one, to sort by."""
    new = outcome.new.faults_found if outcome.new else None
    live = outcome.live.faults_found if outcome.live else None
    return 0.0 if new is None or live is None else new - live


def command_for(outcome: Outcome, bucket: str | None) -> str:
    """Return the command that helps with an outcome, to copy; empty where none does.

    Examples
    --------
    >>> refused = ("web-1", "A B C=d Sum 60", "web", "refused", "From ... to ...")
    >>> command_for(Outcome(*refused, cause="unmarked incident"), "my-models")
    'ops-anomaly feedback ID real --bucket my-models'
    """
    known = {
        "model": outcome.model,
        "metric": outcome.metric,
        "days": str(days_by_hand(int(outcome.metric.rpartition(" ")[2]))),
        "bucket": bucket or "BUCKET",
    }
    words = [word.format_map(known) for word in reason_of(outcome).command]
    return shlex.join(["ops-anomaly", *words]) if words else ""


def days_by_hand(period: int) -> int:
    """Return how many days of a metric to train on by hand: two weeks, or what a model needs.

    Examples
    --------
    >>> days_by_hand(300), days_by_hand(3_600)
    (14, 28)
    """
    needed = -(-11 * READINGS * period // (10 * DAY_SECONDS))  # a tenth more, as some are missing
    return min(max(DAYS, needed), retention_days(period))


def resume_command(run: str, bucket: str | None, *options: str) -> str:
    """Return the command that continues a run from a machine."""
    where = ("--bucket", bucket) if bucket else ()
    return shlex.join(["ops-anomaly", "train", "--resume", run, *where, *options])
