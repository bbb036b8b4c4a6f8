"""A request's body, checked in the order of Azure's open-sourced code, as a `DetectRequest`.

Every message is the one of that code, its slips included: clients may match on them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
import numpy as np

from ops_anomaly.azure.calendar import (
    MALFORMED,
    calendar_steps,
    check_order,
    parse_timestamp,
)
from ops_anomaly.azure.errors import (
    EMPTY,
    GRANULARITIES,
    IMPUTE_MODES,
    MAX_POINTS,
    MAX_SENSITIVITY,
    MIN_POINTS,
    AzureError,
    bad_argument,
    invalid_model_argument,
    invalid_series,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers


CHANGE_POINT = "changepoint"
OPERATIONS = ("entire", "last", CHANGE_POINT)

MAX_BODY_CHARACTERS = 4_000_000
"""The largest series takes 700,000, indented; API Gateway passes no more than 6 MB on."""

MAX_VALUE = 1e100
MAX_DIGITS = 400
"""Of a whole number: a longer one is beyond any float, and costly to read."""

MAX_FILLED = 2 * MAX_POINTS
"""Steps of a series with its gaps filled; one with longer gaps is not filled."""

FORMER_MODES = {"last": "previous", "no": "notFill"}
"""What the contract before v1.0 called two impute modes; its field was `fillUpMode`."""

STABLE_TREND_WINDOW = {
    "yearly": 3,
    "monthly": 6,
    "weekly": 3,
    "daily": 5,
    "hourly": 24,
    "minutely": 72,
    "secondly": 72,
    "microsecond": 100,
    "none": 100,
}
MIN_STABLE_TREND_WINDOW = 3


@dataclass(frozen=True, kw_only=True)
class DetectRequest:
    """What a client wants to know about a series.

    Attributes
    ----------
    values : (n,) float64
    steps : (n,) int64
        The calendar step of each, from 0; without a granularity, its position.
    granularity : str
    period : int or None
        In steps; 0: there is none; None: find it.
    max_anomaly_ratio : float
        Above 0, below 0.5.
    sensitivity : int
        0 to 100.
    impute_mode : str
    impute_fixed_value : float
    window : int
        The stable trend window, of change points.
    threshold : float
        The confidence that makes a change point.
    """

    values: Floats
    steps: Integers
    granularity: str
    period: int | None
    max_anomaly_ratio: float
    sensitivity: int
    impute_mode: str
    impute_fixed_value: float
    window: int
    threshold: float


def parse(text: str, operation: str) -> DetectRequest:
    """Read a body.

    Raises
    ------
    AzureError
        If anything is not as documented; it names the first fault.
    """
    body = parse_json(text)
    granularity = parse_granularity(body, operation)
    interval = whole(
        body, "customInterval", 1, "InvalidCustomInterval", "must be an integer > 0.", default=1
    )
    period = whole(body, "period", 0, "InvalidPeriod", "must be an integer >= 0.", default=None)
    ratio = parse_ratio(body)
    sensitivity = parse_sensitivity(body)
    mode, fixed = parse_imputation(body)
    threshold = parse_threshold(body, granularity)
    values, steps = parse_series(body, granularity, interval or 1)
    if granularity != "none" and period:
        steps_there = len(values) if mode == "notFill" else int(steps[-1]) + 1
        if steps_there < 2 * period + 1:
            raise invalid_model_argument("The 'series' field must have more than 2 periods points")
    return DetectRequest(
        values=values,
        steps=steps,
        granularity=granularity,
        period=period,
        max_anomaly_ratio=ratio,
        sensitivity=sensitivity,
        impute_mode=mode if granularity != "none" else "notFill",
        impute_fixed_value=fixed,
        window=parse_window(body, granularity, len(values)),
        threshold=threshold,
    )


def parse_json(text: str) -> dict[str, Any]:
    """Return the object that a body is.

    Raises
    ------
    AzureError
        If it is empty, too long, not JSON, or no object.
    """
    if len(text) > MAX_BODY_CHARACTERS:
        raise bad_argument(f"The request body is over {MAX_BODY_CHARACTERS} characters.")
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        body = parse_json_slowly(text)
    if not isinstance(body, dict) or not body:
        raise AzureError("InvalidJsonFormat", EMPTY)
    return body


def parse_json_slowly(text: str) -> Any:
    """Parse what msgspec refuses; some of it is JSON as Python has it: NaN, 1e999, lone surrogates.

    Raises
    ------
    AzureError
        If it is not JSON.
    """

    def integer(digits: str) -> int | float:
        return int(digits) if len(digits) < MAX_DIGITS else float(digits)

    try:
        return json.loads(text, parse_int=integer)
    except (ValueError, RecursionError) as error:
        raise AzureError("InvalidJsonFormat", EMPTY) from error


def parse_granularity(body: dict[str, Any], operation: str) -> str:
    """Return the granularity; `none` by default, which change points don't have."""
    granularity = body.get("granularity")
    if granularity is None:
        if operation == CHANGE_POINT:
            raise AzureError(
                "RequiredGranularity", "The 'granularity' field is required in request."
            )
        return "none"
    if granularity not in GRANULARITIES:
        raise AzureError(
            "InvalidGranularity",
            "The 'granularity' field can only be one of the following: "
            f"[{', '.join(GRANULARITIES)}].",
        )
    return str(granularity)


