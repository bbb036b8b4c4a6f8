"""Azure's contract over the API as API Gateway calls it: fields, limits, order, errors, headers."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local.gateway import LocalContext
from ops_anomaly.azure import authorizer
from ops_anomaly.azure.service import VERSIONS
from tests.support.api_client import JSON, Api, Response, is_problem

EVENTS = Path(__file__).parents[2] / "events"
START = datetime(2024, 1, 1)
WEEK = [10.0, 12.0, 13.0, 12.5, 14.0, 4.0, 3.0]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    api = Api(azure_compatible=True)
    yield api
    api.metrics.clear_metrics()


def daily(values: list[Any], start: datetime = START) -> list[dict[str, Any]]:
    """Return points a day apart."""
    return [
        {"timestamp": f"{(start + timedelta(days=day)).isoformat()}Z", "value": value}
        for day, value in enumerate(values)
    ]


def weekly_pattern(days: int, spike_at: int | None = None) -> list[float]:
    """Return a pattern of 7 days with a little noise, and perhaps one value far above it."""
    noise = np.random.default_rng(1).normal(0, 0.1, days)
    values = [WEEK[day % 7] + float(noise[day]) for day in range(days)]
    if spike_at is not None:
        values[spike_at] += 10.0
    return values


def post(
    api: Api, body: Any, operation: str = "entire", version: str = "v1.1", **more: Any
) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/anomalydetector/{version}/timeseries/{operation}/detect"
    return api.call("POST", path, content, **more)


def request(**more: Any) -> dict[str, Any]:
    """Return a valid request, with some fields set, or left out where they are None."""
    fields = {"series": daily(weekly_pattern(29)), "granularity": "daily"} | more
    return {name: value for name, value in fields.items() if value is not None}


def refused(response: Response, code: str, message: str) -> bool:
    """Return True for an error of a request in Azure's flat form; fail on anything else."""
    status, body, headers = response
    assert (status, body) == (400, {"code": code, "message": message})
    assert headers["x-ms-error-code"] == code
    assert headers["Content-Type"] == "application/json"
    assert uuid.UUID(headers["apim-request-id"])
    return True


# --- responses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_entire_returns_lists_as_long_as_the_series(api: Api, version: str) -> None:
    status, body, _ = post(api, request(series=daily(weekly_pattern(35, spike_at=20))), "entire")
    names = {"expectedValues", "upperMargins", "lowerMargins", "severity"}
    flags = {"isAnomaly", "isNegativeAnomaly", "isPositiveAnomaly"}
    assert status == 200
    assert body.keys() == {"period"} | names | flags
    assert all(len(body[name]) == 35 for name in names | flags)
    assert body["period"] == 7
    assert [i for i, is_anomaly in enumerate(body["isAnomaly"]) if is_anomaly] == [20]
    assert body["isPositiveAnomaly"] == body["isAnomaly"]
    assert not any(body["isNegativeAnomaly"])


