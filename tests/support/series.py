"""Series made for tests."""

from __future__ import annotations

import numpy as np

from ops_anomaly.detection.types import RawTensor, Series, Stored

FIVE_MINUTES = 300_000
DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "uint8": "U8", "uint16": "U16"}


def series_of(
    values: np.ndarray, start: int = 1_767_225_600_000, step: int = FIVE_MINUTES
) -> Series:
    """Return values at a regular step, from 2026-01-01 on unless told otherwise."""
    return Series(start + step * np.arange(len(values)), np.asarray(values, np.float64))


def raw(stored: Stored) -> dict[str, RawTensor]:
    """Return arrays as they come out of a file."""
    return {
        name: RawTensor(DTYPES[array.dtype.name], array.shape, array.tobytes())
        for name, array in stored.tensors.items()
    }
