"""Comparing the candidates: the seed's experiment as it was, and the honest one.

Which candidate wins: by anomaly windows where there are any, else by the backtest.

Past incidents that the job itself proposes to keep out of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from ops_anomaly.detection.contextual_forest import ContextualForest, usual_probation
from ops_anomaly.detection.lstm_autoencoder import LstmAutoencoder
from ops_anomaly.detection.types import Detection, Detector
from training.backtest import Backtest
from training.candidates.candidate import Candidate
from training.candidates.value_forest import fit_as_the_seed_did
from training.evaluation import Confusion, Figures, confusion, judge
from training.sources.series import Mask, Series


@dataclass(frozen=True)
class Judged:
    """A candidate and how it did after the part it was fitted on.

    Attributes
    ----------
    detection : Detection
        On the judged part, at a threshold that was fixed without that part's labels.
    """

    candidate: Candidate
    detection: Detection
    figures: Figures
    readings: Confusion


@dataclass(frozen=True)
class SeedRow:
    """One row of the seed's table: judged on the points it was fitted on, with their labels."""

    kind: str
    confusion: Confusion


def judge_candidate(candidate: Candidate, series: Series) -> Judged:
    """Judge a candidate on the part of the series that follows the one it was fitted on."""
    detection = candidate.detector.detect(series.timestamps, series.values)
    flags = detection.is_anomaly
    return Judged(
        candidate,
        detection,
        judge(series, flags, detection.alerts),
        confusion(series.in_window, flags),
    )


def seed_experiment(series: Series, lstm: LstmAutoencoder) -> list[SeedRow]:
    """Repeat the seed's experiment on the labelled points; empty where there is none to judge by.

    The forest is fitted and judged on the same points, its contamination taken from the labels.
    The LSTM's flags are as many as there are labels, and each window's error is credited to the
    window's first reading, a window's length too early.
    """
    if not 0 < series.is_label.mean() <= 0.5:  # scikit-learn's bounds of contamination
        return []
    forest = fit_as_the_seed_did(series)
    return [
        SeedRow(forest.kind, confusion(series.is_label, flags_of(forest, series))),
        SeedRow(lstm.kind, confusion(series.is_label, flags_as_the_seed_did(lstm, series))),
    ]


def flags_of(detector: Detector, series: Series) -> Mask:
    """Return a detector's flags over a whole series: (n,) bool."""
    return detector.score_samples(series.timestamps, series.values) > detector.threshold


def flags_as_the_seed_did(lstm: LstmAutoencoder, series: Series) -> Mask:
    """Return as many flags as there are labels, each a window's length too early: (n,) bool."""
    shift = len(lstm.history)
    scores = lstm.score_samples(series.timestamps, series.values)[shift:]
    flags = np.zeros(len(series), bool)
    flags[np.argsort(scores)[-int(series.is_label.sum()) :]] = True
    return flags


WINDOWS_RULE = (
    "highest F1 over anomaly windows; if equal, fewest false alarms a day; then the shortest "
    "delay; then the simpler model"
)

BUDGET = 3.0
"""Alerts a week that a winner may raise where nobody knows which of them are false."""

BACKTEST_RULE = (
    "the largest share of injected faults found, each kind weighing the same, of those with at "
    f"most {BUDGET:g} alerts a week on the judged part as it is (one in all is always allowed; "
    "where none is so quiet, of the quietest); if equal, fewest alerts; then the simpler model"
)

SIMPLEST_FIRST = ("value-forest", "contextual-forest", "lstm-autoencoder")


def choose_winner(
    judged: Sequence[Judged], backtests: Mapping[str, Backtest]
) -> tuple[Judged, str]:
    """Return the winner, and the rule by which it won.

    Parameters
    ----------
    backtests
        By kind of candidate.
    """
    if any(each.figures.windows for each in judged):
        return choose_by_windows(judged), WINDOWS_RULE
    return choose_by_backtest(judged, backtests), BACKTEST_RULE


def choose_by_windows(judged: Sequence[Judged]) -> Judged:
    """Return the winner by `WINDOWS_RULE`."""

    def rank(each: Judged) -> tuple[float, float, float, int]:
        figures = each.figures
        return (
            -figures.f1 if figures.f1 is not None else 0.0,
            figures.false_alarms_a_day,
            inf if figures.mean_delay_minutes is None else figures.mean_delay_minutes,
            SIMPLEST_FIRST.index(each.candidate.kind),
        )

    return min(judged, key=rank)


def choose_by_backtest(judged: Sequence[Judged], backtests: Mapping[str, Backtest]) -> Judged:
    """Return the winner by `BACKTEST_RULE`."""
    quietest = min(each.figures.false_alarms for each in judged)

    def rank(each: Judged) -> tuple[float, int, int]:
        return (
            -(backtests[each.candidate.kind].mean_share or 0.0),
            each.figures.false_alarms,
            SIMPLEST_FIRST.index(each.candidate.kind),
        )

    return min(
        (
            each
            for each in judged
            if each.figures.false_alarms <= max(allowed_alerts(each.figures.days), quietest)
        ),
        key=rank,
    )


def allowed_alerts(days: float) -> float:
    """Return how many alerts are within the budget over so many days; one always is.

    Examples
    --------
    >>> allowed_alerts(1.0), allowed_alerts(14.0)
    (1.0, 6.0)
    """
    return max(1.0, BUDGET * days / 7)


MOST = 5
MIN_SEVERITY = 2 / 3
"""Of a score that is twice what an anomaly takes; what is less is odd, but hardly an incident."""


@dataclass(frozen=True)
class Proposal:
    """A range of the part fitted on that looks like an incident.

    Attributes
    ----------
    severity : float
        0 to 1; 0.5 is barely an anomaly.
    reason : str
        Why, in plain words.
    """

    first: np.datetime64
    last: np.datetime64
    severity: float
    reason: str

    @property
    def option(self) -> str:
        """The range as the command line takes it."""
        return f"--exclude {self.first} {self.last}"


def propose_exclusions(series: Series, cut: int) -> list[Proposal]:
    """Return what looks like an incident in the part fitted on, the most severe first.

    The contextual detector judges that part without a model, from its beginning, each reading by
    those before it; of a series' first 15 %, while it learns what is usual, nothing is proposed.
    Known incidents are not proposed again.

    Parameters
    ----------
    cut : int
        Where the part fitted on ends.
    """
    part = series.part(0, cut)
    detector = ContextualForest.untrained(probation=usual_probation(len(series)))
    detection = detector.detect(part.timestamps, part.values)
    proposals = [
        Proposal(
            part.timestamps[alert.start],
            part.timestamps[alert.end],
            float(detection.severity[alert.peak]),
            detection.reasons[alert.start],
        )
        for alert in detection.alerts
        if detection.severity[alert.peak] >= MIN_SEVERITY
        and not part.in_window[alert.start : alert.end + 1].any()
    ]
    return sorted(proposals, key=lambda each: -each.severity)[:MOST]