@pytest.mark.parametrize("version", VERSIONS)
def test_last_evaluates_the_last_point(api: Api, version: str) -> None:
    ordinary = post(api, request(), "last", version)[1]
    assert ordinary["isAnomaly"] is False
    assert (ordinary["period"], ordinary["suggestedWindow"]) == (7, 29)
    assert abs(ordinary["expectedValue"] - WEEK[28 % 7]) < 0.5
    unusual = post(api, request(series=daily(weekly_pattern(29, spike_at=28))), "last", version)[1]
    assert unusual["isAnomaly"] is unusual["isPositiveAnomaly"] is True
    assert unusual["isNegativeAnomaly"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_change_points_come_with_confidence_scores(api: Api, version: str) -> None:
    noise = np.random.default_rng(2).normal(0, 1, 60)
    values = (noise + np.repeat([10.0, 30.0], 30)).tolist()
    status, body, headers = post(api, request(series=daily(values)), "changepoint", version)
    assert status == 200
    assert body.keys() == {"period", "isChangePoint", "confidenceScores"}
    assert [i for i, is_change in enumerate(body["isChangePoint"]) if is_change] == [30]
    assert len(body["confidenceScores"]) == 60
    assert all(0 <= score <= 1 for score in body["confidenceScores"])
    assert headers["model-id"] == "60"


def test_severity_is_part_of_the_contract_from_v1_1_on(api: Api) -> None:
    body = request(series=daily(weekly_pattern(29, spike_at=28)))
    for operation in ("entire", "last"):
        assert "severity" not in post(api, body, operation, "v1.0")[1]
    entire = post(api, body)[1]
    for is_anomaly, severity in zip(entire["isAnomaly"], entire["severity"], strict=True):
        assert 0 < severity <= 1 if is_anomaly else severity == 0
    assert 0.5 < post(api, body, "last")[1]["severity"] <= 1


@pytest.mark.parametrize("sensitivity", [0, 50, 90, 99, 100])
@pytest.mark.parametrize("ratio", [0.01, 0.25])
def test_a_point_is_flagged_exactly_where_it_leaves_the_margins(
    api: Api, sensitivity: int, ratio: float
) -> None:
    values = np.random.default_rng(3).standard_t(2, 300).round(3).tolist()
    body = request(series=daily(values), sensitivity=sensitivity, maxAnomalyRatio=ratio)
    found = post(api, body)[1]
    for name, is_outside in (
        ("isPositiveAnomaly", lambda x, e, upper, lower: x > e + upper),
        ("isNegativeAnomaly", lambda x, e, upper, lower: x < e - lower),
    ):
        margins = (found["expectedValues"], found["upperMargins"], found["lowerMargins"])
        outside = [is_outside(*each) for each in zip(values, *margins, strict=True)]
        assert found[name] == outside
    assert sum(found["isAnomaly"]) <= ratio * len(values)


def test_clients_of_v1_0_multiply_the_margins_by_100_less_the_sensitivity(api: Api) -> None:
    body = request(sensitivity=80)
    plain = post(api, body, "last", "v1.1")[1]["upperMargin"]
    assert 20 * post(api, body, "last", "v1.0")[1]["upperMargin"] == pytest.approx(plain)
    plain = post(api, body, "entire", "v1.1")[1]["lowerMargins"]
    first = post(api, body, "entire", "v1.0")[1]["lowerMargins"]
    assert 20 * np.array(first) == pytest.approx(plain)


def test_a_lower_sensitivity_widens_the_margins_and_flags_no_more(api: Api) -> None:
    values = np.random.default_rng(4).standard_t(2, 200).tolist()
    found = [
        post(api, request(series=daily(values), sensitivity=sensitivity))[1]
        for sensitivity in (99, 95, 80, 40, 0)
    ]
    margins = [max(each["upperMargins"]) for each in found]
    assert margins == sorted(margins)
    flags = [sum(each["isAnomaly"]) for each in found]
    assert flags == sorted(flags, reverse=True)
    assert flags[0] > flags[-1] == 0


@pytest.mark.parametrize(
    ("granularity", "window"),
    [("daily", 29), ("hourly", 169), ("minutely", 1441), ("secondly", 1441), ("weekly", 13)],
)
def test_without_a_period_the_suggested_window_depends_on_the_granularity(
    api: Api, granularity: str, window: int
) -> None:
    step = {"daily": 86_400, "hourly": 3_600, "minutely": 60, "secondly": 1, "weekly": 604_800}
    moments = [START + timedelta(seconds=step[granularity] * i) for i in range(20)]
    series = [{"timestamp": f"{each.isoformat()}Z", "value": 5} for each in moments]
    body = post(api, request(series=series, granularity=granularity), "last")[1]
    assert (body["period"], body["suggestedWindow"]) == (0, window)


def test_headers_are_those_that_clients_read(api: Api) -> None:
    wanted = ("x-ms-client-request-id", "c1"), ("x-ms-return-client-request-id", "true")
    headers = post(api, request(), headers=(JSON, *wanted))[2]
    assert uuid.UUID(headers["apim-request-id"])
    assert headers["model-id"] == "10"
    assert headers["csp-billing-usage"] == "CognitiveServices.AnomalyDetector.DataPoints=1"
    assert headers["x-ms-client-request-id"] == "c1"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert {"x-envoy-upstream-service-time", "x-ms-region", "Strict-Transport-Security"} <= set(
        headers
    )
    assert "x-ms-client-request-id" not in post(api, request(), headers=(JSON, wanted[0]))[2]


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"needDetectorId": True, "boundaryVersion": "V3", "alpha": 0.05, "detector": {"a": 1}},
        {"imputeStrategy": {"imputeMode": "auto"}, "fillUpMode": "last", "needFillUpConfirm": 1},
        {"period": None, "sensitivity": 100, "maxAnomalyRatio": 0.49, "customInterval": 1},
        {"period": 0, "sensitivity": 0, "maxAnomalyRatio": 0.0001},
        {"granularity": None},
        {"granularity": "none", "customInterval": 7, "period": 1000},
    ],
)
def test_what_is_valid_or_unknown_is_accepted(api: Api, fields: dict[str, Any]) -> None:
    assert post(api, request(**fields))[0] == 200


