"""Which candidate wins: by anomaly windows where there are any, else by the backtest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from training.backtest.backtest import Backtest
from training.comparison import Judged

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
