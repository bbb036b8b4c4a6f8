"""Reading series from CloudWatch: few calls, whole series, and errors that say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from ops_anomaly.aws.cloudwatch import Metric, Readings, Span, read_history
from ops_anomaly.aws.errors import (
    CloudWatchDeniedError,
    CloudWatchError,
    CloudWatchRefusedError,
    CloudWatchUnavailableError,
)
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error

START = 1_795_608_000
NAN = float("nan")


def metric(number: int = 0) -> Metric:
    return Metric("shop", "Orders", (("Shop", str(number)),), "Sum", 60)


def hour(number: int = 0) -> Span:
    return Span(metric(number), START, START + 3_600)


def read(cloudwatch: FakeCloudWatch, *spans: Span) -> dict[Span, Readings]:
    return dict(read_history(cloudwatch, spans))


def test_1100_series_take_3_calls_of_at_most_500() -> None:
    cloudwatch = FakeCloudWatch()
    for number in range(1100):
        cloudwatch.put(metric(number), START, [number, number + 0.5])
    found = read(cloudwatch, *map(hour, range(1100)))
    assert [len(call["MetricDataQueries"]) for call in cloudwatch.calls] == [500, 500, 100]
    for number in range(1100):
        assert found[hour(number)].values.tolist() == [number, number + 0.5]


def test_pages_are_put_together() -> None:
    cloudwatch = FakeCloudWatch(page_size=7)
    for number in range(3):
        cloudwatch.put(metric(number), START, range(100 * number, 100 * number + 20))
    found = read(cloudwatch, *map(hour, range(3)))
    assert len(cloudwatch.calls) == 9  # 60 datapoints
    for number in range(3):
        assert found[hour(number)].values.tolist() == list(range(100 * number, 100 * number + 20))
        assert (np.diff(found[hour(number)].timestamps.astype(int)) == 60).all()


def test_readings_are_put_in_order_one_a_moment() -> None:
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
    assert readings.timestamps.astype(int).tolist() == [START, START + 60, START + 120]


def test_series_of_different_spans_are_read_in_calls_of_their_own() -> None:
    cloudwatch = FakeCloudWatch()
    for number in range(3):
        cloudwatch.put(metric(number), START, range(60))
    late = Span(metric(1), START + 1_800, START + 3_600)
    found = read(cloudwatch, hour(0), late, hour(2))
    assert [len(call["MetricDataQueries"]) for call in cloudwatch.calls] == [2, 1]
    assert [len(found[span]) for span in (hour(0), late, hour(2))] == [60, 30, 60]


def test_a_span_begins_with_its_start_and_stops_before_its_end() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(metric(), START - 60, range(62))
    assert read(cloudwatch, hour())[hour()].values.tolist() == list(range(1, 61))


def test_gaps_stay_gaps() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(metric(), START, [1, NAN, NAN, 4])
    readings = read(cloudwatch, hour())[hour()]
    assert readings.timestamps.astype(int).tolist() == [START, START + 180]
    assert readings.values.tolist() == [1, 4]


def test_a_series_that_cloudwatch_does_not_know_has_no_readings() -> None:
    assert len(read(FakeCloudWatch(), hour())[hour()]) == 0


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf"), 3.5e38, -3.5e38])
def test_a_value_that_no_detector_takes_is_left_out(value: float) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.series[metric()] = {START: 1.0, START + 60: value, START + 120: 3.4e38}
    assert read(cloudwatch, hour())[hour()].values.tolist() == [1.0, 3.4e38]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("Forbidden", CloudWatchDeniedError),
        ("InternalError", CloudWatchUnavailableError),
        ("PartialData", CloudWatchUnavailableError),
    ],
)
def test_a_series_that_is_not_whole_is_never_taken_for_one(
    status: str, error: type[CloudWatchError]
) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.put(metric(0), START, range(60))
    cloudwatch.status["m1"] = status
    with pytest.raises(error, match=f"m1 is {status}"):
        read(cloudwatch, hour(0), hour(1))


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("AccessDenied", CloudWatchDeniedError, "the role needs cloudwatch:GetMetricData"),
        ("AccessDeniedException", CloudWatchDeniedError, "the role needs cloudwatch:GetMetricData"),
        ("ValidationError", CloudWatchRefusedError, "CloudWatch refuses it: made up"),
        ("InvalidParameterValue", CloudWatchRefusedError, "CloudWatch refuses it: made up"),
        ("Throttling", CloudWatchUnavailableError, "Throttling: made up"),
        ("InternalServiceError", CloudWatchUnavailableError, "InternalServiceError: made up"),
    ],
)
def test_an_error_of_cloudwatch_says_what_was_tried_and_what_is_missing(
    code: str, error: type[CloudWatchError], words: str
) -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error(code, "GetMetricData")]
    with pytest.raises(error, match=f"reading 2 series from CloudWatch: .*{words}") as caught:
        read(cloudwatch, hour(0), hour(1))
    assert isinstance(caught.value.__cause__, ClientError)


def test_a_dead_endpoint_is_unavailable() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [EndpointConnectionError(endpoint_url="https://nowhere")]
    with pytest.raises(CloudWatchUnavailableError, match="nowhere"):
        read(cloudwatch, hour())
