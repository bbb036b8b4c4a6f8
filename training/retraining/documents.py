"""What a retraining run is made of, and where each part is kept.

A run is a prefix of an object store, a bucket or a folder:

    plans/RUN/claim.json                whose run it is; written before anything else
    plans/RUN/plan.json                 settings; written last of the plan
    plans/RUN/batches/NUMBER.json       the metrics of each batch
    plans/RUN.json                      a list of all batches, as a Distributed Map reads it
    plans/RUN/outcomes/NUMBER.json      what became of them; written after each metric
    plans/RUN/report.json               all outcomes
    plans/RUN/summary.json              the report without the outcomes
    plans/RUN/report.html               the report for people
    runs/MODEL/RUN/outcome.json         of a model that was not published: why
    runs/MODEL/RUN/model.safetensors    and the model itself
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, get_args

import msgspec

from ops_anomaly.aws.errors import ObjectNotFoundError
from ops_anomaly.aws.objects import run_prefix
from ops_anomaly.detection.timeline import utc
from ops_anomaly.validation import Contract
from ops_anomaly.watcher.feedback import Mark
from training import RunError
from training.candidates import MAX_EPOCHS
from training.cost import RetrainingCost
from training.retraining.guard import Cause, Figures

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric, Span
    from ops_anomaly.aws.objects import ObjectStore
    from training.sources.series import LabelledSeries
    from training.versions import PublishedArtifact

DEFAULT_KINDS = ("value-forest", "contextual")
"""What competes unless more is asked for: the LSTM takes 15 times as long as the rest."""

PLACES = 6
"""Where each fault of the backtest is tried, for the new model and for the live one."""

Content = TypeVar("Content")

Status = Literal["published", "trained", "kept", "refused", "failed"]
"""Live now; could be published, but there is no bucket to publish to; no better than the live one
could be, which stays; refused by the guard; an error of this metric alone."""

STATUSES: tuple[Status, ...] = get_args(Status)

NOT_PUBLISHED: tuple[Status, ...] = ("trained", "refused", "failed")
"""Of models that are kept beside the model's runs: what was trained, and why it is not live."""


class Task(Contract, frozen=True):
    """A metric to train a model for.

    Attributes
    ----------
    model : str
        The model's name.
    metric : str
        As `Metric.parse` reads it.
    entry : str
        Of the watch file.
    periods : int
        How many of the last ones are read.
    end : int
        Up to when its readings are final, milliseconds.
    left_out : list of (int, int)
        First and last time, milliseconds, of what is kept out of training: incidents that were
        real, and windows that are not learnt from.
    fine : list of Mark
        Anomalies that people said were fine.
    in_incident : bool
        Whether it is unusual at the moment.
    fills_zeros : bool
        Whether a period without a reading counts as zero.
    """

    model: str
    metric: str
    entry: str
    periods: int
    end: int
    left_out: list[tuple[int, int]] = msgspec.field(default_factory=list)
    fine: list[Mark] = msgspec.field(default_factory=list)
    in_incident: bool = False
    fills_zeros: bool = False


class RunPlan(Contract, frozen=True, kw_only=True):
    """What decides a run besides its metrics.

    Attributes
    ----------
    run : str
        Its name.
    until : int
        The end of the readings, milliseconds: the same for a batch that is tried again.
    started : int
        When it began, milliseconds; 0 is at `until`.
    metrics, batches : int
        How many there are.
    execution : str or None
        Of the state machine that runs it; None of a run from a machine.
    """

    run: str
    until: int
    started: int = 0
    execution: str | None = None
    train_share: float = 0.5
    seed: int = 42
    kinds: tuple[str, ...] = DEFAULT_KINDS
    max_epochs: int = MAX_EPOCHS
    places: int = PLACES
    metrics: int = 0
    batches: int = 0

    @property
    def created(self) -> str:
        """When its models were trained, as their objects say it: ISO 8601."""
        return utc(self.until).replace("Z", "+00:00")


class Outcome(Contract, frozen=True):
    """What became of a metric.

    Attributes
    ----------
    reason : str
        In plain words.
    cause : Cause or None
        Why it was refused; None where it was not.
    kind, sha256 : str or None
        Of the model that was trained; None where none was.
    version : str or None
        VersionId of the model that is live now, where it was published.
    new, live : Figures or None
        On the last days.
    """

    model: str
    metric: str
    entry: str
    status: Status
    reason: str
    cause: Cause | None = None
    kind: str | None = None
    sha256: str | None = None
    version: str | None = None
    new: Figures | None = None
    live: Figures | None = None


class Summary(Contract, frozen=True):
    """What a run came to, in figures.

    Attributes
    ----------
    started, finished : int
        When it began, and when its last metric was reported; milliseconds.
    bucket : str or None
        Where models are published.
    missing : int
        Metrics without an outcome: their batches did not end.
    entries : dict of str to dict of str to int
        The counts of each entry of the watch file, and how many of its metrics are `missing`.
    cost : RetrainingCost
        By formula.
    """

    run: str
    started: int
    finished: int
    execution: str | None
    bucket: str | None
    counts: dict[Status, int]
    missing: int
    entries: dict[str, dict[str, int]]
    cost: RetrainingCost

    @property
    def page(self) -> str:
        """Key of the report for people."""
        return page_key(self.run)

    @property
    def has_failed(self) -> bool:
        """Whether it counts as failed: metrics have no outcome, or at least half of all failed."""
        return self.missing > 0 or 2 * self.counts["failed"] >= max(sum(self.counts.values()), 1)


