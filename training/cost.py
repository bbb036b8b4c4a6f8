"""What watching a fleet, and training its models anew every night, costs a month in us-east-1.

By the constants that the watcher and the training run with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.fleet import Watched, shard_count
from ops_anomaly.watcher.settling import readings_a_period, settling_seconds
from ops_anomaly.watcher.watch_file import PER_METRIC, Options, WatchFile, periods_of

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

MODEL_SECONDS = 0.01
"""What a job takes to read a model of a metric, and to check it: measured (`python -m benchmarks
shard`). An instance keeps the models of one shard, and which shard it gets next is chance: of n
shards, (n - 1) / n of the jobs read their models again."""

POLLS_A_MONTH = 2 * 5 * MONTH_SECONDS / 20
"""Lambda polls each of two queues with five long polls of 20 seconds at the least."""

TOTALS = 12
ALARM_METRICS, RETRAINING_ALARM_METRICS = 21, 2
"""Custom metrics that the watcher publishes at all times; metrics of the stack's alarms, and of
the one that it has where it retrains."""

LISTED = 500
"""Metrics that one call of ListMetrics returns."""

TRANSITION = 0.025 / 1_000
"""Dollars: a state transition of a standard workflow of Step Functions."""

METRICS_A_BATCH, BATCHES_A_WORKER = 25, 8
"""Metrics that a function or a process trains at the most, one after the other: two weeks of so
many, at 5 minutes, are one page of GetMetricData. And batches that each worker has at least, where
a fleet is small: at the end it is idle for half of one on average, which is 6 % of the whole."""

RETRAIN_CONCURRENCY = 5
"""The stack's default: batches that are trained in parallel."""

TRAINING_SECONDS, SECONDS_A_READING = 1.1, 0.00022
"""Of one metric on 1,769 MB, with backtest and guard, and without LSTM: measured
(`docs/benchmarks.md`); from 5,000 readings on it is as long as they are many."""

WAITING_SECONDS_A_MODEL, SECONDS_A_BATCH = 0.15, 5.0
"""Assumed: what a metric waits for S3; and a batch for CloudWatch, and for its share of starts."""

GETS_A_MODEL, PUTS_A_MODEL, PUTS_OF_REFUSED = 2, 2, 3
"""Of S3: for the live model, and once more for the index; for the new one, and what became of it;
for a refused one, why."""

GETS_A_BATCH, PUTS_A_BATCH = 4, 1
"""Plan, metrics and outcomes, and the outcomes again for the report; the metrics, by the plan."""

GETS_A_RETRAINING, PUTS_A_RETRAINING = 12, 8
"""Watch file, feedback, incidents, index; plan, list of batches, report, index; rounded up."""

TRANSITIONS_A_BATCH, TRANSITIONS_A_RETRAINING = 3, 8
LOGGED_BYTES_A_BATCH = 1_500

MODEL_BYTES, BYTES_A_READING = 185_000, 91
"""Of a contextual detector: measured, on 700 to 8,064 readings."""

KEPT_VERSIONS = 31
"""Of a model that is published every night: the live one, and those of the last 30 days."""


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
    models : float
        S3 and Lambda: reading models of metrics that have one each; none of one shard alone.
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
    models: float
    scores: float
    stack: float

    @property
    def by_fleet(self) -> float:
        """What grows with the fleet."""
        read = self.reading + self.listing + self.models
        return read + self.requests + self.versions + self.compute + self.logs + self.scores

    @property
    def total(self) -> float:
        """All of it; requests to the API cost more (`docs/watcher.md`)."""
        return self.by_fleet + self.stack


