"""What arrives, by what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from watch.alarms.change import DETAIL_TYPE, AlarmChange
from watch.errors import UnknownEventError
from watch.fleet.turn import ShardMessage, read_turn


@dataclass(frozen=True)
class Tick:
    """The schedule says that it is time to look at the fleet."""


@dataclass(frozen=True)
class Turns:
    """Shards whose turn it is."""

    messages: list[ShardMessage]


def recognise(event: Any) -> Tick | Turns | AlarmChange:
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
            return Turns([turn(record) for record in records])
        case {"detail-type": detail_type} if detail_type == DETAIL_TYPE:
            return AlarmChange.from_event(event)
        case {"source": "aws.cloudwatch", "alarmData": _}:
            return AlarmChange.from_event(event)
    raise UnknownEventError(f"no tick, turn or alarm, but {described(event)}")


def turn(record: Mapping[str, Any]) -> ShardMessage:
    """Read the turn of a shard from a message of the queue."""
    try:
        message = read_turn(record["body"])
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
