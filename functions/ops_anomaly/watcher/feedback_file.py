"""The file of feedback in the bucket: given once, taken back, read by whoever evaluates metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ops_anomaly.aws.errors import ConflictError, CorruptFeedbackError, ObjectNotFoundError
from ops_anomaly.aws.objects import FEEDBACK_KEY
from ops_anomaly.watcher.feedback import Feedback, FeedbackFile, Mark, Undo, Verdict

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.anomalies import ReportedAnomaly
    from ops_anomaly.watcher.incidents import Incident


ATTEMPTS = 5
"""Tries at writing while other people give feedback."""

EXCLUSIVE: frozenset[Verdict] = frozenset({"fine", "real"})
"""An incident is one of them: the later word holds."""


def decode_feedback(data: bytes) -> list[Feedback]:
    """Read the file.

    Raises
    ------
    CorruptFeedbackError
        If it is anything but a `FeedbackFile`.
    """
    try:
        return msgspec.json.decode(data, type=FeedbackFile).feedback
    except (ValueError, RecursionError) as error:
        raise CorruptFeedbackError(f"{FEEDBACK_KEY} is not a file of feedback: {error}") from error


def encode_feedback(feedback: Sequence[Feedback]) -> bytes:
    """Return the file: JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(FeedbackFile(1, list(feedback))), indent=2)


def mark_of(member: ReportedAnomaly) -> Mark | None:
    """Return what feedback keeps of an anomaly; None of a silence, which has no readings."""
    anomaly = member.anomaly
    if anomaly.extremes is None:
        return None
    return Mark(
        anomaly=anomaly.id,
        metric=member.metric,
        start=anomaly.first_seen,
        stop=anomaly.last_seen,
        **msgspec.structs.asdict(anomaly.extremes),
    )


def give_feedback(
    store: ObjectStore, incident: Incident, verdict: Verdict, by: str, now: int, until: int | None
) -> Feedback:
    """Keep what somebody says of an incident; what holds already is not kept again.

    Parameters
    ----------
    now : int
        Milliseconds since 1970.
    until : int or None
        Of a snooze: when it ends, milliseconds.

    Returns
    -------
    Feedback
        What holds now.

    Raises
    ------
    CorruptFeedbackError
        If the file can't be read: nothing is written over it.
    ConflictError
        If others keep writing at the same time.
    StoreUnavailableError
        If the bucket does not respond.
    """
    if verdict == "snooze":
        metrics = sorted({each.metric for each in incident.members})
        given = Feedback(incident.id, verdict, by, now, until, metrics=metrics)
    else:
        marks = [mark for mark in map(mark_of, incident.members) if mark]
        given = Feedback(incident.id, verdict, by, now, marks=marks)

    def add(feedback: list[Feedback]) -> list[Feedback]:
        if _holding(feedback, given):
            return feedback
        replaced = EXCLUSIVE if verdict in EXCLUSIVE else frozenset({verdict})
        return [*_undone(feedback, incident.id, replaced, by, now), given]

    return _holding(_change(store, add), given) or given


def undo_feedback(store: ObjectStore, incident_id: str, by: str, now: int) -> list[Feedback]:
    """Take back all that has been said of an incident; return what that was.

    Raises
    ------
    CorruptFeedbackError, ConflictError, StoreUnavailableError
        See `give_feedback`.
    """
    everything: frozenset[Verdict] = frozenset({"fine", "real", "snooze"})
    after = _change(store, lambda each: _undone(each, incident_id, everything, by, now))
    undo = Undo(by, now)
    return [each for each in after if each.incident == incident_id and each.undone == undo]


def _holding(feedback: Sequence[Feedback], given: Feedback) -> Feedback | None:
    """Return what says the same already: of an incident that has grown since, it does not."""
    same = ("incident", "verdict", "until")
    for each in feedback:
        is_same = all(getattr(each, name) == getattr(given, name) for name in same)
        covered = {mark.anomaly for mark in each.marks}
        if is_same and not each.undone and covered >= {mark.anomaly for mark in given.marks}:
            return each
    return None


def _undone(
    feedback: Sequence[Feedback],
    incident_id: str,
    verdicts: frozenset[Verdict],
    by: str,
    now: int,
) -> list[Feedback]:
    return [
        msgspec.structs.replace(each, undone=Undo(by, now))
        if each.incident == incident_id and each.verdict in verdicts and not each.undone
        else each
        for each in feedback
    ]


def _change(
    store: ObjectStore, change: Callable[[list[Feedback]], list[Feedback]]
) -> list[Feedback]:
    """Change the file, after whoever else has changed it in between."""
    for _ in range(ATTEMPTS):
        try:
            stored = store.read(FEEDBACK_KEY)
        except ObjectNotFoundError:
            stored = None
        before = decode_feedback(stored.data) if stored else []
        after = change(before)
        if after == before:
            return before
        try:
            store.write(FEEDBACK_KEY, encode_feedback(after), stored.etag if stored else None)
        except ConflictError:
            continue
        return after
    raise ConflictError(FEEDBACK_KEY)
