"""Series from CloudWatch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ops_anomaly.aws.cloudwatch import Metric, Span, read_history
from ops_anomaly.aws.errors import ServiceError, ServiceUnavailableError
from ops_anomaly.watcher.watch_file import RETENTION, retention_days
from training import SourceError
from training.console import show_progress
from training.sources.series import MIN_LENGTH, LabelledSeries

if TYPE_CHECKING:
    from rich.console import Console

DAY_SECONDS = 86_400


def cloudwatch_client() -> Any:
    """Return a client for the account and region of the environment.

    Raises
    ------
    SourceError
        If the environment names none.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.client("cloudwatch")
    except (BotoCoreError, ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is not a URL
        raise SourceError(
            f"CloudWatch can't be reached: {error}; set AWS_DEFAULT_REGION, and AWS_PROFILE or "
            "credentials"
        ) from error


@contextmanager
def source_errors() -> Iterator[None]:
    """Turn CloudWatch's errors into a `SourceError` that says what to do."""
    try:
        yield
    except ServiceUnavailableError as error:
        raise SourceError(
            f"{error}; check the credentials (AWS_PROFILE), the region (AWS_DEFAULT_REGION) and "
            "the network, then try again"
        ) from error
    except ServiceError as error:  # it names the permission, or what is wrong with the request
        raise SourceError(str(error)) from error


def fetch_with_progress(
    cloudwatch: Any, metrics: Sequence[Metric], days: int, console: Console
) -> dict[Metric, LabelledSeries]:
    """Read the last days of metrics up to now, and show progress; see `fetch_series`."""
    stage = f"Reading {days} days from CloudWatch, metrics"
    with show_progress(console) as on_progress:
        return fetch_series(
            cloudwatch,
            metrics,
            days,
            time.time(),
            lambda done, total: on_progress(stage, done, total),
        )


def fetch_series(
    cloudwatch: Any,
    metrics: Sequence[Metric],
    days: int,
    until: float,
    on_progress: Callable[[int, int], None],
) -> dict[Metric, LabelledSeries]:
    """Read the last days of metrics, all together; gaps stay gaps, and nothing is labelled.

    Parameters
    ----------
    cloudwatch
        A client of boto3.
    until : float
        Seconds since 1970; a period that is not over then is not read.
    on_progress
        Called with how many metrics have been read, of how many.

    Returns
    -------
    dict of Metric to LabelledSeries
        Without those of which CloudWatch has fewer than two readings.

    Raises
    ------
    SourceError
        If CloudWatch doesn't keep such readings for so long, or can't be read.
    """
    return read_spans(cloudwatch, [span_of(metric, days, until) for metric in metrics], on_progress)


def read_spans(
    cloudwatch: Any,
    spans: Sequence[Span],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Metric, LabelledSeries]:
    """Read metrics, each over its own span; see `fetch_series`."""
    found = {}
    on_progress(0, len(spans))
    with source_errors():
        for done, (span, series) in enumerate(read_history(cloudwatch, spans), start=1):
            if len(series) >= MIN_LENGTH:
                days = (span.end - span.start) / DAY_SECONDS
                origin = f"CloudWatch {span.metric}, {days:g} days"
                found[span.metric] = LabelledSeries(str(span.metric), origin, series)
            on_progress(done, len(spans))
    return found


def span_of(metric: Metric, days: int, until: float) -> Span:
    """Return the last days of a metric, in whole periods."""
    check_kept(metric, days)
    end = int(until // metric.period) * metric.period
    start = (end - days * DAY_SECONDS) // metric.period * metric.period
    return Span(metric, start, end)


def check_kept(metric: Metric, days: int) -> None:
    """Raise `SourceError` if CloudWatch doesn't keep readings so close for so long."""
    for kept, longer in RETENTION:
        if retention_days(metric.period) == kept < days:
            raise SourceError(
                f"{metric}: CloudWatch keeps readings of {metric.period} seconds for {kept} days; "
                f"give --days {kept} or less, or a period that is a multiple of {longer}"
            )


def missing(metrics: Sequence[Metric], days: int, cloudwatch: Any) -> SourceError:
    """Return the error of metrics of which a client's region has no readings."""
    names = "\n  ".join(map(str, metrics))
    return SourceError(
        f"CloudWatch in {cloudwatch.meta.region_name} has no readings of the last {days} days of\n"
        f"  {names}\nCheck the spelling, the dimensions (all of them are needed), the "
        "statistic and the region (AWS_DEFAULT_REGION)"
    )
