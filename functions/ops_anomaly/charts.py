"""Charts of a metric around an anomaly, as SVG."""

from __future__ import annotations

from ops_anomaly.validation import Contract


class Chart(Contract, frozen=True):
    """What is drawn of a metric: n periods, one after the other.

    Attributes
    ----------
    start, step : int
        When the first period begins, and how long one is, milliseconds.
    values, expected, lower, upper : list of float or None
        (n,) each; None where it is not known.
    unusual : list of int
        Positions of the unusual readings.
    """

    start: int
    step: int
    values: list[float | None]
    expected: list[float | None]
    lower: list[float | None]
    upper: list[float | None]
    unusual: list[int]
