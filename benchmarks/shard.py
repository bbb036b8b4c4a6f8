"""`python -m benchmarks shard`: a shard whose metrics have a model each, in time and memory.

The shard job is the watcher's own, over an emulated bucket, with CloudWatch in memory. What the
bucket takes to respond is not S3's; what is read of it is.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from local.stack import BUCKET, isolate_from_aws, local_bucket, local_client
from ops_anomaly.aws.models import write_index
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    FLEET_KEY,
    INDEX_KEY,
    S3ObjectStore,
    StoredObject,
    model_key,
)
from ops_anomaly.detection.artifact import digest, pack
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.fleet import SHARD_SIZE
from ops_anomaly.watcher.watch_file import PER_METRIC, Options, model_of
from tests.support.fake_cloudwatch import FakeCloudWatch
from tests.support.unkind_clients import Recorder
from tests.support.watcher import (
    NOON,
    TIMEOUT_MS,
    WATCH_NOWHERE,
    WallClock,
    machines,
    make_watcher,
    shard_event,
    stored_fleet,
)
from training.candidates.contextual import fit_contextual
from training.console import new_table, print_table, show_progress
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from training.console import OnProgress

PERIOD = 300
DAY = 86_400 // PERIOD
DAYS = 14
OPTIONS = Options(name="all", model=PER_METRIC, history_days=DAYS)

TRAINED_BEFORE = 8 * 3_600 // PERIOD
"""Periods between the end of what models were trained on and the first job: a night."""

TRAINED = 4
"""Models that are really trained; the metrics take turns at having one of them."""

CACHE_BYTES = 268_435_456
"""`MODEL_CACHE_BYTES` of the deployed function."""

CASES = ("first job", "next job", "all models anew", "new instance")


@dataclass(frozen=True)
class Measured:
    """What a job took.

    Attributes
    ----------
    processor, elapsed : float
        Seconds.
    reads, read_bytes : int
        Objects that were read, and their sizes.
    memory : int
        Bytes at the peak, beyond those before the job.
    """

    case: str
    processor: float
    elapsed: float
    reads: int
    read_bytes: int
    memory: int


def shard(
    metrics: Annotated[int, typer.Option(min=1, help="Metrics of the shard.")] = SHARD_SIZE,
) -> None:
    """Measure jobs of a shard whose metrics have a model each."""
    console = Console()
    isolate_from_aws()
    with show_progress(console) as on_progress, local_bucket() as endpoint:
        size = publish_models(endpoint, metrics, 1, on_progress)
        measured = measure(endpoint, metrics, on_progress)
    table = new_table(
        f"A shard of {metrics} metrics with a model each",
        f"Two weeks of 5 minutes; a model has {size / 1e6:.2f} MB. Memory: beyond that before.",
        *("job", "processor", "elapsed", "reads", "read", "memory"),
    )
    for each in measured:
        table.add_row(
            each.case,
            f"{each.processor:.1f} s",
            f"{each.elapsed:.1f} s",
            f"{each.reads:,}",
            f"{each.read_bytes / 1e6:,.0f} MB",
            f"{each.memory / 1e6:,.0f} MB",
        )
    print_table(table, console)


def readings(number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the values of a machine: a day's rhythm and some noise."""
    count = DAYS * DAY + len(CASES)
    daily = 10.0 * np.sin(np.arange(count) * 2 * np.pi / DAY)
    return 30.0 + daily + np.random.default_rng(number).normal(0.0, 1.0, count)


def publish_models(endpoint: str, count: int, generation: int, on_progress: OnProgress) -> int:
    """Publish a model for each metric, and the index; return the size of one."""
    s3, names = local_client("s3", endpoint), model_names(machines(count, PERIOD))
    last = DAYS * DAY - TRAINED_BEFORE
    times = 1000 * (NOON - PERIOD * np.arange(DAYS * DAY, TRAINED_BEFORE, -1))
    about: dict[str, Any] = {"libraries": {}, "training_data": {"readings": last}, "figures": {}}
    artifacts = []
    for number in range(min(TRAINED, count)):
        on_progress("Training", number, TRAINED)
        series = Series(times.astype(np.int64), readings(number)[:last])
        detector = fit_contextual(LabelledSeries("machine", "simulated", series), 42).detector
        artifacts.append(pack(detector, f"v{generation}", **about))
    versions = {}
    for number, name in enumerate(names):
        on_progress("Publishing", number, count)
        data = artifacts[number % len(artifacts)]
        metadata = {DIGEST_METADATA: digest(data), CREATED_METADATA: "2026-01-01T00:00:00+00:00"}
        put = s3.put_object(Bucket=BUCKET, Key=model_key(name), Body=data, Metadata=metadata)
        versions[name] = put["VersionId"]
    s3.put_object(Bucket=BUCKET, Key=INDEX_KEY, Body=write_index(versions))
    return max(map(len, artifacts))


def model_names(metrics: list[Metric]) -> list[str]:
    """Return the names of the metrics' models."""
    return [str(model_of(OPTIONS, metric)) for metric in metrics]


def measure(endpoint: str, count: int, on_progress: OnProgress) -> list[Measured]:
    """Measure all cases, in processes of their own."""
    found: list[Measured] = []
    context = multiprocessing.get_context("spawn")
    for cases in (CASES[:3], CASES[3:]):
        on_progress("Jobs of the shard", len(found), len(CASES))
        with context.Pool(1) as pool:
            found += pool.apply(run_jobs, (endpoint, count, cases))
    return found


class CountingStore(S3ObjectStore):
    """A bucket that counts what is read of it."""

    reads = read_bytes = 0

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        """Read one object; see `ObjectStore.read`."""
        stored = super().read(key, unless_etag)
        self.reads += 1
        self.read_bytes += len(stored.data) if stored else 0
        return stored


def run_jobs(endpoint: str, count: int, cases: tuple[str, ...]) -> list[Measured]:
    """Run jobs of the shard one after the other in this process."""
    isolate_from_aws()
    os.environ.update(
        AWS_ENDPOINT_URL=endpoint, POWERTOOLS_METRICS_DISABLED="true", POWERTOOLS_LOG_LEVEL="ERROR"
    )
    metrics, cloudwatch, clock = machines(count, PERIOD), FakeCloudWatch(), WallClock()
    for number, metric in enumerate(metrics):
        cloudwatch.put(metric, NOON - DAYS * DAY * PERIOD, readings(number))
    store = CountingStore(BUCKET)
    store.overwrite(FLEET_KEY, stored_fleet(metrics, OPTIONS).data)
    clients = {"cloudwatch": cloudwatch, "events": Recorder(), "sns": Recorder()}
    settings = replace(WATCH_NOWHERE, model_cache_bytes=CACHE_BYTES, model_ttl_seconds=0)
    watcher = make_watcher(store, clients.__getitem__, clock, settings)
    found = []
    for case in cases:
        if case == "all models anew":
            publish_models(endpoint, count, 2, lambda *_: None)
        clock.seconds = NOON + CASES.index(case) * PERIOD + 90.0
        event, before = shard_event(0, clock), resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
        store.reads = store.read_bytes = 0
        processor, elapsed = time.process_time(), time.perf_counter()
        watcher.dispatch(event, lambda: TIMEOUT_MS)
        found.append(
            Measured(
                case,
                time.process_time() - processor,
                time.perf_counter() - elapsed,
                store.reads,
                store.read_bytes,
                resident("VmHWM") - before,
            )
        )
    return found


def resident(field: str) -> int:
    """Return the bytes of memory that this process has, or had at the peak."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return 1024 * int(found[1])
