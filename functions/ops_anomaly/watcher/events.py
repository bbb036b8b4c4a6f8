"""A change of a CloudWatch alarm's state, by whichever route it came.

What arrives, by what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops_anomaly.watcher.documents import UnknownEventError
from ops_anomaly.watcher.fleet import ShardJob, decode_shard_job
from ops_anomaly.watcher.formatting import parse_time

DETAIL_TYPE = "CloudWatch Alarm State Change"


@dataclass(frozen=True)
class AlarmChange:
    """What an alarm says when its state changes.

    Attributes
    ----------
    state, before : str
        ALARM, OK or INSUFFICIENT_DATA; empty where the event does not say what was before.
    at : float
        When it changed, in seconds since 1970.
    why : str
        CloudWatch's reason.
    evaluated_from : float or None
        When the first reading that was evaluated begins, where it says so.
    metrics : list of mapping
        As the event writes them; empty for a composite alarm.
    children : list of str
        ARNs of the alarms that made a composite alarm change, where it names them.
    rule : str
        Of a composite alarm, else empty.
    """

    name: str
    arn: str
    state: str
    before: str
    at: float
    why: str
    evaluated_from: float | None
    metrics: list[Mapping[str, Any]]
    children: list[str]
    rule: str

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> AlarmChange:
        """Read an event of EventBridge, or of an alarm's own action.

        Raises
        ------
        UnknownEventError
            If it lacks what every alarm's event has.
        """
        try:
            if event.get("detail-type") == DETAIL_TYPE:
                arn, told = event["resources"][0], event["detail"]
            else:
                arn, told = event["alarmArn"], event["alarmData"]
            state, configuration = told["state"], told.get("configuration") or {}
            at = parse_time(state["timestamp"])
            if at is None:
                raise ValueError(f"{state['timestamp']!r} is no time")
            data = reason_data(state)
            return cls(
                name=str(told["alarmName"]),
                arn=str(arn),
                state=str(state["value"]),
                before=str((told.get("previousState") or {}).get("value", "")),
                at=at,
                why=str(state.get("reason", "")),
                evaluated_from=parse_time(data.get("startDate")),
                metrics=list(configuration.get("metrics") or []),
                children=[str(child["arn"]) for child in data.get("triggeringAlarms") or []],
                rule=str(configuration.get("alarmRule") or ""),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise UnknownEventError(f"an alarm's event without its parts: {error!r}") from error


def reason_data(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state's reasonData: JSON in a string, which may be absent or no object."""
    try:
        data = json.loads(state.get("reasonData") or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class Tick:
    """The schedule says that it is time to look at the fleet."""


@dataclass(frozen=True)
class ShardJobs:
    """Shards whose turn it is."""

    messages: list[ShardJob]


def recognise(event: Any) -> Tick | ShardJobs | AlarmChange:
    """Return what an event is.

    Raises
    ------
    UnknownEventError
        If it is none of these, or lacks what its kind always has.
    """
    match event:
        case {"watch": "fleet"}:
            return Tick()
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as records}:
            return ShardJobs([turn(record) for record in records])
        case {"detail-type": detail_type} if detail_type == DETAIL_TYPE:
            return AlarmChange.from_event(event)
        case {"source": "aws.cloudwatch", "alarmData": _}:
            return AlarmChange.from_event(event)
    raise UnknownEventError(f"no tick, turn or alarm, but {described(event)}")


def turn(record: Mapping[str, Any]) -> ShardJob:
    """Read the turn of a shard from a message of the queue."""
    try:
        message = decode_shard_job(record["body"])
        _ = message.fleet  # its metrics can be read
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownEventError(f"a message that is no shard's turn: {error!r}") from error
    return message


def described(event: Any) -> str:
    """Say what an unknown event looks like, without its contents."""
    if not isinstance(event, dict):
        return f"a {type(event).__name__}"
    told = {key: event[key] for key in ("source", "detail-type", "eventSource") if key in event}
    return f"an event with the keys {', '.join(sorted(map(str, event)))[:200]} {told or ''}".strip()
