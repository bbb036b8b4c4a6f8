"""What is remembered of an alarm, as one object in the bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from watch.errors import UnreadableMemoryError
from watch.outbox import Outbox


class AlarmIncident(msgspec.Struct, frozen=True):
    """An alarm that has fired and is not over; `detail` is that of the event that said so."""

    id: str
    since: float
    detail: dict[str, Any]


@dataclass(frozen=True)
class AlarmMemory:
    """What is remembered of an alarm.

    Attributes
    ----------
    until : float
        The last change that was taken, in seconds since 1970: the same or an older one changes
        nothing.
    """

    version: Literal[1] = 1
    until: float = 0.0
    incident: AlarmIncident | None = None
    outbox: Outbox = ()


def read_alarm(data: bytes) -> AlarmMemory:
    """Read what is remembered of an alarm.

    Raises
    ------
    UnreadableMemoryError
        If it is anything but what `write_alarm` writes.
    """
    try:
        return msgspec.json.decode(data, type=AlarmMemory)
    except (ValueError, RecursionError) as error:
        raise UnreadableMemoryError(f"not what is remembered of an alarm: {error}") from error


def write_alarm(memory: AlarmMemory) -> bytes:
    """Return the object."""
    return msgspec.json.encode(memory)