def test_null_stands_for_the_default(api: Api) -> None:
    fields = ("period", "sensitivity", "maxAnomalyRatio", "customInterval", "imputeMode")
    body = request() | dict.fromkeys(fields)
    assert post(api, body)[:2] == post(api, request())[:2]


def test_numbers_may_be_texts(api: Api) -> None:
    texts = [str(value) for value in weekly_pattern(29)]
    assert post(api, request(series=daily(texts)))[:2] == post(api, request())[:2]


@pytest.mark.parametrize(
    "form",
    [
        "{:%Y-%m-%dT%H:%M:%SZ}",
        "{:%Y-%m-%dT%H:%M:%S+00:00}",
        "{:%Y-%m-%dT%H:%M:%S}",
        "{:%Y-%m-%d %H:%M:%S}",
        "{:%Y-%m-%dT%H:%M:%S.0000000Z}",
        "{:%Y-%m-%d}",
    ],
)
@pytest.mark.parametrize("year", [1952, 2024, 2187])
def test_every_form_of_a_timestamp(api: Api, form: str, year: int) -> None:
    points = daily(weekly_pattern(29), datetime(year, 1, 1))
    for day, point in enumerate(points):
        point["timestamp"] = form.format(datetime(year, 1, 1) + timedelta(days=day))
    assert post(api, request(series=points))[0] == 200


def test_timestamps_may_be_missing_without_a_granularity(api: Api) -> None:
    series = [{"value": value} for value in weekly_pattern(29)]
    assert post(api, request(series=series, granularity="none"))[1]["period"] == 7


def test_months_and_years_are_of_the_calendar(api: Api) -> None:
    months = [f"{2020 + i // 12}-{i % 12 + 1:02}-01T00:00:00Z" for i in range(30)]
    series = [{"timestamp": month, "value": 5} for month in months]
    assert post(api, request(series=series, granularity="monthly"))[0] == 200
    years = [{"timestamp": f"{1952 + i}-02-28T00:00:00Z", "value": 5} for i in range(30)]
    assert post(api, request(series=years, granularity="yearly"))[0] == 200


def test_an_interval_is_so_many_granularities(api: Api) -> None:
    series = daily(weekly_pattern(29))
    for number, point in enumerate(series):
        point["timestamp"] = f"{(START + timedelta(minutes=15 * number)).isoformat()}Z"
    accepted = request(series=series, granularity="minutely", customInterval=15)
    assert post(api, accepted)[0] == 200
    message = (
        "The 'timestamp' at index 1 is invalid in minutely granularity with 2 gran as interval."
    )
    wrong = request(series=series, granularity="minutely", customInterval=2)
    assert refused(post(api, wrong), "InvalidSeries", message)


