"""What a fleet costs: by the constants that the watcher runs with, and as the documents say it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from aws_lambda_powertools import Logger, Metrics

from ops_anomaly.watcher.fleet import Watched
from ops_anomaly.watcher.telemetry import IncidentReport, ShardReport, Telemetry
from ops_anomaly.watcher.watch_file import PER_METRIC, Options, WatchFile, parse_watch_file
from tests.support.cloudformation import TRANSFORMED
from tests.support.fakes import FakeStore
from tests.support.retraining import PLAN, MemoryModels, fleet_of, read_daily
from tests.support.shard_jobs import STATE, World
from tests.support.watcher import machines
from training.cost import (
    ALARM_METRICS,
    DASHBOARD,
    GETS_A_BATCH,
    GETS_A_MODEL,
    GETS_A_RETRAINING,
    LAMBDA_SECOND,
    PUTS_A_BATCH,
    PUTS_A_MODEL,
    PUTS_A_RETRAINING,
    RECORD_BYTES,
    RETRAINING_ALARM_METRICS,
    STACK,
    TOTALS,
    Cost,
    cost_of,
    retraining_cost,
    run_cost,
)
from training.retraining.batch import train_batch
from training.retraining.documents import Services
from training.retraining.plan import tasks_of, write_plan
from training.retraining.report import finish_run
from training.versions import PublishedArtifact

ROOT = Path(__file__).parents[2]
SELECTOR = {
    "name": "all",
    "namespace": "AWS/EC2",
    "metric": "CPUUtilization",
    "dimensions": {"InstanceId": "*"},
    "statistic": "Average",
}


def cost(count: int, period: int, statistic: str = "Average", **options: object) -> Cost:
    """Return the cost of so many metrics of one entry."""
    selector = SELECTOR | {"period": period, "statistic": statistic} | options
    watch_file: WatchFile = parse_watch_file({"version": 1, "selectors": [selector]})
    fleet = [Watched(Options(name="all", **options), machines(count, period, statistic))]
    return cost_of(watch_file, fleet)


@pytest.mark.parametrize(
    ("period", "statistic", "readings"),
    [
        (60, "Average", 8_760),  # no more often than every five minutes
        (300, "Average", 8_760),
        (300, "Sum", 8_760),
        (900, "Sum", 2_920),
        (3_600, "Sum", 2 * 730),  # soon after its end, and ten minutes later
    ],
)
def test_a_metric_is_read_once_a_period_and_a_long_one_again_when_it_is_final(
    period: int, statistic: str, readings: int
) -> None:
    assert cost(1, period, statistic).reading == pytest.approx(readings * 0.01 / 1_000)


def test_a_metric_that_settles_late_is_read_a_third_time() -> None:
    early, late = cost(1, 3_600), cost(1, 3_600, settle_seconds=1_800)
    assert late.reading == pytest.approx(1.5 * early.reading)


def test_each_shard_has_its_requests() -> None:
    one, four = cost(400, 300), cost(1_600, 300)
    jobs, runs = 8_760 * (0.000_005 + 3 * 0.000_000_4), 43_800 * 0.000_000_4
    assert one.requests == pytest.approx(jobs + runs)
    assert four.requests == pytest.approx(4 * one.requests)


def test_replaced_versions_of_the_state_cost_several_times_its_requests() -> None:
    """They are kept for a day at the least: 288 versions of 13 MB."""
    full = cost(400, 300)
    a_version = 400 * (4_032 * 8 + RECORD_BYTES)
    assert full.versions == pytest.approx(0.023e-9 * a_version * (1 + 1.5 * 288))
    assert 1 < full.versions / full.requests < 5


def test_the_state_has_so_many_bytes_of_a_metric_beside_its_readings() -> None:
    world = World(20)
    world.run(0)
    readings = sum(len(each.values) for each in world.state.metrics.values())
    record = (len(world.store.objects[STATE].data) - 8 * readings) / 20
    assert record == pytest.approx(RECORD_BYTES, rel=0.02)


def test_scores_are_custom_metrics() -> None:
    scored = cost(7, 300, score_metric=True)
    assert scored.total - cost(7, 300).total == pytest.approx(0.3 * 7)


def test_the_stack_has_so_many_alarms() -> None:
    metrics = {True: 0, False: 0}
    for resource in TRANSFORMED["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            known = resource["Properties"].get("Metrics", [])
            retrains = resource.get("Condition") == "Retrains"
            metrics[retrains] += sum("MetricStat" in each for each in known) or 1
    assert metrics == {False: ALARM_METRICS, True: RETRAINING_ALARM_METRICS}


def test_the_watcher_publishes_so_many_totals_at_all_times() -> None:
    metrics = Metrics(namespace="test", service="test")
    metrics.clear_metrics()  # those of other tests, which all instances share
    telemetry, out = Telemetry(Logger(service="test", stream=io.StringIO()), metrics), io.StringIO()
    telemetry.planned(1)
    telemetry.evaluated(ShardReport(watched=1), 0, 1)
    telemetry.incidents_updated(
        IncidentReport(open=0, muted=0, opened=0, closed=0, withdrawn=0, pending=0)
    )
    with redirect_stdout(out):
        metrics.flush_metrics()
    published = json.loads(out.getvalue())["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    assert len(published) == TOTALS


# --- retraining ---------------------------------------------------------------------------------


def own_models(count: int, history_days: int = 14) -> list[Watched]:
    options = Options(name="all", model=PER_METRIC, history_days=history_days)
    return [Watched(options, machines(count, 300, "Average"))]


def test_a_thousand_models_trained_every_night_cost_less_than_three_dollars_a_month() -> None:
    found = retraining_cost(own_models(1_000))
    assert found.reading == pytest.approx(1_000 * 0.01 / 1_000 * 730 / 24)
    assert 0.8 < found.compute < 1.2
    assert found.total == sum(found.parts.values()) < 3


def test_a_longer_history_takes_longer_to_train_and_more_storage() -> None:
    two, four = (retraining_cost(own_models(1_000, history_days=days)) for days in (14, 28))
    assert 1.4 < four.compute / two.compute < 1.8
    assert 1.5 < four.versions / two.versions < 1.9
    assert four.reading == two.reading


def test_only_models_a_metric_are_trained_every_night() -> None:
    assert retraining_cost([Watched(Options(name="all"), machines(3, 300, "Average"))]) is None


def test_a_run_from_a_machine_costs_no_lambda() -> None:
    account, machine = (run_cost(100, 4, 110.0, in_account=each) for each in (True, False))
    assert machine.compute == machine.orchestration == machine.logs == 0
    assert (machine.reading, machine.requests) == (account.reading, account.requests)


@dataclass
class CountedModels(MemoryModels):
    gets: int = 0

    def read(self, name: str) -> PublishedArtifact | None:
        self.gets += 1
        return super().read(name)

    def update_index(self, names: Collection[str]) -> None:
        self.gets += len(names)
        super().update_index(names)


def requests_of(*hosts: str) -> tuple[int, int]:
    """Return the GETs and PUTs of a run that had published the models before it was cut off."""
    store, models = FakeStore(), CountedModels()
    services = Services(store, read_daily, models)
    tasks = tasks_of(fleet_of(*hosts), {}, (), PLAN.until)
    models.live = {each.model: PublishedArtifact(b"", "", "", "v1", PLAN.run) for each in tasks}
    write_plan(store, PLAN, tasks)
    train_batch(services, PLAN.run, 0)
    assert finish_run(services, PLAN.run).counts["published"] == len(hosts)
    return store.reads + models.gets, store.writes


def test_a_run_makes_so_many_requests_of_each_model() -> None:
    one, two = requests_of("a"), requests_of("a", "b")
    assert (two[0] - one[0], two[1] - one[1]) == (GETS_A_MODEL, PUTS_A_MODEL - 1)
    assert one[0] <= GETS_A_MODEL + GETS_A_BATCH + GETS_A_RETRAINING
    assert one[1] <= PUTS_A_MODEL + PUTS_A_BATCH + PUTS_A_RETRAINING


def test_models_are_read_again_where_a_fleet_has_several_shards() -> None:
    """By an instance that keeps the models of one shard, and gets another."""
    one, two = cost(400, 300, model=PER_METRIC), cost(800, 300, model=PER_METRIC)
    assert cost(800, 300).models == 0
    assert one.models == pytest.approx(8_760 * 0.000_000_4)  # the index, of each job
    again = 800 * 8_760 / 2
    assert two.models == pytest.approx(2 * one.models + again * (4e-7 + 0.01 * LAMBDA_SECOND))


# --- documents ----------------------------------------------------------------------------------


def rows(page: str, heading: str) -> dict[str, list[float]]:
    """Return the dollars in each row of the table below a heading, by the row's name."""
    text = (ROOT / page).read_text(encoding="utf-8").split(heading, 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in text.splitlines():
        if line.startswith("| "):
            name = line.split("|")[1].strip(" *")
            found[name] = [float(each) for each in re.findall(r"\$(\d+\.\d+)", line)]
    return found


FULL_SHARD = 400
PERIODS = (300, 900, 3_600)


def per_metric() -> list[Cost]:
    return [cost(FULL_SHARD, period) for period in PERIODS]


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ("GetMetricData", ["reading"]),
        ("S3, requests", ["requests"]),
        ("S3, replaced versions of the state", ["versions"]),
        ("Lambda and SQS", ["compute"]),
        ("logs", ["logs"]),
        ("together", ["reading", "requests", "versions", "compute", "logs"]),
    ],
)
def test_the_table_of_the_documentation_is_right(row: str, parts: list[str]) -> None:
    documented = rows("docs/watcher.md", "## Costs")[row]
    computed = [sum(getattr(each, p) for p in parts) / FULL_SHARD for each in per_metric()]
    assert documented[-3:] == [round(each, 4) for each in computed]


