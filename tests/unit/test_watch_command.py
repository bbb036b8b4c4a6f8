"""A watch file before it is published: what it stands for, costs, and which models it asks for."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import Options, parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from training.errors import SourceError
from training.fleet import (
    alerts_a_week,
    cost_of,
    metrics_by_model,
    read_watch_file,
    resolve_watch_file,
    select,
    show_fleet,
)
from training.sources.series import Series

ENTRY = {"name": "web", "metric": "AWS/EC2 CPUUtilization InstanceId=i-1 Average 300"}
SELECTOR = {
    "name": "all",
    "namespace": "AWS/EC2",
    "metric": "CPUUtilization",
    "dimensions": {"InstanceId": "i-*"},
    "statistic": "Average",
    "period": 300,
}


def machines(count: int, period: int = 300) -> list[Metric]:
    return [
        Metric.parse(f"AWS/EC2 CPUUtilization InstanceId=i-{n} Average {period}")
        for n in range(count)
    ]


def series(length: int) -> Series:
    times = np.datetime64("2026-01-01", "s") + np.arange(length) * np.timedelta64(300, "s")
    return Series("x", "x", times, np.zeros(length), None, np.empty((0, 2), "datetime64[s]"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "can't be read"),
        ("metrics: []", "version: Field required"),
        ("{version: 1, metrics: [{name: A, metric: x}]}", "metrics.0.name"),
        ("just words", "is no watch file"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_watch_file(path)


def test_without_the_permission_to_list_it_is_named() -> None:
    cloudwatch = FakeCloudWatch()
    cloudwatch.failures = [client_error("AccessDenied", "ListMetrics")]
    with pytest.raises(SourceError, match="needs cloudwatch:ListMetrics"):
        resolve_watch_file(cloudwatch, parse_watch_file({"version": 1, "selectors": [SELECTOR]}))


def test_each_model_is_trained_on_the_metric_with_the_most_readings() -> None:
    metrics = machines(4)
    fleet = [
        Watched(Options(name="one", model="a"), metrics[:1]),
        Watched(Options(name="three", model="b"), metrics[1:]),
        Watched(Options(name="own"), machines(9)[4:]),
    ]
    models = metrics_by_model(fleet)
    found = {metrics[1]: series(10), metrics[2]: series(12), metrics[3]: series(12)}
    selected, without = select(models, found)
    assert [(each.model, each.metric, each.metrics) for each in selected] == [("b", metrics[2], 3)]
    assert without == ["a"]


@pytest.mark.parametrize(
    ("fleet", "message"),
    [
        ([Watched(Options(name="own"), machines(1))], "no entry of the watch file names a model"),
        ([Watched(Options(name="gone", model="a"), [])], "no metric matches the entries of a"),
    ],
)
def test_a_file_without_models_to_train_says_so(fleet: list[Watched], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        metrics_by_model(fleet)


def fleet_of(count: int, period: int, **options: Any) -> tuple[Any, list[Watched]]:
    selector = SELECTOR | {"period": period} | options
    watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
    return watch_file, [Watched(Options(name="all", **options), machines(count, period))]


@pytest.mark.parametrize(
    ("count", "period", "reading", "state"),
    [
        (1, 60, 0.0876, 0.0473),  # no more often than every five minutes
        (1, 300, 0.0876, 0.0473),
        (1, 3_600, 0.0073, 0.00394),
        (1_001, 300, 87.69, 0.1419),  # three objects
    ],
)
def test_the_cost(count: int, period: int, reading: float, state: float) -> None:
    cost = cost_of(*fleet_of(count, period))
    assert cost.reading == pytest.approx(reading, rel=1e-2)
    assert cost.state == pytest.approx(state, rel=1e-2)
    assert cost.scores == 0
    scored = cost_of(*fleet_of(count, period, score_metric=True))
    assert scored.total - cost.total == pytest.approx(0.3 * count)


def test_the_alerts_to_expect() -> None:
    def expected(count: int, period: int, sensitivity: float) -> float:
        _, [watched] = fleet_of(count, period, sensitivity=sensitivity)
        return alerts_a_week(watched)

    assert expected(10, 300, 0.5) == pytest.approx(5.0)
    assert expected(1, 300, 50.0) == pytest.approx(1.71, abs=0.01)  # more can't be had
    assert expected(1, 3_600, 0.1) == pytest.approx(0.1)
    assert expected(1, 3_600, 0.5) == pytest.approx(0.14, abs=0.01)


def test_the_table_fits_80_columns_and_says_what_is_empty() -> None:
    watch_file = parse_watch_file(
        {
            "version": 1,
            "metrics": [ENTRY | {"model": "web-1-cpu", "sensitivity": 0.5}],
            "selectors": [SELECTOR],
        }
    )
    cloudwatch = FakeCloudWatch()
    text = StringIO()
    fleet = resolve_watch_file(cloudwatch, watch_file)
    show_fleet(watch_file, fleet, Console(file=text, width=80))
    assert "web-1-cpu" in text.getvalue()
    assert "…" not in text.getvalue()
    assert "all: stands for nothing at the moment" in text.getvalue()
    assert "1 metrics of 2 entries; expect 0.5 false alerts a week" in text.getvalue()
