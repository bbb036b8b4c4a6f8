"""A watch file before it is published: what it matches, costs and raises; its models."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import Options, parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from training import SourceError
from training.fleet import (
    alerts_a_week,
    metrics_by_model,
    read_watch_file,
    resolve_watch_file,
    select,
    show_fleet,
)
from training.sources.series import LabelledSeries

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


def series(length: int) -> LabelledSeries:
    return LabelledSeries("x", "x", Series(300_000 * np.arange(length), np.zeros(length)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "can't be read"),
        ("metrics: []", "version: Field required"),
        ("{version: 1, metrics: [{name: A, metric: x}]}", "metrics.0.name"),
        ("just words", "is not a valid watch file"),
    ],
)
def test_an_invalid_watch_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_watch_file(path)


def test_a_missing_permission_to_list_metrics_is_named() -> None:
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
def test_a_watch_file_without_models_to_train_says_so(fleet: list[Watched], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        metrics_by_model(fleet)


def fleet_of(count: int, period: int, **options: Any) -> tuple[Any, list[Watched]]:
    selector = SELECTOR | {"period": period} | options
    watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
    return watch_file, [Watched(Options(name="all", **options), machines(count, period))]


@pytest.mark.parametrize("period", [60, 300, 3_600])
def test_the_expected_alerts_are_the_sensitivity_of_each_metric(period: int) -> None:
    _, [watched] = fleet_of(10, period, sensitivity=0.2)
    assert alerts_a_week(watched) == pytest.approx(2.0)


def shown(fixed: dict[str, str] | None, width: int = 80) -> str:
    watch_file = parse_watch_file(
        {
            "version": 1,
            "metrics": [ENTRY | {"model": "web-1-cpu", "sensitivity": 0.5}],
            "selectors": [SELECTOR],
        }
    )
    text = StringIO()
    fleet = resolve_watch_file(FakeCloudWatch(), watch_file)
    show_fleet(watch_file, fleet, fixed, Console(file=text, width=width))
    return text.getvalue()


def test_the_table_fits_80_columns_and_an_entry_without_metrics_is_named() -> None:
    text = shown(fixed={})
    assert "web-1-cpu" in text
    assert "…" not in text
    assert "all: matches nothing at the moment" in text
    assert "1 metrics of 2 entries; expect 0.5 false alerts a week" in text
    assert "sensitivity has no effect" not in text


def test_a_sensitivity_without_effect_is_named_and_not_forecast() -> None:
    text = shown(fixed={"web-1-cpu": "value forest"}, width=200)
    assert "web: sensitivity has no effect: its model web-1-cpu is a value forest" in text
    assert "expect 0.0 false alerts a week" in text
    assert "no effect" in shown(fixed={"web-1-cpu": "value forest"})
    assert "…" not in shown(fixed={"web-1-cpu": "value forest"})


def test_where_models_were_not_read_the_forecast_says_so() -> None:
    assert "Models were not read" in shown(fixed=None)
