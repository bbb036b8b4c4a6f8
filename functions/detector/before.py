"""Numbers that came before a block of readings, and where new ones lie among them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from detector.tail import quantile

if TYPE_CHECKING:
    from detector.interface import Floats

FEW = 4
"""Numbers that are sooner compared with all than looked up once all are sorted."""


class Before:
    """Numbers in any order, sorted once that pays.

    Parameters
    ----------
    numbers : (p,) float64
    """

    def __init__(self, numbers: Floats) -> None:
        self.numbers = numbers

    @classmethod
    def sorted(cls, numbers: Floats) -> Self:
        """Sort a copy at once, for who will ask again and again."""
        before = cls(np.sort(numbers))
        before.ordered = before.numbers
        return before

    @cached_property
    def ordered(self) -> Floats:
        """The numbers, sorted: (p,)."""
        return np.sort(self.numbers)

    def quantiles(self, *shares: float) -> list[float]:
        """Return quantiles; NaN of no numbers."""
        if not self.numbers.size:
            return [np.nan] * len(shares)
        return [quantile(self.ordered, share) for share in shares]

    def distances(self, asked: Floats) -> Floats:
        """Return how far each is from the nearest of the numbers: (n,) -> (n,); inf of none."""
        if not self.numbers.size:
            return np.full(len(asked), np.inf)
        if self._are_too_few(asked):
            return np.array([np.abs(self.numbers - each).min() for each in asked])
        above = np.searchsorted(self.ordered, asked)
        nearest: Floats = np.minimum(
            np.abs(self.ordered[np.minimum(above, self.numbers.size - 1)] - asked),
            np.abs(asked - self.ordered[np.maximum(above - 1, 0)]),
        )
        return nearest

    def shares_below(self, asked: Floats) -> Floats:
        """Return the share of the numbers that is below each: (n,) -> (n,)."""
        if self._are_too_few(asked):
            below = np.array([np.count_nonzero(self.numbers < each) for each in asked])
        else:
            below = np.searchsorted(self.ordered, asked)
        shares: Floats = below / self.numbers.size
        return shares

    def _are_too_few(self, asked: Floats) -> bool:
        return len(asked) <= FEW and "ordered" not in self.__dict__
