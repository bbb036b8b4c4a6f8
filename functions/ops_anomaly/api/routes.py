"""What can be asked for: one table, which the routes and the OpenAPI document are made from.

The routes: read the request, ask the registry or a detector, answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.metrics import MetricUnit

from ops_anomaly.api import problems
from ops_anomaly.api.problems import InvalidRequestError
from ops_anomaly.api.requests import JSON_MEDIA_TYPE, body_of, parse
from ops_anomaly.api.schemas import (
    DetectRequest,
    DetectResponse,
    Health,
    ModelDetail,
    ModelList,
    ModelName,
    PredictRequest,
    PredictResponse,
    Status,
)
from ops_anomaly.aws.errors import ModelNotFoundError, ModelUnavailableError
from ops_anomaly.validation import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from aws_lambda_powertools import Logger, Metrics

    from ops_anomaly.aws.models import LoadedModel, ModelRegistry
    from ops_anomaly.validation import Contract


BAD_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A method on a path.

    Attributes
    ----------
    name : str
        The function that answers.
    path : str
        Parts in braces are parameters.
    answer, request : type
        Contracts of the bodies.
    errors : tuple of HTTPStatus
        What else it answers, besides what any route may.
    parameters
        Types of the path's parameters, by name.
    """

    name: str
    method: str
    path: str
    summary: str
    description: str = ""
    answer: type[Contract]
    request: type[Contract] | None = None
    errors: tuple[HTTPStatus, ...] = ()
    parameters: Mapping[str, Any] | None = None


OPERATIONS = (
    Operation(name="root", method="GET", path="/", summary="Sign of life", answer=Status),
    Operation(
        name="health",
        method="GET",
        path="/health",
        summary="Version and age of the default model",
        answer=Health,
        errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        name="predict",
        method="POST",
        path="/predict",
        summary="Judge one reading",
        description="Is this value an anomaly as the next reading? -1 means yes.",
        request=PredictRequest,
        answer=PredictResponse,
        errors=(*BAD_BODY, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        name="detect",
        method="POST",
        path="/detect",
        summary="Judge a series",
        description="Scores, bounds and reasons for each reading, and the alerts. With a model, as "
        "what follows its history; without one, by itself: the first 15 % only teach it. No "
        "verdict depends on later readings, but for their number and the usual step.",
        request=DetectRequest,
        answer=DetectResponse,
        errors=(*BAD_BODY, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        name="models",
        method="GET",
        path="/models",
        summary="Names of all published models",
        answer=ModelList,
        errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Operation(
        name="model",
        method="GET",
        path="/models/{name}",
        summary="What a model is and what was measured of it",
        answer=ModelDetail,
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        parameters={"name": ModelName},
    ),
)


PREDICT = msgspec.json.Decoder(PredictRequest)


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def answer(body: Contract, model: LoadedModel | None = None) -> Response[str]:
    """Return a body as an answer, with the version of the model that gave it."""
    return json_answer(msgspec.json.encode(body).decode(), model)


def json_answer(body: str, model: LoadedModel | None = None) -> Response[str]:
    """Return a JSON text as an answer."""
    return Response(
        status_code=HTTPStatus.OK.value,
        content_type=JSON_MEDIA_TYPE,
        headers={"X-Model-Version": model.version} if model else {},
        body=body,
    )


def build_app(
    registry: ModelRegistry,
    default_model: str,
    logger: Logger,
    metrics: Metrics,
    now: Callable[[], datetime] = utc_now,
) -> APIGatewayRestResolver:
    """Return the API over these models; `app.resolve(event, context)` answers a request."""
    app = APIGatewayRestResolver()

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

    def root() -> Response[str]:
        return answer(Status(status="API is running"))

    def health() -> Response[str]:
        model = served(None)
        created = datetime.fromisoformat(model.created) if model.created else None
        return answer(
            Health(
                status="ok",
                model=default_model,
                version=model.version,
                created=model.created,
                age_seconds=(now() - created).total_seconds() if created else None,
            )
        )

    def predict() -> Response[str]:
        request = parse(body_of(app.current_event), PREDICT)
        model = served(request.model)
        is_anomaly = model.detector.predict(request.value)
        metrics.add_metric("Predictions", MetricUnit.Count, 1)
        metrics.add_metric("Anomalies", MetricUnit.Count, int(is_anomaly))
        return answer(PredictResponse(is_anomaly, -1 if is_anomaly else 1), model)

    def detect() -> Response[str]:
        from ops_anomaly.api.detect import (  # arrays: a value forest's /predict does without
            DETECT,
            judge,
        )

        request = parse(body_of(app.current_event), DETECT)
        model = served(request.model) if request.model else None
        judged = judge(request, model)
        metrics.add_metric("Readings", MetricUnit.Count, judged.readings)
        metrics.add_metric("Anomalies", MetricUnit.Count, judged.anomalies)
        metrics.add_metric("Alerts", MetricUnit.Count, judged.alerts)
        return json_answer(judged.body, model)

    def models() -> Response[str]:
        return answer(ModelList(models=registry.names()))

    def model(name: str) -> Response[str]:
        invalid = InvalidRequestError(faults(name, ModelName, ("path", "name")))
        if invalid.faults:
            raise invalid
        found = served(name)
        manifest = found.manifest
        return answer(
            ModelDetail(
                name=name,
                version=found.version,
                kind=manifest.kind,
                created=found.created,
                threshold=manifest.threshold,
                training_data=dict(manifest.training_data),
                figures=dict(manifest.figures),
                libraries=dict(manifest.libraries),
            )
        )

    handlers = {each.__name__: each for each in (root, health, predict, detect, models, model)}
    for operation in OPERATIONS:
        rule = operation.path.replace("{", "<").replace("}", ">")
        app.route(rule, operation.method)(handlers[operation.name])

    @app.get("/docs")
    def docs() -> Response[str]:
        from ops_anomaly.api.openapi import page  # nobody else needs the schemas

        return Response(status_code=HTTPStatus.OK.value, content_type="text/html", body=page())

    @app.get("/openapi.json")
    def openapi() -> Response[str]:
        from ops_anomaly.api.openapi import document

        return json_answer(document())

    return app
