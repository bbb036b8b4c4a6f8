"""How surprising a reading's distances to the past are, each calibrated on those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.before import Before
from detector.calibration import LEAST_SCORES, tails_of
from detector.tail import ONSET_SURPRISE, surprise

if TYPE_CHECKING:
    from detector.blocks import Block
    from detector.calibration import Calibration
    from detector.context import Context
    from detector.interface import Floats

SKIPPED = 30
"""The first readings: with little before them, everything is far from it."""

ORDINARY = 2.0
"""Surprise of a distance, in nats, that adds nothing: one reading in seven is as far."""

FOREST_WEIGHT = 0.25
"""What the forest's surprise beyond its tail's onset counts: it saturates, and says for the most
part once more what the distances say."""


def surprises(
    distances: Floats,
    isolation: Floats,
    offset: int,
    parts: list[Block],
    known: Calibration | None,
) -> tuple[Floats, Floats]:
    """Return how surprising new readings are, and the tails that the last of them is judged by.

    Parameters
    ----------
    distances : (n, 4) float64
    isolation : (n,) float64
    offset : int
        How many readings came before these.
    parts : list of Block
        Those of the new readings.
    known : Calibration or None
        Of the first of them.

    Returns
    -------
    (m, 5) float64, (5, 2) float64
        In nats, of each distance and of the forest's score; onsets and scales.
    """
    columns = [*distances.T, isolation]
    first = parts[0].new if parts else len(isolation)
    new = np.array([column[first:] for column in columns])
    below, tails = np.empty(new.shape), np.empty((2, *new.shape))
    of_block: Floats = np.empty((len(columns), 2))
    for part in parts:
        before = calibrating(columns, part, offset)
        of_block = known.tails if known else tails_of(before)
        known = None
        here = slice(part.new - first, part.stop - first)
        tails[..., here] = of_block.T[..., np.newaxis]
        below[:, here] = shares_below(before, new[:, here])
    return np.ascontiguousarray(surprise(new, below, *tails).T), of_block


def calibrating(columns: list[Floats], part: Block, offset: int) -> list[Before]:
    """Return what of each column the readings of a block are calibrated on."""
    begin = max(SKIPPED - offset, part.oldest)
    return [Before(column[begin : max(part.start, begin)]) for column in columns]


def shares_below(before: list[Before], new: Floats) -> Floats:
    """Return the share of each column that is below new numbers: (5, m) -> (5, m)."""
    if before[0].numbers.size < LEAST_SCORES:
        return np.zeros(new.shape)
    return np.array([column.shares_below(row) for column, row in zip(before, new, strict=True)])


def contributions(context: Context) -> Floats:
    """Return what each distance, and the forest, adds to the scores.

    Returns
    -------
    (n - first, 5) float64
        In nats, for the readings of `context.past` from `context.first` on.
    """
    return weighed(context.surprises)


def weighed(surprises: Floats) -> Floats:
    """Return what surprises add to the scores: (n, 5) -> (n, 5), in nats."""
    causes = np.maximum(surprises - ORDINARY, 0.0)
    causes[:, -1] = FOREST_WEIGHT * np.maximum(surprises[:, -1] - ONSET_SURPRISE, 0.0)
    return causes
