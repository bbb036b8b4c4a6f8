"""Incidents: anomalies of one or of many metrics that belong together; people are told of these."""

from __future__ import annotations

import msgspec

from ops_anomaly.charts import Chart
from ops_anomaly.watcher.anomalies import Anomaly, CloseReason


class ReportedAnomaly(msgspec.Struct, frozen=True):
    """An anomaly of a metric, as the job of its shard reports it.

    Attributes
    ----------
    metric : str
        As `Metric.parse` reads it.
    opened_at : int
        When the job found it, milliseconds.
    closed_at : int or None
        When it was over, milliseconds; None while it is open.
    chart : Chart or None
        The metric around it.
    """

    metric: str
    anomaly: Anomaly
    opened_at: int
    closed_at: int | None = None
    close_reason: CloseReason | None = None
    chart: Chart | None = None


class Incident(msgspec.Struct, frozen=True):
    """Anomalies that began at about the same time, and share something.

    Attributes
    ----------
    opened_at : int
        When people were told, milliseconds.
    members : list of ReportedAnomaly
        The most severe first, and of those alike the first.
    closed_at : int or None
        None while it is open.
    snoozed_until : int or None
        People are told nothing more of it before, milliseconds.
    """

    id: str
    opened_at: int
    members: list[ReportedAnomaly]
    closed_at: int | None = None
    close_reason: CloseReason | None = None
    snoozed_until: int | None = None


class IncidentBoard(msgspec.Struct, frozen=True):
    """What the page of incidents shows.

    Attributes
    ----------
    incidents : list of Incident
        The newest first.
    muted : list of ReportedAnomaly
        Open anomalies of which nobody is told, as they are muted.
    """

    incidents: list[Incident]
    muted: list[ReportedAnomaly]
