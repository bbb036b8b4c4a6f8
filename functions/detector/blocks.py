"""Blocks of readings between two refreshes of what changes slowly.

Scale, sampling step and calibration are taken from everything before a block and hold for all of
it. Where blocks begin depends on how many readings came before and on nothing else, so a series
scores the same in one piece, point by point, or in chunks of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 128
"""Readings in a block; the first ones are shorter: they begin at 0, 1, 2, 4, 8, 16, 32, 64."""

HISTORY = 8_064
"""Readings before its block that a reading is compared with: four weeks at 5 minutes."""


def block_start(index: int) -> int:
    """Return where the block of a reading begins.

    Examples
    --------
    >>> [block_start(index) for index in (0, 1, 3, 100, 127, 128, 300)]
    [0, 1, 2, 64, 64, 128, 256]
    """
    if index >= BLOCK:
        return index - index % BLOCK
    return 1 << (index.bit_length() - 1) if index else 0


@dataclass(frozen=True)
class Block:
    """Where a block lies among the readings at hand.

    Attributes
    ----------
    oldest : int
        The first reading that those of the block are compared with.
    start : int
        The block's first reading: those before it are what it is calibrated on.
    new : int
        Its first reading that is yet to be judged.
    stop : int
        Behind its last one.
    """

    oldest: int
    start: int
    new: int
    stop: int


def blocks(first: int, stop: int, offset: int) -> Iterator[Block]:
    """Yield the blocks of readings `first` to before `stop`.

    Parameters
    ----------
    first, stop : int
        Counted from the first reading ever seen.
    offset : int
        How many of those readings are no longer at hand; a block's places are counted from there.
    """
    start = block_start(first)
    while start < stop:
        end = start + BLOCK if start >= BLOCK else max(1, 2 * start)
        yield Block(
            oldest=max(0, start - HISTORY - offset),
            start=start - offset,
            new=max(start, first) - offset,
            stop=min(end, stop) - offset,
        )
        start = end
