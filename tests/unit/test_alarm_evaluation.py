"""How unusual an alarm is: which series it is about, and what their history says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import ServiceUnavailableError
from ops_anomaly.watcher.alarm_evaluation import (
    MAX_ALARMS,
    MAX_EVALUATED,
    AlarmQuery,
    Verdict,
    alarm_names_in_rule,
    evaluate_alarm,
    evaluate_query,
    queries_of_composite,
    query_from_description,
    query_from_event,
)
from ops_anomaly.watcher.alarm_notifications import verdict_sentence
from ops_anomaly.watcher.events import AlarmChange
from tests.support.alarms import CPU, PREFIX, change, on_expression, on_metric
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.shard_jobs import DAY, PERIOD, SPIKE, normal_load
from tests.support.unkind_cloudwatch import UnkindCloudWatch
from tests.support.watcher import NOON, NOON_MS, WallClock, machines

STEP = 1000 * PERIOD
[MACHINE] = machines(1)
AT = NOON_MS + 72_000
ON_METRIC = [on_metric()]
ON_EXPRESSION = [on_expression("e1", "2 * m1", label="Twice"), on_metric(returnData=False)]


@pytest.fixture
def cloudwatch() -> FakeCloudWatch:
    """A machine with a normal load for three days."""
    fake = FakeCloudWatch()
    fake.put(MACHINE, NOON - 3 * DAY * PERIOD, normal_load(0))
    fake.expressions["2 * m1"] = lambda by_id: {t: 2 * v for t, v in by_id["m1"].items()}
    return fake


def set_value(cloudwatch: FakeCloudWatch, value: float, *periods: int) -> None:
    for period in periods:
        cloudwatch.put(MACHINE, NOON + period * PERIOD, [value])


def evaluated(
    cloudwatch: FakeCloudWatch,
    metrics: list[dict[str, Any]] = ON_METRIC,
    evaluated_from: int | None = None,
) -> Verdict:
    [verdict] = evaluate_query(
        cloudwatch, query_from_event("cpu-high", metrics), AT, evaluated_from
    )
    return verdict


def test_an_unusual_series_has_a_beginning_and_a_reason(
    cloudwatch: FakeCloudWatch,
) -> None:
    set_value(cloudwatch, SPIKE, -3, -2, -1)
    verdict = evaluated(cloudwatch)
    assert verdict.is_unusual
    assert (verdict.value, verdict.since) == (SPIKE, NOON_MS - 3 * STEP)
    assert verdict.lower < verdict.expected < verdict.upper < SPIKE
    assert 0.5 < verdict.severity <= 1
    sentence = verdict_sentence(verdict)
    assert sentence.startswith(
        "CPUUtilization of i-00000 has been unusual since Wed 25 Nov, 11:45 UTC, severity 0."
    )
    assert verdict.reason in sentence


def test_a_normal_series_has_a_normal_range(cloudwatch: FakeCloudWatch) -> None:
    verdict = evaluated(cloudwatch)
    assert (verdict.is_unusual, verdict.since, verdict.reason) == (False, None, None)
    assert verdict.severity < 0.5
    sentence = verdict_sentence(verdict)
    assert ", which is not unusual (normal range " in sentence
    assert "Compared with 864 datapoints since Sun 22 Nov, 12:00 UTC." in sentence


def test_the_current_period_is_evaluated(cloudwatch: FakeCloudWatch) -> None:
    set_value(cloudwatch, SPIKE, 0)
    assert evaluated(cloudwatch).since == NOON_MS


def test_an_anomaly_long_ago_counts_only_if_the_alarm_evaluated_it(
    cloudwatch: FakeCloudWatch,
) -> None:
    set_value(cloudwatch, SPIKE, -30)
    assert evaluated(cloudwatch).is_unusual is False
    assert evaluated(cloudwatch, evaluated_from=NOON_MS - 36 * STEP).is_unusual is True


def test_a_series_that_stopped_is_evaluated_by_its_last_readings(
    cloudwatch: FakeCloudWatch,
) -> None:
    for period in range(-24, 0):
        del cloudwatch.series[MACHINE][NOON + period * PERIOD]
    set_value(cloudwatch, SPIKE, -25)
    assert evaluated(cloudwatch).is_unusual is True


def test_an_expression_is_evaluated_by_what_it_returns(cloudwatch: FakeCloudWatch) -> None:
    set_value(cloudwatch, SPIKE, -1)
    verdict = evaluated(cloudwatch, ON_EXPRESSION)
    assert (verdict.value, verdict.metric, verdict.title) == (2 * SPIKE, "2 * m1", "Twice")
    [call] = cloudwatch.calls
    returned = {query["Id"]: query["ReturnData"] for query in call["MetricDataQueries"]}
    assert returned == {"e1": True, "m1": False}


def test_two_weeks_are_read_in_whole_periods(cloudwatch: FakeCloudWatch) -> None:
    evaluated(cloudwatch)
    [call] = cloudwatch.calls
    assert call["EndTime"].timestamp() == NOON + PERIOD
    assert (call["EndTime"] - call["StartTime"]).days == 14


def machine_with(count: int, unusual: int = 0) -> FakeCloudWatch:
    """A machine of so many readings, the last of them far beyond the others."""
    load = np.random.default_rng(count).normal(30.0, 1.0, count)
    load[count - unusual :] += 20.0
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(MACHINE, NOON - count * PERIOD, load)
    return cloudwatch


def test_a_series_without_datapoints_can_not_be_evaluated() -> None:
    verdict = evaluated(FakeCloudWatch())
    assert verdict.unavailable_because == "CloudWatch has no datapoints of it"
    assert (verdict.is_unusual, verdict.severity, verdict.value) == (None, None, None)


@pytest.mark.parametrize("unusual", [0, 3])
@pytest.mark.parametrize("count", [1, 2, 11])
def test_too_few_readings_can_not_be_evaluated(count: int, unusual: int) -> None:
    verdict = evaluated(machine_with(count, min(unusual, count)))
    why = f"its {count} datapoints are too few to know what is normal"
    assert verdict.unavailable_because == why
    assert (verdict.is_unusual, verdict.severity, verdict.value) == (None, None, None)
    assert verdict_sentence(verdict) == f"CPUUtilization of i-00000 could not be evaluated: {why}."


@pytest.mark.parametrize("unusual", [1, 3])
@pytest.mark.parametrize("count", range(12, 66))
def test_few_readings_are_never_not_unusual_if_the_last_are_gross(count: int, unusual: int) -> None:
    verdict = evaluated(machine_with(count, unusual))
    assert verdict.is_unusual or verdict.unavailable_because
    assert verdict.is_unusual or count < 25


@pytest.mark.parametrize("count", [30, 45, 65])
def test_a_few_dozen_ordinary_readings_are_not_unusual(count: int) -> None:
    verdict = evaluated(machine_with(count))
    assert (verdict.is_unusual, verdict.unavailable_because) == (False, None)


def test_a_refused_expression_can_not_be_evaluated(
    cloudwatch: FakeCloudWatch,
) -> None:
    verdict = evaluated(cloudwatch, [on_expression("e1", "NONSENSE(m1)"), *ON_METRIC[1:]])
    assert "refused: unknown function" in verdict.unavailable_because


def test_a_missing_permission_is_named(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.failures = [client_error("AccessDenied", "GetMetricData")]
    assert "the role needs cloudwatch:GetMetricData" in evaluated(cloudwatch).unavailable_because


def test_a_forbidden_series_can_not_be_evaluated(cloudwatch: FakeCloudWatch) -> None:
    cloudwatch.status["m1"] = "Forbidden"
    assert "Forbidden" in evaluated(cloudwatch).unavailable_because


@pytest.mark.parametrize("code", ["Throttling", "InternalServiceError"])
def test_a_retry_is_needed_if_cloudwatch_does_not_answer(
    cloudwatch: FakeCloudWatch, code: str
) -> None:
    cloudwatch.failures = [client_error(code, "GetMetricData")]
    with pytest.raises(ServiceUnavailableError):
        evaluated(cloudwatch)


def test_an_unavailable_series_is_not_read(cloudwatch: FakeCloudWatch) -> None:
    assert evaluated(cloudwatch, [on_metric(), on_metric("m2")]).unavailable_because is not None
    assert not cloudwatch.calls


# --- counts and sums: what is still growing --------------------------------------------------

REQUESTS = Metric(
    "AWS/ApplicationELB", "RequestCount", (("LoadBalancer", "app/shop/1"),), "Sum", 60
)
ERRORS = replace(REQUESTS, name="HTTPCode_Target_5XX_Count")
ORDINARY = 1000.0
"""Requests a minute."""


def counted(metric: Metric, query: str = "m1", **more: Any) -> dict[str, Any]:
    """Return an item of an event's `configuration.metrics` that is this metric."""
    named = {
        "namespace": metric.namespace,
        "name": metric.name,
        "dimensions": dict(metric.dimensions),
    }
    stat = {"metric": named, "period": metric.period, "stat": metric.statistic}
    return {"id": query, "metricStat": stat, "returnData": True} | more


