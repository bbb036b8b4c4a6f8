"""The events that invoke the watcher: the schedule's tick, shard jobs, and changes of alarms.

An alarm's change is written in three ways: by EventBridge, by the alarm's own action, and by SNS,
which may put it into an envelope.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ops_anomaly.validation import Contract

DETAIL_TYPE = "CloudWatch Alarm State Change"

STATISTICS = {
    name.upper(): name for name in ("Average", "Maximum", "Minimum", "SampleCount", "Sum")
}
"""SNS writes them in capitals."""


class UnknownEventError(ValueError):
    """The watcher does not handle such events; it is logged and ignored."""


@dataclass(frozen=True)
class Tick:
    """The schedule: time to evaluate the fleet.

    Attributes
    ----------
    time : int or None
        When it was scheduled, seconds since 1970, if the event has it.
    """

    time: int | None = None


@dataclass(frozen=True)
class IncidentTick:
    """The schedule of every minute: time to notify people of what has been found."""


@dataclass(frozen=True)
class DeliveryTest:
    """Somebody who wants to see whether alerts arrive."""


class ShardJob(Contract, frozen=True):
    """One evaluation of one shard, as a message in the queue.

    Attributes
    ----------
    time : int
        When the tick was scheduled, seconds since 1970.
    """

    shard: Annotated[int, Meta(ge=0)]
    time: Annotated[int, Meta(ge=0)]


def encode_shard_job(job: ShardJob) -> str:
    """Return the body of the message."""
    return msgspec.json.encode(job).decode()


def decode_shard_job(body: str) -> ShardJob:
    """Read the body of a message.

    Raises
    ------
    ValueError
        If it is anything but what `encode_shard_job` writes.
    """
    return msgspec.json.decode(body, type=ShardJob)


@dataclass(frozen=True)
class ShardJobs:
    """Messages of the shard queue: shards to evaluate."""

    jobs: list[ShardJob]


@dataclass(frozen=True)
class AlarmChange:
    """A CloudWatch alarm that has changed its state.

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
        As EventBridge writes them; empty for a composite alarm.
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
    def from_event(cls, event: Any) -> AlarmChange:
        """Read a change that EventBridge, an alarm's action or SNS has written.

        Raises
        ------
        UnknownEventError
            If it is none of these, or lacks what every alarm's change has.
        """
        try:
            match event:
                case {"detail-type": kind} if kind == DETAIL_TYPE:
                    return cls._from_alarm(event["resources"][0], event["detail"])
                case {"source": "aws.cloudwatch", "alarmData": alarm}:
                    return cls._from_alarm(event["alarmArn"], alarm)
                case {"AlarmName": _, "NewStateValue": _}:
                    return cls._from_sns(event)
                case {"Type": "Notification", "Message": str() as message}:
                    return cls.from_event(json.loads(message))
        except UnknownEventError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise UnknownEventError(f"malformed alarm event: {error!r}") from error
        raise UnknownEventError(f"not an alarm: {_described(event)}")

    @classmethod
    def _from_alarm(cls, arn: Any, alarm: Mapping[str, Any]) -> AlarmChange:
        """Read what EventBridge and an alarm's own action write alike."""
        state, configuration = alarm["state"], alarm.get("configuration") or {}
        data = _reason_data(state)
        return cls(
            name=str(alarm["alarmName"]),
            arn=str(arn),
            state=str(state["value"]),
            previous_state=str((alarm.get("previousState") or {}).get("value", "")),
            at=_time_of_change(state["timestamp"]),
            reason=str(state.get("reason", "")),
            evaluated_from=parse_time(data.get("startDate")),
            metrics=list(configuration.get("metrics") or []),
            triggered_by=[str(each["arn"]) for each in data.get("triggeringAlarms") or []],
            rule=str(configuration.get("alarmRule") or ""),
        )

    @classmethod
    def _from_sns(cls, alarm: Mapping[str, Any]) -> AlarmChange:
        """Read the message of an alarm whose action is an SNS topic."""
        return cls(
            name=str(alarm["AlarmName"]),
            arn=str(alarm["AlarmArn"]),
            state=str(alarm["NewStateValue"]),
            previous_state=str(alarm.get("OldStateValue") or ""),
            at=_time_of_change(alarm["StateChangeTime"]),
            reason=str(alarm.get("NewStateReason") or ""),
            evaluated_from=None,
            metrics=_metrics_of_trigger(alarm.get("Trigger") or {}),
            triggered_by=[str(each["Arn"]) for each in alarm.get("TriggeringChildren") or []],
            rule=str(alarm.get("AlarmRule") or ""),
        )


