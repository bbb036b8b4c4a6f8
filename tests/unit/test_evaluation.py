"""Events and figures."""

from __future__ import annotations

import numpy as np

from ops_anomaly.detection.types import alerts_of_events
from training.evaluation import Figures, confusion
from training.evaluation import judge as judge_alerts
from training.sources.series import Series

TIMES = np.datetime64("2026-01-01", "s") + np.arange(576) * np.timedelta64(300, "s")


def series(*windows: tuple[int, int], labels: tuple[int, ...] = ()) -> Series:
    """Two days of readings every 5 minutes, with these windows (first and last reading)."""
    return Series(
        name="test",
        origin="a test",
        timestamps=TIMES,
        values=np.zeros(576),
        labels=TIMES[list(labels)],
        windows=np.array([[TIMES[a], TIMES[b]] for a, b in windows], "M8[s]").reshape(-1, 2),
    )


def flags(*at: int) -> np.ndarray:
    flagged = np.zeros(576, bool)
    flagged[list(at)] = True
    return flagged


def judge(series: Series, flags: np.ndarray) -> Figures:
    """Judge flags of which those close in time are one alert."""
    alerts = alerts_of_events(series.timestamps, flags.astype(float), flags)
    return judge_alerts(series, flags, alerts)


def test_one_window_found_one_missed_one_false_alarm() -> None:
    figures = judge(series((100, 150), (300, 350), labels=(120, 320)), flags(125, 130, 500))
    assert (figures.windows, figures.windows_found) == (2, 1)
    assert (figures.alerts, figures.false_alarms) == (2, 1)
    assert (figures.precision, figures.window_recall, figures.f1) == (0.5, 0.5, 0.5)
    assert figures.false_alarms_a_day == 0.5
    assert figures.mean_delay_minutes == 25


def test_flags_within_an_hour_are_one_alert() -> None:
    assert judge(series(), flags(10, 22)).false_alarms == 1
    assert judge(series(), flags(10, 23)).false_alarms == 2


def test_an_alert_that_reaches_into_a_window_is_no_false_alarm() -> None:
    figures = judge(series((100, 150)), flags(95, 100))
    assert (figures.alerts, figures.false_alarms, figures.windows_found) == (1, 0, 1)


def test_a_delay_runs_from_the_label_or_else_from_the_windows_start() -> None:
    assert judge(series((100, 150), labels=(120,)), flags(110)).delays_minutes == (-50,)
    assert judge(series((100, 150)), flags(110)).delays_minutes == (50,)


def test_nothing_flagged_and_nothing_to_find() -> None:
    silent = judge(series((100, 150)), flags())
    assert (silent.precision, silent.window_recall, silent.f1) == (0, 0, 0)
    assert silent.mean_delay_minutes is None
    unlabelled = judge(series(), flags(3))
    assert (unlabelled.precision, unlabelled.window_recall, unlabelled.f1) == (None, None, None)


def test_confusion_counts_readings() -> None:
    matrix = confusion(np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 0], bool))
    counts = (matrix.true_positives, matrix.false_negatives, matrix.false_positives)
    assert (*counts, matrix.true_negatives) == (1, 1, 1, 2)
    assert (matrix.precision, matrix.recall, matrix.f1) == (0.5, 0.5, 0.5)
