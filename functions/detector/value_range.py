"""The range of values every detector accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.errors import ValueOutOfRangeError

if TYPE_CHECKING:
    from detector.interface import Floats

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
