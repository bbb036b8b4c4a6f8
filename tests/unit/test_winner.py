"""The rules that pick the winner: by anomaly windows, and by the backtest where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.fakes import small_forest
from training.backtest import FAULT_KINDS, Backtest, Injection, Trial
from training.comparison import BACKTEST_RULE, WINDOWS_RULE, Judged, choose_winner
from training.evaluation import Figures, confusion

TIME = np.array(["2026-01-01"], "datetime64[s]")


class FakeCandidate:
    """A candidate of a kind; nothing of it is run."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.detector = small_forest()


def judged(kind: str, figures: Figures) -> Judged:
    none = np.zeros(1, bool)
    detection = small_forest().detect(TIME, np.zeros(1))
    return Judged(FakeCandidate(kind), detection, figures, confusion(none, none))


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
def test_by_windows(forest: Figures, lstm: Figures, winner: str) -> None:
    candidates = [judged("lstm-autoencoder", lstm), judged("value-forest", forest)]
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
    return Backtest(0.75, 0.0, trials)


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
def test_by_backtest(
    forest: tuple[Figures, Backtest], lstm: tuple[Figures, Backtest], winner: str
) -> None:
    candidates = {"lstm-autoencoder": lstm, "value-forest": forest}
    chosen, rule = choose_winner(
        [judged(kind, figures) for kind, (figures, _) in candidates.items()],
        {kind: tried for kind, (_, tried) in candidates.items()},
    )
    assert (chosen.candidate.kind, rule) == (winner, BACKTEST_RULE)