def shop(*last: float, metric: Metric = REQUESTS, ordinary: float = ORDINARY) -> FakeCloudWatch:
    """Return a shop whose counts of the last minutes are given; the very last minute has begun."""
    cloudwatch = FakeCloudWatch()
    add(cloudwatch, metric, ordinary, *last)
    return cloudwatch


def add(cloudwatch: FakeCloudWatch, metric: Metric, ordinary: float, *last: float) -> None:
    end = AT // 60_000 * 60 + 60
    load = np.random.default_rng(1).poisson(ordinary, 2_880)
    cloudwatch.put(metric, end - 60 * (2_880 + len(last)), [*load, *last])


def of_requests(
    cloudwatch: FakeCloudWatch, metric: Metric = REQUESTS, evaluated_from: int | None = None
) -> Verdict:
    return evaluated(cloudwatch, [counted(metric)], evaluated_from)


@pytest.mark.parametrize("statistic", ["Sum", "SampleCount", "tc99"])
def test_an_ordinary_count_is_not_unusual_while_its_period_is_running(statistic: str) -> None:
    metric = replace(REQUESTS, statistic=statistic)
    verdict = of_requests(shop(990, 200, metric=metric), metric)
    assert (verdict.is_unusual, verdict.value, verdict.readings) == (False, 990, 2_881)


