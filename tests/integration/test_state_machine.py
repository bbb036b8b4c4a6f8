"""Nights of retraining, by the deployed state machine: each metric has one outcome, whatever fails.

The roles of the state machine and of its functions are enforced, and the handlers are the deployed
ones. What moto's Step Functions leaves out is in `tests.support.step_functions`.
"""

from __future__ import annotations

import copy
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import FEEDBACK_KEY, INCIDENTS_KEY, INDEX_KEY
from ops_anomaly.detection.artifact import digest
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.feedback import Feedback, Mark
from ops_anomaly.watcher.feedback_file import encode_feedback
from ops_anomaly.watcher.incident_job import IncidentState, encode_incidents
from ops_anomaly.watcher.incidents import Incident, IncidentBoard
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file
from tests.conftest import new_bucket
from tests.support import boards
from tests.support.cloudformation import deployed
from tests.support.forwarding import Request
from tests.support.retraining import DAYS, daily, load
from tests.support.retraining_stack import (
    FUNCTIONS,
    MACHINE,
    PARAMETERS,
    PLAN,
    REPORT,
    TRAIN,
    Readings,
    RetrainingStack,
    by_host,
    definition_of,
    midnight,
    retraining_stack,
    run_of,
    until,
)
from tests.support.roles import Call
from tests.support.step_functions import (
    Execution,
    Fault,
    Invocation,
    NotExecutedError,
    check_definition,
)
from training.retraining.documents import Report, artifact_key, outcome_key, page_key
from training.retraining.local_run import Workers, train_fleet
from training.sources.series import DAY_MS

HOSTS = [*(f"h{number}" for number in range(8)), "Zürich (old) 1"]
"""Nine: with two workers, four batches of two and one more."""

QUICK = {"kinds": ("contextual",), "places": 1}
"""Of the plans: what is trained is no matter here."""


def watching(hosts: str = "*", **more: Any) -> WatchFile:
    """Return a watch file whose metrics have a model each."""
    selector = {
        "name": "machines-of-the-shop-in-europe-and-all-of-its-countries",  # longer than in models
        "namespace": "Shop/Web",
        "metric": "Load",
        "dimensions": {"Host": hosts},
        "statistic": "Average",
        "period": 1_800,
        "model": "per-metric",
    }
    return parse_watch_file({"version": 1, "selectors": [selector | more]})


@cache
def usual(metric: Metric) -> Series:
    return daily(str(metric), until(10), DAYS + 10).series


def readings(**changes: Callable[[Series], Series]) -> Readings:
    """Return what CloudWatch has: a daily pattern and noise, changed for some hosts."""

    def of(metric: Metric) -> Series:
        change = changes.get(dict(metric.dimensions)["Host"])
        return change(usual(metric)) if change else usual(metric)

    return Readings(of)


def incident(night: int) -> Callable[[Series], Series]:
    """Return what makes a series high for six hours before a night."""
    first, last = until(night) - 18 * 3_600_000, until(night) - 12 * 3_600_000

    def change(series: Series) -> Series:
        is_high = (series.times >= first) & (series.times < last)
        return Series(series.times, np.where(is_high, 170.0, series.values))

    return change


# --- a night in which nothing fails -------------------------------------------------------------


@dataclass(frozen=True)
class FirstNight:
    """What a night left, on which nothing went wrong and there were no models yet."""

    execution: Execution
    report: Report
    page: str
    events: list[dict[str, Any]]
    invocations: list[Invocation]
    used: Mapping[str, tuple[set[str], set[str]]]
    most: Mapping[str, int]
    denied: list[Call]
    runs: Mapping[str, list[str]]
    served: Mapping[str, str]
    models: Mapping[str, tuple[bytes, dict[str, str]]]


