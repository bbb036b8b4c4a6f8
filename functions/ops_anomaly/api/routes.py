"""The routes: path, contracts and errors of each stand beside its function.

`local/openapi.py` makes the OpenAPI document of the same: a function's docstring is the summary
and the description of its route.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import aws_lambda_powertools
import msgspec
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.metrics import MetricUnit

from ops_anomaly.api import problems
from ops_anomaly.api.problems import InvalidRequestError
from ops_anomaly.api.requests import JSON_MEDIA_TYPE, body_of, parse, parse_query
from ops_anomaly.api.schemas import (
    DetectRequest,
    DetectResponse,
    Health,
    ModelDetail,
    ModelList,
    ModelName,
    ModelsQuery,
    PredictRequest,
    PredictResponse,
    Status,
)
from ops_anomaly.aws.errors import ModelNotFoundError, ModelUnavailableError
from ops_anomaly.validation import faults

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from ops_anomaly.aws.models import LoadedModel, ModelRegistry
    from ops_anomaly.validation import Contract

    Handler = TypeVar("Handler", bound=Callable[..., Response[str]])


@dataclass(frozen=True, kw_only=True)
class Route:
    """A method on a path, and the function that responds.

    Attributes
    ----------
    path : str
        Parts in braces are parameters.
    request, response : type
        Contracts of the bodies; a request is parsed before the function is called. The document
        leaves out routes without a contract of the response.
    query : type
        Contract of the query's parameters, which are parsed then too; those of a route without
        one are ignored.
    errors : tuple of HTTPStatus
        Statuses that the document lists beside 200 and those of any route.
    parameters
        Contracts of the path's parameters, by name.
    has_page : bool
        Whether it also responds with a page of HTML, where `Accept` prefers that.
    function
        Called with the service, the request or the query if it has a contract, the path's
        parameters, and whether a page is wanted if it has one.
    """

    method: str
    path: str
    request: type[Contract] | None = None
    response: type[Contract] | None = None
    query: type[Contract] | None = None
    errors: tuple[HTTPStatus, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    has_page: bool = False
    function: Callable[..., Response[str]]


HTML_MEDIA_TYPE = "text/html"

ROUTES: list[Route] = []


def route(method: str, path: str, **more: Any) -> Callable[[Handler], Handler]:
    """Add the decorated function to `ROUTES`; see `Route`."""

    def add(function: Handler) -> Handler:
        ROUTES.append(Route(method=method, path=path, function=function, **more))
        return function

    return add


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    registry: ModelRegistry
    default_model: str
    metrics: Metrics
    now: Callable[[], datetime]

    def model(self, name: str | None) -> LoadedModel:
        """Return the model of this name, or the default one.

        Raises
        ------
        InvalidModelNameError, ModelNotFoundError, ModelUnavailableError
            As `ModelRegistry.get`; a missing default model is unavailable.
        """
        try:
            return self.registry.get(name or self.default_model)
        except ModelNotFoundError as error:
            if name is not None:
                raise
            self.count("ModelLoadFailed")
            # the default model's absence is our fault, not the caller's
            raise ModelUnavailableError(str(error)) from error
        except ModelUnavailableError:
            self.count("ModelLoadFailed")
            raise

    def count(self, metric: str, number: int = 1) -> None:
        """Add to a metric of the function."""
        self.metrics.add_metric(metric, MetricUnit.Count, number)


BAD_BODY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


@route("GET", "/", response=Status)
def root(service: Service) -> Response[str]:
    """Sign of life."""
    return respond(Status(status="API is running"))


@route("GET", "/health", response=Health, errors=(HTTPStatus.SERVICE_UNAVAILABLE,))
def health(service: Service) -> Response[str]:
    """Version and age of the default model."""
    model = service.model(None)
    created = datetime.fromisoformat(model.created) if model.created else None
    return respond(
        Health(
            status="ok",
            model=service.default_model,
            version=model.version,
            created=model.created,
            age_seconds=(service.now() - created).total_seconds() if created else None,
        )
    )


@route(
    "POST",
    "/predict",
    request=PredictRequest,
    response=PredictResponse,
    errors=(*BAD_BODY, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
def predict(service: Service, request: PredictRequest) -> Response[str]:
    """Evaluate one reading.

    Would this value be an anomaly as the next reading? -1 means yes.
    """
    model = service.model(request.model)
    is_anomaly = model.detector.predict(request.value)
    service.count("Predictions")
    service.count("Anomalies", int(is_anomaly))
    return respond(PredictResponse(is_anomaly, -1 if is_anomaly else 1), model)


@route(
    "POST",
    "/detect",
    request=DetectRequest,
    response=DetectResponse,
    errors=(*BAD_BODY, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    has_page=True,
)
def detect(service: Service, request: DetectRequest, *, as_page: bool) -> Response[str]:
    """Evaluate a series.

    Scores, bounds and reasons for each reading, and the alerts. With a model, the series continues
    the model's history; without one, its first 15 % only warm the detector up. No result depends on
    later readings, except on their number and the usual step. With `Accept: text/html`, the
    response is a page that lists the alerts, each with a chart.
    """
    from ops_anomaly.api.detect import evaluate  # imports numpy, which not every model needs

    model = service.model(request.model) if request.model else None
    response = evaluate(request, model)
    service.count("Readings", len(response.points))
    service.count("Anomalies", sum(point.is_anomaly for point in response.points))
    service.count("Alerts", len(response.alerts))
    if as_page:
        from ops_anomaly.api.alert_list import alert_list  # what programs never need

        return respond_with_page(alert_list(response), model)
    return respond(response, model)


@route(
    "GET",
    "/models",
    query=ModelsQuery,
    response=ModelList,
    errors=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
def models(service: Service, query: ModelsQuery) -> Response[str]:
    """Names of published models, by page."""
    names = service.registry.names()
    first = bisect_right(names, query.after)
    found = [name for name in names[first:] if name.startswith(query.prefix)]
    page = found[: query.limit]
    return respond(ModelList(models=page, next=page[-1] if len(found) > len(page) else None))


@route(
    "GET",
    "/models/{name}",
    response=ModelDetail,
    errors=(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    parameters={"name": ModelName},
)
def model(service: Service, name: str) -> Response[str]:
    """Version, origin and figures of a model."""
    invalid = InvalidRequestError(faults(name, ModelName, ("path", "name")))
    if invalid.faults:
        raise invalid
    found = service.model(name)
    manifest = found.manifest
    return respond(
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


@route("GET", "/docs")
def docs(service: Service) -> Response[str]:
    """Page that shows the OpenAPI document."""
    return Response(HTTPStatus.OK.value, content_type=HTML_MEDIA_TYPE, body=docs_page())


@route("GET", "/openapi.json")
def openapi(service: Service) -> Response[str]:
    """OpenAPI document of this API."""
    return Response(HTTPStatus.OK.value, content_type=JSON_MEDIA_TYPE, body=openapi_document())


def respond(body: Contract, model: LoadedModel | None = None) -> Response[str]:
    """Return a 200 with the body, and with the version of the model behind it."""
    return Response(
        HTTPStatus.OK.value,
        content_type=JSON_MEDIA_TYPE,
        headers={"X-Model-Version": model.version} if model else {},
        body=msgspec.json.encode(body).decode(),
    )


def respond_with_page(page: str, model: LoadedModel | None) -> Response[str]:
    """Return a 200 with a page of HTML, in which no script can run."""
    return Response(
        HTTPStatus.OK.value,
        content_type=f"{HTML_MEDIA_TYPE}; charset=utf-8",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        | ({"X-Model-Version": model.version} if model else {}),
        body=page,
    )


def prefers_page(accept: str) -> bool:
    """Return whether a header `Accept` names HTML, and no JSON that is as welcome.

    Examples
    --------
    >>> prefers_page("text/html,application/xhtml+xml,*/*;q=0.8"), prefers_page("*/*")
    (True, False)
    >>> prefers_page("application/json, text/html;q=0.9")
    False
    """
    weights = {HTML_MEDIA_TYPE: 0.0, JSON_MEDIA_TYPE: 0.0}
    for each in accept.lower().replace(" ", "").split(","):
        name, *parameters = each.split(";")
        weight = re.search(r";q=(0(?:\.\d*)?)(;|$)", each) if parameters else None
        weights[name] = float(weight[1]) if weight else 1.0
    return weights[HTML_MEDIA_TYPE] > weights[JSON_MEDIA_TYPE]


AZURE_PATH = "anomalydetector/"
"""Azure's paths have a package of their own: other contracts, errors and headers."""


