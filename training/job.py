"""The job itself: fit the candidates on the first part, judge them after it, choose.

Training as the command line and the laptop demo show it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from ops_anomaly import detection
from ops_anomaly.detection.artifact import digest, pack
from ops_anomaly.detection.lstm_autoencoder import LstmAutoencoder
from ops_anomaly.detection.types import Detector
from training.backtest import (
    Backtest,
    Plan,
    Sensitivity,
    plan_injections,
    run_backtest,
    try_sensitivities,
)
from training.candidates.candidate import NAMES, Candidate
from training.candidates.contextual_forest import fit_contextual_forest
from training.candidates.lstm_autoencoder import fit_lstm_autoencoder
from training.candidates.value_forest import fit_value_forest
from training.comparison import (
    Judged,
    Proposal,
    SeedRow,
    choose_winner,
    judge_candidate,
    propose_exclusions,
    seed_experiment,
)
from training.errors import SourceError
from training.records import backtest_summary, data_record, figures_record
from training.sources.series import Series

MINIMUM_LENGTH = 300
"""Readings below which there is too little to fit on, or to judge by."""

LIBRARIES = ("jax", "keras", "numpy", "safetensors", "scikit-learn")


@dataclass(frozen=True)
class Settings:
    """What decides a run besides its data.

    Attributes
    ----------
    name : str
        The model's name in the bucket.
    train_share : float
        The first part of the series, which is fitted on; the rest is judged.
    seed : int
        Of the candidates' random numbers.
    """

    name: str
    train_share: float = 0.5
    seed: int = 42


@dataclass(frozen=True)
class Run:
    """What a run found.

    Attributes
    ----------
    judged_part : Series
        The readings that the figures are of.
    plan : Plan
        The faults of the backtests.
    backtests : dict of str to Backtest
        One a candidate, by kind.
    winner, rule : Judged, str
        Which candidate won, and by what.
    sensitivities : list of Sensitivity
        What the winner would do at each.
    proposals : list of Proposal
        What looks like an incident in the part fitted on.
    artifacts : dict of str to bytes
        One artifact a candidate, by kind.
    """

    settings: Settings
    created: str
    series: Series
    judged_part: Series
    judged: list[Judged]
    seed_rows: list[SeedRow]
    plan: Plan
    backtests: dict[str, Backtest]
    winner: Judged
    rule: str
    sensitivities: list[Sensitivity]
    proposals: list[Proposal]
    artifacts: dict[str, bytes]

    @property
    def run_id(self) -> str:
        """Name of the run's folder in the bucket: when, and which artifact."""
        artifact = self.artifacts[self.winner.candidate.kind]
        return f"{self.created.replace(':', '').replace('+0000', 'Z')}-{digest(artifact)[:8]}"


def train(series: Series, settings: Settings, on_progress: Callable[[str, int, int], None]) -> Run:
    """Fit, judge and compare the candidates.

    Parameters
    ----------
    on_progress
        Called with what is going on, steps done, and steps in all.

    Raises
    ------
    SourceError
        If either part of the series is too short.
    """
    cut = split(series, settings.train_share)
    fitted_part, judged_part = series.part(0, cut), series.part(cut, len(series))
    candidates = fit_candidates(fitted_part, settings.seed, on_progress)
    judged = [judge_candidate(candidate, judged_part) for candidate in candidates]

    plan = plan_injections(series, cut, settings.seed)
    backtests = {}
    for done, each in enumerate(candidates):
        on_progress(f"backtest of the {NAMES[each.kind]}", done, len(candidates))
        backtests[each.kind] = run_backtest(each.detector, plan)
    winner, rule = choose_winner(judged, backtests)
    kind, served = winner.candidate.kind, winner.candidate.detector
    on_progress(f"sensitivities of the {NAMES[kind]}", 0, 1)
    return Run(
        settings=settings,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        series=series,
        judged_part=judged_part,
        judged=judged,
        seed_rows=seed_experiment(series, cast("LstmAutoencoder", candidates[-1].detector)),
        plan=plan,
        backtests=backtests,
        winner=winner,
        rule=rule,
        sensitivities=try_sensitivities(served, plan, backtests[kind]),
        proposals=propose_exclusions(series, cut),
        artifacts={
            each.candidate.kind: pack(
                advanced(each.candidate.detector, judged_part),
                settings.name,
                libraries=library_versions(),
                training_data=data_record(series, cut),
                figures=figures_record(each.figures)
                | {"backtest": backtest_summary(backtests[each.candidate.kind])},
            )
            for each in judged
        },
    )


def split(series: Series, train_share: float) -> int:
    """Return how many readings are fitted on; the others judge.

    Raises
    ------
    SourceError
        If either part is too short.
    """
    cut = int(train_share * len(series))
    if min(cut, len(series) - cut) < MINIMUM_LENGTH:
        raise SourceError(
            f"{series.name} has {len(series)} readings: {cut} to fit on and {len(series) - cut} to "
            f"judge by; each part needs {MINIMUM_LENGTH}, so give more (from CloudWatch: --days), "
            "or another --train-share"
        )
    return cut


def fit_candidates(
    part: Series, seed: int, on_progress: Callable[[str, int, int], None]
) -> tuple[Candidate, Candidate, Candidate]:
    """Fit the candidates; the LSTM autoencoder is the last."""
    on_progress("value forest", 0, 2)
    value_forest = fit_value_forest(part, seed)
    on_progress("contextual forest", 1, 2)
    contextual_forest = fit_contextual_forest(part, seed)
    lstm = fit_lstm_autoencoder(
        part,
        seed,
        lambda epoch, most, loss: on_progress(
            f"LSTM autoencoder, validation loss {loss:.3f}", epoch, most
        ),
    )
    return value_forest, contextual_forest, lstm


def advanced(fitted: Detector, part: Series) -> Detector:
    """Return the detector at the end of the series, where serving goes on, incidents left out."""
    ordinary = ~part.in_window
    return fitted.advance(part.timestamps[ordinary], part.values[ordinary])


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide an artifact's bytes."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def fingerprint(series: Series, settings: Settings) -> str:
    """Return a digest of all that decides a run: data, settings, library versions, source code."""
    parts = [series.digest, repr(settings), repr(library_versions())]
    for room in (Path(__file__).parent, Path(detection.__file__).parent):
        parts += [path.read_text("utf-8") for path in sorted(room.rglob("*.py"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
