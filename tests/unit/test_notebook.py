"""What is decided and what is told of it: one write, one voice, whoever dies or comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ops_anomaly.aws.errors import ConflictError, StoreUnavailableError
from ops_anomaly.watcher.alarm_verdicts import (
    AlarmIncident,
    AlarmState,
    decode_alarm_state,
    encode_alarm_state,
)
from ops_anomaly.watcher.documents import BusyError, CorruptStateError, VersionedDocument
from ops_anomaly.watcher.outbox import GIVEN_UP_SECONDS, Notification, Outbox
from tests.support.fakes import FakeChannel
from tests.support.shard_jobs import RacingStore
from tests.support.watcher import NOON, WallClock

LEASE = 270
REMEMBERED = (
    b'{"version":1,"until":1795608072.25,"incident":{"id":"0123456789abcdef","since":1795608000.0,'
    b'"detail":{"version":"1","severity":null}},"outbox":[{"id":"i/opened","about":"i",'
    b'"detail_type":"Anomaly Opened","detail":{"severity":0.9},"subject":"subject",'
    b'"message":"message","made_at":1795608000.0,"claimed_at":1795608090.5,"waiting":["event"]}]}'
)
"""Of an alarm, as the first version of the watcher wrote it: what lies in users' buckets."""
KEY = "state/something"


def notice(incident: str = "i", **more: Any) -> Notification:
    return Notification(
        id=f"{incident}/opened",
        about=incident,
        detail_type="Anomaly Opened",
        detail={"severity": 0.9},
        subject="subject",
        message="message",
        made_at=float(NOON),
        **more,
    )


def ids(notices: Sequence[Notification]) -> list[str]:
    return [each.id for each in notices]


class DyingChannel(FakeChannel):
    """A channel whose user runs out of time before anything is sent."""

    def send(self, notices: Sequence[Notification]) -> set[str]:
        raise TimeoutError(f"while telling {ids(notices)}")


class Desk:
    """A notebook in a bucket, two channels and a clock."""

    def __init__(self) -> None:
        self.store, self.clock = RacingStore(), WallClock()
        self.event, self.message = FakeChannel("event"), FakeChannel("message")
        self.given_up: list[Notification] = []
        self.notebook = VersionedDocument(
            self.store,
            KEY,
            AlarmState(),
            decode_alarm_state,
            encode_alarm_state,
            lease_seconds=LEASE,
        )

    def decide(self, *notices: Notification, by: FakeChannel | None = None) -> AlarmState:
        """Read, add these notices, and tell what is to be told."""
        page = self.notebook.open()
        state = AlarmState(until=page.state.until, outbox=(*page.state.outbox, *notices))
        ways = [by or self.event, self.message]
        return self.notebook.commit_and_deliver(page, state, ways, self.clock, self.given_up.append)

    @property
    def kept(self) -> Outbox:
        return self.notebook.open().state.outbox


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_is_decided_is_told_and_crossed_out(desk: Desk) -> None:
    assert desk.decide(notice()).outbox == ()
    assert ids(desk.event.told) == ids(desk.message.told) == ["i/opened"]
    assert desk.kept == ()


def test_where_nothing_is_to_be_told_one_write_is_enough(desk: Desk) -> None:
    desk.decide()
    assert desk.store.writes == 1


def test_who_finds_that_another_wrote_tells_nothing(desk: Desk) -> None:
    desk.store.others = [lambda: desk.notebook.note(desk.notebook.open(), AlarmState(until=1.0))]
    with pytest.raises(ConflictError):
        desk.decide(notice())
    assert desk.event.told == desk.message.told == []
    assert desk.notebook.open().state == AlarmState(until=1.0)


def test_what_could_not_be_written_is_not_told(desk: Desk) -> None:
    page = desk.notebook.open()
    desk.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        desk.notebook.commit_and_deliver(
            page, AlarmState(outbox=(notice(),)), [desk.event], desk.clock, print
        )
    assert desk.event.told == []


def test_what_a_watcher_that_died_had_claimed_is_told_once_by_the_next(desk: Desk) -> None:
    with pytest.raises(TimeoutError):
        desk.decide(notice(), by=DyingChannel("event"))
    desk.clock.seconds += LEASE - 1
    desk.decide()
    assert desk.event.told == []  # the other one might still be at it
    desk.clock.seconds += 1
    desk.decide()
    desk.decide()
    assert ids(desk.event.told) == ids(desk.message.told) == ["i/opened"]
    assert desk.kept == ()


