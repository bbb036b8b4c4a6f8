"""Looking up a step function at a great many values.

A guide table (Chen and Asau, 1974; Devroye, "Non-Uniform Random Variate Generation", II.2.4) cuts
the line into cells of equal width. In a cell without a break the step function is constant, so
that most values need no search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from detector.value_range import FLOAT32_MAX

if TYPE_CHECKING:
    from detector.interface import Floats

CELLS = 65_536
"""Of 8 bytes: as many as the processor's second cache holds."""

AT_ONCE = 16_384
"""Values looked up at once: what they are turned into on the way stays in the caches."""

FINEST = 1e250
"""Cells in a unit: no value of float32's range times so many overflows."""


@dataclass(frozen=True)
class GuideTable:
    """A step function: in the interval of the first break that is not below a value.

    A value's cell never decreases with the value: differences, products and integer parts are all
    rounded in a way that keeps the order, and so are the limits. So a break in an earlier cell is
    below the value, and one in a later cell is not, however either was rounded. What a cell without
    a break holds is therefore exact; the values of the other cells are searched for.

    Attributes
    ----------
    breaks : (n,) float64, increasing
    steps : (n + 1,) float64
        The function's values.
    origin, cells_per_unit : float
        Where the first cell begins, and how narrow the cells are.
    known : (CELLS,) float64
        The function's value in each cell; NaN where a break lies in it.
    """

    breaks: Floats
    steps: Floats
    origin: float
    cells_per_unit: float
    known: Floats

    @classmethod
    def of(cls, breaks: Floats, steps: Floats) -> Self:
        """Build the table of at least one break."""
        # no value looked up is beyond, and no difference of these overflows
        inside = np.clip(breaks, -FLOAT32_MAX, FLOAT32_MAX)
        first, last = float(inside[0]), float(inside[-1])
        # The first and the last cell are left over, for the values before and after all breaks,
        # which lie in the middle of their neighbours: no rounding moves them.
        width = max((last - first) / (CELLS - 3), 1 / FINEST)
        origin, cells_per_unit = first - 1.5 * width, 1 / width
        cells = cells_of(inside, origin, cells_per_unit)
        known = steps.repeat(np.diff(cells, prepend=0, append=CELLS))
        known[cells] = np.nan
        return cls(breaks, steps, origin, cells_per_unit, known)

    def look_up(self, values: Floats) -> Floats:
        """Return the function at each value: (n,), within float32's range -> (n,)."""
        found = np.empty(len(values))
        for start in range(0, len(values), AT_ONCE):
            part, into = values[start : start + AT_ONCE], found[start : start + AT_ONCE]
            cells = cells_of(part, self.origin, self.cells_per_unit)
            # "clip" changes no cell; unlike "raise", it writes without a copy
            self.known.take(cells, out=into, mode="clip")
            rest = np.flatnonzero(np.isnan(into))
            into[rest] = self.steps[np.searchsorted(self.breaks, part[rest], side="left")]
        return found


def cells_of(values: Floats, origin: float, cells_per_unit: float) -> npt.NDArray[np.intp]:
    """Return the cell of each value, 0 to before CELLS: (n,) -> (n,)."""
    places: Floats = np.subtract(values, origin, dtype=np.float64)
    places *= cells_per_unit
    return places.clip(0, CELLS - 1, out=places).astype(np.intp)
