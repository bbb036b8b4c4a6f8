"""The watch file: which metrics are watched, and how; written as YAML, published as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ops_anomaly.aws.cloudwatch import STATISTIC_PATTERN, Metric
from ops_anomaly.aws.errors import InvalidMetricError, InvalidWatchFileError
from ops_anomaly.aws.objects import NAME_PATTERN
from ops_anomaly.detection.types import DAY, FLOAT32_MAX, SENSITIVITY
from ops_anomaly.validation import Contract, Fault, faults
from ops_anomaly.watcher.mutes import DURATION_PATTERN, Mute, milliseconds

# patterns are searched for, and a `$` lets a newline follow
Name = Annotated[str, Meta(pattern=rf"{NAME_PATTERN}\Z", examples=["orders-eu"])]
Statistic = Annotated[str, Meta(pattern=rf"{STATISTIC_PATTERN}\Z", examples=["Average", "p99"])]
DimensionName = Annotated[str, Meta(pattern=r"^[^=]+$")]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Tag = Annotated[str, Meta(max_length=256)]
TopicArn = Annotated[
    str,
    Meta(
        pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}\Z",
        examples=["arn:aws:sns:eu-central-1:123456789012:on-call"],
    ),
]
Url = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/]+(/\S*)?\Z",
        max_length=2_048,
        examples=["https://wiki.example.com/orders"],
    ),
]

NOTIFY_AFTER = "notify after "
WhenSilent = Annotated[
    str,
    Meta(
        pattern=rf"^(ignore|zero|{NOTIFY_AFTER}{DURATION_PATTERN})\Z",
        examples=["notify after 30m"],
    ),
]

PER_METRIC = "per-metric"
"""The `model` of an entry whose metrics have a model each."""

ENTRY_CHARACTERS = 46
"""Of the entry's name in a model's: with a hyphen and 16 hexadecimal digits it has 63 at most."""

MIN_PERIODS, MAX_PERIODS = 128, 8_064
"""Periods kept of a metric: enough for a detector, however long they are; four weeks of 5 min."""

DAY_SECONDS = 86_400

MAX_SILENCE_MS = 14 * DAY
MAX_LISTED_PERIOD = 3_600
"""A selector's metrics of periods up to an hour are listed while they have readings, and forgotten
a day later: silence must be notified before."""

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
    wanted = max(history_days * DAY_SECONDS // period, MIN_PERIODS)
    return min(wanted, MAX_PERIODS, retention_days(period) * DAY_SECONDS // period)


def retention_days(period: int) -> int:
    """Return for how many days CloudWatch keeps readings of a period.

    Examples
    --------
    >>> retention_days(60), retention_days(300), retention_days(3_600)
    (15, 63, 455)
    """
    return next((days for days, unit in RETENTION if period % unit), MAX_RETENTION_DAYS)


class IgnoreBelow(Contract, frozen=True, omit_defaults=True):
    """The least deviation from what is expected; a smaller one, by either limit, does not count.

    Attributes
    ----------
    absolute : float or None
        In the metric's unit.
    percent : float or None
        Of what is expected.
    """

    absolute: Annotated[float, Meta(gt=0, le=FLOAT32_MAX)] | None = None
    percent: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None

    def __post_init__(self) -> None:
        if self.absolute is None and self.percent is None:
            raise ValueError("give absolute, percent or both")


class Defaults(Contract, frozen=True, kw_only=True, omit_defaults=True):
    """What entries have where they do not say otherwise; their own tags and mutes are added.

    Attributes
    ----------
    model : str or None
        A published model, or per-metric: one of its own for each metric, which is trained by train
        --watch. Without one, each metric is evaluated by its own history.
    sensitivity : float
        Expected false alerts a week and metric.
    history_days : int
        How much history each metric is compared with.
    settle_seconds : int or None
        How long after a period's end its value is complete; by the statistic if left out. What is
        younger is evaluated only if it is a sum or a count, and high.
    score_metric : bool
        Whether scores are published as a custom metric, which costs $0.30 a month for each metric.
    alert_on : str
        Which unusual readings count: those above what is expected, those below, or both.
    ignore_below : IgnoreBelow or None
        The least deviation from what is expected.
    sustained : int
        How many unusual readings open an anomaly.
    min_severity : float
        The least severity of a reading that counts: 0.5 is at the threshold, 0.9 far beyond it.
    when_silent : str
        What it means that a metric has no data: ignore (nothing), zero (its readings are 0), or
        notify after 30m, 2h, 1d.
    mute : list of Mute
        When nobody is notified.
    owner : str or None
        Who is responsible; in every message and event.
    runbook : str or None
        A URL that says what to do; in every message and event.
    tags : dict of str to str
        In every message and event.
    topic : str or None
        ARN of the SNS topic that messages go to, instead of the stack's.
    group : str or None
        Anomalies of a group that begin together are one incident; a selector is a group of its
        own, unless it names another.
    """

    model: Name | None = None
    sensitivity: Annotated[float, Meta(gt=0, le=100)] = SENSITIVITY
    history_days: Annotated[int, Meta(ge=1, le=60)] = 14
    settle_seconds: Annotated[int, Meta(ge=60, le=3_600)] | None = None
    score_metric: bool = False
    alert_on: Literal["both", "rises", "falls"] = "both"
    ignore_below: IgnoreBelow | None = None
    sustained: Annotated[int, Meta(ge=1, le=288)] = 1
    min_severity: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    when_silent: WhenSilent = "ignore"
    mute: list[Mute] = msgspec.field(default_factory=list)
    owner: Text | None = None
    runbook: Url | None = None
    tags: Annotated[dict[Text, Tag], Meta(max_length=50)] = msgspec.field(default_factory=dict)
    topic: TopicArn | None = None
    group: Text | None = None

    @property
    def silent_after(self) -> int | None:
        """After how long without data a metric is silent, milliseconds; None if that is ignored."""
        if not self.when_silent.startswith(NOTIFY_AFTER):
            return None
        return milliseconds(self.when_silent.removeprefix(NOTIFY_AFTER))

    @property
    def fills_zeros(self) -> bool:
        """Whether a period without data has the value 0."""
        return self.when_silent == "zero"


class Options(Defaults, frozen=True, kw_only=True):
    """How the metrics of one entry are watched.

    Attributes
    ----------
    name : str
        Of the entry; messages and events carry it.
    """

    name: Name


class ExactEntry(Options, frozen=True, kw_only=True):
    """One metric.

    Attributes
    ----------
    metric : str
        NAMESPACE METRIC [DIMENSION=VALUE ...] STATISTIC PERIOD_SECONDS
    """

    metric: str

    @property
    def period(self) -> int:
        """Seconds between readings."""
        return Metric.parse(self.metric).period


class Selector(Options, frozen=True, kw_only=True):
    """Every metric of a namespace whose name and dimensions match patterns of `*`, `?`, `[...]`.

    Attributes
    ----------
    namespace : str
        As CloudWatch has it.
    metric : str
        Pattern of the metric's name.
    dimensions : dict of str to str
        Patterns of values by name; a metric must have these dimensions and no others.
    statistic : str
        As CloudWatch has it: Average, Sum, p99, ...
    period : int
        Seconds between readings; a multiple of 60.
    """

    namespace: Annotated[str, Meta(min_length=1, max_length=255)]
    metric: Annotated[str, Meta(min_length=1, max_length=255)]
    dimensions: Annotated[dict[DimensionName, str], Meta(max_length=10)]
    statistic: Statistic
    period: Annotated[int, Meta(gt=0, le=86_400, multiple_of=60)]


def model_of(options: Options, metric: Metric) -> str | None:
    """Return the name of the model that a metric of an entry is evaluated by, if there is one.

    That of a metric's own model begins as the entry's name does, and ends with 64 bits of the
    SHA-256 of entry and metric: it is the same in every run, and no other metric has it.

    Examples
    --------
    >>> metric = Metric.parse("AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300")
    >>> model_of(Options(name="web", model="per-metric"), metric)
    'web-9b13adae612bbe9d'
    >>> model_of(Options(name="web", model="fleet-cpu"), metric)
    'fleet-cpu'
    """
    if options.model != PER_METRIC:
        return options.model
    digest = hashlib.sha256(f"{options.name} {metric}".encode()).hexdigest()
    return f"{options.name[:ENTRY_CHARACTERS]}-{digest[:16]}"


class SharedMute(Mute, frozen=True, kw_only=True):
    """A mute of several entries.

    Attributes
    ----------
    entries : list of str or None
        Names of entries, or patterns of `*`, `?`, `[...]`; all entries if left out.
    """

    entries: Annotated[list[str], Meta(min_length=1)] | None = None


class WatchFile(Contract, frozen=True):
    """What is watched. A metric that several entries name belongs to the first of them.

    Attributes
    ----------
    version : int
        Of this format: 1.
    metrics : list of ExactEntry
        One metric each; they come before all selectors.
    selectors : list of Selector
        All metrics that match, now and later.
    """

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


class WrittenWatchFile(WatchFile, frozen=True):
    """A watch file as people write it.

    Attributes
    ----------
    defaults : Defaults
        For all entries.
    mute : list of SharedMute
        When nobody is notified, of all entries or of some.
    """

    defaults: Defaults = Defaults()
    mute: list[SharedMute] = msgspec.field(default_factory=list)


def parse_watch_file(content: Any) -> WatchFile:
    """Check the contents of a watch file, and put its defaults and mutes into its entries.

    Raises
    ------
    InvalidWatchFileError
        Naming each field that is wrong.

    Examples
    --------
    >>> entry = {"name": "web", "metric": "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"}
    >>> defaults = {"owner": "ops"}
    >>> parse_watch_file({"version": 1, "defaults": defaults, "metrics": [entry]}).metrics[0].owner
    'ops'
    """
    wrong = watch_file_faults(content)
    if wrong:
        lines = [f"{fault.path or 'the file'}: {fault.message}" for fault in wrong]
        raise InvalidWatchFileError("\n".join(lines))
    return msgspec.convert(_expanded(content), WatchFile)


def watch_file_faults(content: Any) -> list[Fault]:
    """Return all that is wrong with the contents of a watch file."""
    wrong = [*faults(content, WrittenWatchFile), *_unreadable_metrics(content)]
    if wrong:
        return wrong
    written = msgspec.convert(content, WrittenWatchFile)
    watch_file = msgspec.convert(_expanded(content), WatchFile)
    return [*_name_faults(written), *_limit_faults(watch_file)]


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


def _expanded(content: dict[str, Any]) -> dict[str, Any]:
    """Return a valid file with all that holds for an entry in the entry."""
    expanded = {"version": content["version"]}
    defaults, shared = content.get("defaults", {}), content.get("mute", [])
    for kind in ("metrics", "selectors"):
        expanded[kind] = [
            {
                **defaults,
                **entry,
                "tags": {**defaults.get("tags", {}), **entry.get("tags", {})},
                "mute": [
                    *entry.get("mute", []),
                    *defaults.get("mute", []),
                    *_mutes_of(entry["name"], shared),
                ],
            }
            for entry in content.get(kind, [])
        ]
    return expanded


def _mutes_of(name: str, shared: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the shared mutes of an entry, as its own."""
    for mute in shared:
        if any(fnmatchcase(name, pattern) for pattern in mute.get("entries") or ["*"]):
            yield {key: value for key, value in mute.items() if key != "entries"}


