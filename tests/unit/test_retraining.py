"""The retraining of a fleet: every metric once, whatever fails; and what is published of it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ops_anomaly.aws.cloudwatch import Metric, Span
from ops_anomaly.aws.errors import (
    ConflictError,
    ObjectNotFoundError,
    RequestRefusedError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.aws.objects import FEEDBACK_KEY, NAME_PATTERN, ObjectStore
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.feedback import Mark, MetricFeedback
from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.mutes import Mute
from ops_anomaly.watcher.watch_file import PER_METRIC, Options, model_of
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.fakes import FakeStore
from tests.support.retraining import (
    PLAN,
    UNTIL,
    MemoryModels,
    changed,
    daily,
    fleet_of,
    load,
    read_daily,
)
from training import PublishUnavailableError, RunError, SourceError
from training.retraining.batch import (
    kept_outcomes,
    no_worse_of,
    span_of,
    train_batch,
    with_zeros,
)
from training.retraining.documents import (
    Outcome,
    ReadSeries,
    RunPlan,
    Services,
    Task,
    artifact_key,
    batch_key,
    key_of,
    outcomes_key,
    read_plan,
)
from training.retraining.guard import Verdict
from training.retraining.plan import plan_run, tasks_of, write_plan
from training.retraining.report import finish_run
from training.retraining.services import CloudWatchReader, FolderStore
from training.sources.series import DAY_MS, LabelledSeries

TOMORROW = msgspec.structs.replace(PLAN, run="2026-05-30T000000Z", until=UNTIL + DAY_MS)


def planned(
    *hosts: str,
    read: ReadSeries = read_daily,
    models: MemoryModels | None = None,
    store: ObjectStore | None = None,
    plan: RunPlan = PLAN,
) -> Services:
    """Return the services of a run over hosts, in one batch."""
    services = Services(store or FakeStore(), read, models)
    write_plan(services.store, plan, tasks_of(fleet_of(*hosts), {}, (), plan.until))
    return services


def statuses(outcomes: Sequence[Outcome]) -> dict[str, str]:
    return {each.metric.split("Host=")[1].split()[0]: each.status for each in outcomes}


def test_every_metric_gets_a_model_that_can_be_served() -> None:
    models = MemoryModels()
    services = planned("a", "b", models=models)
    outcomes = train_batch(services, PLAN.run, 0)
    assert statuses(outcomes) == {"a": "published", "b": "published"}
    for each in outcomes:
        live = models.live[each.model]
        detector, manifest = unpack(live.data, live.digest)
        assert manifest.name == each.model
        assert manifest.kind == detector.kind == each.kind
        assert manifest.training_data["origin"] == "a test"
        assert {"numpy", "scikit-learn"} <= manifest.libraries.keys()
        assert "keras" not in manifest.libraries


def test_the_index_is_written_at_the_end_of_a_run() -> None:
    models = MemoryModels()
    services = planned("a", "b", models=models)
    train_batch(services, PLAN.run, 0)
    assert models.index == {}
    report = finish_run(services, PLAN.run)
    assert models.index == {name: model.version for name, model in models.live.items()}
    assert (report.counts["published"], report.missing) == (2, 0)


def test_without_a_bucket_artifacts_stay_in_the_run() -> None:
    services = planned("a")
    [outcome] = train_batch(services, PLAN.run, 0)
    assert outcome.status == "trained"
    stored = services.store.read(artifact_key(PLAN.run, outcome.model))
    assert stored
    assert digest(stored.data) == outcome.sha256


# --- what fails ---------------------------------------------------------------------------------


class Broken:
    """Reads metrics as they are, but for some."""

    def __init__(self, broken: Mapping[str, Callable[[], LabelledSeries | None]]) -> None:
        self.broken = broken
        self.reads: list[int] = []

    def __call__(self, spans: Sequence[Span]) -> Mapping[Metric, LabelledSeries]:
        self.reads.append(len(spans))
        found = dict(read_daily(spans))
        for metric in [span.metric for span in spans]:
            make = self.broken.get(dict(metric.dimensions)["Host"])
            series = make() if make else found[metric]
            if series is None:
                del found[metric]
            else:
                found[metric] = series
        return found


def raising(error: Exception, cause: Exception | None = None) -> Callable[[], LabelledSeries]:
    def make() -> LabelledSeries:
        raise error from cause

    return make


def test_a_metric_that_cannot_be_read_fails_alone() -> None:
    refused = SourceError("reading 1 series from CloudWatch: ValidationError")
    read = Broken({"b": raising(refused, RequestRefusedError("no"))})
    outcomes = train_batch(planned("a", "b", "c", read=read), PLAN.run, 0)
    assert statuses(outcomes) == {"a": "trained", "b": "failed", "c": "trained"}
    assert outcomes[1].reason == str(refused)
    assert read.reads == [3, 1, 1, 1]


def test_a_metric_that_cannot_be_trained_on_fails_alone() -> None:
    def poisoned() -> LabelledSeries:
        series = daily("x")
        return changed(series, lambda values: values.__setitem__(5, np.inf))

    outcomes = train_batch(planned("a", "b", read=Broken({"a": poisoned})), PLAN.run, 0)
    assert statuses(outcomes) == {"a": "failed", "b": "trained"}
    assert re.match(r"\w+Error: ", outcomes[0].reason)


def test_a_metric_without_readings_is_refused() -> None:
    [outcome] = train_batch(planned("a", read=Broken({"a": lambda: None})), PLAN.run, 0)
    assert (outcome.status, outcome.reason) == ("refused", "No readings in the last 14 days")


def test_a_batch_is_tried_again_when_cloudwatch_did_not_respond() -> None:
    away = raising(SourceError("try again"), ServiceUnavailableError("throttled"))
    services = planned("a", "b", read=Broken({"a": away}))
    with pytest.raises(SourceError):
        train_batch(services, PLAN.run, 0)
    again = replace(services, read=read_daily)
    assert finish_run(again, PLAN.run).missing == 2
    assert statuses(train_batch(again, PLAN.run, 0)) == {"a": "trained", "b": "trained"}


class Crash(BaseException):
    """The end of a process."""


class CrashingStore(FakeStore):
    """A store whose process ends at a write of outcomes."""

    def __init__(self, writes: int, of: FakeStore | None = None) -> None:
        super().__init__()
        self.left = writes
        self.objects = of.objects if of else self.objects

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        if "outcomes" in key:
            self.left -= 1
            if self.left < 0:
                raise Crash
        return super().write(key, data, if_etag)


@pytest.mark.parametrize("writes", [0, 1])
def test_a_run_that_was_cut_off_continues(writes: int) -> None:
    """After the last outcome; a model whose outcome could not be written is not published twice."""
    models, store = MemoryModels(), CrashingStore(writes)
    services = planned("a", "b", models=models, store=store)
    with pytest.raises(Crash):
        train_batch(services, PLAN.run, 0)
    assert len(models.published) == writes + 1
    store.left = 10
    read = Broken({})
    outcomes = train_batch(replace(services, read=read), PLAN.run, 0)
    assert read.reads == [2 - writes]
    assert set(statuses(outcomes).values()) == {"published"}
    assert sorted(models.published) == sorted(models.live)
    assert outcomes[writes].reason == "Published before the run was cut off"
    assert train_batch(services, PLAN.run, 0) == outcomes


def test_two_processes_at_the_same_batch_share_its_outcomes() -> None:
    """A response was lost, and the batch is tried again while the first try still runs."""
    models, store, hosts = MemoryModels(), FakeStore(), "abcd"
    services = planned(*hosts, models=models, store=store)
    done: list[str] = []

    def read(spans: Sequence[Span]) -> Mapping[Metric, LabelledSeries]:
        with pytest.raises(Crash):  # the first try has written two outcomes, and published three
            train_batch(replace(services, store=CrashingStore(2, store)), PLAN.run, 0)
        return read_daily(spans)

    outcomes = train_batch(
        replace(services, read=read), PLAN.run, 0, lambda each: done.append(each.model)
    )
    assert statuses(outcomes) == dict.fromkeys(hosts, "published")
    assert [each.model for each in outcomes[2:]] == done
    assert sorted(models.published) == sorted(models.live)
    assert finish_run(services, PLAN.run).outcomes == outcomes


def test_two_processes_that_both_train_a_metric_publish_it_once_and_both_say_so() -> None:
    """Whichever writes its outcome: the model is live, and the report has to list it."""
    models = MemoryModels()

    class Overtaken(MemoryModels):
        def publish(self, name, data, **more):
            models.publish(name, data, **more)
            return super().publish(name, data, **more)

    services = planned("a", models=Overtaken(models.live, models.published))
    [outcome] = train_batch(services, PLAN.run, 0)
    assert (outcome.status, outcome.version) == ("published", "v1")
    assert models.published == [outcome.model]


@pytest.mark.parametrize("method", ["read", "publish"])
@pytest.mark.parametrize("error", [PublishUnavailableError, StoreUnavailableError])
def test_a_batch_is_tried_again_when_the_bucket_did_not_respond(
    method: str, error: type[Exception]
) -> None:
    """That says nothing of the metric; and whether its model is live is not known."""
    models = MemoryModels()
    services = planned("a", models=models)

    class Away(MemoryModels):
        def read(self, name):
            self.fail("read")
            return super().read(name)

        def publish(self, name, data, **more):
            version = super().publish(name, data, **more)
            self.fail("publish")
            return version

        def fail(self, tried):
            if tried == method:
                raise error("503")

    away = replace(services, models=Away(models.live, models.published))
    with pytest.raises(error):
        train_batch(away, PLAN.run, 0)
    outcomes = train_batch(services, PLAN.run, 0)
    assert statuses(outcomes) == {"a": "published"}
    assert sorted(models.published) == sorted(models.live)


def test_of_two_outcomes_the_first_stays_unless_the_second_has_published() -> None:
    store = FakeStore()
    tasks = tasks_of(fleet_of("a"), {}, (), UNTIL)
    [name] = [task.model for task in tasks]
    refused, published = (Outcome(name, "m", "web", s, "because") for s in ("refused", "published"))

    def keep(new: Outcome) -> Outcome:  # as a try that has seen nothing of the other's
        return kept_outcomes(store, PLAN.run, 0, tasks, new, {}, None)[0][name]

    assert keep(refused) == refused
    assert keep(published) == published
    assert keep(refused) == published
    store.objects[outcomes_key(PLAN.run, 0)] = replace(
        store.objects[outcomes_key(PLAN.run, 0)], data=b"[]"
    )
    store.write = lambda *_: (_ for _ in ()).throw(ConflictError("always"))
    with pytest.raises(ConflictError, match="keep writing"):
        keep(refused)


def test_a_kind_that_came_second_may_do_where_the_winner_is_worse() -> None:
    worse, ended = Verdict("fewer", "fewer faults"), Verdict("an incident", "unmarked incident")
    verdicts = {"first": worse, "second": worse, "third": Verdict("no worse")}
    assert no_worse_of(["first", "second", "third"], verdicts.__getitem__)[0] == "third"
    assert no_worse_of(["first", "second"], verdicts.__getitem__) == ("first", worse)
    assert no_worse_of(["first", "third"], (verdicts | {"first": ended}).__getitem__)[0] == "first"


@pytest.mark.parametrize(
    ("metric", "options", "minutes"),
    [
        ("A Latency Average 300", {}, 200),  # at 03:32, what is younger than ten minutes
        ("A Errors Sum 3600", {}, 180),
        ("A Errors Sum 300", {"settle_seconds": 1_800}, 180),
    ],
)
def test_readings_that_may_still_change_are_not_trained_on(
    metric: str, options: dict[str, int], minutes: int
) -> None:
    watched = Watched(
        Options(name="web", model=PER_METRIC, when_silent="zero", **options),
        [Metric.parse(metric)],
    )
    [task] = tasks_of([watched], {}, (), UNTIL + 212 * 60_000)
    assert task.end == UNTIL + minutes * 60_000
    step = 1_000 * Metric.parse(metric).period
    first = LabelledSeries("x", "x", Series(task.end - np.array([9, 8]) * step, np.ones(2)))
    filled = with_zeros(first, step, task.end)
    assert filled.times[-1] == task.end - step


def test_outcomes_that_somebody_damaged_are_written_anew() -> None:
    """No model is published twice for that."""
    models = MemoryModels()
    services = planned("a", "b", models=models)
    first, second = train_batch(services, PLAN.run, 0)
    swapped = msgspec.json.encode([second, first])
    for damaged in (b"", b"[{]", b"{}", swapped, msgspec.json.encode([first, second, second])):
        services.store.overwrite(outcomes_key(PLAN.run, 0), damaged)
        assert finish_run(services, PLAN.run).missing in {0, 2}
        assert statuses(train_batch(services, PLAN.run, 0)) == {"a": "published", "b": "published"}
    assert len(models.published) == 2


def test_a_batch_or_a_plan_that_somebody_damaged_is_one_message() -> None:
    services = planned("a")
    services.store.overwrite(batch_key(PLAN.run, 0), b"[{}]")
    with pytest.raises(RunError, match=r"batches/00000.json: not as a run writes it"):
        train_batch(services, PLAN.run, 0)
    assert finish_run(services, PLAN.run).missing == 1
    services.store.overwrite(key_of(PLAN.run, "plan.json"), b"{")
    with pytest.raises(RunError, match=r"plan.json: not as a run writes it"):
        finish_run(services, PLAN.run)


# --- what is live -------------------------------------------------------------------------------


@pytest.fixture
def models() -> MemoryModels:
    """A model of host a, trained yesterday."""
    models = MemoryModels()
    train_batch(planned("a", models=models), PLAN.run, 0)
    return models


def test_a_new_model_replaces_the_live_one_if_it_is_no_worse(models: MemoryModels) -> None:
    [outcome] = train_batch(planned("a", models=models, plan=TOMORROW), TOMORROW.run, 0)
    assert (outcome.status, outcome.version) == ("published", "v2")
    assert outcome.new
    assert outcome.live


def test_a_refused_model_is_kept_in_the_run_and_the_live_one_stays(models: MemoryModels) -> None:
    def incident() -> LabelledSeries:
        series = daily(str(load("a")), TOMORROW.until)
        return changed(series, lambda values: values.__setitem__(slice(-36, -24), 170.0))

    services = planned("a", models=models, plan=TOMORROW, read=Broken({"a": incident}))
    [outcome] = train_batch(services, TOMORROW.run, 0)
    assert outcome.status == "refused"
    assert "looks like an incident" in outcome.reason
    assert models.published == [outcome.model]
    key = artifact_key(TOMORROW.run, outcome.model)
    stored = services.store.read(key)
    assert stored
    assert digest(stored.data) == outcome.sha256
    assert finish_run(services, TOMORROW.run).counts["refused"] == 1
    assert models.index == {outcome.model: models.live[outcome.model].version}, "whatever became"


def test_the_same_readings_make_no_new_version(models: MemoryModels) -> None:
    again = msgspec.structs.replace(PLAN, run="again")
    [outcome] = train_batch(planned("a", models=models, plan=again), again.run, 0)
    assert (outcome.status, len(models.published)) == ("kept", 1)


def test_a_run_that_is_continued_late_does_not_replace_a_newer_model(
    models: MemoryModels,
) -> None:
    train_batch(planned("a", models=models, plan=TOMORROW), TOMORROW.run, 0)
    late = msgspec.structs.replace(PLAN, run="2026-05-28T120000Z")
    [outcome] = train_batch(planned("a", models=models, plan=late), late.run, 0)
    assert (outcome.status, len(models.published)) == ("kept", 2)
    assert outcome.reason == "The live model was trained on later readings"


def test_what_somebody_published_in_between_is_kept(models: MemoryModels) -> None:
    [name] = models.live

    class Hasty(MemoryModels):
        def read(self, name):
            known = super().read(name)
            self.live[name] = replace(known, etag="of somebody else")
            return known

    hasty = Hasty(models.live)
    [outcome] = train_batch(planned("a", models=hasty, plan=TOMORROW), TOMORROW.run, 0)
    assert outcome.status == "kept"
    assert hasty.live[name].etag == "of somebody else"


def test_an_unreadable_live_model_is_replaced(models: MemoryModels) -> None:
    [name] = models.live
    models.live[name] = replace(models.live[name], data=b"damaged")
    [outcome] = train_batch(planned("a", models=models, plan=TOMORROW), TOMORROW.run, 0)
    assert (outcome.status, outcome.live) == ("published", None)


# --- the plan -----------------------------------------------------------------------------------


def test_only_entries_that_ask_for_it_have_a_model_a_metric() -> None:
    [watched] = fleet_of("a")
    named = replace(watched, options=Options(name="named", model="fleet-cpu"))
    plain = replace(watched, options=Options(name="plain"))
    assert [task.entry for task in tasks_of([named, watched, plain], {}, (), UNTIL)] == ["web"]
    with pytest.raises(SourceError, match="model: per-metric"):
        plan_run(FakeStore(), [named, plain], PLAN)


def test_a_task_knows_what_people_said_and_what_is_not_learnt_from() -> None:
    mark = Mark("x", str(load("a")), UNTIL - 10, UNTIL - 5, 0.0, 1.0, 0.0, 1.0)
    night = Mute(from_="00:00", to="01:00", timezone="UTC", learn=False)
    [watched] = fleet_of("a")
    options = msgspec.structs.replace(watched.options, mute=[night], history_days=2)
    said = {mark.metric: MetricFeedback(fine=(mark,), real=(mark,))}
    [task] = tasks_of([replace(watched, options=options)], said, {mark.metric}, UNTIL)
    nights = [UNTIL - day * DAY_MS for day in range(13, 0, -1)]
    assert task == Task(
        model=str(model_of(options, load("a"))),
        metric=mark.metric,
        entry="web",
        periods=660,  # more than two days of them, as a model needs 600
        end=UNTIL - 1_800_000,  # what is younger than ten minutes is not final
        left_out=[(mark.start, mark.stop), *((first, first + 3_599_999) for first in nights)],
        fine=[mark],
        in_incident=True,
    )


def test_each_metric_is_read_over_its_own_span() -> None:
    """As many days as its entry has, or more where a model needs more; one page of all of them."""
    cloudwatch = FakeCloudWatch()
    metrics = [replace(load("a"), period=period) for period in (60, 300, 3_600, 86_400)]
    for metric in metrics:
        cloudwatch.put(metric, 0, [])
    watched = [Watched(Options(name="all", model=PER_METRIC, history_days=7), metrics)]
    tasks = tasks_of(watched, {}, (), UNTIL + 659_999)  # eleven minutes after: ten are not final
    CloudWatchReader(cloudwatch)([span_of(task) for task in tasks])
    asked = [
        (call["EndTime"].timestamp(), (call["EndTime"] - call["StartTime"]).total_seconds())
        for call in cloudwatch.calls
    ]
    hours = [134.4, 7 * 24, 660, 454 * 24]
    assert asked == [(UNTIL / 1000, each * 3_600) for each in hours]
    [longer, *_] = tasks_of(watched, {}, (), UNTIL, days=3)
    assert longer.periods == 3 * 1_440


def test_a_fleet_is_divided_into_batches_each_metric_in_one() -> None:
    store = FakeStore()
    hosts = [f"h{number}" for number in range(60)]
    plan = plan_run(store, fleet_of(*hosts), PLAN, workers=2)
    assert (plan.metrics, plan.batches) == (60, 15)
    assert read_plan(store, PLAN.run) == plan
    batches = [
        msgspec.json.decode(stored.data, type=list[Task])
        for key, stored in store.objects.items()
        if "batches" in key
    ]
    assert sorted(task.metric for batch in batches for task in batch) == sorted(
        str(load(host)) for host in hosts
    )


def test_a_plan_that_was_cut_off_is_no_run_and_its_execution_makes_it_again() -> None:
    """Its last object is the plan itself; the fleet may have become smaller meanwhile."""
    store, nightly = FakeStore(), msgspec.structs.replace(PLAN, execution="nightly")

    class CutOff(FakeStore):
        def write(self, key: str, data: bytes, if_etag: str | None) -> str:
            if key.endswith("plan.json"):
                raise Crash
            return super().write(key, data, if_etag)

    cut_off = CutOff()
    cut_off.objects = store.objects
    with pytest.raises(Crash):
        plan_run(cut_off, fleet_of("a", "b", "c"), nightly)
    with pytest.raises(RunError, match="not finished"):
        read_plan(store, PLAN.run)
    plan = plan_run(store, fleet_of("a"), nightly)
    services = Services(store, read_daily)
    for number in range(plan.batches):
        train_batch(services, plan.run, number)
    report = finish_run(services, plan.run)
    assert (statuses(report.outcomes), report.missing) == ({"a": "trained"}, 0)


@pytest.mark.parametrize("execution", [None, "another"])
def test_two_runs_of_the_same_second_leave_each_other_alone(execution: str | None) -> None:
    store = FakeStore()
    plan_run(store, fleet_of("a", "b"), PLAN)
    before = dict(store.objects)
    with pytest.raises(ConflictError, match="within the same second"):
        plan_run(store, fleet_of("c"), msgspec.structs.replace(PLAN, execution=execution))
    assert store.objects == before


def test_a_fleet_without_metrics_and_one_without_models_get_different_messages() -> None:
    with pytest.raises(SourceError, match="no metric matches the entries of web"):
        plan_run(FakeStore(), fleet_of(), PLAN)
    watched = [Watched(Options(name="web"), [load("a")])]
    with pytest.raises(SourceError, match="`model: per-metric`"):
        plan_run(FakeStore(), watched, PLAN)


def test_feedback_that_somebody_damaged_is_one_message() -> None:
    store = FakeStore()
    store.put(FEEDBACK_KEY, b"{")
    with pytest.raises(SourceError, match="copy an older version"):
        plan_run(store, fleet_of("a"), PLAN)


def test_a_run_that_does_not_exist_is_one_message() -> None:
    with pytest.raises(RunError, match="there is no run"):
        read_plan(FakeStore(), "2026-01-01T000000Z")


# --- names --------------------------------------------------------------------------------------


def test_a_metrics_own_model_has_a_name_that_is_valid_and_its_own() -> None:
    metrics = [load(f"host-{number}.example.com") for number in range(2_000)]
    names = {
        model_of(Options(name=entry, model=PER_METRIC), metric)
        for entry in ("web", "x" * 63, "x" * 62 + "y")
        for metric in metrics
    }
    assert len(names) == 3 * len(metrics)
    assert all(re.fullmatch(NAME_PATTERN, name) for name in names)


def test_other_entries_have_the_model_that_they_name() -> None:
    assert model_of(Options(name="web", model="fleet-cpu"), load("a")) == "fleet-cpu"
    assert model_of(Options(name="web"), load("a")) is None


# --- a folder as a store ------------------------------------------------------------------------


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return FolderStore(tmp_path) if request.param == "folder" else FakeStore()


def test_a_store_writes_on_condition(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFoundError):
        store.read("a/b.json")
    first = store.write("a/b.json", b"1", None)
    with pytest.raises(ConflictError):
        store.write("a/b.json", b"2", None)
    second = store.write("a/b.json", b"2", first)
    with pytest.raises(ConflictError):
        store.write("a/b.json", b"3", first)
    assert store.read("a/b.json", second) is None
    with pytest.raises(ConflictError):
        store.write("other", b"1", first)
    store.overwrite("a/b.json", b"4")
    stored = store.read("a/b.json", second)
    assert stored
    assert stored.data == b"4"


def test_a_folder_holds_nothing_but_objects(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write("a", b"1", None)
    with pytest.raises(ConflictError):
        store.write("a", b"2", None)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file, where a folder is needed")
    store = FolderStore(tmp_path)
    for action in (
        lambda: store.read("plans/a"),
        lambda: store.write("plans/a", b"1", None),
        lambda: store.overwrite("plans/a", b"1"),
    ):
        with pytest.raises(StoreUnavailableError, match=r"plans/a: (Not a directory|File exists)"):
            action()


def test_nothing_half_written_is_left_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(StoreUnavailableError, match="No space left on device"):
        FolderStore(tmp_path).write("a", b"12", None)
    assert list(tmp_path.iterdir()) == []
