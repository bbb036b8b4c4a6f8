"""The routes: read the request, ask the registry or a detector, answer."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path
from aws_lambda_powertools.metrics import MetricUnit

from api import problems
from api.body import parse_json
from api.contracts import (
    Contract,
    DetectRequest,
    DetectResponse,
    Health,
    ModelDetail,
    ModelList,
    ModelName,
    PredictRequest,
    PredictResponse,
    Problem,
    Status,
)
from api.openapi import DOCUMENT
from registry.errors import ModelNotFoundError, ModelUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_lambda_powertools import Logger, Metrics

    from registry.models import LoadedModel, ModelRegistry

JSON = "application/json"


# API Gateway answers these before the function is asked; Powertools would describe 422 on every
# route by itself, in a form that is not ours.
ANYWHERE = (
    HTTPStatus.FORBIDDEN,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
BAD_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


def documented(*statuses: HTTPStatus, answer: type[Contract] | None = None) -> dict[int, Any]:
    """Return the OpenAPI descriptions of a route's answers: 200, these errors, those anywhere.

    Parameters
    ----------
    answer
        What 200 answers, where the route's annotation does not say it.
    """
    success: dict[str, Any] = {"description": "Success"}
    if answer:
        success["content"] = {JSON: {"model": answer}}
    return {HTTPStatus.OK.value: success} | {
        status.value: {
            "description": problems.title(status),
            "content": {problems.CONTENT_TYPE: {"model": Problem}},
        }
        for status in sorted({*statuses, *ANYWHERE})
    }


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def build_app(
    registry: ModelRegistry,
    default_model: str,
    logger: Logger,
    metrics: Metrics,
    now: Callable[[], datetime] = utc_now,
) -> APIGatewayRestResolver:
    """Return the API over these models; `app.resolve(event, context)` answers a request."""
    app = APIGatewayRestResolver(enable_validation=True, json_body_deserializer=parse_json)
    app.configure_openapi(**DOCUMENT)
    app.enable_swagger(path="/docs", title=DOCUMENT["title"])

    def allowed_methods(path: str) -> list[str]:
        routes = app._static_routes + app._dynamic_routes  # Powertools has no public way to ask
        return [route.method for route in routes if route.rule.match(path)]

    problems.register(app, logger, allowed_methods)

    def served(name: str | None) -> LoadedModel:
        try:
            return registry.get(name or default_model)
        except ModelNotFoundError as error:
            if name is not None:
                raise
            metrics.add_metric("ModelLoadFailed", MetricUnit.Count, 1)
            # the default model's absence is our fault, not the caller's
            raise ModelUnavailableError(str(error)) from error
        except ModelUnavailableError:
            metrics.add_metric("ModelLoadFailed", MetricUnit.Count, 1)
            raise

    @app.get("/", summary="Sign of life", responses=documented())
    def root() -> Status:
        return Status(status="API is running")

    @app.get(
        "/health",
        summary="Version and age of the default model",
        responses=documented(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    def health() -> Health:
        model = served(None)
        created = datetime.fromisoformat(model.created) if model.created else None
        return Health(
            status="ok",
            model=default_model,
            version=model.version,
            created=model.created,
            age_seconds=(now() - created).total_seconds() if created else None,
        )

    @app.post(
        "/predict",
        summary="Judge one reading",
        description="Is this value an anomaly as the next reading? -1 means yes.",
        responses=documented(*BAD_BODY, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    def predict(request: PredictRequest) -> Response[PredictResponse]:
        model = served(request.model)
        is_anomaly = model.detector.predict(request.value)
        metrics.add_metric("Predictions", MetricUnit.Count, 1)
        metrics.add_metric("Anomalies", MetricUnit.Count, int(is_anomaly))
        return Response(
            status_code=HTTPStatus.OK.value,
            content_type=JSON,
            headers={"X-Model-Version": model.version},
            body=PredictResponse(is_anomaly=is_anomaly, predicted_value=-1 if is_anomaly else 1),
        )

    @app.post(
        "/detect",
        summary="Judge a series",
        description="Scores, bounds and reasons for each reading, and the alerts. With a model, as "
        "what follows its history; without one, by itself: the first 15 % only teach it. No "
        "verdict depends on later readings, but for their number and the usual step.",
        responses=documented(
            *BAD_BODY,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.SERVICE_UNAVAILABLE,
            answer=DetectResponse,
        ),
    )
    def detect(request: DetectRequest) -> Response[str]:
        from api.detect import judge  # arrays: a value forest's /predict does without

        model = served(request.model) if request.model else None
        judged = judge(request, model)
        metrics.add_metric("Readings", MetricUnit.Count, judged.readings)
        metrics.add_metric("Anomalies", MetricUnit.Count, judged.anomalies)
        metrics.add_metric("Alerts", MetricUnit.Count, judged.alerts)
        return Response(
            status_code=HTTPStatus.OK.value,
            content_type=JSON,
            headers={"X-Model-Version": model.version} if model else {},
            body=judged.body,
        )

    @app.get(
        "/models",
        summary="Names of all published models",
        responses=documented(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    def models() -> ModelList:
        return ModelList(models=registry.names())

    @app.get(
        "/models/<name>",
        summary="What a model is and what was measured of it",
        responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    def model(name: Annotated[ModelName, Path()]) -> ModelDetail:
        found = served(name)
        manifest = found.manifest
        return ModelDetail(
            name=name,
            version=found.version,
            kind=manifest.kind,
            created=found.created,
            threshold=manifest.threshold,
            training_data=dict(manifest.training_data),
            figures=dict(manifest.figures),
            libraries=dict(manifest.libraries),
        )

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response[str]:
        return Response(
            status_code=HTTPStatus.OK.value, content_type=JSON, body=app.get_openapi_json_schema()
        )

    return app
