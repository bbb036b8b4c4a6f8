"""Sensitivity, in the unit that people have for it: expected false alerts a week."""

from __future__ import annotations

import numpy as np

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