class Api(APIGatewayRestResolver):
    """The resolver of Powertools; it also supports HEAD, and refuses newlines in paths.

    Attributes
    ----------
    azure : callable, optional
        Responds to the events whose paths are below `AZURE_PATH`; without it there are none.
    """

    azure: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def resolve(self, event: Any, context: Any) -> dict[str, Any]:
        """Respond to one REST proxy event."""
        path, is_head = event["path"], event["httpMethod"] == "HEAD"
        if self.azure and path.lower().lstrip("/").startswith(AZURE_PATH):
            return self.azure(event)
        if not path.isprintable():  # a route's pattern would also match with a newline at the end
            event = event | {"path": quote(path, errors="replace")}
        if not is_head:
            return super().resolve(event, context)
        return super().resolve(event | {"httpMethod": "GET"}, context) | {"body": ""}

    def allowed_methods(self, path: str) -> list[str]:
        """Return the methods that a path has; none if there is no such path."""
        routes = self._static_routes + self._dynamic_routes  # Powertools has no public list
        methods = [each.method for each in routes if each.rule.match(path)]
        return [*methods, "HEAD"] if "GET" in methods else methods


def build_app(
    registry: ModelRegistry,
    default_model: str,
    logger: Logger,
    metrics: Metrics,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    *,
    azure_compatible: bool = False,
) -> Api:
    """Return the API over these models; `app.resolve(event, context)` responds to a request.

    Parameters
    ----------
    azure_compatible
        Whether clients of Azure AI Anomaly Detector are served too.
    """
    app = Api()
    service = Service(registry, default_model, metrics, now)
    if azure_compatible:
        app.azure = partial(_respond_to_azure, service, logger)
    for each in ROUTES:
        rule = each.path.replace("{", "<").replace("}", ">")
        app.route(rule, each.method)(_responding(app, service, each))
    problems.register(app, logger, app.allowed_methods)
    return app


