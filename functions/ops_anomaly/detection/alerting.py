"""From scores to alerts: the threshold, the pause after an alert, and boost.

Sensitivity, in the unit that people have for it: expected false alerts a week.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.subsequences import RUN

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Mask


BOOST = 0.55
"""By how much an alert raises the bar for the next, in nats."""

PAUSE_SHARE = 0.045
MAX_PAUSE = 150
MIN_PAUSE = RUN
"""After an alert, the next can come no sooner than after this share of the readings seen, within
these bounds. A short series has short incidents, as far as anybody knows; but for the length of a
run, the runs still hold what the alert was about."""

FADING_SHARE = 8.0
SLOWEST_FADING = 30_000.0
"""What an alert added to the bar fades to 1/e in so many times the readings seen, within this
bound, in readings."""


@dataclass(frozen=True)
class AlertState:
    """The state that alerting depends on: when the bar was last raised, and how high it stood.

    Attributes
    ----------
    boost : float
        What the bar stood above the threshold right after the last alert, in nats.
    last_alert : int
        Index of the reading that raised it, counted from the first ever seen; -1 for none.
    is_notified : bool
        Whether people were told of that alert: one that was held back starts no pause.
    """

    boost: float = 0.0
    last_alert: int = -1
    is_notified: bool = False

    def bar(self, indices: Floats, threshold: float) -> Floats:
        """Return the score that a reading must reach: (n,) indices -> (n,) nats."""
        if self.last_alert < 0:
            return np.full(len(indices), threshold, np.float64)
        faded = fading(indices) - fading(np.array([self.last_alert], np.float64))
        return threshold + self.boost * np.exp(-faded)

    def is_pausing(self, index: int) -> bool:
        """Tell whether it is too soon for another alert."""
        pause = min(max(PAUSE_SHARE * index, MIN_PAUSE), MAX_PAUSE)
        return self.last_alert >= 0 and index - self.last_alert < pause


@dataclass(frozen=True)
class Raised:
    """What became of n scores.

    Attributes
    ----------
    bar : (n,) float64
        The score that each reading had to reach to be an anomaly.
    is_anomaly : (n,) bool
    starts : list of int
        Positions of the readings that raised an alert.
    alert_state : AlertState
        The state after the last of them.
    """

    bar: Floats
    is_anomaly: Mask
    starts: list[int]
    alert_state: AlertState


def fading(indices: Floats) -> Floats:
    """Return the integral of 1 / fading time up to each reading.

    The fading time grows with the readings seen, so an early alert is forgotten as a power of
    time; once it has reached its bound, exponentially.
    """
    turn = SLOWEST_FADING / FADING_SHARE
    early = np.log(np.minimum(np.maximum(indices, 1.0), turn)) / FADING_SHARE
    integral: Floats = early + np.maximum(indices - turn, 0.0) / SLOWEST_FADING
    return integral


def raise_alerts(
    scores: Floats,
    own: Floats,
    may_raise: Mask,
    first: int,
    threshold: float,
    alert_state: AlertState,
) -> Raised:
    """Decide which readings are anomalies, and which of them raise an alert.

    Parameters
    ----------
    scores : (n,) float64
        In nats.
    own : (n,) float64
        What of the scores is about the readings themselves, not about the runs they end: for the
        length of a run after an alert, only that counts, as the runs still hold what it was about.
    may_raise : (n,) bool
        Where nobody is told, alerts only raise the bar.
    first : int
        Index of the first one, counted from the first reading ever seen.
    threshold : float
        In nats.
    """
    indices = np.arange(first, first + len(scores), dtype=np.float64)
    bar = alert_state.bar(indices, threshold)
    counting = scores.copy()
    if alert_state.last_alert >= 0:
        stop = max(alert_state.last_alert + RUN - first, 0)
        counting[:stop] = own[:stop]
    starts: list[int] = []
    for position in np.flatnonzero(scores >= threshold).tolist():
        index, is_notified = first + position, bool(may_raise[position])
        is_pausing = alert_state.is_pausing(index) and (alert_state.is_notified or not is_notified)
        if counting[position] < bar[position] or is_pausing:
            continue
        if is_notified:
            starts.append(position)
        boost = float(bar[position]) - threshold + BOOST
        alert_state = AlertState(boost, index, is_notified)
        later = slice(position + 1, None)
        bar[later] = alert_state.bar(indices[later], threshold)
        shadow = slice(position + 1, position + RUN)
        counting[shadow] = own[shadow]
    return Raised(bar, (counting >= bar) & may_raise, starts, alert_state)


CURVE = (
    # threshold in nats, false alerts per 1,000 readings: of the contextual forest outside NAB's
    # anomaly windows, after probation; `python -m training nab --curve` measures it
    (0.05, 0.847),
    (0.75, 0.719),
    (1.5, 0.591),
    (3.0, 0.442),
    (5.0, 0.275),
    (7.0, 0.130),
    (10.0, 0.089),
    (15.0, 0.041),
    (30.0, 0.014),
)


def threshold_for(false_alerts_a_week: float, readings_a_week: float) -> float:
    """Return the contextual forest's threshold that is expected to raise so many false alerts.

    It lies within the measured curve: a metric read seldom can't be made to alert often.

    Parameters
    ----------
    false_alerts_a_week, readings_a_week : float
        Positive.

    Returns
    -------
    float
        In nats.

    Examples
    --------
    >>> round(threshold_for(1.0, 2016.0), 1)
    2.4
    """
    thresholds, rates = zip(*CURVE, strict=True)
    rate = 1000.0 * false_alerts_a_week / readings_a_week
    return float(np.interp(-np.log(rate), -np.log(rates), thresholds))
