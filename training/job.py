"""The job itself: fit the candidates on the first part, judge them after it, choose."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import detector
from detector.artifact import digest, pack
from detector.lstm_autoencoder import LstmAutoencoder
from training.candidates.contextual_forest import fit_contextual_forest
from training.candidates.lstm_autoencoder import fit_lstm_autoencoder
from training.candidates.value_forest import fit_value_forest
from training.comparison import Judged, SeedRow, choose_winner, judge_candidate, seed_experiment
from training.errors import SourceError
from training.evaluation import Figures
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
    artifacts : dict of str to bytes
        One artifact a candidate, by kind.
    """

    settings: Settings
    created: str
    series: Series
    judged_part: Series
    judged: list[Judged]
    seed_rows: list[SeedRow]
    winner: Judged
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
    cut = int(settings.train_share * len(series))
    if min(cut, len(series) - cut) < MINIMUM_LENGTH:
        raise SourceError(
            f"{series.name} has {len(series)} readings: {cut} to fit on and {len(series) - cut} to "
            f"judge by; each part needs {MINIMUM_LENGTH}, so give more, or another --train-share"
        )
    fitted_part, judged_part = series.part(0, cut), series.part(cut, len(series))

    on_progress("value forest", 0, 2)
    value_forest = fit_value_forest(fitted_part, settings.seed)
    on_progress("contextual forest", 1, 2)
    contextual_forest = fit_contextual_forest(fitted_part, settings.seed)
    lstm = fit_lstm_autoencoder(
        fitted_part,
        settings.seed,
        lambda epoch, most, loss: on_progress(
            f"LSTM autoencoder, validation loss {loss:.3f}", epoch, most
        ),
    )
    candidates = (value_forest, contextual_forest, lstm)
    judged = [judge_candidate(candidate, judged_part) for candidate in candidates]
    data, ordinary = describe(series, cut), ~judged_part.in_window
    return Run(
        settings=settings,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        series=series,
        judged_part=judged_part,
        judged=judged,
        seed_rows=seed_experiment(series, cast("LstmAutoencoder", lstm.detector)),
        winner=choose_winner(judged),
        artifacts={
            each.candidate.kind: pack(
                # what is served goes on from the end of the series, incidents left out
                each.candidate.detector.advance(
                    judged_part.timestamps[ordinary], judged_part.values[ordinary]
                ),
                settings.name,
                libraries=library_versions(),
                training_data=data,
                figures=figures_record(each.figures),
            )
            for each in judged
        },
    )


def describe(series: Series, cut: int) -> dict[str, Any]:
    """Return what the manifest says of the training data."""
    return {
        "origin": series.origin,
        "sha256": series.digest,
        "first": str(series.timestamps[0]),
        "last": str(series.timestamps[-1]),
        "readings": len(series),
        "readings_fitted_on": cut,
    }


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


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide an artifact's bytes."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def fingerprint(series: Series, settings: Settings) -> str:
    """Return a digest of all that decides a run: data, settings, library versions, source code."""
    parts = [series.digest, repr(settings), repr(library_versions())]
    for room in (Path(__file__).parent, Path(detector.__file__).parent):
        parts += [path.read_text("utf-8") for path in sorted(room.rglob("*.py"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
