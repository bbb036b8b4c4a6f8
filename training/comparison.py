"""How the candidates compare: out of sample, in the baseline experiment, and which one wins.

Alerts are evaluated against anomaly windows: events, not points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, cast

import numpy as np

from ops_anomaly.detection.lstm_autoencoder import LstmAutoencoder
from ops_anomaly.detection.types import SENSITIVITY, Detection, Detector
from training.backtest import SENSITIVITIES, Backtest, false_alarms
from training.candidates import KINDS, Candidate
from training.sources.series import MINUTE_MS, LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Integers, Mask


@dataclass(frozen=True)
class Evaluation:
    """A candidate and how it did on the test part, after the part it was fitted on.

    Attributes
    ----------
    detection : Detection
        On the test part, at a threshold that was fixed without that part's labels.
    sensitivity : float or None
        Expected false alerts a week, where the usual sensitivity raised more than the budget.
    """

    candidate: Candidate
    detection: Detection
    figures: Figures
    readings: Confusion
    sensitivity: float | None = None


def evaluate_candidate(candidate: Candidate, series: LabelledSeries) -> Evaluation:
    """Evaluate a candidate on the part of a series that follows the one it was fitted on.

    It is compared at its usual sensitivity; if that raises more than the budget of alerts, at the
    highest lower one that does not.
    """
    lower = sorted((each for each in SENSITIVITIES if each < SENSITIVITY), reverse=True)
    for sensitivity in (None, *lower) if candidate.detector.has_sensitivity else (None,):
        detection = candidate.detector.detect(series.series, sensitivity)
        figures = evaluate(series, detection)
        if figures.false_alarms <= allowed_alerts(figures.days):
            break
    readings = confusion(series.in_window, detection.is_anomaly)
    return Evaluation(candidate, detection, figures, readings, sensitivity)


@dataclass(frozen=True)
class Figures:
    """How a detector did on a part of a series that it was not fitted on.

    Attributes
    ----------
    windows, windows_found : int
        Anomaly windows in that part; those with an anomalous reading in them.
    alerts, false_alarms : int
        As the detector raised them; those with no anomalous reading in a window.
    days : float
        Length of the part.
    delays_minutes : tuple of float
        For each window found, from its first reading to its first anomalous one.
    """

    windows: int
    windows_found: int
    alerts: int
    false_alarms: int
    days: float
    delays_minutes: tuple[float, ...]

    @property
    def window_recall(self) -> float | None:
        """Share of the windows found; None where there are none."""
        return self.windows_found / self.windows if self.windows else None

    @property
    def precision(self) -> float | None:
        """Windows found among windows found and false alarms; None where there is no window."""
        raised = self.windows_found + self.false_alarms
        if not self.windows:
            return None
        return self.windows_found / raised if raised else 0.0

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and window recall; None where there is no window."""
        if self.precision is None or self.window_recall is None:
            return None
        return harmonic_mean(self.precision, self.window_recall)

    @property
    def false_alarms_a_day(self) -> float:
        """False alarms per day of this metric."""
        return self.false_alarms / self.days

    @property
    def mean_delay_minutes(self) -> float | None:
        """Mean of the delays; None where no window was found."""
        return float(np.mean(self.delays_minutes)) if self.delays_minutes else None


@dataclass(frozen=True)
class Confusion:
    """Readings by truth and decision."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of the flagged that is anomalous; 0 where nothing is flagged."""
        flagged = self.true_positives + self.false_positives
        return self.true_positives / flagged if flagged else 0.0

    @property
    def recall(self) -> float:
        """Share of the anomalous that is flagged; 0 where nothing is anomalous."""
        anomalous = self.true_positives + self.false_negatives
        return self.true_positives / anomalous if anomalous else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return harmonic_mean(self.precision, self.recall)


def harmonic_mean(a: float, b: float) -> float:
    """Return the harmonic mean of two shares; 0 where both are 0."""
    return 2 * a * b / (a + b) if a + b else 0.0


def evaluate(series: LabelledSeries, detection: Detection) -> Figures:
    """Evaluate a detection of a series by its anomaly windows."""
    found = [first_anomaly(series, detection.is_anomaly, window) for window in series.windows]
    return Figures(
        windows=len(series.windows),
        windows_found=sum(time is not None for time in found),
        alerts=len(detection.alerts),
        false_alarms=false_alarms(series, detection),
        days=series.days,
        delays_minutes=tuple(
            (time - first_reading(series, window)) / MINUTE_MS
            for time, window in zip(found, series.windows, strict=True)
            if time is not None
        ),
    )


def first_anomaly(series: LabelledSeries, is_anomaly: Mask, window: Integers) -> int | None:
    """Return the time of the first anomalous reading in a window, or None."""
    times = series.times[is_anomaly]
    inside = times[(times >= window[0]) & (times <= window[1])]
    return int(inside[0]) if len(inside) else None


def first_reading(series: LabelledSeries, window: Integers) -> int:
    """Return the time of the first reading in a window that has one."""
    return int(series.times[np.searchsorted(series.times, window[0])])


