"""Events of alarms by both routes, made of what matters to a test; `events/` has whole ones."""

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
    """Return what both routes say of an alarm; of one on a metric by default."""
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


def change(*args: Any, **more: Any) -> AlarmChange:
    """Return a change of an alarm; see `alarm_data`."""
    return AlarmChange.from_event(by_rule(alarm_data(*args, **more)))
