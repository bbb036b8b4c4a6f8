"""Every route's answers and every error's form, over models in memory."""

from __future__ import annotations

import json

import pytest

from api import problems
from api.body import MAX_BODY_CHARACTERS
from api.errors import MAX_FAULTS
from detector.artifact import digest
from local.door import LocalContext
from local.proxy_event import proxy_event
from registry.errors import StoreUnavailableError
from registry.keys import INDEX_KEY, model_key
from tests.api_client import JSON, Api, is_problem
from tests.fakes import CREATED, small_artifact


@pytest.fixture
def api() -> Api:
    api = Api()
    api.store.put_model("ec2-cpu", small_artifact())
    yield api
    api.metrics.clear_metrics()


def test_sign_of_life(api: Api) -> None:
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


@pytest.mark.parametrize(
    "body",
    [
        b'{"value": 0.5, "model": null}',
        b'\n {"value":5e-1}',
        b'{"value": "x", "value": 0.5}',  # the last one counts
        b'{"value": 0.5, "model": 7, "model": null}',
    ],
)
def test_predict_takes_any_way_of_writing_it(api: Api, body: bytes) -> None:
    assert api.predict(body)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"wrong_key": 10.0}',
        b'{"value": "0.2"}',
        b'{"value": true}',
        b'{"value": null}',
        b'{"value": [1]}',
        b'{"value": NaN}',
        b'{"value": Infinity}',
        b'{"value": -Infinity}',
        b'{"value": 1e400}',
        b'{"value": 3.5e38}',
        b'{"value": ' + b"9" * 5000 + b"}",
        b'{"value": 1, "modle": "x"}',
        b'{"value": 1, "model": "No Name"}',
        b'{"value": 1, "model": "a\\n"}',
        b'{"value": 1, "model": 7}',
        b'{"value": 1, "\\ud800": 1}',
        b'{"value": "\\ud800"}',
        b"null",
        b"5",
        b"[]",
        b'"text"',
    ],
)
def test_what_does_not_fit_the_contract_is_422(api: Api, body: bytes) -> None:
    assert is_problem(api.predict(body), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"value": }',
        b"\xff\xfe",
        b'{"value": "\xe9"}',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1",
        b" ",
        b'{"value": 1} x',
        b'{"value": "x"',
        b'{"value": "x",}',
    ],
)
def test_what_is_no_json_is_400(api: Api, body: bytes) -> None:
    assert is_problem(api.predict(body), 400)


@pytest.mark.parametrize(
    ("extra", "status"), [(-1, 200), (0, 200), (1, 413)], ids=["n-1", "n", "n+1"]
)
def test_the_limit_of_a_body(api: Api, extra: int, status: int) -> None:
    body = b'{"value": 0.5}'
    assert api.predict(body.ljust(MAX_BODY_CHARACTERS + extra))[0] == status


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]
)
def test_other_content_types_are_415(api: Api, content_type: str) -> None:
    answer = api.predict(b'{"value": 0.5}', headers=(("content-type", content_type),))
    assert is_problem(answer, 415)
    assert "application/json" in answer[1]["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", " application/json "]
)
def test_json_may_be_declared_in_any_way(api: Api, content_type: str) -> None:
    headers = (("content-type", content_type),)
    assert api.predict(b'{"value": 0.5}', headers=headers)[0] == 200


@pytest.mark.parametrize("body", ['{"value": "\ud800"}', '{"value": 1, "\ud800": 1}'])
def test_half_of_a_surrogate_pair_is_422(api: Api, body: str) -> None:
    event = proxy_event("POST", "/predict", "", [JSON], b"") | {"body": body}
    answer = api.app.resolve(event, LocalContext())
    assert answer["statusCode"] == 422


@pytest.mark.parametrize("body", ["x", "\u00e9", "/w=="])
def test_what_is_no_base64_of_utf_8_is_400(api: Api, body: str) -> None:
    event = proxy_event("POST", "/predict", "", [JSON], b"")
    answer = api.app.resolve(event | {"body": body, "isBase64Encoded": True}, LocalContext())
    assert answer["statusCode"] == 400


@pytest.mark.parametrize("name", ["No-Name", "x" * 5000, "<script>"])
def test_a_name_that_no_model_can_have_is_not_repeated(api: Api, name: str) -> None:
    for answer in (
        api.call("GET", f"/models/{name}"),
        api.predict(json.dumps({"value": 1, "model": name}).encode()),
        api.predict(json.dumps({"value": 1, "model": "x\n"}).encode()),
    ):
        assert is_problem(answer, 422)
        assert name not in json.dumps(answer[1])