@pytest.fixture(scope="module", autouse=True)
def batches_of_two() -> Iterator[None]:
    """Eight or nine metrics would be batches of one otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.cost.BATCHES_A_WORKER", 4)
        yield


@pytest.fixture(scope="module")
def first(s3_url: str) -> FirstNight:
    with retraining_stack(new_bucket(s3_url), name(), readings(), QUICK, concurrency=2) as stack:
        stack.publish(watching(), [load(host) for host in HOSTS])
        execution = stack.night(0)
        functions, machine = stack.machine.functions, stack.machine.step_functions
        registry = stack.registry()
        used = {each: (functions.used(each), functions.allowed(each)) for each in FUNCTIONS}
        return FirstNight(
            execution,
            stack.report(0),
            stack.get(page_key(run_of(0))).decode(),
            stack.watch.drain_events(),
            functions.invocations,
            used,
            functions.most,
            [*functions.denied(), *machine.denied],
            stack.runs(),
            {each: registry.get(each).version for each in registry.names()},
            stack.objects("models/"),
        )


def name() -> str:
    return f"nights-{uuid.uuid4().hex[:8]}"


def test_every_metric_is_trained_published_and_served(first: FirstNight) -> None:
    assert first.execution.status == "SUCCEEDED"
    assert first.execution.states == ["Plan", "TrainBatches", "Report", "HasFailed", "Complete"]
    assert first.report.counts["published"] == len(HOSTS)
    assert by_host(first.report).keys() == set(HOSTS)
    assert all(runs == [run_of(0)] for runs in first.runs.values())
    assert first.served == {each.model: each.version for each in first.report.outcomes}


def test_batches_are_trained_in_parallel_and_each_once(first: FirstNight) -> None:
    trained = [each.event for each in first.invocations if each.function == TRAIN]
    assert Counter(each["batch"] for each in trained) == Counter(range(5))
    assert first.most == {PLAN: 1, TRAIN: 2, REPORT: 1}


def test_the_night_is_one_page_and_one_event(first: FirstNight) -> None:
    [event] = first.events
    assert (event["source"], event["detail-type"]) == ("ops-anomaly", "Retraining Finished")
    assert event["detail"]["execution"] == first.execution.name
    assert event["detail"]["counts"]["published"] == len(HOSTS)
    assert event["detail"]["page"] == first.execution.output["page"] == page_key(run_of(0))
    assert first.page.startswith("<!DOCTYPE html>")
    assert f"{len(HOSTS)} published" in first.page


def test_each_function_uses_all_of_its_role_and_needs_no_more(first: FirstNight) -> None:
    assert first.denied == []
    for function, (used, allowed) in first.used.items():
        assert allowed == used, function


# --- later nights -------------------------------------------------------------------------------


@pytest.fixture
def stack(s3_url: str, first: FirstNight, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A stack with the models of the first night; the test says what CloudWatch has."""
    bucket = new_bucket(s3_url)

    def with_models(
        found: Readings, hosts: str, concurrency: int = 2, **watched: Any
    ) -> RetrainingStack:
        context = retraining_stack(bucket, name(), found, QUICK, concurrency)
        stack = context.__enter__()
        request.addfinalizer(lambda: context.__exit__(None, None, None))
        for key, (data, metadata) in first.models.items():
            stack.put(key, data, Metadata=metadata)
        stack.publish(watching(hosts, **watched), [])
        return stack

    return with_models


def check_outcomes(stack: RetrainingStack, night: int, hosts: list[str]) -> Report:
    """Check that each metric has one outcome or is missing, and that every live model is whole."""
    report = stack.report(night)
    counted = Counter(each.model for each in report.outcomes)
    assert set(counted.values()) <= {1}
    assert sum(counted.values()) + report.missing == len(hosts)
    for model, runs in stack.runs().items():
        assert len(set(runs)) == len(runs), model
    served = stack.registry()
    for each in report.outcomes:
        if each.status == "published":
            assert served.get(each.model).version == each.version
    for data, metadata in stack.models().values():
        assert digest(data) == metadata["sha256"]
    return report


