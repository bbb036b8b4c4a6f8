"""What is recorded of a run: data, figures, backtest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.backtest import (
    FAULT_KINDS,
    GRACE,
    Backtest,
    Plan,
    Sensitivity,
    median_delay,
    share_found,
)
from training.evaluation import Figures
from training.sources.series import Series, Times


def data_record(series: Series, cut: int) -> dict[str, Any]:
    """Return what the manifest says of the training data."""
    return {
        "origin": series.origin,
        "sha256": series.digest,
        "first": str(series.timestamps[0]),
        "last": str(series.timestamps[-1]),
        "readings": len(series),
        "readings_fitted_on": cut,
        "left_out": range_record(series.left_out),
    }


def range_record(ranges: Times) -> list[list[str]]:
    """Return ranges of time, (c, 2), as pairs of ISO 8601."""
    return [[str(first), str(last)] for first, last in ranges]


def figures_record(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON holds them."""
    return {
        "judged_on": "the readings after those it was fitted on, by anomaly windows",
        "windows": figures.windows,
        "windows_found": figures.windows_found,
        "window_recall": figures.window_recall,
        "precision": figures.precision,
        "f1": figures.f1,
        "alerts": figures.alerts,
        "false_alarms": figures.false_alarms,
        "false_alarms_a_day": figures.false_alarms_a_day,
        "mean_delay_minutes": figures.mean_delay_minutes,
    }


def backtest_summary(backtest: Backtest) -> dict[str, Any]:
    """Return a backtest in a few figures."""
    return {
        "faults_tried": len(backtest.trials),
        "share_found": backtest.mean_share,
        "share_found_by_kind": backtest.shares,
        "alerts_a_week": backtest.alerts_a_week,
    }


def backtest_record(
    plan: Plan, backtests: Mapping[str, Backtest], sensitivities: Sequence[Sensitivity]
) -> dict[str, Any]:
    """Return all that the backtests measured."""
    return {
        "seed": plan.seed,
        "spread": plan.spread,
        "grace_readings": GRACE,
        "places": [str(plan.part.timestamps[start]) for start in plan.places],
        "candidates": [
            {
                "kind": kind,
                "threshold": backtest.threshold,
                **backtest_summary(backtest),
                "faults": fault_records(backtest),
            }
            for kind, backtest in backtests.items()
        ],
        "sensitivities_of_the_winner": [
            {
                "asked_alerts_a_week": each.asked,
                "threshold": each.backtest.threshold,
                **backtest_summary(each.backtest),
            }
            for each in sensitivities
        ],
    }


def fault_records(backtest: Backtest) -> list[dict[str, Any]]:
    """Return the figures of each kind of fault at each size."""
    trials = {
        (kind, size): backtest.of(kind.name, size) for kind in FAULT_KINDS for size in kind.sizes
    }
    return [
        {
            "kind": kind.name,
            "size": size,
            "unit": "readings" if kind.length is None else "spreads",
            "tried": len(tried),
            "share_found": share_found(tried),
            "median_delay_minutes": median_delay(tried),
        }
        for (kind, size), tried in trials.items()
    ]
