"""The outbox: one write, one delivery, whoever dies or comes first; and the two channels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ops_anomaly.aws.errors import ConflictError, StoreUnavailableError
from ops_anomaly.watcher.alarms import AlarmState, decode_alarm_state, encode_alarm_state
from ops_anomaly.watcher.incidents import AlarmIncident
from ops_anomaly.watcher.outbox import (
    EXPIRY_MS,
    MAX_BATCH,
    BatchChannel,
    BusyError,
    CorruptStateError,
    EventChannel,
    MessageChannel,
    Notification,
    Outbox,
    VersionedDocument,
    claim,
    deliver,
    settle,
)
from tests.support.fake_cloudwatch import client_error
from tests.support.fakes import FakeChannel
from tests.support.shard_jobs import RacingStore
from tests.support.watcher import NOON_MS, WallClock

LEASE_MS = 270_000
KEY = "state/something"


def notification(name: str = "i/opened", **more: object) -> Notification:
    """Return a notification, named by its incident and its kind."""
    plain = Notification(
        id=name,
        about=name.partition("/")[0],
        detail_type="Anomaly Opened",
        detail={"severity": 0.9},
        subject=f"subject of {name}",
        message=f"message of {name}",
        made_at=NOON_MS,
    )
    return msgspec.structs.replace(plain, **more)


def ids(notifications: Sequence[Notification]) -> list[str]:
    return [each.id for each in notifications]


# --- claims -------------------------------------------------------------------------------------


def test_an_unclaimed_notification_is_claimed() -> None:
    outbox, mine = claim((notification(),), NOON_MS, LEASE_MS)
    assert outbox == mine == (notification(claimed_at=NOON_MS),)


def test_a_claim_holds_until_its_lease_expires() -> None:
    claimed = (notification(claimed_at=NOON_MS),)
    assert claim(claimed, NOON_MS + LEASE_MS - 1, LEASE_MS) == (claimed, ())
    _, mine = claim(claimed, NOON_MS + LEASE_MS, LEASE_MS)
    assert ids(mine) == ["i/opened"]


def test_only_unclaimed_notifications_are_claimed() -> None:
    taken, free = notification("a/opened", claimed_at=NOON_MS), notification("b/opened")
    outbox, mine = claim((taken, free), NOON_MS + 1, LEASE_MS)
    assert ids(outbox) == ["a/opened", "b/opened"]
    assert ids(mine) == ["b/opened"]


def test_later_notifications_of_an_incident_wait_for_the_claimed_one() -> None:
    outbox, _ = claim((notification("i/opened"),), NOON_MS, LEASE_MS)
    later = (*outbox, notification("i/closed"), notification("j/opened"))
    assert ids(claim(later, NOON_MS + 10, LEASE_MS)[1]) == ["j/opened"]
    _, mine = claim(later, NOON_MS + LEASE_MS, LEASE_MS)
    assert ids(mine) == ["i/opened", "i/closed", "j/opened"]


# --- delivery -----------------------------------------------------------------------------------


class PickyChannel(FakeChannel):
    """A channel that refuses one notification."""

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        return {"a/opened"} & set(ids(notifications)) | super().send(
            [each for each in notifications if each.id != "a/opened"]
        )


def test_every_channel_gets_the_notifications_of_an_incident_in_order() -> None:
    event, message = FakeChannel("event"), FakeChannel("message")
    names = ["a/opened", "b/opened", "a/closed", "b/closed", "c/opened"]
    decided = tuple(map(notification, names))
    assert set(deliver(decided, (event, message)).values()) == {()}
    for channel in (event, message):
        sent = ids(channel.sent)
        assert sorted(sent) == sorted(names)
        assert sent.index("a/opened") < sent.index("a/closed")
        assert sent.index("b/opened") < sent.index("b/closed")


def test_an_incident_does_not_close_before_its_opening_was_accepted() -> None:
    event, message = PickyChannel("event"), FakeChannel("message")
    decided = tuple(map(notification, ["a/opened", "a/closed", "b/opened"]))
    waiting = deliver(decided, (event, message))
    assert ids(event.sent) == ["b/opened"]
    assert ids(message.sent) == ["a/opened", "b/opened", "a/closed"]
    assert waiting == {"a/opened": ("event",), "a/closed": ("event",), "b/opened": ()}


def test_a_channel_that_has_accepted_a_notification_does_not_get_it_again() -> None:
    event, message = FakeChannel("event"), FakeChannel("message")
    deliver((notification(waiting=("message",)),), (event, message))
    assert (ids(event.sent), ids(message.sent)) == ([], ["i/opened"])


def test_delivered_notifications_are_removed_and_others_stay() -> None:
    outbox = (notification("a/opened"), notification("b/opened"))
    assert ids(settle(outbox, {"a/opened": ()}, NOON_MS, print)) == ["b/opened"]


def test_a_refused_notification_stays_unclaimed_for_the_channel_that_refused() -> None:
    outbox = (notification(claimed_at=NOON_MS),)
    [left] = settle(outbox, {"i/opened": ("message",)}, NOON_MS, print)
    assert left == notification(waiting=("message",))


def test_a_notification_expires_after_a_day() -> None:
    expired: list[Notification] = []
    waiting = {"i/opened": ("event",)}
    assert settle((notification(),), waiting, NOON_MS + EXPIRY_MS, expired.append)
    assert not expired
    assert not settle((notification(),), waiting, NOON_MS + EXPIRY_MS + 1, expired.append)
    assert ids(expired) == ["i/opened"]


# --- the document -------------------------------------------------------------------------------


class DyingChannel(FakeChannel):
    """A channel whose process runs out of time before anything is sent."""

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        raise TimeoutError(f"while sending {ids(notifications)}")


class Desk:
    """A document in a bucket, two channels and a clock."""

    def __init__(self) -> None:
        self.store, self.clock = RacingStore(), WallClock()
        self.event, self.message = FakeChannel("event"), FakeChannel("message")
        self.expired: list[Notification] = []
        self.document = VersionedDocument(
            self.store, KEY, AlarmState(), decode_alarm_state, encode_alarm_state, LEASE_MS
        )

    def decide(self, *new: Notification, by: FakeChannel | None = None) -> AlarmState:
        """Read, add notifications, and deliver what is due."""
        snapshot = self.document.snapshot()
        state = AlarmState(until=snapshot.state.until, outbox=(*snapshot.state.outbox, *new))
        channels = [by or self.event, self.message]
        return self.document.commit_and_deliver(
            snapshot, state, channels, self.clock, self.expired.append
        )

    @property
    def kept(self) -> Outbox:
        return self.document.snapshot().state.outbox


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_decision_is_delivered_and_removed(desk: Desk) -> None:
    assert desk.decide(notification()).outbox == ()
    assert ids(desk.event.sent) == ids(desk.message.sent) == ["i/opened"]
    assert desk.kept == ()


def test_one_write_is_enough_if_there_is_nothing_to_deliver(desk: Desk) -> None:
    desk.decide()
    assert desk.store.writes == 1


def test_nothing_is_delivered_after_a_conflict(desk: Desk) -> None:
    def other() -> None:
        desk.document.commit(desk.document.snapshot(), AlarmState(until=1))

    desk.store.others = [other]
    with pytest.raises(ConflictError):
        desk.decide(notification())
    assert desk.event.sent == desk.message.sent == []
    assert desk.document.snapshot().state == AlarmState(until=1)


def test_nothing_is_delivered_that_could_not_be_written(desk: Desk) -> None:
    snapshot = desk.document.snapshot()
    desk.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        desk.document.commit_and_deliver(
            snapshot, AlarmState(outbox=(notification(),)), [desk.event], desk.clock, print
        )
    assert desk.event.sent == []


def test_the_next_process_delivers_what_a_dead_one_had_claimed(desk: Desk) -> None:
    with pytest.raises(TimeoutError):
        desk.decide(notification(), by=DyingChannel("event"))
    desk.clock.seconds += LEASE_MS / 1000 - 1
    desk.decide()
    assert desk.event.sent == []  # the first one might still be at it
    desk.clock.seconds += 1
    desk.decide()
    desk.decide()
    assert ids(desk.event.sent) == ids(desk.message.sent) == ["i/opened"]
    assert desk.kept == ()


def test_nobody_else_delivers_what_is_being_delivered(desk: Desk) -> None:
    # the other one comes after the delivery, and before it is removed
    desk.store.others = [lambda: None, desk.decide]
    desk.decide(notification())
    assert ids(desk.event.sent) == ids(desk.message.sent) == ["i/opened"]
    assert desk.kept == ()


def test_decisions_of_others_during_a_delivery_are_kept(desk: Desk) -> None:
    def other() -> None:
        snapshot = desk.document.snapshot()
        outbox = (*snapshot.state.outbox, notification("other/opened"))
        desk.document.commit(snapshot, AlarmState(until=9, outbox=outbox))

    desk.store.others = [lambda: None, other]
    after = desk.decide(notification("mine/opened"))
    assert (after.until, ids(after.outbox)) == (9, ["other/opened"])
    assert ids(desk.event.sent) == ["mine/opened"]


def test_a_retry_is_needed_if_the_delivery_can_not_be_recorded(desk: Desk) -> None:
    def conflict() -> None:
        raise ConflictError(KEY)

    desk.store.others = [lambda: None, *[conflict] * 100]
    with pytest.raises(BusyError, match=KEY):
        desk.decide(notification())
    assert ids(desk.kept) == ids(desk.event.sent) == ["i/opened"]


def test_a_refused_notification_is_retried_on_that_channel_alone(desk: Desk) -> None:
    desk.message.is_down = True
    assert ids(desk.decide(notification()).outbox) == ["i/opened"]
    desk.message.is_down = False
    assert desk.decide().outbox == ()
    assert ids(desk.event.sent) == ids(desk.message.sent) == ["i/opened"]


def test_expired_notifications_are_reported(desk: Desk) -> None:
    desk.event.is_down = True
    desk.decide(notification())
    desk.clock.seconds += EXPIRY_MS / 1000 + 1
    desk.decide()
    assert ids(desk.expired) == ["i/opened"]
    assert desk.kept == ()


def test_a_missing_object_is_new_and_an_unreadable_one_is_corrupt(desk: Desk) -> None:
    snapshot = desk.document.snapshot()
    assert (snapshot.state, snapshot.is_new, snapshot.is_corrupt) == (AlarmState(), True, False)
    desk.store.put(KEY, b"something else")
    snapshot = desk.document.snapshot()
    assert (snapshot.state, snapshot.is_new, snapshot.is_corrupt) == (AlarmState(), False, True)


def test_a_corrupt_object_is_replaced_by_whoever_comes_first(desk: Desk) -> None:
    desk.store.put(KEY, b"something else")
    mine, theirs = desk.document.snapshot(), desk.document.snapshot()
    desk.document.commit(mine, AlarmState(until=1))
    with pytest.raises(ConflictError):
        desk.document.commit(theirs, AlarmState(until=2))
    assert desk.document.snapshot().state.until == 1


# --- the stored state of an alarm ---------------------------------------------------------------

ALARM_STATE = AlarmState(
    until=NOON_MS + 72_250,
    incident=AlarmIncident(id="01234567", since=NOON_MS, detail={"severity": None}),
    outbox=(notification(claimed_at=NOON_MS + 90, waiting=("event",)),),
)


def test_the_state_of_an_alarm_is_read_as_it_was_written() -> None:
    assert decode_alarm_state(encode_alarm_state(ALARM_STATE)) == ALARM_STATE


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"until":1', b'"until":"1"'),
        (b'"until":1', b'"until":NaN1'),
        (f'"since":{NOON_MS},'.encode(), b""),
        (b'["event"]', b'["pigeon"]'),
        (b'"detail":{"severity":0.9}', b'"detail":[0.9]'),
        (b'"subject of', b'"sub\xffject'),
        (b"]}", b"]}}"),
        (b'"severity":null', b'"severity":' + b"[" * 100_000),
    ],
)
def test_a_malformed_state_of_an_alarm_is_refused(part: bytes, other: bytes) -> None:
    written = encode_alarm_state(ALARM_STATE)
    assert part in written
    with pytest.raises(CorruptStateError):
        decode_alarm_state(written.replace(part, other))


# --- the channels -------------------------------------------------------------------------------


class FakeAws:
    """EventBridge and SNS, which refuse single entries by name, or fail as a whole."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.refused: set[str] = set()
        self.failures: list[Exception | None] = []

    def __call__(self) -> FakeAws:
        return self

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._called(Entries)
        refused = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}
        results = [
            refused if json.loads(each["Detail"]).get("name") in self.refused else {"EventId": "1"}
            for each in Entries
        ]
        return {"Entries": results, "FailedEntryCount": results.count(refused)}

    def publish_batch(
        self, TopicArn: str, PublishBatchRequestEntries: list[dict[str, Any]]
    ) -> dict[str, Any]:
        self._called(PublishBatchRequestEntries)
        failed = [
            {"Id": each["Id"], "Code": "ThrottlingException", "Message": "slow down"}
            for each in PublishBatchRequestEntries
            if each["Subject"] in self.refused
        ]
        return {"Successful": [], "Failed": failed}

    def _called(self, entries: list[dict[str, Any]]) -> None:
        self.calls.append(entries)
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure


