"""The watch file: which metrics are watched, and how; written as YAML, published as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from registry.errors import InvalidWatchFileError
from registry.keys import NAME_PATTERN
from registry.metric import STATISTIC_PATTERN, Metric


def _readable(text: str) -> str:
    Metric.parse(text)  # an InvalidMetricError is a ValueError, which pydantic reports
    return text


DimensionName = Annotated[str, Field(pattern=r"^[^=]+$")]


class Options(BaseModel):
    """How the metrics of one entry are watched.

    Attributes
    ----------
    name : str
        The entry's, which alerts carry.
    model : str or None
        A published model; None judges each metric by its own history.
    sensitivity : float
        False alerts a week and metric that are accepted. The models' own thresholds mean about
        1.5, which a fleet soon makes too many.
    history_days : int
        How far back a metric is compared.
    score_metric : bool
        Whether each score is published as a custom metric, which costs $0.30 a month each.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    model: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    sensitivity: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 0.2
    history_days: Annotated[int, Field(ge=1, le=60)] = 14
    score_metric: bool = False


class ExactEntry(Options):
    """One metric, as `Metric.parse` reads it."""

    metric: Annotated[str, AfterValidator(_readable)]


class Selector(Options):
    """Every metric of a namespace whose name and dimensions match; `*`, `?`, `[...]` are patterns.

    A metric must have these dimensions and no others.
    """

    namespace: Annotated[str, Field(min_length=1, max_length=255)]
    metric: Annotated[str, Field(min_length=1, max_length=255)]
    dimensions: Annotated[dict[DimensionName, str], Field(max_length=10)]
    statistic: Annotated[str, Field(pattern=STATISTIC_PATTERN)]
    period: Annotated[int, Field(gt=0, le=86_400, multiple_of=60)]


class WatchFile(BaseModel):
    """The whole file. A metric that several entries name belongs to the first of them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    version: Annotated[int, Field(ge=1, le=1)]
    metrics: list[ExactEntry] = []
    selectors: list[Selector] = []

    @property
    def entries(self) -> list[ExactEntry | Selector]:
        """All entries; those of exact metrics first."""
        return [*self.metrics, *self.selectors]

    @model_validator(mode="after")
    def _check_entries(self) -> Self:
        if not self.entries:
            raise ValueError("there is nothing to watch: give metrics or selectors")
        twice = [name for name, n in Counter(e.name for e in self.entries).items() if n > 1]
        if twice:
            raise ValueError(f"two entries are named {twice[0]!r}")
        return self


def parse_watch_file(content: Any) -> WatchFile:
    """Check what a watch file's YAML or JSON holds.

    Raises
    ------
    InvalidWatchFileError
        Naming each field that is wrong.

    Examples
    --------
    >>> entry = {"name": "web", "metric": "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"}
    >>> parse_watch_file({"version": 1, "metrics": [entry]}).metrics[0].history_days
    14
    """
    try:
        return WatchFile.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidWatchFileError("\n".join(lines)) from error
