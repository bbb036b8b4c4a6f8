"""Periods without a reading: nothing, zero, or a silence that people are notified of."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.anomalies import Anomaly, AnomalyState, Closed, Opened, Peak, Provenance

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric
    from ops_anomaly.watcher.anomalies import CloseReason


SEVERITY = 0.8
"""How bad it is nobody can say, and somebody wanted to know: an error, and not a critical one."""


def filled_with_zeros(readings: Series, known: Series, until: int, step: int) -> Series:
    """Return readings with a zero in each settled period that has none; (m,) as (n,) or longer.

    Nothing is filled in before the metric's first reading.

    Parameters
    ----------
    readings
        What CloudWatch has now.
    known
        Readings that are kept already.
    until : int
        Up to where periods have settled, milliseconds.
    step : int
        Milliseconds of a period.
    """
    have = np.union1d(known.times, readings.times)
    if not len(have):
        return readings
    missing = np.setdiff1d(np.arange(have[0], until, step), have)
    times = np.concatenate([readings.times, missing])
    order = np.argsort(times)
    values = np.concatenate([readings.values, np.zeros(len(missing))])
    return Series(times[order], values[order])


def advance_silence(
    state: AnomalyState,
    metric: Metric,
    last: int | None,
    until: int,
    after: int | None,
    provenance: Provenance,
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Open, extend or close the silence of a metric.

    Parameters
    ----------
    last : int or None
        Time of its last reading, milliseconds; None if it has none.
    until : int
        Up to where readings are complete, milliseconds.
    after : int or None
        For how long there must be no reading, milliseconds; None if nobody wants to know.
    """
    silence = state.silence
    begin = None if last is None else last + 1000 * metric.period
    if silence and (after is None or (begin or 0) > silence.first_seen):
        reason: CloseReason = "no longer watched" if after is None else "data is back"
        return replace(state, silence=None), [Closed(silence, reason)]
    if silence:
        extended = msgspec.structs.replace(silence, last_seen=max(silence.last_seen, until))
        return replace(state, silence=extended), []
    if begin is None or after is None or until - begin < after:
        return state, []
    silence = _silence(metric, begin, until, after, provenance)
    return replace(state, silence=silence), [Opened(silence)]


def _silence(metric: Metric, begin: int, until: int, after: int, provenance: Provenance) -> Anomaly:
    identity = f"{metric} silent since {begin // 1000}"
    return Anomaly(
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        first_seen=begin,
        last_seen=until,
        readings=0,
        member=None,
        peak=Peak(
            time=begin,
            value=None,
            expected=None,
            lower=None,
            upper=None,
            score=0.0,
            severity=SEVERITY,
            reason=f"no data for {duration(after)} or more",
        ),
        provenance=provenance,
    )
