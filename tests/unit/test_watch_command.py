"""A watch file before it is published: what it matches, costs and raises; its models."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import Options, WatchFile, parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from training import SourceError
from training.console import print_table
from training.fleet import (
    PublishedModel,
    alerts_a_week,
    fleet_record,
    fleet_table,
    metrics_by_model,
    read_watch_file,
    resolve_watch_file,
    select,
    show_fleet,
    warnings_of,
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
    assert alerts_a_week(watched, {}) == pytest.approx(2.0)


NOW = datetime.now(UTC)
FIXED = PublishedModel("value forest", has_sensitivity=False)
FITTING = PublishedModel("contextual detector", True, 300_000.0, NOW - timedelta(days=9))


Preview = tuple[WatchFile, list[Watched], dict[str, PublishedModel] | None]


def preview(model: PublishedModel | None) -> Preview:
    watch_file = parse_watch_file(
        {
            "version": 1,
            "metrics": [ENTRY | {"model": "web-1-cpu", "sensitivity": 0.5}],
            "selectors": [SELECTOR],
        }
    )
    fleet = resolve_watch_file(FakeCloudWatch(), watch_file)
    return watch_file, fleet, None if model is None else {"web-1-cpu": model}


def shown(model: PublishedModel | None, width: int = 80) -> str:
    text = StringIO()
    show_fleet(*preview(model), Console(file=text, width=width, force_terminal=True, no_color=True))
    return text.getvalue()


def test_the_table_fits_80_columns_and_an_entry_without_metrics_is_named() -> None:
    text = shown(FITTING)
    assert "web-1-cpu" in text
    assert "…" not in text
    assert "all: matches nothing at the moment" in text
    assert "1 metrics of 2 entries; expect 0.5 false alerts a week" in text
    assert "sensitivity has no effect" not in text


def test_a_sensitivity_without_effect_is_named_and_not_forecast() -> None:
    text = shown(FIXED, width=200)
    assert "web: sensitivity has no effect: its model web-1-cpu is a value forest" in text
    assert "expect 0.0 false alerts a week" in text
    assert "no effect" in shown(FIXED)
    assert "…" not in shown(FIXED)


def test_where_models_were_not_read_the_forecast_says_so() -> None:
    assert "Models were not read" in shown(None)


def test_a_model_of_another_period_or_of_old_data_is_named() -> None:
    assert list(warnings_of(*preview(FITTING)[1:])) == []
    hourly = replace(FITTING, step_ms=3_600_000.0)
    assert list(warnings_of(*preview(hourly)[1:])) == [
        "web: its model web-1-cpu was trained on readings of 1 h, and is to evaluate some of "
        "5 min. Train one for this period: ops-anomaly train --watch FILE"
    ]
    old = replace(FITTING, trained_until=NOW - timedelta(days=250))
    assert ["ended 8 months ago" in warning for warning in warnings_of(*preview(old)[1:])] == [True]


def test_as_json_there_is_all_that_the_table_has_and_every_metric() -> None:
    record = json.loads(json.dumps(fleet_record(*preview(FIXED))))
    assert record["entries"][0] == {
        "name": "web",
        "metrics": [ENTRY["metric"]],
        "model": "web-1-cpu",
        "sensitivity": 0.5,
        "false_alerts_a_week": None,
    }
    assert record["warnings"][0].startswith("web: sensitivity has no effect")
    costs = record["dollars_a_month"]
    assert costs.pop("total") == pytest.approx(sum(costs.values()))


def test_in_a_pipe_a_table_is_plain_and_whole() -> None:
    long = "a-model-of-a-name-that-no-terminal-has-the-columns-for-0123456789"
    fleet = [Watched(Options(name=long, model=long), machines(1))]
    text = StringIO()
    print_table(fleet_table(fleet, {}), Console(file=text, width=80))
    assert text.getvalue().count(long) == 2
    assert not re.search("[─│…]", text.getvalue())
