"""How many false alerts the contextual forest raises at each threshold, outside NAB's windows."""

from __future__ import annotations

from collections.abc import Sequence

import joblib
import numpy as np
from rich.table import Table

from detector.sensitivity import CURVE
from training.candidates.contextual_forest import fit_contextual_forest
from training.nab.corpus import NabFile
from training.nab.tables import new_table

READINGS_A_WEEK = 2_016
"""Of a metric that is read every 5 minutes."""


def false_alert_curve(files: Sequence[NabFile], seeds: int) -> list[tuple[float, float]]:
    """Return threshold and false alerts per 1,000 readings, after probation, over all files."""
    jobs = (
        joblib.delayed(count_false_alerts)(file, seed) for seed in range(seeds) for file in files
    )
    counts, readings = zip(*joblib.Parallel(n_jobs=-1)(jobs), strict=True)
    rates = 1000 * np.sum(counts, axis=0) / sum(readings)
    return [(threshold, float(rate)) for (threshold, _), rate in zip(CURVE, rates, strict=True)]


def count_false_alerts(file: NabFile, seed: int) -> tuple[list[int], int]:
    """Return false alerts at each threshold of the curve, and readings that could raise one."""
    series, probation = file.series, file.probation_readings
    detector = fit_contextual_forest(file.unlabelled.part(0, probation), seed).detector
    ordinary = ~series.in_window[probation:]
    counts = []
    for threshold, _ in CURVE:
        alerts = detector.detect(
            series.timestamps[probation:], series.values[probation:], threshold
        ).alerts
        counts.append(sum(bool(ordinary[alert.start]) for alert in alerts))
    return counts, int(ordinary.sum())


def curve_table(curve: Sequence[tuple[float, float]]) -> Table:
    """Return the curve as the terminal shows it."""
    table = new_table(
        "False alerts of the contextual forest", "threshold", "per 1,000 readings", "a week"
    )
    for threshold, rate in curve:
        table.add_row(
            f"{threshold:g}", f"{rate:.3f}", f"{rate * READINGS_A_WEEK / 1000:.2f} at 5 minutes"
        )
    return table
