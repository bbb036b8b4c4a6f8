"""Bodies of requests: what is accepted, and how the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from local.gateway import LocalContext, proxy_event
from ops_anomaly.api import problems
from ops_anomaly.api.problems import MAX_FAULTS
from ops_anomaly.api.requests import MAX_BODY_CHARACTERS
from tests.support.api_client import JSON, Api, is_problem
from tests.support.fakes import small_artifact


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.store.put_model("ec2-cpu", small_artifact())
    yield api
    api.metrics.clear_metrics()


@pytest.mark.parametrize(
    "body",
    [
        b'{"value": 0.5, "model": null}',
        b'\n {"value":5e-1}',
        b'{"value": "x", "value": 0.5}',  # the last one counts
        b'{"value": 0.5, "model": 7, "model": null}',
    ],
)
def test_any_spelling_of_the_same_json_is_accepted(api: Api, body: bytes) -> None:
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
def test_json_that_does_not_conform_is_422(api: Api, body: bytes) -> None:
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
def test_a_body_that_is_not_json_is_400(api: Api, body: bytes) -> None:
    assert is_problem(api.predict(body), 400)


@pytest.mark.parametrize(
    ("extra", "status"), [(-1, 200), (0, 200), (1, 413)], ids=["n-1", "n", "n+1"]
)
def test_the_size_limit_of_a_body(api: Api, extra: int, status: int) -> None:
    body = b'{"value": 0.5}'
    assert api.predict(body.ljust(MAX_BODY_CHARACTERS + extra))[0] == status


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", "application/xml"])
def test_other_content_types_are_415(api: Api, content_type: str) -> None:
    response = api.predict(b'{"value": 0.5}', headers=(("content-type", content_type),))
    assert is_problem(response, 415)
    assert "application/json" in response[1]["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "Application/JSON",
        " application/json ",
        "application/x-www-form-urlencoded",  # curl -d
    ],
)
def test_a_json_body_is_accepted_with_this_content_type(api: Api, content_type: str) -> None:
    headers = (("content-type", content_type),)
    assert api.predict(b'{"value": 0.5}', headers=headers)[0] == 200


def test_a_json_body_needs_no_content_type(api: Api) -> None:
    assert api.predict(b'{"value": 0.5}', headers=())[0] == 200


def test_a_form_is_400(api: Api) -> None:
    headers = (("content-type", "application/x-www-form-urlencoded"),)
    assert is_problem(api.predict(b"value=0.5", headers=headers), 400)


@pytest.mark.parametrize("body", ['{"value": "\ud800"}', '{"value": 1, "\ud800": 1}'])
def test_half_of_a_surrogate_pair_is_422(api: Api, body: str) -> None:
    event = proxy_event("POST", "/predict", "", [JSON], b"") | {"body": body}
    response = api.app.resolve(event, LocalContext())
    assert response["statusCode"] == 422


@pytest.mark.parametrize("body", ["x", "\u00e9", "/w=="])
def test_a_body_that_is_not_base64_of_utf_8_is_400(api: Api, body: str) -> None:
    event = proxy_event("POST", "/predict", "", [JSON], b"")
    response = api.app.resolve(event | {"body": body, "isBase64Encoded": True}, LocalContext())
    assert response["statusCode"] == 400


@pytest.mark.parametrize("name", ["No-Name", "x" * 5000, "<script>"])
def test_an_invalid_model_name_is_not_repeated(api: Api, name: str) -> None:
    for response in (
        api.call("GET", f"/models/{name}"),
        api.predict(json.dumps({"value": 1, "model": name}).encode()),
        api.predict(json.dumps({"value": 1, "model": "x\n"}).encode()),
    ):
        assert is_problem(response, 422)
        assert name not in json.dumps(response[1])


def test_a_422_names_the_fields_but_repeats_no_input(api: Api) -> None:
    _, body, _ = api.predict(b'{"value": "s3cret", "modle": "x"}')
    assert {error["field"] for error in body["errors"]} == {"body.value", "body.modle"}
    assert "s3cret" not in json.dumps(body)


def test_a_422_stays_small_whatever_was_sent(api: Api) -> None:
    many = {f"{i}" * 300: 1 for i in range(1000)}
    _, body, _ = api.predict(json.dumps(many).encode())
    assert len(body["errors"]) == MAX_FAULTS
    assert all(len(error["field"]) <= problems.MAX_FIELD for error in body["errors"])
