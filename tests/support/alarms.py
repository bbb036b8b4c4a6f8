"""Events of alarms by every route, made of what matters to a test; `events/` has whole ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ops_anomaly.watcher.events import DETAIL_TYPE, AlarmChange
from tests.support.watcher import NOON

PREFIX = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:"
CPU = {"namespace": "AWS/EC2", "name": "CPUUtilization", "dimensions": {"InstanceId": "i-00000"}}


def alarm_time(seconds: float) -> str:
    """Return a time as alarms write it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.000+0000"


def on_metric(query: str = "m1", period: int = 300, **more: Any) -> dict[str, Any]:
    """Return an item of an event's `configuration.metrics` that is a metric."""
    stat = {"metric": CPU, "period": period, "stat": "Average"}
    return {"id": query, "metricStat": stat, "returnData": True} | more


def on_expression(query: str, expression: str, **more: Any) -> dict[str, Any]:
    """Return an item of an event's `configuration.metrics` that is an expression."""
    return {"id": query, "expression": expression, "returnData": True} | more


def alarm_data(
    state: str = "ALARM",
    at: float = NOON,
    *,
    previous: str = "OK",
    name: str = "cpu-high",
    metrics: Sequence[dict[str, Any]] = (),
    rule: str | None = None,
    triggered_by: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what EventBridge and actions say of an alarm; of one on a metric by default."""
    data = {"startDate": alarm_time(at - 900)}
    if triggered_by:
        data = {"triggeringAlarms": [{"arn": f"{PREFIX}{name}"} for name in triggered_by]}
    return {
        "alarmName": name,
        "state": {
            "value": state,
            "reason": "Threshold Crossed",
            "reasonData": json.dumps(data),
            "timestamp": alarm_time(at),
        },
        "previousState": {"value": previous},
        "configuration": {"alarmRule": rule} if rule else {"metrics": metrics or [on_metric()]},
    }


def by_rule(detail: dict[str, Any]) -> dict[str, Any]:
    """Return the event of EventBridge."""
    arn = f"{PREFIX}{detail['alarmName']}"
    return {
        "detail-type": DETAIL_TYPE,
        "source": "aws.cloudwatch",
        "resources": [arn],
        "detail": detail,
    }


def by_action(data: dict[str, Any]) -> dict[str, Any]:
    """Return the event of an alarm's own action."""
    return {
        "source": "aws.cloudwatch",
        "alarmArn": f"{PREFIX}{data['alarmName']}",
        "alarmData": data,
    }


def sns_message(state: str = "ALARM", at: float = NOON, **more: Any) -> dict[str, Any]:
    """Return the message of an alarm whose action is a topic; of one on a metric by default."""
    return {
        "AlarmName": "cpu-high",
        "NewStateValue": state,
        "NewStateReason": "Threshold Crossed",
        "StateChangeTime": alarm_time(at),
        "AlarmArn": f"{PREFIX}cpu-high",
        "OldStateValue": "OK",
        "Trigger": {
            "MetricName": "CPUUtilization",
            "Namespace": "AWS/EC2",
            "StatisticType": "Statistic",
            "Statistic": "AVERAGE",
            "Unit": None,
            "Dimensions": [{"value": "i-00000", "name": "InstanceId"}],
            "Period": 300,
        },
    } | more


def sns_envelope(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of a topic as its subscribers receive it."""
    return {"Type": "Notification", "Subject": "ALARM", "Message": json.dumps(message)}


def by_topic(message: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a topic that the function is subscribed to."""
    return {"Records": [{"EventSource": "aws:sns", "Sns": sns_envelope(message)}]}


def by_queue(*messages: object) -> dict[str, Any]:
    """Return the event of a queue."""
    bodies = [each if isinstance(each, str) else json.dumps(each) for each in messages]
    return {"Records": [{"eventSource": "aws:sqs", "body": body} for body in bodies]}


def change(*args: Any, **more: Any) -> AlarmChange:
    """Return a change of an alarm; see `alarm_data`."""
    return AlarmChange.from_event(by_rule(alarm_data(*args, **more)))
