"""What is remembered of an alarm, as one object in the bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from watch.errors import UnreadableMemoryError
from watch.outbox import Outbox


class AlarmIncident(BaseModel):
    """An alarm that has fired and is not over; `detail` is that of the event that said so."""

    model_config = ConfigDict(frozen=True)

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


_ADAPTER = TypeAdapter(AlarmMemory)


def read_alarm(data: bytes) -> AlarmMemory:
    """Read what is remembered of an alarm.

    Raises
    ------
    UnreadableMemoryError
        If it is anything but what `write_alarm` writes.
    """
    try:
        return _ADAPTER.validate_json(data)
    except ValueError as error:
        raise UnreadableMemoryError(f"not what is remembered of an alarm: {error}") from error


def write_alarm(memory: AlarmMemory) -> bytes:
    """Return the object."""
    return _ADAPTER.dump_json(memory)
