"""Where faults are put: the same places for all candidates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from detector.alerts import EVENT
from detector.context import scale
from training.backtest.faults import KINDS, LONGEST, Kind, Ruler, inject
from training.sources.series import Floats, Series

MOST_PLACES = 12
APART = 24
"""Readings between two places, at least."""

GRACE = 6
"""Readings after a fault in which an alert still counts for it."""


@dataclass(frozen=True)
class Injection:
    """A fault in its place.

    Attributes
    ----------
    start : int
        Its first reading, counted from the first one of the judged part.
    values : (k,) float64
        What its readings are instead.
    """

    kind: Kind
    size: float
    start: int
    values: Floats


@dataclass(frozen=True)
class Plan:
    """All the faults, each of which is tried alone.

    Attributes
    ----------
    part : Series
        The judged part.
    spread : float
        The unit of sizes: the 5-95 % range of the part fitted on.
    places : (p,) int64
        Where faults begin, increasing; at some of them a kind may change nothing.
    lead : int
        So many readings before a fault are judged with it, so that what was going on still is.
    """

    part: Series
    seed: int
    spread: float
    places: npt.NDArray[np.int64]
    injections: list[Injection]
    lead: int


def plan_injections(series: Series, cut: int, seed: int) -> Plan:
    """Choose places in the part of a series that begins at `cut`, and make the faults.

    Readings in anomaly windows, or left out, are neither changed nor near to what is.
    """
    fitted, part = series.part(0, cut), series.part(cut, len(series))
    ruler = Ruler(
        spread=scale(fitted.values[~fitted.in_window]),
        day=round(float(np.timedelta64(1, "D") / series.step)),
    )
    lead = int(EVENT / part.step) + 1
    places = choose_places(part.in_window, lead, seed)
    values = np.where(series.in_window, np.nan, series.values)
    return Plan(
        part=part,
        seed=seed,
        spread=ruler.spread,
        places=places,
        injections=[
            Injection(kind, size, start, faulty)
            for start in places.tolist()
            for kind in KINDS
            for size in kind.sizes
            if (faulty := inject(kind, size, values, cut + start, ruler)) is not None
        ],
        lead=lead,
    )


def choose_places(is_known: npt.NDArray[np.bool_], lead: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw places with room for the longest fault, one from each of equal parts.

    Parameters
    ----------
    is_known : (n,) bool
        Readings of known incidents, which no fault may be near to.

    Returns
    -------
    (p,) int64
        Increasing, `APART` readings apart at least; none where there is no room.
    """
    room = lead + LONGEST + GRACE
    if len(is_known) < room:
        return np.empty(0, np.int64)
    is_near = np.lib.stride_tricks.sliding_window_view(is_known, room).any(axis=1)
    possible = np.flatnonzero(~is_near) + lead
    count = min(MOST_PLACES, -(-len(possible) // (2 * APART)))
    edges = np.linspace(0, len(possible), count + 1).astype(np.int64)
    random = np.random.default_rng(seed)
    drawn = [
        random.integers(first, max(stop - APART, first + 1))
        for first, stop in pairwise(edges.tolist())
    ]
    return possible[np.array(drawn, np.int64)]
