"""A running API over a bucket of its own: handler, role, obstore and moto's server over HTTP."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from local.gateway import listen, serve
from tests.conftest import Bucket
from tests.support.forwarding import running
from tests.support.roles import EnforcedRole, role_of

TTL_SECONDS = 0.2


@dataclass(frozen=True)
class RunningApi:
    """The API, as a client sees it."""

    url: str

    def predict(self, value: float, model: str | None = None) -> requests.Response:
        body = {"value": value} | ({"model": model} if model else {})
        return requests.post(f"{self.url}/predict", json=body, timeout=20)

    def version(self) -> str:
        return self.predict(0.13).headers["X-Model-Version"]


@pytest.fixture
def api(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    monkeypatch.setenv("MODEL_BUCKET", bucket.name)
    monkeypatch.setenv("MODEL_TTL_SECONDS", str(TTL_SECONDS))
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    monkeypatch.delitem(sys.modules, "ops_anomaly.api.handler", raising=False)  # a cold start
    handler = importlib.import_module("ops_anomaly.api.handler")
    statements = role_of("ApiFunction", {"ModelBucket": bucket.name})
    with (
        running(EnforcedRole(bucket.endpoint_url, statements)) as role,
        serve(handler.lambda_handler, listen(0)) as url,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", role.url)
        yield RunningApi(url)
    handler.metrics.clear_metrics()
