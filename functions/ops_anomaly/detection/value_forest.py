"""A univariate isolation forest, served as the step function that it is.

With one feature, every tree of a forest asks only "is the value at most t?", so the score can
change nowhere but at the thresholds. Between two neighbouring breaks it is a constant that
training looked up once in scikit-learn; serving is one binary search.

Isolation forest: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Self

from ops_anomaly.detection.types import (
    CorruptArtifactError,
    FixedSensitivityError,
    RawTensor,
    Stored,
    check_value,
    check_values,
    expect,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Floats, Series


@dataclass(frozen=True)
class ValueForest:
    """A piecewise constant score of the value alone, equal to scikit-learn's to the bit.

    Attributes
    ----------
    breaks : (n,) float64, increasing
        A value belongs to the interval of the first break that is not below it.
    scores : (n + 1,) float64 in (0, 1]
        Score of each interval: scikit-learn's `-score_samples`.
    threshold : float
        scikit-learn's `-offset_`; scores strictly above it are anomalies.

    Notes
    -----
    The score says how easily a value is isolated from the training values, so it knows rare from
    common and nothing of time. It saturates: everything beyond the largest training value scores
    like that value.

    Examples
    --------
    >>> from array import array
    >>> forest = ValueForest(array("d", [0.0, 1.0]), array("d", [0.7, 0.4, 0.8]), threshold=0.75)
    >>> [forest.predict(value) for value in (-5.0, 0.5, 1.0, 1.5)]
    [False, False, False, True]
    """

    kind: ClassVar[str] = "value-forest"
    has_sensitivity: ClassVar[bool] = False

    breaks: array[float]
    scores: array[float]
    threshold: float

    @property
    def last_timestamp(self) -> None:
        """None: the score depends on no history."""
        return None

    def score_samples(self, series: Series) -> Floats:
        """Score each value; see `Detector.score_samples`."""
        import numpy as np

        check_values(series.values)
        return np.asarray(self.scores)[np.searchsorted(self.breaks, series.values, side="left")]

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        """Score each value; see `Detector.detect`."""
        import numpy as np

        from ops_anomaly.detection.formatting import number
        from ops_anomaly.detection.types import Detection, alerts_of_events

        if sensitivity is not None:
            # beyond its training values the forest saturates, so there is nothing to tune
            raise FixedSensitivityError(
                "A value forest has one threshold; leave out the sensitivity."
            )
        threshold, values = self.threshold, series.values
        scores = self.score_samples(series)
        flags = scores > threshold
        expected, lower, upper = self._ordinary(threshold)
        return Detection(
            scores=scores,
            thresholds=np.full(len(scores), threshold),
            is_anomaly=flags,
            can_evaluate=np.ones(len(scores), bool),
            expected=np.full(len(scores), expected),
            lower=np.full(len(scores), lower),
            upper=np.full(len(scores), upper),
            reasons={
                position: f"unlike the values it was trained on: {number(values[position])}, "
                f"most usual is {number(expected)}"
                for position in np.flatnonzero(flags).tolist()
            },
            alerts=alerts_of_events(series.times, scores, flags),
        )

    def update(self, series: Series, sensitivity: float | None = None) -> tuple[Detection, Self]:
        """Score each value; see `Detector.update`."""
        return self.detect(series, sensitivity), self

    def _ordinary(self, threshold: float) -> tuple[float, float, float]:
        """Return the most ordinary value, and how far around it values are no anomalies."""
        import numpy as np

        if not len(self.breaks):
            return (np.nan,) * 3
        edges = np.concatenate([[-np.inf], self.breaks, [np.inf]])
        scores = np.asarray(self.scores)
        best = int(scores.argmin())
        above = np.flatnonzero(scores > threshold)
        first = int(above[above < best][-1]) + 1 if (above < best).any() else 0
        last = int(above[above > best][0]) - 1 if (above > best).any() else len(scores) - 1
        edges[~np.isfinite(edges)] = np.nan  # no bound on that side
        middle = float(np.nanmean(edges[best : best + 2]))
        return middle, float(edges[first]), float(edges[last + 1])

    def predict(self, value: float) -> bool:
        """Return whether `value` is an anomaly; see `Detector.predict`."""
        check_value(value)
        return bisect_left(self._switches, value) % 2 == 1

    @cached_property
    def _switches(self) -> list[float]:
        """Where the decision changes: a value above an odd number of these is an anomaly.

        They are a few of the breaks, and come after -inf if the lowest values are anomalies.
        """
        threshold, switches, is_anomaly = self.threshold, [], False
        for edge, score in zip((-math.inf, *self.breaks), self.scores, strict=True):
            if (score > threshold) != is_anomaly:
                switches.append(edge)
                is_anomaly = not is_anomaly
        return switches

    def with_warm_up(self, readings: int) -> Self:
        """Return itself: there is nothing to warm up."""
        return self

    def marked(self, start: int, stop: int, *, is_ordinary: bool) -> Self:
        """Return itself: there is no history."""
        return self

    def without_history(self) -> Self:
        """Return itself: the score depends on no history."""
        return self

    def checkpoint(self) -> Stored:
        """Return nothing: there is no history."""
        return Stored({}, {})

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return itself."""
        return self

    def stored(self) -> Stored:
        """Return the breaks and the scores."""
        import numpy as np

        return Stored({"breaks": np.asarray(self.breaks), "scores": np.asarray(self.scores)}, {})

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild the forest from an artifact; see `Detector.restore`."""
        expect(tensors, {"breaks": ("F64", (None,)), "scores": ("F64", (None,))})
        breaks, scores = tensors["breaks"].to_array(), tensors["scores"].to_array()
        if len(scores) != len(breaks) + 1:
            raise CorruptArtifactError(
                f"{len(breaks)} breaks need one score more, not {len(scores)}"
            )
        if not all(0.0 < score <= 1.0 for score in (*scores, threshold)):
            raise CorruptArtifactError("a score of the forest, or its threshold, is not in (0, 1]")
        if not all(left < right for left, right in pairwise(breaks)):
            raise CorruptArtifactError("breaks do not increase")
        return cls(breaks, scores, threshold)
