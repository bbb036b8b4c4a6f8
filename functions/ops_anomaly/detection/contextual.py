"""The contextual detector: finds where a metric departs from what it should be doing now.

A committee: each member sees one kind of fault and scores it (`members`), against a threshold that
is learnt from how high it scored in this metric's own history (`thresholds`). An alert is the first
member beyond its threshold. What belongs to an incident is no history until it has become the new
normal (`adaptation`). Trained models have one member more: a forest that scores novelty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ops_anomaly.detection import members as m
from ops_anomaly.detection import periods, thresholds
from ops_anomaly.detection.members import Facts, reason
from ops_anomaly.detection.scoring import HALF, Evaluations, evaluate
from ops_anomaly.detection.state import LAYOUT, State
from ops_anomaly.detection.types import (
    SENSITIVITY,
    Alert,
    CorruptArtifactError,
    Detection,
    Series,
    Stored,
    check_value,
    check_values,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.novelty_forest import NoveltyForest
    from ops_anomaly.detection.types import Floats, Mask, RawTensor


STATE = "state_"
"""Prefix of the state's names in the stored form; the rest is the novelty forest's."""


@dataclass(frozen=True)
class ContextualDetector:
    """Members that each see one kind of fault, each with a threshold of its own.

    Scores are in units of the threshold of the member that is furthest: 1 raises an alert.

    Attributes
    ----------
    state : State
        What is known of the metric; never changed in place.
    novelty : NoveltyForest or None
        The member that only trained models have.

    Examples
    --------
    >>> values = np.where(np.arange(100) == 90, 40.0, 5.0 + np.sin(np.arange(100.0)))
    >>> series = Series(np.arange(100) * 300_000, values)
    >>> ContextualDetector.untrained().detect(series).alerts
    [Alert(start=90, end=90, peak=90, member='rise')]
    """

    kind: ClassVar[str] = "contextual"
    has_sensitivity: ClassVar[bool] = True
    threshold: ClassVar[float] = 1.0

    state: State
    novelty: NoveltyForest | None = None

    @classmethod
    def untrained(cls, novelty: NoveltyForest | None = None) -> Self:
        """Return the detector for a metric of which nothing has been seen."""
        return cls(State(sensitivity=SENSITIVITY, has_novelty=novelty is not None), novelty)

    @property
    def last_timestamp(self) -> int | None:
        """Time of the last reading seen, milliseconds."""
        return self.state.time if self.state.count else None

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        """Score readings that follow those seen; see `Detector.detect`."""
        return self.update(series, sensitivity)[0]

    def update(self, series: Series, sensitivity: float | None = None) -> tuple[Detection, Self]:
        """Score readings, and move on; see `Detector.update`."""
        check_values(series.values)
        state, novelty, novel = self._copy(sensitivity), self.novelty, None
        if novelty is not None:
            novel, novelty = novelty.update(series)
        evaluations = evaluate(state, series.times, series.values, novel)
        return found(series, evaluations), replace(self, state=state, novelty=novelty)

    def score_samples(self, series: Series) -> Floats:
        """Return the scores alone: (n,); see `Detector.score_samples`."""
        return self.detect(series).scores

    def predict(self, value: float) -> bool:
        """Return whether a value would be an anomaly as the next reading, one step later."""
        check_value(value)
        state = self._copy(None)
        time = np.array([state.time + max(int(state.step), 1)], np.int64)
        novel = np.array([self.novelty.score_next(value)]) if self.novelty else None
        return bool(evaluate(state, time, np.array([value]), novel).best[0] >= self.threshold)

    def with_warm_up(self, readings: int) -> Self:
        """Return the same detector, of which so many more readings raise no alert.

        An incident that lasts beyond them is alerted then.
        """
        state = self._copy(None)
        state.warm_up = max(state.warm_up, state.count + readings)
        return replace(self, state=state)

    def marked(self, start: int, stop: int, *, is_ordinary: bool) -> Self:
        """Return the detector that knows readings from start to stop, ms, as ordinary or not.

        What is ordinary is history; what was an incident is not. Thresholds keep what they learnt.
        """
        state = self._copy(None)
        periods.mark(state, start, stop, is_ordinary=is_ordinary)
        return replace(self, state=state)

    def without_history(self) -> Self:
        """Return the model before the first reading: of what it was trained on, the forest."""
        return self.untrained(self.novelty and self.novelty.without_history())

    def checkpoint(self) -> Stored:
        """Return the history: the state, and the novelty forest's."""
        novelty = self.novelty.checkpoint() if self.novelty else Stored({}, {})
        return self._with_state(novelty)

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return the same detector after another history; see `Detector.resume`."""
        state, rest = restore_state(tensors, parameters)
        if state.has_novelty != (self.novelty is not None) or (rest and not self.novelty):
            raise CorruptArtifactError("the checkpoint is of a model with other members")
        novelty = self.novelty.resume(rest, parameters) if self.novelty else None
        return replace(self, state=state, novelty=novelty)

    def stored(self) -> Stored:
        """Return the state, and the novelty forest."""
        return self._with_state(self.novelty.stored() if self.novelty else Stored({}, {}))

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild the detector from its stored form; see `Detector.restore`."""
        from ops_anomaly.detection.novelty_forest import NoveltyForest  # of trained models

        state, rest = restore_state(tensors, parameters)
        if state.has_novelty != bool(rest) or threshold != cls.threshold:
            raise CorruptArtifactError("the model's members, or its threshold, are inconsistent")
        return cls(state, NoveltyForest.restore(rest, parameters) if rest else None)

    def _copy(self, sensitivity: float | None) -> State:
        state = self.state.copy()
        if sensitivity is not None and sensitivity != state.sensitivity:
            state.sensitivity = sensitivity
            if state.count:
                thresholds.refresh(state)
        return state

    def _with_state(self, rest: Stored) -> Stored:
        tensors, parameters = self.state.stored()
        return Stored(
            {f"{STATE}{name}": tensor for name, tensor in tensors.items()} | rest.tensors,
            {f"{STATE}{name}": number for name, number in parameters.items()} | rest.parameters,
        )


