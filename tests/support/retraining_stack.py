"""A stack that retrains its fleet, on this machine: the deployed state machine, roles and handlers.

moto's server is S3, CloudWatch, EventBridge and Step Functions; Lambda is faked. Time is simulated:
a night is an execution that starts at a midnight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from moto.cloudwatch.exceptions import CloudWatchException, ValidationError
from moto.cloudwatch.models import CloudWatchBackend

from local.stack import WatchStack, make_watch_stack
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.objects import INDEX_KEY, WATCH_KEY, S3ObjectStore
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.watch_file import WatchFile, write_watch_file
from tests.conftest import Bucket
from tests.support.cloudformation import Resources, deployed, of_type
from tests.support.fake_cloudwatch import as_metric
from tests.support.retraining import UNTIL
from tests.support.roles import PSEUDO_PARAMETERS, Resolution, arn, names_of, role_of
from tests.support.step_functions import (
    Clock,
    Execution,
    Function,
    StateMachine,
    state_machine,
)
from training.retraining.documents import Outcome, Report, RunPlan, Services, key_of
from training.retraining.plan import new_run
from training.retraining.services import Account
from training.sources.series import DAY_MS
from training.versions import RUN_METADATA

PARAMETERS = {"Retrain": "rate(1 day)", "EventBus": "Own"}
MACHINE = "Retraining"
FUNCTIONS = PLAN, TRAIN, REPORT = tuple(
    f"{MACHINE}{part}Function" for part in ("Plan", "Train", "Report")
)


# --- CloudWatch ---------------------------------------------------------------------------------


class ThrottledError(CloudWatchException):
    code = "Throttling"
    message = "Rate exceeded"


@dataclass
class Readings:
    """What moto's CloudWatch returns for GetMetricData.

    moto's own reads the data of all metrics for each period of each one: it takes minutes.

    Attributes
    ----------
    of
        Returns the readings of a metric, of all time.
    refused
        Metrics that CloudWatch refuses, together with all that are asked for in the same request.
    throttled, failing : int
        How many requests are still throttled; and how many have an internal error instead of data.
    requests : int
        How many there were.
    """

    of: Callable[[Metric], Series]
    refused: set[Metric] = field(default_factory=set)
    throttled: int = 0
    failing: int = 0
    requests: int = 0

    def get_metric_data(
        self,
        queries: list[dict[str, Any]],
        start_time: datetime,
        end_time: datetime,
        scan_by: str = "",
    ) -> list[dict[str, Any]]:
        self.requests += 1
        if self.throttled > 0:
            self.throttled -= 1
            raise ThrottledError
        if self.refused & {as_metric(query["MetricStat"]) for query in queries}:
            raise ValidationError("a metric is refused")
        status = "Complete"
        if self.failing > 0:
            self.failing, status = self.failing - 1, "InternalError"
        start, end = (round(1000 * each.timestamp()) for each in (start_time, end_time))
        return [
            self.result(query["Id"], as_metric(query["MetricStat"]), start, end, status)
            for query in queries
        ]

    def result(self, key: str, metric: Metric, start: int, end: int, status: str) -> dict[str, Any]:
        series = self.of(metric)
        kept = slice(*np.searchsorted(series.times, [start, end]).tolist())
        times = [datetime.fromtimestamp(t / 1000, UTC) for t in series.times[kept].tolist()]
        values = series.values[kept].tolist()
        return {
            "id": key,
            "label": str(metric),
            "timestamps": times,
            "values": values,
            "status_code": status,
        }


# --- the stack ----------------------------------------------------------------------------------

LASTED_SECONDS = 240
"""From the start of a night to its report."""


def definition_of(machine: str, resources: Resources, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the definition of a state machine as CloudFormation creates it."""
    properties = resources[machine]["Properties"]
    [separator, lines] = properties["DefinitionString"]["Fn::Join"]
    values = Resolution(PSEUDO_PARAMETERS | dict(names))(properties["DefinitionSubstitutions"])
    text = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], separator.join(lines))
    definition: dict[str, Any] = json.loads(text)
    return definition


def functions_of(
    resources: Resources,
    names: Mapping[str, str],
    connect: Callable[[ModuleType], object],
    more: Mapping[str, str],
) -> list[Function]:
    """Return the functions of the state machine, each with its role, its environment and more."""
    resolve = Resolution(PSEUDO_PARAMETERS | dict(names))
    return [
        Function(
            name,
            properties["Handler"],
            {
                variable: str(resolve(value))
                for variable, value in properties["Environment"]["Variables"].items()
            }
            | dict(more),
            role_of(name, names, **PARAMETERS),
            connect,
        )
        for name, properties in of_type("AWS::Lambda::Function", resources).items()
        if name in FUNCTIONS
    ]


def connected(settings: Mapping[str, Any], clock: Clock, handlers: ModuleType) -> None:
    """Have handlers read their environment; with simulated time, and plans of these settings."""
    connected = handlers.retraining()
    assert connected.services.store._store  # made now: obstore reads the environment as well
    services = replace(connected.services, clock=partial(reported_at, clock))
    simulated = replace(connected, services=services)
    vars(handlers).update(retraining=lambda: simulated, RunPlan=partial(RunPlan, **settings))


def reported_at(clock: Clock) -> float:
    """Return when the latest night is reported, seconds since 1970."""
    return clock.now.timestamp() + LASTED_SECONDS


