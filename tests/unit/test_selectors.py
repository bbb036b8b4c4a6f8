"""What the entries of a watch file stand for: every metric that matches, each of them once."""

from __future__ import annotations

from typing import Any

import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import AccessDeniedError, ServiceUnavailableError
from ops_anomaly.watcher.fleet import resolve
from ops_anomaly.watcher.watch_file import parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from tests.support.watcher import NOON

ORDERS = "shop Orders Stage=live Sum 300"


def selector(name: str = "cpu", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "*"},
        "statistic": "Average",
        "period": 300,
    } | more


def fleet(
    cloudwatch: FakeCloudWatch, *selectors: dict[str, Any], exact: str | None = None
) -> dict[str, list[str]]:
    """Return the metrics of each entry, as text."""
    entries = [{"name": "one", "metric": exact}] if exact else []
    content = {"version": 1, "metrics": entries, "selectors": list(selectors)}
    resolved = resolve(cloudwatch, parse_watch_file(content))
    return {watched.options.name: [str(m) for m in watched.metrics] for watched in resolved}


def listing(*lines: str) -> FakeCloudWatch:
    """Return a CloudWatch that knows these metrics."""
    cloudwatch = FakeCloudWatch()
    for line in lines:
        cloudwatch.put(Metric.parse(f"{line} Average 60"), NOON, [1.0])
    return cloudwatch


def test_exact_metrics_are_not_looked_up() -> None:
    cloudwatch = FakeCloudWatch()
    assert fleet(cloudwatch, exact=ORDERS) == {"one": [ORDERS]}
    assert not cloudwatch.listed


def test_a_metric_belongs_to_the_first_entry_that_names_it_and_exact_ones_come_first() -> None:
    machines = [f"AWS/EC2 CPUUtilization InstanceId={name}" for name in ("a", "b", "c")]
    named = fleet(
        listing(*machines),
        selector("some", dimensions={"InstanceId": "[ab]"}),
        selector("all"),
        exact=f"{machines[1]} Average 300",
    )
    assert named == {
        "one": [f"{machines[1]} Average 300"],
        "some": [f"{machines[0]} Average 300"],
        "all": [f"{machines[2]} Average 300"],
    }


def test_the_same_series_at_another_period_is_another_metric() -> None:
    cloudwatch = listing("AWS/EC2 CPUUtilization InstanceId=a")
    named = fleet(cloudwatch, selector("fast", period=60), selector("slow"))
    assert [len(metrics) for metrics in named.values()] == [1, 1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["prod-a", "prod-b", "test-a"]),
        ("prod-*", ["prod-a", "prod-b"]),
        ("????-a", ["prod-a", "test-a"]),
        ("prod-a", ["prod-a"]),
        ("PROD-*", []),
        ("prod", []),
    ],
)
def test_a_pattern_stands_for_what_matches_it(pattern: str, expected: list[str]) -> None:
    cloudwatch = listing(*(f"f Errors Name={name}" for name in ("test-a", "prod-b", "prod-a")))
    entry = selector("e", namespace="f", metric="Errors", dimensions={"Name": pattern})
    assert fleet(cloudwatch, entry)["e"] == [f"f Errors Name={n} Average 300" for n in expected]


def test_a_metric_s_name_may_be_a_pattern_too() -> None:
    cloudwatch = listing("shop Orders", "shop OrdersPaid", "shop Visits")
    entry = selector("e", namespace="shop", metric="Orders*", dimensions={})
    assert fleet(cloudwatch, entry)["e"] == [
        "shop Orders Average 300",
        "shop OrdersPaid Average 300",
    ]


def test_a_metric_must_have_these_dimensions_and_no_others() -> None:
    cloudwatch = listing("n M", "n M A=1", "n M A=1 B=2", "n M B=2")
    named = {
        tuple(names): fleet(
            cloudwatch, selector(namespace="n", metric="M", dimensions=dict.fromkeys(names, "*"))
        )["cpu"]
        for names in ([], ["A"], ["A", "B"], ["C"])
    }
    assert named == {
        (): ["n M Average 300"],
        ("A",): ["n M A=1 Average 300"],
        ("A", "B"): ["n M A=1 B=2 Average 300"],
        ("C",): [],
    }


@pytest.mark.parametrize(("period", "is_recent"), [(60, True), (3_600, True), (3_660, False)])
def test_what_is_written_less_than_hourly_is_listed_for_longer(
    period: int, is_recent: bool
) -> None:
    cloudwatch = listing("AWS/EC2 CPUUtilization InstanceId=a")
    fleet(cloudwatch, selector(period=period))
    [request] = cloudwatch.listed
    assert request.get("RecentlyActive") == ("PT3H" if is_recent else None)


def test_cloudwatch_lists_only_what_can_match() -> None:
    cloudwatch = FakeCloudWatch()
    fleet(cloudwatch, selector(dimensions={"Stage": "live", "Name": "*"}))
    fleet(cloudwatch, selector(metric="CPU*"))
    one, other = cloudwatch.listed
    assert (one["Namespace"], one["MetricName"]) == ("AWS/EC2", "CPUUtilization")
    assert one["Dimensions"] == [{"Name": "Stage", "Value": "live"}, {"Name": "Name"}]
    assert "MetricName" not in other


def test_a_missing_permission_is_named() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("AccessDenied", "ListMetrics")]
    with pytest.raises(AccessDeniedError, match=r"metrics of cpu.*cloudwatch:ListMetrics"):
        fleet(cloudwatch, selector())


def test_throttling_is_told_apart_from_a_missing_permission() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("Throttling", "ListMetrics")]
    with pytest.raises(ServiceUnavailableError):
        fleet(cloudwatch, selector())