@pytest.mark.parametrize("mode", ["auto", "previous", "linear", "fixed", "zero", "notFill"])
@pytest.mark.parametrize("operation", ["entire", "last", "changepoint"])
def test_gaps_are_filled_and_left_out_of_the_response(api: Api, mode: str, operation: str) -> None:
    series = daily(weekly_pattern(60))
    del series[17:20]
    body = request(series=series, imputeMode=mode, imputeFixedValue=3)
    status, found, _ = post(api, body, operation)
    assert status == 200
    lists = [value for value in found.values() if isinstance(value, list)]
    assert all(len(each) == 57 for each in lists)


def test_gaps_of_a_season_are_filled_from_other_periods(api: Api) -> None:
    series = daily(weekly_pattern(60, spike_at=50))
    del series[18:25]
    found = post(api, request(series=series))[1]
    assert found["period"] == 7
    assert [i for i, flag in enumerate(found["isAnomaly"]) if flag] == [43]


def test_an_anomaly_is_not_filled_in_elsewhere(api: Api) -> None:
    series = daily(weekly_pattern(63, spike_at=24))
    del series[30:33]  # a week after the anomaly
    found = post(api, request(series=series))[1]
    assert [i for i, flag in enumerate(found["isAnomaly"]) if flag] == [24]


# --- errors --------------------------------------------------------------------------------------

