"""What the readings of a block are measured by: all of it is known before the block begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.tail import median, onset_and_scale

if TYPE_CHECKING:
    from detector.before import Before
    from detector.interface import Floats
    from detector.past import Integers

STEP_READINGS = 256

LEAST_SCORES = 30
"""Scores without which there is no tail, and no surprise."""

NO_TAIL = (np.inf, 1.0)


@dataclass(frozen=True)
class Calibration:
    """What is the same for all readings of a block, and takes a while to find out.

    Attributes
    ----------
    levels : (6,) float64
        Scale; low quantile, median and high quantile of the values; low and high quantile of the
        residuals.
    tails : (5, 2) float64
        Onset and scale of each distance's tail, and of the forest's.
    """

    levels: Floats
    tails: Floats


def tails_of(columns: list[Before]) -> Floats:
    """Return onset and scale of the tail of each column: (columns, 2)."""
    return np.array(
        [
            onset_and_scale(column.ordered) if column.numbers.size >= LEAST_SCORES else NO_TAIL
            for column in columns
        ]
    )


def usual_step(times: Integers) -> float:
    """Return the median distance of the last readings, in milliseconds; 0 of fewer than two."""
    gaps = np.diff(times[-STEP_READINGS:])
    return median(gaps) if gaps.size else 0.0