def numbered(count: int) -> list[Notification]:
    """Return notifications whose name is in the event's detail and the message's subject."""
    return [
        notification(f"{n}/opened", subject=str(n), detail={"name": str(n), "severity": None})
        for n in range(count)
    ]


class Failures(dict[str, str]):
    """What a channel reports, by id."""

    def __call__(self, notification_id: str, reason: str) -> None:
        self[notification_id] = reason


CHANNELS = pytest.mark.parametrize("channel", [EventChannel, MessageChannel])


@CHANNELS
def test_no_call_is_larger_than_aws_allows(channel: type[BatchChannel]) -> None:
    aws, failures = FakeAws(), Failures()
    assert channel(aws, "target", failures).send(numbered(2 * MAX_BATCH + 5)) == set()
    assert [len(entries) for entries in aws.calls] == [MAX_BATCH, MAX_BATCH, 5]
    assert not failures


@CHANNELS
def test_no_call_is_made_without_notifications(channel: type[BatchChannel]) -> None:
    aws = FakeAws()
    assert channel(aws, "target", Failures()).send([]) == set()
    assert not aws.calls


@CHANNELS
def test_refused_entries_are_returned_and_reported_by_id(channel: type[BatchChannel]) -> None:
    aws, failures = FakeAws(), Failures()
    aws.refused = {"3", "12"}
    refused = channel(aws, "target", failures).send(numbered(15))
    assert refused == {"3/opened", "12/opened"}
    assert failures == dict.fromkeys(refused, "ThrottlingException: slow down")