@dataclass
class RetrainingStack:
    """A stack with a bucket of its own, and the nights that its fleet is retrained in."""

    bucket: Bucket
    watch: WatchStack
    machine: StateMachine
    readings: Readings
    clock: Clock

    def publish(self, watch_file: WatchFile, metrics: list[Metric]) -> None:
        """Publish a watch file, and let CloudWatch list metrics."""
        self.put(WATCH_KEY, write_watch_file(watch_file))
        cloudwatch = self.watch.client("cloudwatch")
        for metric in metrics:
            datum = {
                "MetricName": metric.name,
                "Dimensions": metric.query["Metric"]["Dimensions"],
                "Value": 1.0,
            }
            cloudwatch.put_metric_data(Namespace=metric.namespace, MetricData=[datum])

    def night(self, number: int) -> Execution:
        """Retrain in a night, to the end."""
        return self.machine.execute(midnight(number))

    def report(self, number: int) -> Report:
        """Return the report of a night."""
        return self.read(key_of(run_of(number), "report.json"), Report)

    def read(self, key: str, kind: Any) -> Any:
        """Return an object of the bucket."""
        return msgspec.json.decode(self.get(key), type=kind)

    def get(self, key: str) -> bytes:
        data: bytes = self.bucket.s3.get_object(Bucket=self.bucket.name, Key=key)["Body"].read()
        return data

    def put(self, key: str, data: bytes, **more: Any) -> None:
        self.bucket.s3.put_object(Bucket=self.bucket.name, Key=key, Body=data, **more)

    def objects(self, prefix: str) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Return the objects below a prefix: their bytes and metadata."""
        pages = self.bucket.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket.name, Prefix=prefix
        )
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        found = {key: self.bucket.s3.get_object(Bucket=self.bucket.name, Key=key) for key in keys}
        return {key: (each["Body"].read(), each["Metadata"]) for key, each in found.items()}

    def models(self) -> dict[str, tuple[bytes, dict[str, str]]]:
        """Return the live models: their bytes and metadata."""
        found = self.objects("models/")
        return {key.split("/")[1]: each for key, each in found.items() if key != INDEX_KEY}

    def live_versions(self) -> dict[str, str]:
        """Return the VersionId of each live model."""
        return {
            each["Key"].split("/")[1]: each["VersionId"]
            for each in self._versions()
            if each["IsLatest"]
        }

    def runs(self) -> dict[str, list[str]]:
        """Return the runs that have published each model: one for each of its versions."""
        s3, found = self.bucket.s3, dict[str, list[str]]()
        for each in self._versions():
            which = {"Key": each["Key"], "VersionId": each["VersionId"]}
            metadata = s3.head_object(Bucket=self.bucket.name, **which)["Metadata"]
            found.setdefault(each["Key"].split("/")[1], []).append(metadata[RUN_METADATA])
        return found

    def _versions(self) -> list[dict[str, Any]]:
        pages = self.bucket.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket.name, Prefix="models/"
        )
        found = [each for page in pages for each in page.get("Versions", [])]
        return [each for each in found if each["Key"] != INDEX_KEY]

    def registry(self) -> ModelRegistry:
        """Return what serves the models."""
        return ModelRegistry(
            S3ObjectStore(self.bucket.name),
            ttl_seconds=60,
            cache_bytes=2**24,
            on_refresh_failed=lambda *_: None,
        )

    def services(self) -> Services:
        """Return the services of a run from a machine."""
        return replace(
            Account(self.bucket.name, self.bucket.endpoint_url)(),
            clock=partial(reported_at, self.clock),
        )


@contextmanager
def retraining_stack(
    bucket: Bucket,
    name: str,
    readings: Readings,
    settings: Mapping[str, Any],
    concurrency: int,
    pace: float = 0.0,
) -> Iterator[RetrainingStack]:
    """Create a stack that retrains, with names that begin with `name`.

    Parameters
    ----------
    settings
        Of its plans, where they do not have the defaults.
    pace
        See `state_machine`.
    """
    resources = deployed(**PARAMETERS)
    watch = make_watch_stack(bucket.endpoint_url, name)
    names = names_of(bucket.name, watch) | {"AWS::StackName": name}
    names |= {f"{each}.Arn": arn("lambda", f"function:{each}") for each in FUNCTIONS}
    variables = {"RETRAIN_CONCURRENCY": str(concurrency), "POWERTOOLS_LOG_LEVEL": "CRITICAL"}
    clock = Clock()
    with ExitStack() as stack:
        machine = stack.enter_context(
            state_machine(
                bucket.endpoint_url,
                definition_of(MACHINE, resources, names),
                role_of(MACHINE, names, **PARAMETERS),
                functions_of(resources, names, partial(connected, settings, clock), variables),
                clock,
                pace,
            )
        )
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(
            CloudWatchBackend,
            "get_metric_data",
            lambda _, **request: readings.get_metric_data(**request),
        )
        patch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
        yield RetrainingStack(bucket, watch, machine, readings, clock)


def midnight(number: int) -> datetime:
    """Return when a night begins."""
    return datetime.fromtimestamp(until(number) / 1000, UTC)


def until(number: int) -> int:
    """Return the end of the readings of a night, milliseconds."""
    return UNTIL + number * DAY_MS


def run_of(number: int) -> str:
    """Return the name of the run of a night."""
    return new_run(until(number) / 1000)


def by_host(report: Report) -> dict[str, Outcome]:
    """Return the outcomes by host."""
    return {dict(Metric.parse(each.metric).dimensions)["Host"]: each for each in report.outcomes}
