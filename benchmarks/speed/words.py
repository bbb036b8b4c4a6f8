"""Figures as people read them."""

from __future__ import annotations

from math import floor, log10

from benchmarks.speed.figures import BYTES, Figure, Ratio

SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    BYTES: ((2.0**20, "MiB"), (2.0**10, "KiB")),
}
DIGITS = 2


def rounded(number: float) -> str:
    """Return a number by its first digits.

    Examples
    --------
    >>> [rounded(number) for number in (0.0234, 0.291, 4.82, 68.4, 310.4, 16_623.0)]
    ['0.023', '0.29', '4.8', '68', '310', '17,000']
    """
    if number == 0:
        return "0"
    places = DIGITS - 1 - floor(log10(abs(number)))
    return f"{round(number, places):,.{max(places, 0)}f}"


def scaled(number: float, unit: str) -> tuple[float, str]:
    """Return the size and the name of the unit that fits a number."""
    return next((s for s in SCALES[unit] if abs(number) >= s[0]), SCALES[unit][-1])


def quantity(number: float, unit: str) -> str:
    """Return a number with its unit.

    Examples
    --------
    >>> quantity(0.0123, "s"), quantity(56_000_000, "B")
    ('12 ms', '53 MiB')
    """
    scale, name = scaled(number, unit)
    return f"{rounded(number / scale)} {name}"


def spread(figure: Figure, unit: str) -> str:
    """Return a figure with the least and the most that was measured."""
    scale, name = scaled(figure.median, unit)
    low, high = (rounded(f(figure.rounds) / scale) for f in (min, max))
    middle = rounded(figure.median / scale)
    return f"{middle} {name}" + ("" if low == high else f" ({low} to {high})")


def times(ratio: Ratio) -> str:
    """Return a ratio with the least and the most of single rounds."""
    low, high = rounded(ratio.low), rounded(ratio.high)
    return rounded(ratio.median) + ("" if low == high else f" ({low} to {high})")
