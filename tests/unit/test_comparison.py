"""How candidates compare: by anomaly windows, point by point, and which of them wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ops_anomaly.detection.types import Detection, Series, alerts_of_events
from tests.support.fakes import small_forest
from training.backtest import FAULT_KINDS, Backtest, Injection, Trial
from training.candidates import Candidate
from training.comparison import (
    BACKTEST_RULE,
    WINDOWS_RULE,
    Evaluation,
    Figures,
    choose_winner,
    confusion,
    evaluate,
)
from training.sources.series import LabelledSeries

TIMES = 1_767_225_600_000 + 300_000 * np.arange(576)


def series(*windows: tuple[int, int], labels: tuple[int, ...] = ()) -> LabelledSeries:
    """Two days of readings every 5 minutes, with these windows (first and last reading)."""
    return LabelledSeries(
        name="test",
        origin="a test",
        series=Series(TIMES, np.zeros(576)),
        labels=TIMES[list(labels)],
        windows=np.array([[TIMES[a], TIMES[b]] for a, b in windows], np.int64).reshape(-1, 2),
    )


def detection(*anomalies: int) -> Detection:
    """A detection of these readings, of which those close in time are one alert."""
    flags = np.zeros(576, bool)
    flags[list(anomalies)] = True
    none = np.full(576, np.nan)
    alerts = alerts_of_events(TIMES, flags.astype(float), flags)
    return Detection(
        scores=flags.astype(float),
        thresholds=none,
        is_anomaly=flags,
        can_evaluate=np.ones(576, bool),
        expected=none,
        lower=none,
        upper=none,
        reasons={},
        alerts=alerts,
    )


def test_one_window_found_one_missed_one_false_alarm() -> None:
    figures = evaluate(series((100, 150), (300, 350), labels=(120, 320)), detection(125, 130, 500))
    assert (figures.windows, figures.windows_found) == (2, 1)
    assert (figures.alerts, figures.false_alarms) == (2, 1)
    assert (figures.precision, figures.window_recall, figures.f1) == (0.5, 0.5, 0.5)
    assert figures.false_alarms_a_day == 0.5
    assert figures.mean_delay_minutes == 125


def test_anomalies_within_an_hour_are_one_alert() -> None:
    assert evaluate(series(), detection(10, 22)).false_alarms == 1
    assert evaluate(series(), detection(10, 23)).false_alarms == 2


def test_an_alert_that_reaches_into_a_window_is_not_a_false_alarm() -> None:
    figures = evaluate(series((100, 150)), detection(95, 100))
    assert (figures.alerts, figures.false_alarms, figures.windows_found) == (1, 0, 1)


def test_a_delay_runs_from_the_windows_first_reading() -> None:
    assert evaluate(series((100, 150), labels=(120,)), detection(110)).delays_minutes == (50,)
    assert evaluate(series((100, 150)), detection(100)).delays_minutes == (0,)
    between = replace(series(), windows=np.array([[TIMES[100] - 1, TIMES[150]]]))
    assert evaluate(between, detection(110)).delays_minutes == (50,)


def test_nothing_detected_and_nothing_to_find() -> None:
    silent = evaluate(series((100, 150)), detection())
    assert (silent.precision, silent.window_recall, silent.f1) == (0, 0, 0)
    assert silent.mean_delay_minutes is None
    unlabelled = evaluate(series(), detection(3))
    assert (unlabelled.precision, unlabelled.window_recall, unlabelled.f1) == (None, None, None)


def test_confusion_counts_readings() -> None:
    matrix = confusion(np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 0], bool))
    counts = (matrix.true_positives, matrix.false_negatives, matrix.false_positives)
    assert (*counts, matrix.true_negatives) == (1, 1, 1, 2)
    assert (matrix.precision, matrix.recall, matrix.f1) == (0.5, 0.5, 0.5)


class FakeDetector:
    """Of a kind; it is never run."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def evaluation(kind: str, figures: Figures) -> Evaluation:
    none = np.zeros(1, bool)
    found = small_forest().detect(Series(TIMES[:1], np.zeros(1)))
    candidate = Candidate(FakeDetector(kind), lambda _: None)
    return Evaluation(candidate, found, figures, confusion(none, none))


