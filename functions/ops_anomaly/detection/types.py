"""What every detector takes and gives: series, detections, alerts, errors, and the protocol.

The bottom of the package: it imports nothing of it, and numpy only where an array is made (a
value forest needs none for `/predict`).
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class DetectorError(ValueError):
    """Base of the errors of this package."""


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


MINUTE, HOUR, DAY, WEEK = 60_000, 3_600_000, 86_400_000, 604_800_000
"""In milliseconds, as all times here."""

EPOCH_UNITS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 10**6, "nanoseconds": 10**9}
"""What numbers since 1970 count, and how many of it are a second."""

MIN_EPOCH, MAX_EPOCH = 10**8, 10**10
"""Seconds since 1970 from March 1973 to November 2286. In any unit of `EPOCH_UNITS`: these ranges
do not meet, so that the size of a number says its unit."""


TYPECODES: dict[str, Literal["d", "f", "q", "H", "B"]] = {
    "F64": "d",
    "F32": "f",
    "I64": "q",
    "U16": "H",
    "U8": "B",
}
NUMPY_DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "U16": "<u2", "U8": "u1"}


@dataclass(frozen=True)
class RawTensor:
    """One named array of an artifact: dtype code, shape, little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def to_array(self) -> array[float]:
        """Return the numbers, flat, without importing numpy (a value forest needs none)."""
        numbers: array[float] = array(TYPECODES[self.dtype])
        numbers.frombytes(self.data)
        return numbers

    def to_numpy(self) -> npt.NDArray[Any]:
        """Return the numbers as a numpy array of the tensor's dtype and shape."""
        import numpy as np

        numbers: npt.NDArray[Any] = np.frombuffer(self.data, NUMPY_DTYPES[self.dtype])
        return numbers.reshape(self.shape)


class Stored(NamedTuple):
    """A detector, or its history, as arrays and scalars by name."""

    tensors: dict[str, npt.NDArray[Any]]
    parameters: dict[str, float]


SENSITIVITY = 0.5
"""Expected false alerts a week and metric by default, of API, watcher and report alike: one in two
weeks. Three injected faults in four are found then; at 0.2 a few less, at 1 a few more, beyond 1
none (`docs/detection.md`), and a fleet multiplies every false alert."""


@dataclass(frozen=True)
class Series:
    """Readings of one metric, in order of time.

    Attributes
    ----------
    times : (n,) int64
        Milliseconds since 1970, UTC, increasing.
    values : (n,) float64
        Finite and within float32's range.
    """

    times: Integers
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: slice | Mask | Integers) -> Series:
        return Series(self.times[which], self.values[which])

    @property
    def step(self) -> float:
        """Median distance of neighbouring readings, milliseconds; 0 of fewer than two."""
        import numpy as np

        steps = np.sort(np.diff(self.times))
        middle = len(steps) // 2
        return float(steps[middle] + steps[~middle]) / 2 if len(steps) else 0.0

    def last(self, readings: int) -> Series:
        """Return the last so many readings."""
        return self[max(len(self) - readings, 0) :]


@dataclass(frozen=True)
class Alert:
    """One event: one alert, however many of its readings are anomalous.

    Attributes
    ----------
    start, end, peak : int
        Positions of its first, its last and its most anomalous reading.
    member : str
        The member of the contextual detector that raised it; empty for other kinds.
    """

    start: int
    end: int
    peak: int
    member: str = ""


@dataclass(frozen=True)
class Detection:
    """What a detector finds in a series of n readings.

    Attributes
    ----------
    scores : (n,) float64
        High is anomalous; unit and range depend on the kind of detector.
    thresholds : (n,) float64
        The score at which each reading is an anomaly.
    is_anomaly : (n,) bool
    can_evaluate : (n,) bool
        Where enough was known to find a gross deviation at least.
    expected, lower, upper : (n,) float64
        What was expected, and bounds on what is ordinary; NaN where it is not known.
    reasons : dict of int to str
        Why, in plain words, for each anomalous reading by its position.
    alerts : list of Alert
    """

    scores: Floats
    thresholds: Floats
    is_anomaly: Mask
    can_evaluate: Mask
    expected: Floats
    lower: Floats
    upper: Floats
    reasons: dict[int, str]
    alerts: list[Alert]

    @property
    def severity(self) -> Floats:
        """How far beyond ordinary each reading is, 0 to 1; 0.5 is at the threshold: (n,)."""
        return severity(self.scores, self.thresholds)


