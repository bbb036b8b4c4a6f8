"""The outbox: a decision is written, then delivered, whoever dies in between; the two channels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ops_anomaly.aws.errors import ConflictError, StoreUnavailableError
from ops_anomaly.watcher.alarm_evaluation import AlarmIncident
from ops_anomaly.watcher.alarms import AlarmState, decode_alarm_state, encode_alarm_state
from ops_anomaly.watcher.outbox import (
    EXPIRY_MS,
    MAX_BATCH,
    BatchChannel,
    Channels,
    CorruptStateError,
    EventChannel,
    MessageChannel,
    Notification,
    OutboxDocument,
    Snapshot,
    deliver,
)
from tests.support.fake_cloudwatch import client_error
from tests.support.fakes import FakeChannel, channels
from tests.support.shard_jobs import RacingStore
from tests.support.watcher import NOON_MS, WallClock

KEY = "state/something"


def notification(name: str = "i/opened", **more: object) -> Notification:
    """Return a notification, named by its incident and its kind."""
    plain = Notification(
        id=name,
        about=name.partition("/")[0],
        detail_type="Incident Opened",
        detail={"severity": 0.9},
        subject=f"subject of {name}",
        message=f"message of {name}",
        made_at=NOON_MS,
    )
    return msgspec.structs.replace(plain, **more)


def ids(notifications: Sequence[Notification]) -> list[str]:
    return [each.id for each in notifications]


# --- delivery -----------------------------------------------------------------------------------


class PickyChannel(FakeChannel):
    """A channel that refuses notifications by id."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = set(refused)

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        failed = self.refused & set(ids(notifications))
        return failed | super().send([each for each in notifications if each.id not in failed])


def delivered(
    names: Sequence[str], by: Channels, now: int = NOON_MS
) -> tuple[list[tuple[str, Sequence[str]]], list[str]]:
    """Deliver notifications; return what is left, for which channels, and what has expired."""
    expired: list[Notification] = []
    left = deliver(tuple(map(notification, names)), by, now, expired.append)
    return [(each.id, each.waiting) for each in left], ids(expired)


def test_every_channel_gets_the_notifications_of_an_incident_in_order() -> None:
    event, message = FakeChannel(), FakeChannel()
    names = ["a/opened", "b/opened", "a/closed", "b/closed", "c/opened"]
    assert delivered(names, channels(event=event, message=message)) == ([], [])
    for channel in (event, message):
        sent = ids(channel.sent)
        assert sorted(sent) == sorted(names)
        assert sent.index("a/opened") < sent.index("a/closed")
        assert sent.index("b/opened") < sent.index("b/closed")


def test_notifications_of_several_incidents_are_sent_together() -> None:
    batches: list[list[str]] = []

    class CountingChannel(FakeChannel):
        def send(self, notifications: Sequence[Notification]) -> set[str]:
            batches.append(ids(notifications))
            return super().send(notifications)

    by = channels(event=CountingChannel(), message=FakeChannel())
    delivered(["a/opened", "b/opened", "a/closed", "c/opened"], by)
    assert batches == [["a/opened", "b/opened", "c/opened"], ["a/closed"]]


def test_an_incident_does_not_close_before_its_opening_was_accepted() -> None:
    event, message = PickyChannel("a/opened"), FakeChannel()
    by = channels(event=event, message=message)
    left, _ = delivered(["a/opened", "a/closed", "b/opened"], by)
    assert ids(event.sent) == ["b/opened"]
    assert ids(message.sent) == ["a/opened", "b/opened", "a/closed"]
    assert left == [("a/opened", ("event",)), ("a/closed", ("event",))]


def test_a_channel_that_is_down_does_not_hold_up_the_other() -> None:
    event, message = FakeChannel(), FakeChannel()
    event.is_down = True
    left, _ = delivered(["a/opened", "b/opened"], channels(event=event, message=message))
    assert ids(message.sent) == ["a/opened", "b/opened"]
    assert left == [("a/opened", ("event",)), ("b/opened", ("event",))]


