"""The sample events are as AWS sends them, and the watcher's own events are as documented."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.alarm_verdicts import Verdict
from ops_anomaly.watcher.events import AlarmChange
from ops_anomaly.watcher.incidents import Closed, Incident, Opened, Peak, Provenance
from ops_anomaly.watcher.notifications import cleared, fired, notice_of

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
ACCOUNT, REGION = "123456789012", "us-east-1"

ALARMS = {file.stem: json.loads(file.read_text()) for file in EVENTS.glob("alarm-*.json")}
BY_ACTION = sorted(name for name in ALARMS if name.endswith("-action"))
BY_RULE = sorted(ALARMS.keys() - set(BY_ACTION))

# The action of a suppressed alarm waits, and then tells of a later change.
SUPPRESSED = "alarm-suppressed-action"
BOTH_WAYS = [name for name in BY_ACTION if name != SUPPRESSED]

INNER_TIME = re.compile(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
METRIC = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123456789abcdef0 Average 300")


def sample(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def told(name: str) -> dict[str, Any]:
    """Return what an alarm's event says of it: both routes call it differently."""
    return ALARMS[name]["alarmData" if name in BY_ACTION else "detail"]


def reason_data(state: dict[str, Any]) -> dict[str, Any]:
    return json.loads(state.get("reasonData", "{}"))


# --- what arrives -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_RULE)
def test_event_of_a_rule_has_the_envelope_of_eventbridge(name: str) -> None:
    event = ALARMS[name]
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert (event["source"], event["version"]) == ("aws.cloudwatch", "0")
    assert (event["account"], event["region"]) == (ACCOUNT, REGION)
    alarm = event["detail"]["alarmName"]
    assert event["resources"] == [f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm}"]


@pytest.mark.parametrize("name", BY_ACTION)
def test_event_of_an_action_has_no_detail(name: str) -> None:
    event = ALARMS[name]
    assert set(event) == {"source", "alarmArn", "accountId", "time", "region", "alarmData"}
    assert (event["source"], event["accountId"]) == ("aws.cloudwatch", ACCOUNT)
    assert event["alarmArn"].endswith(f":{ACCOUNT}:alarm:{event['alarmData']['alarmName']}")


@pytest.mark.parametrize("name", ALARMS)
def test_outer_time_of_a_rule_ends_in_z_and_all_others_in_an_offset(name: str) -> None:
    changed, before = told(name)["state"]["timestamp"], told(name)["previousState"]["timestamp"]
    assert INNER_TIME.fullmatch(changed)
    assert INNER_TIME.fullmatch(before)
    assert before < changed
    assert ALARMS[name]["time"] == (changed if name in BY_ACTION else f"{changed[:19]}Z")


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_routes_tell_the_same(name: str) -> None:
    assert told(name) == told(name.removesuffix("-action"))


def test_action_of_a_suppressed_alarm_comes_later_from_alarm_to_alarm() -> None:
    at_once, late = told("alarm-suppressed"), told(SUPPRESSED)
    assert at_once["state"]["actionsSuppressedBy"] == "WaitPeriod"
    assert late["previousState"] == at_once["state"]
    assert late["state"]["value"] == at_once["state"]["value"] == "ALARM"
    assert late["state"]["timestamp"] > at_once["state"]["timestamp"]
    assert late["configuration"] == at_once["configuration"]


@pytest.mark.parametrize("name", ALARMS)
def test_metrics_have_a_source_each_and_dimensions_as_an_object(name: str) -> None:
    for metric in told(name)["configuration"].get("metrics", []):
        assert isinstance(metric["returnData"], bool)
        assert ("metricStat" in metric) != ("expression" in metric)
        if "metricStat" in metric:
            assert isinstance(metric["metricStat"]["metric"]["dimensions"], dict)


@pytest.mark.parametrize(
    ("name", "returned"),
    [("alarm-metric", 1), ("alarm-math", 1), ("alarm-band", 2), ("alarm-insights", 1)],
)
def test_band_is_returned_beside_its_metric(name: str, returned: int) -> None:
    assert sum(m["returnData"] for m in told(name)["configuration"]["metrics"]) == returned