def test_the_same_value_is_unusual_once_it_has_settled() -> None:
    verdict = of_requests(shop(200, *[ORDINARY] * 12))
    assert (verdict.is_unusual, verdict.value) == (True, 200)
    assert verdict.since == AT // 60_000 * 60_000 - 12 * 60_000


def test_a_count_that_is_too_high_before_its_period_ends_is_unusual() -> None:
    verdict = of_requests(shop(990, 3_000))
    assert (verdict.is_unusual, verdict.value) == (True, 3_000)
    assert verdict.since == AT // 60_000 * 60_000


def test_a_count_that_is_low_and_may_not_be_complete_is_neither_usual_nor_unusual() -> None:
    verdict = of_requests(shop(990, 500, 200))
    assert (verdict.is_unusual, verdict.value) == (None, None)
    assert verdict.unavailable_because == (
        "what is unusual of it is less than 10 min old, and may not be complete"
    )


def test_a_low_count_may_be_incomplete_until_ten_minutes_after_its_end() -> None:
    """The change is at 12 seconds of a minute: the minute before it is the first that is over."""
    outcomes = [of_requests(shop(500, *[ORDINARY] * later)).is_unusual for later in range(9, 13)]
    assert outcomes == [None, None, True, True]


def test_an_average_is_evaluated_in_its_running_period() -> None:
    metric = replace(REQUESTS, statistic="Average")
    assert of_requests(shop(990, 200, metric=metric), metric).is_unusual is True


