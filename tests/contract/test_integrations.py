"""Chat and on-call tools: what each would get of every event, by the rule that people paste."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.api import ManualArgs, lint
from jsonschema import Draft202012Validator, FormatChecker

from ops_anomaly.watcher.outbox import Notification
from tests.support.cloudformation import TemplateLoader
from tests.support.event_bridge import matches, transformed
from tests.support.sent_events import event_of, largest_alarm, largest_incident, sent

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs/integrations").glob("*.yaml"))
INCIDENTS = {"Incident Opened", "Incident Updated", "Incident Reminded", "Incident Closed"}
ALARMS = {"Alarm Evaluated", "Alarm Cleared"}

Received = list[tuple[Notification, dict[str, Any]]]


def resources(name: str) -> dict[str, Any]:
    text = (ROOT / f"docs/integrations/{name}.yaml").read_text()
    found: dict[str, Any] = yaml.load(text, TemplateLoader)["Resources"]
    return found


def received(name: str, notifications: list[Notification]) -> Received:
    """Return what a tool gets of events: by its rules, and with what the connection adds."""
    parts = [each.get("Properties", {}) for each in resources(name).values()]
    rules = [part for part in parts if "EventPattern" in part]
    parameters = [
        parameter
        for part in parts
        for parameter in part.get("AuthParameters", {})
        .get("InvocationHttpParameters", {})
        .get("BodyParameters", [])
    ]
    body = {parameter["Key"]: parameter["Value"] for parameter in parameters}
    return [
        (each, transformed(target["InputTransformer"], event_of(each)) | body)
        for each in notifications
        for rule in rules
        if matches(rule["EventPattern"], event_of(each))
        for target in rule["Targets"]
    ]


def kinds(found: Received) -> set[str]:
    return {notification.detail_type for notification, _ in found}


# --- what each tool takes -----------------------------------------------------------------------

TEXT = {"type": "string", "minLength": 1}

# https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
CUSTOM_NOTIFICATION = {
    "type": "object",
    "required": ["version", "source", "content"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "1.0"},
        "source": {"const": "custom"},
        "id": TEXT,
        "content": {
            "type": "object",
            "required": ["description"],
            "additionalProperties": False,
            "properties": {
                "textType": {"const": "client-markdown"},
                "title": TEXT,
                "description": TEXT,
                "nextSteps": {"type": "array", "items": TEXT},
                "keywords": {"type": "array", "items": TEXT},
            },
        },
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "threadId": TEXT,
                "summary": TEXT,
                "eventType": TEXT,
                "relatedResources": {"type": "array", "items": TEXT},
                "additionalContext": {"type": "object", "additionalProperties": TEXT},
                "enableCustomActions": {"type": "boolean"},
            },
        },
    },
}

# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
SLACK_MESSAGE = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {"text": TEXT | {"maxLength": 40_000}, "mrkdwn": {"type": "boolean"}},
}

# https://developer.pagerduty.com/docs/send-alert-event
PAGERDUTY_EVENT = {
    "type": "object",
    "required": ["routing_key", "event_action", "dedup_key"],
    "additionalProperties": False,
    "properties": {
        "routing_key": {"const": {"Ref": "RoutingKey"}},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": TEXT | {"maxLength": 255},
        "client": TEXT,
        "client_url": TEXT,
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "additionalProperties": False,
            "properties": {
                "summary": TEXT | {"maxLength": 1_024},
                "source": TEXT,
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": TEXT | {"format": "date-time"},
                "component": TEXT,
                "group": TEXT,
                "class": TEXT,
                "custom_details": {"type": "object"},
            },
        },
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
}
FORMATS = {"amazon-q": CUSTOM_NOTIFICATION, "slack": SLACK_MESSAGE, "pagerduty": PAGERDUTY_EVENT}


@pytest.mark.parametrize("name", FORMATS)
def test_a_tool_takes_what_it_gets_of_any_event(name: str) -> None:
    validator = Draft202012Validator(FORMATS[name], format_checker=FormatChecker())
    for _, body in received(name, sent()):
        validator.validate(body)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("amazon-q", INCIDENTS | ALARMS | {"Test Alert"}),
        ("slack", INCIDENTS - {"Incident Updated"} | ALARMS | {"Test Alert"}),
        ("pagerduty", INCIDENTS),
    ],
)
def test_which_events_a_tool_gets(name: str, expected: set[str]) -> None:
    assert kinds(received(name, sent())) == expected


def test_slack_shows_the_message_as_it_is() -> None:
    for notification, body in received("slack", sent()):
        assert body == {"text": notification.message, "mrkdwn": False}


def test_all_that_is_said_of_an_incident_is_one_thread_of_amazon_q() -> None:
    for notification, body in received("amazon-q", sent()):
        assert body["metadata"]["threadId"] == notification.detail["id"]
        assert body["content"]["title"] == notification.detail["summary"]
        assert body["content"]["description"] == notification.message


def test_an_alert_of_pagerduty_is_triggered_and_resolved_under_the_same_key() -> None:
    for notification, body in received("pagerduty", sent()):
        assert body["dedup_key"] == notification.about
        is_over = notification.detail_type == "Incident Closed"
        assert body["event_action"] == ("resolve" if is_over else "trigger")
        if not is_over:
            assert body["payload"]["severity"] == notification.detail["level"]
            assert body["payload"]["custom_details"]["text"] == notification.message


@pytest.mark.parametrize("name", FORMATS)
def test_a_tool_gets_the_largest_events_too(name: str) -> None:
    """Slack cuts a message after 40,000 characters, which is of no harm."""
    largest = [largest_incident(), largest_alarm()]
    for _, body in received(name, largest):
        assert body
    assert kinds(received(name, largest)) == (
        {"Incident Opened"} if name == "pagerduty" else {"Incident Opened", "Alarm Evaluated"}
    )


# --- the templates ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_cfn_lint_accepts_a_template(file: Path) -> None:
    assert lint(file.read_text(), config=ManualArgs()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_template_is_described_and_linked(file: Path) -> None:
    assert f"(integrations/{file.name})" in (ROOT / "docs/chat.md").read_text()
    assert file.stem in FORMATS


@pytest.mark.parametrize("name", ["slack", "pagerduty"])
def test_what_a_tool_does_not_take_is_kept(name: str) -> None:
    found = resources(name)
    for rule in found.values():
        for target in rule["Properties"].get("Targets", []):
            [queue, _] = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"]
            assert found[queue]["Type"] == "AWS::SQS::Queue"
            [policy] = [
                each["Properties"]
                for each in found.values()
                if each["Type"] == "AWS::SQS::QueuePolicy"
            ]
            assert policy["Queues"] == [{"Ref": queue}]


def test_the_key_of_pagerduty_is_in_a_secret_and_in_no_rule() -> None:
    found = resources("pagerduty")
    rules = [each for each in found.values() if each["Type"] == "AWS::Events::Rule"]
    assert "RoutingKey" not in json.dumps(rules)
    auth = found["PagerDutyConnection"]["Properties"]["AuthParameters"]
    [parameter] = auth["InvocationHttpParameters"]["BodyParameters"]
    assert parameter["IsValueSecret"] is True


# --- the evaluator of transformers --------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "paths", "fault"),
    [
        ('{"a": "<x> is"}', {"x": "$.detail.x"}, "within quotation marks"),
        ('{"a": <x>}', {"x": "$.detail.y"}, "not there"),
        ('{"a": <x>}', {"x": "$.detail.none"}, "not there"),
        ('{"a": <x>}', {"x": "$.detail['x']"}, "supported"),
        ('{"a": <y>}', {"x": "$.detail.x"}, "used are"),
        ('{"a": <x>', {"x": "$.detail.x"}, "delimiter|Expecting"),
    ],
)
def test_a_transformer_whose_result_may_be_no_json_is_refused(
    template: str, paths: dict[str, str], fault: str
) -> None:
    event = {"detail": {"x": 'a "b"\nc', "none": None}}
    with pytest.raises(ValueError, match=fault):
        transformed({"InputTemplate": template, "InputPathsMap": paths}, event)


def test_a_value_is_escaped_as_json() -> None:
    event = {"detail": {"x": 'a "b"\nc', "list": [1, "two"]}}
    transformer = {
        "InputTemplate": '{"a": <x>, "b": <list>}',
        "InputPathsMap": {"x": "$.detail.x", "list": "$.detail.list"},
    }
    assert transformed(transformer, event) == {"a": 'a "b"\nc', "b": [1, "two"]}


def test_a_pattern_has_to_match_in_every_part() -> None:
    pattern = {"source": ["ops-anomaly"], "detail": {"tags": {"team": ["shop"]}}}
    event = {"source": "ops-anomaly", "detail": {"tags": {"team": "shop", "tier": "1"}}}
    assert matches(pattern, event)
    assert not matches(pattern, event | {"source": "aws.ec2"})
    assert not matches(pattern, event | {"detail": {"tags": {}}})
    assert not matches(pattern, event | {"detail": {}})


def test_the_documented_rules_match_the_events_that_they_are_for() -> None:
    text = (ROOT / "docs/events.md").read_text()
    severe, team, failed = map(json.loads, re.findall(r'^(\{"source".*\})$', text, re.MULTILINE))
    levels = {each.detail["level"] for each in sent() if matches(severe, event_of(each))}
    assert levels == {"critical", "error"}
    event = event_of(sent()[0])
    assert not matches(team, event)
    assert matches(team, event | {"detail": event["detail"] | {"tags": {"team": "payments"}}})
    retrainings = [each.detail_type for each in sent() if matches(failed, event_of(each))]
    assert retrainings == ["Retraining Finished"]
