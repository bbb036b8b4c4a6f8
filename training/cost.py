"""What watching a fleet costs a month in us-east-1, by the constants that the watcher runs with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.fleet import Watched, shard_count
from ops_anomaly.watcher.settling import readings_a_period, settling_seconds
from ops_anomaly.watcher.watch_file import Options, WatchFile, periods_of

MONTH_SECONDS = 730 * 3_600
DAY_SECONDS = 86_400
TICK_SECONDS = 300
"""The stack's default: a metric is evaluated no more often."""

METRIC_READ = 0.01 / 1_000
GET, PUT = 0.000_000_4, 0.000_005
STORED_BYTE = 0.023 / 1e9
LISTING = 0.01 / 1_000
CUSTOM_METRIC, ALARM, DASHBOARD = 0.30, 0.10, 3.00
LOGGED_BYTE = 0.50 / 1e9
LAMBDA_SECOND = 0.000_013_333_4 * 1_769 / 1_024
LAMBDA_REQUEST = 0.20 / 1e6
QUEUE_REQUEST = 0.50 / 1e6
"""Dollars in us-east-1: for a metric in GetMetricData; for a GET and a PUT of S3, and a byte stored
for a month; for a call of ListMetrics; a month for a custom metric, an alarm's metric, a dashboard;
for a byte of logs; for a second of 1,769 MB of Lambda on arm64, and a request; for one of SQS."""

GETS_A_JOB, GETS_A_RUN = 3, 3
"""Of a shard job: the list of the fleet, feedback, and the shard's state. Of a run of the incident
job: the list, feedback and the incidents; and a report of each shard."""

RECORD_BYTES = 1_420
KEPT_DAYS = 1.5
"""A version of the state that has been replaced is kept for a day, and then until S3's next daily
round."""

RUNS_A_MONTH = MONTH_SECONDS / 60
"""Of the incident job. Of what it and the jobs write, only what they do at all times is counted: a
PUT or two more for an incident is nothing beside it."""

LOGGED_BYTES_A_JOB, LOGGED_BYTES_A_RUN = 2_400, 1_000
"""Lambda's three lines, the watcher's, and its totals."""

PROCESSOR_SECONDS, WAITING_SECONDS = 0.0015, 0.005
"""Of a metric and evaluation: measured (`python -m benchmarks fleet`), and assumed."""

GET_SECONDS = 0.03
"""Assumed: what a run of the incident job waits for each of its GETs."""

POLLS_A_MONTH = 2 * 5 * MONTH_SECONDS / 20
"""Lambda polls each of two queues with five long polls of 20 seconds at the least."""

TOTALS = 12
ALARM_METRICS = 21
"""Custom metrics that the watcher publishes at all times, and metrics of the stack's alarms."""

LISTED = 500
"""Metrics that one call of ListMetrics returns."""


@dataclass(frozen=True)
class Cost:
    """Dollars a month.

    Attributes
    ----------
    reading : float
        GetMetricData.
    requests, versions : float
        S3: GET and PUT of the state, and its replaced versions.
    compute : float
        Lambda, and SQS's messages.
    logs : float
        CloudWatch Logs, ingested.
    listing : float
        ListMetrics for selectors, once an hour.
    scores : float
        Custom metrics of scores.
    stack : float
        Fixed, however many metrics are watched: alarms, totals, polling of queues, and the incident
        job every minute.
    """

    reading: float
    requests: float
    versions: float
    compute: float
    logs: float
    listing: float
    scores: float
    stack: float

    @property
    def by_fleet(self) -> float:
        """What grows with the fleet."""
        stored = self.requests + self.versions
        return self.reading + stored + self.compute + self.logs + self.listing + self.scores

    @property
    def total(self) -> float:
        """All of it; requests to the API cost more (`docs/watcher.md`)."""
        return self.by_fleet + self.stack


RUN = LAMBDA_REQUEST + LOGGED_BYTE * LOGGED_BYTES_A_RUN
A_GET_OF_A_RUN = GET + LAMBDA_SECOND * GET_SECONDS
INCIDENT_JOB = RUNS_A_MONTH * (RUN + GETS_A_RUN * A_GET_OF_A_RUN)
"""Without the reports of shards. EventBridge Scheduler is free for 14 million calls a month."""

STACK = (
    ALARM * ALARM_METRICS + CUSTOM_METRIC * TOTALS + QUEUE_REQUEST * POLLS_A_MONTH + INCIDENT_JOB
)
"""Without the dashboard, of which an account has three for nothing."""


def cost_of(watch_file: WatchFile, fleet: Sequence[Watched]) -> Cost:
    """Return what a fleet costs, as large as it is now.

    Parameters
    ----------
    fleet
        The entries of the watch file with their metrics, in its order.
    """
    listed = fleet[len(watch_file.metrics) :]
    calls = sum(max(-(-len(watched.metrics) // LISTED), 1) for watched in listed)
    members = [(metric, each.options) for each in fleet for metric in each.metrics]
    return Cost(
        **cost_by_fleet(members),
        listing=LISTING * calls * MONTH_SECONDS / 3_600,
        scores=CUSTOM_METRIC * sum(options.score_metric for _, options in members),
        stack=STACK,
    )


def cost_by_fleet(members: Iterable[tuple[Metric, Options]]) -> dict[str, float]:
    """Return the parts of the cost that each metric has in each evaluation.

    All metrics of a shard are written with each of its evaluations, read or not.
    """
    known = list(members)
    readings = [_readings_a_month(metric, options) for metric, options in known]
    evaluations = max(readings, default=0.0)  # of each shard
    shards = shard_count(len(known)) if known else 0
    jobs = shards * evaluations
    state = sum(RECORD_BYTES + 8 * periods_of(o.history_days, m.period) for m, o in known)
    replaced_a_day = evaluations / (MONTH_SECONDS / DAY_SECONDS)
    seconds = (PROCESSOR_SECONDS + WAITING_SECONDS) * sum(readings)
    return {
        "reading": METRIC_READ * sum(readings),
        "requests": (GETS_A_JOB * GET + PUT) * jobs + GET * RUNS_A_MONTH * shards,
        "versions": STORED_BYTE * state * (1 + KEPT_DAYS * replaced_a_day),
        "compute": LAMBDA_SECOND * (seconds + GET_SECONDS * RUNS_A_MONTH * shards)
        + (LAMBDA_REQUEST + QUEUE_REQUEST) * jobs,
        "logs": LOGGED_BYTE * LOGGED_BYTES_A_JOB * jobs,
    }


def _readings_a_month(metric: Metric, options: Options) -> float:
    """Return how often a metric is read: once a period or tick, and when what it read is final."""
    seconds = options.settle_seconds
    settle = settling_seconds(metric.statistic) if seconds is None else seconds
    each = readings_a_period(metric.period, settle, TICK_SECONDS)
    return each * MONTH_SECONDS / max(metric.period, TICK_SECONDS)