RATIO = [
    on_expression("e1", "100 * m1 / m2", label="Share of errors"),
    counted(ERRORS, "m1", returnData=False),
    counted(REQUESTS, "m2", returnData=False),
]


def ratio(*last: tuple[float, float]) -> FakeCloudWatch:
    """Return a shop whose errors and requests of the last minutes are given."""
    cloudwatch = shop(*[errors for errors, _ in last], metric=ERRORS, ordinary=50)
    add(cloudwatch, REQUESTS, ORDINARY, *[requests for _, requests in last])
    cloudwatch.expressions["100 * m1 / m2"] = lambda by_id: {
        t: 100 * errors / by_id["m2"][t] for t, errors in by_id["m1"].items()
    }
    return cloudwatch


def test_an_expression_over_counts_ends_with_the_last_finished_period() -> None:
    verdict = evaluated(ratio((48, 990), (30, 31)), RATIO)
    assert (verdict.is_unusual, verdict.value) == (False, 100 * 48 / 990)


def test_an_expression_over_counts_is_unusual_where_it_is_high() -> None:
    assert evaluated(ratio((700, 990), (30, 31)), RATIO).is_unusual is True


@pytest.mark.parametrize(
    ("expression", "is_cumulative"),
    [
        ('SELECT SUM(Errors) FROM SCHEMA("AWS/Lambda", FunctionName)', True),
        ('SELECT COUNT(Errors) FROM SCHEMA("AWS/Lambda", FunctionName)', True),
        ('select sum(Errors) FROM "AWS/Lambda"', True),
        ("SUM(SEARCH('{AWS/Lambda,FunctionName} Errors', 'SampleCount', 300))", True),
        ("SUM(SEARCH('{AWS/Lambda,FunctionName} Duration', 'Average', 300))", False),
        ('SELECT AVG(Duration) FROM SCHEMA("AWS/Lambda", FunctionName)', False),
        ('SELECT MAX(Counted) FROM SCHEMA("AWS/Lambda", FunctionName)', False),
    ],
)
def test_an_expression_without_metrics_is_cumulative_by_what_it_takes_of_them(
    expression: str, is_cumulative: bool
) -> None:
    query = query_from_event("a", [on_expression("q1", expression)])
    assert (query.is_cumulative, query.is_calculated) == (is_cumulative, False)


def test_an_expression_is_cumulative_if_any_of_its_metrics_is() -> None:
    averages = [counted(replace(each, statistic="Average")) for each in (ERRORS, REQUESTS)]
    assert query_from_event("a", RATIO).is_cumulative
    assert query_from_event("a", [RATIO[0], RATIO[1] | {"id": "m1"}, RATIO[2]]).is_calculated
    parts = [each | {"id": f"m{n}", "returnData": False} for n, each in enumerate(averages, 1)]
    assert not query_from_event("a", [RATIO[0], *parts]).is_cumulative


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_an_ordinary_sum_is_never_unusual_while_cloudwatch_adds_to_it(share: float) -> None:
    outcomes = outcomes_over_time(share)
    assert True not in outcomes
    assert outcomes.count(False) > len(outcomes) / 2


def test_a_sum_that_rises_is_unusual_before_its_period_ends() -> None:
    outcomes = outcomes_over_time(10.0)
    assert outcomes[2] is True, "80 s of ten times as much are more than 300 s"
    assert set(outcomes[3:]) == {True}


def test_a_sum_that_falls_is_unknown_until_it_has_settled() -> None:
    outcomes = outcomes_over_time(0.1)
    assert set(outcomes[:8]) == {False}, "its period is running for 300 s"
    assert set(outcomes[8:23]) == {None}, "it settles for another 600 s"
    assert set(outcomes[23:]) == {True}


