"""Any event is handled, or logged and ignored: an unknown one is not retried."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.watcher.events import UnknownEventError, recognise
from tests.support.fakes import FakeStore
from tests.support.watcher import WallClock, make_watcher

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
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
BODIES = st.sampled_from(['{"of": 1, "shard": 0, "time": 0, "entries": [{}]}', "{}", "[[[", ""])
RECORDS = likely(eventSource=st.just("aws:sqs"), body=BODIES)
EVENTS = likely(
    **{
        "watch": st.just("fleet"),
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
def test_any_event_is_recognised_or_ignored(event: Any) -> None:
    try:
        recognise(event)
    except UnknownEventError:
        store = FakeStore()
        make_watcher(store, unreachable, WallClock()).dispatch(event)
        assert (store.reads, store.writes) == (0, 0)


def test_an_unknown_event_is_logged_by_its_keys_alone(caplog: pytest.LogCaptureFixture) -> None:
    event = {"source": "aws.ec2", "detail": {"password": "secret"}}
    make_watcher(FakeStore(), unreachable, WallClock()).dispatch(event)
    [record] = map(vars, caplog.records)
    assert record["message"] == "unknown event ignored"
    assert "detail" in record["reason"]
    assert "secret" not in record["reason"]
