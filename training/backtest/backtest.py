"""The backtest: which of the injected faults a detector finds, how fast, and at what price."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from detector.detection import Detection
from detector.interface import Detector
from training.backtest.faults import KINDS
from training.backtest.injection import GRACE, Injection, Plan
from training.evaluation import judge

LEAST_TRIED = 0.25
"""A kind of fault counts if it could be tried so often, against the one that was tried most."""


@dataclass(frozen=True)
class Trial:
    """A fault, and what became of it.

    Attributes
    ----------
    delay_minutes : float or None
        From the fault's first reading to the alert; None where it was missed.
    """

    injection: Injection
    delay_minutes: float | None

    @property
    def is_found(self) -> bool:
        """Whether an alert was raised for it."""
        return self.delay_minutes is not None


@dataclass(frozen=True)
class Backtest:
    """How a detector did with injected faults, and without.

    Attributes
    ----------
    alerts_a_week : float
        On the judged part as it is, outside of known incidents.
    """

    threshold: float
    alerts_a_week: float
    trials: list[Trial]

    def of(self, kind: str, size: float | None = None) -> list[Trial]:
        """Return the trials of a kind of fault, of one size or all."""
        return [
            trial
            for trial in self.trials
            if trial.injection.kind.name == kind and size in {None, trial.injection.size}
        ]

    @property
    def shares(self) -> dict[str, float | None]:
        """Share found of each kind of fault; None where too few could be tried to count."""
        trials = {kind.name: self.of(kind.name) for kind in KINDS}
        least = LEAST_TRIED * max(map(len, trials.values()))
        return {
            name: share_found(tried) if len(tried) >= least else None
            for name, tried in trials.items()
        }

    @property
    def mean_share(self) -> float | None:
        """Mean of the shares, so that each kind weighs the same; None without a trial."""
        shares = [share for share in self.shares.values() if share is not None]
        return float(np.mean(shares)) if shares else None


def share_found(trials: list[Trial]) -> float | None:
    """Return which share of the faults was found; None of none."""
    return float(np.mean([trial.is_found for trial in trials])) if trials else None


def median_delay(trials: list[Trial]) -> float | None:
    """Return the median of the delays in minutes; None where nothing was found."""
    delays = [trial.delay_minutes for trial in trials if trial.delay_minutes is not None]
    return float(np.median(delays)) if delays else None


def run_backtest(detector: Detector, plan: Plan, threshold: float | None = None) -> Backtest:
    """Try every fault of a plan, each alone.

    A fault is found if an alert starts in it, or within `GRACE` readings after it, at a reading
    that is no anomaly to the same detector when the fault is not there.

    Parameters
    ----------
    detector
        With its history up to the judged part.
    threshold
        Instead of the detector's own.
    """
    times, values = plan.part.timestamps, plan.part.values
    as_it_is = detector.detect(times, values, threshold)
    figures = judge(plan.part, as_it_is.is_anomaly, as_it_is.alerts)
    trials, reached = [], 0
    for start, injections in groupby(plan.injections, lambda each: each.start):
        before = slice(reached, start - plan.lead)
        if before.stop > reached:
            _, detector = detector.follow(times[before], values[before], threshold)
            reached = before.stop
        trials += [
            Trial(each, find(detector, plan, each, threshold, as_it_is)) for each in injections
        ]
    return Backtest(
        threshold=detector.threshold if threshold is None else threshold,
        alerts_a_week=7 * figures.false_alarms_a_day,
        trials=trials,
    )


def find(
    detector: Detector,
    plan: Plan,
    injection: Injection,
    threshold: float | None,
    as_it_is: Detection,
) -> float | None:
    """Return after how many minutes a fault is found, or None, by a detector just before it."""
    begin = injection.start - plan.lead
    end = injection.start + len(injection.values)
    times = plan.part.timestamps[begin : end + GRACE]
    values = plan.part.values[begin : end + GRACE].copy()
    values[plan.lead : end - begin] = injection.values
    for alert in detector.detect(times, values, threshold).alerts:
        if alert.start >= plan.lead and not as_it_is.is_anomaly[begin + alert.start]:
            return float((times[alert.start] - times[plan.lead]) / np.timedelta64(1, "m"))
    return None
