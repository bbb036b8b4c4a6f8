"""Any bytes get a documented response, never a 5xx."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from aws_lambda_powertools import Logger, Metrics
from hypothesis import given
from hypothesis import strategies as st

from local.gateway import LocalContext, proxy_event
from ops_anomaly.api.routes import Api, build_app
from ops_anomaly.aws.models import ModelRegistry
from tests.support.fakes import FakeStore, small_artifact

DOCUMENTED = {200, 400, 404, 413, 415, 422}
anything_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("value"), inner),
)
almost_valid = st.fixed_dictionaries(
    {"value": anything_json | st.floats()}, optional={"model": anything_json, "x": anything_json}
)


@pytest.fixture(scope="module")
def app() -> Iterator[Api]:
    store = FakeStore()
    store.put_model("ec2-cpu", small_artifact())
    registry = ModelRegistry(
        store, ttl_seconds=300, cache_bytes=10**6, on_refresh_failed=lambda *_: None
    )
    metrics = Metrics(namespace="test", service="test")
    yield build_app(registry, "ec2-cpu", Logger(service="any", stream=io.StringIO()), metrics)
    metrics.clear_metrics()


def check(app: Api, body: bytes, content_type: str = "application/json") -> int:
    event = proxy_event("POST", "/predict", "", [("content-type", content_type)], body)
    response = app.resolve(event, LocalContext())
    status, content = response["statusCode"], json.loads(response["body"])
    assert status in DOCUMENTED, (status, content)
    if status == 200:
        assert content in (
            {"is_anomaly": False, "predicted_value": 1},
            {"is_anomaly": True, "predicted_value": -1},
        )
    else:
        assert content["status"] == status
    return status


@given(st.binary(max_size=300))
def test_any_bytes(app: Api, body: bytes) -> None:
    check(app, body)


@given(anything_json)
def test_any_json(app: Api, body: object) -> None:
    check(app, json.dumps(body).encode())


@given(almost_valid)
def test_any_object_with_the_right_names(app: Api, body: object) -> None:
    check(app, json.dumps(body).encode())


@given(st.floats(-3.4e38, 3.4e38))
def test_every_number_in_range_is_evaluated(app: Api, value: float) -> None:
    assert check(app, json.dumps({"value": value}).encode()) == 200


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.binary(max_size=50))
def test_any_content_type(app: Api, content_type: str, body: bytes) -> None:
    check(app, body, content_type)


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.text() | st.sampled_from(["models/", "health"]).flatmap(lambda p: st.text().map(p.__add__)),
)
def test_any_path(app: Api, method: str, path: str) -> None:
    response = app.resolve(proxy_event(method, f"/{path}", "", [], b""), LocalContext())
    assert response["statusCode"] in DOCUMENTED | {405, 503}
