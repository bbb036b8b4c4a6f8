"""The next reading after a past: all that it takes to judge it, but for its value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from detector.before import Before
from detector.blocks import blocks
from detector.calibration import tails_of, usual_step
from detector.context import levels_of, residuals_of
from detector.runs import RUN, NextRun
from detector.seasonal import closer, seasons
from detector.surprise import calibrating, shares_below
from detector.tail import surprise

if TYPE_CHECKING:
    from detector.interface import Floats
    from detector.isolation_forest import IsolationForest
    from detector.past import Past


class NextNumber:
    """The next number of a series, beside those before it.

    Parameters
    ----------
    series : (n,) float64
    oldest : int
        The first of them that it is compared with by itself.
    """

    def __init__(self, series: Floats, oldest: int) -> None:
        self._before = Before.sorted(series[oldest:])
        self._run = NextRun(series) if len(series) >= 2 * RUN - 1 else None

    def distance(self, number: float) -> float:
        """Return how far it is from the nearest; 0 of none."""
        nearest = float(self._before.distances(np.array([number]))[0])
        return nearest if math.isfinite(nearest) else 0.0

    def distance_of_run(self, number: float) -> float:
        """Return how far the run that it ends is from the nearest; 0 of none."""
        return math.sqrt(self._run.least_square(number) / RUN) if self._run else 0.0


class NextReading:
    """The next reading at the usual step after a past, whatever its value.

    It takes about as much memory again as two pasts.

    Parameters
    ----------
    past : Past
    """

    def __init__(self, past: Past) -> None:
        part = next(blocks(past.count, past.count + 1, past.offset))
        before = slice(part.oldest, part.start)
        self._seasons = seasons(
            np.append(past.times, next_time(past)),
            past.values if len(past.values) else np.zeros(1),
            part.new,
            np.array([part.oldest]),
            np.array([usual_step(past.times[before])]),
        )
        series = past.values, past.residuals
        self._scale = levels_of(*(Before(each[before]) for each in series))[0]
        self._numbers = [NextNumber(each, part.oldest) for each in series]
        known = calibrating([*past.distances.T, past.isolation], part, past.offset)
        self._known = [Before.sorted(each.numbers) for each in known]
        self._tails = tails_of(self._known).T[..., np.newaxis]

    def surprises(self, value: float, forest: IsolationForest | None) -> tuple[Floats, bool]:
        """Return how surprising a value would be, and whether there is a reference for it.

        Returns
        -------
        (1, 5) float64, bool
            In nats; see `Context`.
        """
        asked = np.array([value])
        usual: Floats = np.full(1, np.nan)
        for reference in self._seasons:
            usual = closer(asked, reference, usual)
        numbers = value, float(residuals_of(asked, usual)[0])
        pairs = list(zip(self._numbers, numbers, strict=True))
        distances = [one.distance(number) for one, number in pairs]
        distances += [one.distance_of_run(number) for one, number in pairs]
        rows = np.array([distances]) / self._scale
        isolation = forest.score_samples(rows) if forest else np.zeros(1)
        new = np.append(rows, isolation)[:, np.newaxis]
        surprises = surprise(new, shares_below(self._known, new), *self._tails).T
        return surprises, not math.isnan(usual[0])


def next_time(past: Past) -> int:
    """Return when the next reading is due, in milliseconds since 1970."""
    if not len(past.times):
        return 0
    return int(past.times[-1]) + max(int(usual_step(past.times)), 1)
