"""The packages of nightly retraining: small enough, complete, and right under the real runtime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from local.events import put_series
from local.stack import local_client
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.objects import WATCH_KEY
from ops_anomaly.watcher.watch_file import parse_watch_file, write_watch_file
from tests.conftest import Bucket, new_bucket
from tests.contract.test_template_retraining import PLAN as PLAN_FIELDS
from tests.support.cloudformation import FUNCTIONS, ROOT
from tests.support.lambda_runtime import LambdaRuntime

PLAN, TRAIN, REPORT = (f"Retraining{name}Function" for name in ("Plan", "Train", "Report"))

# Lambda takes 262,144,000 bytes; a library may grow by a fifth before anybody has to act.
SIZE_LIMITS = {TRAIN: 200 * 2**20, PLAN: 60 * 2**20}

PERIOD = 1_800


@pytest.fixture(scope="module")
def packages(build: Callable[..., Path], architecture: str) -> dict[str, Path]:
    """Return the package of each function; two of them have the same."""
    plan, train = (build(architecture, function=name) for name in (PLAN, TRAIN))
    return {PLAN: plan, TRAIN: train, REPORT: plan}


def size(package: Path) -> int:
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


@pytest.mark.parametrize("function", SIZE_LIMITS)
def test_a_package_is_small_enough(packages: dict[str, Path], function: str) -> None:
    assert size(packages[function]) < SIZE_LIMITS[function]


def test_it_contains_the_pinned_libraries_only(packages: dict[str, Path]) -> None:
    files = (ROOT / folder / "requirements.txt" for folder in ("functions", "training"))
    pins = [pin for file in files for pin in re.findall(r"^[\w-]+==\S+", file.read_text(), re.M)]
    installed = [
        re.sub(r"^(.+)-(.+)$", r"\1==\2", folder.stem).replace("_", "-")
        for folder in packages[TRAIN].glob("*.dist-info")
    ]
    assert sorted(installed) == sorted(pins)


IMPORT_ALL = """
import importlib, pkgutil, training
for module in pkgutil.walk_packages(training.__path__, "training."):
    importlib.import_module(module.name)
"""


def test_what_is_left_of_training_can_be_imported(
    packages: dict[str, Path], runtime: Path, python313: str
) -> None:
    package = packages[TRAIN]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (package, runtime)))}
    subprocess.run([python313, "-c", IMPORT_ALL], cwd=package, env=environment, check=True)


# --- under the runtime --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket(s3_url: str) -> Bucket:
    return new_bucket(s3_url)


@pytest.fixture(scope="module")
def function(
    packages: dict[str, Path], runtime: Path, python313: str, bucket: Bucket
) -> Iterator[Callable[[str], LambdaRuntime]]:
    """Start a function with its own package, and without any of this process's environment."""
    with ExitStack() as started:

        def start(name: str) -> LambdaRuntime:
            environment = {
                "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_ENDPOINT_URL": bucket.endpoint_url,
                "AWS_LAMBDA_FUNCTION_NAME": name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
                "MODEL_BUCKET": bucket.name,
                "JOBLIB_MULTIPROCESSING": "0",
                "POWERTOOLS_SERVICE_NAME": name,
                "NO_PROXY": "127.0.0.1",
                "PYTHONPATH": os.pathsep.join(map(str, (packages[name], runtime))),
            }
            command = [python313, "-m", "awslambdaric", FUNCTIONS[name]["Handler"]]
            return started.enter_context(LambdaRuntime(command, packages[name], environment))

        yield start


def test_a_metric_is_planned_trained_published_and_reported(
    function: Callable[[str], LambdaRuntime], bucket: Bucket
) -> None:
    until = int(time.time()) // PERIOD * PERIOD
    metric = Metric.parse(f"{bucket.name} Load Host=a Average {PERIOD}")
    put_series(local_client("cloudwatch", bucket.endpoint_url), metric, until, daily(700))
    entry = {"name": "web", "metric": str(metric), "model": "per-metric", "history_days": 14}
    watch_file = parse_watch_file({"version": 1, "metrics": [entry]})
    bucket.s3.put_object(Bucket=bucket.name, Key=WATCH_KEY, Body=write_watch_file(watch_file))

    started = datetime.fromtimestamp(until, UTC).isoformat().replace("+00:00", ".123Z")
    planning = {"started": started, "execution": "nightly"}
    plan = function(PLAN)
    planned = plan.invoke(planning)
    assert planned.keys() == PLAN_FIELDS
    assert (planned["metrics"], planned["batches"]) == (1, 1)
    assert plan.invoke(planning) == planned  # a retry, whose first response was lost

    [item] = bucket_json(bucket, planned["items"])
    trained = function(TRAIN).invoke(item)
    assert trained == item | {"counts": {"published": 1}}
    reported = function(REPORT).invoke({"run": planned["run"]})
    assert (reported["counts"]["published"], reported["missing"]) == (1, 0)
    assert bucket.s3.head_object(Bucket=bucket.name, Key=reported["page"])
    assert len(bucket_json(bucket, "models/index.json")["models"]) == 1


def daily(count: int) -> np.ndarray:
    """Return values of a metric that has a day and some noise."""
    noise = np.random.default_rng(7).normal(0.0, 2.0, count)
    return 50 + 20 * np.sin(2 * np.pi * np.arange(count) * PERIOD / 86_400) + noise


def bucket_json(bucket: Bucket, key: str) -> Any:
    return json.loads(bucket.s3.get_object(Bucket=bucket.name, Key=key)["Body"].read())
