"""A metric's one line of text; reading series: few calls, complete series, helpful errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ops_anomaly.aws.cloudwatch import (
    EXAMPLE,
    SPEC,
    Metric,
    Span,
    read_history,
    read_labelled,
    read_queries,
)
from ops_anomaly.aws.errors import (
    AccessDeniedError,
    InvalidMetricError,
    RequestRefusedError,
    ServiceError,
    ServiceUnavailableError,
)
from ops_anomaly.detection.types import Series
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error


def test_a_metric_is_read_from_one_line() -> None:
    metric = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300")
    assert metric == Metric(
        "AWS/EC2", "CPUUtilization", (("InstanceId", "i-0123"),), "Average", 300
    )


def test_a_metric_may_have_no_dimensions() -> None:
    assert Metric.parse("shop Orders Sum 60") == Metric("shop", "Orders", (), "Sum", 60)


def test_parts_with_spaces_are_quoted() -> None:
    metric = Metric.parse("'My Shop' 'Orders paid' 'Page=the \"front\" page' Sum 60")
    assert (metric.namespace, metric.name) == ("My Shop", "Orders paid")
    assert metric.dimensions == (("Page", 'the "front" page'),)


def test_a_dimension_value_may_contain_an_equals_sign() -> None:
    assert Metric.parse("shop Orders Query=a=b Sum 60").dimensions == (("Query", "a=b"),)


def test_the_order_of_the_dimensions_does_not_matter() -> None:
    one, other = "shop Orders A=1 B=2 Sum 60", "shop Orders B=2 A=1 Sum 60"
    assert Metric.parse(one) == Metric.parse(other)
    assert str(Metric.parse(other)) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AWS/EC2",
        "AWS/EC2 CPUUtilization Average",
        "AWS/EC2 CPUUtilization Average often",
        "AWS/EC2 CPUUtilization Average 300.0",
        "AWS/EC2 CPUUtilization i-0123 Average 300",
        "AWS/EC2 CPUUtilization =i-0123 Average 300",
        "AWS/EC2 CPUUtilization InstanceId= Average 300",
        "'' CPUUtilization Average 300",
        "AWS/EC2 '' Average 300",
        "AWS/EC2 'CPUUtilization Average 300",
    ],
)
def test_the_message_about_an_invalid_metric_has_the_form_and_an_example(text: str) -> None:
    with pytest.raises(InvalidMetricError) as caught:
        Metric.parse(text)
    assert repr(text) in str(caught.value)
    assert SPEC in str(caught.value)
    assert EXAMPLE in str(caught.value)


@pytest.mark.parametrize(
    "statistic",
    [
        *("SampleCount", "Average", "Sum", "Minimum", "Maximum", "IQM"),
        *("p99", "p99.9", "p100", "p0", "tm90", "tc95", "ts90", "wm98"),
        *("PR(:300)", "PR(100:2000)", "TM(10%:90%)", "TC(2%:)", "TS(80%:)", "WM(1:9)"),
    ],
)
def test_valid_statistics(statistic: str) -> None:
    assert Metric.parse(f"shop Orders '{statistic}' 60").statistic == statistic


@pytest.mark.parametrize(
    "statistic", ["average", "Mean", "p", "p101", "p99.", "P99", "TM", "TM(1(2))", "Sum\n", ""]
)
def test_the_message_about_an_unknown_statistic_names_some(statistic: str) -> None:
    with pytest.raises(InvalidMetricError, match=r"Unknown statistic .*: use Average, Sum, p99"):
        Metric("shop", "Orders", (), statistic, 60)


@pytest.mark.parametrize("period", [-60, 0, 1, 10, 30, 59, 90, 86_460, 6_000_000_000])
def test_a_period_is_a_multiple_of_a_minute_and_a_day_at_most(period: int) -> None:
    with pytest.raises(InvalidMetricError, match=f"Invalid period {period}: use a multiple of 60"):
        Metric.parse(f"shop Orders Sum {period}")


def test_the_query_has_every_dimension() -> None:
    assert Metric.parse("shop Orders A=1 B=2 p99 300").query == {
        "Metric": {
            "Namespace": "shop",
            "MetricName": "Orders",
            "Dimensions": [{"Name": "A", "Value": "1"}, {"Name": "B", "Value": "2"}],
        },
        "Period": 300,
        "Stat": "p99",
    }


START = 1_795_608_000
NAN = float("nan")


def metric(number: int = 0) -> Metric:
    return Metric("shop", "Orders", (("Shop", str(number)),), "Sum", 60)


def hour(number: int = 0) -> Span:
    return Span(metric(number), START, START + 3_600)


def read(cloudwatch: FakeCloudWatch, *spans: Span) -> dict[Span, Series]:
    return dict(read_history(cloudwatch, spans))


def test_1100_series_take_3_calls_of_at_most_500() -> None:
    cloudwatch = FakeCloudWatch()
    for number in range(1100):
        cloudwatch.put(metric(number), START, [number, number + 0.5])
    found = read(cloudwatch, *map(hour, range(1100)))
    assert [len(call["MetricDataQueries"]) for call in cloudwatch.calls] == [500, 500, 100]
    for number in range(1100):
        assert found[hour(number)].values.tolist() == [number, number + 0.5]


def test_pages_are_joined() -> None:
    cloudwatch = FakeCloudWatch(page_size=7)
    for number in range(3):
        cloudwatch.put(metric(number), START, range(100 * number, 100 * number + 20))
    found = read(cloudwatch, *map(hour, range(3)))
    assert len(cloudwatch.calls) == 9  # 60 datapoints
    for number in range(3):
        assert found[hour(number)].values.tolist() == list(range(100 * number, 100 * number + 20))
        assert (np.diff(found[hour(number)].times) == 60_000).all()


def test_readings_are_sorted_and_unique_by_time() -> None:
    class NewestFirst(FakeCloudWatch):
        def get_metric_data(self, **request: Any) -> dict[str, Any]:
            page = super().get_metric_data(**request)
            for result in page["MetricDataResults"]:
                for part in ("Timestamps", "Values"):
                    result[part] = [*result[part][::-1], result[part][0]]
            return page

    cloudwatch = NewestFirst()
    cloudwatch.put(metric(), START, [1, 2, 3])
    readings = read(cloudwatch, hour())[hour()]
    assert readings.values.tolist() == [1, 2, 3]
    assert readings.times.tolist() == [1000 * (START + second) for second in (0, 60, 120)]


def test_each_span_takes_its_own_calls() -> None:
    cloudwatch = FakeCloudWatch()
    for number in range(3):
        cloudwatch.put(metric(number), START, range(60))
    late = Span(metric(1), START + 1_800, START + 3_600)
    found = read(cloudwatch, hour(0), late, hour(2))
    assert [len(call["MetricDataQueries"]) for call in cloudwatch.calls] == [2, 1]
    assert [len(found[span]) for span in (hour(0), late, hour(2))] == [60, 30, 60]


def test_a_span_includes_its_start_and_excludes_its_end() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(metric(), START - 60, range(62))
    assert read(cloudwatch, hour())[hour()].values.tolist() == list(range(1, 61))


def test_gaps_stay_gaps() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(metric(), START, [1, NAN, NAN, 4])
    readings = read(cloudwatch, hour())[hour()]
    assert readings.times.tolist() == [1000 * START, 1000 * (START + 180)]
    assert readings.values.tolist() == [1, 4]


def test_an_unknown_metric_is_empty() -> None:
    assert len(read(FakeCloudWatch(), hour())[hour()]) == 0


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf"), 3.5e38, -3.5e38])
def test_a_value_out_of_range_is_left_out(value: float) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.series[metric()] = {START: 1.0, START + 60: value, START + 120: 3.4e38}
    assert read(cloudwatch, hour())[hour()].values.tolist() == [1.0, 3.4e38]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("Forbidden", AccessDeniedError),
        ("InternalError", ServiceUnavailableError),
        ("PartialData", ServiceUnavailableError),
    ],
)
def test_an_incomplete_series_is_an_error(status: str, error: type[ServiceError]) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(metric(0), START, range(60))
    cloudwatch.status["m1"] = status
    with pytest.raises(error, match=f"m1 is {status}"):
        read(cloudwatch, hour(0), hour(1))


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("AccessDenied", AccessDeniedError, "the role needs cloudwatch:GetMetricData"),
        ("AccessDeniedException", AccessDeniedError, "the role needs cloudwatch:GetMetricData"),
        ("ValidationError", RequestRefusedError, "refused: made up"),
        ("InvalidParameterValue", RequestRefusedError, "refused: made up"),
        ("Throttling", ServiceUnavailableError, "Throttling: made up"),
        ("InternalServiceError", ServiceUnavailableError, "InternalServiceError: made up"),
    ],
)
def test_an_error_says_what_was_tried_and_what_is_missing(
    code: str, error: type[ServiceError], words: str
) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error(code, "GetMetricData")]
    with pytest.raises(error, match=f"reading 2 series from CloudWatch: .*{words}") as caught:
        read(cloudwatch, hour(0), hour(1))
    assert isinstance(caught.value.__cause__, ClientError)


def test_a_dead_endpoint_is_unavailable() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [EndpointConnectionError(endpoint_url="https://nowhere")]
    with pytest.raises(ServiceUnavailableError, match="nowhere"):
        read(cloudwatch, hour())


# --- what one query returns ----------------------------------------------------------------------

QUERIES = [{"Id": "q1", "Expression": "SELECT ..."}]


def result(label: str, *minutes: int, key: str = "q1", status: str = "Complete") -> dict[str, Any]:
    """Return a part of a series whose value is its minute."""
    return {
        "Id": key,
        "Label": label,
        "Timestamps": [datetime.fromtimestamp(START + 60 * minute, UTC) for minute in minutes],
        "Values": [float(minute) for minute in minutes],
        "StatusCode": status,
    }


class Pages:
    """Returns the pages it is given."""

    def __init__(self, *pages: list[dict[str, Any]]) -> None:
        self._pages = pages

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        number = int(request.get("NextToken", "0"))
        more = {"NextToken": str(number + 1)} if number + 1 < len(self._pages) else {}
        return {"MetricDataResults": self._pages[number]} | more


def values_by_label(*pages: list[dict[str, Any]]) -> dict[str, list[float]]:
    found = read_labelled(Pages(*pages), QUERIES, START, START + 3_600)
    return {label: series.values.tolist() for label, series in found.get("q1", {}).items()}


def test_a_label_that_differs_between_pages_is_the_same_series() -> None:
    pages = [result("Orders, last 2", 1, 2)], [result("Orders, last 4", 3, 4)]
    assert list(values_by_label(*pages).values()) == [[1, 2, 3, 4]]
    found = read_queries(Pages(*pages), QUERIES, START, START + 3_600)
    assert found["q1"].values.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "pages",
    [
        ([result("a", 1, 2, 3), result("b", 2, 4)],),
        ([result("a", 1, 2), result("b", 2)], [result("a", 3), result("b", 4)]),
        ([result("a", 1, 2, 3), result("b", 2)], [result("b", 4)]),
        ([result("a", 1, 2)], [result("a", 3), result("b", 2, 4)]),
    ],
    ids=["one page", "interleaved", "one by one", "second page alone"],
)
def test_an_id_that_comes_twice_in_a_page_is_several_series(pages: Any) -> None:
    assert values_by_label(*pages) == {"a": [1, 2, 3], "b": [2, 4]}
    with pytest.raises(RequestRefusedError, match="q1 returns 2 series, not one"):
        read_queries(Pages(*pages), QUERIES, START, START + 3_600)


def test_several_series_of_one_label_stay_apart() -> None:
    pages = [result("a", 1), result("a", 1, 2)], [result("a", 3), result("a", 3)]
    assert values_by_label(*pages) == {"a": [1, 3], "a (2)": [1, 2, 3]}


def test_a_query_without_a_result_is_left_out() -> None:
    assert values_by_label([]) == {}


def test_a_series_is_complete_if_its_last_part_is() -> None:
    partial = result("a", 1, status="PartialData")
    assert values_by_label([partial, result("b", 1)], [result("a", 2)])["a"] == [1, 2]
    with pytest.raises(ServiceUnavailableError, match="a is PartialData"):
        values_by_label([partial, result("b", 1)])