def _respond_to_azure(service: Service, logger: Logger, event: dict[str, Any]) -> dict[str, Any]:
    """Respond to a client of Azure AI Anomaly Detector."""
    from ops_anomaly.azure.service import respond as respond_in_azures_form  # imports numpy

    return respond_in_azures_form(event, logger, service.count)


def _responding(app: Api, service: Service, called: Route) -> Callable[..., Response[str]]:
    """Return the function that Powertools calls for a route, with the path's parameters."""

    def handle(**parameters: str) -> Response[str]:
        event, wanted = app.current_event, {}
        if called.query is not None:
            query = parse_query(event.query_string_parameters or {}, called.query)
            return called.function(service, query, **parameters)
        if called.request is None:
            return called.function(service, **parameters)
        if called.has_page:
            wanted["as_page"] = prefers_page(event.headers.get("accept", ""))
        request = parse(body_of(event), called.request)
        return called.function(service, request, **parameters, **wanted)

    return handle


DOCUMENT = Path(__file__).with_name("openapi.json")
SWAGGER_UI = Path(aws_lambda_powertools.__file__).parent / "event_handler/openapi/swagger_ui"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Anomaly detection for operations metrics</title>
<style>{style}</style>
</head>
<body>
<div id="swagger-ui"></div>
<script>{script}</script>
<script>
const ui = SwaggerUIBundle({{dom_id: "#swagger-ui", deepLinking: true, spec: {document}}});
// the target of the page's link to the document
ui.specActions.updateUrl(new URL("openapi.json", location).pathname);
</script>
</body>
</html>
"""


@cache
def openapi_document() -> str:
    """Return the document, as JSON text; `make openapi` writes it."""
    return DOCUMENT.read_text(encoding="utf-8")


def docs_page() -> str:
    """Return Swagger UI with the document: one page that loads nothing, and so works offline.

    Script and style are those that come with Powertools.
    """
    return PAGE.format(
        script=(SWAGGER_UI / "swagger-ui-bundle.min.js").read_text(encoding="utf-8"),
        style=(SWAGGER_UI / "swagger-ui.min.css").read_text(encoding="utf-8"),
        document=openapi_document().replace("</", "<\\/"),
    )