def test_what_is_left_is_as_it_was_if_nothing_was_accepted() -> None:
    event, message = FakeChannel(), FakeChannel()
    event.is_down = message.is_down = True
    outbox = (notification("a/opened"), notification("a/closed"))
    assert deliver(outbox, channels(event=event, message=message), NOON_MS, print) == outbox


def test_a_channel_that_has_accepted_a_notification_does_not_get_it_again() -> None:
    event, message = FakeChannel(), FakeChannel()
    by = channels(event=event, message=message)
    assert deliver((notification(waiting=("message",)),), by, NOON_MS, print) == ()
    assert (ids(event.sent), ids(message.sent)) == ([], ["i/opened"])


def test_a_notification_expires_after_a_day_without_delivery() -> None:
    event = FakeChannel()
    event.is_down = True
    by, waiting = channels(event=event, message=FakeChannel()), [("i/opened", ("event",))]
    assert delivered(["i/opened"], by, now=NOON_MS + EXPIRY_MS) == (waiting, [])
    assert delivered(["i/opened"], by, now=NOON_MS + EXPIRY_MS + 1) == ([], ["i/opened"])


def test_an_old_notification_that_is_delivered_has_not_expired() -> None:
    event = FakeChannel()
    by = channels(event=event, message=FakeChannel())
    assert delivered(["i/opened"], by, now=NOON_MS + 2 * EXPIRY_MS) == ([], [])
    assert ids(event.sent) == ["i/opened"]


def test_a_notification_goes_to_the_topics_that_it_names_and_no_other() -> None:
    event, message, payments = FakeChannel(), FakeChannel(), FakeChannel()
    topic = "arn:aws:sns:eu-west-1:123456789012:payments"
    by = channels(**{"event": event, "message": message, topic: payments})
    outbox = (
        notification("a/opened", waiting=("event", "message")),
        notification("b/opened", waiting=("event", topic, "message")),
        notification("c/opened", waiting=("event", topic)),
    )
    assert deliver(outbox, by, NOON_MS, print) == ()
    assert ids(event.sent) == ["a/opened", "b/opened", "c/opened"]
    assert ids(message.sent) == ["a/opened", "b/opened"]
    assert ids(payments.sent) == ["b/opened", "c/opened"]


def test_a_topic_that_refuses_holds_up_itself_alone() -> None:
    event, payments = FakeChannel(), FakeChannel()
    topic = "arn:aws:sns:eu-west-1:123456789012:payments"
    payments.is_down = True
    outbox = (notification(waiting=("event", topic)),)
    left = deliver(outbox, channels(**{"event": event, topic: payments}), NOON_MS, print)
    assert left == (notification(waiting=(topic,)),)


# --- the document -------------------------------------------------------------------------------


class DyingChannel(FakeChannel):
    """A channel whose process runs out of time before anything is sent."""

    def send(self, notifications: Sequence[Notification]) -> set[str]:
        raise TimeoutError(f"while sending {ids(notifications)}")


class World:
    """A document in a bucket, two channels and a clock."""

    def __init__(self) -> None:
        self.store, self.clock = RacingStore(), WallClock()
        self.event, self.message = FakeChannel(), FakeChannel()
        self.expired: list[Notification] = []
        self.document = OutboxDocument(
            self.store, KEY, AlarmState(), decode_alarm_state, encode_alarm_state
        )

    def decide(self, *new: Notification, by: FakeChannel | None = None) -> AlarmState:
        """Read, add notifications, write, and deliver."""
        snapshot = self.document.read()
        state = AlarmState(until=snapshot.state.until, outbox=(*snapshot.state.outbox, *new))
        to = channels(event=by or self.event, message=self.message)
        return self.document.write_and_deliver(
            snapshot, state, to, self.clock(), self.expired.append
        ).state

    def write(self, until: int, *outbox: Notification) -> None:
        """Write as another process does."""
        self.document.write(self.document.read(), AlarmState(until=until, outbox=outbox))

    @property
    def sent(self) -> list[str]:
        """What both channels have got."""
        assert ids(self.event.sent) == ids(self.message.sent)
        return ids(self.event.sent)

    @property
    def state(self) -> AlarmState:
        return self.document.read().state


@pytest.fixture
def world() -> World:
    return World()


