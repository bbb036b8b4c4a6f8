"""Feedback: what is kept of what people say, whoever says something else meanwhile."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np
import pytest

from ops_anomaly.aws.errors import ConflictError, CorruptFeedbackError
from ops_anomaly.aws.objects import FEEDBACK_KEY
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.feedback import (
    NO_FEEDBACK,
    Feedback,
    Mark,
    MetricFeedback,
    Undo,
    by_metric,
    is_like,
)
from ops_anomaly.watcher.feedback_file import (
    ATTEMPTS,
    decode_feedback,
    encode_feedback,
    give_feedback,
    undo_feedback,
)
from ops_anomaly.watcher.incidents import Incident
from tests.support import boards
from tests.support.incidents import expecting
from tests.support.shard_jobs import RacingStore

INCIDENT, OTHER = boards.single(), boards.closed()
NOW, LATER, HOUR = boards.NOW, boards.NOW + 60_000, 3_600_000


@pytest.fixture
def store() -> RacingStore:
    return RacingStore()


def kept(store: RacingStore) -> list[Feedback]:
    return decode_feedback(store.objects[FEEDBACK_KEY].data)


def verdicts(store: RacingStore) -> list[tuple[str, str, bool]]:
    """Who said what, and whether it has been undone."""
    return [(each.by, each.verdict, each.undone is not None) for each in kept(store)]


# --- kept once ----------------------------------------------------------------------------------


def test_who_and_when_and_how_far_the_readings_went_is_kept(store: RacingStore) -> None:
    given = give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    assert kept(store) == [given]
    assert (given.incident, given.verdict, given.by, given.at) == (INCIDENT.id, "fine", "me", NOW)
    [mark], [member] = given.marks, INCIDENT.members
    assert (mark.metric, mark.anomaly) == (member.metric, member.anomaly.id)
    assert (mark.start, mark.stop) == (member.anomaly.first_seen, member.anomaly.last_seen)
    extremes = member.anomaly.extremes
    assert (mark.lowest, mark.highest) == (extremes.lowest, extremes.highest)
    assert (mark.below, mark.above) == (extremes.below, extremes.above)


def test_saying_it_twice_changes_nothing(store: RacingStore) -> None:
    first = give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    assert give_feedback(store, INCIDENT, "fine", "you", LATER, None) == first
    assert store.writes == 1


def test_the_later_of_fine_and_real_holds(store: RacingStore) -> None:
    give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    give_feedback(store, INCIDENT, "real", "you", LATER, None)
    assert verdicts(store) == [("me", "fine", True), ("you", "real", False)]
    assert kept(store)[0].undone == Undo("you", LATER)


def test_a_snooze_is_beside_them_and_a_later_one_is_instead_of_it(store: RacingStore) -> None:
    give_feedback(store, INCIDENT, "real", "me", NOW, None)
    give_feedback(store, INCIDENT, "snooze", "me", NOW, NOW + HOUR)
    give_feedback(store, INCIDENT, "snooze", "me", LATER, LATER + HOUR)
    assert verdicts(store) == [
        ("me", "real", False),
        ("me", "snooze", True),
        ("me", "snooze", False),
    ]
    assert kept(store)[1].marks == []


def test_of_an_incident_that_has_grown_it_can_be_said_again(store: RacingStore) -> None:
    whole = boards.outage()
    small = Incident(whole.id, whole.opened_at, whole.members[:2])
    give_feedback(store, small, "fine", "me", NOW, None)
    given = give_feedback(store, whole, "fine", "me", LATER, None)
    assert len(given.marks) == len(whole.members)
    assert verdicts(store) == [("me", "fine", True), ("me", "fine", False)]
    assert give_feedback(store, small, "fine", "me", LATER, None) == given


def test_of_a_silence_there_is_nothing_to_learn(store: RacingStore) -> None:
    given = give_feedback(store, boards.silence(), "fine", "me", NOW, None)
    assert given.marks == []


# --- taken back ---------------------------------------------------------------------------------


def test_undo_takes_back_all_that_was_said_of_an_incident_and_of_no_other(
    store: RacingStore,
) -> None:
    give_feedback(store, INCIDENT, "real", "me", NOW, None)
    give_feedback(store, INCIDENT, "snooze", "me", NOW, NOW + HOUR)
    give_feedback(store, OTHER, "fine", "me", NOW, None)
    undone = undo_feedback(store, INCIDENT.id, "you", LATER)
    assert [each.verdict for each in undone] == ["real", "snooze"]
    assert verdicts(store) == [("me", "real", True), ("me", "snooze", True), ("me", "fine", False)]
    assert undo_feedback(store, INCIDENT.id, "you", LATER + 1) == []


def test_what_was_undone_can_be_said_again(store: RacingStore) -> None:
    give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    undo_feedback(store, INCIDENT.id, "me", NOW)
    give_feedback(store, INCIDENT, "fine", "me", LATER, None)
    assert verdicts(store) == [("me", "fine", True), ("me", "fine", False)]


def test_undo_of_nothing_writes_nothing(store: RacingStore) -> None:
    assert undo_feedback(store, INCIDENT.id, "me", NOW) == []
    assert store.writes == 0


# --- several people, and a damaged file ---------------------------------------------------------


def test_of_two_people_at_the_same_time_both_are_kept(store: RacingStore) -> None:
    store.others = [lambda: give_feedback(store, OTHER, "real", "you", NOW, None)]
    give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    assert verdicts(store) == [("you", "real", False), ("me", "fine", False)]


def test_of_two_people_who_contradict_each_other_the_later_holds(store: RacingStore) -> None:
    store.others = [lambda: give_feedback(store, INCIDENT, "real", "you", NOW, None)]
    give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    assert verdicts(store) == [("you", "real", True), ("me", "fine", False)]


def test_where_others_keep_writing_it_is_refused_in_the_end(store: RacingStore) -> None:
    def write(number: int) -> None:
        said = Feedback(f"other-{number}", "real", "you", NOW)
        before = store.objects.get(FEEDBACK_KEY)
        known = decode_feedback(before.data) if before else []
        store.objects.pop(FEEDBACK_KEY, None)
        store.put(FEEDBACK_KEY, encode_feedback([*known, said]))

    store.others = [partial(write, number) for number in range(ATTEMPTS)]
    with pytest.raises(ConflictError):
        give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    assert {each.by for each in kept(store)} == {"you"}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"fine",
        b"[]",
        b'{"version": 2, "feedback": []}',
        b'{"version": 1, "feedback": [{"incident": "a", "verdict": "dull", "by": "", "at": 0}]}',
        b'{"version": 1, "feedback": [], "more": 1}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_can_not_be_read_is_refused_and_never_written_over(
    store: RacingStore, damaged: bytes
) -> None:
    store.put(FEEDBACK_KEY, damaged)
    with pytest.raises(CorruptFeedbackError, match=r"feedback/feedback\.json is not a file of"):
        give_feedback(store, INCIDENT, "fine", "me", NOW, None)
    with pytest.raises(CorruptFeedbackError):
        undo_feedback(store, INCIDENT.id, "me", NOW)
    assert store.objects[FEEDBACK_KEY].data == damaged


# --- what holds of a metric ---------------------------------------------------------------------


def test_only_what_has_not_been_undone_holds_of_its_own_metric() -> None:
    marks = [msgspec.structs.replace(RISE, metric=name, anomaly=name) for name in ("a", "b", "c")]
    found = by_metric(
        [
            Feedback("1", "fine", "me", NOW, marks=marks[:2]),
            Feedback("2", "real", "me", NOW, marks=marks[:1]),
            Feedback("3", "fine", "me", NOW, marks=marks[2:], undone=Undo("me", NOW)),
            Feedback("4", "snooze", "me", NOW, NOW + HOUR),
        ]
    )
    assert found == {
        "a": MetricFeedback(fine=(marks[0],), real=(marks[0],)),
        "b": MetricFeedback(fine=(marks[1],)),
    }
    assert "c" not in found
    assert found.get("c", NO_FEEDBACK) == MetricFeedback((), ())


RISE = Mark("x", "m", 0, 1, lowest=80.0, highest=90.0, below=0.0, above=40.0)
"""Between 80 and 90, up to 40 above what was expected: 10 to spare."""

FALL = Mark("x", "m", 0, 1, lowest=5.0, highest=10.0, below=20.0, above=0.0)
BOTH = Mark("x", "m", 0, 1, lowest=0.0, highest=100.0, below=20.0, above=40.0)
UNKNOWN = Mark("x", "m", 0, 1, lowest=80.0, highest=90.0, below=0.0, above=0.0)
NAN = float("nan")


@pytest.mark.parametrize(
    ("mark", "value", "expected", "alike"),
    [
        (RISE, 85.0, 50.0, True),
        (RISE, 100.0, 50.0, True),  # as far beyond as there is to spare
        (RISE, 100.1, 60.0, False),  # a higher value
        (RISE, 90.0, 39.9, False),  # a larger deviation
        (RISE, 69.9, 50.0, False),  # a lower value
        (RISE, 75.0, 100.0, False),  # on the other side
        (RISE, 85.0, NAN, True),  # it is not known what was expected: the value decides
        (FALL, 6.0, 26.0, True),
        (FALL, 6.0, 31.1, False),
        (FALL, -0.1, 20.0, False),
        (FALL, 8.0, 7.0, False),
        (BOTH, 50.0, 75.0, True),
        (BOTH, 50.0, 100.0, False),
        (BOTH, 50.0, 5.0, True),
        (UNKNOWN, 85.0, NAN, True),
        (UNKNOWN, 90.1, NAN, False),
        (UNKNOWN, 85.0, 84.0, False),  # of whose deviation nothing was known
    ],
)
def test_a_reading_is_like_what_was_fine_by_its_value_and_its_deviation(
    mark: Mark, value: float, expected: float, alike: bool
) -> None:
    assert like(value, expected, [mark]) is alike


def test_a_reading_need_only_be_like_one_of_several() -> None:
    assert like(85.0, 50.0, [FALL, RISE])
    assert not like(85.0, 50.0, [])


def like(value: float, expected: float, fine: list[Mark]) -> bool:
    one = np.array([value]), np.array([expected])
    return bool(is_like(Series(np.array([0]), one[0]), expecting(one[1]), fine)[0])