@dataclass(frozen=True)
class RetrainingCost:
    """Dollars: of one run, or of a month of them.

    Attributes
    ----------
    reading : float
        GetMetricData.
    compute : float
        Lambda; nothing where a machine of one's own trains.
    requests : float
        S3: GET and PUT.
    orchestration : float
        Step Functions.
    logs : float
        CloudWatch Logs, ingested.
    versions : float
        S3: what is stored of models, a month; nothing in the cost of one run.
    alarms : float
        Of the stack, a month.
    """

    reading: float
    compute: float
    requests: float
    orchestration: float
    logs: float
    versions: float = 0.0
    alarms: float = 0.0

    @property
    def parts(self) -> dict[str, float]:
        """Its parts by the name of what is paid for."""
        return {
            "GetMetricData": self.reading,
            "Lambda": self.compute,
            "S3": self.requests + self.versions,
            "Step Functions": self.orchestration,
            "logs": self.logs,
            "alarms": self.alarms,
        }

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())


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
    own = sum(options.model == PER_METRIC for _, options in known)
    read_again = own * evaluations * (shards - 1) / shards if shards else 0.0
    seconds = (PROCESSOR_SECONDS + WAITING_SECONDS) * sum(readings)
    return {
        "reading": METRIC_READ * sum(readings),
        "requests": (GETS_A_JOB * GET + PUT) * jobs + GET * RUNS_A_MONTH * shards,
        "versions": STORED_BYTE * state * (1 + KEPT_DAYS * replaced_a_day),
        "compute": LAMBDA_SECOND * (seconds + GET_SECONDS * RUNS_A_MONTH * shards)
        + (LAMBDA_REQUEST + QUEUE_REQUEST) * jobs,
        "logs": LOGGED_BYTE * LOGGED_BYTES_A_JOB * jobs,
        "models": GET * jobs * (own > 0) + (GET + LAMBDA_SECOND * MODEL_SECONDS) * read_again,
    }


def retraining_cost(fleet: Sequence[Watched]) -> RetrainingCost | None:
    """Return what models a metric cost a month that are trained and published every night.

    Parameters
    ----------
    fleet
        All entries; those without `model: per-metric` cost nothing.

    Returns
    -------
    RetrainingCost or None
        None where no metric has a model of its own.
    """
    readings = [
        periods_of(watched.options.history_days, metric.period)
        for watched in fleet
        if watched.options.model == PER_METRIC
        for metric in watched.metrics
    ]
    if not readings:
        return None
    count, nights = len(readings), MONTH_SECONDS / DAY_SECONDS
    seconds = sum(max(TRAINING_SECONDS, SECONDS_A_READING * each) for each in readings)
    batches = -(-count // batch_size(count, RETRAIN_CONCURRENCY))
    run = run_cost(count, batches, seconds)
    stored = KEPT_VERSIONS * sum(MODEL_BYTES + BYTES_A_READING * each for each in readings)
    return RetrainingCost(
        reading=nights * run.reading,
        compute=nights * run.compute,
        requests=nights * run.requests,
        orchestration=nights * run.orchestration,
        logs=nights * run.logs,
        versions=STORED_BYTE * stored,
        alarms=ALARM * RETRAINING_ALARM_METRICS,
    )


def batch_size(metrics: int, workers: int) -> int:
    """Return how many metrics a batch of a run has, so that no worker is idle for long.

    Examples
    --------
    >>> batch_size(1_000, 5), batch_size(30, 2), batch_size(3, 8)
    (25, 2, 1)
    """
    return max(min(METRICS_A_BATCH, -(-metrics // (BATCHES_A_WORKER * workers))), 1)


def run_cost(
    metrics: int,
    batches: int,
    training_seconds: float,
    refused: int = 0,
    *,
    in_account: bool = True,
) -> RetrainingCost:
    """Return what a run costs.

    Parameters
    ----------
    training_seconds : float
        Of all metrics together.
    refused : int
        Metrics of which the model was not published.
    in_account : bool
        Whether functions of the account train; else no more than reading and storing costs.
    """
    gets = GETS_A_MODEL * metrics + GETS_A_BATCH * batches + GETS_A_RETRAINING
    puts = PUTS_A_MODEL * metrics + PUTS_A_BATCH * batches + PUTS_A_RETRAINING
    puts += (PUTS_OF_REFUSED - PUTS_A_MODEL) * refused
    seconds = training_seconds + WAITING_SECONDS_A_MODEL * metrics + SECONDS_A_BATCH * batches
    transitions = TRANSITIONS_A_BATCH * batches + TRANSITIONS_A_RETRAINING
    return RetrainingCost(
        reading=METRIC_READ * metrics,
        compute=in_account * (LAMBDA_SECOND * seconds + LAMBDA_REQUEST * (batches + 2)),
        requests=GET * gets + PUT * puts,
        orchestration=in_account * TRANSITION * transitions,
        logs=in_account * LOGGED_BYTE * LOGGED_BYTES_A_BATCH * (batches + 2),
    )


def _readings_a_month(metric: Metric, options: Options) -> float:
    """Return how often a metric is read: once a period or tick, and when what it read is final."""
    settle = settling_seconds(metric.statistic, options.settle_seconds)
    each = readings_a_period(metric.period, settle, TICK_SECONDS)
    return each * MONTH_SECONDS / max(metric.period, TICK_SECONDS)