def test_a_decision_is_delivered_and_removed(world: World) -> None:
    assert world.decide(notification()).outbox == ()
    assert world.sent == ["i/opened"]
    assert world.state.outbox == ()


def test_a_decision_is_in_the_bucket_before_it_is_delivered(world: World) -> None:
    kept: list[list[str]] = []

    class WatchingChannel(FakeChannel):
        def send(self, notifications: Sequence[Notification]) -> set[str]:
            kept.append(ids(world.state.outbox))
            return super().send(notifications)

    world.decide(notification(), by=WatchingChannel())
    assert kept == [["i/opened"]]


def test_one_write_is_enough_if_there_is_nothing_to_deliver(world: World) -> None:
    world.decide()
    assert world.store.writes == 1


def test_one_write_is_enough_if_nothing_was_delivered(world: World) -> None:
    world.event.is_down = world.message.is_down = True
    assert ids(world.decide(notification()).outbox) == ["i/opened"]
    assert world.store.writes == 1


def test_the_next_write_follows_the_removal(world: World) -> None:
    snapshot = world.document.write_and_deliver(
        world.document.read(),
        AlarmState(outbox=(notification(),)),
        channels(event=world.event, message=world.message),
        NOON_MS,
        print,
    )
    assert world.document.write(snapshot, AlarmState(until=1)).state == world.state


def test_nothing_is_delivered_after_a_conflict(world: World) -> None:
    world.store.others = [lambda: world.write(1)]
    with pytest.raises(ConflictError):
        world.decide(notification())
    assert world.sent == []
    assert world.state == AlarmState(until=1)


def test_nothing_is_delivered_that_could_not_be_written(world: World) -> None:
    snapshot = world.document.read()
    world.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        world.document.write_and_deliver(
            snapshot,
            AlarmState(outbox=(notification(),)),
            channels(event=world.event, message=world.message),
            NOON_MS,
            print,
        )
    assert world.event.sent == []


def test_the_next_process_delivers_for_one_that_died(world: World) -> None:
    with pytest.raises(TimeoutError):
        world.decide(notification(), by=DyingChannel())
    assert world.sent == []
    world.decide(notification("j/opened"))
    world.decide()
    assert world.sent == ["i/opened", "j/opened"]
    assert world.state.outbox == ()


def test_a_process_that_dies_between_delivery_and_removal_is_repeated_under_the_same_id(
    world: World,
) -> None:
    def die() -> None:
        raise TimeoutError

    world.store.others = [lambda: None, die]
    with pytest.raises(TimeoutError):
        world.decide(notification())
    world.decide()
    world.decide()
    assert world.sent == ["i/opened"] * 2
    assert world.state.outbox == ()


def fail() -> None:
    raise StoreUnavailableError("503")


def test_a_removal_that_fails_is_tried_once_more_rather_than_delivered_again(world: World) -> None:
    world.store.others = [lambda: None, fail]
    assert world.decide(notification()).outbox == ()
    world.decide()
    assert world.sent == ["i/opened"]


def test_a_removal_whose_response_was_lost_is_a_success(world: World) -> None:
    def write_and_fail() -> None:
        world.write(0)
        fail()

    world.store.others = [lambda: None, write_and_fail]
    assert world.decide(notification()).outbox == ()
    assert world.store.writes == 2
    assert world.state.outbox == ()


def test_a_removal_that_fails_for_good_is_a_second_delivery_under_the_same_id(
    world: World,
) -> None:
    world.store.others = [lambda: None, fail, fail]
    with pytest.raises(StoreUnavailableError):
        world.decide(notification())
    world.decide()
    assert world.sent == ["i/opened"] * 2
    assert world.state.outbox == ()


def test_a_conflict_after_the_delivery_keeps_what_the_other_wrote(world: World) -> None:
    world.store.others = [lambda: None, lambda: world.write(9, *world.state.outbox)]
    with pytest.raises(ConflictError):
        world.decide(notification())
    assert world.state.until == 9
    world.decide()
    assert world.sent == ["i/opened"] * 2
    assert world.state == AlarmState(until=9)