class Detector(Protocol):
    """A fitted model together with the history that its next score depends on.

    High scores mean anomalous. Detectors are values: no method changes one. `tensors` and
    `parameters` are the stored form, for artifacts and checkpoints alike; where they are stored is
    no concern of a detector.

    Attributes
    ----------
    kind : str
        Names the class in artifacts; see `artifact.KINDS`.
    has_sensitivity : bool
        Whether the threshold can be set by `sensitivity`; else there is one threshold.
    threshold : float
        The score that an anomaly must exceed, or reach, as the kind has it.
    """

    kind: ClassVar[str]
    has_sensitivity: ClassVar[bool]

    @property
    def threshold(self) -> float:
        """The score at which a reading is an anomaly, without a sensitivity."""
        ...

    @property
    def last_timestamp(self) -> int | None:
        """Time of the last reading of its history, milliseconds; None where it keeps no times."""
        ...

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        """Score readings that follow the stored history, and find the alerts among them.

        Parameters
        ----------
        series
            Later than the history.
        sensitivity : float, optional
            Expected false alerts a week, instead of the detector's own threshold.

        Raises
        ------
        ValueOutOfRangeError
            If a value is not finite or beyond float32's range.
        FixedSensitivityError
            If a sensitivity is given and this kind has one threshold.
        """
        ...

    def update(self, series: Series, sensitivity: float | None = None) -> tuple[Detection, Self]:
        """Return what `detect` does, and the same model with its history moved on.

        In chunks of any size it gives the same, to the bit.
        """
        ...

    def predict(self, value: float) -> bool:
        """Return whether `value` would be an anomaly as the next reading after the history."""
        ...

    def score_samples(self, series: Series) -> Floats:
        """Return the scores alone: (n,); as `detect`."""
        ...

    def with_warm_up(self, readings: int) -> Self:
        """Return the same model, of which so many more readings raise no alert."""
        ...

    def marked(self, start: int, stop: int, *, is_ordinary: bool) -> Self:
        """Return the model that knows readings from start to stop, ms, as ordinary or not.

        The same model, if it has no history.
        """
        ...

    def without_history(self) -> Self:
        """Return the model before the first reading, as far as this kind can be without any."""
        ...

    def checkpoint(self) -> Stored:
        """Return the part of the stored form that changes with readings: the history."""
        ...

    def resume(self, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> Self:
        """Return the same model with the history of a checkpoint.

        Raises
        ------
        CorruptArtifactError
            If a name, dtype, shape or number is not what this kind expects.
        """
        ...

    def stored(self) -> Stored:
        """Return arrays and scalars of the whole model, the history included."""
        ...

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, RawTensor],
        parameters: Mapping[str, float],
        threshold: float,
    ) -> Self:
        """Rebuild a detector from its stored form; raises as `resume`."""
        ...


def alerts_from(scores: Floats, flags: Mask, starts: list[int]) -> list[Alert]:
    """Return the alerts that begin at `starts`; each reaches to its last flag before the next."""
    return [
        Alert(start, end, start + int(scores[start : end + 1].argmax()))
        for start, end in grouped(flags, starts)
    ]


def alerts_of_events(times: Integers, scores: Floats, flags: Mask) -> list[Alert]:
    """Return the alerts of a detector without an alert state: flags close in time are one."""
    return alerts_from(scores, flags, event_starts(times, flags))


