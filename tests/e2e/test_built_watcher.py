"""The deployed watcher, under the real Lambda runtime, over moto's server."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from local.events import PERIOD, machine, put_series
from local.stack import WatchStack, make_watch_stack
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import FEEDBACK_KEY, WATCH_KEY
from ops_anomaly.watcher.watch_file import parse_watch_file, write_watch_file
from tests.conftest import Bucket, new_bucket
from tests.support.lambda_runtime import LambdaRuntime

EVENTS = Path(__file__).parents[2] / "events"
ALARMS = sorted(path.stem for path in EVENTS.glob("alarm-*.json"))


@pytest.fixture(scope="module")
def bucket(s3_url: str) -> Bucket:
    return new_bucket(s3_url)


@pytest.fixture(scope="module")
def stack(bucket: Bucket) -> WatchStack:
    return make_watch_stack(bucket.endpoint_url, f"built-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def environment(package: Path, runtime: Path, bucket: Bucket, stack: WatchStack) -> dict[str, str]:
    """Return the variables of all functions."""
    return {
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": bucket.endpoint_url,
        "AWS_LAMBDA_FUNCTION_NAME": "watch",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "MODEL_BUCKET": bucket.name,
        "POWERTOOLS_SERVICE_NAME": "watch",
        "POWERTOOLS_METRICS_NAMESPACE": "Test",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(map(str, (package, runtime))),
        **stack.environment(),
    }


@pytest.fixture(scope="module")
def function(
    package: Path, python313: str, environment: dict[str, str]
) -> Iterator[Callable[[str], LambdaRuntime]]:
    """Start a function by the name of its handler."""
    with ExitStack() as started:

        def start(handler: str) -> LambdaRuntime:
            command = [python313, "-m", "awslambdaric", f"ops_anomaly.watcher.handler.{handler}"]
            return started.enter_context(LambdaRuntime(command, package, environment))

        yield start


@pytest.fixture(scope="module")
def watch(function: Callable[[str], LambdaRuntime]) -> LambdaRuntime:
    return function("watch_handler")


@pytest.fixture(scope="module")
def alarms(function: Callable[[str], LambdaRuntime]) -> LambdaRuntime:
    return function("alarm_handler")


@pytest.fixture(scope="module")
def console(function: Callable[[str], LambdaRuntime]) -> LambdaRuntime:
    return function("console_handler")


def sample(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def test_a_tick_its_shard_jobs_the_incidents_and_the_console(
    watch: LambdaRuntime, console: LambdaRuntime, bucket: Bucket, stack: WatchStack
) -> None:
    until = int(time.time() - 60) // PERIOD * PERIOD
    text = f"Built CPUUtilization InstanceId={stack.event_bus} Average {PERIOD}"
    runaway = machine(1, until, runs_away=True)
    put_series(stack.client("cloudwatch"), Metric.parse(text), until, runaway)
    entry = {"name": "built", "metric": text, "history_days": 2}
    watch_file = parse_watch_file({"version": 1, "metrics": [entry]})
    bucket.s3.put_object(Bucket=bucket.name, Key=WATCH_KEY, Body=write_watch_file(watch_file))
    assert watch.invoke(sample("schedule")) is None
    assert stack.run_queued(stack.shard_queue, lambda event, _: watch.invoke(event), None) == 1
    assert watch.invoke(sample("incidents")) is None
    [opened] = stack.drain_events()
    assert opened["detail-type"] == "Incident Opened"
    assert len(stack.drain_messages()) == 1

    # the dashboard shows it, and who presses its button closes it
    incident = opened["detail"]["id"]
    html = console.invoke(sample("widget"))
    assert stack.event_bus in html
    assert f'"incident": "{incident}", "verdict": "fine"' in html
    html = console.invoke(sample("widget") | {"incident": incident, "verdict": "fine"})
    assert f'"incident": "{incident}", "verdict": "undo"' in html
    assert watch.invoke(sample("incidents")) is None
    [closed] = stack.drain_events()
    assert closed["detail"]["close_reason"] == "marked as fine"
    event = sample("feedback")
    event["detail"] |= {"incident": incident, "verdict": "real"}
    assert console.invoke(event) is None
    kept = bucket.s3.get_object(Bucket=bucket.name, Key=FEEDBACK_KEY)["Body"].read()
    assert b"the runbook of nightly restarts" in kept


@pytest.mark.parametrize("name", ["unknown", "shard"])
def test_every_sample_event_of_the_fleet_is_accepted(watch: LambdaRuntime, name: str) -> None:
    assert watch.invoke(sample(name)) is None


@pytest.mark.parametrize("name", ["unknown", *ALARMS])
def test_every_sample_alarm_is_accepted(
    alarms: LambdaRuntime, stack: WatchStack, name: str
) -> None:
    assert alarms.invoke(sample(name)) is None
    is_direct = not name.startswith(("unknown", "alarm-queue"))
    queued = stack.run_queued(stack.alarm_queue, lambda event, _: alarms.invoke(event), None)
    assert queued == is_direct
