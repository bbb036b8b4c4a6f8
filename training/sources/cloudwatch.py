"""Series from CloudWatch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ops_anomaly.aws.cloudwatch import Metric, Span, read_history
from ops_anomaly.aws.errors import ServiceError, ServiceUnavailableError
from training.errors import SourceError
from training.sources.series import Series

DAY_SECONDS = 86_400

KEPT = ((300, 15), (3_600, 63))
"""Readings closer than so many seconds are kept for so many days; all others, for 455."""

MAX_DAYS = 455


def cloudwatch_client() -> Any:
    """Return a client for the account and region that the environment names.

    Raises
    ------
    SourceError
        If it names none.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.client("cloudwatch")
    except (BotoCoreError, ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is no URL
        raise SourceError(
            f"CloudWatch can't be asked: {error}; set AWS_DEFAULT_REGION, and AWS_PROFILE or "
            "credentials"
        ) from error


@contextmanager
def asking_cloudwatch() -> Iterator[None]:
    """Turn what goes wrong at CloudWatch into a `SourceError` that says what to do."""
    try:
        yield
    except ServiceUnavailableError as error:
        raise SourceError(
            f"{error}; look at the credentials (AWS_PROFILE), the region (AWS_DEFAULT_REGION) and "
            "the network, then try again"
        ) from error
    except ServiceError as error:  # it names the permission, or what is wrong with the question
        raise SourceError(str(error)) from error


def fetch_series(
    cloudwatch: Any,
    metrics: Sequence[Metric],
    days: int,
    until: float,
    on_progress: Callable[[int, int], None],
) -> dict[Metric, Series]:
    """Read the last days of metrics, all together; gaps stay gaps, and nothing is labelled.

    Parameters
    ----------
    cloudwatch
        A client of boto3.
    until : float
        Seconds since 1970; of a period that is not over then, nothing is read.
    on_progress
        Called with how many metrics have been read, of how many.

    Returns
    -------
    dict of Metric to Series
        Without those of which CloudWatch has less than two readings.

    Raises
    ------
    SourceError
        If CloudWatch does not keep such readings for so long, or can't be asked.
    """
    series = {}
    spans = [span_of(metric, days, until) for metric in metrics]
    on_progress(0, len(spans))
    with asking_cloudwatch():
        for done, (span, readings) in enumerate(read_history(cloudwatch, spans), start=1):
            if len(readings) >= 2:
                series[span.metric] = Series(
                    name=str(span.metric),
                    origin=f"CloudWatch {span.metric}, {days} days",
                    timestamps=readings.timestamps,
                    values=readings.values,
                    labels=None,
                    windows=np.empty((0, 2), "datetime64[s]"),
                )
            on_progress(done, len(spans))
    return series


def span_of(metric: Metric, days: int, until: float) -> Span:
    """Return the last days of a metric, from period to period."""
    check_kept(metric, days)
    end = int(until // metric.period) * metric.period
    start = (end - days * DAY_SECONDS) // metric.period * metric.period
    return Span(metric, start, end)


def check_kept(metric: Metric, days: int) -> None:
    """Raise `SourceError` if CloudWatch does not keep readings so close for so long."""
    for seconds, kept in KEPT:
        if metric.period < seconds and days > kept:
            raise SourceError(
                f"{metric}: CloudWatch keeps readings less than {seconds} seconds apart for {kept} "
                f"days; give --days {kept} or less, or a period of {seconds}"
            )


def missing(metrics: Sequence[Metric], days: int, cloudwatch: Any) -> SourceError:
    """Return the error of metrics of which a client's region has no readings."""
    names = "\n  ".join(map(str, metrics))
    return SourceError(
        f"CloudWatch in {cloudwatch.meta.region_name} has no readings of the last {days} days of\n"
        f"  {names}\nLook at the spelling, at the dimensions (all that it has are needed), at the "
        "statistic, and at the region (AWS_DEFAULT_REGION)"
    )