def test_the_guard_decides_by_what_has_happened_since(stack) -> None:
    hosts = HOSTS[:4]
    stack = stack(readings(h1=incident(1), h2=incident(1)), "h[0-3]")
    real = Mark("a", str(load("h2")), until(1) - DAY_MS, until(1) - DAY_MS // 2, 0, 1, 0, 1)
    stack.put(FEEDBACK_KEY, encode_feedback([Feedback("i", "real", "ann", until(1), marks=[real])]))
    stack.put(INCIDENTS_KEY, open_incident(load("h3")))
    assert stack.night(1).status == "SUCCEEDED"
    report = by_host(check_outcomes(stack, 1, hosts))
    assert {host: each.status for host, each in report.items()} == {
        "h0": "published",
        "h1": "refused",
        "h2": "published",  # the incident was left out
        "h3": "refused",
    }
    refused = report["h1"]
    assert "looks like an incident" in refused.reason
    assert report["h3"].reason.startswith("The metric is in an incident")
    assert stack.read(outcome_key(run_of(1), refused.model), type(refused)) == refused
    assert digest(stack.get(artifact_key(run_of(1), refused.model))) == refused.sha256
    assert stack.runs()[refused.model] == [run_of(0)]


def open_incident(metric: Metric) -> bytes:
    """Return the stack's incidents, of which one is open."""
    chart = boards.simulated(50, 20, 2, boards.NOW - boards.HOUR, boards.NOW, 60)
    member = boards.reported(str(metric), chart, 0.9, "60 above what is usual")
    return encode_incidents(IncidentState(IncidentBoard([Incident("i", 0, [member])], [])))


def test_the_same_readings_make_no_new_versions(stack) -> None:
    stack = stack(readings(), "h[0-3]")
    again = stack.machine.execute(midnight(0) + timedelta(minutes=1))
    assert again.output["counts"]["kept"] == 4
    assert all(runs == [run_of(0)] for runs in stack.runs().values())


# --- what fails ---------------------------------------------------------------------------------


def batch(number: int) -> Callable[[str, Any], bool]:
    """Return whether an invocation trains a batch."""
    return lambda function, event: function == TRAIN and event["batch"] == number


def writes_outcomes(request: Request) -> bool:
    return request.method == "PUT" and "/outcomes/" in request.path


def writes_a_model(request: Request) -> bool:
    return request.method == "PUT" and request.path.split("/")[2] == "models"


@pytest.mark.filterwarnings("ignore:.*Throttling does not match an error shape")
def test_a_night_of_failures_leaves_each_metric_with_one_outcome(stack) -> None:
    """Batches of two: in each something else fails, once."""
    found = readings()
    stack = stack(found, "h[0-7]", concurrency=1)
    stack.put(FEEDBACK_KEY, encode_feedback([left_out(load("h6"), days=12)]))
    stack.put(INDEX_KEY, b"damaged")
    found.refused = {load("h7")}
    found.throttled = 1  # a request
    found.failing = 1  # and the series of another
    faults = stack.machine.functions.faults
    faults += [
        Fault("throttled", batch(1)),
        Fault("crash", batch(0), at=writes_outcomes),  # when the first model is live
        Fault("response lost", batch(1)),
        Fault("still running", batch(2), at=writes_a_model),
        Fault("timeout", batch(3), at=writes_outcomes),
        Fault("response lost", lambda function, event: function in (PLAN, REPORT), times=2),
    ]
    assert stack.night(1).status == "SUCCEEDED"
    assert not any(fault.times for fault in faults)
    report = by_host(check_outcomes(stack, 1, HOSTS[:8]))
    statuses = {host: each.status for host, each in report.items()}
    assert statuses == dict.fromkeys(HOSTS[:6], "published") | {"h6": "refused", "h7": "failed"}
    assert report["h0"].reason == "Published before the run was cut off"
    assert report["h6"].reason.startswith("Too few readings outside of incidents")
    assert "a metric is refused" in report["h7"].reason
    assert stack.registry().names() == sorted(stack.runs())
    functions = stack.machine.functions
    assert (functions.denied(), functions.used(REPORT)) == ([], functions.allowed(REPORT))
    assert len({each["detail"]["notification"] for each in stack.watch.drain_events()}) == 1


def left_out(metric: Metric, days: int) -> Feedback:
    """Return feedback that leaves nothing of the first days of a metric to train on."""
    first = until(1) - 14 * DAY_MS
    mark = Mark("m", str(metric), first, first + days * DAY_MS, 0, 1, 0, 1)
    return Feedback("i", "real", "ann", first, marks=[mark])


def test_a_batch_that_fails_for_good_is_missing_until_the_next_night(stack) -> None:
    stack = stack(readings(), "h[0-1]")
    faults = stack.machine.functions.faults
    faults.append(Fault("timeout", batch(1), at=lambda request: True, times=99))
    execution = stack.night(1)
    assert (execution.status, execution.error) == ("FAILED", "MetricsNotTrained")
    assert f"--resume {run_of(1)}" in execution.cause
    report = check_outcomes(stack, 1, HOSTS[:2])
    assert (report.counts["published"], report.missing) == (1, 1)
    assert Counter(map(len, stack.runs().values())) == {1: len(HOSTS) - 1, 2: 1}
    [event] = stack.watch.drain_events()
    assert (event["detail"]["level"], event["detail"]["counts"]["missing"]) == ("warning", 1)
    faults.clear()
    assert stack.night(2).output["counts"]["published"] == 2
    # who continues the former run now does not replace what is newer
    resumed, problems = train_fleet(stack.services, run_of(1), Workers(), lambda *_: None)
    assert (resumed.counts["kept"], resumed.missing, problems) == (1, 0, [])
    check_outcomes(stack, 2, HOSTS[:2])


def test_a_map_that_fails_itself_is_reported(stack) -> None:
    stack = stack(readings(), "h[0-1]")
    role = stack.machine.step_functions.statements
    role[:] = [each for each in role if "s3:GetObject" not in each["Action"]]
    execution = stack.night(1)
    assert execution.error == "MetricsNotTrained"
    assert execution.states == ["Plan", "TrainBatches", "Report", "HasFailed", "Failed"]
    assert check_outcomes(stack, 1, HOSTS[:2]).missing == 2


def test_two_executions_at_the_same_time_are_one_run(stack) -> None:
    """The Scheduler may start an execution twice."""
    stack = stack(readings(), "h[0-1]")
    started = [stack.machine.start(midnight(1)) for _ in range(2)]
    statuses = [stack.machine.result(each).status for each in started]
    assert statuses == ["SUCCEEDED", "SUCCEEDED"]
    report = check_outcomes(stack, 1, HOSTS[:2])
    assert report.counts["published"] == 2


def test_a_night_with_nothing_to_train_says_so(stack) -> None:
    stack = stack(readings(), "h[0-3]", model=None)
    execution = stack.night(1)
    assert (execution.status, execution.error) == ("FAILED", "SourceError")
    assert "model: per-metric" in execution.cause
    assert execution.states == ["Plan"]
    assert stack.objects("plans/") == {}


def test_a_bucket_that_keeps_no_versions_is_not_published_to(stack) -> None:
    stack = stack(readings(), "h[0-1]")
    suspended = {"Status": "Suspended"}
    stack.bucket.s3.put_bucket_versioning(
        Bucket=stack.bucket.name, VersioningConfiguration=suspended
    )
    execution = stack.night(1)
    assert (execution.status, execution.error) == ("FAILED", "PublishError")
    assert "not versioned" in execution.cause
    assert stack.objects("plans/") == {}


# --- what is not executed here ------------------------------------------------------------------


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    names = {f"{each}.Arn": each for each in FUNCTIONS}
    return definition_of(MACHINE, deployed(**PARAMETERS), names)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        ("TrainBatches", {"ItemBatcher": {"MaxItemsPerBatch": 10}}),
        ("TrainBatches", {"ToleratedFailurePercentage": 5}),
        ("TrainBatches", {"ToleratedFailureCount": 5}),
        ("TrainBatches", {"ResultPath": "$.results"}),
        ("Report", {"HeartbeatSeconds": 10}),
        ("Report", {"Resource": "arn:aws:states:::sns:publish"}),
    ],
)
def test_a_definition_that_nothing_here_executes_is_refused(
    definition: dict[str, Any], state: str, change: dict[str, Any]
) -> None:
    check_definition(definition)
    changed = copy.deepcopy(definition)
    changed["States"][state] |= change
    with pytest.raises(NotExecutedError, match=state):
        check_definition(changed)