class Report(Summary, frozen=True):
    """All that a run came to."""

    outcomes: list[Outcome]


class Models(Protocol):
    """Where models are published; `publishing.BucketModels` is the bucket."""

    @property
    def bucket(self) -> str:
        """Its name."""
        ...

    def read(self, name: str) -> PublishedArtifact | None:
        """Return the live version; None where there is none."""
        ...

    def publish(
        self, name: str, data: bytes, *, run: str, created: str, replaces: str | None
    ) -> str:
        """Make an artifact live if the live one has the ETag `replaces`; return its VersionId.

        Raises
        ------
        PublishConflictError
            If another version is live.
        """
        ...

    def update_index(self, names: Collection[str]) -> None:
        """Have the index of models say which versions of these are live."""
        ...


ReadSeries = Callable[[Sequence["Span"]], Mapping["Metric", "LabelledSeries"]]
"""Reads metrics, each over its own span; without those that have fewer than two readings."""


@dataclass(frozen=True)
class Services:
    """What a run is handed.

    Attributes
    ----------
    models : Models or None
        None publishes nothing.
    clock : callable
        Returns seconds since 1970; it dates the report.
    """

    store: ObjectStore
    read: ReadSeries
    models: Models | None = None
    clock: Callable[[], float] = time.time


class DamagedRunError(RunError):
    """A part of a run is gone, or not as it was written: it can't be continued."""


RUN_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z", re.ASCII)
"""As `plan.new_run` makes them."""


def check_run(run: str) -> str:
    """Return the name of a run that somebody has typed.

    Raises
    ------
    RunError
        If no run has such a name.
    """
    if not RUN_NAME.fullmatch(run):
        raise RunError(
            f"{run!r} is not the name of a run, such as 2026-11-27T020000Z; see those of a bucket: "
            "ops-anomaly runs --bucket BUCKET"
        )
    return run


def key_of(run: str, name: str) -> str:
    """Return the key of an object of a run.

    Examples
    --------
    >>> key_of("2026-05-29T000000Z", "plan.json")
    'plans/2026-05-29T000000Z/plan.json'
    """
    return f"plans/{run}/{name}"


def items_key(run: str) -> str:
    """Return the key of the list of a run's batches."""
    return f"plans/{run}.json"


def batch_key(run: str, number: int) -> str:
    """Return the key of a batch's metrics."""
    return key_of(run, f"batches/{number:05}.json")


def outcomes_key(run: str, number: int) -> str:
    """Return the key of a batch's outcomes."""
    return key_of(run, f"outcomes/{number:05}.json")


def page_key(run: str) -> str:
    """Return the key of the report for people."""
    return key_of(run, "report.html")


def summary_key(run: str) -> str:
    """Return the key of the report without its outcomes."""
    return key_of(run, "summary.json")


def artifact_key(run: str, model: str) -> str:
    """Return the key of a model that was not published."""
    return run_prefix(model, run) + "model.safetensors"


def outcome_key(run: str, model: str) -> str:
    """Return the key of why a model was not published."""
    return run_prefix(model, run) + "outcome.json"


def read_plan(store: ObjectStore, run: str) -> RunPlan:
    """Read a plan.

    Raises
    ------
    RunError
        If there is no such run.
    """
    try:
        return read_json(store, key_of(run, "plan.json"), RunPlan)
    except ObjectNotFoundError as error:
        raise RunError(f"there is no run {run}, or its plan was not finished: {error}") from error


def read_outcomes(store: ObjectStore, run: str, number: int) -> tuple[list[Outcome], str | None]:
    """Return the outcomes of a batch so far, and their ETag; none where they were damaged."""
    key = outcomes_key(run, number)
    try:
        stored = store.read(key)
    except ObjectNotFoundError:
        return [], None
    if stored is None:  # not modified, although no ETag was sent
        return [], None
    try:
        outcomes = decoded(stored.data, key, list[Outcome])
    except RunError:
        return [], stored.etag
    is_whole = len({each.model for each in outcomes}) == len(outcomes)
    return outcomes if is_whole else [], stored.etag


def read_tasks(store: ObjectStore, run: str, number: int) -> list[Task]:
    """Return the metrics of a batch.

    Raises
    ------
    DamagedRunError
        If they are gone, or somebody has damaged them.
    """
    try:
        return read_json(store, batch_key(run, number), list[Task])
    except ObjectNotFoundError as error:
        raise DamagedRunError(f"{error}: missing; begin a new run") from error


def read_json(store: ObjectStore, key: str, kind: type[Content]) -> Content:
    """Return an object's content.

    Raises
    ------
    ObjectNotFoundError
        If there is no such object.
    DamagedRunError
        If somebody has damaged it.
    """
    stored = store.read(key)
    if stored is None:  # not modified, although no ETag was sent
        raise ObjectNotFoundError(key)
    return decoded(stored.data, key, kind)


def decoded(data: bytes, key: str, kind: type[Content]) -> Content:
    """Return what an object holds; `DamagedRunError` if it does not."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise DamagedRunError(
            f"{key}: not as a run writes it ({error}); begin a new run"
        ) from error
