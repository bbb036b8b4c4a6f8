"""The events that invoke the watcher: the schedule's tick, shard jobs, and changes of alarms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops_anomaly.watcher.fleet import ShardJob, decode_shard_job

DETAIL_TYPE = "CloudWatch Alarm State Change"


class UnknownEventError(ValueError):
    """The watcher does not handle such events; it is logged and ignored."""


@dataclass(frozen=True)
class Tick:
    """The schedule: time to evaluate the fleet."""


@dataclass(frozen=True)
class ShardJobs:
    """Messages of the queue: shards to evaluate."""

    jobs: list[ShardJob]


@dataclass(frozen=True)
class AlarmChange:
    """A CloudWatch alarm that has changed its state, by a rule of EventBridge or its own action.

    Attributes
    ----------
    state, previous_state : str
        ALARM, OK or INSUFFICIENT_DATA; empty if the event does not have the previous one.
    at : int
        When it changed, milliseconds.
    reason : str
        CloudWatch's.
    evaluated_from : int or None
        Time of the first datapoint that the alarm evaluated, if the event has it.
    metrics : list of mapping
        As the event has them; empty for a composite alarm.
    triggered_by : list of str
        ARNs of the alarms that made a composite alarm change, if the event has them.
    rule : str
        Of a composite alarm, else empty.
    """

    name: str
    arn: str
    state: str
    previous_state: str
    at: int
    reason: str
    evaluated_from: int | None
    metrics: list[Mapping[str, Any]]
    triggered_by: list[str]
    rule: str

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> AlarmChange:
        """Read an event.

        Raises
        ------
        UnknownEventError
            If it lacks what every alarm's event has.
        """
        try:
            if event.get("detail-type") == DETAIL_TYPE:
                arn, alarm = event["resources"][0], event["detail"]
            else:
                arn, alarm = event["alarmArn"], event["alarmData"]
            state, configuration = alarm["state"], alarm.get("configuration") or {}
            at = parse_time(state["timestamp"])
            if at is None:
                raise ValueError(f"{state['timestamp']!r} is not a valid time")
            data = _reason_data(state)
            return cls(
                name=str(alarm["alarmName"]),
                arn=str(arn),
                state=str(state["value"]),
                previous_state=str((alarm.get("previousState") or {}).get("value", "")),
                at=at,
                reason=str(state.get("reason", "")),
                evaluated_from=parse_time(data.get("startDate")),
                metrics=list(configuration.get("metrics") or []),
                triggered_by=[str(each["arn"]) for each in data.get("triggeringAlarms") or []],
                rule=str(configuration.get("alarmRule") or ""),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise UnknownEventError(f"malformed alarm event: {error!r}") from error


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
            return ShardJobs([_shard_job(record) for record in records])
        case {"detail-type": detail_type} if detail_type == DETAIL_TYPE:
            return AlarmChange.from_event(event)
        case {"source": "aws.cloudwatch", "alarmData": _}:
            return AlarmChange.from_event(event)
    raise UnknownEventError(f"neither tick, shard job nor alarm: {_described(event)}")


def parse_time(text: object) -> int | None:
    """Return the milliseconds of an ISO 8601 time with an offset, or None for anything else.

    Examples
    --------
    >>> parse_time("2026-11-25T12:00:00.250+0000"), parse_time("noon")
    (1795608000250, None)
    """
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        return round(1000 * moment.timestamp()) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _shard_job(record: Mapping[str, Any]) -> ShardJob:
    try:
        job = decode_shard_job(record["body"])
        _ = job.fleet  # its metrics can be parsed
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownEventError(f"malformed shard job: {error!r}") from error
    return job


def _reason_data(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state's reasonData: JSON in a string, which may be absent or not an object."""
    try:
        data = json.loads(state.get("reasonData") or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _described(event: Any) -> str:
    """Return what an unknown event looks like, without its contents."""
    if not isinstance(event, dict):
        return f"a {type(event).__name__}"
    kind = {key: event[key] for key in ("source", "detail-type", "eventSource") if key in event}
    return f"an event with the keys {', '.join(sorted(map(str, event)))[:200]} {kind or ''}".strip()
