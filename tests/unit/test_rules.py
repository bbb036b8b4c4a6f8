"""Which unusual readings count: by direction, least deviation and severity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.detection.types import Detection, Series
from ops_anomaly.watcher.rules import counted
from ops_anomaly.watcher.watch_file import IgnoreBelow, Options

NAN = float("nan")


def found(
    values: list[float],
    expected: list[float],
    is_anomaly: list[bool] | None = None,
    scores: list[float] | None = None,
) -> tuple[Series, Detection]:
    """Return readings and what a detector found: all are anomalies unless given."""
    n = len(values)
    unknown = np.full(n, NAN)
    detection = Detection(
        scores=np.ones(n) if scores is None else np.array(scores, dtype=float),
        thresholds=np.ones(n),
        is_anomaly=np.ones(n, dtype=bool) if is_anomaly is None else np.array(is_anomaly),
        can_evaluate=np.ones(n, dtype=bool),
        expected=np.array(expected, dtype=float),
        lower=unknown,
        upper=unknown,
        reasons={},
        alerts=[],
    )
    return Series(300_000 * np.arange(n), np.array(values, dtype=float)), detection


def counts(value: float, expected: float, score: float = 1.0, **options: Any) -> bool:
    """Return whether one anomalous reading counts."""
    [is_counted] = counted(
        *found([value], [expected], scores=[score]), Options(name="x", **options)
    )
    return bool(is_counted)


def test_by_default_every_anomaly_counts_and_nothing_else() -> None:
    series, detection = found([1, 2, 3], [NAN, 2, 4], [True, False, True])
    assert counted(series, detection, Options(name="x")).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("alert_on", "counting"),
    [("both", [True, True]), ("rises", [False, True]), ("falls", [True, False])],
)
def test_a_direction_hides_the_other_one(alert_on: Any, counting: list[bool]) -> None:
    assert [counts(value, 100, alert_on=alert_on) for value in (80, 120)] == counting


def test_a_latency_that_improves_does_not_count_where_rises_do() -> None:
    assert not counts(0.020, 0.250, alert_on="rises")
    assert counts(0.900, 0.250, alert_on="rises")


@pytest.mark.parametrize("direction", ["rises", "falls"])
def test_a_value_as_expected_neither_rises_nor_falls(direction: Any) -> None:
    assert not counts(7, 7, alert_on=direction)
    assert counts(7, 7)


def test_one_error_among_zeros_is_below_a_least_deviation_of_five() -> None:
    least = IgnoreBelow(absolute=5)
    assert [counts(errors, 0, ignore_below=least) for errors in (1, 4.99, 5, 9)] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    "least", [IgnoreBelow(absolute=0.5), IgnoreBelow(percent=1), IgnoreBelow(0.5, 1)]
)
def test_a_thousandth_of_a_percent_of_availability_does_not_count(least: IgnoreBelow) -> None:
    assert not counts(99.996, 99.997, ignore_below=least)
    assert counts(97.0, 99.997, ignore_below=least)


def test_a_deviation_that_is_smaller_than_either_limit_does_not_count() -> None:
    least = IgnoreBelow(absolute=10, percent=50)
    assert not counts(1_020, 1_000, ignore_below=least)  # 20, but 2 %
    assert not counts(3, 1, ignore_below=least)  # 200 %, but 2
    assert counts(1_600, 1_000, ignore_below=least)
    assert counts(-1_600, -1_000, ignore_below=least)


def test_of_an_expected_zero_no_deviation_is_below_a_percentage() -> None:
    assert counts(0.001, 0, ignore_below=IgnoreBelow(percent=500))


@pytest.mark.parametrize("expected", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("alert_on", ["both", "rises", "falls"])
def test_where_nothing_was_expected_a_reading_counts(expected: float, alert_on: Any) -> None:
    least = IgnoreBelow(absolute=1e9, percent=1e6)
    assert counts(1, expected, alert_on=alert_on, ignore_below=least)


@pytest.mark.parametrize("expected", [NAN, 0.0])
def test_a_least_severity_hides_what_is_less_severe(expected: float) -> None:
    """Scores of one and nine times the threshold have severities of 0.5 and 0.9."""
    assert not counts(100, expected, score=1, min_severity=0.6)
    assert counts(100, expected, score=9, min_severity=0.9)


numbers = st.floats(-1e9, 1e9)
expectations = numbers | st.sampled_from([NAN, float("inf")])
readings = st.lists(
    st.tuples(numbers, expectations, st.booleans(), st.floats(0, 1e6)), min_size=1, max_size=20
)
limits = st.none() | st.floats(1e-9, 1e6)
rules = st.builds(
    lambda direction, absolute, percent, severity: Options(
        name="x",
        alert_on=direction,
        ignore_below=IgnoreBelow(absolute, percent) if absolute or percent else None,
        min_severity=severity,
    ),
    st.sampled_from(["both", "rises", "falls"]),
    limits,
    limits,
    st.floats(0, 0.99),
)


def one_by_one(value: float, expected: float, severity: float, options: Options) -> bool:
    """Return whether an anomaly counts, as the watch file describes it."""
    if severity < options.min_severity:
        return False
    if not np.isfinite(expected):
        return True
    deviation = value - expected
    if (options.alert_on == "rises" and deviation <= 0) or (
        options.alert_on == "falls" and deviation >= 0
    ):
        return False
    least = options.ignore_below
    if least and least.absolute and abs(deviation) < least.absolute:
        return False
    return not (least and least.percent and abs(deviation) < least.percent / 100 * abs(expected))


@given(readings, rules)
def test_rules_only_remove_and_are_what_they_say(
    readings: list[tuple[float, float, bool, float]], options: Options
) -> None:
    values, expected, is_anomaly, scores = (list(column) for column in zip(*readings, strict=True))
    series, detection = found(values, expected, is_anomaly, scores)
    before = detection.is_anomaly.copy()
    counting = counted(series, detection, options)
    assert not (counting & ~before).any()
    assert (detection.is_anomaly == before).all()
    each = zip(values, expected, detection.severity, is_anomaly, strict=True)
    assert counting.tolist() == [
        anomaly and one_by_one(value, mean, severity, options)
        for value, mean, severity, anomaly in each
    ]


@given(readings, rules)
def test_rises_and_falls_together_are_no_more_than_both(
    readings: list[tuple[float, float, bool, float]], options: Options
) -> None:
    values, expected, is_anomaly, scores = (list(column) for column in zip(*readings, strict=True))
    evaluated = found(values, expected, is_anomaly, scores)
    both, rises, falls = (
        counted(
            *evaluated, Options(name="x", alert_on=direction, ignore_below=options.ignore_below)
        )
        for direction in ("both", "rises", "falls")
    )
    as_expected = evaluated[0].values == evaluated[1].expected
    assert ((rises | falls) == (both & ~as_expected)).all()