@dataclass(frozen=True)
class AlarmChanges:
    """Messages of the alarm queue: alarms that have changed."""

    changes: list[AlarmChange]


@dataclass(frozen=True)
class DirectAlarms:
    """Alarms whose change has invoked the function directly, rather than by the queue.

    Attributes
    ----------
    messages : list of str
        The changes as messages of the alarm queue, which bounds how many run at a time.
    """

    changes: list[AlarmChange]
    messages: list[str]


Known = Tick | IncidentTick | DeliveryTest | ShardJobs | AlarmChanges | DirectAlarms


def recognise(event: Any) -> Known:
    """Return what an event is.

    Raises
    ------
    UnknownEventError
        If it is none of these, or lacks what its kind always has.
    """
    match event:
        case {"watch": "fleet"}:
            scheduled = parse_time(event.get("time"))
            return Tick(None if scheduled is None else scheduled // 1000)
        case {"watch": "incidents"}:
            return IncidentTick()
        case {"watch": "test alert"}:
            return DeliveryTest()
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as records}:
            return _from_queue([_body(record) for record in records])
        case {"Records": [{"EventSource": "aws:sns"}, *_] as records}:
            return _direct([record.get("Sns") for record in records])
        case {"detail-type": _} | {"alarmData": _}:
            return _direct([event])
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


def _from_queue(bodies: Sequence[str]) -> ShardJobs | AlarmChanges:
    """Return what the messages of a queue are: a queue holds one kind of them."""
    try:
        messages = [json.loads(body) for body in bodies]
    except (ValueError, RecursionError) as error:
        raise UnknownEventError(f"malformed message: {error}") from error
    if any(isinstance(message, dict) and "shard" in message for message in messages):
        try:
            return ShardJobs([decode_shard_job(body) for body in bodies])
        except ValueError as error:
            raise UnknownEventError(f"malformed shard job: {error}") from error
    return AlarmChanges([AlarmChange.from_event(message) for message in messages])


def _direct(messages: Sequence[Any]) -> DirectAlarms:
    changes = [AlarmChange.from_event(message) for message in messages]
    return DirectAlarms(changes, [json.dumps(message) for message in messages])


def _body(record: Any) -> str:
    match record:
        case {"body": str() as body}:
            return body
    raise UnknownEventError("a message without a body")


def _time_of_change(text: Any) -> int:
    at = parse_time(text)
    if at is None:
        raise UnknownEventError(f"malformed alarm event: {text!r} is not a valid time")
    return at


def _reason_data(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state's reasonData: JSON in a string, which may be absent or not an object."""
    try:
        data = json.loads(state.get("reasonData") or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _metrics_of_trigger(trigger: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the metrics of SNS's message as EventBridge writes them; none of a composite alarm.

    What a metric lacks is None: the alarm is notified all the same, with what is malformed.
    """
    if trigger.get("Metrics"):
        return [_metric_of_trigger(each) for each in trigger["Metrics"]]
    if not trigger.get("MetricName"):
        return []
    statistic = trigger.get("ExtendedStatistic") or _statistic(trigger.get("Statistic"))
    stat = {"Metric": trigger, "Period": trigger.get("Period"), "Stat": statistic}
    return [_metric_of_trigger({"Id": "m1", "MetricStat": stat | {"Unit": trigger.get("Unit")}})]


def _metric_of_trigger(metric: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {
        "id": metric.get("Id"),
        "expression": metric.get("Expression"),
        "label": metric.get("Label"),
        "period": metric.get("Period"),
        "returnData": metric.get("ReturnData", True),
        "accountId": metric.get("AccountId"),
    }
    if "MetricStat" in metric:
        stat = metric["MetricStat"]
        named = stat["Metric"]
        pairs = named.get("Dimensions") or []
        found["metricStat"] = {
            "metric": {
                "namespace": named.get("Namespace"),
                "name": named.get("MetricName"),
                "dimensions": {pair["name"]: pair["value"] for pair in pairs},
            },
            "period": stat.get("Period"),
            "stat": stat.get("Stat"),
            "unit": stat.get("Unit"),
        }
    return found


def _statistic(text: Any) -> Any:
    """Return a statistic as GetMetricData takes it, given one as SNS writes it."""
    return STATISTICS.get(str(text).replace("_", "").upper(), text)


def _described(event: Any) -> str:
    """Return what an unknown event looks like, without its contents."""
    if not isinstance(event, dict):
        return f"a {type(event).__name__}"
    kind = {key: event[key] for key in ("source", "detail-type", "eventSource") if key in event}
    return f"an event with the keys {', '.join(sorted(map(str, event)))[:200]} {kind or ''}".strip()
