"""What requests and answers look like; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detector.value_range import FLOAT32_MAX
from registry.keys import NAME_PATTERN

ModelName = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="Name of a published model: lower-case letters, digits and hyphens",
        examples=["ec2-cpu"],
    ),
]

# A plain float would take "0.2", true, NaN and Infinity.
Value = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=-FLOAT32_MAX,
        le=FLOAT32_MAX,
        description="A reading of the metric: a finite JSON number within float32's range",
        examples=[0.13],
    ),
]


class Contract(BaseModel):
    """Base of every body: unknown fields are refused, so that a typo is not ignored."""

    model_config = ConfigDict(extra="forbid")


class PredictRequest(Contract):
    """One reading to judge."""

    value: Value
    model: ModelName | None = None


class PredictResponse(Contract):
    """Whether the reading is an anomaly: `predicted_value` is -1 for an anomaly, else 1."""

    is_anomaly: bool
    predicted_value: Literal[1, -1]


class Status(Contract):
    """Sign of life."""

    status: str


class Health(Contract):
    """The default model, as it is served now."""

    status: Literal["ok"]
    model: str
    version: str = Field(description="VersionId of the artifact in the bucket")
    created: str = Field(description="When the model was trained, ISO 8601")
    age_seconds: float | None = Field(description="Seconds since then; null where it is not known")


class ModelList(Contract):
    """Names of all published models."""

    models: list[str]


class ModelDetail(Contract):
    """What a model is and what was measured of it."""

    name: str
    version: str = Field(description="VersionId of the artifact in the bucket")
    kind: str = Field(description="The candidate that won: the kind of detector")
    created: str = Field(description="When the model was trained, ISO 8601")
    threshold: float = Field(description="Scores strictly above it are anomalies")
    training_data: dict[str, Any]
    figures: dict[str, Any] = Field(description="As measured by the training job")
    libraries: dict[str, str]


class FieldError(Contract):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where, as a path: body.value")
    message: str


class Problem(Contract):
    """The body of every error: problem details (RFC 9457)."""

    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do")
    errors: list[FieldError] = []
