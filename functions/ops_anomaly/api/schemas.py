"""Contracts of requests and responses; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ops_anomaly.aws.objects import NAME_PATTERN
from ops_anomaly.detection.types import EPOCH_UNITS, FLOAT32_MAX, MAX_EPOCH, MIN_EPOCH
from ops_anomaly.validation import Contract

ModelName = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        description="Name of a published model: lower-case letters, digits and hyphens",
        examples=["ec2-cpu"],
    ),
]

Value = Annotated[
    float,
    Meta(
        ge=-FLOAT32_MAX,
        le=FLOAT32_MAX,
        description="A reading of the metric: a finite JSON number within float32's range",
        examples=[0.13],
    ),
]

# Text, as msgspec accepts no date alone and no time without seconds; `detect` parses it.
IsoTime = Annotated[
    str,
    Meta(
        pattern="^(19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2}"
        "([Tt _][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?$",
        description="ISO 8601, from 1970 to 2199; UTC unless it has an offset",
        extra_json_schema={"format": "date-time"},
    ),
]

EpochTime = Annotated[
    float,
    Meta(
        ge=float(MIN_EPOCH),
        lt=float(MAX_EPOCH * EPOCH_UNITS["nanoseconds"]),
        description="Since 1970: seconds from 10^8 to 10^10, milliseconds from 10^11 to 10^13, "
        "microseconds from 10^14 to 10^16, nanoseconds from 10^17 to 10^19",
    ),
]

Timestamp = Annotated[
    IsoTime | EpochTime,
    Meta(
        description="ISO 8601 or a number since 1970, and the same for all readings",
        examples=["2014-02-27T17:15:00Z", 1393521300],
    ),
]

Sensitivity = Annotated[
    float,
    Meta(
        ge=0.001,
        le=1000,
        description="Expected false alerts a week; 0.5 by default. Only for kinds of model that "
        "have it",
        examples=[1.0],
    ),
]


class PredictRequest(Contract, frozen=True):
    """One reading to evaluate."""

    value: Value
    model: ModelName | None = None


class PredictResponse(Contract, frozen=True):
    """Whether the reading is an anomaly: `predicted_value` is -1 for an anomaly, else 1."""

    is_anomaly: bool
    predicted_value: Literal[1, -1]


MAX_POINTS = 10_000


class Reading(Contract, frozen=True):
    """A reading of a metric at a time."""

    timestamp: Timestamp
    value: Value


class DetectRequest(Contract, frozen=True):
    """A series to evaluate."""

    series: Annotated[list[Reading], Meta(min_length=1, max_length=MAX_POINTS)]
    model: Annotated[
        ModelName | None,
        Meta(description="The series continues this model's history; without a model, it has none"),
    ] = None
    sensitivity: Sensitivity | None = None


class Point(Contract, frozen=True):
    """The result for one reading."""

    timestamp: Annotated[str, Meta(description="ISO 8601, UTC")]
    value: float
    score: Annotated[
        float, Meta(description="High is anomalous; the unit depends on the kind of model")
    ]
    is_anomaly: bool
    can_evaluate: Annotated[
        bool, Meta(description="False where too few readings came before to evaluate this one")
    ]
    severity: Annotated[float, Meta(description="0 to 1; 0.5 is at the threshold")]
    expected: Annotated[float | None, Meta(description="Expected value; null if not known")]
    lower: Annotated[
        float | None, Meta(description="Readings below are unusual; null if not known")
    ]
    upper: Annotated[
        float | None, Meta(description="Readings above are unusual; null if not known")
    ]
    reason: Annotated[
        str | None, Meta(description="Why it is an anomaly, in plain words; null if it is not")
    ]


class Alert(Contract, frozen=True):
    """One event, however many readings of it are anomalous."""

    start: Annotated[str, Meta(description="Time of its first anomalous reading")]
    end: Annotated[str, Meta(description="Time of its last anomalous reading")]
    peak: Annotated[str, Meta(description="Time of its most anomalous reading")]
    severity: Annotated[float, Meta(description="Of the peak")]
    reason: Annotated[str, Meta(description="Why it started, in plain words")]


class DetectResponse(Contract, frozen=True):
    """Results in order of time, and the alerts."""

    model: Annotated[str | None, Meta(description="The model in use; null without one")]
    confidence: Annotated[
        float,
        Meta(description="0 to 1; grows with the number of readings behind the threshold"),
    ]
    notes: Annotated[
        list[str],
        Meta(
            description="What numbers were read as; gaps, irregular steps, repeated or late "
            "readings, and what was done; where the readings do not fit the model"
        ),
    ]
    alerts: list[Alert]
    points: list[Point]


class Status(Contract, frozen=True):
    """Sign of life."""

    status: str


class Health(Contract, frozen=True):
    """The default model as it is served now."""

    status: Literal["ok"]
    model: str
    version: Annotated[str, Meta(description="VersionId of the artifact in the bucket")]
    created: Annotated[str, Meta(description="When the model was trained, ISO 8601")]
    age_seconds: Annotated[float | None, Meta(description="Seconds since then; null if not known")]


class ModelsQuery(Contract, frozen=True):
    """Which of the published models are listed."""

    prefix: Annotated[str, Meta(description="How their names begin")] = ""
    after: Annotated[
        str, Meta(description="Only names after this one: `next` of the page before")
    ] = ""
    limit: Annotated[int, Meta(ge=1, le=1_000, description="Names on a page")] = 1_000


class ModelList(Contract, frozen=True):
    """Names of published models, sorted."""

    models: list[str]
    next: Annotated[
        str | None,
        Meta(description="What the next page comes after; null if this is the last one"),
    ]


class ModelDetail(Contract, frozen=True):
    """Version, origin and figures of a model."""

    name: str
    version: Annotated[str, Meta(description="VersionId of the artifact in the bucket")]
    kind: Annotated[str, Meta(description="The kind of detector")]
    created: Annotated[str, Meta(description="When the model was trained, ISO 8601")]
    threshold: Annotated[
        float,
        Meta(description="Score of an anomaly; kinds with an adaptive threshold start from it"),
    ]
    training_data: dict[str, Any]
    figures: Annotated[dict[str, Any], Meta(description="As measured in training")]
    libraries: dict[str, str]


class FieldError(Contract, frozen=True):
    """One thing that is wrong with a request."""

    field: Annotated[str, Meta(description="Location, such as body.value")]
    message: str


class Problem(Contract, frozen=True, omit_defaults=True):
    """The body of every error: problem details (RFC 9457)."""

    title: str
    status: int
    detail: Annotated[str, Meta(description="What is wrong and what to do")]
    errors: tuple[FieldError, ...] = ()
