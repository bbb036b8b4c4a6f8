"""What requests and answers look like; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ops_anomaly.aws.objects import NAME_PATTERN
from ops_anomaly.detection.types import FLOAT32_MAX
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

# Text, as msgspec takes no date alone and no time without seconds; `detect` reads them.
Timestamp = Annotated[
    str,
    Meta(
        pattern="^(19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2}"
        "([Tt _][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?)?$",
        description="ISO 8601, from 1970 to 2199; without an offset it is taken as UTC",
        examples=["2014-02-27T17:15:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

Sensitivity = Annotated[
    float,
    Meta(
        ge=0.001,
        le=1000,
        description="False alerts a week that are acceptable, as far as past ones tell: about "
        "1.5 at 5-minute readings where nothing is asked for",
        examples=[1.0],
    ),
]


class PredictRequest(Contract, frozen=True):
    """One reading to judge."""

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
    """A series to judge."""

    series: Annotated[list[Reading], Meta(min_length=1, max_length=MAX_POINTS)]
    model: Annotated[
        ModelName | None,
        Meta(description="Judge as what follows this model's history; without, by itself"),
    ] = None
    sensitivity: Sensitivity | None = None


class Point(Contract, frozen=True):
    """The verdict on one reading."""

    timestamp: Annotated[str, Meta(description="ISO 8601, UTC")]
    value: float
    score: Annotated[
        float, Meta(description="High is anomalous; its unit depends on the kind of model")
    ]
    is_anomaly: bool
    severity: Annotated[
        float, Meta(description="0 to 1; 0.5 is the bar that an anomaly must reach")
    ]
    expected: Annotated[
        float | None, Meta(description="What was expected; null where it is not known")
    ]
    lower: Annotated[float | None, Meta(description="Readings below it are out of the ordinary")]
    upper: Annotated[float | None, Meta(description="Readings above it are out of the ordinary")]
    reason: Annotated[
        str | None, Meta(description="Why it is an anomaly, in plain words; else null")
    ]


class Alert(Contract, frozen=True):
    """One event, however many of its readings are anomalous."""

    start: Annotated[str, Meta(description="Time of its first anomalous reading")]
    end: Annotated[str, Meta(description="Time of its last one")]
    peak: Annotated[str, Meta(description="Time of its most anomalous one")]
    severity: Annotated[float, Meta(description="Of the peak")]
    reason: Annotated[str, Meta(description="Why it began, in plain words")]


class DetectResponse(Contract, frozen=True):
    """Verdicts in order of time, and the alerts among them."""

    model: Annotated[
        str | None, Meta(description="The model that judged; null where there was none")
    ]
    confidence: Annotated[
        float,
        Meta(description="How sure the judgement is, 0 to 1; grows with the readings it rests on"),
    ]
    notes: Annotated[
        list[str],
        Meta(
            description="Gaps, irregular steps, repeated or late readings: what was found and done"
        ),
    ]
    alerts: list[Alert]
    points: list[Point]


class Status(Contract, frozen=True):
    """Sign of life."""

    status: str


class Health(Contract, frozen=True):
    """The default model, as it is served now."""

    status: Literal["ok"]
    model: str
    version: Annotated[str, Meta(description="VersionId of the artifact in the bucket")]
    created: Annotated[str, Meta(description="When the model was trained, ISO 8601")]
    age_seconds: Annotated[
        float | None, Meta(description="Seconds since then; null where it is not known")
    ]


class ModelList(Contract, frozen=True):
    """Names of all published models."""

    models: list[str]


class ModelDetail(Contract, frozen=True):
    """What a model is and what was measured of it."""

    name: str
    version: Annotated[str, Meta(description="VersionId of the artifact in the bucket")]
    kind: Annotated[str, Meta(description="The candidate that won: the kind of detector")]
    created: Annotated[str, Meta(description="When the model was trained, ISO 8601")]
    threshold: Annotated[
        float,
        Meta(
            description="Where scores become anomalies; a contextual forest's bar rises from there"
        ),
    ]
    training_data: dict[str, Any]
    figures: Annotated[dict[str, Any], Meta(description="As measured by the training job")]
    libraries: dict[str, str]


class FieldError(Contract, frozen=True):
    """One thing that is wrong with a request."""

    field: Annotated[str, Meta(description="Where, as a path: body.value")]
    message: str


class Problem(Contract, frozen=True, omit_defaults=True):
    """The body of every error: problem details (RFC 9457)."""

    title: str
    status: int
    detail: Annotated[str, Meta(description="What is wrong and what to do")]
    errors: tuple[FieldError, ...] = ()
