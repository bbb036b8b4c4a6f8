"""Checks that stored tensors and scalars pass before use."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ops_anomaly.detection.types import CorruptArtifactError

if TYPE_CHECKING:
    from ops_anomaly.detection.types import RawTensor


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
        if dtype.startswith("F") and not is_finite(tensor):
            raise CorruptArtifactError(f"tensor {name}: not every number is finite")


def is_finite(tensor: RawTensor) -> bool:
    """Return whether every number is finite: by numpy where it is loaded, which is 50 times as fast.

    A value forest answers without numpy, and importing it would cost more than it saves.
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
