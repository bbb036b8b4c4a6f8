"""The watcher: each event to the part that takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from watch.alarms.change import AlarmChange
from watch.errors import UnknownEventError
from watch.fleet.turn import write_turn
from watch.incoming import Tick, Turns, recognise

if TYPE_CHECKING:
    from watch.alarms.watcher import AlarmWatcher
    from watch.fleet.planner import Planner
    from watch.fleet.shard import ShardWatcher
    from watch.fleet.turn import ShardMessage
    from watch.reporter import Reporter

SUPERSEDED_SECONDS = 3_600
"""A turn that is older is left: newer ones have been given since."""


@dataclass(frozen=True)
class Watcher:
    """Takes every event of the function.

    Attributes
    ----------
    send
        Gives a shard its turn: in an invocation of its own, in parallel with the others.
    clock
        Seconds since 1970.
    """

    planner: Planner
    shards: ShardWatcher
    alarms: AlarmWatcher
    reporter: Reporter
    send: Callable[[str], None]
    clock: Callable[[], float]

    def take(self, event: Any) -> None:
        """Do what an event asks for; one that is not known is logged and left.

        Raises
        ------
        RegistryError, WatchError
            If it could not be done; AWS tries again, then keeps the event in the dead-letter
            queue.
        """
        try:
            known = recognise(event)
        except UnknownEventError as error:
            self.reporter.unknown(error)
            return
        match known:
            case Tick():
                turns = self.planner.turns()
                for turn in turns:
                    self.send(write_turn(turn))
                self.reporter.planned(len(turns))
            case Turns(messages=messages):
                for message in messages:
                    self._look(message)
            case AlarmChange() as change:
                told = self.alarms.take(change)
                self.reporter.alarm_taken(change.name, change.state, told)

    def _look(self, message: ShardMessage) -> None:
        shard, began = f"{message.shard} of {message.of}", self.clock()
        if began - message.time > SUPERSEDED_SECONDS:
            self.reporter.superseded(shard, began - message.time)
            return
        tally = self.shards.look(message.of, message.shard, message.fleet)
        self.reporter.looked(tally, shard, self.clock() - began)
