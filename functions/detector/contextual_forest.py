"""The contextual forest: surprise at how far a reading is from anything seen before.

A reading is compared with the past in four ways: its value, its deviation from what is usual at
its time, and the run of readings that it ends, by values and by deviations. Each distance is
calibrated on those before it, and so is an isolation forest's score of all four, which sees
combinations; what is surprising in them adds up. Everything is computed from the reading itself
and those before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from detector.alerts import Vigilance, raise_alerts
from detector.context import Context, extend
from detector.detection import Detection, alerts_from
from detector.errors import CorruptArtifactError
from detector.explanation import reason
from detector.isolation_forest import IsolationForest
from detector.next_reading import NextReading
from detector.past import DISTANCES, OWN, PAST_LAYOUT, PLAIN, Past, restore_past
from detector.sensitivity import threshold_for
from detector.surprise import contributions, weighed
from detector.tensors import RawTensor, scalar, whole, within
from detector.value_range import check_values

if TYPE_CHECKING:
    from detector.alerts import Raised
    from detector.interface import Floats, Times

SETTLING = 64
"""Readings after the first with a seasonal reference whose deviations raise no alert: until then
there was nothing to deviate from, and the first deviations surprise."""

PROBATION_SHARE = 0.15
MOST_PROBATION = 750

MOST_NATS = 1e6
"""More than any score can have."""

THRESHOLD = 0.75
"""The usual threshold, in nats; `sensitivity.py` says what it means in false alerts."""


@dataclass(frozen=True)
class ContextualForest:
    """A score in nats that is high where a reading is unlike all that came before.

    Attributes
    ----------
    forest : IsolationForest or None
        None judges by the distances alone: a series without a trained model.
    past : Past
        What the next reading is compared with.
    vigilance : Vigilance
        State of the alerts.
    threshold : float
        In nats; what a reading must reach, besides what recent alerts add to the bar.
    probation : int
        How many of the first readings ever seen raise no alert. They only teach the bar how often
        the series surprises, and so do those that are settling.
    """

    kind: ClassVar[str] = "contextual-forest"

    forest: IsolationForest | None
    past: Past
    vigilance: Vigilance
    threshold: float
    probation: int = 0

    @classmethod
    def untrained(
        cls,
        forest: IsolationForest | None = None,
        threshold: float = THRESHOLD,
        probation: int = 0,
    ) -> Self:
        """Return the detector for a series of which nothing has been seen yet."""
        return cls(forest, Past.nothing(), Vigilance(), threshold, probation)

    @property
    def until(self) -> np.datetime64 | None:
        """Time of the last reading of its past."""
        return np.datetime64(int(self.past.times[-1]), "ms") if len(self.past.times) else None

    def threshold_for(self, false_alerts_a_week: float, readings_a_week: float) -> float:
        """Return the threshold that is expected to raise so many false alerts, in nats."""
        return threshold_for(false_alerts_a_week, readings_a_week)

    def score_samples(self, timestamps: Times, values: Floats) -> Floats:
        """Score each reading; see `Detector.score_samples`."""
        context = self._context(timestamps, values)
        scores: Floats = contributions(context).sum(axis=1)
        return scores

    def detect(
        self, timestamps: Times, values: Floats, threshold: float | None = None
    ) -> Detection:
        """Judge each reading; see `Detector.detect`."""
        return self._judge(self._context(timestamps, values), threshold)[0]

    def follow(
        self, timestamps: Times, values: Floats, threshold: float | None = None
    ) -> tuple[Detection, Self]:
        """Judge each reading, and move on; see `Detector.follow`."""
        context = self._context(timestamps, values)
        detection, vigilance = self._judge(context, threshold)
        return detection, replace(self, past=context.past.trimmed(), vigilance=vigilance)

    def predict(self, value: float) -> bool:
        """Tell whether `value` is an anomaly as the next reading; see `Detector.predict`."""
        check_values(np.array([value], np.float64))
        past = self.past
        surprises, has_reference = self._next.surprises(value, self.forest)
        onset = past.count if has_reference and past.onset < 0 else past.onset
        raised = self._raise(weighed(surprises), past.count, onset, self.threshold)
        return bool(raised.is_anomaly[0])

    @cached_property
    def _next(self) -> NextReading:
        """What `predict` asks again and again."""
        return NextReading(self.past)

    def advance(self, timestamps: Times, values: Floats) -> Self:
        """Return the same model after these readings."""
        return self.follow(timestamps, values)[1] if len(values) else self

    def resumed(self, past: Past, vigilance: Vigilance) -> Self:
        """Return the same model at another place: after that past, with alerts in that state."""
        return replace(self, past=past, vigilance=vigilance)

    def silent_for(self, readings: int) -> Self:
        """Return the same model, of which so many readings more will raise no alert."""
        return replace(self, probation=max(self.probation, self.past.count + readings))

    def _context(self, timestamps: Times, values: Floats) -> Context:
        check_values(values)
        times = timestamps.astype("datetime64[ms]").astype(np.int64)
        return extend(self.past, times, values, self.forest)

    def _judge(self, context: Context, threshold: float | None) -> tuple[Detection, Vigilance]:
        """Judge the new readings of a context."""
        threshold = self.threshold if threshold is None else threshold
        causes = contributions(context)
        scores = causes.sum(axis=1)
        began = context.past.offset + context.first
        raised = self._raise(causes, began, context.past.onset, threshold)
        detection = Detection(
            scores=scores,
            bar=raised.bar,
            is_anomaly=raised.is_anomaly,
            expected=context.expected,
            lower=context.lower,
            upper=context.upper,
            reasons={
                position: reason(context, position, causes[position])
                for position in np.flatnonzero(raised.is_anomaly).tolist()
            },
            alerts=alerts_from(scores, raised.is_anomaly, raised.starts),
        )
        return detection, raised.vigilance

    def _raise(self, causes: Floats, began: int, onset: int, threshold: float) -> Raised:
        """Decide on readings by what adds to their scores.

        Parameters
        ----------
        causes : (n, 5) float64
        began : int
            Index of the first of them, counted from the first reading ever.
        onset : int
            Index of the first one with a seasonal reference, or -1.
        """
        index = began + np.arange(len(causes))
        may_raise = index >= self.probation
        if onset >= 0:
            # of its value alone, half of the surprise that it takes
            is_plain = 2.0 * causes[:, PLAIN] >= threshold
            may_raise &= (index < onset) | (index >= onset + SETTLING) | is_plain
        own = causes[:, :OWN].sum(axis=1)
        return raise_alerts(causes.sum(axis=1), own, may_raise, began, threshold, self.vigilance)

    def parameters(self) -> dict[str, float]:
        """Return the counts and the state that are no arrays."""
        return {
            "offset": self.past.offset,
            "onset": self.past.onset,
            "probation": self.probation,
            "habituation": self.vigilance.habituation,
            "last_alert": self.vigilance.last_alert,
            "is_told": float(self.vigilance.is_told),
            "expected_path": self.forest.expected_path if self.forest else 0.0,
        }

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the past and the forest."""
        past = self.past
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "times": past.times,
            "values": past.values,
            "residuals": past.residuals,
            "distances": past.distances,
            "isolation": past.isolation,
        }
        return arrays | (self.forest.tensors() if self.forest else {})

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild the model from an artifact; see `Detector.restore`."""
        stored = {name: tensor for name, tensor in tensors.items() if name in PAST_LAYOUT}
        rest = {name: tensor for name, tensor in tensors.items() if name not in PAST_LAYOUT}
        past = restore_past(stored, parameters)
        forest = None
        if rest:
            expected_path = scalar(parameters, "expected_path")
            forest = IsolationForest.restore(rest, len(DISTANCES), expected_path)
        vigilance = Vigilance(
            habituation=within(parameters, "habituation", 0.0, MOST_NATS),
            last_alert=whole(parameters, "last_alert", -1, past.count - 1),
            is_told=bool(whole(parameters, "is_told", 0, 1)),
        )
        if not 0.0 < threshold <= MOST_NATS:
            raise CorruptArtifactError(f"threshold {threshold} is not above 0, to {MOST_NATS}")
        return cls(forest, past, vigilance, threshold, whole(parameters, "probation", 0))


def usual_probation(readings: int) -> int:
    """Return how many readings of a series without a model should only teach the detector.

    Examples
    --------
    >>> usual_probation(300), usual_probation(10_000)
    (45, 750)
    """
    return min(int(PROBATION_SHARE * readings), MOST_PROBATION)