def outcomes_over_time(share: float) -> list[bool | None]:
    """Return what an alarm comes to, every 40 s from the start of a period on, for half an hour.

    The period has this share of the ordinary requests, and the share of their sum that has arrived.
    """
    metric = replace(REQUESTS, period=PERIOD)
    load = np.random.default_rng(7).poisson(ORDINARY, 4 * DAY).astype(float)
    load[3 * DAY] *= share
    clock = WallClock()
    cloudwatch = UnkindCloudWatch(clock, throttled_share=0, hanging_share=0)
    cloudwatch.truth[metric] = (NOON - 3 * DAY * PERIOD, load)
    query = query_from_event("requests", [counted(metric)])
    outcomes = []
    for second in range(0, 1_800, 40):
        clock.seconds = NOON + second
        [verdict] = evaluate_query(cloudwatch, query, clock(), None)
        outcomes.append(verdict.is_unusual)
    return outcomes


# --- what can be evaluated -----------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "is_unusual"), [(1, False), (2, False), (3, None), (24, None)])
def test_an_ordinary_series_that_stopped_is_not_called_ordinary(
    cloudwatch: FakeCloudWatch, missing: int, is_unusual: bool | None
) -> None:
    """A datapoint may come late, but not by three periods."""
    for period in range(-missing, 0):
        del cloudwatch.series[MACHINE][NOON + period * PERIOD]
    assert evaluated(cloudwatch).is_unusual is is_unusual


def test_a_series_that_stopped_says_since_when(cloudwatch: FakeCloudWatch) -> None:
    for period in range(-24, 0):
        del cloudwatch.series[MACHINE][NOON + period * PERIOD]
    assert evaluated(cloudwatch).unavailable_because == (
        "it has had no datapoint since Wed 25 Nov, 09:55 UTC"
    )


@pytest.mark.parametrize("statistic", ["Average", "Sum"])
def test_a_daily_metric_is_evaluated_by_its_last_days(statistic: str) -> None:
    daily = Metric("shop", "Revenue", (), statistic, 86_400)
    cloudwatch = FakeCloudWatch()
    midnight = NOON // 86_400 * 86_400
    load = np.random.default_rng(0).normal(1000, 20, 120)
    cloudwatch.put(daily, midnight - 120 * 86_400, load)
    assert evaluated(cloudwatch, [counted(daily)]).is_unusual is False
    cloudwatch.put(daily, midnight - 86_400, [2_000.0])
    assert evaluated(cloudwatch, [counted(daily)]).is_unusual is True


def test_a_burst_of_a_sparse_count_is_unusual() -> None:
    """Errors come once in some hours, and now there are fifty in a minute."""
    cloudwatch = FakeCloudWatch()
    minute = AT // 60_000 * 60
    for number in range(1, 60):
        cloudwatch.put(ERRORS, minute - number * 18_000, [1 + number % 2])
    assert "no datapoint since" in evaluated(cloudwatch, [counted(ERRORS)]).unavailable_because
    cloudwatch.put(ERRORS, minute - 60, [50.0])
    assert evaluated(cloudwatch, [counted(ERRORS)]).is_unusual is True


@pytest.mark.parametrize(("minutes", "is_unusual"), [(50, False), (70, None)])
def test_a_sparse_count_is_ordinary_only_if_it_came_within_the_hour(
    minutes: int, is_unusual: bool | None
) -> None:
    cloudwatch = FakeCloudWatch()
    last = AT // 60_000 * 60 - 60 * minutes
    for number in range(60):
        cloudwatch.put(ERRORS, last - number * 7_200, [1 + number % 2])
    assert evaluated(cloudwatch, [counted(ERRORS)]).is_unusual is is_unusual


def test_periods_of_seconds_are_read_as_far_back_as_cloudwatch_has_them() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.expressions["SELECT 1"] = lambda by_id: {}
    evaluated(cloudwatch, [on_expression("q1", "SELECT 1", period=10)])
    [call] = cloudwatch.calls
    assert (call["EndTime"] - call["StartTime"]).total_seconds() == 9_000


