"""`POST /detect` over models in memory: what it takes, what it answers, what it says."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from ops_anomaly.api.problems import MAX_FAULTS
from ops_anomaly.api.schemas import MAX_POINTS, DetectResponse
from ops_anomaly.detection.artifact import pack
from tests.support.api_client import Api, is_problem
from tests.support.fakes import small_artifact
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources.series import Series

STEP = np.timedelta64(300, "s")


@pytest.fixture(scope="module")
def contextual_artifact(simulated: Series) -> bytes:
    detector = fit_contextual_forest(simulated.part(0, 2000), seed=0).detector
    return pack(detector, "ec2-cpu", libraries={}, training_data={"readings": 2000}, figures={})


@pytest.fixture
def api(contextual_artifact: bytes) -> Api:
    api = Api()
    api.store.put_model("ec2-cpu", contextual_artifact)
    api.store.put_model("seed", small_artifact())
    yield api
    api.metrics.clear_metrics()


def posted(series: Series, start: int, stop: int) -> list[dict[str, Any]]:
    return [
        {"timestamp": f"{time}Z", "value": value}
        for time, value in zip(
            series.timestamps[start:stop], series.values[start:stop].tolist(), strict=True
        )
    ]


def detect(api: Api, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
    return api.call("POST", "/detect", json.dumps(body).encode())


def answer(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    status, given, _ = detect(api, body)
    assert status == 200, given
    msgspec.convert(given, DetectResponse)  # it is what the document says
    return given


def test_a_series_without_a_model(api: Api, simulated: Series) -> None:
    given = answer(api, {"series": posted(simulated, 0, 4032)})
    assert given["model"] is None
    assert given["notes"] == []
    assert given["confidence"] == pytest.approx(0.889, abs=1e-3)
    points = given["points"]
    assert len(points) == 4032
    assert points[0]["expected"] is None
    assert [p["reason"] is not None for p in points] == [p["is_anomaly"] for p in points]
    assert all(p["lower"] <= p["expected"] <= p["upper"] for p in points[1:])
    starts = {alert["start"] for alert in given["alerts"]}
    assert starts <= {p["timestamp"] for p in points if p["is_anomaly"]}
    assert all(alert["start"] <= alert["peak"] <= alert["end"] for alert in given["alerts"])
    assert all(alert["severity"] >= 0.5 for alert in given["alerts"])


def test_a_model_judges_what_follows_its_history(api: Api, simulated: Series) -> None:
    body = {"series": posted(simulated, 1990, 4032), "model": "ec2-cpu"}
    status, given, headers = detect(api, body)
    assert status == 200
    assert headers["X-Model-Version"] == "v1"
    assert given["model"] == "ec2-cpu"
    assert len(given["points"]) == 2032
    assert given["notes"][0].startswith("10 readings not later than the model's history")
    reasons = [alert["reason"] for alert in given["alerts"]]
    assert "unusual for Wednesday 22:00: 1.808, expected 0.132" in reasons  # the runaway


def test_all_too_late_is_an_empty_answer_that_says_so(api: Api, simulated: Series) -> None:
    given = answer(api, {"series": posted(simulated, 0, 5), "model": "ec2-cpu"})
    assert given["points"] == given["alerts"] == []
    assert given["notes"][0].startswith("5 readings not later")


def test_a_value_forest_judges_without_a_history(api: Api) -> None:
    series = [
        {"timestamp": f"2026-01-01T{hour:02}:00:00Z", "value": value}
        for hour, value in enumerate([0.5, 0.5, 2.0, 0.5])
    ]
    given = answer(api, {"series": series, "model": "seed"})
    assert [point["is_anomaly"] for point in given["points"]] == [False, False, True, False]
    assert given["points"][2]["reason"].startswith("unlike the values trained on: 2")
    assert len(given["alerts"]) == 1


def test_a_value_forest_has_no_sensitivity(api: Api) -> None:
    series = [{"timestamp": "2026-01-01T00:00:00Z", "value": 1.0}]
    given = detect(api, {"series": series, "model": "seed", "sensitivity": 1.0})
    assert is_problem(given, 422)
    assert "leave out the sensitivity" in given[1]["detail"]


def test_less_sensitive_means_no_more_alerts(api: Api, simulated: Series) -> None:
    series = posted(simulated, 0, 4032)
    counts = [
        len(answer(api, {"series": series, "sensitivity": sensitivity})["alerts"])
        for sensitivity in (1.5, 0.4, 0.06)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_order_repeats_and_gaps_are_stated(api: Api, simulated: Series) -> None:
    series = posted(simulated, 0, 300)
    messy = [*series[:100], series[99], *series[160:], series[150]]
    given = answer(api, {"series": messy})
    assert [point["timestamp"] for point in given["points"]] == sorted(
        point["timestamp"] for point in given["points"]
    )
    assert [note.split(" ")[1] for note in given["notes"]] == ["reading", "reading", "gaps,"]


@pytest.mark.parametrize("count", [1, 2, MAX_POINTS])
def test_from_one_to_the_most_points(api: Api, count: int) -> None:
    times = np.datetime64("2026-01-01", "s") + STEP * np.arange(count)
    series = [
        {"timestamp": f"{time}Z", "value": math.sin(number)} for number, time in enumerate(times)
    ]
    assert len(answer(api, {"series": series})["points"]) == count


GOOD = {"timestamp": "2026-01-01T00:00:00Z", "value": 1.0}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"series": []},
        {"series": [GOOD] * (MAX_POINTS + 1)},
        {"series": [{"timestamp": "2026-01-01T00:00:00Z"}]},
        {"series": [{"value": 1.0}]},
        {"series": [GOOD | {"value": "1"}]},
        {"series": [GOOD | {"value": 1e39}]},
        {"series": [GOOD | {"unit": "Percent"}]},
        {"series": [GOOD | {"timestamp": "yesterday"}]},
        {"series": [GOOD | {"timestamp": 1767225600}]},
        {"series": [GOOD | {"timestamp": "1767225600"}]},
        {"series": [GOOD | {"timestamp": "0001-01-01T00:00:00Z"}]},
        {"series": [GOOD | {"timestamp": "9999-12-31T23:59:59-14:00"}]},
        {"series": [GOOD | {"timestamp": "2014-02-27 17:15:300Z"}]},
        {"series": [GOOD | {"timestamp": "2014-02-27+01:00"}]},
        {"series": [GOOD | {"timestamp": "2014-02-27T17:15:00:00"}]},
        {"series": [GOOD | {"timestamp": "2014-02-20717:15:00Z"}]},
        {"series": [GOOD | {"timestamp": "2014-02-27T25:15:00Z"}]},
        {"series": [GOOD], "sensitivity": 0},
        {"series": [GOOD], "sensitivity": -1},
        {"series": [GOOD], "sensitivity": True},
        {"series": [GOOD], "model": "No Name"},
        {"series": GOOD},
    ],
)
def test_what_is_no_series_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert is_problem(detect(api, body), 422)


def test_everything_that_is_wrong_with_a_series_is_named(api: Api) -> None:
    series = [GOOD, GOOD | {"value": "1"}, {"value": 1.0}, GOOD | {"unit": "Percent"}]
    _, body, _ = detect(api, {"series": series, "sensitivity": 0})
    assert [error["field"] for error in body["errors"]] == [
        "body.series.1.value",
        "body.series.2.timestamp",
        "body.series.3.unit",
        "body.sensitivity",
    ]


def test_times_that_are_none_are_named(api: Api) -> None:
    wrong = GOOD | {"timestamp": "2026-02-30T00:00:00Z"}
    given = detect(api, {"series": [GOOD, wrong, GOOD, wrong]})
    assert is_problem(given, 422)
    fields = [error["field"] for error in given[1]["errors"]]
    assert fields == ["body.series.1.timestamp", "body.series.3.timestamp"]


def test_a_time_in_another_form_is_told_with_an_example(api: Api) -> None:
    _, body, _ = detect(api, {"series": [GOOD | {"timestamp": "yesterday"}]})
    [error] = body["errors"]
    assert error["message"].endswith("an example is '2014-02-27T17:15:00Z'")


def test_a_422_about_a_long_series_stays_small(api: Api) -> None:
    given = detect(api, {"series": [GOOD | {"value": None}] * MAX_POINTS})
    assert is_problem(given, 422)
    assert len(given[1]["errors"]) == MAX_FAULTS


def test_an_unknown_model(api: Api) -> None:
    assert is_problem(detect(api, {"series": [GOOD], "model": "nobody"}), 404)


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500Z"),
        ("2026-01-01", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01T00:00+0100", "2025-12-31T23:00:00.000Z"),
    ],
)
def test_times_are_iso_8601_in_utc(api: Api, written: str, understood: str) -> None:
    given = answer(api, {"series": [GOOD | {"timestamp": written}]})
    assert given["points"][0]["timestamp"] == understood


def test_a_series_of_hardly_any_spread_is_answered_in_valid_json(api: Api) -> None:
    values = [5e-324 * (number % 40) for number in range(1000)] + [3e38, 1.0, -3e38]
    times = np.datetime64("2026-01-01", "s") + STEP * np.arange(len(values))
    series = [
        {"timestamp": f"{time}Z", "value": value} for time, value in zip(times, values, strict=True)
    ]
    points = answer(api, {"series": series})["points"]
    assert all(math.isfinite(point["score"] + point["severity"]) for point in points)
