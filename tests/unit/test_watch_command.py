"""A watch file before it is published: what it matches, costs and raises; its models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.watch_file import (
    PER_METRIC,
    Options,
    WatchFile,
    model_of,
    parse_watch_file,
)
from tests.support.fake_cloudwatch import FakeCloudWatch, client_error
from training import SourceError
from training.console import print_table
from training.entries import entry_rows
from training.fleet import (
    PublishedModel,
    alerts_a_week,
    fleet_record,
    fleet_table,
    metrics_by_model,
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
    assert "1 metric of 2 entries; expect 0.5 false alerts a week" in text
    assert "sensitivity has no effect" not in text


def test_a_sensitivity_without_effect_is_named_and_not_forecast() -> None:
    text = shown(FIXED, width=200)
    assert "web: sensitivity has no effect: its model web-1-cpu is a value forest" in text
    assert "expect 0.0 false alerts a week" in text
    assert "no effect" in shown(FIXED)
    assert "…" not in shown(FIXED)


def test_metrics_whose_own_model_is_not_trained_yet_are_counted() -> None:
    options, metrics = Options(name="web", model=PER_METRIC), machines(3)
    fleet = [Watched(options, metrics)]
    published = {str(model_of(options, metric)): None for metric in metrics}
    assert list(warnings_of(fleet, published)) == []
    published.popitem()
    [warning] = warnings_of(fleet, published)
    assert warning.startswith("web: 1 of 3 metrics has no model of its own yet")
    [warning] = warnings_of(fleet, {})
    assert warning.startswith("web: 3 of 3 metrics have no model of their own yet")
    assert list(warnings_of(fleet, None)) == [], "nobody knows"


@pytest.mark.parametrize("published", [None, {}], ids=["unread", "read"])
def test_metrics_that_can_never_have_a_model_are_named(
    published: Mapping[str, PublishedModel | None] | None,
) -> None:
    fleet = [Watched(Options(name="sizes", model=PER_METRIC), machines(2, period=86_400))]
    [warning] = warnings_of(fleet, published)
    assert warning.startswith("sizes: 2 of 2 metrics can never have a model of their own")
    assert "Leave model out of the entry" in warning


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
        "options": {"name": "web", "model": "web-1-cpu", "sensitivity": 0.5},
        "false_alerts_a_week": None,
    }
    assert record["warnings"][0].startswith("web: sensitivity has no effect")
    costs = record["dollars_a_month"]
    assert costs.pop("total") == pytest.approx(sum(costs.values()))


def test_what_nightly_training_costs_is_said_where_metrics_have_models_of_their_own() -> None:
    own = parse_watch_file({"version": 1, "metrics": [ENTRY | {"model": PER_METRIC}]})
    fleet = resolve_watch_file(FakeCloudWatch(), own)
    text = StringIO()
    show_fleet(own, fleet, None, Console(file=text, width=200))
    assert "With Retrain=rate(1 day): $0.2" in text.getvalue()  # it is nearly all of an alarm
    assert "one a metric, as retraining publishes it" in text.getvalue()
    costs = fleet_record(own, fleet, None)["retraining_dollars_a_month"]
    assert costs.pop("total") == pytest.approx(sum(costs.values()))
    assert "Retrain" not in shown(FITTING)
    assert fleet_record(*preview(FITTING))["retraining_dollars_a_month"] is None


LONG = "a-name-of-so-many-characters-that-no-terminal-has-the-columns-0"


def test_in_a_narrow_terminal_long_names_are_folded_and_figures_whole() -> None:
    fleet = [Watched(Options(name=LONG, model=LONG, sensitivity=0.125), machines(1_000))]
    text = StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    print_table(fleet_table(fleet, {}), console)
    assert "…" not in text.getvalue()
    assert all(each in text.getvalue() for each in ("sensitivity", "alerts/wk", "1,000", "0.125"))
    assert all(len(line) <= 80 for line in text.getvalue().splitlines())


def test_in_a_pipe_a_table_is_plain_and_whole() -> None:
    fleet = [Watched(Options(name=LONG, model=LONG), machines(1))]
    text = StringIO()
    print_table(fleet_table(fleet, {}), Console(file=text, width=80))
    assert text.getvalue().count(LONG) == 2
    assert not re.search("[─│…]", text.getvalue())


NOON = 1_795_608_000_000  # Wednesday 25 November 2026, 12:00 UTC


def rows_of(period: int = 300, **options: Any) -> list[tuple[str, str]]:
    entry = ENTRY | {"metric": f"AWS/EC2 CPUUtilization Average {period}"} | options
    [parsed] = parse_watch_file({"version": 1, "metrics": [entry]}).metrics
    return entry_rows(parsed, {period}, NOON)


@pytest.mark.parametrize(
    ("options", "label", "text"),
    [
        ({"alert_on": "falls"}, "notifies of", "falls"),
        ({"sustained": 3}, "notifies of", "rises and falls, after 3 unusual readings"),
        (
            {"alert_on": "rises", "ignore_below": {"absolute": 5, "percent": 12.5}},
            "notifies of",
            "rises of at least 5 and at least 12.5 %",
        ),
        (
            {"ignore_below": {"percent": 10}, "min_severity": 0.8, "sustained": 2},
            "notifies of",
            "rises and falls of at least 10 %, with a severity of 0.8 or more, after 2 unusual "
            "readings",
        ),
        ({"when_silent": "zero"}, "silence", "a period without data is 0"),
        ({"when_silent": "notify after 90m"}, "silence", "notified after 1.5 h without data"),
        ({"owner": "payments"}, "owner", "payments"),
        ({"tags": {"team": "a", "env": "prod"}}, "tags", "team=a, env=prod"),
        ({"group": "checkout"}, "group", "checkout"),
    ],
)
def test_a_rule_is_shown_in_words(options: dict[str, Any], label: str, text: str) -> None:
    assert rows_of(**options) == [(label, text)]


def test_of_an_entry_without_rules_there_is_nothing_to_show() -> None:
    assert rows_of() == []


@pytest.mark.parametrize(
    ("mute", "text"),
    [
        (
            {"from": "22:00", "to": "06:00", "days": ["sat", "sun"], "timezone": "Europe/Berlin"},
            "sat, sun 22:00 to 06:00 Europe/Berlin; next Sat 28 Nov 22:00 to Sun 29 Nov 06:00 CET",
        ),
        (
            {"from": "12:30", "to": "13:30", "timezone": "Europe/Berlin", "reason": "backup"},
            "every day 12:30 to 13:30 Europe/Berlin; backup; now, until 13:30 CET",
        ),
        (
            {"cron": "0 2 1 * *", "for": "2h", "learn": False},
            "'0 2 1 * *' for 2h UTC; not learnt from; next Tue 1 Dec 02:00 to 04:00 UTC",
        ),
        (
            {"from": "2026-12-24T18:00", "to": "2026-12-27T06:00", "dimensions": {"Stage": "v*"}},
            "2026-12-24T18:00 to 2026-12-27T06:00 UTC; only Stage=v*; "
            "next Thu 24 Dec 18:00 to Sun 27 Dec 06:00 UTC",
        ),
        (
            {"from": "2026-11-24T18:00", "to": "2026-11-25T12:00"},
            "2026-11-24T18:00 to 2026-11-25T12:00 UTC; over",
        ),
        (
            {"from": "2028-01-01T00:00", "to": "2028-01-02T00:00"},
            "2028-01-01T00:00 to 2028-01-02T00:00 UTC; not within a year",
        ),
        ({"cron": "0 0 29 2 *", "for": "1d"}, "'0 0 29 2 *' for 1d UTC; not within a year"),
    ],
)
def test_a_mute_is_shown_with_its_next_window_in_its_own_time(
    mute: dict[str, Any], text: str
) -> None:
    assert rows_of(mute=[mute]) == [("muted", text)]


def test_where_less_history_is_kept_than_the_entry_wants_it_says_so() -> None:
    text = "5.6 of 14 days: no more than 8,064 readings are kept"
    assert rows_of(period=60) == [("history", text)]
    assert rows_of(period=300, history_days=28) == []


def entries_shown(*entries: dict[str, Any], **more: Any) -> str:
    watch_file = parse_watch_file({"version": 1, "metrics": list(entries)} | more)
    fleet = resolve_watch_file(FakeCloudWatch(), watch_file)
    text = StringIO()
    show_fleet(watch_file, fleet, {}, Console(file=text, width=80))
    return text.getvalue()


def test_what_all_entries_have_in_common_is_shown_once() -> None:
    other = {"name": "other", "metric": "AWS/EC2 NetworkIn Sum 300", "alert_on": "falls"}
    text = entries_shown(ENTRY, other, defaults={"owner": "operations [1]"})
    assert text.count("operations [1]") == 1
    assert text.index("alert") < text.index("falls") < text.index("all entries:")


def test_rules_are_wrapped_at_80_columns_and_urls_stay_whole() -> None:
    tags = {f"tag-{number}": "a value of some length" for number in range(9)}
    url = "https://example.com/" + "-".join(9 * ["runbook"])
    text = entries_shown(ENTRY | {"tags": tags, "runbook": url})
    rules = text[text.index("runbook ") : text.index("1 metric of")].splitlines()
    assert max(len(line) for line in rules if url not in line) <= 80
    assert sum(url in line for line in rules) == 1
    assert "tag-8=a value of some length" in " ".join(text.split())


def test_mutes_without_a_gap_are_named() -> None:
    halves = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]
    said = "web: its mutes leave no gap, so nobody is ever notified of it."
    assert said in entries_shown(ENTRY | {"mute": halves})
    assert "no gap" not in entries_shown(ENTRY | {"mute": halves[:1]})


def test_a_mute_of_dimensions_that_no_metric_has_is_named() -> None:
    mute = {"from": "02:00", "to": "03:00", "dimensions": {"InstanceId": "web-*"}}
    said = "The mute of InstanceId=web-* matches none of the metrics at the moment."
    assert said in entries_shown(ENTRY, mute=[mute])
    mute["dimensions"] = {"InstanceId": "i-*"}
    other = {"name": "other", "metric": "AWS/EC2 NetworkIn Sum 300"}
    assert "matches none" not in entries_shown(other, ENTRY, mute=[mute])


def test_of_two_entries_for_one_metric_the_preview_says_which_one_holds() -> None:
    text = entries_shown(ENTRY, ENTRY | {"name": "again", "sensitivity": 5})
    assert "again: all that it matches is of earlier entries" in text
    metric = ENTRY["metric"]
    sentence = f"again and web both match {metric}: web comes first, so its options hold"
    assert sentence in " ".join(text.split())


def test_of_metrics_of_two_earlier_entries_each_is_named() -> None:
    one, two, three, four = machines(4)
    watched = Watched(Options(name="all"), [four], {one: "a", two: "b", three: "b"})
    warnings = list(warnings_of([watched], {}))
    assert [text.partition(":")[0] for text in warnings] == [
        f"all and a both match {one}",
        f"all and b both match {two} and 1 more",
    ]