POINTS = daily([1.0] * 12)
MALFORMED = "'timestamp' or 'value' is malformed in 'series' Field."
LIMITS = "must be less than 50% of the series points (0 < maxAnomalyRatio < 0.5)."


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"series": None}, "RequiredSeries", "The 'series' field is required in request."),
        ({"series": {}}, "BadArgument", "The 'series' field must be array/list type."),
        (
            {"series": POINTS[:11]},
            "InvalidSeries",
            "The 'series' field must have at least 12 points.",
        ),
        (
            {"series": POINTS[:1] * 8641},
            "InvalidSeries",
            "The 'series' field cannot have more than 8640 points.",
        ),
        *(
            ({"series": [*POINTS[:11], point]}, "BadArgument", MALFORMED)
            for point in (
                {"timestamp": "2024-01-12T00:00:00Z"},
                {"value": 1},
                {"timestamp": "soon", "value": 1},
                {"timestamp": 1_700_000_000, "value": 1},
                {"timestamp": "2024-01-12T00:00:00Z", "value": None},
                {"timestamp": "2024-01-12T00:00:00Z", "value": "many"},
                {"timestamp": "2024-01-12T00:00:00Z", "value": True},
                {"timestamp": "2024-01-12T00:00:00Z", "value": [1]},
                None,
                7,
                "x",
                [],
            )
        ),
        (
            {"series": daily([*[1.0] * 11, math.nan])},
            "BadArgument",
            "The 'series' field cannot have none values.",
        ),
        *(
            (
                {"series": daily([*[1.0] * 11, value])},
                "InvalidSeries",
                "The magnitude of data in 'value' in 'series' filed is too large.",
            )
            for value in (1.1e100, -1e101, math.inf, 10**400, "1e999")
        ),
        (
            {"series": POINTS[::-1]},
            "InvalidSeries",
            "The 'series' field must be sorted by timestamp in ascending order.",
        ),
        (
            {"series": [POINTS[0], *POINTS]},
            "InvalidSeries",
            "The 'series' field cannot have duplicated timestamp.",
        ),
        (
            {"series": daily([1.0] * 12), "granularity": "weekly"},
            "InvalidSeries",
            "The 'timestamp' at index 1 is invalid in weekly granularity with 1 gran as interval.",
        ),
        (
            {"series": daily([1.0] * 12), "granularity": "monthly"},
            "InvalidSeries",
            "The 'timestamp' at index 1 is invalid in monthly granularity with 1 gran as interval.",
        ),
        *(
            (
                {"granularity": value},
                "InvalidGranularity",
                "The 'granularity' field can only be one of the following: [yearly, monthly, "
                "weekly, daily, hourly, minutely, secondly, microsecond, none].",
            )
            for value in ("fortnightly", "Daily", 7, [], {})
        ),
        *(
            (
                {"customInterval": value},
                "InvalidCustomInterval",
                "The 'customInterval' field must be an integer > 0.",
            )
            for value in (0, -1, 1.5, "1", True)
        ),
        *(
            ({"period": value}, "InvalidPeriod", "The 'period' field must be an integer >= 0.")
            for value in (-1, 7.5, "7", [7])
        ),
        *(
            (
                {"period": period, "series": daily([1.0] * 20)},
                "InvalidModelArgument",
                "The 'series' field must have more than 2 periods points",
            )
            for period in (10, 10**300)
        ),
        *(
            (
                {"maxAnomalyRatio": value},
                "InvalidModelArgument",
                f"The 'maxAnomalyRatio' field {LIMITS}",
            )
            for value in (0, 0.5, 1, -0.1, "0.2", True)
        ),
        *(
            (
                {"sensitivity": value},
                "InvalidModelArgument",
                "The 'sensitivity' field must be an integer between 0 and 99.",
            )
            for value in (-1, 101, 95.5, "95", False)
        ),
        *(
            (
                {"imputeMode": value},
                "InvalidImputeMode",
                "The 'imputeMode' field is required and should be one of the following: "
                "{auto, previous, linear, fixed, zero, notFill}.",
            )
            for value in ("guess", 0, [])
        ),
        *(
            (
                {"imputeMode": "fixed", "imputeFixedValue": value},
                "InvalidImputeFixedValue",
                "The 'imputeFixedValue' field must be a number.",
            )
            for value in (None, "5", True)
        ),
    ],
)
@pytest.mark.parametrize("operation", ["entire", "last"])
def test_every_fault_has_its_code_and_message(
    api: Api, fields: dict[str, Any], code: str, message: str, operation: str
) -> None:
    assert refused(post(api, request(**fields), operation), code, message)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (
            {"granularity": None},
            "RequiredGranularity",
            "The 'granularity' field is required in request.",
        ),
        *(
            (
                {"stableTrendWindow": value},
                "InvalidModelArgument",
                "The 'stableTrendWindow' field must be an integer >= 3 and < half of series' "
                "length.",
            )
            for value in (2, 15, 3.5, "5")
        ),
        *(
            (
                {"threshold": value},
                "InvalidModelArgument",
                "The 'threshold' field must be an float between 0.01 and 0.99.",
            )
            for value in (0, 0.001, 1, "0.9", True)
        ),
    ],
)
def test_faults_of_a_request_for_change_points(
    api: Api, fields: dict[str, Any], code: str, message: str
) -> None:
    assert refused(post(api, request(**fields), "changepoint"), code, message)


@pytest.mark.parametrize("operation", ["entire", "last", "changepoint"])
def test_a_seasonal_series_may_not_miss_half_of_its_points(api: Api, operation: str) -> None:
    points = daily(weekly_pattern(60))
    message = (
        "Ratio of missing points should be less than 50% for seasonal timeseries. "
        "There should be at least {} points, but got {} points."
    )
    sparse = request(series=points[::2] + points[-1:], period=7)  # 31 of 60
    assert post(api, sparse, operation)[0] == 200
    sparser = request(series=points[::2], period=7)  # 30 of 59
    assert post(api, sparser, operation)[0] == 200
    wanting = request(series=points[:58:3] + points[-1:], period=7)  # 21 of 60
    assert refused(post(api, wanting, operation), "InvalidSeries", message.format(31, 21))


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"[]", b"{}", b"null", b"7", b'"x"', b"\xff", b"[" * 10_000]
)
def test_a_body_that_is_no_object(api: Api, body: bytes) -> None:
    message = "Invalid Json Format, input data is Empty."
    assert refused(post(api, body), "InvalidJsonFormat", message)


