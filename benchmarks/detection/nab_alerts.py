"""Alerts at NAB's budget: the novelty forest's scores against one absolute threshold.

NAB rewards about two alerts a week, an operator wants less than one, so one set of alerts can't
serve both. Here the threshold is raised by the last alerts, and no two alerts come close together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.history import POINTWISE, VALUE, History
from ops_anomaly.detection.novelty_forest import components, extend
from ops_anomaly.detection.subsequences import LENGTH

if TYPE_CHECKING:
    from ops_anomaly.detection.isolation_forest import IsolationForest
    from ops_anomaly.detection.types import Floats, Mask, Series

THRESHOLD = 1.0
"""What a score must reach for an alert, in nats, besides what recent alerts add."""

SEASON_WARM_UP = 64
"""Readings after the first with a seasonal reference whose deviations raise no alert: the first
deviations of all are far from what came before."""

BOOST = 0.55
"""By how much an alert raises the threshold for the next, in nats."""

COOLDOWN_SHARE = 0.045
MAX_COOLDOWN = 150
MIN_COOLDOWN = LENGTH
"""After an alert, the next comes no sooner than after this share of the readings so far, within
these bounds. A short series has short incidents, as far as is known; but for the length of a
subsequence, subsequences still hold what the alert was about."""

DECAY_SHARE = 8.0
MAX_DECAY = 30_000.0
"""What an alert added to the threshold decays to 1/e in so many times the readings so far, within
this bound, in readings."""


def alert_scores(series: Series, probation: int, forest: IsolationForest | None) -> Floats:
    """Return scores of the readings that raise an alert after the probation, 0 elsewhere: (n,).

    A score is `THRESHOLD` and what exceeds the raised one.
    """
    history, surprisals = extend(History.empty(), series, forest)
    found = components(surprisals)
    may_alert = ~is_warming_up(found, 0, history.first_seasonal)
    may_alert[:probation] = False
    alerts = raise_alerts(found, may_alert, 0, AlertState())
    scores = np.zeros(len(series))
    scores[alerts.starts] = THRESHOLD + (found.sum(axis=1) - alerts.thresholds)[alerts.starts]
    return scores


@dataclass(frozen=True)
class AlertState:
    """The state of alerts: when the threshold was last raised, and by how much.

    Attributes
    ----------
    boost : float
        What the last alert left on top of the threshold, in nats.
    last_alert : int
        Index of the reading that raised it, counted from the first ever seen; -1 for none.
    is_notified : bool
        Whether it was an alert, or only raised the threshold in a warm-up: that starts no
        cooldown.
    """

    boost: float = 0.0
    last_alert: int = -1
    is_notified: bool = False

    def thresholds(self, indices: Floats) -> Floats:
        """Return the score that each reading must reach: (n,) indices -> (n,) nats."""
        if self.last_alert < 0:
            return np.full(len(indices), THRESHOLD, np.float64)
        decays = decay(indices) - decay(np.array([self.last_alert], np.float64))
        return THRESHOLD + self.boost * np.exp(-decays)

    def in_cooldown(self, index: int) -> bool:
        """Return whether a reading is too soon after the last alert."""
        cooldown = min(max(COOLDOWN_SHARE * index, MIN_COOLDOWN), MAX_COOLDOWN)
        return self.last_alert >= 0 and index - self.last_alert < cooldown


@dataclass(frozen=True)
class Alerts:
    """The alerts that n readings raise.

    Attributes
    ----------
    thresholds : (n,) float64
        What each score had to reach, in nats.
    starts : list of int
        Positions of the readings that raised an alert.
    state : AlertState
        After the last reading.
    """

    thresholds: Floats
    starts: list[int]
    state: AlertState


def decay(indices: Floats) -> Floats:
    """Return the integral of 1 / decay time up to each reading: (n,) -> (n,).

    The decay time grows with the readings so far, so what an early alert added decays as a power
    of time; once the decay time has reached its bound, exponentially.
    """
    bounded_from = MAX_DECAY / DECAY_SHARE
    early = np.log(np.minimum(np.maximum(indices, 1.0), bounded_from)) / DECAY_SHARE
    integral: Floats = early + np.maximum(indices - bounded_from, 0.0) / MAX_DECAY
    return integral


def is_warming_up(components: Floats, first: int, first_seasonal: int) -> Mask:
    """Return which readings' deviations are too new to raise an alert: (n, 4) -> (n,).

    A reading whose value alone has half the threshold raises one nevertheless.

    Parameters
    ----------
    first, first_seasonal : int
        Indices of the first of these readings, and of the first ever with a seasonal reference.
    """
    index = first + np.arange(len(components))
    has_new_season = (index >= first_seasonal) & (index < first_seasonal + SEASON_WARM_UP)
    is_far = 2.0 * components[:, VALUE] >= THRESHOLD
    flags: Mask = has_new_season & ~is_far & (first_seasonal >= 0)
    return flags


def raise_alerts(components: Floats, may_alert: Mask, first: int, state: AlertState) -> Alerts:
    """Find the readings that raise an alert.

    For the length of a subsequence after one, only the pointwise components count, as the
    subsequences still hold what it was about.

    Parameters
    ----------
    components : (n, 4) float64
        In nats.
    may_alert : (n,) bool
        Elsewhere, an alert only raises the threshold.
    first : int
        Index of the first reading, counted from the first ever seen.
    """
    scores, pointwise = components.sum(axis=1), components[:, POINTWISE].sum(axis=1)
    indices = np.arange(first, first + len(scores), dtype=np.float64)
    thresholds, counting = state.thresholds(indices), scores.copy()
    if state.last_alert >= 0:
        stop = max(state.last_alert + LENGTH - first, 0)
        counting[:stop] = pointwise[:stop]
    starts: list[int] = []
    for position in np.flatnonzero(scores >= THRESHOLD).tolist():
        index, is_notified = first + position, bool(may_alert[position])
        in_cooldown = state.in_cooldown(index) and (state.is_notified or not is_notified)
        if counting[position] < thresholds[position] or in_cooldown:
            continue
        if is_notified:
            starts.append(position)
        state = AlertState(float(thresholds[position]) - THRESHOLD + BOOST, index, is_notified)
        later = slice(position + 1, None)
        thresholds[later] = state.thresholds(indices[later])
        shadow = slice(position + 1, position + LENGTH)
        counting[shadow] = pointwise[shadow]
    return Alerts(thresholds, starts, state)
