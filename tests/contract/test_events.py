"""The sample events are recognised, and the watcher's own events are as documented."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from ops_anomaly.watcher.alarm_evaluation import event_query
from ops_anomaly.watcher.events import (
    AlarmChange,
    AlarmChanges,
    DirectAlarms,
    IncidentTick,
    ShardJob,
    ShardJobs,
    Tick,
    UnknownEventError,
    recognise,
)
from ops_anomaly.watcher.outbox import EventChannel, Notification
from tests.support.cloudformation import TRANSFORMED
from tests.support.sent_events import (
    event_of,
    largest_alarm,
    largest_incident,
    largest_retraining,
    sent,
)

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"


def sample(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


# --- events that arrive -------------------------------------------------------------------------

DELAYED = "alarm-suppressed-action"
"""The action of a suppressed alarm waits, and then carries a later change."""

ALARMS = sorted(file.stem for file in EVENTS.glob("alarm-*.json"))
SAME_BY_ACTION = sorted({*ALARMS} & {f"{name}-action" for name in ALARMS} - {DELAYED})
BY_QUEUE = ["alarm-queue", "alarm-queue-topic"]


def change_of(name: str) -> AlarmChange:
    """Return the change of the one alarm of a sample."""
    found = recognise(sample(name))
    assert isinstance(found, AlarmChanges if name in BY_QUEUE else DirectAlarms)
    [change] = found.changes
    return change


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_of_the_samples_is_recognised(name: str) -> None:
    assert change_of(name).arn.endswith(f":alarm:{change_of(name).name}")


@pytest.mark.parametrize("name", SAME_BY_ACTION)
def test_a_rule_and_an_action_give_the_same_change(name: str) -> None:
    assert change_of(name) == change_of(name.removesuffix("-action"))


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("alarm-queue", "alarm-metric"),
        ("alarm-topic", "alarm-metric"),
        ("alarm-queue-topic", "alarm-composite"),
    ],
)
def test_a_queue_and_a_topic_give_the_same_change(name: str, same: str) -> None:
    ours, theirs = change_of(name), change_of(same)
    assert (ours.arn, ours.state, ours.previous_state, ours.at, ours.rule, ours.triggered_by) == (
        *(theirs.arn, theirs.state, theirs.previous_state),
        *(theirs.at, theirs.rule, theirs.triggered_by),
    )
    assert list(map(event_query, ours.metrics)) == [
        event_query(metric) | {"Id": "m1" if "topic" in name else metric["id"]}
        for metric in theirs.metrics
    ]


def test_the_action_of_a_suppressed_alarm_comes_later() -> None:
    by_rule, by_action = change_of(DELAYED.removesuffix("-action")), change_of(DELAYED)
    assert by_action.at > by_rule.at
    assert by_action.previous_state == by_rule.state == "ALARM"


def test_the_ticks_the_shard_job_and_the_unknown_event_are_recognised() -> None:
    assert recognise(sample("incidents")) == IncidentTick()
    assert recognise(sample("schedule")) == Tick(1_795_608_000)
    assert recognise(sample("shard")) == ShardJobs([ShardJob(shard=0, time=1_795_608_000)])
    with pytest.raises(UnknownEventError):
        recognise(sample("unknown"))


def test_the_samples_of_retraining_are_what_the_state_machine_passes_on() -> None:
    join = TRANSFORMED["Resources"]["Retraining"]["Properties"]["DefinitionString"]
    states = json.loads("\n".join(join["Fn::Join"][1]))["States"]
    for state, name in (("Plan", "plan"), ("Report", "report")):
        payload = states[state]["Parameters"]["Payload"]
        assert {key.removesuffix(".$") for key in payload} == set(sample(f"retraining-{name}"))
    batch = {"run": sample("retraining-report")["run"], "batch": 0}  # an item of plans/RUN.json
    assert sample("retraining-train") == batch


# --- events that are sent -----------------------------------------------------------------------

SCHEMA = json.loads((ROOT / "docs/event.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())
KINDS = SCHEMA["properties"]["detail-type"]["enum"]

MAX_ENTRY = 256 * 1024
"""Bytes of an event that EventBridge takes, and of a message that SNS takes."""


def documented() -> dict[str, dict[str, Any]]:
    """Return the examples of docs/events.md: each section's, put together as its text says."""
    text = (ROOT / "docs/events.md").read_text()
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        section = text.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
        [block] = map(json.loads, re.findall(r"```json\n(.*?)```", section, re.DOTALL))
        found[kind] = block
    opened, evaluated = found["Incident Opened"], found["Alarm Evaluated"]
    for kind in ("Incident Updated", "Incident Reminded", "Incident Closed"):
        found[kind] = opened | found[kind]
    alarm = evaluated["alarm"] | found["Alarm Cleared"]["alarm"]
    found["Alarm Cleared"] = evaluated | found["Alarm Cleared"] | {"alarm": alarm}
    return found


def event(kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {"source": "ops-anomaly", "detail-type": kind, "detail": detail}


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_match_the_schema(kind: str) -> None:
    VALIDATOR.validate(event(kind, documented()[kind]))


@pytest.mark.parametrize("notification", sent(), ids=lambda each: each.id)
def test_what_is_sent_matches_the_schema(notification: Notification) -> None:
    VALIDATOR.validate(event_of(notification))


def test_an_event_has_the_id_by_which_a_receiver_drops_duplicates() -> None:
    assert [each.detail["notification"] for each in sent()] == [each.id for each in sent()]


def test_events_of_every_kind_are_sent() -> None:
    assert {each.detail_type for each in sent()} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_strict(kind: str) -> None:
    detail = documented()[kind]
    for wrong in (
        *({key: value for key, value in detail.items() if key != left_out} for left_out in detail),
        *(detail | {"more": 1}, detail | {"version": "2"}, detail | {"severity": 1.1}),
    ):
        with pytest.raises(ValidationError):
            VALIDATOR.validate(event(kind, wrong))


def test_an_open_incident_has_no_end_and_a_closed_one_has() -> None:
    examples = documented()
    opened, closed = examples["Incident Opened"], examples["Incident Closed"]
    for kind, wrong in (("Incident Opened", closed), ("Incident Closed", opened)):
        with pytest.raises(ValidationError):
            VALIDATOR.validate(event(kind, wrong))


class Bus:
    """EventBridge, which records what it is sent."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []

    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, Any]:
        self.entries += Entries
        return {"Entries": [{"EventId": "1"} for _ in Entries]}


@pytest.mark.parametrize(
    ("make", "name"),
    [(largest_incident, "members"), (largest_alarm, "series"), (largest_retraining, "refused")],
)
def test_aws_takes_the_largest_event_and_the_largest_message(make: Any, name: str) -> None:
    notification, bus = make(), Bus()
    EventChannel(lambda: bus, "bus", print).send([notification])
    [entry] = bus.entries
    size = sum(len(entry[part].encode()) for part in ("Source", "DetailType", "Detail"))
    assert MAX_ENTRY / 2 < size < MAX_ENTRY, "or it is not the largest"
    assert len(json.loads(entry["Detail"])[name]) >= 1
    VALIDATOR.validate(event_of(notification))
    assert len(notification.message.encode()) < MAX_ENTRY
