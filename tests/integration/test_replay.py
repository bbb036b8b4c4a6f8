"""A replay over moto's CloudWatch: the messages of the watcher, by a role that may only read."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from local.events import put_series
from local.stack import local_client
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import FLEET_KEY, StoredObject
from ops_anomaly.detection.artifact import digest
from ops_anomaly.watcher.fleet import listed_fleet, resolve
from ops_anomaly.watcher.notifications import incident_notification
from ops_anomaly.watcher.outbox import Notification
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file
from replay.fold import folded
from replay.job import OutcomeFolder, replay_fleet
from replay.sources import Folders, Source, source_of_cloudwatch
from tests.support.command import Done, command
from tests.support.forwarding import running
from tests.support.roles import EnforcedRole, actions, published_policy
from tests.support.shard_jobs import World
from tests.support.watcher import TIMEOUT_MS

RACK = 3
"""Hosts whose incidents belong together."""

METRICS, DAYS, WARM_UP_DAYS = 6, 18, 64
PERIOD = 43_200
"""Twelve hours: moto's time for a reading grows with all readings that it holds."""

UNTIL = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp())
NOW = 1_000 * (UNTIL + 600)
"""When the last of them is final."""

NOWHERE = Console(file=StringIO())


def load(seed: int) -> np.ndarray:
    """Return readings with incidents in the last days, of which all hosts of a rack have one."""
    random = np.random.default_rng(seed)
    count = (WARM_UP_DAYS + DAYS) * 86_400 // PERIOD
    values = 30 + random.normal(0.0, 0.5, count)
    for first in random.integers(count - 2 * DAYS, count - 4, 2):
        values[first : first + 3] += random.choice([-20.0, 40.0])
    outage = count - 12 - 2 * (seed // RACK)
    values[outage : outage + 2] += 30.0
    return values.round(3)


@pytest.fixture(scope="module")
def metrics(s3_url: str) -> list[Metric]:
    """Hosts in moto's CloudWatch."""
    tag = uuid.uuid4().hex[:8]
    cloudwatch = local_client("cloudwatch", s3_url)
    found = []
    for number in range(METRICS):
        dimensions = (("Host", f"{tag}-{number:02}"),)
        found.append(Metric(f"Shop/{tag}", "Load", dimensions, "Average", PERIOD))
        put_series(cloudwatch, found[-1], UNTIL, load(number))
    return found


def watch_file_of(metrics: list[Metric]) -> WatchFile:
    """Return a watch file in which the hosts of a rack are a group."""
    entries = [
        {"name": f"host-{number}", "metric": str(each), "group": f"rack-{number // RACK}"}
        for number, each in enumerate(metrics)
    ]
    return parse_watch_file({"version": 1, "metrics": entries})


def read(cloudwatch: Any, watch_file: WatchFile, folder: Path) -> Source:
    """Read the history that a replay needs."""
    return source_of_cloudwatch(
        cloudwatch, watch_file, DAYS, Folders(folder), NOWHERE, lambda: None, NOW
    )


def messages_of_replay(cloudwatch: Any, metrics: list[Metric], folder: Path) -> list[Notification]:
    """Return what a replay says that would have been sent."""
    source = read(cloudwatch, watch_file_of(metrics), folder)
    outcomes = OutcomeFolder(folder)
    found = replay_fleet(source.planned, source.history_of, [], outcomes, lambda *_: None)
    reports = [one for each in found.metrics.values() for one in each.reports]
    entries = {each.options.name: each.options for each in source.planned}
    return [
        incident_notification(each, entries, None, run.now)
        for run in folded(reports, entries, [], found.until)
        for each in run.transitions
    ]


def messages_of_watcher(cloudwatch: Any, metrics: list[Metric]) -> list[Notification]:
    """Return what the watcher sends, run at each tick at which a period is read, and after it."""
    world, watch_file = World(0), watch_file_of(metrics)
    world.cloudwatch = lambda: cloudwatch
    runner = world.new_runner()
    fleet = listed_fleet(None, resolve(cloudwatch, watch_file), watch_file, "its ETag", 0)
    data = msgspec.json.encode(fleet)
    world.store.objects[FLEET_KEY] = StoredObject(data, etag=digest(data), version="1")
    for end in range(UNTIL - DAYS * 86_400, UNTIL, PERIOD):
        for tick in (end + 60, end + 660):  # soon, and when its value is final
            world.clock.seconds = tick
            runner.run(0, lambda: TIMEOUT_MS)
            world.clock.advance(60)
            world.incidents.run()
    return world.event.sent


def test_a_replay_sends_what_the_watcher_does_tick_by_tick(
    metrics: list[Metric], s3_url: str, tmp_path: Path
) -> None:
    cloudwatch = local_client("cloudwatch", s3_url)
    sent = messages_of_watcher(cloudwatch, metrics)
    assert len({each.about for each in sent}) >= METRICS, "incidents"
    assert max(each.detail["member_count"] for each in sent) >= RACK, "of several metrics"
    assert messages_of_replay(cloudwatch, metrics, tmp_path) == sent


def test_a_replay_may_read_metrics_and_does_nothing_else(
    metrics: list[Metric], s3_url: str, tmp_path: Path
) -> None:
    policy = published_policy("replay", "none")
    selector = {
        "name": "hosts",
        "namespace": metrics[0].namespace,
        "metric": "Load",
        "dimensions": {"Host": f"{metrics[0].dimensions[0][1][:8]}-*"},
        "statistic": "Average",
        "period": PERIOD,
    }
    with running(EnforcedRole(s3_url, policy)) as role:
        watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
        source = read(role.client("cloudwatch"), watch_file, tmp_path)
    assert [each.metric for each in source.planned] == metrics
    assert role.used == actions(policy), "all that it may"
    assert role.denied == []


def replay(s3_url: str, tmp_path: Path, *arguments: str) -> Done:
    out = "--out", str(tmp_path / "out")
    return command("replay", *arguments, *out, AWS_ENDPOINT_URL=s3_url)


def test_the_command_says_what_it_reads_and_ends_with_the_page(s3_url: str, tmp_path: Path) -> None:
    tag, period = uuid.uuid4().hex[:8], 3_600
    metric = Metric(f"Shop/{tag}", "Load", (("Host", tag),), "Average", period)
    values = 30 + np.random.default_rng(1).normal(0.0, 0.5, 12 * 24)
    values[-40:-30] += 30.0
    until = int(time.time()) // period * period
    cloudwatch = local_client("cloudwatch", s3_url)
    put_series(cloudwatch, metric, until, values[-50:])  # with a gap before
    put_series(cloudwatch, metric, until - 60 * period, values[:-60])
    arguments = "--cloudwatch", str(metric), "--days", "4"
    done = replay(s3_url, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "1 metric, 18 days of history: 432 datapoints in 1 call" in lines[0]
    assert "less than $0.01. Nothing is written to AWS." in lines[0]
    assert lines[-1] == f"Page: {(tmp_path / 'out' / 'replay.html').as_uri()}"
    again = replay(s3_url, tmp_path, *arguments, "--json")
    record = json.loads(again.stdout)
    assert "all of it was read before" in again.stderr
    assert f"notified of {len(record['incidents'])} incident" in done.stdout
    assert [each["close_reason"] for each in record["incidents"]] == ["recovered"]


def test_ten_readings_are_replayed_with_a_note(s3_url: str, tmp_path: Path) -> None:
    metric = Metric("Shop/few", "Load", (("Host", uuid.uuid4().hex),), "Average", 3_600)
    put_series(
        local_client("cloudwatch", s3_url), metric, int(time.time()) // 3_600 * 3_600, range(10)
    )
    done = replay(s3_url, tmp_path, "--cloudwatch", str(metric), "--days", "2")
    assert done.returncode == 0
    assert "1 metric had too little history" in done.stdout


def test_a_metric_without_readings_is_an_error_that_says_where_it_was_sought(
    s3_url: str, tmp_path: Path
) -> None:
    done = replay(s3_url, tmp_path, "--cloudwatch", "Shop/none Load Host=none Average 300")
    assert done.returncode == 1
    assert "CloudWatch in us-east-1 has no readings of the last 30 days" in done.stderr


def test_a_selector_that_matches_nothing_is_an_error(s3_url: str, tmp_path: Path) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text(
        "version: 1\nselectors:\n- {name: a, namespace: Shop/none, metric: Load, "
        "dimensions: {Host: '*'}, statistic: Average, period: 21600}\n"
    )
    done = replay(s3_url, tmp_path, str(path))
    assert done.returncode == 1
    assert "no metric matches the watch file at the moment" in done.stderr


def test_a_missing_permission_is_named(s3_url: str, tmp_path: Path) -> None:
    metric = "Shop/none Load Host=none Average 300"
    with running(EnforcedRole(s3_url, [])) as role:
        done = replay(role.url, tmp_path, "--cloudwatch", metric)
    assert done.returncode == 1
    assert "cloudwatch:GetMetricData" in done.stderr
