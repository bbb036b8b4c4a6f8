"""The three Lambda functions of nightly retraining: plan, train a batch, report.

The state machine of `template.yaml` calls them: the plan once, the training once a batch, the
report once at the end. It retries what raises an error, so each of them continues where it was cut
off.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from aws_lambda_powertools import Logger

from ops_anomaly.aws.errors import ObjectNotFoundError
from ops_anomaly.aws.objects import WATCH_KEY, S3ObjectStore
from ops_anomaly.aws.settings import required, whole_number
from ops_anomaly.watcher.fleet import ABSENCE_MS, FleetList, Watched
from ops_anomaly.watcher.watch_file import parse_watch_file
from training import RunError, SourceError
from training.fleet import resolve_watch_file
from training.publishing import BucketModels, check_bucket
from training.retraining.batch import train_batch
from training.retraining.documents import Outcome, RunPlan, Services, items_key, read_plan
from training.retraining.plan import new_run, plan_run
from training.retraining.report import announce, finish_run
from training.retraining.services import CloudWatchReader

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


logger = Logger()

STORE_TIMEOUT_SECONDS = 30
"""Of a request to the bucket: a model has half a megabyte, the outcomes of a batch less."""


@dataclass(frozen=True, kw_only=True)
class RetrainingSettings:
    """The configuration of the three functions.

    Attributes
    ----------
    bucket : str
        `MODEL_BUCKET`: the watch file, the models and the runs.
    concurrency : int
        `RETRAIN_CONCURRENCY`: batches that are trained in parallel.
    event_bus : str
        `EVENT_BUS_NAME`: where a finished run is an event.
    """

    bucket: str
    concurrency: int = 5
    event_bus: str = "default"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises
        ------
        SettingsError
            With the variable and what it should be.

        Examples
        --------
        >>> RetrainingSettings.from_environment({"MODEL_BUCKET": "b", "RETRAIN_CONCURRENCY": "2"})
        RetrainingSettings(bucket='b', concurrency=2, event_bus='default')
        """
        return cls(
            bucket=required(environ, "MODEL_BUCKET", "set it to the bucket of the models"),
            concurrency=whole_number(environ, "RETRAIN_CONCURRENCY", cls.concurrency),
            event_bus=environ.get("EVENT_BUS_NAME") or cls.event_bus,
        )


@dataclass(frozen=True)
class Retraining:
    """What the handlers work with: settings, the services of a run, clients of boto3."""

    settings: RetrainingSettings
    services: Services
    cloudwatch: Any
    s3: Any
    events: Any


@cache
def retraining() -> Retraining:
    """Return what the handlers work with, once an instance."""
    settings = RetrainingSettings.from_environment(os.environ)
    cloudwatch, s3, events = map(client, ("cloudwatch", "s3", "events"))
    services = Services(
        S3ObjectStore(settings.bucket, STORE_TIMEOUT_SECONDS),
        CloudWatchReader(cloudwatch),
        BucketModels(s3, settings.bucket),
    )
    return Retraining(settings, services, cloudwatch, s3, events)


def client(service: str) -> Any:
    """Return a client of boto3, which the runtime provides."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=60,
        # adaptive: where CloudWatch throttles, all calls of this function slow down
        retries={"mode": "adaptive", "total_max_attempts": 8},
    )
    return boto3.client(service, config=config)


def plan_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Plan a run: which metrics are trained, in which batches.

    Parameters
    ----------
    event
        `started`: when the execution of the state machine began, ISO 8601, which names the run; and
        `execution`, its name.
    """
    began = datetime.fromisoformat(event["started"]).timestamp()
    new = RunPlan(
        run=new_run(began),
        until=int(began // 60) * 60_000,
        started=int(1000 * began),
        execution=event["execution"],
    )
    plan = planned(retraining(), new)
    logger.info("Planned", run=plan.run, metrics=plan.metrics, batches=plan.batches)
    return {
        "run": plan.run,
        "bucket": retraining().settings.bucket,
        "items": items_key(plan.run),
        "metrics": plan.metrics,
        "batches": plan.batches,
        "concurrency": retraining().settings.concurrency,
    }


def planned(retraining: Retraining, new: RunPlan) -> RunPlan:
    """Return the plan of a run: that of a former try, or a new one.

    Raises
    ------
    PublishError
        If the bucket is not versioned: nothing could be rolled back.
    SourceError
        If no watch file is published, none of its entries asks for models, or CloudWatch does not
        respond.
    """
    settings, store = retraining.settings, retraining.services.store
    try:
        return read_plan(store, new.run)
    except RunError:
        check_bucket(retraining.s3, settings.bucket)
        fleet = watched_fleet(retraining, new.until)
        return plan_run(store, fleet, new, settings.concurrency)


def watched_fleet(retraining: Retraining, now: int) -> list[Watched]:
    """Return the metrics that the watcher evaluates, by its own list of them.

    They are listed anew where that list is of another watch file, or of yesterday, as the watcher
    is disabled.

    Parameters
    ----------
    now : int
        Milliseconds since 1970.
    """
    store = retraining.services.store
    try:
        stored = store.read(WATCH_KEY)
    except ObjectNotFoundError as error:
        raise SourceError(
            f"no watch file is published, so there is nothing to train ({error}); publish one: "
            "ops-anomaly watch FILE --bucket BUCKET"
        ) from error
    etag, data = (stored.etag, stored.data) if stored else ("", b"null")
    listed = FleetList(store, lambda key: None).read()
    if listed and listed.watch_file == etag and now - listed.listed_at < ABSENCE_MS:
        return listed.watched()
    return resolve_watch_file(retraining.cloudwatch, parse_watch_file(json.loads(data)))


def train_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Train a batch.

    Parameters
    ----------
    event
        `run`, and `batch`, its number.
    """
    run, batch = event["run"], event["batch"]
    logger.append_keys(run=run, batch=batch)
    outcomes = train_batch(retraining().services, run, batch, log_failure)
    counts = dict(Counter(each.status for each in outcomes))
    logger.info("Trained", counts=counts)
    return {"run": run, "batch": batch, "counts": counts}


def log_failure(outcome: Outcome) -> None:
    """Log why a metric failed; the others are in the report."""
    if outcome.status == "failed":
        logger.error("Not trained", metric=outcome.metric, reason=outcome.reason)


def report_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Report what a run came to, and send the event of it.

    Parameters
    ----------
    event
        `run`.
    """
    report = finish_run(retraining().services, event["run"])
    announce(report, retraining().events, retraining().settings.event_bus)
    counts = dict(report.counts)
    logger.info("Reported", run=report.run, counts=counts, missing=report.missing)
    return {
        "run": report.run,
        "counts": counts,
        "missing": report.missing,
        "has_failed": report.has_failed,
        "page": report.page,
    }
