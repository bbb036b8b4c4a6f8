"""The API over a fake bucket, called as API Gateway would."""

from __future__ import annotations

import io
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from local.gateway import LocalContext, proxy_event
from ops_anomaly.api import routes
from ops_anomaly.aws.models import ModelRegistry
from tests.support.fakes import FakeStore

JSON = ("content-type", "application/json")

Response = tuple[int, dict[str, Any], dict[str, str]]
"""Status, parsed body and headers."""


class Api:
    """The API over a fake bucket, and what it logged."""

    def __init__(self, *, azure_compatible: bool = False) -> None:
        self.store, self.log = FakeStore(), io.StringIO()
        self.metrics = Metrics(namespace="test", service="test")
        registry = ModelRegistry(
            self.store, ttl_seconds=300, cache_bytes=10**6, on_refresh_failed=lambda *_: None
        )
        logger = Logger(service=f"test-{uuid.uuid4()}", stream=self.log)
        self.app = routes.build_app(
            registry,
            "ec2-cpu",
            logger,
            self.metrics,
            now=lambda: datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
            azure_compatible=azure_compatible,
        )

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (JSON,),
    ) -> Response:
        response = self.raw(method, path, body, headers)
        sent = {name: values[0] for name, values in response["multiValueHeaders"].items()}
        return response["statusCode"], json.loads(response["body"]), sent

    def raw(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (JSON,),
    ) -> dict[str, Any]:
        """Return the response as API Gateway gets it."""
        path, _, query = path.partition("?")
        event = proxy_event(method, path, query, list(headers), body)
        return self.app.resolve(event, LocalContext())

    def predict(self, body: bytes, **more: Any) -> Response:
        return self.call("POST", "/predict", body, **more)


def is_problem(response: Response, status: int) -> bool:
    """Return True for an error in the one form that all errors have; fail on anything else."""
    got, body, headers = response
    assert got == status, body
    assert headers["Content-Type"] == "application/problem+json"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body.keys() <= {"title", "status", "detail", "errors"}
    return True
