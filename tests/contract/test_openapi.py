"""The committed OpenAPI document is made from the code, served as it is, and kept by the API."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st

from local.gateway import listen, serve
from local.openapi import openapi_document
from ops_anomaly.api.routes import DOCUMENT as DOCUMENT_FILE
from ops_anomaly.api.schemas import DetectRequest
from tests.conftest import PublishedModel

COMMITTED = Path(__file__).parents[2] / "openapi.json"
DOCUMENT = json.loads(COMMITTED.read_text(encoding="utf-8"))

# of all times of the format, the years that the API accepts
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)).map(
    lambda t: f"{t.isoformat()}Z"
)
schemathesis.openapi.format("date-time", TIMES)


def test_the_committed_document_has_not_drifted() -> None:
    assert openapi_document() + "\n" == COMMITTED.read_text(encoding="utf-8"), (
        "the API has changed: if that is intended, run make openapi and commit the document"
    )


def test_the_document_at_the_top_is_the_packaged_one() -> None:
    assert COMMITTED.resolve() == DOCUMENT_FILE.resolve()


def test_every_route_documents_its_errors_in_one_form() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status != "200":
                    assert list(response["content"]) == ["application/problem+json"], (path, status)


@pytest.fixture(scope="module")
def api_url(published_model: PublishedModel) -> Iterator[str]:
    """The real handler over a model in moto's bucket, behind the local gateway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_BUCKET", published_model.bucket)
        patch.setenv("AWS_ENDPOINT_URL", published_model.endpoint_url)
        patch.setenv("POWERTOOLS_METRICS_NAMESPACE", "test")
        patch.setenv("POWERTOOLS_SERVICE_NAME", "test")
        sys.modules.pop("ops_anomaly.api.handler", None)
        handler = importlib.import_module("ops_anomaly.api.handler").lambda_handler
        with serve(handler, listen(0)) as url:
            yield url
        sys.modules.pop("ops_anomaly.api.handler", None)


@pytest.fixture(scope="module")
def api(api_url: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{api_url}/openapi.json")


def test_the_document_is_served_as_committed(api_url: str) -> None:
    assert requests.get(f"{api_url}/openapi.json", timeout=20).content == COMMITTED.read_bytes()


def with_timestamps_of_one_form(case: schemathesis.Case) -> schemathesis.Case:
    """Make all timestamps seconds where one is a number: a schema can't ask for one form."""
    body: Any = case.body
    try:
        request = msgspec.convert(body, DetectRequest)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return case  # of another route, or generated to be refused
    if any(isinstance(reading.timestamp, float) for reading in request.series):
        for number, reading in enumerate(body["series"]):
            reading["timestamp"] = 1_767_225_600 + number
    return case


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, operations in DOCUMENT["paths"].items() for method in operations],
)
def test_any_request_gets_a_documented_response(
    api: schemathesis.BaseSchema, path: str, method: str
) -> None:
    operation = api[path][method.upper()]

    @settings(max_examples=25, database=None)
    @given(operation.as_strategy().map(with_timestamps_of_one_form))
    def response_is_documented(case: schemathesis.Case) -> None:
        case.call_and_validate()

    response_is_documented()
