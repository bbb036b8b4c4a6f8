"""What requests and answers look like; the OpenAPI document is made from these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from detector.value_range import FLOAT32_MAX
from registry.keys import NAME_PATTERN


def _iso_text(value: Any) -> Any:
    """Refuse numbers: seconds or milliseconds would be anybody's guess."""
    if not isinstance(value, str) or "-" not in value[:5]:
        raise ValueError("a time of ISO 8601 is needed, like 2014-02-27T17:15:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    """Take a time without an offset as UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


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


Timestamp = Annotated[
    datetime,
    Field(
        # the years 1970 to 2199, and what an offset adds
        ge=datetime(1969, 12, 31, tzinfo=UTC),
        lt=datetime(2200, 1, 2, tzinfo=UTC),
        json_schema_extra={"pattern": "^(19[7-9][0-9]|2[01][0-9]{2})-"},
        description="ISO 8601, from 1970 to 2199; without an offset it is taken as UTC",
        examples=["2014-02-27T17:15:00Z"],
    ),
    BeforeValidator(_iso_text),
    AfterValidator(_in_utc),
]

Sensitivity = Annotated[
    float,
    Field(
        strict=True,
        allow_inf_nan=False,
        ge=0.001,
        le=1000,
        description="False alerts a week that are acceptable, as far as past ones tell: about "
        "1.5 at 5-minute readings where nothing is asked for",
        examples=[1.0],
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


MAX_POINTS = 10_000


class Reading(Contract):
    """A reading of a metric at a time."""

    timestamp: Timestamp
    value: Value


class DetectRequest(Contract):
    """A series to judge."""

    series: list[Reading] = Field(min_length=1, max_length=MAX_POINTS)
    model: ModelName | None = Field(
        None, description="Judge as what follows this model's history; without, by itself"
    )
    sensitivity: Sensitivity | None = None


class Point(Contract):
    """The verdict on one reading."""

    timestamp: str = Field(description="ISO 8601, UTC")
    value: float
    score: float = Field(description="High is anomalous; its unit depends on the kind of model")
    is_anomaly: bool
    severity: float = Field(description="0 to 1; 0.5 is the bar that an anomaly must reach")
    expected: float | None = Field(description="What was expected; null where it is not known")
    lower: float | None = Field(description="Readings below it are out of the ordinary")
    upper: float | None = Field(description="Readings above it are out of the ordinary")
    reason: str | None = Field(description="Why it is an anomaly, in plain words; else null")


class Alert(Contract):
    """One event, however many of its readings are anomalous."""

    start: str = Field(description="Time of its first anomalous reading")
    end: str = Field(description="Time of its last one")
    peak: str = Field(description="Time of its most anomalous one")
    severity: float = Field(description="Of the peak")
    reason: str = Field(description="Why it began, in plain words")


class DetectResponse(Contract):
    """Verdicts in order of time, and the alerts among them."""

    model: str | None = Field(description="The model that judged; null where there was none")
    confidence: float = Field(
        description="How sure the judgement is, 0 to 1; grows with the readings it rests on"
    )
    notes: list[str] = Field(
        description="Gaps, irregular steps, repeated or late readings: what was found and done"
    )
    alerts: list[Alert]
    points: list[Point]


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
    threshold: float = Field(
        description="Where scores become anomalies; a contextual forest's bar rises from there"
    )
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