def test_the_table_of_the_readme_is_right() -> None:
    table = rows("README.md", "## What it costs")
    computed = per_metric()
    others = [e.requests + e.versions + e.compute + e.logs for e in computed]
    assert table["GetMetricData"] == [round(e.reading / FULL_SHARD, 4) for e in computed]
    assert table["S3, Lambda, SQS and logs"] == [round(o / FULL_SHARD, 4) for o in others]
    together = [(e.reading + o) / FULL_SHARD for e, o in zip(computed, others, strict=True)]
    assert table["together"] == [round(each, 4) for each in together]


def test_the_table_of_retraining_is_right() -> None:
    table = rows("docs/operations.md", "### What it costs")
    models = (100, 1_000, 10_000)
    found = [retraining_cost(own_models(count)) for count in models]
    computed = {
        "GetMetricData": [each.reading for each in found],
        "Lambda": [each.compute for each in found],
        "S3, requests": [each.requests for each in found],
        "S3, versions": [each.versions for each in found],
        "Step Functions": [each.orchestration for each in found],
        "logs and alarm": [each.logs + each.alarms for each in found],
        "together": [each.total for each in found],
    }
    assert {name: table[name] for name in computed} == {
        name: [round(each, 2) for each in costs] for name, costs in computed.items()
    }
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert all(f"${cost(n, 300, model=PER_METRIC).models:.2f}" in text for n in models[1:])


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "## What it costs"), ("docs/watcher.md", "## Costs")]
)
def test_the_documents_name_the_cost_of_the_stack_itself(page: str, heading: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").split(heading, 1)[1]
    assert f"${STACK:.2f} a month" in text
    assert f"${DASHBOARD:.2f}" in text
