"""The watch file: options have defaults, and every fault is named with its path."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ops_anomaly.aws.errors import InvalidWatchFileError
from ops_anomaly.detection.types import SENSITIVITY
from ops_anomaly.watcher.fleet import _options
from ops_anomaly.watcher.watch_file import Options, WatchFile, parse_watch_file, write_watch_file


def exact(name: str = "orders", **more: Any) -> dict[str, Any]:
    return {"name": name, "metric": "shop Orders Stage=live Sum 300"} | more


def selector(name: str = "cpu", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "AWS/EC2",
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "*"},
        "statistic": "Average",
        "period": 300,
    } | more


def watch_file(*entries: dict[str, Any]) -> WatchFile:
    return parse_watch_file(
        {
            "version": 1,
            "metrics": [entry for entry in entries if "namespace" not in entry],
            "selectors": [entry for entry in entries if "namespace" in entry],
        }
    )


def paths(error: InvalidWatchFileError) -> list[str]:
    return [line.partition(":")[0] for line in str(error).splitlines()]


def test_an_entry_has_options() -> None:
    options = {"model": "m", "sensitivity": 1, "history_days": 7, "score_metric": True}
    [entry] = watch_file(exact(**options)).metrics
    assert {name: getattr(entry, name) for name in options} == options


def test_options_have_defaults() -> None:
    [entry] = watch_file(exact()).metrics
    assert (entry.model, entry.sensitivity) == (None, SENSITIVITY)
    assert (entry.history_days, entry.score_metric) == (14, False)


def test_a_published_file_is_read_as_it_was_written() -> None:
    written = watch_file(exact(sensitivity=0.5), selector(period=3600))
    assert parse_watch_file(json.loads(write_watch_file(written))) == written


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "Orders"),
        ("name", ""),
        ("name", "a" * 64),
        ("name", "orders\n"),
        ("model", "../orders"),
        ("model", "orders\n"),
        ("sensitivity", 0),
        ("sensitivity", 101),
        ("sensitivity", float("nan")),
        ("sensitivity", float("inf")),
        ("sensitivity", True),
        ("sensitivity", "0.5"),
        ("sensitivity", None),
        ("history_days", 0),
        ("history_days", 61),
        ("history_days", 1.5),
        ("history_days", 7.0),
        ("history_days", True),
        ("score_metric", "yes"),
        ("metric", "shop Orders"),
        ("metric", "shop Orders Sum 90"),
        ("metric", "shop Orders Mean 60"),
        ("metric", None),
        ("modell", "orders"),
        ("alert_on", "raises"),
        ("alert_on", None),
        ("ignore_below", 5),
        ("sustained", 0),
        ("sustained", 289),
        ("min_severity", -0.1),
        ("min_severity", 1),
        ("when_silent", "notify"),
        ("when_silent", "notify after 0m"),
        ("when_silent", "notify after 90s"),
        ("when_silent", "notify after 30m\n"),
        ("when_silent", "notify after 4m"),  # shorter than the period
        ("when_silent", "notify after 15d"),
        ("owner", ""),
        ("runbook", "wiki.example.com"),
        ("runbook", "https://"),
        ("runbook", "javascript:alert(1)"),
        ("runbook", "https://example.com/ a"),
        ("tags", ["prod"]),
        ("tags", {str(number): "" for number in range(51)}),
        ("topic", "on-call"),
        ("topic", "arn:aws:sqs:eu-central-1:123456789012:on-call"),
        ("topic", "arn:aws:sns:eu-central-1:123456789012:on-call.fifo"),
        ("group", ""),
        ("mute", {}),
    ],
)
def test_a_wrong_field_of_a_metric_is_named_with_its_place(path: str, value: object) -> None:
    with pytest.raises(InvalidWatchFileError, match=rf"^metrics\.1\.{path}: [^\n]+$"):
        watch_file(exact("first"), exact(**{path: value}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("namespace", ""),
        ("namespace", "a" * 256),
        ("metric", ""),
        ("metric", ["CPUUtilization"]),
        ("dimensions", ["InstanceId"]),
        ("dimensions", {str(number): "*" for number in range(11)}),
        ("dimensions", {str(number): "*" for number in range(31)}),
        ("statistic", "Mean"),
        ("statistic", "Sum\n"),
        ("period", 0),
        ("period", 90),
        ("period", 86_460),
        ("period", "300"),
        ("sensitivity", -1),
        ("unit", "Percent"),
        ("when_silent", "notify after 2d"),  # a metric that is not listed is forgotten by then
    ],
)
def test_a_wrong_field_of_a_selector_is_named_with_its_place(path: str, value: object) -> None:
    with pytest.raises(InvalidWatchFileError, match=rf"^selectors\.0\.{path}: [^\n]+$"):
        watch_file(selector(**{path: value}))


def test_a_wrong_value_of_a_dimension_is_named_with_its_place() -> None:
    with pytest.raises(InvalidWatchFileError, match=r"^selectors\.0\.dimensions\.InstanceId: "):
        watch_file(selector(dimensions={"InstanceId": 7}))


@pytest.mark.parametrize("name", ["Instance=Id", "", 7])
def test_a_wrong_name_of_a_dimension_is_named_with_its_place(name: object) -> None:
    wrong = rf"^selectors\.0\.dimensions\.{name}: Invalid name: [^\n]+$"
    with pytest.raises(InvalidWatchFileError, match=wrong):
        watch_file(selector(dimensions={name: "*"}))


@pytest.mark.parametrize("missing", ["name", "metric", "dimensions", "statistic", "period"])
def test_a_missing_field_is_named(missing: str) -> None:
    entry = selector()
    del entry[missing]
    with pytest.raises(InvalidWatchFileError, match=rf"selectors\.0\.{missing}: Field required"):
        watch_file(entry)


def test_all_faults_are_named_together() -> None:
    with pytest.raises(InvalidWatchFileError) as caught:
        watch_file(exact(name="A", history_days=0), selector(period=1))
    expected = ["metrics.0.history_days", "metrics.0.name", "selectors.0.period"]
    assert paths(caught.value) == expected


def test_malformed_metrics_are_named_with_all_other_faults() -> None:
    with pytest.raises(InvalidWatchFileError) as caught:
        watch_file(exact("A", metric="a"), exact("b", metric=1), exact("c", metric="c"))
    expected = ["metrics.0.name", "metrics.1.metric", "metrics.0.metric", "metrics.2.metric"]
    assert paths(caught.value) == expected


def test_the_fault_of_a_malformed_metric_has_an_example() -> None:
    with pytest.raises(InvalidWatchFileError, match="NAMESPACE METRIC"):
        watch_file(exact(metric="CPUUtilization"))


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (None, "the file: "),
        ([], "the file: "),
        ({"metrics": [exact()]}, "version: "),
        ({"version": 2, "metrics": [exact()]}, "version: "),
        ({"version": True, "metrics": [exact()]}, "version: "),
        ({"version": 1.0, "metrics": [exact()]}, "version: "),
        ({"version": 1, "metrics": [None]}, "metrics.0: "),
        ({"version": 1, "metrics": exact()}, "metrics: "),
        ({"version": 1, "metrics": [exact()], "alarms": []}, "alarms: "),
        ({"version": 1}, "the file: .*nothing to watch"),
        ({"version": 1, "metrics": [], "selectors": []}, "the file: .*nothing to watch"),
    ],
)
def test_a_file_of_another_form_is_refused(content: Any, path: str) -> None:
    with pytest.raises(InvalidWatchFileError, match=f"^{path}"):
        parse_watch_file(content)


def test_duplicate_entry_names_are_refused() -> None:
    with pytest.raises(InvalidWatchFileError) as caught:
        watch_file(exact("same"), selector("same"))
    assert str(caught.value) == (
        "selectors.0.name: duplicate entry name 'same', as of metrics.0: rename one"
    )


WEEKEND = {"days": ["sat", "sun"], "from": "00:00", "to": "24:00"}
CHRISTMAS = {"from": "2026-12-24T18:00", "to": "2026-12-27T06:00", "timezone": "Europe/Berlin"}
NIGHTLY = {"cron": "0 2 * * *", "for": "2h"}


def whole(*entries: dict[str, Any], **more: Any) -> WatchFile:
    return parse_watch_file({"version": 1, "metrics": list(entries)} | more)


def test_rules_have_defaults_by_which_every_anomaly_counts() -> None:
    [entry] = watch_file(exact()).metrics
    assert (entry.alert_on, entry.ignore_below, entry.sustained) == ("both", None, 1)
    assert (entry.min_severity, entry.mute, entry.tags) == (0, [], {})
    assert (entry.when_silent, entry.silent_after, entry.fills_zeros) == ("ignore", None, False)
    assert (entry.owner, entry.runbook, entry.topic, entry.group) == (None, None, None, None)


@pytest.mark.parametrize(
    ("when_silent", "minutes", "fills_zeros"),
    [
        ("zero", None, True),
        ("notify after 30m", 30, False),
        ("notify after 2h", 120, False),
        ("notify after 14d", 14 * 1_440, False),
    ],
)
def test_silence_is_nothing_or_zero_or_notified(
    when_silent: str, minutes: int | None, fills_zeros: bool
) -> None:
    [entry] = watch_file(exact(when_silent=when_silent)).metrics
    assert entry.silent_after == (None if minutes is None else 60_000 * minutes)
    assert entry.fills_zeros == fills_zeros


def test_defaults_hold_where_an_entry_says_nothing() -> None:
    defaults = {"alert_on": "rises", "sustained": 3, "owner": "operations", "history_days": 7}
    first, second = whole(
        exact("first"), exact("second", alert_on="both", owner=None), defaults=defaults
    ).metrics
    assert (first.alert_on, first.sustained, first.owner) == ("rises", 3, "operations")
    assert (second.alert_on, second.sustained, second.owner) == ("both", 3, None)
    assert first.history_days == second.history_days == 7


def test_tags_and_mutes_of_an_entry_are_added_to_the_defaults() -> None:
    defaults = {"tags": {"env": "prod", "team": "a"}, "mute": [NIGHTLY]}
    [entry] = whole(exact(tags={"team": "b"}, mute=[WEEKEND]), defaults=defaults).metrics
    assert entry.tags == {"env": "prod", "team": "b"}
    assert [(mute.days, mute.cron) for mute in entry.mute] == [
        (["sat", "sun"], None),
        (None, "0 2 * * *"),
    ]


def test_shared_mutes_are_of_the_entries_whose_names_match() -> None:
    watched = parse_watch_file(
        {
            "version": 1,
            "metrics": [exact("shop-orders"), exact("stock")],
            "selectors": [selector("shop-cpu")],
            "mute": [
                WEEKEND | {"entries": ["shop-*"]},
                CHRISTMAS,
                NIGHTLY | {"entries": ["stock", "*-cpu"], "dimensions": {"InstanceId": "i-*"}},
            ],
        }
    )
    found = {
        entry.name: [bool(mute.days) + 2 * bool(mute.cron) for mute in entry.mute]
        for entry in watched.entries
    }
    assert found == {"shop-orders": [1, 0], "stock": [0, 2], "shop-cpu": [1, 0, 2]}
    assert watched.entries[2].mute[2].dimensions == {"InstanceId": "i-*"}


def test_a_mute_of_an_entry_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidWatchFileError) as caught:
        whole(exact("orders"), exact("stock"), mute=[WEEKEND | {"entries": ["orders", "order"]}])
    assert str(caught.value) == (
        "mute.0.entries.1: no entry is named 'order'; there are orders, stock"
    )


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"defaults": {"sensitivity": 0}}, "defaults.sensitivity"),
        ({"defaults": {"name": "all"}}, "defaults.name"),
        ({"defaults": {"mute": [{}]}}, "defaults.mute.0"),
        ({"mute": [WEEKEND, WEEKEND | {"timezone": "Berlin"}]}, "mute.1"),
        ({"mute": [WEEKEND | {"entries": []}]}, "mute.0.entries"),
        ({"mute": [WEEKEND | {"entry": "orders"}]}, "mute.0.entry"),
    ],
)
def test_a_fault_of_what_entries_share_is_named_where_it_stands(more: Any, path: str) -> None:
    with pytest.raises(InvalidWatchFileError) as caught:
        whole(exact(), **more)
    assert paths(caught.value) == [path]


def test_a_least_deviation_is_absolute_or_relative_or_both() -> None:
    [entry] = watch_file(exact(ignore_below={"absolute": 5, "percent": 0.5})).metrics
    assert (entry.ignore_below.absolute, entry.ignore_below.percent) == (5, 0.5)
    for wrong in ({"absolute": 0}, {"percent": -1}, {"absolute": float("inf")}):
        with pytest.raises(InvalidWatchFileError, match=r"^metrics\.0\.ignore_below\.\w+: "):
            watch_file(exact(ignore_below=wrong))
    with pytest.raises(InvalidWatchFileError, match=r"ignore_below: give absolute, percent or"):
        watch_file(exact(ignore_below={}))


def test_history_that_cloudwatch_does_not_keep_is_refused_with_the_reason() -> None:
    said = (
        "CloudWatch keeps readings of 60 s for 15 days: write history_days: 15, or take a period "
        "of 300 s"
    )
    with pytest.raises(InvalidWatchFileError) as caught:
        watch_file(selector(period=60, history_days=16))
    assert str(caught.value) == f"selectors.0.history_days: {said}"
    with pytest.raises(InvalidWatchFileError, match=said):
        whole(exact(metric="shop Orders Sum 60"), defaults={"history_days": 60})
    watch_file(selector(period=60, history_days=15), exact(history_days=60))


@pytest.mark.parametrize(
    ("entry", "when_silent", "message"),
    [
        (exact, "notify after 4m", "shorter than the period: write notify after 5m or longer"),
        (exact, "notify after 15d", "too long: write notify after 14d"),
        (selector, "notify after 25h", "too long: write notify after 1d, as a selector's metric"),
    ],
)
def test_a_silence_that_would_not_be_found_is_refused_with_what_to_write(
    entry: Any, when_silent: str, message: str
) -> None:
    with pytest.raises(InvalidWatchFileError, match=rf"when_silent: {message}"):
        watch_file(entry(when_silent=when_silent))


def test_silence_of_a_selector_of_long_periods_may_be_longer_than_a_day() -> None:
    watch_file(selector(period=86_400, when_silent="notify after 3d"))


def test_the_published_file_has_defaults_and_mutes_in_its_entries() -> None:
    written = whole(
        exact("first"),
        exact("second", alert_on="both"),
        defaults={"alert_on": "rises", "mute": [NIGHTLY]},
        mute=[WEEKEND | {"entries": ["second"]}, CHRISTMAS],
    )
    published = json.loads(write_watch_file(written))
    assert published.keys() == {"version", "metrics", "selectors"}
    assert published["metrics"][0] == exact("first", alert_on="rises", mute=[NIGHTLY, CHRISTMAS])
    assert published["metrics"][1]["mute"] == [NIGHTLY, WEEKEND, CHRISTMAS]
    assert parse_watch_file(published) == written


def test_the_options_of_a_thousand_entries_with_mutes_are_small() -> None:
    """The list of the fleet has them, and every job of a shard reads it."""
    entries = [exact(f"orders-{number}") for number in range(1_000)]
    watched = whole(*entries, mute=[WEEKEND, NIGHTLY, CHRISTMAS])
    stored = msgspec.json.encode(list(map(_options, watched.entries)))
    assert len(stored) < 300_000
    assert msgspec.json.decode(stored, type=list[Options])[999].mute == watched.entries[0].mute
