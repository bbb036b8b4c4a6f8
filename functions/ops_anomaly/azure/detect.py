"""A request's series through this package's detection, as the contract's responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.azure.errors import invalid_series
from ops_anomaly.azure.imputation import fill, fill_by_phase
from ops_anomaly.azure.requests import CHANGE_POINT, MAX_FILLED
from ops_anomaly.detection.change_points import change_points
from ops_anomaly.detection.decomposition import decompose, find_period, forecast, limit
from ops_anomaly.detection.tails import quantile
from ops_anomaly.detection.types import severity

if TYPE_CHECKING:
    from ops_anomaly.azure.requests import DetectRequest
    from ops_anomaly.detection.types import Floats, Integers


DOUBLING = 25
"""Steps of sensitivity that double the margins: 3 deviations at 99 are 3.4 at 95 and 12 at 50."""

SHARE_OF_LEVEL = 1e-3
SHARE_OF_SPREAD = 1e-2
"""Parts of the usual value, and of the range of four readings in five, within which no deviation
matters: an exactly repeated season would otherwise make an anomaly of its last digit."""

ROUNDING = 1e-9
"""Part of the numbers involved by which a sum of two may be wrong, generously."""

SUGGESTED_WINDOW = {
    "daily": 29,
    "hourly": 169,
    "minutely": 1441,
    "secondly": 1441,
    "weekly": 13,
    "monthly": 13,
    "yearly": 13,
    "microsecond": 1001,
    "none": 29,
}
"""Points for the next request without a period; with one, four periods and one point."""


def detect(request: DetectRequest, operation: str, version: str) -> dict[str, Any]:
    """Return the body of the response.

    Raises
    ------
    AzureError
        If half of a seasonal series is missing.
    """
    if operation == CHANGE_POINT:
        return changes(request)
    response = last(request) if operation == "last" else entire(request)
    names = {"last": ("upperMargin", "lowerMargin"), "entire": ("upperMargins", "lowerMargins")}
    if version == "v1.0":
        del response["severity"]
        for name in names[operation]:
            response[name] = in_first_unit(response[name], request.sensitivity)
    return response


def in_first_unit(margins: Any, sensitivity: int) -> Any:
    """Return margins as of v1.0, whose clients multiply them by 100 - sensitivity."""
    unit = max(100 - sensitivity, 1)
    if isinstance(margins, list):
        return [margin / unit for margin in margins]
    return margins / unit


def entire(request: DetectRequest) -> dict[str, Any]:
    """Evaluate every point."""
    values, period, given = regular(request)
    expected = decompose(values, period)
    margins = margins_of(values, expected.scales, request.sensitivity)
    deviations = np.abs(values - expected.expected)
    widened = within_ratio(deviations[given], margins[given], request.max_anomaly_ratio)
    shown, centre = values[given], expected.expected[given]
    is_widened = widened > margins[given]
    widened += is_widened * ROUNDING * (np.abs(shown) + np.abs(centre))
    positive, negative = shown > centre + widened, shown < centre - widened
    is_anomaly = positive | negative
    return {
        "period": period,
        "expectedValues": centre.tolist(),
        "upperMargins": widened.tolist(),
        "lowerMargins": widened.tolist(),
        "isAnomaly": is_anomaly.tolist(),
        "isNegativeAnomaly": negative.tolist(),
        "isPositiveAnomaly": positive.tolist(),
        "severity": np.where(is_anomaly, severity(deviations[given], widened), 0.0).tolist(),
    }


def last(request: DetectRequest) -> dict[str, Any]:
    """Evaluate the last point by those before it."""
    values, period, _ = regular(request, before_last=True)
    history, value = values[:-1], float(values[-1])
    next_one = forecast(history, period)
    [width] = margins_of(history, np.array([next_one.scale]), request.sensitivity).tolist()
    positive, negative = value > next_one.expected + width, value < next_one.expected - width
    deviation = np.array([abs(value - next_one.expected)])
    is_anomaly = positive or negative
    return {
        "period": period,
        "suggestedWindow": 4 * period + 1 if period else SUGGESTED_WINDOW[request.granularity],
        "expectedValue": next_one.expected,
        "upperMargin": width,
        "lowerMargin": width,
        "isAnomaly": is_anomaly,
        "isNegativeAnomaly": negative,
        "isPositiveAnomaly": positive,
        "severity": float(severity(deviation, np.array([width]))[0]) if is_anomaly else 0.0,
    }


def changes(request: DetectRequest) -> dict[str, Any]:
    """Find where the level changes for good."""
    values, period, given = regular(request)
    if period:
        values = values - np.resize(decompose(values, period).season, len(values))
    is_change, confidence = change_points(values, request.window, request.threshold)
    return {
        "period": period,
        "isChangePoint": is_change[given].tolist(),
        "confidenceScores": confidence[given].tolist(),
    }


def regular(request: DetectRequest, *, before_last: bool = False) -> tuple[Floats, int, Integers]:
    """Return values at regular steps, their period, and which of them were sent.

    Parameters
    ----------
    before_last
        Whether the last value has no part in finding the period.

    Raises
    ------
    AzureError
        If half of a seasonal series is missing.
    """
    steps, mode = request.steps, request.impute_mode
    total = int(steps[-1]) + 1
    if mode == "notFill" or total == len(steps) or total > MAX_FILLED:
        values = request.values
        steps = np.arange(len(values))
    else:
        values = fill(request.values, steps, mode, request.impute_fixed_value)
    period = request.period
    if period is None:
        period = find_period(values[:-1] if before_last else values)
    elif len(values) < 2 * period + 1:
        period = 0  # not checked where nothing is filled, or without a granularity
    if period and 2 * len(steps) <= len(values):
        raise invalid_series(
            "Ratio of missing points should be less than 50% for seasonal timeseries. There should "
            f"be at least {len(values) // 2 + 1} points, but got {len(steps)} points."
        )
    if period > 1 and mode == "auto" and len(steps) < len(values):
        values = fill_by_phase(values, steps, period)
    return values, period, steps


def margins_of(values: Floats, scales: Floats, sensitivity: int) -> Floats:
    """Return how far from what is expected a value may be, at each scale: (n,)."""
    ordered = np.sort(values)
    least = max(
        SHARE_OF_LEVEL * abs(quantile(ordered, 0.5)),
        SHARE_OF_SPREAD * (quantile(ordered, 0.9) - quantile(ordered, 0.1)),
        ROUNDING * float(np.abs(values).max()),
    )
    widths = np.maximum(limit(len(values)) * scales, least)
    return np.asarray(widths * 2.0 ** ((99 - sensitivity) / DOUBLING))


def within_ratio(deviations: Floats, margins: Floats, ratio: float) -> Floats:
    """Return margins that no more than a share of the points leave, those furthest beyond: (n,)."""
    allowed = max(int(ratio * len(deviations)), 1)
    outside = np.flatnonzero(deviations > margins)
    furthest_first = outside[np.argsort(-deviations[outside], kind="stable")]
    widened = margins.copy()
    widened[furthest_first[allowed:]] = deviations[furthest_first[allowed:]]
    return widened