# --- several series --------------------------------------------------------------------------

BY_INSTANCE = 'SELECT MAX(CPUUtilization) FROM SCHEMA("AWS/EC2", InstanceId) GROUP BY InstanceId'


def grouped(count: int, page_size: int = 100_800) -> FakeCloudWatch:
    """Return machines of which the last but one has run away at the end."""
    cloudwatch = FakeCloudWatch(page_size)
    start = NOON - 3 * DAY * PERIOD
    cloudwatch.groups[BY_INSTANCE] = {
        f"i-{n:05}": {start + k * PERIOD: value for k, value in enumerate(normal_load(n))}
        for n in range(count)
    }
    cloudwatch.groups[BY_INSTANCE][f"i-{count - 2:05}"][NOON - PERIOD] = SPIKE
    return cloudwatch


def verdicts(cloudwatch: FakeCloudWatch) -> list[Verdict]:
    query = query_from_event("any-busy", [on_expression("q1", BY_INSTANCE, period=PERIOD)])
    return evaluate_query(cloudwatch, query, AT, None)


@pytest.mark.parametrize("page_size", [100_800, 1_000])
def test_each_of_several_series_is_evaluated_and_named_by_its_label(page_size: int) -> None:
    found = verdicts(grouped(4, page_size))
    assert [(each.title, each.is_unusual) for each in found] == [
        ("i-00000", False),
        ("i-00001", False),
        ("i-00002", True),
        ("i-00003", False),
    ]
    assert found[2].metric == f"{BY_INSTANCE}: i-00002"
    assert [each.readings for each in found] == [3 * DAY] * 4


def test_the_label_of_a_group_is_its_own() -> None:
    query = query_from_event("a", [on_expression("q1", BY_INSTANCE, label="busiest")])
    assert query.title == "busiest"
    assert "Label" not in query.queries[0]


def test_many_series_are_compared_with_less_history() -> None:
    cloudwatch = grouped(500)
    for series in cloudwatch.groups[BY_INSTANCE].values():
        for time in sorted(series)[: -2 * 12]:
            del series[time]
    verdicts(cloudwatch)
    first, *_, second = (call["EndTime"] - call["StartTime"] for call in cloudwatch.calls)
    assert first.total_seconds() == 3_600
    assert second.total_seconds() == 2 * 100_800 // 500 * PERIOD


