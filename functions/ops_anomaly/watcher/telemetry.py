"""What an operator should know: log lines, and totals as metrics in the log (EMF)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import MetricUnit, single_metric

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.outbox import Notification


@dataclass(frozen=True)
class ShardReport:
    """Counts of one evaluation of a shard.

    Attributes
    ----------
    opened, closed, withdrawn : int
        Anomalies; the withdrawn ones are among the closed.
    late, corrected : int
        Readings that came, or changed, after their period had been read.
    missing : int
        Metrics without a reading in the last periods.
    postponed : int
        Metrics left for the next evaluation, as time ran out.
    scores : dict of Metric to float
        The last score of each metric that publishes it.
    """

    watched: int
    opened: int = 0
    closed: int = 0
    withdrawn: int = 0
    late: int = 0
    corrected: int = 0
    missing: int = 0
    postponed: int = 0
    scores: dict[Metric, float] = field(default_factory=dict)


@dataclass(frozen=True)
class IncidentReport:
    """Counts of one run of the incident job.

    Attributes
    ----------
    open, muted : int
        Incidents that are open now, and anomalies of which nobody is notified.
    opened, closed, withdrawn : int
        Incidents in this run; the withdrawn ones are among the closed.
    pending : int
        Notifications that could not be delivered.
    """

    open: int
    muted: int
    opened: int
    closed: int
    withdrawn: int
    pending: int


class Telemetry:
    """Logs and counts; a custom metric costs $0.30 a month, so only totals are counted."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger, self._metrics = logger, metrics

    def planned(self, shards: int) -> None:
        """Report a tick of the schedule, and for how many shards it sent jobs."""
        if shards:
            self._count("Ticks", 1)
        else:
            self._logger.info("nothing to watch: no watch file is published")

    def evaluated(self, report: ShardReport, shard: int, milliseconds: int) -> None:
        """Report an evaluation of a shard."""
        totals = {
            "MetricsWatched": report.watched,
            "MetricsMissing": report.missing,
            "MetricsPostponed": report.postponed,
            "ReadingsLate": report.late,
            "ReadingsCorrected": report.corrected,
            "Anomalies": report.opened,
        }
        for name, count in totals.items():
            self._count(name, count)
        self._metrics.add_metric("EvaluationDuration", MetricUnit.Milliseconds, milliseconds)
        extra = {
            "closed": report.closed,
            "withdrawn": report.withdrawn,
            "milliseconds": milliseconds,
        }
        self._logger.info("shard evaluated", extra={"shard": shard, **totals, **extra})
        for metric, score in report.scores.items():
            with single_metric("Score", MetricUnit.NoUnit, score) as published:
                published.add_dimension("metric", str(metric))

    def incidents_updated(self, report: IncidentReport) -> None:
        """Report a run of the incident job."""
        totals = {
            "IncidentRuns": 1,
            "Alerts": report.opened,
            "AlertsWithdrawn": report.withdrawn,
            "AlertsPending": report.pending,
        }
        for name, count in totals.items():
            self._count(name, count)
        if report.opened or report.closed or report.pending:
            extra = {"open": report.open, "muted": report.muted, "closed": report.closed}
            self._logger.info("incidents updated", extra={**totals, **extra})

    def feedback_unreadable(self, error: Exception) -> None:
        """Report a file of feedback that can't be read: metrics are evaluated without."""
        self._count("StateRebuilt", 1)
        self._logger.error("feedback unreadable, evaluated without", reason=str(error))

    def fleet_outdated(self, error: Exception) -> None:
        """Report a fleet that can't be listed again: it is watched by its last list."""
        self._count("FleetListFailed", 1)
        self._logger.error("fleet not listed, the last list is used", reason=str(error))

    def fleet_unknown(self, shard: int) -> None:
        """Report a shard job without a list of the fleet: the next tick makes one."""
        self._logger.warning("no list of the fleet", shard=shard)

    def alarm_handled(self, name: str, state: str, notified: Sequence[Notification]) -> None:
        """Report an alarm's change, and what was notified of it."""
        ids = [each.id for each in notified]
        self._logger.info("alarm handled", alarm=name, state=state, notified=ids)

    def unknown_event(self, error: Exception) -> None:
        """Report an event that the watcher does not handle."""
        self._count("EventsUnknown", 1)
        self._logger.warning("unknown event ignored", reason=str(error))

    def state_rebuilt(self, key: str) -> None:
        """Report a state that can't be read: it is rebuilt from CloudWatch."""
        self._count("StateRebuilt", 1)
        self._logger.error("state unreadable, rebuilt from CloudWatch", key=key)

    def refused(self, metric: Metric, error: Exception) -> None:
        """Report a metric that CloudWatch refuses; the others are evaluated."""
        self._count("MetricsRefused", 1)
        self._logger.error("metric refused", metric=str(metric), reason=str(error))

    def model_unavailable(self, name: str, error: Exception) -> None:
        """Report a model that can't be loaded: its metrics are evaluated by their own history."""
        self._count("ModelLoadFailed", 1)
        self._logger.error("model unavailable", model=name, reason=str(error))

    def refresh_failed(self, name: str, error: Exception) -> None:
        """Report a newer model that can't be loaded: the one in use is kept."""
        self._count("ModelRefreshFailed", 1)
        self._logger.warning("model refresh failed", model=name, reason=str(error))

    def undelivered(self, notification_id: str, reason: str) -> None:
        """Report a notification that was refused: it is kept, and tried again."""
        self._logger.error(
            "notification not delivered, will be retried",
            notification=notification_id,
            reason=reason,
        )

    def expired(self, notification: Notification) -> None:
        """Report a notification that could not be delivered for so long that it is dropped."""
        self._count("AlertsExpired", 1)
        self._logger.error(
            "notification expired", notification=notification.id, detail=notification.detail
        )

    def _count(self, name: str, count: int) -> None:
        self._metrics.add_metric(name, MetricUnit.Count, count)