def whole(
    body: dict[str, Any], field: str, least: int, code: str, rule: str, *, default: int | None
) -> int | None:
    """Return a whole number of at least so much, or the default."""
    number = body.get(field)
    if number is None:
        return default
    if not is_integer(number) or number < least:
        raise AzureError(code, f"The '{field}' field {rule}")
    return int(number)


def parse_ratio(body: dict[str, Any]) -> float:
    """Return the largest share of anomalies."""
    ratio = body.get("maxAnomalyRatio", 0.25)
    ratio = 0.25 if ratio is None else ratio
    if not is_number(ratio) or not 0.0 < ratio < 0.5:
        raise invalid_model_argument(
            "The 'maxAnomalyRatio' field must be less than 50% of the series points "
            "(0 < maxAnomalyRatio < 0.5)."
        )
    return float(ratio)


def parse_sensitivity(body: dict[str, Any]) -> int:
    """Return the sensitivity."""
    sensitivity = body.get("sensitivity")
    if sensitivity is None:
        return 99
    if not is_integer(sensitivity) or not 0 <= sensitivity <= MAX_SENSITIVITY:
        raise invalid_model_argument("The 'sensitivity' field must be an integer between 0 and 99.")
    return int(sensitivity)


def parse_imputation(body: dict[str, Any]) -> tuple[str, float]:
    """Return the impute mode, and the value of mode `fixed`."""
    mode, fixed = body.get("imputeMode"), body.get("imputeFixedValue")
    if mode is None:
        former = body.get("fillUpMode")
        mode = FORMER_MODES.get(former, former) if isinstance(former, str) else None
        if mode not in IMPUTE_MODES:  # that field is unknown to the documented contract
            mode = "auto"
        fixed = body.get("fixedValue", fixed)
    elif mode not in IMPUTE_MODES:
        raise AzureError(
            "InvalidImputeMode",
            "The 'imputeMode' field is required and should be one of the following: "
            f"{{{', '.join(IMPUTE_MODES)}}}.",
        )
    if mode != "fixed":
        return mode, 0.0
    if not is_number(fixed) or not abs(fixed) <= MAX_VALUE:
        raise AzureError(
            "InvalidImputeFixedValue", "The 'imputeFixedValue' field must be a number."
        )
    return mode, float(fixed)


def parse_threshold(body: dict[str, Any], granularity: str) -> float:
    """Return the confidence that makes a change point."""
    threshold = body.get("threshold")
    if threshold is None:
        return 0.91 if granularity == "hourly" else 0.9
    if not is_number(threshold) or not 0.01 <= threshold <= 0.99:
        raise invalid_model_argument(
            "The 'threshold' field must be an float between 0.01 and 0.99."
        )
    return float(threshold)


def parse_window(body: dict[str, Any], granularity: str, points: int) -> int:
    """Return the stable trend window; the default is as long as the series allows."""
    window, below = body.get("stableTrendWindow"), points / 2
    if window is None:
        return min(STABLE_TREND_WINDOW[granularity], math.ceil(below) - 1)
    if not is_integer(window) or not MIN_STABLE_TREND_WINDOW <= window < below:
        raise invalid_model_argument(
            "The 'stableTrendWindow' field must be an integer >= 3 and < half of series' length."
        )
    return int(window)


def parse_series(body: dict[str, Any], granularity: str, interval: int) -> tuple[Floats, Integers]:
    """Return values and calendar steps: (n,), (n,)."""
    series = body.get("series")
    if series is None:
        raise AzureError("RequiredSeries", "The 'series' field is required in request.")
    if not isinstance(series, list):
        raise bad_argument("The 'series' field must be array/list type.")
    if len(series) < MIN_POINTS:
        raise invalid_series(f"The 'series' field must have at least {MIN_POINTS} points.")
    if len(series) > MAX_POINTS:
        raise invalid_series(f"The 'series' field cannot have more than {MAX_POINTS} points.")
    try:
        values = np.array([parse_value(point["value"]) for point in series], np.float64)
        moments = (
            [parse_timestamp(point["timestamp"]) for point in series]
            if granularity != "none"
            else []
        )
    except (KeyError, TypeError) as error:
        raise bad_argument(MALFORMED) from error
    if (np.abs(values) > MAX_VALUE).any():
        raise invalid_series("The magnitude of data in 'value' in 'series' filed is too large.")
    if np.isnan(values).any():
        raise bad_argument("The 'series' field cannot have none values.")
    if granularity == "none":
        return values, np.arange(len(values))
    check_order(moments)
    return values, calendar_steps(moments, granularity, interval)


def parse_value(value: object) -> float:
    """Return a number, or the number that a text holds."""
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise bad_argument(MALFORMED)
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        raise bad_argument(MALFORMED)
    try:
        return float(value)
    except OverflowError:
        return math.inf  # an integer beyond any float
    except ValueError as error:
        raise bad_argument(MALFORMED) from error


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether JSON had a whole number here."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether JSON had a number here."""
    return isinstance(value, int | float) and not isinstance(value, bool)
