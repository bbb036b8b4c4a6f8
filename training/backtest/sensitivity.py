"""What each sensitivity would mean: alerts a week, and faults found."""

from __future__ import annotations

from dataclasses import dataclass

from detector.errors import FixedSensitivityError
from detector.interface import Detector
from training.backtest.backtest import Backtest, run_backtest
from training.backtest.injection import Plan

ASKED = (0.2, 0.5, 1.0, 1.5)
"""False alerts a week to ask for."""


@dataclass(frozen=True)
class Sensitivity:
    """A backtest at a sensitivity.

    Attributes
    ----------
    asked : float or None
        False alerts a week; None stands for the threshold that the model comes with.
    """

    asked: float | None
    backtest: Backtest


def try_sensitivities(detector: Detector, plan: Plan, usual: Backtest) -> list[Sensitivity]:
    """Return the backtests of a detector at several sensitivities, and last the usual one.

    A kind of detector that has one threshold has that one only.
    """
    week = plan.part.readings_a_week
    try:
        thresholds = {asked: detector.threshold_for(asked, week) for asked in ASKED}
    except FixedSensitivityError:
        thresholds = {}
    return [
        *(
            Sensitivity(asked, run_backtest(detector, plan, threshold))
            for asked, threshold in thresholds.items()
        ),
        Sensitivity(None, usual),
    ]