def test_while_one_watcher_tells_another_tells_nothing_of_it(desk: Desk) -> None:
    # the other one looks while the first has told, but has not crossed out
    desk.store.others = [lambda: None, desk.decide]
    desk.decide(notice())
    assert ids(desk.event.told) == ids(desk.message.told) == ["i/opened"]
    assert desk.kept == ()


def test_what_others_decide_meanwhile_is_kept(desk: Desk) -> None:
    def other() -> None:
        page = desk.notebook.open()
        later = AlarmState(until=9.0, outbox=(*page.state.outbox, notice("other")))
        desk.notebook.note(page, later)

    desk.store.others = [lambda: None, other]
    after = desk.decide(notice("mine"))
    assert (after.until, ids(after.outbox)) == (9.0, ["other/opened"])
    assert ids(desk.event.told) == ["mine/opened"]


def test_who_can_not_cross_out_asks_for_a_retry_and_the_next_may_tell_again(desk: Desk) -> None:
    def conflict() -> None:
        raise ConflictError(KEY)

    desk.store.others = [lambda: None, *[conflict] * 100]
    with pytest.raises(BusyError, match=KEY):
        desk.decide(notice())
    assert ids(desk.kept) == ids(desk.event.told) == ["i/opened"]


def test_what_was_refused_is_told_by_the_next_look_on_that_channel_alone(desk: Desk) -> None:
    desk.message.is_down = True
    assert ids(desk.decide(notice()).outbox) == ["i/opened"]
    desk.message.is_down = False
    assert desk.decide().outbox == ()
    assert ids(desk.event.told) == ids(desk.message.told) == ["i/opened"]


def test_what_is_given_up_is_reported(desk: Desk) -> None:
    desk.event.is_down = True
    desk.decide(notice())
    desk.clock.seconds += GIVEN_UP_SECONDS + 1
    desk.decide()
    assert ids(desk.given_up) == ["i/opened"]
    assert desk.kept == ()


def test_what_earlier_versions_remembered_of_an_alarm_is_read_and_written_as_it_was() -> None:
    incident = AlarmIncident(
        id="0123456789abcdef", since=float(NOON), detail={"version": "1", "severity": None}
    )
    waiting = notice(claimed_at=NOON + 90.5, waiting=("event",))
    memory = AlarmState(until=NOON + 72.25, incident=incident, outbox=(waiting,))
    assert decode_alarm_state(REMEMBERED) == memory
    assert encode_alarm_state(memory) == REMEMBERED


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"version":1', b'"version":2'),
        (b'"version":1', b'"version":true'),
        (b"1795608072.25", b'"1795608072.25"'),
        (b"1795608072.25", b"NaN"),
        (b'"since":1795608000.0,', b""),
        (b'["event"]', b'["pigeon"]'),
        (b'"detail":{"severity":0.9}', b'"detail":[0.9]'),
        (b'"subject"', b'"sub\xffject"'),
        (b"]}", b"]}}"),
    ],
)
def test_what_is_not_remembered_of_an_alarm_is_refused(part: bytes, other: bytes) -> None:
    assert part in REMEMBERED
    with pytest.raises(CorruptStateError):
        decode_alarm_state(REMEMBERED.replace(part, other))


def test_what_nests_too_deep_is_not_remembered_of_an_alarm() -> None:
    with pytest.raises(CorruptStateError):
        decode_alarm_state(REMEMBERED.replace(b'"severity":null', b'"severity":' + b"[" * 100_000))


def test_a_new_page_and_an_unreadable_one_are_told_apart(desk: Desk) -> None:
    page = desk.notebook.open()
    assert (page.state, page.is_new, page.is_unreadable) == (AlarmState(), True, False)
    desk.store.put(KEY, b"what is this")
    page = desk.notebook.open()
    assert (page.state, page.is_new, page.is_unreadable) == (AlarmState(), False, True)


def test_an_unreadable_page_is_written_over_unless_another_did_so_first(desk: Desk) -> None:
    desk.store.put(KEY, b"what is this")
    mine, theirs = desk.notebook.open(), desk.notebook.open()
    desk.notebook.note(mine, AlarmState(until=1.0))
    with pytest.raises(ConflictError):
        desk.notebook.note(theirs, AlarmState(until=2.0))
    assert desk.notebook.open().state.until == 1.0