def grouped(flags: Mask, starts: list[int]) -> list[tuple[int, int]]:
    """Return first and last flag of each alert, given where each starts."""
    import numpy as np

    flagged = np.flatnonzero(flags)
    ends = [*starts[1:], len(flags)][: len(starts)]
    return [
        (start, int(flagged[np.searchsorted(flagged, end) - 1]))
        for start, end in zip(starts, ends, strict=True)
    ]


def event_starts(times: Integers, flags: Mask) -> list[int]:
    """Return where each run of flags begins that are no more than `EVENT_MS` apart."""
    import numpy as np

    flagged = np.flatnonzero(flags)
    if not flagged.size:
        return []
    apart = np.diff(times[flagged]) > EVENT_MS
    return [int(flagged[0]), *flagged[1:][apart].tolist()]


def severity(scores: Floats, thresholds: Floats) -> Floats:
    """Return 0 to 1 for scores from nothing to boundless; 0.5 is at the threshold."""
    import numpy as np

    shares: Floats = scores / np.maximum(scores + thresholds, math.ulp(1.0))
    return shares


def expect(
    tensors: Mapping[str, RawTensor],
    layout: Mapping[str, tuple[str, tuple[int | None, ...]]],
    not_finite: frozenset[str] = frozenset(),
) -> None:
    """Check that exactly the tensors of `layout` are there, each of its dtype, shape, and finite.

    Parameters
    ----------
    tensors
        What the artifact holds, by name.
    layout
        Name -> (dtype code, shape); `None` stands for any length.
    not_finite
        Names of tensors in which infinity and NaN have a meaning.

    Raises
    ------
    CorruptArtifactError
        Naming the first tensor that is missing, unknown, misshapen or not finite.
    """
    if tensors.keys() != layout.keys():
        difference = sorted(tensors.keys() ^ layout.keys())
        raise CorruptArtifactError(f"tensors missing or unknown: {', '.join(difference)}")
    for name, (dtype, shape) in layout.items():
        tensor = tensors[name]
        if tensor.dtype != dtype:
            raise CorruptArtifactError(f"tensor {name}: dtype {tensor.dtype}, expected {dtype}")
        if len(tensor.shape) != len(shape) or not all(
            wanted in (size, None) for size, wanted in zip(tensor.shape, shape, strict=True)
        ):
            raise CorruptArtifactError(f"tensor {name}: shape {tensor.shape}, expected {shape}")
        if dtype.startswith("F") and name not in not_finite and not is_finite(tensor):
            raise CorruptArtifactError(f"tensor {name}: not every number is finite")


def is_finite(tensor: RawTensor) -> bool:
    """Return whether every number is finite; by numpy where it is loaded, 50 times as fast.

    A value forest needs no numpy, and importing it would cost more than it saves.
    """
    if "numpy" in sys.modules:
        import numpy as np

        return bool(np.isfinite(tensor.to_numpy()).all())
    return all(map(math.isfinite, tensor.to_array()))


def scalar(parameters: Mapping[str, float], name: str) -> float:
    """Return one finite number of the manifest's parameters.

    Raises
    ------
    CorruptArtifactError
        If it is missing, no number, or not finite.
    """
    number = parameters.get(name)
    if isinstance(number, int | float) and not isinstance(number, bool):
        try:
            if math.isfinite(number):
                return float(number)
        except OverflowError:
            pass  # an integer beyond any float
    raise CorruptArtifactError(f"parameter {name} is not a finite number")


def within(parameters: Mapping[str, float], name: str, least: float, most: float) -> float:
    """Return one number of the manifest's parameters that lies within limits.

    Raises
    ------
    CorruptArtifactError
        If it is missing, no number, or does not.
    """
    number = scalar(parameters, name)
    if not least <= number <= most:
        raise CorruptArtifactError(f"parameter {name}: {number} is not within {least} and {most}")
    return number


def whole(parameters: Mapping[str, float], name: str, least: int, most: int = 2**53) -> int:
    """Return one whole number of the manifest's parameters; raises as `within`."""
    number = within(parameters, name, least, most)
    if number != int(number):
        raise CorruptArtifactError(f"parameter {name}: {number} is no whole number")
    return int(number)
