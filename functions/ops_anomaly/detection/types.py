"""What can be wrong with a value or an artifact.

The range of values every detector accepts.

The one interface of every detector, so that whichever kind wins can be served.

What a detector says of a series: a verdict on each reading, and the alerts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ops_anomaly.detection.tensors import RawTensor

    Floats = npt.NDArray[np.float64]
    Times = npt.NDArray[np.datetime64]
    Integers = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class DetectorError(ValueError):
    """Base of everything this room raises on purpose."""


class ValueOutOfRangeError(DetectorError):
    """A value is not a finite number within the range of float32."""


class FixedSensitivityError(DetectorError):
    """The kind of detector has one threshold: leave the sensitivity out, or take another model."""


class ArtifactError(DetectorError):
    """An artifact can't be used: train and publish it again, or roll back to an older version."""


class CorruptArtifactError(ArtifactError):
    """The bytes are not what was written: a digest, a shape, a name or a number is wrong."""


class UnsupportedArtifactError(ArtifactError):
    """The artifact is of a schema or kind that this code doesn't know: deploy newer code."""


EVENT_MS = 3_600_000
"""Flags of detectors without an alert state belong to one alert if no further apart."""

FLOAT32_MAX = 3.4028234663852886e38
"""The largest finite float32: scikit-learn's trees compare in float32, and so does the LSTM."""


def check_value(value: float) -> None:
    """Raise `ValueOutOfRangeError` unless `value` is finite and within float32's range."""
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:  # a NaN fails every comparison
        raise ValueOutOfRangeError(f"{value!r} is not a finite number within ±{FLOAT32_MAX:.4g}")


def check_values(values: Floats) -> None:
    """Raise `ValueOutOfRangeError` at the first value that `check_value` refuses."""
    inside = (values >= -FLOAT32_MAX) & (values <= FLOAT32_MAX)
    if not inside.all():
        check_value(float(values[~inside][0]))


class Detector(Protocol):
    """A fitted model together with the history its next score depends on.

    High scores mean anomalous. Detectors are values: no method changes one.
    """

    kind: ClassVar[str]

    @property
    def threshold(self) -> float:
        """The score that an anomaly must exceed, or reach, as the kind has it."""
        ...

    @property
    def until(self) -> np.datetime64 | None:
        """Time of the last reading of its history; None where the kind keeps no times."""
        ...

    def threshold_for(self, false_alerts_a_week: float, readings_a_week: float) -> float:
        """Return the threshold that is expected to raise so many false alerts.

        Parameters
        ----------
        false_alerts_a_week, readings_a_week : float
            Positive.

        Raises
        ------
        FixedSensitivityError
            If this kind has one threshold only.
        """
        ...

    def detect(
        self, timestamps: Times, values: Floats, threshold: float | None = None
    ) -> Detection:
        """Judge readings that follow the stored history, and find the alerts among them.

        Parameters
        ----------
        timestamps : (n,) datetime64
            Times of the readings, increasing, after the history's.
        values : (n,) float64
            The readings, finite and within float32's range.
        threshold : float, optional
            Instead of the detector's own.

        Raises
        ------
        ValueOutOfRangeError
            If a value is not finite or beyond float32's range.
        """
        ...

    def follow(
        self, timestamps: Times, values: Floats, threshold: float | None = None
    ) -> tuple[Detection, Self]:
        """Judge readings as `detect` does, and return with it the model after them.

        It is `advance` at this threshold, for the price of `detect` alone.
        """
        ...

    def score_samples(self, timestamps: Times, values: Floats) -> Floats:
        """Score readings that follow the stored history, each from itself and what came before.

        Parameters
        ----------
        timestamps : (n,) datetime64
            Times of the readings, increasing.
        values : (n,) float64
            The readings, finite and within float32's range.

        Returns
        -------
        (n,) float64
            One score a reading; unit and range depend on the kind.

        Raises
        ------
        ValueOutOfRangeError
            If a value is not finite or beyond float32's range.
        """
        ...

    def predict(self, value: float) -> bool:
        """Tell whether `value` would be an anomaly as the next reading after the history."""
        ...

    def advance(self, timestamps: Times, values: Floats) -> Self:
        """Return the same model with its history moved on by these readings."""
        ...

    def parameters(self) -> dict[str, float]:
        """Return the scalars of the model, for the manifest."""
        ...

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays of the model, by name, for the artifact."""
        ...

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild a detector from the parts of an artifact.

        Raises
        ------
        CorruptArtifactError
            If a name, dtype, shape or number is not what this kind expects.
        """
        ...


@dataclass(frozen=True)
class Alert:
    """One event: one alert, however many of its readings are anomalous.

    Attributes
    ----------
    start, end, peak : int
        Positions of its first, its last and its most anomalous reading.
    """

    start: int
    end: int
    peak: int


@dataclass(frozen=True)
class Detection:
    """Verdicts on n readings.

    Attributes
    ----------
    scores : (n,) float64
        High is anomalous; unit and range depend on the kind of detector.
    bar : (n,) float64
        The score at which each reading is an anomaly.
    is_anomaly : (n,) bool
    expected, lower, upper : (n,) float64
        What was expected, and bounds on what is ordinary; NaN where it is not known.
    reasons : dict of int to str
        Why, in plain words, for each anomalous reading by its position.
    alerts : list of Alert
    """

    scores: Floats
    bar: Floats
    is_anomaly: Mask
    expected: Floats
    lower: Floats
    upper: Floats
    reasons: dict[int, str]
    alerts: list[Alert]

    @property
    def severity(self) -> Floats:
        """How far beyond ordinary each reading is, 0 to 1; 0.5 is at the bar: (n,)."""
        return severity(self.scores, self.bar)


def alerts_from(scores: Floats, flags: Mask, starts: list[int]) -> list[Alert]:
    """Return the alerts that begin at `starts`; each reaches to its last flag before the next."""
    return [
        Alert(start, end, start + int(scores[start : end + 1].argmax()))
        for start, end in grouped(flags, starts)
    ]


def alerts_of_events(timestamps: Times, scores: Floats, flags: Mask) -> list[Alert]:
    """Return the alerts of a detector that knows no pause: flags close in time are one."""
    return alerts_from(scores, flags, event_starts(timestamps, flags))


def grouped(flags: Mask, starts: list[int]) -> list[tuple[int, int]]:
    """Return first and last flag of each alert, given where each starts."""
    import numpy as np

    flagged = np.flatnonzero(flags)
    ends = [*starts[1:], len(flags)][: len(starts)]
    return [
        (start, int(flagged[np.searchsorted(flagged, end) - 1]))
        for start, end in zip(starts, ends, strict=True)
    ]


def event_starts(timestamps: Times, flags: Mask) -> list[int]:
    """Return where each run of flags begins that are no more than `EVENT_MS` apart."""
    import numpy as np

    flagged = np.flatnonzero(flags)
    if not flagged.size:
        return []
    apart = np.diff(timestamps[flagged]) > np.timedelta64(EVENT_MS, "ms")
    return [int(flagged[0]), *flagged[1:][apart].tolist()]


def severity(scores: Floats, bar: Floats) -> Floats:
    """Return 0 to 1 for scores from nothing to boundless; 0.5 is at the bar."""
    import numpy as np

    shares: Floats = scores / np.maximum(scores + bar, math.ulp(1.0))
    return shares
