"""The evaluation of one metric: new readings in, anomalies opened and closed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection import untrained
from ops_anomaly.detection.timeline import confidence
from ops_anomaly.detection.types import ArtifactError
from ops_anomaly.watcher.anomalies import Evaluation, Provenance, advance, close_accepted
from ops_anomaly.watcher.feedback import NO_FEEDBACK, is_like
from ops_anomaly.watcher.mutes import not_learnt
from ops_anomaly.watcher.rules import counted
from ops_anomaly.watcher.settling import FINAL_SECONDS, counts, is_cumulative, settling_seconds
from ops_anomaly.watcher.silence import advance_silence, filled_with_zeros
from ops_anomaly.watcher.state import Checkpoint
from ops_anomaly.watcher.watch_file import MAX_PERIODS, periods_of

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.aws.models import LoadedModel
    from ops_anomaly.detection.types import Detection, Detector, Mask, Series
    from ops_anomaly.watcher.anomalies import Closed, Opened
    from ops_anomaly.watcher.feedback import Mark, MetricFeedback
    from ops_anomaly.watcher.state import MetricState
    from ops_anomaly.watcher.watch_file import Options


@dataclass(frozen=True)
class DetectorUpdate:
    """A detector's step over the readings of a metric that are due.

    Attributes
    ----------
    replayed : int
        Earlier readings that it had to be updated with first.
    before : tuple of Series and Detection, or None
        These readings, and what was expected of them; None if there are none.
    checkpoint : Checkpoint or None
        Of the detector at the last reading that is final, to be kept once the metric's state is
        committed; None if no reading is.
    """

    evaluation: Evaluation
    replayed: int
    before: tuple[Series, Detection] | None
    checkpoint: Checkpoint | None


@dataclass(frozen=True)
class MetricEvaluation:
    """What an evaluation of a metric came to.

    Attributes
    ----------
    state : MetricState
        With the new readings.
    transitions : list of Opened or Closed
        In order of time.
    late, corrected : int
        Readings of periods that had been read before: new ones, and such with another value.
    update : DetectorUpdate or None
        None if no reading was due.
    """

    state: MetricState
    transitions: Sequence[Opened | Closed]
    late: int
    corrected: int
    update: DetectorUpdate | None


def settle_seconds(metric: Metric, options: Options) -> int:
    """Return how long after a period's end its value is complete."""
    return settling_seconds(metric.statistic, options.settle_seconds)