def confusion(truth: Mask, flags: Mask) -> Confusion:
    """Count readings by truth and decision: (n,), (n,) bool."""
    return Confusion(
        true_positives=int((truth & flags).sum()),
        false_positives=int((~truth & flags).sum()),
        false_negatives=int((truth & ~flags).sum()),
        true_negatives=int((~truth & ~flags).sum()),
    )


WINDOWS_RULE = (
    "highest F1 over anomaly windows; if equal, fewest false alarms a day; then the shortest "
    "delay; then the simpler model"
)

BUDGET = 3.0
"""Alerts a week that a winner may raise where nobody knows which of them are false."""

BACKTEST_RULE = (
    "the largest share of injected faults found, each kind weighing the same, of those with at "
    f"most {BUDGET:g} alerts a week on the test part as it is, each at the usual sensitivity or "
    "the highest lower one that keeps to that (one in all is always allowed; where none is so "
    "quiet, of the quietest); if equal, fewest alerts; then the simpler model"
)


def choose_winner(
    evaluations: Sequence[Evaluation], backtests: Mapping[str, Backtest]
) -> tuple[Evaluation, str]:
    """Return the winner, and the rule by which it won.

    Parameters
    ----------
    backtests
        By kind of candidate.
    """
    if any(each.figures.windows for each in evaluations):
        return choose_by_windows(evaluations), WINDOWS_RULE
    return choose_by_backtest(evaluations, backtests), BACKTEST_RULE


def choose_by_windows(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the winner by `WINDOWS_RULE`."""

    def rank(each: Evaluation) -> tuple[float, float, float, int]:
        figures = each.figures
        return (
            -figures.f1 if figures.f1 is not None else 0.0,
            figures.false_alarms_a_day,
            inf if figures.mean_delay_minutes is None else figures.mean_delay_minutes,
            KINDS.index(each.candidate.kind),
        )

    return min(evaluations, key=rank)


def choose_by_backtest(
    evaluations: Sequence[Evaluation], backtests: Mapping[str, Backtest]
) -> Evaluation:
    """Return the winner by `BACKTEST_RULE`."""
    quietest = min(each.figures.false_alarms for each in evaluations)

    def rank(each: Evaluation) -> tuple[float, int, int]:
        return (
            -(backtests[each.candidate.kind].mean_share or 0.0),
            each.figures.false_alarms,
            KINDS.index(each.candidate.kind),
        )

    return min(
        (
            each
            for each in evaluations
            if each.figures.false_alarms <= max(allowed_alerts(each.figures.days), quietest)
        ),
        key=rank,
    )


def allowed_alerts(days: float) -> int:
    """Return how many alerts are within the budget over so many days, rounded; one always is.

    Examples
    --------
    >>> allowed_alerts(1.0), allowed_alerts(13.99)
    (1, 6)
    """
    return max(1, round(BUDGET * days / 7))


BASELINE_DATA = "9a4d4a7c023aa7f177d7cb96407e62560eb335a8fe8ada48827be1e454643898"
"""Digest of the baseline experiment's series: EC2 CPU utilisation 24ae8d of NAB, as labelled."""


@dataclass(frozen=True)
class BaselineRow:
    """A row of the baseline experiment: scored on the points it was fitted on, by their labels."""

    kind: str
    confusion: Confusion


def baseline_experiment(
    series: LabelledSeries, fitted: Mapping[str, Candidate]
) -> list[BaselineRow]:
    """Reproduce the baseline experiment on its own series; empty for any other.

    Its figures are for comparison with what was published; of other data they say nothing.

    The forest is fitted and scored on the same points, its contamination taken from the labels.
    The LSTM flags as many readings as there are labels, and each window's error is credited to
    the window's first reading, a window's length too early.

    Parameters
    ----------
    fitted
        The run's candidates, by kind.
    """
    if series.digest != BASELINE_DATA:
        return []
    from training.candidates.value_forest import fit_baseline_forest  # with scikit-learn

    forest = fit_baseline_forest(series)
    rows = [BaselineRow(forest.kind, confusion(series.is_label, flags_of(forest, series)))]
    if LstmAutoencoder.kind in fitted:
        lstm = cast("LstmAutoencoder", fitted[LstmAutoencoder.kind].detector)
        flags = baseline_flags(lstm, series)
        rows.append(BaselineRow(lstm.kind, confusion(series.is_label, flags)))
    return rows


def flags_of(detector: Detector, series: LabelledSeries) -> Mask:
    """Return which scores of a whole series exceed a detector's threshold: (n,) bool."""
    flags: Mask = detector.score_samples(series.series) > detector.threshold
    return flags


def baseline_flags(lstm: LstmAutoencoder, series: LabelledSeries) -> Mask:
    """Return as many flags as there are labels, each a window's length too early: (n,) bool."""
    shift = len(lstm.history)
    scores = lstm.score_samples(series.series)[shift:]
    flags = np.zeros(len(series), bool)
    flags[np.argsort(scores)[-int(series.is_label.sum()) :]] = True
    return flags