def test_the_parts_of_a_composite_alarm_share_what_is_read_of_many_series() -> None:
    cloudwatch = grouped(50)
    query = query_from_event("a", [on_expression("q1", BY_INSTANCE)])
    evaluate_query(cloudwatch, query, NOON_MS, None, max_readings=2 * 100_800 // 30)
    *_, last = (call["EndTime"] - call["StartTime"] for call in cloudwatch.calls)
    assert last.total_seconds() == 2 * 100_800 // 30 // 50 * PERIOD


# --- which series an alarm is about ---------------------------------------------------------

CPU_SERIES = "AWS/EC2 CPUUtilization InstanceId=i-00000 Average 300"
CPU_QUERY = {
    "Metric": {
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-00000"}],
    },
    "Period": 300,
    "Stat": "Average",
}


def description(name: str, **more: Any) -> dict[str, Any]:
    """Return a metric alarm as DescribeAlarms does."""
    return {
        "AlarmName": name,
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-00000"}],
        "Period": 300,
        "Statistic": "Average",
    } | more


def queries_of(alarm: AlarmChange, *alarms: dict[str, Any]) -> list[AlarmQuery]:
    """Return the queries of a composite alarm, if CloudWatch has these alarms."""
    cloudwatch = FakeCloudWatch()
    cloudwatch.alarms = list(alarms)
    return queries_of_composite(cloudwatch, alarm)


def test_an_alarm_on_a_metric_queries_it_under_a_valid_id() -> None:
    query = query_from_event("cpu-high", [on_metric("5c0f7a52-91d4-4c6e")])
    assert query.queries == [{"Id": "q0", "MetricStat": CPU_QUERY, "ReturnData": True}]
    assert (query.result_id, query.period, query.unavailable_because) == ("q0", 300, None)
    assert (query.series, query.title) == (CPU_SERIES, "CPUUtilization of i-00000")


def test_an_alarm_on_an_expression_queries_what_it_returns() -> None:
    share = on_expression("share", "errors / requests", label="Share of errors")
    parts = [on_metric(name, 60, returnData=False) for name in ("errors", "requests")]
    query = query_from_event("shop", [share, *parts])
    assert [query["Id"] for query in query.queries] == ["share", "errors", "requests"]
    assert (query.result_id, query.period) == ("share", 60)
    assert (query.series, query.title) == ("errors / requests", "Share of errors")


def test_an_alarm_on_a_band_queries_the_metric_alone() -> None:
    query = query_from_event(
        "odd", [on_metric(), on_expression("ad1", "ANOMALY_DETECTION_BAND(m1)")]
    )
    assert [query["Id"] for query in query.queries] == ["m1"]
    assert query.series == CPU_SERIES


def test_the_account_and_the_unit_of_a_metric_are_kept() -> None:
    stat = {"metric": CPU, "period": 300, "stat": "p99", "unit": "Percent"}
    query = query_from_event("a", [on_metric(metricStat=stat, accountId="123456789012")])
    [query] = query.queries
    assert (query["AccountId"], query["MetricStat"]["Unit"]) == ("123456789012", "Percent")


def test_an_expression_may_have_a_period() -> None:
    assert query_from_event("a", [on_expression("q1", "SELECT 1", period=60)]).period == 60


@pytest.mark.parametrize("returning", [0, 2])
def test_an_alarm_that_does_not_return_one_series_is_unavailable(returning: int) -> None:
    metrics = [on_metric(f"m{n}", returnData=n < returning) for n in range(3)]
    assert (
        query_from_event("a", metrics).unavailable_because
        == f"its metrics return {returning} series, not one"
    )


@pytest.mark.parametrize("metric", [{}, "m1", {"id": "m1", "metricStat": {}}, {"id": 1}])
def test_malformed_metrics_are_unavailable(metric: Any) -> None:
    assert "is malformed" in (query_from_event("a", [metric]).unavailable_because or "")


def test_a_described_alarm_has_the_same_query_as_its_event() -> None:
    event = query_from_event("cpu-high", [on_metric()])
    looked_up = query_from_description(description("cpu-high"))
    assert (looked_up.series, looked_up.title) == (event.series, event.title)
    assert looked_up.queries == [{"Id": "m1", "MetricStat": CPU_QUERY}]
    p99 = query_from_description(description("a", ExtendedStatistic="p99", Statistic=None))
    assert p99.series.endswith(" p99 300")


def test_an_alarm_of_another_kind_below_a_composite_one_is_unavailable() -> None:
    queries = queries_of(change(rule="ALARM(a)"), {"AlarmName": "a", "EvaluationCriteria": {}})
    assert [query.unavailable_because for query in queries] == [
        "it is an alarm of another kind than on metrics or an expression"
    ]


def test_a_label_with_values_is_no_title() -> None:
    query = query_from_event("a", [on_expression("e1", "2 * m1", label="Twice (${LAST})")])
    assert query.title == "2 * m1"


def test_an_alarm_on_an_expression_can_be_description() -> None:
    metrics = [{"Id": "e1", "Expression": "2 * m1"}, {"Id": "m1", "MetricStat": CPU_QUERY}]
    metrics[1]["ReturnData"] = False
    assert query_from_description({"AlarmName": "a", "Metrics": metrics}).series == "2 * m1"


# --- composite alarms ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("ALARM(a)", ["a"]),
        ('ALARM("a b") OR (NOT OK(c) AND INSUFFICIENT_DATA( d ))', ["a b", "c", "d"]),
        ("ALARM('it is (so)') AND ALARM(a)", ["it is (so)", "a"]),
        (f'ALARM("{PREFIX}a: b")', ["a: b"]),
        ("TRUE", []),
        ("", []),
    ],
)
def test_the_alarms_in_a_rule(rule: str, names: list[str]) -> None:
    assert alarm_names_in_rule(rule) == names