def evaluate_metric(
    before: MetricState,
    readings: Series,
    end: int,
    now: int,
    options: Options,
    model: LoadedModel | None,
    checkpoint: Checkpoint | None,
    feedback: MetricFeedback = NO_FEEDBACK,
) -> MetricEvaluation:
    """Evaluate what is new of a metric, and open and close its anomalies.

    Parameters
    ----------
    readings
        What CloudWatch has up to `end`, milliseconds; what is known already may be among it.
    now : int
        When it was read, milliseconds.
    model
        None evaluates the metric by its own history.
    checkpoint
        Of its detector, if there is one.
    feedback
        What people have said of its anomalies.
    """
    metric = before.metric
    periods = periods_of(options.history_days, metric.period)
    settled_at = now - 1000 * settle_seconds(metric, options)
    settled_until = min(end, settled_at // before.step * before.step)
    last = max([*before.series.times[-1:].tolist(), *readings.times[-1:].tolist()], default=None)
    if options.fills_zeros:
        readings = filled_with_zeros(readings, before.series, settled_until, before.step)
    if options.mute:
        readings = readings[~not_learnt(options.mute, metric, readings.times)]
    state, is_changed = before.with_readings(readings, end, periods, now)
    times = state.series.times
    is_read_again = is_changed & (times < state.anomalies.evaluated_until)
    is_due = is_read_again | (times >= state.anomalies.evaluated_until)
    anomalies, accepted = close_accepted(state.anomalies, feedback.fine)
    update = None
    if is_due.any():
        update = _update_detector(
            replace(state, anomalies=anomalies),
            is_due,
            is_read_again,
            settled_until,
            now,
            options,
            model,
            checkpoint,
            feedback,
        )
    evaluation = update.evaluation if update else None
    if update and update.before:
        state = state.with_bounds(*update.before)
    if evaluation:
        state = state.with_bounds(evaluation.series, evaluation.detection)
    anomalies, found = advance(
        anomalies, metric, state.series, settled_until, evaluation, options.sustained
    )
    provenance = _provenance(options, model, len(times))
    anomalies, silences = advance_silence(
        anomalies, metric, last, settled_until, options.silent_after, provenance
    )
    is_known = np.isin(times, before.series.times)
    return MetricEvaluation(
        state=replace(state, anomalies=anomalies),
        transitions=[*accepted, *found, *silences],
        late=int((is_read_again & ~is_known).sum()),
        corrected=int((is_read_again & is_known).sum()),
        update=update,
    )


def _update_detector(
    state: MetricState,
    is_due: Mask,
    is_changed: Mask,
    settled_until: int,
    now: int,
    options: Options,
    model: LoadedModel | None,
    checkpoint: Checkpoint | None,
    feedback: MetricFeedback,
) -> DetectorUpdate | None:
    """Evaluate the readings that are due; None if the model has been trained on them.

    The detector is kept at the last reading that is final and has settled. Those after it are
    evaluated again the next time, by what their values are then.
    """
    series = state.series
    version = model.version if model else None
    detector = model.detector if model else untrained()
    sensitivity = options.sensitivity if detector.has_sensitivity else None
    first_due = int(is_due.argmax())
    left_out = frozenset(mark.anomaly for mark in feedback.real)
    before = int(series.times[first_due])
    if checkpoint and not checkpoint.fits(version, sensitivity, before, left_out):
        checkpoint = None
    detector, begin = _start(detector, checkpoint, state)
    if not is_due[begin:].any():
        return None
    final_until = min(now - 1000 * FINAL_SECONDS, settled_until)
    final = int(np.searchsorted(series.times, final_until - state.step, side="right"))
    first = max(begin, min(first_due, final))
    if is_changed.any():  # an open anomaly is reviewed from its beginning
        first = max(begin, min(first, _first_position(state)))
    replayed, detector = _updated(detector, series[begin:first], sensitivity, feedback.real)
    detection = detector.detect(series[first:], sensitivity)
    kept = max(first, final)
    _, detector = _updated(detector, series[first:kept], sensitivity, feedback.real)
    is_counted = counted(series[first:], detection, options)
    return DetectorUpdate(
        Evaluation(
            series=series[first:],
            detection=detection,
            is_unusual=_unusual(state.metric, series[first:], detection, settled_until),
            is_counted=is_counted & ~is_like(series[first:], detection, feedback.fine),
            is_changed=is_changed[first:],
            provenance=_provenance(options, model, len(series)),
        ),
        replayed=first - begin,
        before=(series[begin:first], replayed) if replayed else None,
        checkpoint=_checkpoint(version, sensitivity, series[:kept], detector, left_out),
    )


def _updated(
    detector: Detector, series: Series, sensitivity: float | None, real: Sequence[Mark]
) -> tuple[Detection | None, Detector]:
    """Return what a detector finds in readings, and the detector after them.

    Those of real incidents are left out of its history.
    """
    detection = None
    if len(series):
        detection, detector = detector.update(series, sensitivity)
    for mark in real:
        detector = detector.marked(mark.start, mark.stop, is_ordinary=False)
    return detection, detector


def _first_position(state: MetricState) -> int:
    """Return the position of the first reading of what may be an anomaly, or the end."""
    anomalies = state.anomalies
    open_now = (anomalies.anomaly, anomalies.pending, anomalies.relapse)
    begun = [each.first_seen for each in open_now if each]
    times = state.series.times
    return int(np.searchsorted(times, min(begun))) if begun else len(times)


def _checkpoint(
    version: str | None,
    sensitivity: float | None,
    seen: Series,
    detector: Detector,
    left_out: frozenset[str],
) -> Checkpoint | None:
    """Return a detector's checkpoint; None if the readings are not the last that it has seen."""
    if not len(seen) or detector.last_timestamp not in (None, seen.times[-1]):
        return None
    return Checkpoint(version, sensitivity, int(seen.times[-1]), detector, left_out)


def _unusual(metric: Metric, series: Series, detection: Detection, settled_until: int) -> Mask:
    """Return the anomalies among readings that count: the value is complete, or high already."""
    if is_cumulative(metric.statistic):
        return detection.is_anomaly & counts(series, detection, settled_until)
    return detection.is_anomaly & (series.times < settled_until)


def _start(
    detector: Detector, checkpoint: Checkpoint | None, state: MetricState
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
    # an anomaly that began before the first evaluation is notified if it has not ended
    return detector.with_warm_up(int(np.searchsorted(times[begin:], state.since))), begin


def _provenance(options: Options, model: LoadedModel | None, readings: int) -> Provenance:
    """Return what an evaluation rests on."""
    has_history = model is not None and model.detector.last_timestamp is not None
    compared = readings + (model.trained_on if model and has_history else 0)
    return Provenance(
        entry=options.name,
        model=model.name if model else None,
        version=model.version if model else None,
        readings=readings,
        confidence=round(confidence(min(compared, MAX_PERIODS)), 4),
    )
