"""The pictures of a run: what libraries would warn of."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from ops_anomaly.detection.types import Series
from training.backtest import FAULT_KINDS, Injection, Trial
from training.pictures import draw_trial
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
