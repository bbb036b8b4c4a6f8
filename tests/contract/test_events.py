"""The sample events are recognised, and the watcher's own events are as documented."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.alarm_evaluation import Verdict, event_query
from ops_anomaly.watcher.anomalies import Anomaly, Closed, Opened, Peak, Provenance
from ops_anomaly.watcher.events import (
    AlarmChange,
    AlarmChanges,
    DirectAlarms,
    ShardJob,
    ShardJobs,
    Tick,
    UnknownEventError,
    recognise,
)
from ops_anomaly.watcher.notifications import (
    alarm_cleared,
    alarm_fired,
    delivery_test,
    incident_notification,
)

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
METRIC = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300")


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


def test_the_tick_the_shard_job_and_the_unknown_event_are_recognised() -> None:
    assert recognise(sample("schedule")) == Tick(1_795_608_000)
    assert recognise(sample("shard")) == ShardJobs([ShardJob(shard=0, time=1_795_608_000)])
    with pytest.raises(UnknownEventError):
        recognise(sample("unknown"))


# --- events that are sent -----------------------------------------------------------------------

SCHEMA = json.loads((ROOT / "docs/event.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def documented() -> dict[str, dict[str, Any]]:
    """Return the examples of docs/events.md, put together as its text says."""
    text = (ROOT / "docs/events.md").read_text()
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    opened, model, closing, evaluated, clearing, test, *_ = blocks
    return {
        "Anomaly Opened": opened,
        "Anomaly Closed": opened | model | closing,
        "Alarm Evaluated": evaluated,
        "Alarm Cleared": evaluated | clearing | {"alarm": evaluated["alarm"] | clearing["alarm"]},
        "Test Alert": test,
    }


def sent() -> dict[str, dict[str, Any]]:
    """Return what the watcher sends."""
    readings = {"value": 93.0, "expected": 24.6, "lower": None, "upper": None, "score": 50.5}
    peak = Peak(time=1_795_608_000_000, severity=0.93, reason="never seen before", **readings)
    by = Provenance(entry="web", model="ec2-cpu", version="v1", readings=576, confidence=0.72)
    seen = {"first_seen": 1_795_608_000_000, "last_seen": 1_795_608_300_000, "readings": 2}
    incident = Anomaly(id="0123456789abcdef", member="rise", peak=peak, provenance=by, **seen)
    change = AlarmChange.from_event(sample("alarm-metric"))
    blank = Verdict("Errors", "100 * a / b", "errors", unavailable_because="no such metric")
    full = Verdict("CPU", str(METRIC), "cpu", severity=0.9, **readings)
    alarm, firing = alarm_fired(change, [full, blank], 0)
    ok = AlarmChange.from_event(sample("alarm-metric-ok"))
    notifications = (
        incident_notification(Opened(incident), METRIC, 0),
        incident_notification(Closed(incident, "recovered"), METRIC, 0),
        *(firing, alarm_cleared(ok, alarm, 0), delivery_test(0)),
    )
    return {each.detail_type: each.detail for each in notifications}


@pytest.mark.parametrize("kind", SCHEMA["properties"]["detail-type"]["enum"])
@pytest.mark.parametrize("source", [documented, sent])
def test_the_detail_matches_the_schema(source: Any, kind: str) -> None:
    event = {"source": "ops-anomaly", "detail-type": kind, "detail": source()[kind]}
    VALIDATOR.validate(event)


@pytest.mark.parametrize("kind", SCHEMA["properties"]["detail-type"]["enum"])
def test_the_schema_is_strict(kind: str) -> None:
    detail = documented()[kind]
    for wrong in (
        *({key: value for key, value in detail.items() if key != left_out} for left_out in detail),
        *(detail | {"more": 1}, detail | {"version": "2"}, detail | {"severity": 1.1}),
    ):
        with pytest.raises(ValidationError):
            VALIDATOR.validate({"source": "ops-anomaly", "detail-type": kind, "detail": wrong})
