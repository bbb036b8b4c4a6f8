"""What was measured, and how much faster, smaller or slower that is."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

SECONDS, BYTES = "s", "B"


@dataclass(frozen=True)
class Figure:
    """What one contestant took.

    Attributes
    ----------
    rounds : tuple of float
        A figure a round; those of the same round were measured one after another.
    """

    who: str
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, who: str, rounds: Iterable[float]) -> Figure:
        """Return the figure of these rounds."""
        return cls(who, tuple(rounds))

    @property
    def median(self) -> float:
        """The figure that is told."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Ratio:
    """How many times as much a peer takes: of the medians, and in single rounds."""

    median: float
    low: float
    high: float


def ratio(ours: Figure, peer: Figure) -> Ratio:
    """Return how many times as much a peer takes.

    Where one was measured in more rounds, each round is held against the other's median.

    Examples
    --------
    >>> ratio(Figure("us", (1.0, 2.0, 2.0)), Figure("them", (4.0, 4.0, 10.0)))
    Ratio(median=2.0, low=2.0, high=5.0)
    >>> ratio(Figure("us", (1.0, 2.0, 4.0)), Figure("them", (6.0,)))
    Ratio(median=3.0, low=1.5, high=6.0)
    """
    if len(ours.rounds) == len(peer.rounds):
        single = [theirs / own for own, theirs in zip(ours.rounds, peer.rounds, strict=True)]
    else:
        single = [peer.median / own for own in ours.rounds]
        single += [theirs / ours.median for theirs in peer.rounds]
    return Ratio(peer.median / ours.median, min(single), max(single))


@dataclass(frozen=True)
class Goal:
    """How many times as much the first peer should take at least, and what would be beyond."""

    reach: float
    beyond: float | None = None

    def verdict(self, reached: float) -> str:
        """Return what a ratio is by this goal, in a word."""
        if reached < self.reach:
            return "below"
        return "beyond" if self.beyond and reached >= self.beyond else "reached"


@dataclass(frozen=True)
class Row:
    """One thing that was measured: this project, then its peers.

    Attributes
    ----------
    name : str
        In files.
    what, how : str
        In words: what was measured, and how.
    unit : str
        `SECONDS` or `BYTES`: less is better.
    peers : tuple of Figure
        The goal is about the first one.
    """

    name: str
    what: str
    how: str
    unit: str
    ours: Figure
    peers: tuple[Figure, ...] = ()
    goal: Goal | None = None

    @property
    def ratios(self) -> list[Ratio]:
        """How many times as much each peer takes."""
        return [ratio(self.ours, peer) for peer in self.peers]


@dataclass(frozen=True)
class Curve:
    """What one contestant took at each size."""

    who: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Growth:
    """How cost grows with a size.

    Attributes
    ----------
    axis : str
        What the sizes count.
    curves : tuple of Curve
        This project's first.
    note : str
        What is to be said of it besides where it bends.
    """

    name: str
    what: str
    how: str
    unit: str
    axis: str
    sizes: tuple[int, ...]
    curves: tuple[Curve, ...]
    note: str = ""


@dataclass
class Results:
    """All that was measured, and what was not, with the reason."""

    rows: list[Row] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