def test_a_refused_notification_is_retried_on_that_channel_alone(world: World) -> None:
    world.message.is_down = True
    assert world.decide(notification()).outbox == (notification(waiting=("message",)),)
    world.message.is_down = False
    assert world.decide().outbox == ()
    assert world.sent == ["i/opened"]


def test_a_closing_waits_for_an_opening_that_was_refused(world: World) -> None:
    world.event.is_down = True
    world.decide(notification("i/opened"))
    world.decide(notification("i/closed"))
    world.event.is_down = False
    world.decide()
    assert world.sent == ["i/opened", "i/closed"]


def test_expired_notifications_are_reported_and_removed(world: World) -> None:
    world.event.is_down = True
    world.decide(notification())
    world.clock.seconds += EXPIRY_MS / 1000 + 1
    world.decide()
    assert ids(world.expired) == ["i/opened"]
    assert world.state.outbox == ()


def test_a_missing_object_is_empty_and_an_unreadable_one_is_corrupt(world: World) -> None:
    assert world.document.read() == Snapshot(AlarmState(), None, is_corrupt=False)
    world.store.put(KEY, b"something else")
    etag = world.store.objects[KEY].etag
    assert world.document.read() == Snapshot(AlarmState(), etag, is_corrupt=True)


def test_a_corrupt_object_is_replaced_by_whoever_comes_first(world: World) -> None:
    world.store.put(KEY, b"something else")
    mine, theirs = world.document.read(), world.document.read()
    world.document.write(mine, AlarmState(until=1))
    with pytest.raises(ConflictError):
        world.document.write(theirs, AlarmState(until=2))
    assert world.state.until == 1


# --- the stored state of an alarm ---------------------------------------------------------------

ALARM_STATE = AlarmState(
    until=NOON_MS + 72_250,
    incident=AlarmIncident(id="01234567", since=NOON_MS, detail={"severity": None}),
    outbox=(notification(waiting=("event",)),),
)


def test_the_state_of_an_alarm_is_read_as_it_was_written() -> None:
    assert decode_alarm_state(encode_alarm_state(ALARM_STATE)) == ALARM_STATE


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"until":1', b'"until":"1"'),
        (b'"until":1', b'"until":NaN1'),
        (f'"since":{NOON_MS},'.encode(), b""),
        (b'["event"]', b"[1]"),
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
    """EventBridge and SNS.

    Attributes
    ----------
    refused
        Names of entries that are refused, each on its own.
    poison
        Text that no entry may have: a call with one that does is refused as a whole.
    failures
        Raised one by one by the next calls; None is none.
    """

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.refused: set[str] = set()
        self.poison = ""
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
        if self.poison and any(self.poison in json.dumps(entry) for entry in entries):
            raise client_error("InvalidParameter", "x", "too long")
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
def test_a_batch_that_is_refused_as_a_whole_is_sent_one_by_one(
    channel: type[BatchChannel],
) -> None:
    """SNS refuses all of a batch for one message that is too long, and would do so for ever."""
    aws, failures = FakeAws(), Failures()
    aws.poison = "poison"
    some = numbered(15)
    some[3] = notification("3/opened", subject="poison", detail={"name": "poison"})
    assert channel(aws, "target", failures).send(some) == {"3/opened"}
    assert "too long" in failures["3/opened"]
    assert [len(entries) for entries in aws.calls] == [10, *[1] * 10, 5]


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
        "DetailType": "Incident Opened",
        "Detail": '{"severity":0.9}',
    }


@pytest.mark.parametrize(("severity", "text"), [(0.9, "0.9"), (None, "0")])
def test_a_message_can_be_filtered_by_type_and_severity(severity: float | None, text: str) -> None:
    aws = FakeAws()
    sent = notification(detail={"severity": severity})
    MessageChannel(aws, "my-topic", Failures()).send([sent])
    [[entry]] = aws.calls
    assert (entry["Subject"], entry["Message"]) == (sent.subject, sent.message)
    assert entry["MessageAttributes"] == {
        "detail_type": {"DataType": "String", "StringValue": "Incident Opened"},
        "severity": {"DataType": "Number", "StringValue": text},
    }