def _located(watch_file: WatchFile) -> Iterator[tuple[tuple[str, int], ExactEntry | Selector]]:
    """Yield all entries and where they are."""
    for number, entry in enumerate(watch_file.metrics):
        yield ("metrics", number), entry
    for number, selector in enumerate(watch_file.selectors):
        yield ("selectors", number), selector


def _name_faults(written: WrittenWatchFile) -> Iterator[Fault]:
    """Yield names that stand twice, and those in mutes that no entry has."""
    found: dict[str, tuple[str, int]] = {}
    for where, entry in _located(written):
        if entry.name in found:
            first = ".".join(map(str, found[entry.name]))
            yield Fault(
                (*where, "name"), f"duplicate entry name {entry.name!r}, as of {first}: rename one"
            )
        found.setdefault(entry.name, where)
    for number, mute in enumerate(written.mute):
        for position, pattern in enumerate(mute.entries or []):
            if not any(fnmatchcase(name, pattern) for name in found):
                names = ", ".join(found)
                yield Fault(
                    ("mute", number, "entries", position),
                    f"no entry is named {pattern!r}; there are {names}",
                )


def _limit_faults(watch_file: WatchFile) -> Iterator[Fault]:
    """Yield what goes beyond what CloudWatch has of an entry's metrics."""
    for where, entry in _located(watch_file):
        kept, period = retention_days(entry.period), entry.period
        if entry.history_days > kept:
            longer = next(unit for _, unit in RETENTION if period % unit)
            yield Fault(
                (*where, "history_days"),
                f"CloudWatch keeps readings of {period} s for {kept} days: write "
                f"history_days: {kept}, or take a period of {longer} s",
            )
        silent_after = entry.silent_after
        if silent_after is not None:
            yield from _silence_faults((*where, "when_silent"), entry, silent_after)


def _silence_faults(
    where: tuple[str | int, ...], entry: ExactEntry | Selector, silent_after: int
) -> Iterator[Fault]:
    """Yield a silence that is shorter than a period, or that would never be found."""
    if silent_after < 1000 * entry.period:
        yield Fault(
            where, f"shorter than the period: write {NOTIFY_AFTER}{entry.period // 60}m or longer"
        )
    is_forgotten = isinstance(entry, Selector) and entry.period <= MAX_LISTED_PERIOD
    if silent_after > (DAY if is_forgotten else MAX_SILENCE_MS):
        limit = "1d, as a selector's metric is forgotten a day later" if is_forgotten else "14d"
        yield Fault(where, f"too long: write {NOTIFY_AFTER}{limit}")


def write_watch_file(watch_file: WatchFile) -> bytes:
    """Return the published form: JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(watch_file), indent=2)