FOUND_ONE = Figures(2, 1, 2, 1, 7.0, (10.0,))


@pytest.mark.parametrize(
    ("forest", "lstm", "winner"),
    [
        (FOUND_ONE, replace(FOUND_ONE, windows_found=2), "lstm-autoencoder"),
        (FOUND_ONE, replace(FOUND_ONE, false_alarms=0), "lstm-autoencoder"),
        (FOUND_ONE, replace(FOUND_ONE, delays_minutes=(5.0,)), "lstm-autoencoder"),
        (FOUND_ONE, FOUND_ONE, "value-forest"),
    ],
    ids=["higher F1", "fewer false alarms", "shorter delay", "simpler"],
)
def test_the_winner_by_windows(forest: Figures, lstm: Figures, winner: str) -> None:
    candidates = [evaluation("lstm-autoencoder", lstm), evaluation("value-forest", forest)]
    chosen, rule = choose_winner(candidates, backtests={})
    assert (chosen.candidate.kind, rule) == (winner, WINDOWS_RULE)


def alerts(count: int, days: float = 14.0) -> Figures:
    return Figures(0, 0, count, count, days, ())


def backtest(*found: tuple[int, int]) -> Backtest:
    """A backtest with so many faults found and missed, of one kind after the other."""
    trials = [
        Trial(Injection(kind, kind.sizes[0], 0, np.zeros(1)), delay)
        for kind, (hits, misses) in zip(FAULT_KINDS, found, strict=False)
        for delay in [0.0] * hits + [None] * misses
    ]
    return Backtest(None, 0.0, trials)


@pytest.mark.parametrize(
    ("forest", "lstm", "winner"),
    [
        ((alerts(0), backtest((1, 1))), (alerts(6), backtest((2, 1))), "lstm-autoencoder"),
        ((alerts(6), backtest((1, 1))), (alerts(7), backtest((2, 0))), "value-forest"),
        ((alerts(9), backtest((2, 0))), (alerts(7), backtest((1, 1))), "lstm-autoencoder"),
        (
            (alerts(2, 1.0), backtest((2, 0))),
            (alerts(1, 1.0), backtest((1, 1))),
            "lstm-autoencoder",
        ),
        (
            (alerts(0), backtest((8, 2), (0, 10))),
            (alerts(0), backtest((1, 9), (10, 0))),
            "lstm-autoencoder",
        ),
        (
            (alerts(0), backtest((5, 5), (1, 0))),
            (alerts(0), backtest((6, 4), (0, 1))),
            "lstm-autoencoder",
        ),
        ((alerts(2), backtest((1, 1))), (alerts(1), backtest((2, 2))), "lstm-autoencoder"),
        ((alerts(0), backtest()), (alerts(0), backtest()), "value-forest"),
    ],
    ids=[
        "larger share within the budget",
        "beyond the budget",
        "none within it",
        "one is always allowed",
        "each kind weighs the same",
        "a kind hardly tried does not count",
        "fewer alerts",
        "simpler, where no fault could be tried",
    ],
)
def test_the_winner_by_backtest(
    forest: tuple[Figures, Backtest], lstm: tuple[Figures, Backtest], winner: str
) -> None:
    candidates = {"lstm-autoencoder": lstm, "value-forest": forest}
    chosen, rule = choose_winner(
        [evaluation(kind, figures) for kind, (figures, _) in candidates.items()],
        {kind: tried for kind, (_, tried) in candidates.items()},
    )
    assert (chosen.candidate.kind, rule) == (winner, BACKTEST_RULE)