@CHANNELS
@pytest.mark.parametrize(
    "failure",
    [client_error("Throttling", "x"), EndpointConnectionError(endpoint_url="https://aws")],
    ids=["an error", "no connection"],
)
def test_a_call_that_fails_refuses_its_batch_alone(
    channel: type[BatchChannel], failure: Exception
) -> None:
    aws, failures = FakeAws(), Failures()
    aws.failures = [None, failure]
    refused = channel(aws, "target", failures).send(numbered(25))
    assert refused == failures.keys() == {f"{n}/opened" for n in range(10, 20)}
    assert len(aws.calls) == 3


@CHANNELS
def test_a_missing_permission_is_named(channel: type[BatchChannel]) -> None:
    aws, failures = FakeAws(), Failures()
    aws.failures = [ClientError({"Error": {"Code": "AccessDeniedException"}}, "x")]
    channel(aws, "target", failures).send(numbered(1))
    assert channel.permission in failures["0/opened"]


def test_an_event_carries_the_detail() -> None:
    aws = FakeAws()
    EventChannel(aws, "my-bus", Failures()).send([notification()])
    [[entry]] = aws.calls
    assert entry == {
        "EventBusName": "my-bus",
        "Source": "ops-anomaly",
        "DetailType": "Anomaly Opened",
        "Detail": '{"severity": 0.9}',
    }


@pytest.mark.parametrize(("severity", "text"), [(0.9, "0.9"), (None, "0")])
def test_a_message_can_be_filtered_by_type_and_severity(severity: float | None, text: str) -> None:
    aws = FakeAws()
    sent = notification(detail={"severity": severity})
    MessageChannel(aws, "my-topic", Failures()).send([sent])
    [[entry]] = aws.calls
    assert (entry["Subject"], entry["Message"]) == (sent.subject, sent.message)
    assert entry["MessageAttributes"] == {
        "detail_type": {"DataType": "String", "StringValue": "Anomaly Opened"},
        "severity": {"DataType": "Number", "StringValue": text},
    }
