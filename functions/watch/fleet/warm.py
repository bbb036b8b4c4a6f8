"""Where detectors have got to: kept in memory, so that a look need not follow two weeks again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.alerts import Vigilance
    from detector.past import Past

WARM_BYTES = 384 * 2**20
"""Bound on what a function keeps: of 500 metrics with four weeks of 5 minutes each."""


@dataclass(frozen=True)
class Warm:
    """How far a contextual forest has followed a metric.

    Attributes
    ----------
    version : str or None
        Of the model; None where the metric is judged by its own history.
    threshold : float or None
        Which it followed with; None is the model's own.
    until : int
        Time of the last reading, in seconds since 1970.
    """

    version: str | None
    threshold: float | None
    until: int
    past: Past
    vigilance: Vigilance

    def goes_on(self, version: str | None, threshold: float | None, time: int) -> bool:
        """Tell whether a detector of this version and threshold can go on here at that time."""
        return (self.version, self.threshold) == (version, threshold) and self.until < time


class WarmPlaces:
    """Where detectors have got to, by metric; the least recently used go first.

    A detector that follows reading by reading decides, to the bit, as one that is given all of
    them at once: what is kept here saves time. One that begins anew may differ a little, as it
    knows what CloudWatch has corrected since, and not what came before its grid.
    """

    def __init__(self, most_bytes: int = WARM_BYTES) -> None:
        self._most_bytes = most_bytes
        self._places: OrderedDict[str, Warm] = OrderedDict()
        self._bytes = 0

    def __contains__(self, metric: str) -> bool:
        return metric in self._places

    def get(self, metric: str) -> Warm | None:
        """Return where the metric's detector has got to, if that is known here."""
        return self._places.get(metric)

    def keep(self, metric: str, warm: Warm) -> None:
        """Let the metric's next look begin here: what was followed has been noted."""
        self.forget(metric)
        self._places[metric] = warm
        self._bytes += warm.past.nbytes
        while self._bytes > self._most_bytes:
            self.forget(next(iter(self._places)))

    def forget(self, metric: str) -> None:
        """Drop what is kept of a metric."""
        dropped = self._places.pop(metric, None)
        self._bytes -= dropped.past.nbytes if dropped else 0
