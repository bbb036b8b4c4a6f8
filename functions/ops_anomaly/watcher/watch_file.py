"""The watch file: which metrics are watched, and how; written as YAML, published as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ops_anomaly.aws.cloudwatch import STATISTIC_PATTERN, Metric
from ops_anomaly.aws.errors import InvalidMetricError, InvalidWatchFileError
from ops_anomaly.aws.objects import NAME_PATTERN
from ops_anomaly.detection.types import SENSITIVITY
from ops_anomaly.validation import Contract, Fault, faults

# patterns are searched for, and a `$` lets a newline follow
Name = Annotated[str, Meta(pattern=rf"{NAME_PATTERN}\Z")]
Statistic = Annotated[str, Meta(pattern=rf"{STATISTIC_PATTERN}\Z")]
DimensionName = Annotated[str, Meta(pattern=r"^[^=]+$")]


MIN_PERIODS, MAX_PERIODS = 128, 8_064
"""Periods kept of a metric: enough for a detector, however long they are; four weeks of 5 min."""

DAY_SECONDS = 86_400

RETENTION = (15, 300), (63, 3_600)
MAX_RETENTION_DAYS = 455
"""Days that CloudWatch keeps datapoints of periods that are no multiple of so many seconds; and of
all others. Of a time before that it returns nothing, and nothing of the time since either."""


def periods_of(history_days: int, period: int) -> int:
    """Return how many periods of a metric are kept: no more than CloudWatch itself keeps.

    Examples
    --------
    >>> periods_of(14, 300), periods_of(14, 60), periods_of(14, 86_400)
    (4032, 8064, 128)
    >>> periods_of(60, 420), periods_of(60, 900)  # 15 and 63 days
    (3085, 5760)
    """
    kept_days = next((days for days, unit in RETENTION if period % unit), MAX_RETENTION_DAYS)
    wanted = max(history_days * DAY_SECONDS // period, MIN_PERIODS)
    return min(wanted, MAX_PERIODS, kept_days * DAY_SECONDS // period)


class Options(Contract, frozen=True):
    """How the metrics of one entry are watched.

    Attributes
    ----------
    name : str
        Of the entry; alerts carry it.
    model : str or None
        A published model; None evaluates each metric by its own history.
    sensitivity : float
        Expected false alerts a week and metric.
    history_days : int
        How much history each metric is compared with.
    settle_seconds : int or None
        How long after a period's end its value is complete; None goes by the statistic. What is
        younger is evaluated only if it is a sum or a count, and high.
    score_metric : bool
        Whether scores are published as a custom metric, which costs $0.30 a month for each metric.
    """

    name: Name
    model: Name | None = None
    sensitivity: Annotated[float, Meta(gt=0, le=100)] = SENSITIVITY
    history_days: Annotated[int, Meta(ge=1, le=60)] = 14
    settle_seconds: Annotated[int, Meta(ge=60, le=3_600)] | None = None
    score_metric: bool = False


class ExactEntry(Options, frozen=True, kw_only=True):
    """One metric, as `Metric.parse` reads it."""

    metric: str


class Selector(Options, frozen=True, kw_only=True):
    """Every metric of a namespace whose name and dimensions match patterns of `*`, `?`, `[...]`.

    A metric must have these dimensions and no others.
    """

    namespace: Annotated[str, Meta(min_length=1, max_length=255)]
    metric: Annotated[str, Meta(min_length=1, max_length=255)]
    dimensions: Annotated[dict[DimensionName, str], Meta(max_length=10)]
    statistic: Statistic
    period: Annotated[int, Meta(gt=0, le=86_400, multiple_of=60)]


class WatchFile(Contract, frozen=True):
    """The whole file. A metric that several entries name belongs to the first of them."""

    version: Annotated[int, Meta(ge=1, le=1)]
    metrics: list[ExactEntry] = msgspec.field(default_factory=list)
    selectors: list[Selector] = msgspec.field(default_factory=list)

    @property
    def entries(self) -> list[ExactEntry | Selector]:
        """All entries, exact metrics first."""
        return [*self.metrics, *self.selectors]

    def __post_init__(self) -> None:
        if not self.entries:
            raise ValueError("nothing to watch: add metrics or selectors")
        counts = Counter(entry.name for entry in self.entries)
        duplicates = [name for name, count in counts.items() if count > 1]
        if duplicates:
            raise ValueError(f"duplicate entry name {duplicates[0]!r}")


def parse_watch_file(content: Any) -> WatchFile:
    """Check the contents of a watch file.

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
    wrong = [*faults(content, WatchFile), *_unreadable_metrics(content)]
    if wrong:
        lines = [f"{fault.path or 'the file'}: {fault.message}" for fault in wrong]
        raise InvalidWatchFileError("\n".join(lines))
    return msgspec.convert(content, WatchFile)


def _unreadable_metrics(content: Any) -> Iterator[Fault]:
    """Yield the metrics that `Metric.parse` refuses."""
    entries = content.get("metrics") if isinstance(content, dict) else None
    for number, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
        match entry:
            case {"metric": str(text)}:
                try:
                    Metric.parse(text)
                except InvalidMetricError as error:
                    yield Fault(("metrics", number, "metric"), str(error))


def write_watch_file(watch_file: WatchFile) -> bytes:
    """Return the published form: JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(watch_file), indent=2)
