"""How unusual an alarm is: judged by its own series, as far as that can be had."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from ops_anomaly.aws.errors import ServiceUnavailableError
from ops_anomaly.watcher.alarm_queries import from_event
from ops_anomaly.watcher.alarm_verdicts import MIN_READINGS, Verdict, evaluate_alarm_query
from tests.support.alarms import on_expression, on_metric
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.shard_jobs import DAY, NAN, PERIOD, SPIKE, ordinary
from tests.support.watcher import NOON, machines

[MACHINE] = machines(1)
AT = NOON + 72.0
ON_METRIC = [on_metric()]
ON_EXPRESSION = [on_expression("e1", "2 * m1", label="Twice"), on_metric(returnData=False)]


@pytest.fixture
def cloudwatch() -> FakeCloudWatch:
    """A machine that has been ordinary for three days."""
    fake = FakeCloudWatch()
    fake.put(MACHINE, NOON - 3 * DAY * PERIOD, ordinary(0))
    fake.expressions["2 * m1"] = lambda by_id: {t: 2 * v for t, v in by_id["m1"].items()}
    return fake


def set_value(cloudwatch: FakeCloudWatch, value: float, *slots: int) -> None:
    for slot in slots:
        cloudwatch.put(MACHINE, NOON + slot * PERIOD, [value])


def judged(
    cloudwatch: FakeCloudWatch,
    metrics: list[dict[str, Any]] = ON_METRIC,
    evaluated_from: float | None = None,
) -> Verdict:
    return evaluate_alarm_query(cloudwatch, from_event("cpu-high", metrics), AT, evaluated_from)


def test_what_is_unusual_is_told_with_its_beginning_and_its_reason(
    cloudwatch: FakeCloudWatch,
) -> None:
    set_value(cloudwatch, SPIKE, -3, -2, -1)
    verdict = judged(cloudwatch)
    assert verdict.is_unusual
    assert (verdict.value, verdict.since) == (SPIKE, "2026-11-25T11:45:00Z")
    assert verdict.lower < verdict.expected < verdict.upper < SPIKE
    assert 0.5 < verdict.severity <= 1
    assert verdict.words.startswith(
        "CPUUtilization of i-00000 is unusual since Wednesday 25 November, 11:45 UTC, severity 0."
    )
    assert verdict.reason in verdict.words


def test_what_is_ordinary_is_told_with_its_bounds(cloudwatch: FakeCloudWatch) -> None:
    verdict = judged(cloudwatch)
    assert (verdict.is_unusual, verdict.since, verdict.reason) == (False, None, None)
    assert verdict.severity < 0.5
    assert "which is not unusual for it (" in verdict.words
    assert verdict.compared_with == "864 readings since Sunday 22 November, 12:00 UTC"


def test_a_period_that_goes_on_is_judged_as_well(cloudwatch: FakeCloudWatch) -> None:
    set_value(cloudwatch, SPIKE, 0)
    assert judged(cloudwatch).since == "2026-11-25T12:00:00Z"


def test_what_is_long_over_is_unusual_only_if_the_alarm_evaluated_it(
    cloudwatch: FakeCloudWatch,
) -> None:
    set_value(cloudwatch, SPIKE, -30)
    assert judged(cloudwatch).is_unusual is False
    assert judged(cloudwatch, evaluated_from=NOON - 36 * PERIOD).is_unusual is True


def test_a_series_that_stopped_is_judged_by_its_last_readings(cloudwatch: FakeCloudWatch) -> None:
    for slot in range(-24, 0):
        del cloudwatch.series[MACHINE][NOON + slot * PERIOD]
    set_value(cloudwatch, SPIKE, -25)
    assert judged(cloudwatch).is_unusual is True


def test_an_expression_is_judged_by_what_it_returns(cloudwatch: FakeCloudWatch) -> None:
    set_value(cloudwatch, SPIKE, -1)
    verdict = judged(cloudwatch, ON_EXPRESSION)
    assert (verdict.value, verdict.metric, verdict.title) == (2 * SPIKE, "2 * m1", "Twice")
    [call] = cloudwatch.calls
    returned = {query["Id"]: query["ReturnData"] for query in call["MetricDataQueries"]}
    assert returned == {"e1": True, "m1": False}


def test_two_weeks_are_read_in_whole_periods(cloudwatch: FakeCloudWatch) -> None:
    judged(cloudwatch)
    [call] = cloudwatch.calls
    assert call["EndTime"].timestamp() == NOON + PERIOD
    assert (call["EndTime"] - call["StartTime"]).days == 14


@pytest.mark.parametrize("count", [0, 1, MIN_READINGS - 1])
def test_too_few_readings_can_not_be_judged(count: int) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(MACHINE, NOON - count * PERIOD, [1.0] * count)
    verdict = judged(cloudwatch)
    assert verdict.cannot == f"CloudWatch has {count} readings of it, and 30 are needed"
    assert (verdict.is_unusual, verdict.severity, verdict.value) == (None, None, None)
    assert verdict.words == f"CPUUtilization of i-00000 could not be judged: {verdict.cannot}."


def test_just_enough_readings_are_judged() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(MACHINE, NOON - MIN_READINGS * PERIOD, [1.0, NAN, *[1.0] * MIN_READINGS])
    assert judged(cloudwatch).is_unusual is False


def test_an_expression_that_cloudwatch_refuses_can_not_be_judged(
    cloudwatch: FakeCloudWatch,
) -> None:
    verdict = judged(cloudwatch, [on_expression("e1", "NONSENSE(m1)"), *ON_METRIC[1:]])
    assert "refused: unknown function" in verdict.cannot


def test_a_permission_that_is_missing_is_told(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.failures = [client_error("AccessDenied", "GetMetricData")]
    assert "the role needs cloudwatch:GetMetricData" in judged(cloudwatch).cannot


def test_a_series_that_may_not_be_read_can_not_be_judged(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.status["m1"] = "Forbidden"
    assert "Forbidden" in judged(cloudwatch).cannot


@pytest.mark.parametrize("code", ["Throttling", "InternalServiceError"])
def test_where_cloudwatch_does_not_answer_a_retry_is_needed(
    cloudwatch: FakeCloudWatch, code: str
) -> None:
    cloudwatch.failures = [client_error(code, "GetMetricData")]
    with pytest.raises(ServiceUnavailableError):
        judged(cloudwatch)


def test_what_can_not_be_asked_is_not_asked(cloudwatch: FakeCloudWatch) -> None:
    assert judged(cloudwatch, [on_metric(), on_metric("m2")]).cannot is not None
    assert not cloudwatch.calls


def test_an_event_carries_all_but_the_title(cloudwatch: FakeCloudWatch) -> None:
    verdict = judged(cloudwatch)
    assert verdict.detail | {"title": verdict.title} == asdict(verdict)
    assert "title" not in verdict.detail