@pytest.mark.parametrize(
    "name", [name for name in ALARMS if "triggering" in json.dumps(told(name))]
)
def test_alarm_of_alarms_names_no_metrics_but_what_made_it_change(name: str) -> None:
    configuration = told(name)["configuration"]
    assert "metrics" not in configuration
    children = reason_data(told(name)["state"])["triggeringAlarms"]
    names = [child["arn"].rsplit(":", 1)[1] for child in children]
    assert all(child in configuration["alarmRule"] for child in names)
    assert told("alarm-metric")["alarmName"] in names


def test_reason_data_is_a_string_that_may_be_absent_and_its_readings_may_be_none() -> None:
    states = [told(name)["state"] for name in ALARMS]
    assert {type(state.get("reasonData")) for state in states} == {str, type(None)}
    assert reason_data(told("alarm-insufficient")["state"])["recentDatapoints"] == []
    assert all(isinstance(reason_data(state), dict) for state in states)


def test_alarm_clears_from_the_state_in_which_it_fired() -> None:
    assert told("alarm-metric-ok")["previousState"] == told("alarm-metric")["state"]
    assert told("alarm-insufficient")["previousState"] == told("alarm-metric-ok")["state"]


def test_shard_comes_as_one_record_of_the_queue() -> None:
    [record] = sample("shard")["Records"]
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", REGION)
    assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()
    sent = datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC)
    assert f"{sent:%Y-%m-%d %H:%M}" == "2026-11-25 12:00"


def test_unknown_event_is_of_another_service() -> None:
    assert sample("unknown")["source"] == "aws.ec2"


# --- what is sent -------------------------------------------------------------------------------

SCHEMA = json.loads((ROOT / "docs/event.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def documented() -> dict[str, dict[str, Any]]:
    """Return the examples of docs/events.md, put together as its text says."""
    text = (ROOT / "docs/events.md").read_text()
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    opened, model, closing, judged, clearing, *_ = blocks
    return {
        "Anomaly Opened": opened,
        "Anomaly Closed": opened | model | closing,
        "Alarm Judged": judged,
        "Alarm Cleared": judged | clearing | {"alarm": judged["alarm"] | clearing["alarm"]},
    }


def sent() -> dict[str, dict[str, Any]]:
    """Return what the watcher sends."""
    readings = {"value": 93.0, "expected": 24.6, "lower": None, "upper": None, "score": 50.5}
    peak = Peak(time=1_795_608_000, severity=0.93, reason="never seen before", **readings)
    by = Provenance(entry="web", model="ec2-cpu", version="v1", readings=576, confidence=0.72)
    seen = {"first_seen": 1_795_608_000, "last_seen": 1_795_608_300, "readings": 2}
    incident = Incident(id="0123456789abcdef", peak=peak, provenance=by, **seen)
    change = AlarmChange.from_event(ALARMS["alarm-metric"])
    blank = Verdict(title="Errors", metric="100 * a / b", alarm="errors", cannot="no such metric")
    full = Verdict(title="CPU", metric=str(METRIC), alarm="cpu", severity=0.9, **readings)
    alarm, firing = fired(change, [full, blank], 0.0)
    ok = AlarmChange.from_event(ALARMS["alarm-metric-ok"])
    notices = (
        notice_of(Opened(incident), METRIC, 0.0),
        notice_of(Closed(incident, "quiet"), METRIC, 0.0),
        *(firing, cleared(ok, alarm, 0.0)),
    )
    return {notice.detail_type: notice.detail for notice in notices}


@pytest.mark.parametrize("kind", SCHEMA["properties"]["detail-type"]["enum"])
@pytest.mark.parametrize("source", [documented, sent])
def test_detail_is_as_the_schema_has_it(source: Any, kind: str) -> None:
    event = {"source": "ops-anomaly", "detail-type": kind, "detail": source()[kind]}
    VALIDATOR.validate(event)


@pytest.mark.parametrize("kind", SCHEMA["properties"]["detail-type"]["enum"])
def test_schema_is_strict(kind: str) -> None:
    detail = documented()[kind]
    for wrong in (
        *({key: value for key, value in detail.items() if key != left_out} for left_out in detail),
        *(detail | {"more": 1}, detail | {"version": "2"}, detail | {"severity": 1.1}),
    ):
        with pytest.raises(ValidationError):
            VALIDATOR.validate({"source": "ops-anomaly", "detail-type": kind, "detail": wrong})
