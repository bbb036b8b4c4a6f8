"""Shards of the fleet, each looked at by one watcher at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from registry.errors import ConflictError
from registry.keys import state_key
from watch.errors import BusyError
from watch.fleet.incident import Opened
from watch.fleet.look import look
from watch.fleet.memory import Memory, read_memory, write_memory
from watch.fleet.turn import shard_of
from watch.notebook import ATTEMPTS, Notebook

if TYPE_CHECKING:
    from registry.fleet import Watched
    from registry.metric import Metric
    from registry.store import ObjectStore
    from watch.fleet.judge import Judge
    from watch.fleet.look import Looked
    from watch.fleet.shelf import Shelf
    from watch.fleet.warm import WarmPlaces
    from watch.outbox import Channel
    from watch.reporter import Reporter


LEASE_SECONDS = 270
"""More than the function may run, and less than it takes to the next tick."""


MUCH_FOLLOWED = 64
"""Readings a metric that had to be followed again, beyond which the shelf is out of date."""


@dataclass(frozen=True)
class Tally:
    """What a look has to report, in counts; the last score of each metric that publishes it."""

    watched: int
    opened: int
    closed: int
    late: int
    missing: int
    postponed: int
    pending: int
    scores: dict[Metric, float] = field(default_factory=dict)


class ShardWatcher:
    """Looks at shards of the fleet.

    Parameters
    ----------
    cloudwatch
        Returns a client of boto3.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        cloudwatch: Callable[[], Any],
        store: ObjectStore,
        judge: Judge,
        places: WarmPlaces,
        shelf: Shelf,
        channels: Sequence[Channel],
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self._cloudwatch = cloudwatch
        self._store = store
        self._judge = judge
        self._places = places
        self._shelf = shelf
        self._channels = channels
        self._reporter = reporter
        self._clock = clock

    def look(self, of: int, number: int, fleet: Sequence[Watched]) -> Tally:
        """Read what is new of the shard's metrics, judge it, and tell what began or ended.

        Parameters
        ----------
        of, number : int
            Into how many shards the fleet is cut, and which one this is.
        fleet
            The shard's metrics, by entry.

        Raises
        ------
        CloudWatchError, StoreUnavailableError, BusyError
            If it could not be done: a retry does what is left to do.
        """
        notebook = self._notebook(of, number)
        for _ in range(ATTEMPTS):
            page = notebook.open()
            if page.is_unreadable:
                self._reporter.state_rebuilt(notebook.key)
            known = self._inherited(of, number) if page.is_new else page.state
            self._warm_up(of, number, known)
            looked = look(
                known, fleet, self._cloudwatch, self._judge, self._clock, self._reporter.refused
            )
            if not looked.is_changed and not looked.memory.outbox:
                return tally(looked, 0)  # nothing is due, as after a retry
            try:
                after = notebook.note_and_tell(
                    page, looked.memory, self._channels, self._clock, self._reporter.given_up
                )
            except ConflictError:
                continue  # another watcher has looked: see what it has left to do
            self._keep(of, number, looked)
            return tally(looked, len(after.outbox))
        raise BusyError(f"{notebook.key}: others keep writing it")

    def _warm_up(self, of: int, number: int, known: Memory) -> None:
        """Take from the shelf where the detectors have got to, if most of it is not known here."""
        cold = sum(metric not in self._places for metric in known.grids)
        if 2 * cold > len(known.grids):
            for metric, place in self._shelf.take(of, number).items():
                if metric not in self._places:
                    self._places.keep(metric, place)

    def _keep(self, of: int, number: int, looked: Looked) -> None:
        """Keep where the detectors have got to; if that took long, let others go on from there."""
        for metric, place in looked.places.items():
            self._places.keep(metric, place)
        if looked.followed > MUCH_FOLLOWED * len(looked.memory.grids):
            self._shelf.leave(of, number, looked.places)

    def _notebook(self, of: int, number: int) -> Notebook[Memory]:
        return Notebook(
            self._store, state_key(of, number), Memory(), read_memory, write_memory, LEASE_SECONDS
        )

    def _inherited(self, of: int, number: int) -> Memory:
        """Return what is known of a new shard's metrics by the one that it was cut from."""
        half = of // 2
        while half:
            page = self._notebook(half, number % half).open()
            if not page.is_new:
                own = {
                    key: grid
                    for key, grid in page.state.grids.items()
                    if shard_of(grid.metric, of) == number
                }
                return Memory(own, page.state.outbox if number < half else ())
            half //= 2
        return Memory()


def tally(looked: Looked, pending: int) -> Tally:
    """Count what a look found, and what waits to be told."""
    opened = sum(isinstance(step, Opened) for step in looked.steps)
    return Tally(
        watched=len(looked.memory.grids),
        opened=opened,
        closed=len(looked.steps) - opened,
        late=looked.late,
        missing=looked.missing,
        postponed=looked.postponed,
        pending=pending,
        scores=dict(looked.scores),
    )
