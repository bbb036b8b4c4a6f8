"""Any bytes get a documented response of Azure's contract, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.gateway import LocalContext, proxy_event
from ops_anomaly.azure.errors import GRANULARITIES, IMPUTE_MODES
from ops_anomaly.azure.requests import OPERATIONS
from tests.support.api_client import Api

CODES = {
    *("InvalidCustomInterval", "BadArgument", "InvalidGranularity", "InvalidPeriod"),
    *("InvalidModelArgument", "InvalidSeries", "InvalidJsonFormat", "RequiredGranularity"),
    *("RequiredSeries", "InvalidImputeMode", "InvalidImputeFixedValue"),
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
numbers = st.floats(-1e100, 1e100) | st.integers(-5, 5) | st.sampled_from(["7", "-1e99", 5e-324])
steps = st.lists(st.integers(1, 3), min_size=11, max_size=80)


@st.composite
def series(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return points that are days apart, some of them missing."""
    moment = draw(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)))
    moments = [moment := moment + timedelta(days=step) for step in [0, *draw(steps)]]
    values = draw(st.lists(numbers, min_size=len(moments), max_size=len(moments)))
    return [
        {"timestamp": moment.isoformat(), "value": value}
        for moment, value in zip(moments, values, strict=True)
    ]


almost_valid = st.fixed_dictionaries(
    {"series": series() | anything, "granularity": st.sampled_from(GRANULARITIES) | anything},
    optional={
        "customInterval": st.integers(1, 3) | st.integers() | anything,
        "period": st.integers(0, 40) | anything,
        "maxAnomalyRatio": st.floats(0, 0.6) | anything,
        "sensitivity": st.integers(-1, 101) | anything,
        "imputeMode": st.sampled_from(IMPUTE_MODES) | anything,
        "imputeFixedValue": numbers | anything,
        "stableTrendWindow": st.integers(2, 40) | anything,
        "threshold": st.floats(0, 1) | anything,
        "fillUpMode": anything,
    },
)
valid = st.fixed_dictionaries(
    {"series": series(), "granularity": st.sampled_from(["daily", "none"])},
    optional={
        "period": st.integers(0, 5),
        "maxAnomalyRatio": st.floats(0.01, 0.49),
        "sensitivity": st.integers(0, 100),
        "imputeMode": st.sampled_from(["auto", "previous", "linear", "zero", "notFill"]),
        "threshold": st.floats(0.01, 0.99),
    },
)
operations = st.sampled_from(OPERATIONS)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    api = Api(azure_compatible=True)
    yield api
    api.metrics.clear_metrics()


def check(api: Api, body: bytes, operation: str) -> tuple[int, dict[str, Any]]:
    path = f"/anomalydetector/v1.1/timeseries/{operation}/detect"
    response = api.app.resolve(proxy_event("POST", path, "", [], body), LocalContext())
    api.metrics.clear_metrics()
    status, content = response["statusCode"], json.loads(response["body"])
    assert not api.log.getvalue()
    assert status in (200, 400), content
    if status == 400:
        assert content.keys() == {"code", "message"}
        assert content["code"] in CODES
        assert response["multiValueHeaders"]["x-ms-error-code"] == [content["code"]]
    return status, content


@given(st.binary(max_size=300), operations)
def test_any_bytes(api: Api, body: bytes, operation: str) -> None:
    check(api, body, operation)


@given(anything, operations)
def test_any_json(api: Api, body: object, operation: str) -> None:
    check(api, json.dumps(body).encode(), operation)


@given(almost_valid, operations)
@settings(max_examples=300, deadline=None)
def test_any_object_with_the_right_names(api: Api, body: object, operation: str) -> None:
    check(api, json.dumps(body).encode(), operation)


@given(valid)
@settings(max_examples=300, deadline=None)
def test_every_valid_series_is_evaluated(api: Api, body: dict[str, Any]) -> None:
    values = [float(point["value"]) for point in body["series"]]
    for operation in OPERATIONS:
        status, content = check(api, json.dumps(body).encode(), operation)
        if status == 400:  # the one rule that the strategy does not keep to
            assert "Ratio of missing points" in content["message"]
            continue
        if operation == "entire":
            columns = ("expectedValues", "upperMargins", "lowerMargins", "isAnomaly")
            for value, e, upper, lower, flag in zip(
                values, *(content[name] for name in columns), strict=True
            ):
                assert flag == (value > e + upper or value < e - lower)


@given(st.text(), st.sampled_from(["GET", "POST", "HEAD", "PUT"]))
def test_any_path(api: Api, path: str, method: str) -> None:
    event = proxy_event(method, f"/anomalydetector/{path}", "", [], b"")
    response = api.app.resolve(event, LocalContext())
    assert response["statusCode"] in (404, 405)
    if method != "HEAD":
        assert json.loads(response["body"])["error"]["code"] == str(response["statusCode"])
