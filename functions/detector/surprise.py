"""How surprising a reading's distances to the past are, each calibrated on those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.blocks import blocks
from detector.tail import ONSET_SURPRISE, Tail

if TYPE_CHECKING:
    from detector.context import Context
    from detector.interface import Floats

SKIPPED = 30
"""The first readings: with little before them, everything is far from it."""

LEAST_CALIBRATION = 30
"""Distances without which there is no calibration, and no surprise."""

ORDINARY = 2.0
"""Surprise of a distance, in nats, that adds nothing: one reading in seven is as far."""

FOREST_WEIGHT = 0.25
"""What the forest's surprise beyond its tail's onset counts: it saturates, and says for the most
part once more what the distances say."""


def contributions(context: Context) -> Floats:
    """Return what each distance, and the forest, adds to the scores.

    Returns
    -------
    (n - first, 5) float64
        In nats, for the readings of `context.past` from `context.first` on.
    """
    past, first = context.past, context.first
    columns = np.column_stack([past.distances, past.isolation])
    surprises = np.zeros((len(columns) - first, columns.shape[1]))
    for part in blocks(past.offset + first, past.count, past.offset):
        begin = max(SKIPPED - past.offset, part.oldest)
        known = columns[begin : max(part.start, begin)]
        if len(known) < LEAST_CALIBRATION:
            continue
        for column in range(columns.shape[1]):
            surprises[part.new - first : part.stop - first, column] = Tail.of(
                known[:, column]
            ).surprise(columns[part.new : part.stop, column])
    surprises[:, :-1] = np.maximum(surprises[:, :-1] - ORDINARY, 0.0)
    surprises[:, -1] = FOREST_WEIGHT * np.maximum(surprises[:, -1] - ONSET_SURPRISE, 0.0)
    return surprises