def test_of_several_faults_the_parameters_come_first(api: Api) -> None:
    fields = {
        "granularity": "x",
        "customInterval": 0,
        "period": -1,
        "maxAnomalyRatio": 2,
        "sensitivity": 200,
        "imputeMode": "x",
        "series": daily([1.0] * 5),
    }
    codes = []
    while fields:
        codes.append(post(api, request(**fields))[1]["code"])
        fields.pop(next(iter(fields)))
    assert codes == [
        "InvalidGranularity",
        "InvalidCustomInterval",
        "InvalidPeriod",
        "InvalidModelArgument",
        "InvalidModelArgument",
        "InvalidImputeMode",
        "InvalidSeries",
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("POST", "/anomalydetector/v1.1/multivariate/models", 404, "not offered"),
        ("POST", "/anomalydetector/v2.0/timeseries/entire/detect", 404, "not found"),
        ("POST", "/anomalydetector/v1.1/timeseries/first/detect", 404, "not found"),
        ("POST", "/anomalydetector/", 404, "not found"),
        ("GET", "/anomalydetector/v1.1/timeseries/entire/detect", 405, "POST"),
    ],
)
def test_what_is_not_offered_is_nested(
    api: Api, method: str, path: str, status: int, part: str
) -> None:
    got, body, headers = api.call(method, path, json.dumps(request()).encode())
    assert got == status
    assert body["error"]["code"] == headers["x-ms-error-code"] == str(status)
    assert part in body["error"]["message"]


def test_an_unexpected_error_is_nested_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(azure_compatible=True)
    monkeypatch.setattr(
        "ops_anomaly.azure.service.detect", lambda *_: (_ for _ in ()).throw(ZeroDivisionError())
    )
    status, body, _ = post(api, request())
    assert (status, body["error"]["code"]) == (500, "500")
    assert "ZeroDivisionError" in api.log.getvalue()


def test_the_paths_are_there_only_where_they_are_wanted() -> None:
    assert is_problem(post(Api(), request()), 404)


def test_points_and_anomalies_are_counted_and_nothing_is_logged() -> None:
    api = Api(azure_compatible=True)
    api.metrics.clear_metrics()
    body = request(series=daily([*weekly_pattern(28), 12345.678]))
    post(api, body, "last", headers=(JSON, ("ocp-apim-subscription-key", "s3cret-key")))
    assert {name: each["Value"] for name, each in api.metrics.metric_set.items()} == {
        "Readings": [1.0],
        "Anomalies": [1.0],
    }
    post(api, b"{s3cret-body")
    assert not api.log.getvalue()
    api.metrics.clear_metrics()


# --- the authorizer ------------------------------------------------------------------------------


def authorized(headers: dict[str, str]) -> dict[str, Any]:
    event = json.loads((EVENTS / "azure-key.json").read_text())
    return authorizer.lambda_handler(event | {"headers": headers}, None)


@pytest.mark.parametrize(
    "header", ["Ocp-Apim-Subscription-Key", "ocp-apim-subscription-key", "x-api-key", "X-API-Key"]
)
def test_the_key_is_found_in_either_header(header: str) -> None:
    found = authorized({"Accept": "*/*", header: "a-key"})
    assert found["usageIdentifierKey"] == "a-key"
    [statement] = found["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    # the whole stage: API Gateway caches it for every path
    stage = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/v1/*"
    assert statement["Resource"] == stage


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"authorization": "a-key"}])
def test_without_a_key_a_request_is_unauthorized(headers: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorized(headers)


def test_the_sample_events_are_of_one_request(api: Api) -> None:
    event = json.loads((EVENTS / "azure-last.json").read_text())
    key = json.loads((EVENTS / "azure-key.json").read_text())
    assert authorizer.lambda_handler(key, None)["usageIdentifierKey"] == "not-a-key"
    assert key["headers"] == event["headers"]
    response = api.app.resolve(event, LocalContext())
    assert response["statusCode"] == 200
    assert json.loads(response["body"])["isAnomaly"] is True
