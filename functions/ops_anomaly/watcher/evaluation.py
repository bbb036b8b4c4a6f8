"""Judging a metric's fresh readings, by its model or by its own history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.aws.errors import AwsError
from ops_anomaly.detection.contextual_forest import ContextualForest, usual_probation
from ops_anomaly.detection.history import HISTORY
from ops_anomaly.detection.timeline import confidence
from ops_anomaly.detection.types import FixedSensitivityError
from ops_anomaly.watcher.checkpoints import WarmDetector
from ops_anomaly.watcher.incidents import Provenance

if TYPE_CHECKING:
    import numpy.typing as npt

    from ops_anomaly.aws.models import LoadedModel, ModelRegistry
    from ops_anomaly.detection.types import Detection, Detector, Floats, Integers
    from ops_anomaly.watcher.checkpoints import CheckpointCache
    from ops_anomaly.watcher.state import MetricState
    from ops_anomaly.watcher.watch_file import Options


MIN_SLOTS = 128
"""Periods without which a metric has too little past to be judged by, however long they are."""

WEEK_SECONDS = 7 * 86_400
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Evaluation:
    """Verdicts on the last readings of a metric, the fresh ones among them.

    Attributes
    ----------
    times, values : (n,)
        Seconds since 1970, int64; float64.
    fresh : list of int
        Positions of the readings that are new.
    followed : int
        How many readings the detector had to follow before the fresh ones.
    place : WarmDetector or None
        Where the detector has got to, of the kind that takes long to get there.
    """

    times: Integers
    values: Floats
    detection: Detection
    fresh: list[int]
    provenance: Provenance
    followed: int
    place: WarmDetector | None

    def is_outside(self, position: int) -> bool:
        """Tell whether a reading lies outside the bounds of what was expected."""
        value, detection = self.values[position], self.detection
        return bool(value < detection.lower[position] or value > detection.upper[position])


class Evaluator:
    """Judges metrics.

    Parameters
    ----------
    places
        Where detectors have got to; read here, and kept by whoever notes what was judged.
    on_unavailable
        Called with the model's name and the error where it can't be loaded; the metric is then
        judged by its own history.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        places: CheckpointCache,
        on_unavailable: Callable[[str, Exception], None],
    ) -> None:
        self._registry = registry
        self._places = places
        self._on_unavailable = on_unavailable

    def judge(
        self, grid: MetricState, is_fresh: npt.NDArray[np.bool_], options: Options
    ) -> Evaluation | None:
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
        version = model.version if model else None
        detector = model.detector if model else untrained(len(grid.values))
        threshold = threshold_of(detector, options, WEEK_SECONDS / grid.metric.period)
        first = int(np.argmax(is_fresh))
        moments = times.astype("datetime64[s]")
        if isinstance(detector, ContextualForest):
            warm = self._places.get(str(grid.metric))
            if warm and warm.goes_on(version, threshold, int(times[first])):
                detector = detector.resumed(warm.past, warm.alert_state)
            begin = begin_after(detector, times)
            # what came before the first look teaches, and starts no pause: nobody was told
            detector = detector.silent_for(int(np.searchsorted(times[begin:], grid.since)))
        else:  # what it has to know of the past is soon followed
            detector, begin = detector.advance(moments[:first], values[:first]), first
        if begin >= len(times):
            return None  # the model has been trained on all of it
        detection, after = detector.follow(moments[begin:], values[begin:], threshold)
        place = None
        if isinstance(after, ContextualForest):
            # what has no model knows as much as if it began with the grid
            past = after.past if model else after.past.last(len(grid.values))
            place = WarmDetector(version, threshold, int(times[-1]), past, after.alert_state)
        return Evaluation(
            times=times[begin:],
            values=values[begin:],
            detection=detection,
            fresh=np.flatnonzero(is_fresh[begin:]).tolist(),
            provenance=provenance(options, model, len(times)),
            followed=max(first - begin, 0),
            place=place,
        )

    def _model(self, options: Options) -> LoadedModel | None:
        if options.model is None:
            return None
        try:
            return self._registry.get(options.model)
        except AwsError as error:
            self._on_unavailable(options.model, error)
            return None


def threshold_of(detector: Detector, options: Options, readings_a_week: float) -> float | None:
    """Return the threshold that an entry asks for; None where the detector has one only."""
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


def provenance(options: Options, model: LoadedModel | None, readings: int) -> Provenance:
    """Return what a verdict rests on."""
    own = readings + (model.trained_on if model and model.detector.until is not None else 0)
    return Provenance(
        entry=options.name,
        model=options.model if model else None,
        version=model.version if model else None,
        readings=readings,
        confidence=round(confidence(min(own, HISTORY)), 4),
    )


def periods_of(history_days: int, period: int) -> int:
    """Return how many periods of a metric are remembered.

    Examples
    --------
    >>> periods_of(14, 300), periods_of(14, 60), periods_of(14, 86_400)
    (4032, 8064, 128)
    """
    return min(max(history_days * DAY_SECONDS // period, MIN_SLOTS), HISTORY)
