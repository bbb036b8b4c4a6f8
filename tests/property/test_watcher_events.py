"""Any event is handled, or logged and ignored: an unknown one is not retried."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.watcher.events import (
    AlarmChanges,
    DirectAlarms,
    UnknownEventError,
    recognise,
)
from tests.support.alarms import (
    alarm_data,
    by_action,
    by_queue,
    by_rule,
    by_topic,
    sns_message,
)
from tests.support.fakes import FakeStore
from tests.support.watcher import TIMEOUT_MS, WallClock, make_alarm_watcher, make_watcher

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


def likely(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return an object whose parts may be missing, or anything else; or anything else itself."""
    optional = {name: part | ANYTHING for name, part in parts.items()}
    return st.fixed_dictionaries({}, optional=optional)


TIMES = st.sampled_from(
    ["2026-11-25T12:00:00.000+0000", "2026-11-25T12:00:00Z", "0001-01-01T00:00:00+23:00", "noon"]
)
REASON_DATA = st.sampled_from(
    ['{"startDate": 7}', '{"triggeringAlarms": [1]}', '{"triggeringAlarms": 1}', "[1]", "NaN", "["]
)
STATES = likely(value=st.just("ALARM"), timestamp=TIMES, reasonData=REASON_DATA)
CONFIGURATIONS = likely(alarmRule=st.text(), metrics=st.lists(ANYTHING, max_size=2))
ALARMS = likely(
    alarmName=st.text(), state=STATES, previousState=STATES, configuration=CONFIGURATIONS
)
SNS_ALARMS = likely(
    AlarmName=st.text(),
    AlarmArn=st.text(),
    NewStateValue=st.just("ALARM"),
    StateChangeTime=TIMES,
    Trigger=likely(
        MetricName=st.text(),
        Dimensions=st.lists(likely(name=st.text(), value=st.text()), max_size=2),
        Metrics=st.lists(likely(MetricStat=likely(Metric=likely())), max_size=2),
    ),
    TriggeringChildren=st.lists(likely(Arn=st.text()), max_size=2),
)
MESSAGES = likely(
    Type=st.just("Notification"),
    Message=SNS_ALARMS.map(json.dumps) | st.sampled_from(["[[[", "null", "The build is red."]),
)
BODIES = (
    (MESSAGES | SNS_ALARMS | likely(shard=st.integers(), time=st.integers())).map(json.dumps)
) | st.sampled_from(["{}", "[[[", ""])
RECORDS = likely(
    eventSource=st.just("aws:sqs"), EventSource=st.just("aws:sns"), body=BODIES, Sns=MESSAGES
)
EVENTS = likely(
    **{
        "watch": st.sampled_from(["fleet", "incidents", "test alert"]),
        "time": TIMES,
        "Records": st.lists(RECORDS, max_size=2),
        "detail-type": st.just("CloudWatch Alarm State Change"),
        "source": st.just("aws.cloudwatch"),
        "resources": st.lists(st.text(), max_size=1),
        "detail": ALARMS,
        "alarmArn": st.text(),
        "alarmData": ALARMS,
    }
)


def unreachable(service: str) -> Any:
    raise AssertionError(f"{service} was called")


@given(ANYTHING | EVENTS)
def test_any_event_is_recognised_or_unknown(event: Any) -> None:
    with suppress(UnknownEventError):
        recognise(event)


@given(st.text(min_size=1), st.lists(ANYTHING, min_size=1, max_size=2), st.text())
def test_an_alarm_that_comes_directly_is_the_same_by_the_queue(
    name: str, metrics: list[Any], rule: str
) -> None:
    data = alarm_data(name=name, metrics=metrics)
    message = sns_message(AlarmName=name, AlarmRule=rule)
    for event in (by_rule(data), by_action(data), by_topic(message), by_topic(by_rule(data))):
        direct = recognise(event)
        assert isinstance(direct, DirectAlarms)
        assert recognise(by_queue(*direct.messages)) == AlarmChanges(direct.changes)


@pytest.mark.parametrize("function", ["watch", "alarms"])
def test_an_unknown_event_is_logged_by_its_keys_alone(
    function: str, caplog: pytest.LogCaptureFixture
) -> None:
    event = {"source": "aws.ec2", "detail": {"password": "secret"}}
    store, clock = FakeStore(), WallClock()
    if function == "watch":
        make_watcher(store, unreachable, clock).dispatch(event, lambda: TIMEOUT_MS)
    else:
        make_alarm_watcher(store, unreachable, clock).dispatch(event)
    [record] = map(vars, caplog.records)
    assert record["message"] == "unknown event ignored"
    assert "detail" in record["reason"]
    assert "secret" not in record["reason"]
    assert (store.reads, store.writes) == (0, 0)
