"""The one interface of every detector, so that whichever kind wins can be served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from detector.detection import Detection
    from detector.tensors import RawTensor

    Floats = npt.NDArray[np.float64]
    Times = npt.NDArray[np.datetime64]


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
