"""Every route's responses and the form of every error, over models in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ops_anomaly.aws.errors import StoreUnavailableError
from ops_anomaly.aws.models import write_index
from ops_anomaly.aws.objects import INDEX_KEY, model_key
from ops_anomaly.detection.artifact import digest
from tests.support.api_client import JSON, Api, is_problem
from tests.support.fakes import CREATED, small_artifact


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.store.put_model("ec2-cpu", small_artifact())
    yield api
    api.metrics.clear_metrics()


def test_root_is_a_sign_of_life(api: Api) -> None:
    assert api.call("GET", "/")[:2] == (200, {"status": "API is running"})


def test_predict_normal_and_anomaly(api: Api) -> None:
    status, body, headers = api.predict(b'{"value": 0.5}')
    assert (status, body) == (200, {"is_anomaly": False, "predicted_value": 1})
    assert headers["X-Model-Version"] == "v1"
    assert api.predict(b'{"value": 2}')[1] == {"is_anomaly": True, "predicted_value": -1}


def test_predict_by_a_named_model(api: Api) -> None:
    version = api.store.put_model("other", small_artifact(threshold=0.9))
    status, body, headers = api.predict(b'{"value": 2.0, "model": "other"}')
    assert (status, body["is_anomaly"], headers["X-Model-Version"]) == (200, False, version)


@pytest.mark.parametrize("created", ["yesterday", "2026-01-01", ""])
def test_the_age_of_a_model_without_a_valid_date_is_null(api: Api, created: str) -> None:
    data = small_artifact()
    api.store.put(model_key("ec2-cpu"), data, sha256=digest(data), created=created)
    status, body, _ = api.call("GET", "/health")
    assert (status, body["created"], body["age_seconds"]) == (200, "", None)


def test_unknown_paths_are_404_and_wrong_methods_405(api: Api) -> None:
    assert is_problem(api.call("GET", "/nothing"), 404)
    assert is_problem(api.call("GET", "/predict"), 405)
    assert api.call("GET", "/predict")[2]["Allow"] == "POST"
    assert api.call("DELETE", "/models/ec2-cpu")[2]["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/health", "/models/ec2-cpu", "/docs", "/openapi.json"])
def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    got, head = api.raw("GET", path), api.raw("HEAD", path)
    assert got["statusCode"] == 200
    assert got["body"]
    assert head == got | {"body": ""}


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/predict", 405)])
def test_the_errors_of_head_have_no_body_either(api: Api, path: str, status: int) -> None:
    head = api.raw("HEAD", path)
    assert (head["statusCode"], head["body"]) == (status, "")


@pytest.mark.parametrize(
    "path", ["/models/\n", "/models/%0A", "/models\n", "/health\n", "/\n", "/models/\ud800"]
)
def test_a_path_with_a_control_character_is_no_other_path(api: Api, path: str) -> None:
    response = api.call("GET", path)
    assert is_problem(response, response[0])
    assert response[0] in (404, 422)


def test_an_unknown_model_is_404_and_the_missing_default_503(api: Api) -> None:
    assert is_problem(api.predict(b'{"value": 1, "model": "unknown"}'), 404)
    assert is_problem(api.call("GET", "/models/unknown"), 404)
    assert is_problem(api.call("GET", "/models/Not-A-Name"), 422)
    api.store.objects.clear()
    response = api.predict(b'{"value": 1}')
    assert is_problem(response, 503)
    assert response[2]["Retry-After"]


def test_health_has_version_and_age_of_the_default_model(api: Api) -> None:
    assert api.call("GET", "/health")[1] == {
        "status": "ok",
        "model": "ec2-cpu",
        "version": "v1",
        "created": CREATED,
        "age_seconds": 60.0,
    }


def test_the_reason_of_a_503_is_logged_and_not_sent() -> None:
    broken = Api()
    broken.store.failure = StoreUnavailableError("throttled")
    response = broken.call("GET", "/health")
    assert is_problem(response, 503)
    assert "throttled" not in response[1]["detail"]
    assert "throttled" in broken.log.getvalue()
    broken.metrics.clear_metrics()


def test_models_are_listed_and_described(api: Api) -> None:
    api.store.put(INDEX_KEY, write_index({"ec2-cpu": "v1"}))
    assert api.call("GET", "/models")[1] == {"models": ["ec2-cpu"], "next": None}
    _, detail, _ = api.call("GET", "/models/ec2-cpu")
    assert detail["kind"] == "value-forest"
    assert detail["figures"] == {"f1": 0.5, "mean_delay_minutes": None}
    assert (detail["created"], detail["threshold"]) == (CREATED, 0.75)


def test_many_models_are_listed_by_page(api: Api) -> None:
    names = [f"web-{number:04}" for number in range(1_500)]
    api.store.put(INDEX_KEY, write_index(dict.fromkeys(["db", *names], "v1")))
    first = api.call("GET", "/models")[1]
    assert first == {"models": ["db", *names[:999]], "next": names[998]}
    second = api.call("GET", f"/models?after={first['next']}")[1]
    assert second == {"models": names[999:], "next": None}
    some = api.call("GET", "/models?prefix=web-00&limit=2")[1]
    assert some == {"models": names[:2], "next": names[1]}
    assert api.call("GET", "/models?prefix=x")[1] == {"models": [], "next": None}
    assert api.call("GET", "/models?after=zzz")[1] == {"models": [], "next": None}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("limit=0", {"field": "query.limit", "message": "Expected `int` >= 1"}),
        ("limit=1001", {"field": "query.limit", "message": "Expected `int` <= 1000"}),
        ("limit=all", {"field": "query.limit", "message": "Expected `int`, got `str`"}),
        ("page=2", {"field": "query.page", "message": "Unknown field"}),
    ],
)
def test_an_invalid_query_is_a_422_that_names_the_parameter(
    api: Api, query: str, fault: dict[str, str]
) -> None:
    response = api.call("GET", f"/models?{query}")
    assert is_problem(response, 422)
    assert response[1]["errors"] == [fault]


def test_an_unexpected_error_is_a_500_in_the_same_form(api: Api) -> None:
    api.store.failure = ZeroDivisionError("a bug")
    response = api.predict(b'{"value": 1, "model": "other"}')
    assert is_problem(response, 500)
    assert "a bug" not in response[1]["detail"]
    assert "a bug" in api.log.getvalue()


def test_no_part_of_a_request_is_logged(api: Api) -> None:
    api.predict(b'{"value": 12345.678}', headers=(JSON, ("x-api-key", "s3cret-key")))
    api.predict(b'{"wrong": "s3cret-body"}', headers=(JSON, ("x-api-key", "s3cret-key")))
    api.store.objects.clear()
    Api().predict(b'{"value": 12345.678}')
    logged = api.log.getvalue()
    assert not any(secret in logged for secret in ("s3cret-key", "s3cret-body", "12345.678"))


def test_predictions_and_failures_are_counted(api: Api) -> None:
    api.predict(b'{"value": 2.0}')
    assert api.metrics.metric_set.keys() == {"Predictions", "Anomalies"}
    api.metrics.clear_metrics()
    api.store.objects.clear()
    api.predict(b'{"value": 2.0, "model": "gone"}')
    assert not api.metrics.metric_set  # the caller's mistake is no fault of the service


def test_the_document_cannot_break_out_of_its_page(api: Api) -> None:
    page = api.raw("GET", "/docs")["body"]
    spec = page.rsplit("spec: ", 1)[1].partition("});\n")[0]
    assert json.loads(spec) == api.call("GET", "/openapi.json")[1]
    assert "</" not in spec


def test_the_docs_page_contains_its_script(api: Api) -> None:
    response = api.raw("GET", "/docs")
    assert response["statusCode"] == 200
    assert "SwaggerUIBundle" in response["body"]
    assert "<script src=" not in response["body"]
