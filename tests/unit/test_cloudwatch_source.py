"""Series from CloudWatch: gaps stay, missing metrics are named, many are read together."""

from __future__ import annotations

import numpy as np
import pytest
from botocore.exceptions import EndpointConnectionError

from ops_anomaly.aws.cloudwatch import Metric
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from training import SourceError
from training.sources.cloudwatch import check_kept, fetch_series, missing

NOON = 1_795_608_000


def machine(number: int, period: int = 300) -> Metric:
    return Metric.parse(f"AWS/EC2 CPUUtilization InstanceId=i-{number} Average {period}")


def fetch(cloudwatch: FakeCloudWatch, *metrics: Metric, days: int = 1):
    return fetch_series(cloudwatch, metrics, days, NOON + 299.0, lambda *_: None)


def test_gaps_stay_gaps_and_nothing_is_labelled() -> None:
    cloudwatch = FakeCloudWatch()
    values = np.arange(288.0)
    values[100:110] = np.nan
    cloudwatch.put(machine(1), NOON - 288 * 300, values)
    series = fetch(cloudwatch, machine(1))[machine(1)]
    assert len(series) == 278
    assert np.diff(series.times).max() == 11 * 300_000
    assert series.values.tolist() == values[~np.isnan(values)].tolist()
    assert series.times[0] == 1000 * (NOON - 86_400)
    assert series.labels is None
    assert series.origin == f"CloudWatch {machine(1)}, 1 days"


def test_a_period_that_is_not_over_is_not_read() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(machine(1), NOON - 600, [1.0, 2.0, 3.0])
    assert fetch(cloudwatch, machine(1))[machine(1)].values.tolist() == [1.0, 2.0]


def test_more_metrics_than_a_call_takes_are_read_page_by_page() -> None:
    cloudwatch = FakeCloudWatch(page_size=700)
    metrics = [machine(number) for number in range(1_100)]
    for number, metric in enumerate(metrics):
        cloudwatch.put(metric, NOON - 900, [number, number + 1, number + 2])
    done: list[tuple[int, int]] = []
    found = fetch_series(cloudwatch, metrics, 1, NOON, lambda *so_far: done.append(so_far))
    assert [found[metric].values[0] for metric in metrics] == list(range(1_100))
    assert (
        len({tuple(q["Id"] for q in call["MetricDataQueries"]) for call in cloudwatch.calls}) <= 3
    )
    assert done[0] == (0, 1_100)
    assert done[-1] == (1_100, 1_100)


def test_a_metric_without_readings_is_left_out_and_named() -> None:
    class CloudWatchOfARegion(FakeCloudWatch):
        meta = type("Meta", (), {"region_name": "eu-west-1"})

    cloudwatch = CloudWatchOfARegion()
    cloudwatch.put(machine(1), NOON - 600, [1.0, 2.0])
    assert set(fetch(cloudwatch, machine(1), machine(2))) == {machine(1)}
    error = missing([machine(2)], 14, cloudwatch)
    assert "CloudWatch in eu-west-1 has no readings of the last 14 days of\n  AWS/EC2" in str(error)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (client_error("AccessDenied", "GetMetricData"), "the role needs cloudwatch:GetMetricData"),
        (client_error("ExpiredToken", "GetMetricData"), "check the credentials"),
        (EndpointConnectionError(endpoint_url="x"), "the network, then try again"),
        (client_error("ValidationError", "GetMetricData"), "refused: made up"),
    ],
)
def test_an_error_says_what_to_do(failure: Exception, message: str) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [failure]
    with pytest.raises(SourceError, match=message):
        fetch(cloudwatch, machine(1))


@pytest.mark.parametrize(("period", "days", "kept"), [(60, 16, 15), (300, 64, 63), (900, 64, 63)])
def test_readings_that_cloudwatch_no_longer_keeps_are_not_requested(
    period: int, days: int, kept: int
) -> None:
    with pytest.raises(SourceError, match=f"for {kept} days; give --days {kept} or less"):
        fetch(FakeCloudWatch(), machine(1, period), days=days)
    assert fetch(FakeCloudWatch(), machine(1, period), days=kept) == {}


def test_how_long_readings_are_kept_is_what_the_watcher_knows() -> None:
    """Seven minutes is no multiple of five, and kept as long as one minute is."""
    with pytest.raises(SourceError, match="for 15 days; give --days 15 or less"):
        check_kept(Metric.parse("Shop/Web Load Average 420"), 30)
    check_kept(Metric.parse("Shop/Web Load Average 300"), 63)
    check_kept(Metric.parse("Shop/Web Load Average 3600"), 455)