def test_a_composite_alarm_queries_the_alarms_that_triggered_it() -> None:
    alarm = change(rule="ALARM(a) OR ALARM(b)", triggered_by=["b"])
    [query] = queries_of(alarm, description("a"), description("b"))
    assert (query.alarm, query.series) == ("b", CPU_SERIES)


def test_a_composite_alarm_without_triggers_queries_all_alarms_in_its_rule() -> None:
    alarm = change(rule="ALARM(a) OR ALARM(b)")
    assert [q.alarm for q in queries_of(alarm, description("a"), description("b"))] == ["a", "b"]


def test_nested_composite_alarms_are_looked_up_and_each_alarm_is_queried_once() -> None:
    alarm = change(name="top", rule="ALARM(middle) OR ALARM(a)")
    middle = {"AlarmName": "middle", "AlarmRule": "ALARM(a) OR ALARM(b) OR ALARM(top)"}
    queries = queries_of(alarm, middle, description("a"), description("b"))
    assert [query.alarm for query in queries] == ["a", "b"]


def test_an_alarm_that_no_longer_exists_is_unavailable() -> None:
    queries = queries_of(change(rule="ALARM(a) OR ALARM(gone)"), description("a"))
    assert {query.alarm: query.unavailable_because for query in queries} == {
        "a": None,
        "gone": "the alarm no longer exists",
    }


def test_no_more_alarms_are_looked_up_than_one_call_allows() -> None:
    rule = " OR ".join(f"ALARM(a{number})" for number in range(MAX_ALARMS + 1))
    assert len(queries_of(change(rule=rule))) == MAX_ALARMS


def test_of_many_alarms_those_that_fire_are_evaluated_and_the_others_are_unknown() -> None:
    cloudwatch = FakeCloudWatch()
    names = [f"a{number}" for number in range(MAX_EVALUATED + 2)]
    cloudwatch.alarms = [description(name, StateValue="OK") for name in names]
    cloudwatch.alarms[-1]["StateValue"] = "ALARM"
    verdicts = evaluate_alarm(cloudwatch, change(rule=" OR ".join(f"ALARM({n})" for n in names)))
    assert [verdict.alarm for verdict in verdicts] == [names[-1], *names[:-1]]
    assert len(cloudwatch.calls) == MAX_EVALUATED
    assert {verdict.unavailable_because for verdict in verdicts[MAX_EVALUATED:]} == {
        "only 30 alarms of a composite one are evaluated"
    }


def test_an_alarm_that_is_gone_is_so_among_many_too() -> None:
    cloudwatch = FakeCloudWatch()
    names = [f"a{number}" for number in range(MAX_EVALUATED)]
    cloudwatch.alarms = [description(name) for name in names]
    rule = " OR ".join(f"ALARM({name})" for name in [*names, "gone"])
    assert evaluate_alarm(cloudwatch, change(rule=rule))[-1].unavailable_because == (
        "the alarm no longer exists"
    )


def test_the_permission_to_describe_alarms_is_named() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("AccessDenied", "DescribeAlarms")]
    [query] = queries_of_composite(cloudwatch, change(rule="ALARM(a)"))
    assert "the role needs cloudwatch:DescribeAlarms" in (query.unavailable_because or "")


def test_a_retry_is_needed_if_alarms_can_not_be_description() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("Throttling", "DescribeAlarms")]
    with pytest.raises(ServiceUnavailableError):
        queries_of_composite(cloudwatch, change(rule="ALARM(a)"))
