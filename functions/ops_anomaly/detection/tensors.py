"""Tensors as a safetensors file stores them, and the checks they pass before use."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ops_anomaly.detection.types import CorruptArtifactError

if TYPE_CHECKING:
    import numpy.typing as npt


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


def expect(
    tensors: Mapping[str, RawTensor], layout: Mapping[str, tuple[str, tuple[int | None, ...]]]
) -> None:
    """Check that exactly the tensors of `layout` are there, each of its dtype, shape, and finite.

    Parameters
    ----------
    tensors
        What the artifact holds, by name.
    layout
        Name -> (dtype code, shape); `None` stands for any length.

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
        if dtype.startswith("F") and not all(map(math.isfinite, tensor.to_array())):
            raise CorruptArtifactError(f"tensor {name}: not every number is finite")


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
