"""The rules of an entry of the watch file: which of the unusual readings count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Floats, Mask, Series
    from ops_anomaly.watcher.watch_file import IgnoreBelow, Options


def counted(series: Series, detection: Detection, options: Options) -> Mask:
    """Return the anomalous readings that count by direction, least deviation and severity: (n,).

    Where it is not known what was expected, a reading has neither a direction nor a deviation, and
    counts by its severity alone.

    Parameters
    ----------
    detection
        Of these readings.
    """
    counts = detection.is_anomaly & (detection.severity >= options.min_severity)
    expected = np.where(np.isfinite(detection.expected), detection.expected, np.nan)
    deviation = series.values - expected  # every comparison with NaN is false
    if options.alert_on == "rises":
        counts &= ~(deviation <= 0)
    elif options.alert_on == "falls":
        counts &= ~(deviation >= 0)
    if options.ignore_below:
        counts &= ~_is_ignored(np.abs(deviation), np.abs(expected), options.ignore_below)
    return counts


def _is_ignored(deviation: Floats, expected: Floats, least: IgnoreBelow) -> Mask:
    """Return which deviations are too small, by either limit: (n,)."""
    is_ignored = np.zeros(len(deviation), dtype=bool)
    if least.absolute is not None:
        is_ignored |= deviation < least.absolute
    if least.percent is not None:
        is_ignored |= deviation < least.percent / 100 * expected
    return is_ignored
