"""What whoever runs the watcher should know: log lines, and totals as metrics in the log (EMF)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import MetricUnit, single_metric

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.outbox import Notification
    from ops_anomaly.watcher.shard_job import ShardReport


class Telemetry:
    """Logs and counts; one custom metric costs $0.30 a month, so totals are all it counts."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger, self._metrics = logger, metrics

    def planned(self, shards: int) -> None:
        """Say that the schedule ticked, and how many shards got a turn."""
        self._count("Ticks", 1)
        if not shards:
            self._logger.info("nothing to watch: no watch file is published")

    def looked(self, tally: ShardReport, shard: str, seconds: float) -> None:
        """Say what a look at a shard found."""
        totals = {
            "MetricsWatched": tally.watched,
            "Alerts": tally.opened,
            "AlertsPending": tally.pending,
            "ReadingsLate": tally.late,
            "MetricsMissing": tally.missing,
        }
        for name, count in totals.items():
            self._count(name, count)
        self._metrics.add_metric("LookDuration", MetricUnit.Milliseconds, round(seconds * 1000, 3))
        told = {"shard": shard, "seconds": round(seconds, 3), **totals}
        told |= {"AlertsEnded": tally.closed, "MetricsPostponed": tally.postponed}
        self._logger.info("looked", extra=told)
        for metric, score in tally.scores.items():
            with single_metric("Score", MetricUnit.NoUnit, score) as published:
                published.add_dimension("metric", str(metric))

    def superseded(self, shard: str, age_seconds: float) -> None:
        """Say that a turn came so late that a newer one has taken its place."""
        self._logger.warning("turn superseded", shard=shard, age_seconds=round(age_seconds))

    def alarm_taken(self, name: str, state: str, told: Sequence[Notification]) -> None:
        """Say what became of an alarm's change."""
        self._logger.info(
            "alarm taken", alarm=name, state=state, told=[notice.id for notice in told]
        )

    def unknown(self, error: Exception) -> None:
        """Say that an event is of no kind that the watcher takes."""
        self._count("EventsUnknown", 1)
        self._logger.warning("unknown event left alone", reason=str(error))

    def state_rebuilt(self, key: str) -> None:
        """Say that what was remembered can't be read, and is built anew from CloudWatch."""
        self._count("StateRebuilt", 1)
        self._logger.error("state unreadable: built anew from CloudWatch", key=key)

    def refused(self, metric: Metric, error: Exception) -> None:
        """Say that CloudWatch refuses a metric; the others are watched."""
        self._count("MetricsRefused", 1)
        self._logger.error("metric refused", metric=str(metric), reason=str(error))

    def model_unavailable(self, name: str, error: Exception) -> None:
        """Say that a model can't be loaded: its metrics are judged by their own history."""
        self._count("ModelLoadFailed", 1)
        self._logger.error("model unavailable", model=name, reason=str(error))

    def refresh_failed(self, name: str, error: Exception) -> None:
        """Say that a newer model can't be loaded: the one in memory is kept."""
        self._count("ModelRefreshFailed", 1)
        self._logger.warning("model refresh failed", model=name, reason=str(error))

    def undelivered(self, notice_id: str, reason: str) -> None:
        """Say that a notice was refused: it is kept, and tried again."""
        self._logger.error(
            "notice not delivered, kept for the next look", notice=notice_id, reason=reason
        )

    def given_up(self, notice: Notification) -> None:
        """Say that a notice could not be told for so long that it is dropped."""
        self._count("AlertsGivenUp", 1)
        self._logger.error("notice given up", notice=notice.id, detail=notice.detail)

    def _count(self, name: str, count: int) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, count)
