"""Judging a metric's fresh readings, by its model or by its own history."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.blocks import HISTORY
from detector.contextual_forest import ContextualForest, usual_probation
from detector.errors import FixedSensitivityError
from detector.timeline import confidence
from registry.errors import RegistryError
from watch.fleet.incident import JudgedBy

if TYPE_CHECKING:
    import numpy.typing as npt

    from detector.detection import Detection
    from detector.interface import Detector, Floats
    from detector.past import Integers
    from registry.models import LoadedModel, ModelRegistry
    from registry.watch_file import Options
    from watch.fleet.grid import Grid

WEEK_SECONDS = 7 * 86_400
DAY_SECONDS = 86_400

WARM_BYTES = 384 * 2**20
"""Bound on the detectors that a warm function keeps between two looks."""

Basis = tuple[str | None, float | None]
"""What a verdict depends on besides the readings: the model's version, and the threshold."""


@dataclass(frozen=True)
class Warm:
    """A detector that has followed a metric up to a reading, and need not do so again."""

    basis: Basis
    until: int
    detector: Detector
    size: int


@dataclass(frozen=True)
class Judgement:
    """Verdicts on the last readings of a metric, the fresh ones among them.

    Attributes
    ----------
    times, values : (n,)
        Seconds since 1970, int64; float64.
    fresh : list of int
        Positions of the readings that are new.
    warm : Warm
        The detector after them.
    """

    times: Integers
    values: Floats
    detection: Detection
    fresh: list[int]
    judged_by: JudgedBy
    warm: Warm

    def is_outside(self, position: int) -> bool:
        """Tell whether a reading lies outside the bounds of what was expected."""
        value, detection = self.values[position], self.detection
        return bool(value < detection.lower[position] or value > detection.upper[position])


class Judge:
    """Judges metrics, and keeps in memory what a next look can begin with.

    A detector that follows reading by reading decides, to the bit, as one that is given all of
    them at once; so what is kept saves time. It may only reach further back than the grid.

    Parameters
    ----------
    on_unavailable
        Called with the model's name and the error where it can't be loaded; the metric is then
        judged by its own history.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        on_unavailable: Callable[[str, Exception], None],
        warm_bytes: int = WARM_BYTES,
    ) -> None:
        self._registry = registry
        self._on_unavailable = on_unavailable
        self._warm_bytes = warm_bytes
        self._warm: OrderedDict[str, Warm] = OrderedDict()
        self._bytes = 0

    def judge(
        self, grid: Grid, is_fresh: npt.NDArray[np.bool_], options: Options
    ) -> Judgement | None:
        """Judge the fresh readings of a metric; None where there is none to be judged.

        Parameters
        ----------
        is_fresh : (n,) bool
            Which of the grid's readings are fresh.
        """
        times, values = grid.readings
        if not is_fresh.any():
            return None
        model = self._model(options)
        threshold = self._threshold(model, options, WEEK_SECONDS / grid.metric.period)
        basis = (model.version if model else None, threshold)
        first = int(np.argmax(is_fresh))
        warm = self._warm.get(str(grid.metric))
        if (
            warm
            and warm.basis == basis
            and first
            and warm.until == times[first - 1]
            and is_fresh[first:].all()
        ):
            begin, detector = first, warm.detector
        else:
            detector = model.detector if model else untrained(len(grid.values))
            begin = begin_after(detector, times)
        if begin >= len(times):
            return None  # the model has been trained on all of it
        times, values = times[begin:], values[begin:]
        detection, after = detector.follow(times.astype("datetime64[s]"), values, threshold)
        return Judgement(
            times=times,
            values=values,
            detection=detection,
            fresh=np.flatnonzero(is_fresh[begin:]).tolist(),
            judged_by=judged_by(options, model, len(grid.readings[0])),
            warm=Warm(
                basis, int(times[-1]), after, sum(a.nbytes for a in after.tensors().values())
            ),
        )

    def keep(self, metric: str, warm: Warm) -> None:
        """Begin the metric's next look with this detector: what it followed has been noted."""
        self.forget(metric)
        self._warm[metric] = warm
        self._bytes += warm.size
        while self._bytes > self._warm_bytes:
            self.forget(next(iter(self._warm)))

    def forget(self, metric: str) -> None:
        """Drop what is kept of a metric."""
        dropped = self._warm.pop(metric, None)
        self._bytes -= dropped.size if dropped else 0

    def _model(self, options: Options) -> LoadedModel | None:
        if options.model is None:
            return None
        try:
            return self._registry.get(options.model)
        except RegistryError as error:
            self._on_unavailable(options.model, error)
            return None

    def _threshold(
        self, model: LoadedModel | None, options: Options, readings_a_week: float
    ) -> float | None:
        if options.sensitivity is None:
            return None
        detector = model.detector if model else ContextualForest.untrained()
        try:
            return detector.threshold_for(options.sensitivity, readings_a_week)
        except FixedSensitivityError:
            return None  # whoever publishes the watch file is told


def untrained(slots: int) -> ContextualForest:
    """Return the detector for a metric without a model, of which so many periods are remembered."""
    return ContextualForest.untrained(probation=usual_probation(slots))


def begin_after(detector: Detector, times: Integers) -> int:
    """Return the position of the first reading that follows the detector's history."""
    if detector.until is None:
        return 0
    until = detector.until.astype("datetime64[ms]").astype(np.int64)
    return int(np.searchsorted(times * 1000, until, side="right"))


def judged_by(options: Options, model: LoadedModel | None, readings: int) -> JudgedBy:
    """Return what a verdict rests on."""
    own = readings + (model.trained_on if model and model.detector.until is not None else 0)
    return JudgedBy(
        entry=options.name,
        model=options.model if model else None,
        version=model.version if model else None,
        readings=readings,
        confidence=round(confidence(min(own, HISTORY)), 4),
    )


def slots_of(history_days: int, period: int) -> int:
    """Return how many periods of a metric are remembered.

    Examples
    --------
    >>> slots_of(14, 300), slots_of(14, 60)
    (4032, 8064)
    """
    return max(min(history_days * DAY_SECONDS // period, HISTORY), 1)
