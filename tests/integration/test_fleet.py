"""A fleet on a schedule, end to end: whatever goes wrong, nothing is lost, nothing sent twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ops_anomaly.watcher.anomalies import RECOVERY_PERIODS
from tests.conftest import Bucket
from tests.support.fake_cloudwatch import client_error
from tests.support.forwarding import running
from tests.support.lost_responses import How, LostResponses
from tests.support.shard_jobs import CLOSED, OPENED
from tests.support.watched_fleet import WatchedFleet


@pytest.fixture
def watch(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], WatchedFleet]]:
    """Watch so many machines, in the deployed role, and evaluate them for the first time."""
    with ExitStack() as servers:

        def watched(machines: int) -> WatchedFleet:
            fleet = WatchedFleet(bucket, machines)
            servers.enter_context(running(fleet.role))
            monkeypatch.setenv("AWS_ENDPOINT_URL", fleet.role.url)
            return evaluated(fleet)

        yield watched


@pytest.fixture
def fleet(watch: Callable[[int], WatchedFleet]) -> WatchedFleet:
    """Three machines after their first evaluation."""
    return watch(3)


def evaluated(fleet: WatchedFleet) -> WatchedFleet:
    fleet.publish_watch_file()
    fleet.put_history()
    fleet.tick()
    assert fleet.sent() == [], "history is not notified"
    return fleet


def pass_normal_periods(fleet: WatchedFleet, periods: int) -> None:
    for _ in range(periods):
        fleet.pass_period()
        fleet.tick()


def test_one_of_a_dozen_machines_runs_away_and_recovers(
    watch: Callable[[int], WatchedFleet],
) -> None:
    fleet = watch(12)
    for cpu in (95.0, 96.0, 94.5):
        fleet.pass_period(m7=cpu)
        fleet.tick()
    [opened] = fleet.stack.drain_events()
    assert opened["source"] == "ops-anomaly"
    assert opened["detail-type"] == OPENED
    detail = opened["detail"]
    [member] = detail["members"]
    assert member["metric"]["dimensions"] == dict(fleet.machines[7].dimensions)
    assert member["value"] == 95.0
    assert 25 < member["expected"] < 35
    assert 0 <= member["lower"] < 24
    assert 36 < member["upper"] < 60
    assert member["severity"] == detail["severity"] > 0.6
    assert member["member"] == "rise"
    assert member["reason"].startswith("jumped by 6")
    [message] = fleet.stack.drain_messages()
    assert message["Subject"].startswith(f"CPUUtilization of i-{fleet.tag}-0007: 95, expected")
    assert member["reason"] in message["Message"]

    pass_normal_periods(fleet, RECOVERY_PERIODS + 4)
    [closed] = fleet.stack.drain_events()
    assert closed["detail-type"] == CLOSED
    assert closed["detail"]["id"] == detail["id"]
    assert closed["detail"]["close_reason"] == "recovered"
    assert closed["detail"]["members"][0]["readings"] >= 3
    [message] = fleet.stack.drain_messages()
    assert message["Subject"].startswith(f"Resolved: CPUUtilization of i-{fleet.tag}-0007")


def test_a_repeated_tick_does_nothing(fleet: WatchedFleet) -> None:
    fleet.pass_period(m1=95.0)
    fleet.tick()
    assert fleet.sent() == [(OPENED, "0001")]
    for _ in range(2):
        fleet.tick()
    fleet.watcher = fleet.new_watcher()
    fleet.tick()
    assert fleet.sent() == []


def test_a_late_reading_is_evaluated_when_it_comes(fleet: WatchedFleet) -> None:
    late, end = fleet.machines[2], fleet.now + 1_800
    fleet.pass_period(silent=[late])
    fleet.tick()
    pass_normal_periods(fleet, 1)
    assert fleet.sent() == []
    fleet.put(late, [95.0], until=end)
    fleet.pass_period()
    fleet.tick()
    [event] = fleet.stack.drain_events()
    assert (event["detail-type"], event["detail"]["members"][0]["value"]) == (OPENED, 95.0)


def test_a_gap_is_not_an_anomaly(fleet: WatchedFleet) -> None:
    for _ in range(5):
        fleet.pass_period(silent=fleet.machines)
        fleet.tick()
    pass_normal_periods(fleet, 2)
    assert fleet.sent() == []


def test_the_incident_of_a_machine_without_data_closes(fleet: WatchedFleet) -> None:
    fleet.pass_period(m0=95.0)
    fleet.tick()
    assert fleet.sent() == [(OPENED, "0000")]
    for _ in range(RECOVERY_PERIODS + 1):
        fleet.pass_period(silent=fleet.machines[:1])
        fleet.tick()
    [event] = fleet.stack.drain_events()
    assert (event["detail-type"], event["detail"]["close_reason"]) == (CLOSED, "no data")


def test_a_new_machine_is_watched_within_the_hour(fleet: WatchedFleet) -> None:
    fleet.machines.append(fleet.machine(3))
    fleet.put(fleet.machines[3], fleet.normal_load(144))
    pass_normal_periods(fleet, 3)
    fleet.pass_period(m3=95.0)
    fleet.tick()
    assert fleet.sent() == [(OPENED, "0003")]


def test_the_incident_of_a_metric_that_leaves_the_watch_file_closes(fleet: WatchedFleet) -> None:
    fleet.pass_period(m0=95.0)
    fleet.tick()
    fleet.publish_watch_file(dimensions={"InstanceId": "*-0001"})
    fleet.pass_period()
    fleet.tick()
    [_, closed] = fleet.stack.drain_events()
    assert closed["detail"]["close_reason"] == "no longer watched"


def test_a_message_that_sns_refuses_is_sent_with_the_next_tick(fleet: WatchedFleet) -> None:
    sns = fleet.stack.client("sns")
    sns.delete_topic(TopicArn=fleet.stack.alert_topic)
    fleet.pass_period(m1=95.0)
    fleet.tick()
    assert fleet.sent() == [(OPENED, "0001")]
    sns.create_topic(Name=fleet.stack.alert_topic.rpartition(":")[2])
    queue = fleet.stack.client("sqs").get_queue_attributes(
        QueueUrl=fleet.stack.message_queue, AttributeNames=["QueueArn"]
    )
    sns.subscribe(
        TopicArn=fleet.stack.alert_topic,
        Protocol="sqs",
        Endpoint=queue["Attributes"]["QueueArn"],
    )
    pass_normal_periods(fleet, 2)
    [message] = fleet.stack.drain_messages()
    assert message["Subject"].startswith(f"CPUUtilization of i-{fleet.tag}-0001: 95")
    assert fleet.sent() == [], "the event had arrived"


def test_a_crash_between_state_and_event_loses_nothing(fleet: WatchedFleet) -> None:
    fleet.client = crash_at("events", fleet.client)
    fleet.pass_period(m1=95.0)
    with pytest.raises(MemoryError):
        fleet.tick()
    fleet.client = fleet.role.client
    fleet.watcher = fleet.new_watcher()
    pass_normal_periods(fleet, 2)
    assert fleet.sent() == [(OPENED, "0001")]
    assert len(fleet.stack.drain_messages()) == 1


@pytest.mark.parametrize("how", ["error", "hang up"])
def test_an_incident_is_notified_once_where_the_responses_of_its_writes_are_lost(
    fleet: WatchedFleet, how: How
) -> None:
    with running(LostResponses(fleet.bucket.endpoint_url)) as losing:
        fleet.role.send_to(losing.url)
        losing.lose("PUT", "/state/fleet/0", how, times=2)
        fleet.pass_period(m1=95.0)
        fleet.tick()
        assert losing.losses[0].times == 0
        assert fleet.sent() == [(OPENED, "0001")]
        fleet.pass_period()
        fleet.tick()
        assert fleet.sent() == []
        assert len(fleet.stack.drain_messages()) == 1
        fleet.role.send_to(fleet.bucket.endpoint_url)


def test_a_throttled_job_is_retried(fleet: WatchedFleet) -> None:
    class Throttled:
        def get_metric_data(self, **_: object) -> None:
            raise client_error("Throttling", "GetMetricData", "Rate exceeded")

    fleet.client = lambda service: (
        Throttled() if service == "cloudwatch" else fleet.role.client(service)
    )
    fleet.pass_period(m1=95.0)
    with pytest.raises(Exception, match="Throttling"):
        fleet.tick()
    fleet.client = fleet.role.client
    queue = {"QueueUrl": fleet.stack.shard_queue}
    sqs = fleet.stack.client("sqs")
    state = sqs.get_queue_attributes(**queue, AttributeNames=["All"])["Attributes"]
    assert state["ApproximateNumberOfMessages"] == "1", "the job is not lost"
    fleet.tick()
    assert fleet.sent() == [(OPENED, "0001")]


def test_a_state_that_cannot_be_read_is_rebuilt(
    fleet: WatchedFleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.bucket.s3.put_object(
        Bucket=fleet.bucket.name, Key="state/fleet/0", Body=b"not what the watcher writes"
    )
    fleet.pass_period(m2=95.0)
    fleet.tick()
    assert fleet.sent() == [(OPENED, "0002")]
    assert "state unreadable, rebuilt from CloudWatch" in caplog.messages


def crash_at(service: str, client):
    """Return clients of which one crashes the function, as running out of memory does."""

    def crashing(name: str):
        if name == service:
            raise MemoryError
        return client(name)

    return crashing
