"""The evaluation of one metric: new readings in, incidents opened and closed out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.aws.errors import AwsError
from ops_anomaly.detection import untrained
from ops_anomaly.detection.timeline import confidence
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.incidents import Evaluation, Provenance, advance
from ops_anomaly.watcher.state import MAX_PERIODS, Checkpoint, periods_of

if TYPE_CHECKING:
    from ops_anomaly.aws.models import LoadedModel, ModelRegistry
    from ops_anomaly.detection.types import Detector, Mask, Series
    from ops_anomaly.watcher.incidents import Closed, Opened
    from ops_anomaly.watcher.state import CheckpointCache, MetricState
    from ops_anomaly.watcher.watch_file import Options


@dataclass(frozen=True)
class DetectorUpdate:
    """A detector's step over the fresh readings of a metric.

    Attributes
    ----------
    replayed : int
        Earlier readings that it had to be updated with first.
    checkpoint : Checkpoint
        Of the detector, to be kept once the metric's state is committed.
    """

    evaluation: Evaluation
    replayed: int
    checkpoint: Checkpoint


@dataclass(frozen=True)
class MetricEvaluation:
    """What an evaluation of a metric came to.

    Attributes
    ----------
    state : MetricState
        With the new readings.
    transitions : list of Opened or Closed
        In order of time.
    late : int
        New readings of periods that had been read before.
    update : DetectorUpdate or None
        None if there was no fresh reading.
    """

    state: MetricState
    transitions: Sequence[Opened | Closed]
    late: int
    update: DetectorUpdate | None


class Evaluator:
    """Evaluates metrics, each by its model or by its own history.

    Parameters
    ----------
    cache
        Checkpoints of detectors: read here, written by whoever commits the state.
    on_unavailable
        Called with a model's name and the error if it can't be loaded; the metric is then evaluated
        by its own history.
    """

    def __init__(
        self,
        models: ModelRegistry,
        cache: CheckpointCache,
        on_unavailable: Callable[[str, Exception], None],
    ) -> None:
        self._models = models
        self._cache = cache
        self._on_unavailable = on_unavailable

    def evaluate_metric(
        self, before: MetricState, readings: Series, end: int, options: Options
    ) -> MetricEvaluation:
        """Evaluate the new readings of a metric, and open and close its incidents.

        Parameters
        ----------
        readings
            What CloudWatch has up to `end`, milliseconds; what is known already may be among it.
        """
        periods = periods_of(options.history_days, before.metric.period)
        state, is_fresh = before.with_readings(readings, end, periods)
        series = state.series
        update = self._update_detector(state, is_fresh, options) if is_fresh.any() else None
        incidents, transitions = advance(
            state.incidents, state.metric, series, end, update.evaluation if update else None
        )
        is_late = series.times[is_fresh] < before.end
        return MetricEvaluation(
            state=replace(state, incidents=incidents),
            transitions=transitions,
            late=int(is_late.sum()) if len(before.values) else 0,
            update=update,
        )

    def _update_detector(
        self, state: MetricState, is_fresh: Mask, options: Options
    ) -> DetectorUpdate | None:
        """Update the metric's detector with its fresh readings; None if it is later than those."""
        series = state.series
        model = self._model(options.model)
        version = model.version if model else None
        detector = model.detector if model else untrained()
        sensitivity = options.sensitivity if detector.has_sensitivity else None
        first = int(is_fresh.argmax())
        checkpoint = self._cache.get(str(state.metric))
        if checkpoint and not checkpoint.fits(version, sensitivity, int(series.times[first])):
            checkpoint = None
        detector, begin = self._start(detector, checkpoint, state)
        first = max(begin, first)
        if not is_fresh[first:].any():
            return None  # the model has been trained on them
        if begin < first:
            _, detector = detector.update(series[begin:first], sensitivity)
        detection, detector = detector.update(series[first:], sensitivity)
        return DetectorUpdate(
            Evaluation(
                series=series[first:],
                detection=detection,
                fresh=np.flatnonzero(is_fresh[first:]).tolist(),
                provenance=_provenance(options, model, len(series)),
            ),
            replayed=first - begin,
            checkpoint=Checkpoint(version, sensitivity, int(series.times[-1]), detector),
        )

    def _start(
        self, detector: Detector, checkpoint: Checkpoint | None, state: MetricState
    ) -> tuple[Detector, int]:
        """Return the detector, and the position of the first reading it has not seen."""
        times = state.series.times
        if checkpoint:
            try:
                resumed = checkpoint.resume(detector)
            except ArtifactError:
                pass  # it starts over
            else:
                return resumed, int(np.searchsorted(times, checkpoint.until, side="right"))
        seen = detector.last_timestamp
        begin = 0 if seen is None else int(np.searchsorted(times, seen, side="right"))
        # an incident that began before the first evaluation is notified if it has not ended
        return detector.with_warm_up(int(np.searchsorted(times[begin:], state.since))), begin

    def _model(self, name: str | None) -> LoadedModel | None:
        if name is None:
            return None
        try:
            return self._models.get(name)
        except AwsError as error:
            self._on_unavailable(name, error)
            return None


def _provenance(options: Options, model: LoadedModel | None, readings: int) -> Provenance:
    """Return what an evaluation rests on."""
    has_history = model is not None and model.detector.last_timestamp is not None
    compared = readings + (model.trained_on if model and has_history else 0)
    return Provenance(
        entry=options.name,
        model=options.model if model else None,
        version=model.version if model else None,
        readings=readings,
        confidence=round(confidence(min(compared, MAX_PERIODS)), 4),
    )
