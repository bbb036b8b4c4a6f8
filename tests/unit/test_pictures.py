"""The pictures of a run: what is drawn of gaps, and what libraries would warn of."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from ops_anomaly.detection.types import Detection, Series
from training.backtest import FAULT_KINDS, Injection, Trial
from training.pictures import MAX_PERIODS, chart_of, draw_trial
from training.sources.series import LabelledSeries


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("step", [1_000, 60_000, 300_000, 3_600_000, 86_400_000])
@pytest.mark.parametrize("length", [1, 24, 36, 72])
def test_the_time_of_a_fault_has_ticks_at_every_step(step: int, length: int, tmp_path) -> None:
    times = 1_767_225_600_000 + step * np.arange(300)
    part = LabelledSeries("test", "a test", Series(times, np.arange(300.0)))
    figure = Figure()
    trial = Trial(Injection(FAULT_KINDS[0], 1.0, 100, np.zeros(length)), 0.0)
    draw_trial(figure.subplots(), part, trial)
    figure.savefig(tmp_path / "trial.png", dpi=20)


def detection_of(length: int) -> Detection:
    """A detection in which each reading is anomalous, and nothing is expected of the first."""
    expected = np.arange(float(length))
    expected[0] = np.nan
    return Detection(
        scores=np.ones(length),
        thresholds=np.ones(length),
        is_anomaly=np.ones(length, bool),
        can_evaluate=np.ones(length, bool),
        expected=expected,
        lower=expected - 1,
        upper=expected + 1,
        reasons={},
        alerts=[],
    )


def test_a_missing_reading_is_a_gap_of_its_chart() -> None:
    times = 1_767_225_600_000 + 60_000 * np.array([0, 1, 2, 5, 6, 7])
    part = LabelledSeries("test", "a test", Series(times, np.arange(6.0)))
    chart = chart_of(part, detection_of(6), slice(0, 5), slice(3, 6))
    assert (chart.start, chart.step) == (times[0], 60_000)
    assert chart.values == [0.0, 1.0, 2.0, None, None, 3.0, 4.0]
    assert chart.expected == [None, 1.0, 2.0, None, None, 3.0, 4.0]
    assert chart.upper[-1] == 5.0
    assert chart.unusual == [5, 6]


def test_readings_years_apart_do_not_fill_the_page() -> None:
    times = np.array([0, 1_000, 2_000, 3_000, 2**40])
    part = LabelledSeries("test", "a test", Series(times, np.arange(5.0)))
    chart = chart_of(part, detection_of(5), slice(0, 5), slice(0, 5))
    assert len(chart.values) == MAX_PERIODS + 1
    assert (chart.values[0], chart.values[-1]) == (3.0, 4.0)
