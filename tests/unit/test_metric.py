"""A metric's one line of text: what it reads, and what it refuses with a remedy."""

from __future__ import annotations

import pytest

from ops_anomaly.aws.cloudwatch import EXAMPLE, SPEC, Metric
from ops_anomaly.aws.errors import InvalidMetricError


def test_a_metric_is_read_from_one_line() -> None:
    metric = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300")
    assert metric == Metric(
        "AWS/EC2", "CPUUtilization", (("InstanceId", "i-0123"),), "Average", 300
    )


def test_a_metric_may_have_no_dimensions() -> None:
    assert Metric.parse("shop Orders Sum 60") == Metric("shop", "Orders", (), "Sum", 60)


def test_a_part_that_holds_spaces_is_quoted() -> None:
    metric = Metric.parse("'My Shop' 'Orders paid' 'Page=the \"front\" page' Sum 60")
    assert (metric.namespace, metric.name) == ("My Shop", "Orders paid")
    assert metric.dimensions == (("Page", 'the "front" page'),)


def test_a_value_may_hold_an_equals_sign() -> None:
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
def test_what_is_no_metric_is_told_what_to_write(text: str) -> None:
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
def test_statistics_of_cloudwatch(statistic: str) -> None:
    assert Metric.parse(f"shop Orders '{statistic}' 60").statistic == statistic


@pytest.mark.parametrize(
    "statistic", ["average", "Mean", "p", "p101", "p99.", "P99", "TM", "TM(1(2))", "Sum\n", ""]
)
def test_what_is_no_statistic_is_told_some(statistic: str) -> None:
    with pytest.raises(InvalidMetricError, match="no statistic of CloudWatch: Average, Sum, p99"):
        Metric("shop", "Orders", (), statistic, 60)


@pytest.mark.parametrize("period", [-60, 0, 1, 10, 30, 59, 90])
def test_a_period_is_a_multiple_of_a_minute(period: int) -> None:
    with pytest.raises(InvalidMetricError, match=f"period {period}: a multiple of 60"):
        Metric.parse(f"shop Orders Sum {period}")


def test_the_query_names_every_dimension() -> None:
    assert Metric.parse("shop Orders A=1 B=2 p99 300").query == {
        "Metric": {
            "Namespace": "shop",
            "MetricName": "Orders",
            "Dimensions": [{"Name": "A", "Value": "1"}, {"Name": "B", "Value": "2"}],
        },
        "Period": 300,
        "Stat": "p99",
    }
