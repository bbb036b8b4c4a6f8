"""The watch file: what is left out has a default, and what is wrong is named with its place."""

from __future__ import annotations

from typing import Any

import pytest

from registry.errors import InvalidWatchFileError
from registry.watch_file import WatchFile, parse_watch_file


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


def test_an_entry_says_how_its_metrics_are_watched() -> None:
    options = {"model": "m", "sensitivity": 1, "history_days": 7, "score_metric": True}
    [entry] = watch_file(exact(**options)).metrics
    assert {name: getattr(entry, name) for name in options} == options


def test_what_an_entry_leaves_out_has_a_default() -> None:
    [entry] = watch_file(exact()).metrics
    assert (entry.model, entry.sensitivity) == (None, 0.2)
    assert (entry.history_days, entry.score_metric) == (14, False)


def test_what_is_published_reads_as_what_was_written() -> None:
    written = watch_file(exact(sensitivity=0.5), selector(period=3600))
    assert WatchFile.model_validate_json(written.model_dump_json()) == written


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", "Orders"),
        ("name", ""),
        ("name", "a" * 64),
        ("name", "orders\n"),
        ("model", "../orders"),
        ("sensitivity", 0),
        ("sensitivity", 101),
        ("sensitivity", float("nan")),
        ("sensitivity", "0.5"),
        ("sensitivity", None),
        ("history_days", 0),
        ("history_days", 61),
        ("history_days", 1.5),
        ("score_metric", "yes"),
        ("metric", "shop Orders"),
        ("metric", "shop Orders Sum 90"),
        ("metric", "shop Orders Mean 60"),
        ("metric", None),
        ("modell", "orders"),
    ],
)
def test_a_wrong_field_of_a_metric_is_named_with_its_place(place: str, value: object) -> None:
    with pytest.raises(InvalidWatchFileError, match=rf"^metrics\.1\.{place}: [^\n]+$"):
        watch_file(exact("first"), exact(**{place: value}))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("namespace", ""),
        ("namespace", "a" * 256),
        ("metric", ""),
        ("metric", ["CPUUtilization"]),
        ("dimensions", ["InstanceId"]),
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
def test_a_wrong_field_of_a_selector_is_named_with_its_place(place: str, value: object) -> None:
    with pytest.raises(InvalidWatchFileError, match=rf"^selectors\.0\.{place}: [^\n]+$"):
        watch_file(selector(**{place: value}))


def test_a_wrong_value_of_a_dimension_is_named_with_its_place() -> None:
    with pytest.raises(InvalidWatchFileError, match=r"^selectors\.0\.dimensions\.InstanceId: "):
        watch_file(selector(dimensions={"InstanceId": 7}))


@pytest.mark.parametrize("missing", ["name", "metric", "dimensions", "statistic", "period"])
def test_a_missing_field_is_named(missing: str) -> None:
    entry = selector()
    del entry[missing]
    with pytest.raises(InvalidWatchFileError, match=rf"selectors\.0\.{missing}: Field required"):
        watch_file(entry)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidWatchFileError) as caught:
        watch_file(exact(name="A", history_days=0), selector(period=1))
    places = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert places == ["metrics.0.name", "metrics.0.history_days", "selectors.0.period"]


def test_a_metric_that_cannot_be_read_is_told_what_to_write() -> None:
    with pytest.raises(InvalidWatchFileError, match="NAMESPACE METRIC"):
        watch_file(exact(metric="CPUUtilization"))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (None, "the file: "),
        ([], "the file: "),
        ({"metrics": [exact()]}, "version: "),
        ({"version": 2, "metrics": [exact()]}, "version: "),
        ({"version": True, "metrics": [exact()]}, "version: "),
        ({"version": 1, "metrics": exact()}, "metrics: "),
        ({"version": 1, "metrics": [exact()], "alarms": []}, "alarms: "),
        ({"version": 1}, "the file: .*nothing to watch"),
        ({"version": 1, "metrics": [], "selectors": []}, "the file: .*nothing to watch"),
    ],
)
def test_a_file_of_another_form_is_refused(content: Any, place: str) -> None:
    with pytest.raises(InvalidWatchFileError, match=f"^{place}"):
        parse_watch_file(content)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidWatchFileError, match="two entries are named 'same'"):
        watch_file(exact("same"), selector("same"))
