"""POST /detect over models in memory: what it accepts, what it returns, what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from ops_anomaly.api.problems import MAX_FAULTS
from ops_anomaly.api.schemas import MAX_POINTS, DetectResponse
from ops_anomaly.detection import untrained
from ops_anomaly.detection.artifact import pack
from ops_anomaly.detection.types import Series
from tests.support.api_client import Api, Response, is_problem
from tests.support.fakes import small_artifact, small_forest

STEP_MS = 300_000
TRAINED_ON = 2_000


@pytest.fixture(scope="module")
def two_weeks() -> Series:
    """Two weeks of a daily pattern at 5 minutes, with a runaway in the second one."""
    number = np.arange(4_032)
    noise = np.random.default_rng(0).normal(0, 0.02, len(number))
    values = 1 + 0.5 * np.sin(2 * np.pi * number / 288) + noise
    values[3_000:3_012] += 3
    return Series(1_767_225_600_000 + STEP_MS * number, values)


@pytest.fixture(scope="module")
def artifact(two_weeks: Series) -> bytes:
    """A model with a history: the first week of the series."""
    _, detector = untrained().update(two_weeks[:TRAINED_ON])
    training_data = {"readings": TRAINED_ON}
    return pack(detector, "ec2-cpu", libraries={}, training_data=training_data, figures={})


@pytest.fixture
def api(artifact: bytes) -> Iterator[Api]:
    api = Api()
    api.store.put_model("ec2-cpu", artifact)
    api.store.put_model("values", small_artifact())
    yield api
    api.metrics.clear_metrics()


def posted(series: Series) -> list[dict[str, Any]]:
    times = np.datetime_as_string(series.times.astype("datetime64[ms]"))
    return [
        {"timestamp": f"{time}Z", "value": value}
        for time, value in zip(times, series.values.tolist(), strict=True)
    ]


def detect(api: Api, body: dict[str, Any]) -> Response:
    return api.call("POST", "/detect", json.dumps(body).encode())


def detected(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    status, response, _ = detect(api, body)
    assert status == 200, response
    msgspec.convert(response, DetectResponse)  # it conforms to the document
    return response


def test_a_series_without_a_model(api: Api, two_weeks: Series) -> None:
    response = detected(api, {"series": posted(two_weeks)})
    assert response["model"] is None
    [note] = response["notes"]
    assert note.startswith("19 readings could not be evaluated yet")
    assert response["confidence"] == pytest.approx(0.889, abs=1e-3)
    points = response["points"]
    assert len(points) == 4032
    assert [p["can_evaluate"] for p in points] == [False] * 19 + [True] * 4013
    assert [p["reason"] is not None for p in points] == [p["is_anomaly"] for p in points]
    assert all(p["lower"] <= p["expected"] <= p["upper"] for p in points if p["can_evaluate"])
    assert all(
        p["is_anomaly"] or p["lower"] <= p["value"] <= p["upper"]
        for p in points
        if p["can_evaluate"]
    )
    assert response["alerts"]
    starts = {alert["start"] for alert in response["alerts"]}
    assert starts <= {p["timestamp"] for p in points if p["is_anomaly"]}
    assert all(alert["start"] <= alert["peak"] <= alert["end"] for alert in response["alerts"])
    assert all(alert["severity"] >= 0.5 for alert in response["alerts"])


def test_a_model_continues_its_history(api: Api, two_weeks: Series) -> None:
    body = {"series": posted(two_weeks[TRAINED_ON - 10 :]), "model": "ec2-cpu"}
    status, response, headers = detect(api, body)
    assert status == 200
    assert headers["X-Model-Version"] == "v1"
    assert response["model"] == "ec2-cpu"
    assert len(response["points"]) == len(two_weeks) - TRAINED_ON
    assert response["notes"][0].startswith("10 readings not later than the model's history")
    runaway = posted(two_weeks)[3_000]["timestamp"]
    assert runaway in [alert["start"] for alert in response["alerts"]]


def test_readings_and_alerts_are_counted(api: Api, two_weeks: Series) -> None:
    response = detected(api, {"series": posted(two_weeks)})
    counted = {name: m["Value"] for name, m in api.metrics.metric_set.items()}
    assert counted == {
        "Readings": [len(two_weeks)],
        "Anomalies": [sum(point["is_anomaly"] for point in response["points"])],
        "Alerts": [len(response["alerts"])],
    }


def test_if_all_readings_are_late_the_response_is_empty(api: Api, two_weeks: Series) -> None:
    response = detected(api, {"series": posted(two_weeks[:5]), "model": "ec2-cpu"})
    assert response["points"] == response["alerts"] == []
    assert response["notes"][0].startswith("5 readings not later")


def test_a_value_forest_needs_no_history(api: Api) -> None:
    series = [
        {"timestamp": f"2026-01-01T{hour:02}:00:00Z", "value": value}
        for hour, value in enumerate([0.5, 0.5, 2.0, 0.5])
    ]
    response = detected(api, {"series": series, "model": "values"})
    assert [point["is_anomaly"] for point in response["points"]] == [False, False, True, False]
    assert response["points"][2]["reason"].startswith("unlike the values it was trained on: 2")
    assert len(response["alerts"]) == 1


def test_a_value_forest_has_no_sensitivity(api: Api) -> None:
    series = [{"timestamp": "2026-01-01T00:00:00Z", "value": 1.0}]
    response = detect(api, {"series": series, "model": "values", "sensitivity": 1.0})
    assert is_problem(response, 422)
    assert "sensitivity" in response[1]["detail"]


def test_a_lower_sensitivity_gives_fewer_alerts(api: Api, two_weeks: Series) -> None:
    values = two_weeks.values.copy()
    values[1_500::97] += np.linspace(0.05, 0.5, len(values[1_500::97]))
    series = posted(Series(two_weeks.times, values))
    counts = [
        len(detected(api, {"series": series, "sensitivity": sensitivity})["alerts"])
        for sensitivity in (1.5, 0.4, 0.06)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_notes_name_disorder_repeats_and_gaps(api: Api, two_weeks: Series) -> None:
    series = posted(two_weeks[:300])
    messy = [*series[:100], series[99], *series[160:], series[150]]
    response = detected(api, {"series": messy})
    assert [point["timestamp"] for point in response["points"]] == sorted(
        point["timestamp"] for point in response["points"]
    )
    assert [note.split(" ")[1] for note in response["notes"]] == [
        *("reading", "reading", "gaps,", "readings")
    ]


@pytest.mark.parametrize("count", [1, 2, MAX_POINTS])
def test_a_series_has_1_to_10000_points(api: Api, count: int) -> None:
    series = posted(Series(STEP_MS * np.arange(count), np.sin(np.arange(count))))
    assert len(detected(api, {"series": series})["points"]) == count


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
        {"series": [GOOD | {"timestamp": True}]},
        {"series": [GOOD | {"timestamp": 0}]},
        {"series": [GOOD | {"timestamp": 1e19}]},
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
def test_an_invalid_series_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert is_problem(detect(api, body), 422)


def test_every_fault_of_a_series_is_named(api: Api) -> None:
    series = [GOOD, GOOD | {"value": "1"}, {"value": 1.0}, GOOD | {"unit": "Percent"}]
    _, body, _ = detect(api, {"series": series, "sensitivity": 0})
    assert [error["field"] for error in body["errors"]] == [
        "body.series.1.value",
        "body.series.2.timestamp",
        "body.series.3.unit",
        "body.sensitivity",
    ]


def test_invalid_dates_are_named(api: Api) -> None:
    wrong = GOOD | {"timestamp": "2026-02-30T00:00:00Z"}
    response = detect(api, {"series": [GOOD, wrong, GOOD, wrong]})
    assert is_problem(response, 422)
    fields = [error["field"] for error in response[1]["errors"]]
    assert fields == ["body.series.1.timestamp", "body.series.3.timestamp"]
    assert {error["message"] for error in response[1]["errors"]} == {"Not a valid date or time"}


def test_the_message_about_a_malformed_time_has_an_example(api: Api) -> None:
    _, body, _ = detect(api, {"series": [GOOD | {"timestamp": "yesterday"}]})
    [error] = body["errors"]
    assert error["message"].endswith(", such as '2014-02-27T17:15:00Z'")


def test_a_422_about_a_long_series_stays_small(api: Api) -> None:
    response = detect(api, {"series": [GOOD | {"value": None}] * MAX_POINTS})
    assert is_problem(response, 422)
    assert len(response[1]["errors"]) == MAX_FAULTS


def test_an_unknown_model_is_404(api: Api) -> None:
    assert is_problem(detect(api, {"series": [GOOD], "model": "nobody"}), 404)


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01 00:00:00", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500Z"),
        ("2026-01-01", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00.000Z"),
        ("2026-01-01T00:00+0100", "2025-12-31T23:00:00.000Z"),
    ],
)
def test_times_are_iso_8601_in_utc(api: Api, written: str, parsed: str) -> None:
    response = detected(api, {"series": [GOOD | {"timestamp": written}]})
    assert response["points"][0]["timestamp"] == parsed


@pytest.mark.parametrize(
    ("trained_on", "notes"),
    [
        ({"step_ms": 300_000.0, "last": "2025-10-10T00:00:00Z"}, []),
        (
            {"step_ms": 60_000.0, "last": "2025-10-01T00:00:00Z"},
            [
                "The model was trained on readings 1 min apart, and these are 5 min apart: "
                "expected values and alerts may be wrong.",
                "What the model was trained on ended 92 days before these readings, on "
                "2025-10-01: train it again.",
            ],
        ),
        ({"step_ms": "5 min", "last": "yesterday"}, []),
        ({"step_ms": True, "last": None}, []),
        ({}, []),
    ],
)
def test_a_note_says_where_readings_do_not_fit_the_model(
    api: Api, two_weeks: Series, trained_on: dict[str, Any], notes: list[str]
) -> None:
    artifact = pack(small_forest(), "old", libraries={}, training_data=trained_on, figures={})
    api.store.put_model("old", artifact)
    response = detected(api, {"series": posted(two_weeks[:300]), "model": "old"})
    assert response["notes"] == notes
    assert detected(api, {"series": posted(two_weeks[:3]), "model": "old"})["notes"] == notes[1:]


@pytest.mark.parametrize(
    ("unit", "per_second"),
    [("seconds", 1), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)],
)
def test_numbers_are_times_since_1970_and_a_note_says_in_which_unit(
    api: Api, two_weeks: Series, unit: str, per_second: float
) -> None:
    texts = posted(two_weeks[:300])
    numbers = [
        reading | {"timestamp": time / 1000 * per_second}
        for reading, time in zip(texts, two_weeks.times.tolist(), strict=False)
    ]
    of_texts, of_numbers = (detected(api, {"series": series}) for series in (texts, numbers))
    assert of_numbers["notes"][0] == f"Timestamps were read as {unit} since 1970, UTC."
    assert of_numbers["notes"][1:] == of_texts["notes"]
    assert of_numbers["points"] == of_texts["points"]


@pytest.mark.parametrize(
    ("first", "second", "field", "message"),
    [
        (1767225600, 1767225600300, 1, "Not in seconds, as the first timestamp is"),
        (1767225600300, 1767225600, 1, "Not in milliseconds, as the first timestamp is"),
        (1767225600, "2026-01-01T00:05:00Z", 1, "Not in seconds, as the first timestamp is"),
        ("2026-01-01T00:05:00Z", 1767225600, 1, "Not text, as the first timestamp is"),
        # in seconds it is in the year 2286, in milliseconds it is in April 1970
        (10**10, 10**10 + 300, 0, "Not a time since 1970 in seconds, milliseconds, microseconds, "
         "nanoseconds"),
    ],
)  # fmt: skip
def test_timestamps_of_mixed_or_unclear_form_are_refused(
    api: Api, first: Any, second: Any, field: int, message: str
) -> None:
    response = detect(api, {"series": [GOOD | {"timestamp": first}, GOOD | {"timestamp": second}]})
    assert is_problem(response, 422)
    [error] = response[1]["errors"]
    assert error == {"field": f"body.series.{field}.timestamp", "message": message}


def test_extreme_values_give_valid_json(api: Api) -> None:
    values = [5e-324 * (number % 40) for number in range(1000)] + [3e38, 1.0, -3e38]
    series = posted(Series(STEP_MS * np.arange(len(values)), np.array(values)))
    points = detected(api, {"series": series})["points"]
    assert all(math.isfinite(point["score"] + point["severity"]) for point in points)