def test_a_body_without_a_content_type_is_json(api: Api) -> None:
    assert api.predict(b'{"value": 0.5}', headers=())[0] == 200


def test_a_422_names_the_fields_but_repeats_no_input(api: Api) -> None:
    _, body, _ = api.predict(b'{"value": "s3cret", "modle": "x"}')
    assert {error["field"] for error in body["errors"]} == {"body.value", "body.modle"}
    assert "s3cret" not in json.dumps(body)


def test_a_422_stays_small_whatever_was_sent(api: Api) -> None:
    many = {f"{i}" * 300: 1 for i in range(1000)}
    _, body, _ = api.predict(json.dumps(many).encode())
    assert len(body["errors"]) == MAX_FAULTS
    assert all(len(error["field"]) <= problems.MAX_FIELD for error in body["errors"])


@pytest.mark.parametrize("created", ["yesterday", "2026-01-01", ""])
def test_an_age_that_nobody_knows_is_null(api: Api, created: str) -> None:
    data = small_artifact()
    api.store.put(model_key("ec2-cpu"), data, sha256=digest(data), created=created)
    status, body, _ = api.call("GET", "/health")
    assert (status, body["created"], body["age_seconds"]) == (200, "", None)


def test_unknown_paths_are_404_and_wrong_methods_405(api: Api) -> None:
    assert is_problem(api.call("GET", "/nothing"), 404)
    assert is_problem(api.call("GET", "/predict"), 405)
    assert api.call("DELETE", "/models/ec2-cpu")[2]["Allow"] == "GET"


def test_an_unknown_model_is_404_and_the_missing_default_503(api: Api) -> None:
    assert is_problem(api.predict(b'{"value": 1, "model": "unknown"}'), 404)
    assert is_problem(api.call("GET", "/models/unknown"), 404)
    assert is_problem(api.call("GET", "/models/Not-A-Name"), 422)
    api.store.objects.clear()
    answer = api.predict(b'{"value": 1}')
    assert is_problem(answer, 503)
    assert answer[2]["Retry-After"]


def test_health_says_version_and_age_or_why_not(api: Api) -> None:
    assert api.call("GET", "/health")[1] == {
        "status": "ok",
        "model": "ec2-cpu",
        "version": "v1",
        "created": CREATED,
        "age_seconds": 60.0,
    }
    broken = Api()
    broken.store.failure = StoreUnavailableError("throttled")
    answer = broken.call("GET", "/health")
    assert is_problem(answer, 503)
    assert "throttled" in answer[1]["detail"]
    broken.metrics.clear_metrics()


def test_models_are_listed_and_described(api: Api) -> None:
    api.store.put(INDEX_KEY, b'{"names": ["ec2-cpu"]}')
    assert api.call("GET", "/models")[1] == {"models": ["ec2-cpu"]}
    _, detail, _ = api.call("GET", "/models/ec2-cpu")
    assert detail["kind"] == "value-forest"
    assert detail["figures"] == {"f1": 0.5, "mean_delay_minutes": None}
    assert (detail["created"], detail["threshold"]) == (CREATED, 0.75)


def test_what_nobody_expected_is_a_500_in_the_same_form(api: Api) -> None:
    api.store.failure = ZeroDivisionError("a bug")
    assert is_problem(api.predict(b'{"value": 1, "model": "other"}'), 500)
    assert "a bug" in api.log.getvalue()  # for us, and not for the caller


def test_nothing_of_a_request_is_logged(api: Api) -> None:
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
    event = proxy_event("GET", "/docs", "", [], b"")
    page = api.app.resolve(event, LocalContext())["body"]
    spec = page.rsplit("spec: ", 1)[1].partition("});\n")[0]
    assert json.loads(spec) == api.call("GET", "/openapi.json")[1]
    assert "</" not in spec


def test_docs_hold_their_own_script(api: Api) -> None:
    event = proxy_event("GET", "/docs", "", [], b"")
    answer = api.app.resolve(event, LocalContext())
    assert answer["statusCode"] == 200
    assert "SwaggerUIBundle" in answer["body"]
    assert "<script src=" not in answer["body"]
