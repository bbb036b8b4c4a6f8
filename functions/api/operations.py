"""What can be asked for: one table, which the routes and the OpenAPI document are made from."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from api.contracts import (
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

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from registry.contract import Contract

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
