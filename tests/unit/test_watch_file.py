"""The watch file: options have defaults, and every fault is named with its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_anomaly.aws.errors import InvalidWatchFileError
from ops_anomaly.detection.types import SENSITIVITY
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file, write_watch_file


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
    with pytest.raises(InvalidWatchFileError, match="duplicate entry name 'same'"):
        watch_file(exact("same"), selector("same"))
