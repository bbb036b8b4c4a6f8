"""What has been decided is claimed by one watcher, told in order, and kept until it arrives."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ops_anomaly.watcher.outbox import GIVEN_UP_SECONDS, Notification, claim, settled, tell
from tests.support.fakes import FakeChannel
from tests.support.watcher import NOON

LEASE = 270


def notice(name: str = "i/opened", **more: object) -> Notification:
    """Return a notice, called by its incident and its kind."""
    plain = Notification(
        id=name,
        about=name.partition("/")[0],
        detail_type="Anomaly Opened",
        detail={"severity": 0.9},
        subject=name,
        message=name,
        made_at=NOON,
    )
    return msgspec.structs.replace(plain, **more)


def ids(notices: Sequence[Notification]) -> list[str]:
    return [each.id for each in notices]


def channels() -> tuple[FakeChannel, FakeChannel]:
    return FakeChannel("event"), FakeChannel("message")


class PickyChannel(FakeChannel):
    """A channel that refuses one notice."""

    def send(self, notices: Sequence[Notification]) -> set[str]:
        return {"a/opened"} & set(ids(notices)) | super().send(
            [each for each in notices if each.id != "a/opened"]
        )


def test_what_nobody_has_claimed_is_claimed() -> None:
    outbox, mine = claim((notice(),), NOON, LEASE)
    assert outbox == mine == (notice(claimed_at=float(NOON)),)


def test_what_another_has_claimed_is_left_to_it_until_its_claim_runs_out() -> None:
    claimed = (notice(claimed_at=float(NOON)),)
    assert claim(claimed, NOON + LEASE - 1, LEASE) == (claimed, ())
    _, mine = claim(claimed, NOON + LEASE, LEASE)
    assert ids(mine) == ["i/opened"]


def test_of_several_only_what_is_free_is_claimed() -> None:
    taken, free = notice("a/opened", claimed_at=float(NOON)), notice("b/opened")
    outbox, mine = claim((taken, free), NOON + 1, LEASE)
    assert ids(outbox) == ["a/opened", "b/opened"]
    assert ids(mine) == ["b/opened"]


def test_every_channel_is_told_in_the_order_of_each_incident() -> None:
    event, message = channels()
    decided = tuple(map(notice, ["a/opened", "b/opened", "a/closed", "b/closed", "c/opened"]))
    assert set(tell(decided, (event, message)).values()) == {()}
    for channel in (event, message):
        told = ids(channel.told)
        assert sorted(told) == sorted(ids(decided))
        assert told.index("a/opened") < told.index("a/closed")
        assert told.index("b/opened") < told.index("b/closed")


def test_an_end_is_not_told_before_a_beginning_that_was_refused() -> None:
    event, message = PickyChannel("event"), FakeChannel("message")
    waiting = tell(tuple(map(notice, ["a/opened", "a/closed", "b/opened"])), (event, message))
    assert ids(event.told) == ["b/opened"]
    assert ids(message.told) == ["a/opened", "b/opened", "a/closed"]
    assert waiting == {"a/opened": ("event",), "a/closed": ("event",), "b/opened": ()}


def test_a_channel_that_was_told_is_not_told_again() -> None:
    event, message = channels()
    tell((notice(waiting=("message",)),), (event, message))
    assert (ids(event.told), ids(message.told)) == ([], ["i/opened"])


def test_what_was_told_is_crossed_out_and_what_others_tell_stays() -> None:
    outbox = (notice("a/opened"), notice("b/opened"))
    assert ids(settled(outbox, {"a/opened": ()}, NOON, print)) == ["b/opened"]


def test_what_was_refused_stays_for_the_channel_that_refused_and_is_free_at_once() -> None:
    outbox = (notice(claimed_at=float(NOON)),)
    [left] = settled(outbox, {"i/opened": ("message",)}, NOON, print)
    assert left == notice(waiting=("message",))


def test_what_could_not_be_told_for_a_day_is_given_up_and_reported() -> None:
    given_up: list[Notification] = []
    waiting = {"i/opened": ("event",)}
    a_day_later = NOON + GIVEN_UP_SECONDS
    assert settled((notice(),), waiting, a_day_later, given_up.append)
    assert not given_up
    assert not settled((notice(),), waiting, a_day_later + 1, given_up.append)
    assert ids(given_up) == ["i/opened"]


def test_of_an_incident_that_another_is_telling_nothing_later_is_claimed() -> None:
    outbox, _ = claim((notice("i/opened", about="i"),), NOON, LEASE)
    later = (*outbox, notice("i/closed", about="i"), notice("j/opened", about="j"))
    assert ids(claim(later, NOON + 10, LEASE)[1]) == ["j/opened"]
    assert ids(claim(later, NOON + LEASE, LEASE)[1]) == ["i/opened", "i/closed", "j/opened"]