def restore_state(
    tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]
) -> tuple[State, dict[str, RawTensor]]:
    """Return the state of a stored form, and the tensors that are not the state's."""
    names = {f"{STATE}{name}": name for name in LAYOUT}
    own = {names[name]: tensor for name, tensor in tensors.items() if name in names}
    rest = {name: tensor for name, tensor in tensors.items() if name not in names}
    scalars = {
        name.removeprefix(STATE): number
        for name, number in parameters.items()
        if name.startswith(STATE)
    }
    return State.restore(own, scalars), rest


def found(series: Series, evaluations: Evaluations) -> Detection:
    """Return what is found in a series, from the evaluations of its readings."""
    flags = evaluations.best >= 1.0
    lower, upper = bounds(series.values, evaluations)
    return Detection(
        scores=evaluations.best,
        thresholds=np.ones(len(flags)),
        is_anomaly=flags,
        expected=evaluations.forecast,
        lower=np.where(evaluations.lowest >= 0.0, np.maximum(lower, 0.0), lower),
        upper=upper,
        can_evaluate=evaluations.is_sure,
        reasons={i: reason(facts(series, evaluations, i)) for i in np.flatnonzero(flags).tolist()},
        alerts=alerts(evaluations, flags),
    )


def bounds(values: Floats, evaluations: Evaluations) -> tuple[Floats, Floats]:
    """Return what each value must leave to raise an alert alone: (n,), (n,).

    A score grows in proportion to the value, so what it lacks is what the value lacks.
    """
    lacking = np.empty((len(values), len(m.VALUE)))
    for column, k in enumerate(m.VALUE):
        unit = evaluations.scale if k in (m.RISE, m.FALL) else np.ones(len(values))
        if k in (m.HOUR_HIGH, m.HOUR_LOW):
            unit = 1.0 / np.maximum(evaluations.gain, 1e-9)
        lacking[:, column] = (evaluations.thresholds[:, k] - evaluations.scores[:, k]) * unit
        if k in m.LASTING:
            side = 1.0 if k in m.UP else -1.0
            off = side * (values - evaluations.usual - evaluations.slow)
            own = HALF * evaluations.thresholds[:, k] - off
            lacking[:, column] = np.maximum(lacking[:, column], own)
            if k in (m.SIX_HIGH, m.SIX_LOW):
                is_over = evaluations.scores[:, k] >= evaluations.thresholds[:, k]
                lacking[:, column] = np.where(is_over, own, np.inf)
    up = lacking[:, [m.VALUE.index(k) for k in m.UP]].min(axis=1)
    down = lacking[:, [m.VALUE.index(k) for k in m.DOWN]].min(axis=1)
    known = np.isfinite(up) & np.isfinite(down)
    lower, upper = np.where(known, values - down, np.nan), np.where(known, values + up, np.nan)
    return uncrossed(lower, upper, evaluations)


def uncrossed(lower: Floats, upper: Floats, evaluations: Evaluations) -> tuple[Floats, Floats]:
    """Return bounds in order, where members want the value on opposite sides: (n,), (n,).

    The side that was alerted stays, and the other is as far as forecasts may miss.
    """
    width = evaluations.thresholds[:, [m.RISE, m.FALL]].sum(axis=1) * evaluations.scale
    is_crossed = upper <= lower
    is_up = np.isin(evaluations.members, m.UP)
    return (
        np.where(is_crossed & is_up, upper - width, lower),
        np.where(is_crossed & ~is_up, lower + width, upper),
    )


def alerts(evaluations: Evaluations, flags: Mask) -> list[Alert]:
    """Return the alerts that start here; an incident that was open before is not among them."""
    starts = np.flatnonzero(evaluations.starts).tolist()
    flagged = np.flatnonzero(flags)
    found = []
    for start, stop in zip(starts, [*starts[1:], len(flags)], strict=False):
        end = int(flagged[np.searchsorted(flagged, stop) - 1])
        peak = start + int(np.argmax(evaluations.best[start : end + 1]))
        found.append(Alert(start, end, peak, m.NAMES[int(evaluations.members[start])]))
    return found


def facts(series: Series, evaluations: Evaluations, i: int) -> Facts:
    """Collect what a reason needs."""
    member = int(evaluations.members[i])
    limit = float(evaluations.thresholds[i, member])
    step = float(evaluations.step[i])
    is_edge = member in (m.NEW_HIGH, m.NEW_LOW)
    low = evaluations.lowest[i] if is_edge else evaluations.low[i] + evaluations.slow[i]
    high = evaluations.highest[i] if is_edge else evaluations.high[i] + evaluations.slow[i]
    longest = math.expm1(float(evaluations.thresholds[i, m.STUCK])) * step
    return Facts(
        member=member,
        season=int(evaluations.season[i]),
        time=int(series.times[i]),
        value=float(series.values[i]),
        forecast=float(evaluations.forecast[i]),
        limit=limit * (float(evaluations.scale[i]) if member in (m.RISE, m.FALL) else 1.0),
        usual=float(evaluations.usual[i] + evaluations.slow[i]),
        low=float(low),
        high=float(high),
        stood=float(evaluations.stood[i]),
        step=step,
        longest=longest if math.isfinite(longest) else 0.0,
    )
